//! Requests to the broker, and the site's veto: what is taken in has one JSON form.
#![no_main]

use libfuzzer_sys::fuzz_target;
use postern_appliance::settings::Submission;
use postern_appliance::verb::{MAX_LINE_BYTES, Verb};
use postern_appliance::veto::Veto;

fuzz_target!(|input: &[u8]| {
    if let Ok(verb) = serde_json::from_slice::<Verb>(input) {
        let json = serde_json::to_vec(&verb).unwrap();
        assert!(json.len() <= MAX_LINE_BYTES.max(input.len() * 8));
        assert_eq!(serde_json::from_slice::<Verb>(&json).unwrap(), verb);
    }
    let Ok(text) = std::str::from_utf8(input) else { return };
    let _ = Veto::parse(text);
    // Lines of `key value`, as the forms give them.
    let pairs = text.lines().filter_map(|line| line.split_once(' '));
    if let Ok(submission) = Submission::parse(pairs) {
        let json = serde_json::to_string(&submission.settings).unwrap();
        assert_eq!(serde_json::from_str::<postern_appliance::settings::Settings>(&json).unwrap(), submission.settings);
    }
});
