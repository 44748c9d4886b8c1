//! BER: what is read and written again reads the same; nothing is read past its element.
#![no_main]

use libfuzzer_sys::fuzz_target;
use postern_engine::ber::{Element, OBJECT_IDENTIFIER, Reader, Writer};

fuzz_target!(|bytes: &[u8]| walk(Reader::new(bytes), 0));

fn walk(mut reader: Reader<'_>, depth: usize) {
    while let Ok(element) = reader.element() {
        again(&element);
        if element.tag & 0x20 != 0 && depth < 8 {
            walk(element.reader(), depth + 1);
        }
    }
}

fn again(element: &Element<'_>) {
    let mut out = Writer::default();
    out.element(element.tag, element.content);
    let (signed, unsigned, oid) = (element.integer(), element.unsigned64(), element.oid());
    signed.iter().for_each(|number| out.integer(element.tag, *number));
    unsigned.iter().for_each(|number| out.unsigned(element.tag, *number));
    oid.iter().for_each(|oid| out.oid(oid));
    let bytes = out.into_bytes();
    let mut reader = Reader::new(&bytes);
    assert_eq!(reader.expect(element.tag).unwrap().content, element.content);
    if signed.is_ok() {
        assert_eq!(reader.expect(element.tag).unwrap().integer(), signed);
    }
    if unsigned.is_ok() {
        assert_eq!(reader.expect(element.tag).unwrap().unsigned64(), unsigned);
    }
    if let Ok(oid) = &oid {
        assert_eq!(reader.expect(OBJECT_IDENTIFIER).unwrap().oid().as_ref(), Ok(oid));
    }
    assert_eq!(reader.finish(), Ok(()));
    assert!(element.unsigned32().is_err() || element.content.len() <= 9);
}
