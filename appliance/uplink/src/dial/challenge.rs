//! What a proxy asks for: the challenges of `Proxy-Authenticate` (RFC 9110 §11.7.1), parsed.
//!
//! Pure. Called by `proxy`; the fields are the proxy's, so nothing in them is believed.

/// One challenge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Challenge {
    /// As it spells it.
    pub(super) scheme: String,
    parameters: Vec<(String, String)>,
}

impl Challenge {
    /// Says whether it is of a scheme (RFC 9110 §11.1: in any case).
    pub(super) fn is(&self, scheme: &str) -> bool {
        self.scheme.eq_ignore_ascii_case(scheme)
    }

    /// Returns a parameter; `name` is in lower case.
    pub(super) fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }
}

/// Parses one field, which may hold several challenges. What cannot be understood ends it; what came before counts.
pub(super) fn parse(field: &str) -> Vec<Challenge> {
    let mut rest = Scanner(field);
    let mut challenges: Vec<Challenge> = Vec::new();
    loop {
        rest.skip(|char| char == ',' || is_space(char));
        let name = rest.take(is_token);
        if name.is_empty() {
            return challenges;
        }
        let value = rest.parameter_value();
        match (value, challenges.last_mut()) {
            (Some(value), Some(challenge)) => challenge.parameters.push((name.to_ascii_lowercase(), value)),
            (Some(_), None) => return challenges,
            (None, _) => {
                challenges.push(Challenge { scheme: name.to_owned(), parameters: Vec::new() });
                rest.skip_token68();
            }
        }
    }
}

struct Scanner<'a>(&'a str);

impl<'a> Scanner<'a> {
    fn take(&mut self, belongs: impl Fn(char) -> bool) -> &'a str {
        let end = self.0.find(|char| !belongs(char)).unwrap_or(self.0.len());
        let (taken, rest) = self.0.split_at_checked(end).unwrap_or((self.0, ""));
        self.0 = rest;
        taken
    }

    fn skip(&mut self, belongs: impl Fn(char) -> bool) {
        self.take(belongs);
    }

    /// Returns what stands behind `=`; `None` when there is no `=`.
    fn parameter_value(&mut self) -> Option<String> {
        let mut ahead = Scanner(self.0);
        ahead.skip(is_space);
        let mut ahead = Scanner(ahead.0.strip_prefix('=')?);
        ahead.skip(is_space);
        let value = match ahead.0.strip_prefix('"') {
            Some(quoted) => {
                let (value, rest) = unquoted(quoted);
                ahead.0 = rest;
                value
            }
            None => ahead.take(is_token).to_owned(),
        };
        self.0 = ahead.0;
        Some(value)
    }

    /// Skips the blob that may stand behind a scheme in place of parameters, as Negotiate has it (RFC 9110 §11.2).
    fn skip_token68(&mut self) {
        let mut ahead = Scanner(self.0);
        ahead.skip(is_space);
        let blob = ahead.take(|char| char.is_ascii_alphanumeric() || "-._~+/".contains(char));
        ahead.skip(|char| char == '=');
        ahead.skip(is_space);
        if !blob.is_empty() && (ahead.0.is_empty() || ahead.0.starts_with(',')) {
            self.0 = ahead.0;
        }
    }
}

/// Reads a quoted string behind its first quote (RFC 9110 §5.6.4); returns it and what follows it.
fn unquoted(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            '"' => return (value, text.get(at.saturating_add(1)..).unwrap_or_default()),
            '\\' => value.extend(chars.next().map(|(_, escaped)| escaped)),
            _ => value.push(char),
        }
    }
    (value, "")
}

fn is_space(char: char) -> bool {
    char == ' ' || char == '\t'
}

fn is_token(char: char) -> bool {
    char.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(char)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schemes(field: &str) -> Vec<String> {
        parse(field).into_iter().map(|challenge| challenge.scheme).collect()
    }

    #[test]
    fn one_field_may_hold_several_challenges() {
        let challenges = parse(r#"Newauth realm="apps, and \"more\"", type=1 , title = "Login", Basic realm="simple""#);
        assert_eq!(challenges.len(), 2);
        assert_eq!(challenges[0].parameter("realm"), Some(r#"apps, and "more""#));
        assert_eq!((challenges[0].parameter("type"), challenges[0].parameter("title")), (Some("1"), Some("Login")));
        assert!(challenges[1].is("basic") && challenges[1].parameter("realm") == Some("simple"));
    }

    #[test]
    fn schemes_without_parameters_or_with_a_blob_are_named() {
        assert_eq!(schemes("Negotiate, NTLM"), ["Negotiate", "NTLM"]);
        assert_eq!(schemes("Negotiate dGVzdA==, NTLM TlRMTVNTUAAB/+=,Basic realm=x"), ["Negotiate", "NTLM", "Basic"]);
        assert_eq!(schemes("Kerberos abc"), ["Kerberos"]);
    }

    #[test]
    fn nonsense_ends_the_field_and_never_panics() {
        for field in ["", " , ,", "=", "\"", "a=b", "Digest realm=\"never ended \\", "Digest =", "Basic é", "\u{1F600}"] {
            assert!(parse(field).len() <= 1, "{field:?}");
        }
        assert_eq!(parse("Digest realm=\"never ended \\")[0].parameter("realm"), Some("never ended "));
    }
}
