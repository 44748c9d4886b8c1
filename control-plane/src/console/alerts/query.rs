//! What the address of the list says: which alerts, and from where on. Everything that a person has chosen is in it, so that a
//! list can be bookmarked and sent to somebody else. Pure.

use postern_protocol::alert::{AlertState, Severity};

use crate::console::url;
use crate::store::alerts::{AlertFilter, Cursor, Folding};

/// Longest search text that is looked for.
const MAX_SEARCH_CHARACTERS: usize = 200;

/// Which alerts the list shows.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(super) struct ListQuery {
    /// One state, or `None` for all.
    pub(super) state: StateChoice,
    /// Only these severities; all when empty.
    pub(super) severities: Vec<Severity>,
    /// Only of this gateway.
    pub(super) gateway: String,
    /// Only acknowledged ones, or only others.
    pub(super) acknowledged: Option<bool>,
    /// Only with this text; found wherever it is, folded or quiet.
    pub(super) q: String,
    /// Only what this alert folds.
    pub(super) parent: String,
    /// Whether to show what a maintenance window keeps quiet.
    pub(super) quiet: Quiet,
    /// Where the page begins.
    pub(super) cursor: String,
}

/// Whether the list shows what a maintenance window keeps quiet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(super) enum Quiet {
    /// It is left out, and counted: the default.
    #[default]
    Hidden,
    /// It stands among the others.
    Shown,
}

/// Which states the list shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(super) enum StateChoice {
    /// What needs somebody: the default.
    #[default]
    Open,
    /// What ended by itself.
    Cleared,
    /// What a person closed.
    Closed,
    /// Everything.
    All,
}

impl StateChoice {
    /// Every choice, in the order of the page.
    pub(super) const ALL: [Self; 4] = [Self::Open, Self::Cleared, Self::Closed, Self::All];

    /// Returns the name in the address.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Cleared => "cleared",
            Self::Closed => "closed",
            Self::All => "all",
        }
    }

    /// Returns the word on the page.
    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::Open => "Open",
            Self::Cleared => "Cleared",
            Self::Closed => "Closed",
            Self::All => "All",
        }
    }

    fn states(self) -> Vec<AlertState> {
        match self {
            Self::Open => vec![AlertState::Open],
            Self::Cleared => vec![AlertState::Cleared],
            Self::Closed => vec![AlertState::Closed],
            Self::All => Vec::new(),
        }
    }
}

impl ListQuery {
    /// Reads the pairs of a query. A pair that means nothing is left out: an old bookmark still shows a list.
    pub(super) fn parse(pairs: &[(String, String)]) -> Self {
        let mut query = Self::default();
        for (name, value) in pairs {
            match name.as_str() {
                "state" => query.state = StateChoice::ALL.into_iter().find(|state| state.name() == value).unwrap_or_default(),
                "severity" => {
                    let severity = Severity::from_name(value).filter(|severity| !query.severities.contains(severity));
                    query.severities.extend(severity);
                }
                "gateway" => query.gateway = value.chars().take(64).collect(),
                "acknowledged" => {
                    query.acknowledged = match value.as_str() {
                        "yes" => Some(true),
                        "no" => Some(false),
                        _ => None,
                    }
                }
                "parent" => query.parent = value.chars().filter(char::is_ascii_alphanumeric).take(64).collect(),
                "quiet" => query.quiet = if value == "shown" { Quiet::Shown } else { Quiet::Hidden },
                "q" => query.q = value.trim().chars().take(MAX_SEARCH_CHARACTERS).collect(),
                "cursor" if Cursor::parse(value).is_some() => query.cursor.clone_from(value),
                _ => {}
            }
        }
        query.severities.sort_by(|a, b| b.cmp(a));
        query
    }

    /// Returns the store's filter.
    pub(super) fn filter(&self) -> AlertFilter {
        let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        AlertFilter {
            states: self.state.states(),
            severities: self.severities.clone(),
            gateway: given(&self.gateway),
            q: given(&self.q),
            acknowledged: self.acknowledged,
            folding: self.folding(),
            suppressed: (self.hides() && self.quiet == Quiet::Hidden).then_some(false),
            ..AlertFilter::default()
        }
    }

    /// Whether the list leaves out what is folded or quiet: it does unless somebody looks for a text or under an alert.
    pub(super) fn hides(&self) -> bool {
        self.q.is_empty() && self.parent.is_empty()
    }

    fn folding(&self) -> Option<Folding> {
        match (self.parent.as_str(), self.q.as_str()) {
            ("", "") => Some(Folding::Nothing),
            ("", _) => None,
            (parent, _) => Some(Folding::Under(parent.to_owned())),
        }
    }

