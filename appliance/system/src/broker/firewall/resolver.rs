//! Asks DNS in a thread of its own: the C library's resolver blocks for as long as it likes.

use std::collections::BTreeSet;
use std::net::{IpAddr, ToSocketAddrs as _};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

/// Between two rounds when every name is known.
const REFRESH: Duration = Duration::from_secs(30);
/// Between two rounds when one is not.
const RETRY: Duration = Duration::from_secs(5);

/// What DNS said about one name; `None` for no address.
pub(crate) type Found = Vec<(String, Option<Vec<IpAddr>>)>;

/// Resolves the names that `wanted` last said, again and again, and hands the results to `tell`. Ends when the sender of `wanted` is
/// gone or `tell` says that nobody listens.
pub(crate) fn run(wanted: &Receiver<BTreeSet<String>>, tell: impl Fn(Found) -> bool) {
    let mut names = BTreeSet::new();
    let mut pause = REFRESH;
    loop {
        match wanted.recv_timeout(pause) {
            Ok(newer) => names = wanted.try_iter().last().unwrap_or(newer),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        let found: Found = names.iter().map(|name| (name.clone(), resolve(name))).collect();
        pause = if found.iter().all(|(_, addresses)| addresses.is_some()) { REFRESH } else { RETRY };
        if !tell(found) {
            return;
        }
    }
}

fn resolve(name: &str) -> Option<Vec<IpAddr>> {
    // The port is of no interest, but the library wants one.
    let mut found: Vec<IpAddr> = (name, 0).to_socket_addrs().ok()?.map(|address| address.ip()).collect();
    found.dedup();
    (!found.is_empty()).then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn a_round_starts_at_once_when_the_names_change() {
        let (sender, wanted) = mpsc::channel();
        let (results, told) = mpsc::channel();
        let thread = std::thread::spawn(move || run(&wanted, |found| results.send(found).is_ok()));
        sender.send(["localhost".to_owned(), "no-such-name.invalid".to_owned()].into()).unwrap();
        let found = told.recv_timeout(Duration::from_secs(20)).unwrap();
        assert!(found[0].1.as_ref().unwrap().iter().all(IpAddr::is_loopback));
        assert_eq!(found[1].1, None);
        drop(sender);
        thread.join().unwrap();
    }
}
