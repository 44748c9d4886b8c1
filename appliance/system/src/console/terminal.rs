//! The terminal or pipe that a person sits at: bytes in, lines and pages out, and the terminal's mode put back at the end.

use std::io::{self, IsTerminal as _, Write as _};
use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout};
use nix::sys::termios::{self, InputFlags, LocalFlags, SetArg, SpecialCharacterIndices, Termios};

use super::editor::{Echo, LineEditor, Step};

/// Clears the screen and goes to its top left corner.
const CLEAR: &str = "\x1b[2J\x1b[H";

/// What the person did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Input {
    /// Ctrl-D on an empty line.
    End,
    /// The line is gone, or the input at its end.
    HungUp,
    /// Nothing yet, for as long as asked.
    Idle,
    /// Ctrl-C.
    Interrupt,
    /// A line, without its end.
    Line(String),
}

/// Standard input and output.
pub(super) struct Terminal {
    editor: LineEditor,
    /// Bytes that were read and not yet fed: a paste may hold several lines.
    waiting: std::vec::IntoIter<u8>,
    /// The mode to put back; `None` when this is no terminal.
    saved: Option<Termios>,
    last_key: Instant,
}

impl Terminal {
    /// Takes standard input; a terminal stops echoing, editing and sending signals by itself.
    ///
    /// # Errors
    /// When the terminal's mode cannot be set.
    pub(super) fn open() -> io::Result<Self> {
        let stdin = io::stdin();
        let saved = if stdin.is_terminal() && io::stdout().is_terminal() { Some(termios::tcgetattr(&stdin)?) } else { None };
        if let Some(saved) = &saved {
            let mut mode = saved.clone();
            // Ctrl-S would stop the page for everyone who looks at this screen later.
            mode.input_flags &= !InputFlags::IXON;
            mode.local_flags &= !(LocalFlags::ECHO | LocalFlags::ICANON | LocalFlags::IEXTEN | LocalFlags::ISIG);
            for (index, value) in [(SpecialCharacterIndices::VMIN, 1), (SpecialCharacterIndices::VTIME, 0)] {
                if let Some(place) = mode.control_chars.get_mut(index as usize) {
                    *place = value;
                }
            }
            termios::tcsetattr(&stdin, SetArg::TCSANOW, &mode)?;
        }
        Ok(Self { editor: LineEditor::new(Echo::Plain), waiting: Vec::new().into_iter(), saved, last_key: Instant::now() })
    }

    /// Shows a page: on a terminal in place of the last one.
    ///
    /// # Errors
    /// When nobody is there to see it.
    pub(super) fn page(&mut self, text: &str) -> io::Result<()> {
        if self.saved.is_some() {
            self.print(CLEAR)?;
        }
        self.print(text)
    }

    /// Shows text behind what is there.
    ///
    /// # Errors
    /// As [`Self::page`].
    pub(super) fn print(&mut self, text: &str) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(text.as_bytes())?;
        stdout.flush()
    }

    /// Returns whether the person has begun a line: a page shown now would wipe it.
    pub(super) fn is_typing(&self) -> bool {
        !self.editor.is_empty()
    }

    /// Returns the time since the last key.
    pub(super) fn idle_for(&self) -> Duration {
        self.last_key.elapsed()
    }

    /// Waits for a line, for at most `patience` since the last key after the call.
    ///
    /// # Errors
    /// When reading or echoing fails.
    pub(super) fn read(&mut self, echo: Echo, patience: Duration) -> io::Result<Input> {
        self.editor.set_echo(echo);
        let mut deadline = Instant::now() + patience;
        loop {
            while let Some(byte) = self.waiting.next() {
                if let Some(input) = self.feed(byte)? {
                    return Ok(input);
                }
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if !self.wait(left)? {
                return Ok(Input::Idle);
            }
            let mut buffer = [0; 1_024];
            // Unbuffered: what std would hold back, poll could not see.
            let bytes = match nix::unistd::read(io::stdin().as_fd(), &mut buffer) {
                // A hang-up of the line reads as EIO.
                Ok(0) | Err(Errno::EIO) => return Ok(Input::HungUp),
                Ok(bytes) => bytes,
                Err(Errno::EINTR | Errno::EAGAIN) => continue,
                Err(error) => return Err(error.into()),
            };
            self.waiting = buffer.get(..bytes).unwrap_or_default().to_vec().into_iter();
            self.last_key = Instant::now();
            deadline = self.last_key + patience;
        }
    }

    /// Forgets what was typed and not used: the rest of a paste into one question is no answer to the next. A script's lines are kept.
    pub(super) fn discard(&mut self) {
        if self.saved.is_some() {
            self.editor.clear();
            self.waiting = Vec::new().into_iter();
            self.last_key = Instant::now();
        }
    }

    fn feed(&mut self, byte: u8) -> io::Result<Option<Input>> {
        Ok(match self.editor.feed(byte) {
            Step::Echo(text) => {
                if self.saved.is_some() && !text.is_empty() {
                    self.print(&text)?;
                }
                None
            }
            Step::End => Some(Input::End),
            Step::Interrupt => {
                self.print("\n")?;
                Some(Input::Interrupt)
            }
            Step::Line(line) => {
                self.print("\n")?;
                Some(Input::Line(line))
            }
        })
    }

    /// Waits until there is something to read, and returns whether there is.
    fn wait(&self, time: Duration) -> io::Result<bool> {
        let stdin = io::stdin();
        let mut fds = [PollFd::new(stdin.as_fd(), PollFlags::POLLIN)];
        let timeout = PollTimeout::try_from(time).unwrap_or(PollTimeout::MAX);
        match nix::poll::poll(&mut fds, timeout) {
            Ok(ready) => Ok(ready > 0),
            Err(Errno::EINTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if let Some(saved) = &self.saved {
            // At the end nobody is left to tell.
            let _ = termios::tcsetattr(io::stdin(), SetArg::TCSANOW, saved);
        }
    }
}
