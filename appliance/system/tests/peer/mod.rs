//! The other end of the broker's socket for tests of firstboot and console: answers as told and keeps what it was asked.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::mpsc::{self, Receiver};

use postern_appliance::verb::{Answer, Reply, Verb};

/// The answer to a verb that tells nothing.
pub(crate) fn done() -> Reply {
    Reply::Ok { answer: Answer::Done {} }
}

/// Listens at `socket` and returns what is asked, in order; ends with the test.
pub(crate) fn listen(socket: &Path, answer: impl Fn(&Verb) -> Reply + Send + 'static) -> Receiver<Verb> {
    let listener = UnixListener::bind(socket).unwrap();
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.unwrap());
            let mut line = String::new();
            stream.read_line(&mut line).unwrap();
            let verb: Verb = serde_json::from_str(&line).unwrap();
            let reply = serde_json::to_string(&answer(&verb)).unwrap();
            // Before the answer: whoever has it may ask what was received.
            if sender.send(verb).is_err() {
                return;
            }
            // The program may have been stopped meanwhile.
            let _ = writeln!(stream.get_mut(), "{reply}");
        }
    });
    receiver
}
