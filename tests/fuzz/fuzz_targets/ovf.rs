//! OVF environments: what is taken is within limits, blanking the token changes nothing else, and every refusal names key and reason.
#![no_main]

use libfuzzer_sys::fuzz_target;
use postern_appliance::firstboot::{ovf, submission};

const TOKEN: &str = "postern.token";

fuzz_target!(|document: &[u8]| {
    let Ok(properties) = ovf::parse(document) else { return };
    assert!(document.len() <= ovf::MAX_BYTES);
    let blanked = ovf::blank(document, TOKEN).expect("what parses can be blanked");
    assert!(blanked.len() <= document.len());
    let again = ovf::parse(blanked.as_bytes()).expect("what was blanked still parses");
    assert_eq!(properties.len(), again.len());
    for (before, after) in properties.iter().zip(&again) {
        assert_eq!(before.key, after.key);
        assert_eq!(after.value, if before.key == TOKEN { "" } else { &before.value });
    }
    if let Err(faults) = submission(&properties) {
        assert!(!faults.is_empty() && faults.iter().all(|fault| fault.key.to_ascii_lowercase().starts_with("postern.")));
        assert!(faults.iter().all(|fault| (1..10_000).contains(&fault.reason.len())));
    }
});
