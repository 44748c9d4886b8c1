//! Addresses within the console. Pure text.

/// Percent-encodes a value for a query (RFC 3986 §2.3: only unreserved characters stay).
pub(super) fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push_str(&data_encoding::HEXUPPER.encode(&[byte]));
        }
    }
    out
}

/// Writes a path with a query; pairs with an empty value are left out.
pub(super) fn with_query<'a>(path: &str, pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let mut out = path.to_owned();
    for (name, value) in pairs.into_iter().filter(|(_, value)| !value.is_empty()) {
        out.push(if out.len() == path.len() { '?' } else { '&' });
        out.push_str(name);
        out.push('=');
        out.push_str(&encode(value));
    }
    out
}

/// The sign-in page that leads on to `next`.
pub(super) fn sign_in(next: &str) -> String {
    with_query("/sign-in", [("next", if matches!(next, "/" | "/alerts") { "" } else { next })])
}

/// Takes `text` as a page of the console to go on to; the alerts if it is anything else. An address that a form or a query names
/// must not lead to another site: no scheme, no `//host`, no backslash, which browsers read as a slash, no control character.
pub(super) fn local(text: &str) -> &str {
    let bytes = text.as_bytes();
    let rooted = bytes.first() == Some(&b'/') && !matches!(bytes.get(1), Some(b'/' | b'\\'));
    let plain = bytes.iter().all(|byte| byte.is_ascii_graphic() && *byte != b'\\');
    if rooted && plain && text.len() <= 2048 && !text.starts_with("/sign-") { text } else { "/alerts" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_survive_a_query() {
        assert_eq!(with_query("/alerts", [("q", "a b&c=ü"), ("gateway", ""), ("state", "all")]), "/alerts?q=a%20b%26c%3D%C3%BC&state=all");
    }

    #[test]
    fn nothing_leads_to_another_site() {
        for bad in
            ["https://evil.example/", "//evil.example", "/\\evil.example", "\\/evil", "/\t/evil", "javascript:alert(1)", "", "/sign-in"]
        {
            assert_eq!(local(bad), "/alerts", "{bad:?}");
        }
        assert_eq!(local("/alerts?q=a%20b#a-1"), "/alerts?q=a%20b#a-1");
    }
}
