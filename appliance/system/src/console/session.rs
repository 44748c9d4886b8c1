//! One person's session at the console: the page, the menu, and one entry after another. Every action is the broker's.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use time::OffsetDateTime;
use zeroize::Zeroizing;

use super::editor::Echo;
use super::form::{Form, Progress, Start};
use super::machine::{Machine, Places};
use super::menu::{Choice, Entry, Session, menu};
use super::page;
use super::terminal::{Input, Terminal};
use super::text::paragraph;
use crate::client::Broker;
use crate::verb::{Answer, Reply, Status, Verb};

/// Time between two looks at the broker while nobody types.
const REFRESH_EVERY: Duration = Duration::from_secs(10);
/// Longest wait for what the page shows; a deed may take the client's two minutes.
const STATUS_WITHIN: Duration = Duration::from_secs(10);
/// Time without a key after which a half-typed line is dropped, a question is given up, and who came by SSH is logged out.
const IDLE: Duration = Duration::from_secs(600);

/// What the console is told at its start.
#[derive(Clone, Debug)]
pub struct Options {
    /// The broker's socket.
    pub broker: PathBuf,
    /// Who sits there.
    pub session: Session,
    /// Where to look for the machine's state.
    pub places: Places,
}

/// Whether the session goes on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    LogOut,
    Menu,
}

/// Serves one person until they leave; at the machine's own screen that is never.
///
/// # Errors
/// When the terminal fails.
pub fn run(options: &Options) -> io::Result<()> {
    let mut terminal = Terminal::open()?;
    terminal.page("Postern gateway: asking how the appliance is ...\n")?;
    loop {
        let next = match home(&mut terminal, options)? {
            Choice::Entry(entry) => choose(&mut terminal, options, entry)?,
            Choice::LogOut => Next::LogOut,
            Choice::Refresh => Next::Menu,
            Choice::Unknown => {
                let last = Entry::ALL.len();
                pause(&mut terminal, &format!("There is no such entry: type a number from 1 to {last}."))?
            }
        };
        if next == Next::LogOut {
            return Ok(());
        }
    }
}

/// Shows the page until a line is typed.
fn home(terminal: &mut Terminal, options: &Options) -> io::Result<Choice> {
    let mut shown = String::new();
    terminal.discard();
    loop {
        let text = match status(options) {
            Ok(status) => page::page(&status, Machine::read(&options.places), OffsetDateTime::now_utc()),
            Err(trouble) => page::page_without_status(&trouble),
        };
        // An unchanged page is left alone: a serial line may be recorded.
        if text != shown && !terminal.is_typing() {
            terminal.page(&(text.clone() + &menu(options.session)))?;
            shown = text;
        }
        match terminal.read(Echo::Plain, REFRESH_EVERY)? {
            Input::Line(line) => return Ok(Choice::parse(&line, options.session)),
            Input::HungUp => return Ok(Choice::LogOut),
            Input::End if options.session == Session::Remote => return Ok(Choice::LogOut),
            Input::End | Input::Interrupt => return Ok(Choice::Refresh),
            Input::Idle if terminal.idle_for() < IDLE => {}
            Input::Idle if options.session == Session::Remote => {
                terminal.print("\nLogged out: nothing was typed for 10 minutes.\n")?;
                return Ok(Choice::LogOut);
            }
            Input::Idle => {
                terminal.discard();
                shown.clear();
            }
        }
    }
}

fn choose(terminal: &mut Terminal, options: &Options, entry: Entry) -> io::Result<Next> {
    let status = match status(options) {
        Ok(status) => status,
        Err(trouble) => return pause(terminal, &format!("The broker does not answer, so nothing can be changed: {trouble}")),
    };
    terminal.page(&format!("{}\nCtrl-C goes back to the menu.\n\n", entry.title()))?;
    let mut form = match Form::start(entry, &status) {
        Start::Ask(form) => form,
        Start::Do(verb) => return carry_out(terminal, options, &verb),
    };
    while let Some(prompt) = form.prompt() {
        terminal.print(&prompt.text)?;
        let answer = match line(terminal, prompt.echo)? {
            Asked::Line(line) => line,
            Asked::Back => return Ok(Next::Menu),
            Asked::Gone => return Ok(Next::LogOut),
        };
        match form.answer(&answer) {
            Progress::Again(reason) => terminal.print(&paragraph(&format!("Not taken: {reason}")))?,
            Progress::Cancelled => break,
            Progress::Done(verb) => return carry_out(terminal, options, &verb),
            Progress::Next => {}
        }
    }
    pause(terminal, "Nothing was changed.")
}

fn carry_out(terminal: &mut Terminal, options: &Options, verb: &Verb) -> io::Result<Next> {
    terminal.print("Working ...\n")?;
    pause(terminal, &told(options, verb))
}

/// What became of a question.
enum Asked {
    Back,
    Gone,
    Line(Zeroizing<String>),
}

fn line(terminal: &mut Terminal, echo: Echo) -> io::Result<Asked> {
    Ok(match terminal.read(echo, IDLE)? {
        Input::Line(line) => Asked::Line(Zeroizing::new(line)),
        Input::End | Input::Idle | Input::Interrupt => Asked::Back,
        Input::HungUp => Asked::Gone,
    })
}

/// Shows `text` until Enter.
fn pause(terminal: &mut Terminal, text: &str) -> io::Result<Next> {
    terminal.print(&paragraph(text))?;
    terminal.print("\nPress Enter to go on. ")?;
    Ok(match line(terminal, Echo::Plain)? {
        Asked::Back | Asked::Line(_) => Next::Menu,
        Asked::Gone => Next::LogOut,
    })
}

/// Asks the broker and says what it answered.
fn told(options: &Options, verb: &Verb) -> String {
    match Broker::connect(&options.broker).and_then(|broker| broker.call(verb)) {
        Ok(Reply::Ok { answer: Answer::Done {} | Answer::Status { .. } }) => "Done.".to_owned(),
        Ok(Reply::Ok { answer: Answer::Doctor { report } }) => page::doctor(report.as_ref()),
        Ok(Reply::Ok { answer: Answer::Slots { slots } }) => page::slot_list(&slots),
        Ok(Reply::Failed { reason }) => format!("This went wrong: {reason}"),
        Ok(Reply::Refused { reason }) => format!("Refused: {reason}"),
        Err(error) => format!("The broker does not answer: {}", crate::chain(&error)),
    }
}

fn status(options: &Options) -> Result<Box<Status>, String> {
    let asked = Broker::connect(&options.broker).and_then(|broker| broker.answer_within(STATUS_WITHIN)?.call(&Verb::Status {}));
    match asked {
        Ok(Reply::Ok { answer: Answer::Status { status } }) => Ok(status),
        Ok(Reply::Ok { answer: Answer::Doctor { .. } | Answer::Done {} | Answer::Slots { .. } }) => {
            Err("it answers another question".to_owned())
        }
        Ok(Reply::Failed { reason } | Reply::Refused { reason }) => Err(reason),
        Err(error) => Err(crate::chain(&error)),
    }
}
