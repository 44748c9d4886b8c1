//! The rules that a gateway goes by, and where each is written: in its document, in a pack, or in the program. Tells people what a rule
//! is for, in words. Called by `explain` and the pages on rules.

use std::fmt::Write as _;

use postern_protocol::id::{GatewayId, RevisionNumber, RuleId, TenantId};
use postern_protocol::revision::document::{Document, Matcher, PushMatch, Rule, SyslogMatch, TrapMatch};
use postern_protocol::revision::{self, BUILT_IN, Problem, pack};
use serde::Serialize;

use crate::app::App;
use crate::store::StoreError;

/// How many earlier revisions are looked through for the version of a rule that raised an alert.
const LOOKED_BACK: usize = 5;

/// Where a rule is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// The control plane itself watches for it.
    ControlPlane,
    /// The gateway's document.
    Document,
    /// The gateway's program watches itself or its sources.
    Gateway,
    /// A rule pack.
    Pack,
    /// No revision here has it.
    Unknown,
}

/// A rule, for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RuleText {
    /// Its name.
    pub id: String,
    /// Its version.
    pub version: u32,
    /// What it is for, in its author's words.
    pub description: String,
    /// Which events it is for, in words.
    pub matches: String,
    /// Where it is written.
    pub source: Origin,
    /// Name and version of its pack.
    pub pack: Option<String>,
    /// The revision that has it; 0 is the built-in one, none when no revision does.
    pub revision: Option<RevisionNumber>,
}

/// The rules of one revision.
pub struct RuleBook {
    revision: RevisionNumber,
    document: Document,
    rules: Vec<(String, Rule)>,
}

impl RuleBook {
    /// Reads a document; `None` if it is none or names packs that this program does not have.
    pub fn read(revision: RevisionNumber, text: &[u8]) -> Option<Self> {
        let document: Document = serde_json::from_slice(text).ok()?;
        let rules = pack::rules(&document).ok()?.into_iter().map(|meant| (meant.path, meant.rule)).collect();
        Some(Self { revision, document, rules })
    }

    /// The document.
    pub fn document(&self) -> &Document {
        &self.document
    }

    /// Finds a rule, or a watch that alerts name as their rule.
    pub fn find(&self, id: &str) -> Option<RuleText> {
        if let Some((path, rule)) = self.rules.iter().find(|(_, rule)| rule.id.as_str() == id) {
            return Some(self.text(path, rule));
        }
        let silence = self.document.silences.iter().find(|silence| silence.id.as_str() == id)?;
        let every = match silence.every_s {
            Some(seconds) => format!("sources that must be heard every {seconds} s"),
            None => "sources that fall silent, each by its own rhythm".to_owned(),
        };
        Some(RuleText {
            id: silence.id.to_string(),
            version: 1,
            description: "Watches for silence".to_owned(),
            matches: every,
            source: Origin::Document,
            pack: None,
            revision: Some(self.revision),
        })
    }

    /// Returns every rule in order, with the text for people.
    pub fn rules(&self) -> impl Iterator<Item = (&Rule, RuleText)> {
        self.rules.iter().map(|(path, rule)| (rule, self.text(path, rule)))
    }

    fn text(&self, path: &str, rule: &Rule) -> RuleText {
        let pack = path.strip_prefix("packs[").and_then(|rest| rest.split_once(']'));
        let pack = pack.and_then(|(index, _)| self.document.packs.get(index.parse::<usize>().ok()?));
        RuleText {
            id: rule.id.to_string(),
            version: rule.version,
            description: rule.description.clone(),
            matches: in_words(&rule.matcher),
            source: if pack.is_some() { Origin::Pack } else { Origin::Document },
            pack: pack.map(|pack| format!("{} {}", pack.id, pack.version)),
            revision: Some(self.revision),
        }
    }

    /// What a maintenance window or a dependency of that name is for; nothing when it says nothing.
    pub fn purpose(&self, id: &str) -> Option<String> {
        let window = self.document.windows.iter().find(|window| window.id.as_str() == id);
        window.map(|window| window.description.clone()).filter(|text| !text.is_empty())
    }
}

