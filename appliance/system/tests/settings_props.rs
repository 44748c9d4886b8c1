//! Whatever text a site gives: a value that is accepted can break out of none of the files it is written into, and survives its text.

// The exception that clippy.toml makes for tests does not reach the functions that they call.
#![allow(clippy::panic, clippy::unwrap_used)]

use std::fmt::Display;
use std::str::FromStr;

use postern_appliance::settings::host::{Host, HostName};
use postern_appliance::settings::network::Cidr;
use postern_appliance::settings::servers::{Resolvers, TimeServers};
use postern_appliance::settings::ssh_key::SshKey;
use postern_appliance::settings::url::{ControlPlane, Proxy};
use postern_appliance::settings::{KEYS, Settings, Submission};
use postern_appliance::verb::Verb;
use postern_appliance::veto::Veto;
use proptest::prelude::*;

/// Text near what is accepted, with what breaks files: line ends, quotes, brackets, comment signs, shell and nft syntax.
fn near() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z0-9.:/@\\[\\]-]{0,40}",
        "(https?://)?([a-z]{1,5}:[!-~]{1,8}@)?[a-z0-9.-]{1,20}(:[0-9]{1,5})?[\n\r\t\"'\\\\;{}#$ ]?[a-z=]{0,8}",
        "([0-9]{1,3}\\.){3}[0-9]{1,3}(/[0-9]{1,2})?[\n ,;}]?.{0,6}",
        "[0-9a-f:]{2,30}(/[0-9]{1,3})?",
        "(ssh-ed25519|ssh-rsa) [A-Za-z0-9+/]{0,80}={0,2}( [ -~]{0,10})?",
        any::<String>(),
    ]
}

fn harmless<T: FromStr + Display + PartialEq + std::fmt::Debug>(text: &str, more: &[char]) -> Result<(), TestCaseError>
where
    T::Err: std::fmt::Debug,
{
    let Ok(value) = text.parse::<T>() else { return Ok(()) };
    let written = value.to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | ':' | '-' | '/' | '[' | ']') || more.contains(&c);
    prop_assert!(written.chars().all(plain), "{text:?} became {written:?}");
    prop_assert_eq!(written.parse::<T>().unwrap(), value);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4096, ..ProptestConfig::default() })]

    #[test]
    fn accepted_values_are_harmless_text(text in near()) {
        harmless::<HostName>(&text, &[])?;
        harmless::<Host>(&text, &[])?;
        harmless::<Cidr>(&text, &[])?;
        harmless::<ControlPlane>(&text, &[])?;
        harmless::<Resolvers>(&text, &[' '])?;
        harmless::<TimeServers>(&text, &[' '])?;
    }

    #[test]
    fn a_proxy_breaks_out_of_no_quotes(text in near()) {
        if let Ok(proxy) = text.parse::<Proxy>() {
            let written = proxy.with_credentials();
            prop_assert!(written.bytes().all(|b| b.is_ascii_graphic() && b != b'"' && b != b'\\'), "{written:?}");
            prop_assert_eq!(written.parse::<Proxy>().unwrap(), proxy);
        }
    }

    #[test]
    fn a_key_is_one_line_of_authorized_keys(text in near()) {
        if let Ok(key) = text.parse::<SshKey>() {
            let written = key.to_string();
            prop_assert!(written.bytes().all(|b| (b' '..=b'~').contains(&b)) && written.split(' ').count() >= 2);
            prop_assert_eq!(written.parse::<SshKey>().unwrap(), key);
        }
    }

    #[test]
    fn a_submission_survives_json_and_never_panics(values in prop::collection::vec((0..KEYS.len(), near()), 0..10)) {
        let pairs = values.iter().map(|(key, value)| (KEYS[*key], value.as_str()));
        if let Ok(submission) = Submission::parse(pairs) {
            let json = serde_json::to_string(&submission.settings).unwrap();
            prop_assert_eq!(serde_json::from_str::<Settings>(&json).unwrap(), submission.settings);
        }
    }

    #[test]
    fn no_line_and_no_veto_makes_the_parsers_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), text in near()) {
        let _ = serde_json::from_slice::<Verb>(&bytes);
        let _ = serde_json::from_str::<Verb>(&format!(r#"{{"verb":"apply","settings":{{"hostname":{}}}}}"#, serde_json::to_string(&text).unwrap()));
        let _ = Veto::parse(&text);
    }
}
