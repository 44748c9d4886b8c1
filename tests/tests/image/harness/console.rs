//! The serial console of a machine: everything it ever wrote, and the keys that are typed.

use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use postern_tests::deadline::wait_for;

/// A serial console. QEMU writes what it shows to `log` and takes keys on `socket`.
pub(crate) struct Console {
    log: PathBuf,
    socket: PathBuf,
}

impl Console {
    pub(crate) fn new(log: PathBuf, socket: PathBuf) -> Self {
        Self { log, socket }
    }

    /// Everything so far, without escape sequences.
    pub(crate) fn text(&self) -> String {
        plain(&std::fs::read(&self.log).unwrap_or_default())
    }

    /// What the page says after a name at the beginning of a line, as it was shown last; the rest of a long line comes after it.
    pub(crate) fn field(&self, name: &str) -> Option<String> {
        let text = self.text();
        let (_, rest) = text.rsplit_once(&format!("\n{name} "))?;
        let (line, _) = rest.split_once('\n')?;
        Some(line.trim().to_owned())
    }

    /// Waits until the page says `value` after `name`.
    pub(crate) fn wait_for_field(&self, name: &str, value: &str, deadline: Duration) {
        wait_for(&format!("{name}: {value}"), deadline, || match self.field(name) {
            Some(seen) if seen.starts_with(value) => Ok(()),
            _ => Err(self.tail()),
        });
    }

    /// Chooses an entry of the menu and answers its questions: each a word of the question, and the answer.
    pub(crate) fn choose(&self, title: &str, answers: &[(&str, &str)], deadline: Duration) {
        let shown = self.text().len();
        self.press("\u{3}");
        let number = wait_for(title, deadline, || {
            let text = self.text();
            // Keys typed before the menu is back are dropped.
            let new = text.get(shown..).filter(|new| new.contains("Number, or Enter")).ok_or_else(|| self.tail())?;
            let before = new.rsplit_once(&format!("  {title}")).map(|(before, _)| before.to_owned());
            before.and_then(|before| before.split_whitespace().next_back()?.parse::<u8>().ok()).ok_or_else(|| self.tail())
        });
        let mut seen = self.text().len();
        self.press(&format!("{number}\n"));
        for (question, answer) in answers {
            wait_for(question, deadline, || {
                let text = self.text();
                let at = text.get(seen..).and_then(|new| new.find(question)).ok_or_else(|| self.tail())?;
                seen += at + question.len();
                Ok(())
            });
            self.press(&format!("{answer}\n"));
        }
        wait_for("the outcome", deadline, || {
            let done = self.text().get(seen..).is_some_and(|new| new.contains("Press Enter to go on."));
            if done { Ok(()) } else { Err(self.tail()) }
        });
        self.press("\n");
    }

    /// The last lines, for a message.
    pub(crate) fn tail(&self) -> String {
        let text = self.text();
        let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
        lines.iter().skip(lines.len().saturating_sub(60)).map(|line| format!("{line}\n")).collect()
    }

    /// Waits until the console has said `words`.
    pub(crate) fn wait_for(&self, words: &str, deadline: Duration) {
        wait_for(&format!("{words:?} on the console"), deadline, || if self.text().contains(words) { Ok(()) } else { Err(self.tail()) });
    }

    /// Types keys.
    pub(crate) fn press(&self, keys: &str) {
        let mut stream = UnixStream::connect(&self.socket).unwrap();
        stream.write_all(keys.as_bytes()).unwrap();
    }
}

/// Removes escape sequences (ECMA-48 §5.4) and carriage returns. A jump of the cursor becomes a new line, so that words on
/// different rows of a page do not run into each other.
fn plain(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut out = String::new();
    let mut chars = text.chars();
    while let Some(char) = chars.next() {
        match char {
            '\r' => (),
            '\u{1b}' => {
                if chars.next() != Some('[') {
                    continue;
                }
                let end = chars.find(|char| ('@'..='~').contains(char));
                if matches!(end, Some('H' | 'f')) {
                    out.push('\n');
                }
            }
            other => out.push(other),
        }
    }
    out
}

#[test]
fn escape_sequences_are_removed_and_rows_stay_apart() {
    assert_eq!(plain(b"\x1b[1;1Hname\x1b[31m red\x1b[0m\x1b[2;1Hnext\r\n"), "\nname red\nnext\n");
}
