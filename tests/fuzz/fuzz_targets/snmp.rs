//! SNMP notifications: bounds hold, and the Response to an inform carries the inform's identity and varbinds.
#![no_main]

use libfuzzer_sys::fuzz_target;
use postern_engine::ber::{self, Reader, Writer};
use postern_engine::{snmp, value};

const INFORM: u8 = 0xa6;
const RESPONSE: u8 = 0xa2;

fuzz_target!(|datagram: &[u8]| {
    let Ok(message) = snmp::decode(datagram) else { return };
    assert!(message.notification.varbinds.len() <= snmp::MAX_VARBINDS + 1);
    let text: usize = message.notification.varbinds.iter().map(|varbind| value::text(&varbind.value).len()).sum();
    // The worst case is a double of 11 bytes, which has up to 327 digits.
    assert!(text <= datagram.len() * 32);
    let Some(response) = message.response() else { return };
    assert!(response.len() <= datagram.len() + 16, "an answer must not be worth forging a sender for");
    assert_eq!(snmp::decode(&response), Err(snmp::DecodeError::WrongPdu(RESPONSE)));
    assert_eq!(snmp::decode(&as_inform(&response)), Ok(message));
});

fn as_inform(response: &[u8]) -> Vec<u8> {
    let mut content = Reader::new(response).expect(ber::SEQUENCE).unwrap().reader();
    let elements = [content.element().unwrap(), content.element().unwrap(), content.expect(RESPONSE).unwrap()];
    let mut out = Writer::default();
    out.constructed(ber::SEQUENCE, |message| {
        for element in &elements {
            message.element(if element.tag == RESPONSE { INFORM } else { element.tag }, element.content);
        }
    });
    out.into_bytes()
}
