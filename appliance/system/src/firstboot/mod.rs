//! Reads once what the site's hypervisor offers, and hands it to the broker: all or nothing.
//!
//! Finds the OVF environment (`transport`, `iso9660`), parses it (`ovf`), takes the properties `postern.*` as a [`Submission`] and asks
//! the broker to apply it. Has no privilege and runs nothing but VMware's own tool. Called by the program `firstboot`.

mod command;
pub mod iso9660;
pub mod ovf;
pub(crate) mod report;
pub mod transport;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use self::ovf::Property;
use self::transport::{Found, Origin, Places, Searched};
use crate::client::{Broker, ClientError};
use crate::settings::{Fault, Submission};
use crate::verb::{FirstbootOutcome, FirstbootReport, Reply, Verb};

/// What every key of ours begins with; all other properties are somebody else's.
pub const PREFIX: &str = "postern.";
const TOKEN_KEY: &str = "postern.token";
/// Pause between two tries to reach the broker.
const BROKER_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// What first boot is told on its command line.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where to look.
    pub places: Places,
    /// For how long.
    pub wait: Duration,
    /// The broker's socket.
    pub broker: PathBuf,
    /// Longest wait for that socket.
    pub broker_wait: Duration,
}

/// Finds, applies and reports.
///
/// # Errors
/// [`ClientError`] when the broker does not answer; the report is then known only to the caller's log.
pub fn run(options: &Options) -> (FirstbootReport, Result<(), ClientError>) {
    let (report, asked) = match transport::search(&options.places, options.wait) {
        Searched::Found(found) => take(options, &found),
        Searched::Nothing(troubles) => (report::nothing_found(options.wait, troubles), Ok(())),
        Searched::Stuck => (report::unreadable(None, "a drive does not answer".to_owned()), Ok(())),
        Searched::Unusable(origin, error) => (report::unreadable(Some(&origin), crate::chain(&error)), Ok(())),
    };
    let report = report::plain(report);
    let told = asked.and_then(|()| ask(options, &Verb::FirstbootReport { report: report.clone() })).and_then(|reply| match reply {
        Reply::Ok { .. } => Ok(()),
        Reply::Failed { reason } | Reply::Refused { reason } => Err(ClientError::Io(std::io::Error::other(reason))),
    });
    (report, told)
}

/// Makes a submission of the properties that are ours.
///
/// # Errors
/// Every fault at once. A key that differs from ours only in its letters' case is one: it was surely meant for us.
pub fn submission(properties: &[Property]) -> Result<Submission, Vec<Fault>> {
    let ours = properties.iter().filter_map(|property| {
        let (head, rest) = property.key.split_at_checked(PREFIX.len())?;
        let key = if head == PREFIX { rest } else { &property.key };
        head.eq_ignore_ascii_case(PREFIX).then_some((key, property.value.as_str()))
    });
    let with_prefix = |mut fault: Fault| {
        if !fault.key.to_ascii_lowercase().starts_with(PREFIX) {
            fault.key.insert_str(0, PREFIX);
        }
        fault
    };
    Submission::parse(ours).map_err(|faults| faults.into_iter().map(with_prefix).collect())
}

fn take(options: &Options, found: &Found) -> (FirstbootReport, Result<(), ClientError>) {
    let properties = match ovf::parse(&found.document) {
        Ok(properties) => properties,
        Err(error) => return (report::unreadable(Some(&found.origin), crate::chain(&error)), Ok(())),
    };
    let submission = match submission(&properties) {
        Ok(submission) if submission == Submission::default() => return (report::nothing_set(&found.origin), Ok(())),
        Ok(submission) => submission,
        Err(faults) => return (report::refused(&found.origin, faults), Ok(())),
    };
    let settings = Box::new(submission.settings.clone());
    let verb = Verb::Apply { settings, token: submission.token.clone(), veto: submission.veto.clone() };
    match ask(options, &verb) {
        Ok(Reply::Ok { .. }) => {
            let mut report = report::applied(&found.origin, &submission);
            if submission.token.is_some() {
                report.notes.push(forget_token(options, found));
            }
            (report, Ok(()))
        }
        Ok(Reply::Failed { reason } | Reply::Refused { reason }) => {
            (report::refused(&found.origin, vec![Fault { key: "settings".to_owned(), reason }]), Ok(()))
        }
        Err(error) => {
            let fault = Fault { key: "settings".to_owned(), reason: crate::chain(&error) };
            (report::refused(&found.origin, vec![fault]), Err(error))
        }
    }
}

/// Blanks the token where it came from, if the hypervisor lets us, and says what became of it.
fn forget_token(options: &Options, found: &Found) -> String {
    match &found.origin {
        Origin::Cdrom(_) => "the token stays in the hypervisor's settings of this machine; it is good for one use".to_owned(),
        #[cfg(feature = "fw-cfg")]
        Origin::FwCfg => "the token stays in fw_cfg; it is good for one use".to_owned(),
        Origin::Guestinfo => {
            let blanked = ovf::blank(&found.document, TOKEN_KEY).map_err(|error| crate::chain(&error));
            let replaced =
                blanked.and_then(|document| transport::replace_guestinfo(&options.places, &document).map_err(|error| crate::chain(&error)));
            match replaced {
                Ok(()) => "the token was blanked in guestinfo".to_owned(),
                Err(error) => format!("the token could not be blanked in guestinfo: {error}"),
            }
        }
    }
}

/// Asks the broker; its socket may appear a little later than this program.
fn ask(options: &Options, verb: &Verb) -> Result<Reply, ClientError> {
    let deadline = Instant::now() + options.broker_wait;
    loop {
        match Broker::connect(&options.broker) {
            Err(ClientError::Connect { .. }) if Instant::now() < deadline => std::thread::sleep(BROKER_AGAIN_AFTER),
            connected => return connected?.call(verb),
        }
    }
}

/// Returns the program's exit status for an outcome: see `FIRSTBOOT.md`.
pub fn exit_status(outcome: FirstbootOutcome) -> u8 {
    match outcome {
        FirstbootOutcome::Applied | FirstbootOutcome::NothingFound => 0,
        FirstbootOutcome::Refused => 65,
        FirstbootOutcome::Unreadable => 66,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn property(key: &str, value: &str) -> Property {
        Property { key: key.to_owned(), value: value.to_owned() }
    }

    fn fault_keys(properties: &[Property]) -> Vec<String> {
        submission(properties).unwrap_err().into_iter().map(|fault| fault.key).collect()
    }

    #[test]
    fn only_keys_with_our_prefix_are_ours() {
        let properties = [property("hostname", "a b"), property("vami.ip0", "x"), property("postern.hostname", "gw1"), property("", "")];
        assert_eq!(submission(&properties).unwrap().settings.hostname.unwrap().as_str(), "gw1");
    }

    #[test]
    fn unknown_repeated_and_wrongly_spelt_keys_are_faults() {
        assert_eq!(fault_keys(&[property("postern.shell", "x")]), ["postern.shell"]);
        assert_eq!(fault_keys(&[property("Postern.hostname", "gw1")]), ["Postern.hostname"]);
        assert_eq!(fault_keys(&[property("postern.", "x")]), ["postern."]);
        assert_eq!(fault_keys(&[property("postern.dns", ""), property("postern.dns", "")]), ["postern.dns"]);
    }
}