/// Reads the rules that a gateway runs, and behind them those that it is to run and earlier ones: the first that has a rule counts.
///
/// # Errors
/// [`StoreError`] from the database.
pub async fn of_gateway(app: &App, tenant: &TenantId, gateway: &GatewayId) -> Result<Vec<RuleBook>, StoreError> {
    let Some(view) = app.stores.find_gateway(tenant, gateway).await? else { return Ok(Vec::new()) };
    let store = app.stores.tenant(tenant)?;
    let listed = store.list_revisions(gateway).await?;
    let mut numbers: Vec<RevisionNumber> = view.revision.effective.into_iter().collect();
    for number in listed.iter().map(|revision| revision.number) {
        if numbers.len() <= LOOKED_BACK && !numbers.contains(&number) {
            numbers.push(number);
        }
    }
    let mut texts = Vec::new();
    if view.revision.effective.is_none() {
        texts.push((RevisionNumber(0), BUILT_IN.as_bytes().to_vec()));
    }
    for number in numbers {
        texts.extend(store.find_revision(gateway, number).await?.map(|revision| (number, revision.document)));
    }
    let read = move || texts.iter().filter_map(|(number, text)| RuleBook::read(*number, text)).collect();
    tokio::task::spawn_blocking(read).await.map_err(|_| StoreError::Stopped)
}

/// Returns what is hardly meant in the document that a gateway runs.
///
/// # Errors
/// [`StoreError`] from the database.
pub async fn warnings_in_force(app: &App, tenant: &TenantId, gateway: &GatewayId) -> Result<Vec<Problem>, StoreError> {
    let books = of_gateway(app, tenant, gateway).await?;
    let Some(book) = books.into_iter().next() else { return Ok(Vec::new()) };
    tokio::task::spawn_blocking(move || revision::warnings(&book.document)).await.map_err(|_| StoreError::Stopped)
}

/// Returns what is hardly meant in a document; nothing for a text that is none.
///
/// # Errors
/// [`StoreError::Stopped`] when the program stops.
pub async fn warnings(text: Vec<u8>) -> Result<Vec<Problem>, StoreError> {
    let work = move || serde_json::from_slice(&text).map(|document| revision::warnings(&document)).unwrap_or_default();
    tokio::task::spawn_blocking(work).await.map_err(|_| StoreError::Stopped)
}

/// Finds a rule in the first book that has that version of it, else in the first that has any.
pub fn find(books: &[RuleBook], id: &str, version: u32) -> RuleText {
    let mut found = books.iter().filter_map(|book| book.find(id));
    let first = found.next();
    let exact = |rule: &RuleText| rule.version == version;
    let best = match first {
        Some(rule) if !exact(&rule) => Some(found.find(exact).unwrap_or(rule)),
        other => other,
    };
    best.unwrap_or_else(|| own(id, version))
}

/// Describes what no document has.
fn own(id: &str, version: u32) -> RuleText {
    let (source, description) = match id {
        id if id == RuleId::own().as_str() => (Origin::Gateway, "The gateway says this of itself, or of what it receives"),
        id if id.starts_with("control-plane.") => (Origin::ControlPlane, "The control plane says this of the gateway"),
        _ => (Origin::Unknown, ""),
    };
    let (description, matches) = (description.to_owned(), String::new());
    RuleText { id: id.to_owned(), version, description, matches, source, pack: None, revision: None }
}

/// Says which events a matcher is for.
pub fn in_words(matcher: &Matcher) -> String {
    match matcher {
        Matcher::Push(push) => push_in_words(push),
        Matcher::Syslog(syslog) => syslog_in_words(syslog),
        Matcher::Trap(trap) => trap_in_words(trap),
    }
}

