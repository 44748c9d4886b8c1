//! Whatever a disc or a document says: the readers end, within their bounds, and return what was written.

#![allow(clippy::indexing_slicing, clippy::unwrap_used)]

use std::io::Cursor;

use postern_appliance::firstboot::iso9660::{self, SECTOR_BYTES, Wanted};
use postern_appliance::firstboot::{ovf, submission};
use proptest::prelude::*;

const WANTED: Wanted<'static> = Wanted { label: "OVF ENV", name: "ovf-env.xml", max_bytes: 64 * 1_024 };
const SAMPLE: &str = include_str!("samples/vsphere.xml");
/// A disc by genisoimage, from its descriptors on.
const DISC: &[u8] = include_bytes!("../../../tests/fuzz/corpus/iso9660/seed-jr");

/// Puts the empty system area before the descriptors.
fn whole(disc: &[u8]) -> Vec<u8> {
    [vec![0; 16 * SECTOR_BYTES], disc.to_vec()].concat()
}

fn escaped(text: &str) -> String {
    text.chars().map(|character| format!("&#{};", u32::from(character))).collect()
}

proptest! {
    #[test]
    fn properties_come_back_as_they_were_written(pairs in proptest::collection::vec(("[a-z._]{1,20}", "[ -~éß]{0,40}"), 0..20)) {
        let properties: String = pairs.iter().map(|(key, value)| format!(r#"<Property oe:key="{key}" oe:value="{}"/>"#, escaped(value))).collect();
        let document = format!(r#"<Environment xmlns="http://schemas.dmtf.org/ovf/environment/1" xmlns:oe="http://schemas.dmtf.org/ovf/environment/1"><PropertySection>{properties}</PropertySection></Environment>"#);
        prop_assume!(document.len() <= ovf::MAX_BYTES);
        let parsed = ovf::parse(document.as_bytes()).unwrap_or_else(|error| panic!("{error}: {document}"));
        let found: Vec<(String, String)> = parsed.into_iter().map(|property| (property.key, property.value)).collect();
        prop_assert_eq!(found, pairs);
    }

    #[test]
    fn damaged_documents_are_taken_or_refused_and_never_more(at in 0..SAMPLE.len(), bytes in proptest::collection::vec(any::<u8>(), 0..20), cut in any::<bool>()) {
        let mut document = SAMPLE.as_bytes().to_vec();
        let end = (at + bytes.len()).min(document.len());
        document.splice(at..end, bytes);
        if cut {
            document.truncate(at);
        }
        if let Ok(properties) = ovf::parse(&document) {
            let _ = submission(&properties);
        }
    }

    #[test]
    fn any_bytes_are_refused_as_documents_or_parse(bytes in proptest::collection::vec(any::<u8>(), 0..500)) {
        let _ = ovf::parse(&bytes);
    }

    #[test]
    fn truncated_discs_end(sectors in 0..DISC.len() / SECTOR_BYTES, rest in 0..SECTOR_BYTES) {
        let _ = iso9660::read_file(&mut Cursor::new(whole(&DISC[..sectors * SECTOR_BYTES + rest])), &WANTED);
    }

    #[test]
    fn damaged_discs_end_within_bounds(changes in proptest::collection::vec((0..DISC.len(), any::<u8>()), 1..40)) {
        let mut disc = DISC.to_vec();
        for (at, byte) in changes {
            disc[at] = byte;
        }
        if let Ok(Some(file)) = iso9660::read_file(&mut Cursor::new(whole(&disc)), &WANTED) {
            prop_assert!(file.len() <= 64 * 1_024);
        }
    }
}

#[test]
fn the_seed_of_the_properties_is_a_good_disc() {
    assert!(iso9660::read_file(&mut Cursor::new(whole(DISC)), &WANTED).unwrap().is_some_and(|file| ovf::parse(&file).is_ok()));
}
