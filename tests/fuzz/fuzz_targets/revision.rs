//! Revisions: a document that is taken survives being written again and compiles; one that is refused says where and why.
#![no_main]

use libfuzzer_sys::fuzz_target;
use postern_engine::rule::RuleIndex;
use postern_protocol::revision;

fuzz_target!(|text: &[u8]| match revision::parse(text) {
    Ok(document) => {
        let again = serde_json::to_vec(&document).unwrap();
        assert_eq!(revision::parse(&again).as_ref(), Ok(&document));
        assert!(RuleIndex::compile(&document).is_ok(), "what the control plane takes, the gateway takes");
    }
    Err(problems) => assert!(!problems.is_empty() && problems.iter().all(|problem| !problem.reason.is_empty())),
});