    /// Returns the list of what an alert folds.
    pub(super) fn folded_under(id: &str) -> Self {
        Self { state: StateChoice::All, parent: id.to_owned(), ..Self::default() }
    }

    /// Returns the same list with what is quiet shown or hidden, from its beginning.
    pub(super) fn with_quiet(&self, quiet: Quiet) -> Self {
        Self { quiet, cursor: String::new(), ..self.clone() }
    }

    /// Returns the store's cursor.
    pub(super) fn cursor(&self) -> Option<Cursor> {
        Cursor::parse(&self.cursor)
    }

    /// Whether anything but the default is shown.
    pub(super) fn is_filtered(&self) -> bool {
        Self { cursor: String::new(), ..self.clone() } != Self::default()
    }

    /// Returns `yes`, `no` or nothing.
    pub(super) fn acknowledged_name(&self) -> &'static str {
        match self.acknowledged {
            Some(true) => "yes",
            Some(false) => "no",
            None => "",
        }
    }

    /// Returns the address of this list, with `path` before its query and `more` after it.
    pub(super) fn address<'a>(&'a self, path: &str, more: &[(&'a str, &'a str)]) -> String {
        let state = if self.state == StateChoice::default() { "" } else { self.state.name() };
        let mut pairs = vec![("state", state)];
        pairs.extend(self.severities.iter().map(|severity| ("severity", severity.name())));
        let quiet = if self.quiet == Quiet::Shown { "shown" } else { "" };
        pairs.extend([("gateway", self.gateway.as_str()), ("acknowledged", self.acknowledged_name()), ("q", self.q.as_str())]);
        pairs.extend([("parent", self.parent.as_str()), ("quiet", quiet)]);
        pairs.extend(more);
        url::with_query(path, pairs)
    }

    /// Returns the address of the page that begins at `cursor`.
    pub(super) fn page(&self, cursor: &str) -> String {
        self.address("/alerts", &[("cursor", cursor)])
    }

    /// Returns the same list in another state, from its beginning.
    pub(super) fn in_state(&self, state: StateChoice) -> Self {
        Self { state, cursor: String::new(), ..self.clone() }
    }

    /// Returns the same list with `severity` taken in, or out if it was in, from its beginning.
    pub(super) fn toggled(&self, severity: Severity) -> Self {
        let mut severities = self.severities.clone();
        match severities.iter().position(|chosen| *chosen == severity) {
            Some(place) => drop(severities.remove(place)),
            None => severities.push(severity),
        }
        severities.sort_by(|a, b| b.cmp(a));
        Self { severities, cursor: String::new(), ..self.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(pairs: &[(&str, &str)]) -> ListQuery {
        ListQuery::parse(&pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect::<Vec<_>>())
    }

    #[test]
    fn a_list_survives_its_address() {
        let query = parse(&[
            ("state", "all"),
            ("severity", "major"),
            ("severity", "critical"),
            ("gateway", "gw-1"),
            ("acknowledged", "no"),
            ("q", " link & \"down\" "),
        ]);
        assert_eq!(
            query.address("/alerts", &[]),
            "/alerts?state=all&severity=critical&severity=major&gateway=gw-1&acknowledged=no&q=link%20%26%20%22down%22"
        );
        assert_eq!(query.filter().severities, [Severity::Critical, Severity::Major]);
    }

    #[test]
    fn without_a_query_the_open_alerts_are_listed() {
        let query = parse(&[("state", "odd"), ("severity", "odd"), ("cursor", "odd"), ("acknowledged", ""), ("x", "y")]);
        assert_eq!(query, ListQuery::default());
        assert_eq!(query.filter().states, [AlertState::Open]);
        assert_eq!((query.filter().folding, query.filter().suppressed), (Some(Folding::Nothing), Some(false)));
        assert_eq!(query.address("/alerts", &[]), "/alerts");
        assert!(!query.is_filtered());
    }

    #[test]
    fn a_search_finds_what_is_folded_or_quiet() {
        let query = parse(&[("q", "link"), ("parent", "")]);
        assert_eq!((query.filter().folding, query.filter().suppressed), (None, None));
        let under = parse(&[("parent", "00ff"), ("state", "all")]);
        assert_eq!(under, ListQuery::folded_under("00ff"));
        assert_eq!((under.filter().folding, under.filter().suppressed), (Some(Folding::Under("00ff".into())), None));
        let shown = parse(&[]).with_quiet(Quiet::Shown);
        assert_eq!((shown.page("").as_str(), shown.filter().suppressed), ("/alerts?quiet=shown", None));
    }

    #[test]
    fn a_severity_is_taken_in_and_out() {
        let critical = parse(&[]).toggled(Severity::Critical);
        assert_eq!(critical.page(""), "/alerts?severity=critical");
        assert_eq!(critical.toggled(Severity::Critical), ListQuery::default());
    }
}
