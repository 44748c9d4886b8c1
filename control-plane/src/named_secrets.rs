//! The secrets that a document names, held against those that the vault of its gateway will have. Pure.

use std::collections::BTreeSet;

use postern_protocol::revision::Problem;
use postern_protocol::revision::document::Document;
use postern_protocol::revision::link::UplinkProxy;

/// A secret's name and where a document has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Named {
    path: String,
    name: String,
}

/// Lists every name of a secret.
pub(crate) fn named(document: &Document) -> Vec<Named> {
    let mut found = Vec::new();
    if let Some(UplinkProxy::Http { secret: Some(secret), .. }) = document.uplink.as_ref().and_then(|uplink| uplink.proxy.as_ref()) {
        found.push(Named { path: "uplink.proxy.http.secret".to_owned(), name: secret.clone() });
    }
    let Some(snmp) = &document.snmp else { return found };
    let mut add = |path: String, name: &str| found.push(Named { path, name: name.to_owned() });
    for (index, user) in snmp.users.iter().enumerate() {
        if let Some(auth) = &user.auth {
            add(format!("snmp.users[{index}].auth.secret"), &auth.secret);
        }
        if let Some(privacy) = &user.privacy {
            add(format!("snmp.users[{index}].priv.secret"), &privacy.secret);
        }
    }
    for (index, grant) in snmp.communities.iter().enumerate() {
        for (place, name) in grant.secrets.iter().enumerate() {
            add(format!("snmp.communities[{index}].secrets[{place}]"), name);
        }
    }
    found
}

/// Makes a problem of every name that is not `known`; `text` is the document, to tell the line.
pub(crate) fn problems(named: &[Named], known: &BTreeSet<String>, text: &[u8]) -> Vec<Problem> {
    let text = String::from_utf8_lossy(text);
    let missing = named.iter().filter(|one| !known.contains(&one.name));
    missing
        .map(|one| {
            let (line, column) = place(&text, section(&text, &one.path), &one.name);
            let reason = format!("no secret of the name {:?} is in the vault of this gateway: seal it first", one.name);
            Problem { path: one.path.clone(), line, column, reason }
        })
        .collect()
}

/// Where the section begins that a path is in.
fn section(text: &str, path: &str) -> usize {
    let name = path.split('.').next().unwrap_or_default();
    text.find(&format!("\"{name}\"")).unwrap_or(0)
}

/// Line and column of the first text `name` from `from` on; the name is plain ASCII, so that no document writes it with escapes.
fn place(text: &str, from: usize, name: &str) -> (u32, u32) {
    let quoted = format!("\"{name}\"");
    let Some(at) = text.get(from..).and_then(|rest| rest.find(&quoted)).map(|at| from.saturating_add(at)) else { return (0, 0) };
    let before = text.get(..at).unwrap_or_default();
    let line = before.matches('\n').count().saturating_add(1);
    let column = before.rsplit('\n').next().unwrap_or_default().len().saturating_add(1);
    (u32::try_from(line).unwrap_or(0), u32::try_from(column).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use postern_protocol::revision;

    #[test]
    fn every_name_that_the_vault_lacks_is_a_problem_with_its_place() {
        let text = r#"{"format": 1, "rules": [], "snmp": {
          "users": [{"name": "u", "sources": ["10.0.0.0/8"], "auth": {"algorithm": "sha-256", "secret": "a"},
                     "priv": {"algorithm": "aes-128", "secret": "b"}}],
          "communities": [{"sources": ["10.0.0.0/8"], "secrets": ["c", "d"]}]}}"#;
        let document = revision::parse(text.as_bytes()).unwrap();
        let known = BTreeSet::from(["a".to_owned(), "c".to_owned()]);
        let found = problems(&named(&document), &known, text.as_bytes());
        let places: Vec<_> = found.iter().map(|problem| (problem.path.as_str(), problem.line)).collect();
        assert_eq!(places, [("snmp.users[0].priv.secret", 3), ("snmp.communities[0].secrets[1]", 4)]);
    }

    #[test]
    fn the_password_of_the_way_out_is_one_too() {
        let text = r#"{"format": 1, "rules": [],
          "uplink": {"proxy": {"http": {"address": "p:3128", "user": "u", "secret": "proxy"}}}}"#;
        let document = revision::parse(text.as_bytes()).unwrap();
        let found = problems(&named(&document), &BTreeSet::new(), text.as_bytes());
        assert_eq!(
            found.iter().map(|problem| (problem.path.as_str(), problem.line)).collect::<Vec<_>>(),
            [("uplink.proxy.http.secret", 2)]
        );
    }
}
