//! One alert as a row of the list: the same text on the page and in a server-sent event.

use askama::Template;
use postern_protocol::alert::{AlertState, Severity};
use postern_protocol::timestamp::Timestamp;

use super::GatewayNames;
use super::query::ListQuery;
use crate::console::fault::Fault;
use crate::console::moment::Moment;
use crate::console::{figures, page};
use crate::store::alerts::AlertView;

#[derive(Template)]
#[template(path = "alert_row.html")]
struct Row<'a> {
    acknowledged: Option<&'a str>,
    can_act: bool,
    count: String,
    first_seen: Moment,
    flapping: bool,
    fold: Option<Fold>,
    gateway_name: &'a str,
    id: &'a str,
    kind: &'a str,
    last_seen: Moment,
    once: bool,
    open: bool,
    order: String,
    parent: Option<&'a str>,
    qualifier: &'a str,
    quiet_until: Option<Moment>,
    resource: &'a str,
    revision: i64,
    severity: Severity,
    state: AlertState,
    summary: &'a str,
    window: &'a str,
}

/// The alerts that a row folds.
struct Fold {
    count: String,
    href: String,
    title: String,
}

impl Fold {
    fn of(alert: &AlertView) -> Option<Self> {
        let count = figures::count(alert.children);
        let title = match alert.children {
            0 => return None,
            1 => "1 alert is folded under this one".to_owned(),
            _ => format!("{count} alerts are folded under this one"),
        };
        Some(Self { count, href: ListQuery::folded_under(&alert.id).page(""), title })
    }
}

/// What the list is sorted by, as a text that sorts as the times do.
pub(super) fn order(alert: &AlertView) -> String {
    format!("{:020}", alert.first_seen.as_nanos())
}

/// What all rows of a list have in common.
pub(super) struct Rows<'a> {
    /// Whether the reader may act on alerts.
    pub(super) can_act: bool,
    /// Names of the gateways.
    pub(super) gateways: &'a GatewayNames,
    /// The present time.
    pub(super) now: Timestamp,
}

impl Rows<'_> {
    /// Renders an alert's row.
    pub(super) fn render(&self, alert: &AlertView) -> Result<String, Fault> {
        let gateway = self.gateways.get(&alert.gateway).map_or(alert.gateway.as_str(), String::as_str);
        page::part(&Row {
            acknowledged: alert.acknowledged.as_ref().map(|acknowledged| acknowledged.by.as_str()),
            can_act: self.can_act,
            count: figures::count(alert.count),
            first_seen: Moment::new(alert.first_seen, self.now),
            flapping: alert.flapping,
            fold: Fold::of(alert),
            gateway_name: gateway,
            id: &alert.id,
            kind: &alert.kind,
            last_seen: Moment::new(alert.last_seen, self.now),
            once: alert.count == 1,
            open: alert.state == AlertState::Open,
            order: order(alert),
            parent: alert.parent.as_deref(),
            qualifier: &alert.qualifier,
            quiet_until: alert.suppressed.as_ref().map(|suppressed| Moment::new(suppressed.until, self.now)),
            resource: &alert.resource,
            revision: alert.revision,
            severity: alert.severity,
            state: alert.state,
            summary: &alert.summary,
            window: alert.suppressed.as_ref().map_or("", |suppressed| &suppressed.by),
        })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeMap;

    use postern_protocol::alert::Evidence;
    use postern_protocol::id::GatewayId;

    use super::*;
    use crate::store::alerts::Acknowledged;

    /// An alert in which every text is an attack.
    pub(in crate::console) fn hostile() -> AlertView {
        let attack = "<script>alert(1)</script>\"' onload=x {{7*7}} \u{202e}".to_owned();
        let now = Timestamp::from_secs(1_795_300_000);
        AlertView {
            id: "00ff".to_owned(),
            gateway: GatewayId::new("gw-1").unwrap(),
            pair: None,
            reports: Vec::new(),
            state: AlertState::Open,
            severity: Severity::Critical,
            resource: attack.clone(),
            kind: attack.clone(),
            qualifier: attack.clone(),
            summary: attack.clone(),
            count: 1234,
            first_seen: now,
            last_seen: now,
            cleared_at: None,
            labels: BTreeMap::from([(attack.clone(), attack.clone())]),
            closed_at: None,
            parent: None,
            children: 0,
            revision: 7,
            evidence: Evidence { peer: attack.clone(), hostname: attack.clone(), conflict: true, ..Evidence::default() },
            rule: attack.clone(),
            rule_version: 1,
            acknowledged: Some(Acknowledged { by: attack, at: now }),
            assignee: None,
            notes: Vec::new(),
            suppressed: None,
            flapping: false,
            decisions: Vec::new(),
        }
    }

    fn render(alert: &AlertView) -> String {
        let gateways = GatewayNames::from([(alert.gateway.clone(), "<b>Berlin</b>".to_owned())]);
        Rows { can_act: true, gateways: &gateways, now: alert.last_seen }.render(alert).unwrap()
    }

    #[test]
    fn hostile_text_stays_text() {
        let row = render(&hostile());
        assert!(!row.contains("<script") && !row.contains("<b>Berlin") && !row.contains("\"' onload"), "{row}");
        assert!(row.contains("&#60;script&#62;"), "{row}");
    }

    #[test]
    fn a_row_says_severity_and_state_in_words() {
        let row = render(&AlertView { acknowledged: None, ..hostile() });
        for word in [">Critical</span>", ">Open</span>", "<b>1,234</b>", "formaction=\"/alerts/00ff/acknowledge\"", "data-revision=\"7\""] {
            assert!(row.contains(word), "{word} in {row}");
        }
    }

    #[test]
    fn a_row_says_what_it_folds_and_what_keeps_it_quiet() {
        use crate::store::alerts::Suppressed;
        let suppressed = Some(Suppressed { by: "patch-night".into(), until: Timestamp::from_secs(1_795_303_600) });
        let row = render(&AlertView { children: 12_345, flapping: true, suppressed, parent: Some("ee".into()), ..hostile() });
        for text in [
            "href=\"/alerts?state=all&#38;parent=00ff\"",
            ">12,345</a>",
            ">Flapping<",
            "patch-night keeps it quiet until 2026-11-21",
            "href=\"/alerts/ee\"",
        ] {
            assert!(row.contains(text), "{text} in {row}");
        }
        let plain = render(&hostile());
        assert!(!plain.contains("class=\"fold\"") && !plain.contains("Flapping") && !plain.contains("Maintenance"), "{plain}");
    }

    #[test]
    fn rows_have_no_inline_style_or_script() {
        let row = render(&hostile());
        assert!(!row.contains(" style=") && !row.contains(" onclick="), "{row}");
    }
}
