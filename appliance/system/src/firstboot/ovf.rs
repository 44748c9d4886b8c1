//! Parses an OVF environment document (DSP0243 §9): the properties that the hypervisor gives to this machine.
//!
//! Text in, keys and values out; nothing is fetched or expanded. Called by `firstboot`, and by the fuzz target `ovf`.

use std::ops::Range;

use roxmltree::{Document, Node, ParsingOptions};

/// Longest document that is read, in bytes.
pub const MAX_BYTES: usize = 64 * 1_024;
/// Most nodes of a document.
const MAX_NODES: u32 = 16 * 1_024;
/// Most name space declarations: the XML parser's work on nested ones grows with their cube.
const MAX_NAMESPACES: usize = 256;
/// The environment's name space, without its version.
const NAMESPACE: &str = "http://schemas.dmtf.org/ovf/environment/";

/// Why a document is not taken.
#[derive(Debug, thiserror::Error)]
pub enum OvfError {
    /// It declares a document type, and so might declare entities.
    #[error("the document has a DOCTYPE, which is never accepted")]
    Doctype,
    /// A property says its key or value twice, with and without name space.
    #[error("a property has two attributes \"{0}\"")]
    Doubled(&'static str),
    /// It is not UTF-8.
    #[error("the document is not UTF-8 at byte {0}")]
    Encoding(usize),
    /// It is XML for something else.
    #[error("the document is not an OVF environment: its first element must be Environment in {NAMESPACE}1")]
    Foreign,
    /// A property lacks its key or its value.
    #[error("a property has no attribute \"{0}\"")]
    Incomplete(&'static str),
    /// It declares too many name spaces.
    #[error("the document declares more than {MAX_NAMESPACES} name spaces")]
    Namespaces,
    /// It is too long.
    #[error("the document has {0} bytes, more than {MAX_BYTES}")]
    TooLong(usize),
    /// It is not well-formed.
    #[error("the document is not well-formed XML")]
    Xml(#[source] roxmltree::Error),
}

/// One property. Values may be secrets: no `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Property {
    /// Its key, for example `postern.hostname`.
    pub key: String,
    /// Its value, entities and character references resolved.
    pub value: String,
}

/// Parses `bytes` and returns this machine's properties in their order; those of other machines (`Entity`) are left out.
///
/// # Errors
/// [`OvfError`] for anything that is not one well-formed environment within the limits.
pub fn parse(bytes: &[u8]) -> Result<Vec<Property>, OvfError> {
    let text = text(bytes)?;
    let document = document(text)?;
    let mut found = Vec::new();
    for node in property_nodes(&document) {
        let key = attribute(node, "key")?.value().to_owned();
        let value = attribute(node, "value")?.value().to_owned();
        found.push(Property { key, value });
    }
    Ok(found)
}

/// Returns the document with the value of every property `key` made empty, all else as it was.
///
/// # Errors
/// As [`parse`].
pub fn blank(bytes: &[u8], key: &str) -> Result<String, OvfError> {
    let text = text(bytes)?;
    let document = document(text)?;
    let mut values: Vec<Range<usize>> = Vec::new();
    for node in property_nodes(&document) {
        if attribute(node, "key")?.value() == key {
            values.push(attribute(node, "value")?.range_value());
        }
    }
    let mut blanked = text.to_owned();
    // From the end, so that the places of the others stay right.
    for range in values.into_iter().rev() {
        blanked.replace_range(range, "");
    }
    Ok(blanked)
}

fn text(bytes: &[u8]) -> Result<&str, OvfError> {
    if bytes.len() > MAX_BYTES {
        return Err(OvfError::TooLong(bytes.len()));
    }
    let text = std::str::from_utf8(bytes).map_err(|error| OvfError::Encoding(error.valid_up_to()))?;
    // Some transports end the text with NUL, as C does.
    let text = text.trim_end_matches('\0');
    if text.matches("xmlns").nth(MAX_NAMESPACES).is_some() {
        return Err(OvfError::Namespaces);
    }
    Ok(text)
}

fn document(text: &str) -> Result<Document<'_>, OvfError> {
    let options = ParsingOptions { allow_dtd: false, nodes_limit: MAX_NODES, ..ParsingOptions::default() };
    let document = Document::parse_with_options(text, options).map_err(|error| match error {
        roxmltree::Error::DtdDetected => OvfError::Doctype,
        error => OvfError::Xml(error),
    })?;
    if !is(document.root_element(), "Environment") {
        return Err(OvfError::Foreign);
    }
    Ok(document)
}

fn property_nodes<'a, 'input>(document: &'a Document<'input>) -> impl Iterator<Item = Node<'a, 'input>> {
    let sections = document.root_element().children().filter(|node| is(*node, "PropertySection"));
    sections.flat_map(|section| section.children().filter(|node| is(*node, "Property")))
}

fn is(node: Node<'_, '_>, name: &str) -> bool {
    let tag = node.tag_name();
    node.is_element() && tag.name() == name && tag.namespace().is_some_and(|namespace| namespace.starts_with(NAMESPACE))
}

/// Returns the attribute with or without the environment's name space: hand-made documents often forget it.
fn attribute<'a, 'input>(node: Node<'a, 'input>, name: &'static str) -> Result<roxmltree::Attribute<'a, 'input>, OvfError> {
    let ours = |namespace: Option<&str>| namespace.is_none_or(|namespace| namespace.starts_with(NAMESPACE));
    let mut found = node.attributes().filter(|attribute| attribute.name() == name && ours(attribute.namespace()));
    match (found.next(), found.next()) {
        (None, _) => Err(OvfError::Incomplete(name)),
        (Some(attribute), None) => Ok(attribute),
        (Some(_), Some(_)) => Err(OvfError::Doubled(name)),
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    fn environment(body: &str) -> String {
        format!(
            r#"<?xml version="1.0" encoding="UTF-8"?>
<Environment xmlns="http://schemas.dmtf.org/ovf/environment/1" xmlns:oe="http://schemas.dmtf.org/ovf/environment/1">{body}</Environment>"#
        )
    }

    fn pairs(document: &str) -> Vec<(String, String)> {
        parse(document.as_bytes()).unwrap_or_else(|error| panic!("{error}")).into_iter().map(|found| (found.key, found.value)).collect()
    }

    fn pair(key: &str, value: &str) -> (String, String) {
        (key.to_owned(), value.to_owned())
    }

    fn refusal(document: &str) -> OvfError {
        parse(document.as_bytes()).err().unwrap()
    }

    #[test]
    fn attributes_are_read_with_and_without_name_space() {
        let body = r#"<PropertySection><Property oe:key="a" oe:value="1"/><Property key="b" value="2"/></PropertySection>"#;
        assert_eq!(pairs(&environment(body)), [pair("a", "1"), pair("b", "2")]);
    }

    #[test]
    fn references_are_resolved_and_only_the_five_of_xml_exist() {
        let body = r#"<PropertySection><Property oe:key="a" oe:value="&lt;&quot;&amp;&#x41;"/></PropertySection>"#;
        assert_eq!(pairs(&environment(body)), [pair("a", "<\"&A")]);
        let body = r#"<PropertySection><Property oe:key="a" oe:value="&nbsp;"/></PropertySection>"#;
        assert!(matches!(refusal(&environment(body)), OvfError::Xml(_)));
    }

    #[test]
    fn other_machines_and_foreign_elements_are_left_out() {
        let body = r#"<PropertySection><Property oe:key="mine" oe:value="1"/>
            <x:Property xmlns:x="urn:x" oe:key="foreign" oe:value="2"/></PropertySection>
            <Entity oe:id="other"><PropertySection><Property oe:key="theirs" oe:value="3"/></PropertySection></Entity>"#;
        assert_eq!(pairs(&environment(body)), [pair("mine", "1")]);
    }

    #[test]
    fn a_document_type_is_refused_whatever_it_declares() {
        let bomb =
            r#"<!DOCTYPE Environment [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]><Environment>&b;</Environment>"#;
        assert!(matches!(refusal(bomb), OvfError::Doctype));
        let external = r#"<!DOCTYPE e SYSTEM "file:///etc/shadow"><e/>"#;
        assert!(matches!(refusal(external), OvfError::Doctype));
    }

    #[test]
    fn what_is_no_environment_is_refused() {
        assert!(matches!(refusal("<Environment/>"), OvfError::Foreign));
        assert!(matches!(refusal(r#"<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1"/>"#), OvfError::Foreign));
        for text in ["", "<", "not xml", "<a></b>", "<Environment xmlns='http://schemas.dmtf.org/ovf/environment/1'>"] {
            assert!(matches!(refusal(text), OvfError::Xml(_)), "{text}");
        }
    }

    #[test]
    fn a_property_without_value_or_with_two_is_refused() {
        let refused = |property: &str| refusal(&environment(&format!("<PropertySection>{property}</PropertySection>")));
        assert!(matches!(refused(r#"<Property oe:key="a"/>"#), OvfError::Incomplete("value")));
        assert!(matches!(refused(r#"<Property oe:value="a"/>"#), OvfError::Incomplete("key")));
        assert!(matches!(refused(r#"<Property oe:key="a" oe:value="1" value="2"/>"#), OvfError::Doubled("value")));
    }

    #[test]
    fn bytes_that_are_no_text_and_long_documents_are_refused() {
        assert!(matches!(parse(b"<a>\xff</a>"), Err(OvfError::Encoding(3))));
        let long = environment(&" ".repeat(MAX_BYTES));
        assert!(matches!(refusal(&long), OvfError::TooLong(_)));
    }

    #[test]
    fn costly_documents_end_soon() {
        let started = Instant::now();
        let attributes: String = (0..6_500).map(|number| format!(" a{number}=''")).collect();
        let _ = parse(environment(&format!("<a{attributes}/>")).as_bytes());
        let _ = parse("<a>".repeat(20_000).as_bytes());
        assert!(matches!(refusal(&"<a xmlns:aa='b'>".repeat(4_000)), OvfError::Namespaces));
        let most = "<a xmlns:aa='b'>".repeat(MAX_NAMESPACES);
        let _ = parse(most.as_bytes());
        assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    }

    #[test]
    fn blanking_touches_only_the_value_of_its_key() {
        let body = r#"<PropertySection><Property oe:key="t" oe:value='a&gt;b'/><Property oe:value="2" oe:key="b"/></PropertySection>"#;
        let document = environment(body);
        assert_eq!(blank(document.as_bytes(), "t").unwrap(), document.replace("a&gt;b", ""));
        assert_eq!(blank(document.as_bytes(), "none").unwrap(), document);
    }
}
