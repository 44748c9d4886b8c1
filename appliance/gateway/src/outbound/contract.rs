//! The published contract as the viewer uses it: message by message, field by number or name.

use std::collections::BTreeMap;

use serde::Deserialize;

/// The document, as far as decoding needs it.
#[derive(Deserialize)]
pub(super) struct Contract {
    streams: Vec<StreamEntry>,
    messages: BTreeMap<String, Message>,
}

#[derive(Deserialize)]
struct StreamEntry {
    name: String,
    message: String,
    record: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Message {
    fields: Vec<Field>,
}

/// One field.
#[derive(Deserialize)]
pub(super) struct Field {
    pub(super) name: String,
    number: Option<u32>,
    #[serde(rename = "type")]
    pub(super) kind: String,
    #[serde(default)]
    pub(super) repeated: bool,
    #[serde(default)]
    pub(super) contains: Option<String>,
}

impl Contract {
    /// Reads the contract that this program was built with.
    ///
    /// # Errors
    /// Never in a program whose tests passed.
    pub(super) fn built_in() -> Result<Self, serde_json::Error> {
        serde_json::from_str(postern_protocol::CONTRACT)
    }

    /// Returns the message of a stream's frames, and that of its records; `None` for a stream that has none.
    pub(super) fn stream(&self, name: &str) -> (Option<&str>, Option<&str>) {
        let entry = self.streams.iter().find(|entry| entry.name == name);
        (entry.map(|entry| entry.message.as_str()), entry.and_then(|entry| entry.record.as_deref()))
    }

    pub(super) fn message(&self, name: &str) -> Option<&Message> {
        self.messages.get(name)
    }
}

impl Message {
    pub(super) fn numbered(&self, number: u32) -> Option<&Field> {
        self.fields.iter().find(|field| field.number == Some(number))
    }

    pub(super) fn named(&self, name: &str) -> Option<&Field> {
        self.fields.iter().find(|field| field.name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_contract_of_this_build_can_be_read() {
        let contract = Contract::built_in().ok().unwrap();
        assert_eq!(contract.stream("alerts"), (Some("Batch"), Some("Alert")));
        assert_eq!(contract.stream("control"), (Some("Up"), None));
        assert_eq!(contract.message("Up").unwrap().numbered(4).unwrap().name, "status");
    }
}