fn trap_in_words(TrapMatch { oid, prefix, varbinds, sources }: &TrapMatch) -> String {
    let mut text = match (oid, prefix) {
        (Some(oid), _) => format!("the SNMP notification {oid}"),
        (None, Some(prefix)) => format!("SNMP notifications below {prefix}"),
        (None, None) => "any SNMP notification".to_owned(),
    };
    for test in varbinds {
        match (&test.equals, &test.regex) {
            (Some(value), _) => append(&mut text, &format!(", {} is {value}", test.oid)),
            (None, Some(regex)) => append(&mut text, &format!(", {} matches {regex}", test.oid)),
            (None, None) => append(&mut text, &format!(", {} is there", test.oid)),
        }
    }
    listed(&mut text, "from", sources);
    text
}

fn syslog_in_words(SyslogMatch { facilities, max_severity, programs, hosts, regex, sources, .. }: &SyslogMatch) -> String {
    let mut text = "syslog messages".to_owned();
    listed(&mut text, "of the program", programs);
    listed(&mut text, "of the facility", facilities);
    if let Some(severity) = max_severity {
        append(&mut text, &format!(", severity {severity} or graver"));
    }
    listed(&mut text, "of the host", hosts);
    listed(&mut text, "from", sources);
    if let Some(regex) = regex {
        append(&mut text, &format!(", whose text matches {regex}"));
    }
    text
}

fn push_in_words(PushMatch { state, kinds, fields, sources }: &PushMatch) -> String {
    use postern_protocol::revision::document::PushState;
    let mut text = match state {
        None => "pushed events",
        Some(PushState::Raise) => "pushed events that raise",
        Some(PushState::Clear) => "pushed events that clear",
    }
    .to_owned();
    listed(&mut text, "of the kind", kinds);
    for (name, value) in fields {
        append(&mut text, &format!(", {name} is {value}"));
    }
    listed(&mut text, "from", sources);
    text
}

fn listed(text: &mut String, what: &str, values: &[String]) {
    if !values.is_empty() {
        append(text, &format!(" {what} {}", values.join(" or ")));
    }
}

fn append(text: &mut String, more: &str) {
    // Writing to a text cannot fail.
    let _written = text.write_str(more);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn book(number: u64, text: &str) -> RuleBook {
        RuleBook::read(RevisionNumber(number), text.as_bytes()).unwrap()
    }

    fn document(version: u32) -> String {
        format!(
            r#"{{"format": 1, "packs": [{{"id": "ietf", "version": 1}}],
                "rules": [{{"id": "own", "version": {version}, "description": "What for", "match": {{"syslog": {{"programs": ["sshd", "su"],
                 "max_severity": 3, "regex": "denied"}}}}, "then": {{"suppress": {{}}}}}}]}}"#
        )
    }

    #[test]
    fn a_rule_is_told_with_its_place() {
        let books = [book(7, &document(2))];
        let own = find(&books, "own", 2);
        assert_eq!((own.source, own.revision, own.version), (Origin::Document, Some(RevisionNumber(7)), 2));
        assert_eq!(own.matches, "syslog messages of the program sshd or su, severity 3 or graver, whose text matches denied");
        let (_, packed) = books[0].rules().find(|(_, text)| text.source == Origin::Pack).unwrap();
        assert_eq!(packed.pack.as_deref(), Some("ietf 1"));
        assert_eq!(find(&books, &packed.id, packed.version), packed);
    }

    #[test]
    fn the_version_that_raised_an_alert_is_looked_for_first() {
        let books = [book(9, &document(3)), book(8, &document(2))];
        assert_eq!(find(&books, "own", 2).revision, Some(RevisionNumber(8)));
        assert_eq!(find(&books, "own", 1).revision, Some(RevisionNumber(9)), "else the one in force");
        assert_eq!(find(&books, "gone", 1).source, Origin::Unknown);
        assert_eq!(find(&books, "postern", 1).source, Origin::Gateway);
        assert_eq!(find(&books, "control-plane.unreachable", 1).source, Origin::ControlPlane);
    }

    #[test]
    fn the_built_in_rules_have_words() {
        let book = book(0, BUILT_IN);
        assert!(book.rules().count() > 5);
        assert!(book.rules().all(|(_, rule)| !rule.matches.is_empty()));
    }
}
