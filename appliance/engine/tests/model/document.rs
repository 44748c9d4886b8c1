//! The documents that the engine and the model run by: the same rules each time, with other noise control.

use postern_engine::rule::RuleIndex;
use postern_protocol::revision;

/// Seconds since the Unix epoch at which every sequence begins: 2027-01-15 08:00:00 UTC.
pub(crate) const START: i64 = 1_800_000_000;

/// Who reports.
pub(crate) const PEERS: [&str; 3] = ["192.0.2.1", "192.0.2.2", "192.0.2.3"];

/// Reports that thresholds want, and within how many seconds.
pub(crate) const THRESHOLD: (usize, i64) = (3, 10);

/// How much more `load` must be, within how many seconds.
pub(crate) const RATE: (f64, f64) = (10.0, 10.0);

/// Seconds after which `push.temp` ends its alerts.
pub(crate) const CLEAR_AFTER_S: i64 = 8;

/// Seconds within which changes are flaps, and after which it is quiet.
pub(crate) const FLAP_S: (i64, i64) = (20, 15);

/// Seconds within which new alerts are a storm, and after which it is over.
pub(crate) const STORM_S: (i64, i64) = (10, 12);

/// Seconds before its parent's in which an alert is folded, too.
pub(crate) const BEFORE_S: i64 = 5;

/// What differs between documents.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Variant {
    /// New alerts of one source, and of all.
    pub(crate) storm: Option<(usize, usize)>,
    /// Changes.
    pub(crate) flap: Option<usize>,
    pub(crate) windows: &'static [Window],
    pub(crate) dependencies: &'static [Dependency],
}

/// A window from one second after the start until another, about rules whose id begins so.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    pub(crate) id: &'static str,
    pub(crate) from: i64,
    pub(crate) until: i64,
    pub(crate) rules: &'static str,
}

/// Alerts that `child` reports are folded while there is one of `parent` that means so.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dependency {
    pub(crate) parent: &'static str,
    pub(crate) child: &'static str,
}

const fn window(id: &'static str, (from, until): (i64, i64), rules: &'static str) -> Window {
    Window { id, from, until, rules }
}

const fn dependency(parent: usize, child: usize) -> Dependency {
    Dependency { parent: PEERS[parent], child: PEERS[child] }
}

pub(crate) const VARIANTS: [Variant; 4] = [
    Variant {
        storm: Some((3, 5)),
        flap: Some(4),
        windows: &[window("w1", (60, 90), "push."), window("w2", (80, 120), "trap."), window("w3", (70, 84), "push.alarm")],
        dependencies: &[dependency(0, 1), dependency(1, 2), dependency(1, 0)],
    },
    Variant { storm: Some((4, 4)), flap: Some(6), windows: &[window("w1", (60, 100), "push.")], dependencies: &[dependency(1, 2)] },
    Variant { storm: Some((3, 6)), flap: None, windows: &[], dependencies: &[dependency(0, 1), dependency(0, 2)] },
    Variant { storm: None, flap: Some(4), windows: &[window("w4", (30, 70), "log.")], dependencies: &[] },
];

impl Variant {
    /// Compiles the document.
    pub(crate) fn compile(&self) -> RuleIndex {
        RuleIndex::compile(&revision::parse(self.json().as_bytes()).unwrap()).unwrap()
    }

    fn json(&self) -> String {
        let time = |second: i64| format!("2027-01-15T08:{:02}:{:02}Z", second / 60, second % 60);
        let flap = self.flap.map_or(r#""off""#.to_owned(), |changes| {
            format!(r#"{{"changes": {changes}, "within_s": {}, "quiet_s": {}}}"#, FLAP_S.0, FLAP_S.1)
        });
        let storm = self.storm.map_or(r#""off""#.to_owned(), |(own, all)| {
            let (within, quiet) = STORM_S;
            format!(r#"{{"per_source": {own}, "per_gateway": {all}, "within_s": {within}, "quiet_s": {quiet}}}"#)
        });
        let window = |window: &Window| {
            let Window { id, from, until, rules } = window;
            let (from, until) = (time(*from), time(*until));
            format!(
                r#"{{"id": "{id}", "affects": {{"rules": ["{rules}*"]}}, "when": {{"once": {{"from": "{from}", "until": "{until}"}}}}}}"#
            )
        };
        let dependency = |(number, Dependency { parent, child }): (usize, &Dependency)| {
            format!(r#"{{"id": "d{number}", "parent": "{parent}", "children": {{"networks": ["{child}/32"]}}, "before_s": {BEFORE_S}}}"#)
        };
        let windows: Vec<_> = self.windows.iter().map(window).collect();
        let dependencies: Vec<_> = self.dependencies.iter().enumerate().map(dependency).collect();
        format!(
            r#"{{"format": 1, "noise": {{"flap": {flap}, "storm": {storm}}}, "windows": [{}], "dependencies": [{}], "rules": [{}]}}"#,
            windows.join(", "),
            dependencies.join(", "),
            rules()
        )
    }
}

fn rules() -> String {
    let (count, within) = THRESHOLD;
    let (above, per_s) = RATE;
    let raise = |key: &str| format!(r#""then": {{"raise": {{{key}, "severity": "minor", "summary": "s"}}}}"#);
    let (source, resource) = (r#""source": {"max_bytes": 64}"#, r#""resource": {"max_bytes": 64}"#);
    let pushed = |kind: &str| format!(r#""match": {{"push": {{"kinds": ["{kind}"], "state": "raise"}}}}"#);
    [
        format!(
            r#"{{"id": "trap.link", "match": {{"trap": {{"oid": "1.3.6.1.6.3.1.1.5.3"}}}}, "clear_on": [{{"trap": {{"oid": "1.3.6.1.6.3.1.1.5.4"}}}}],
              "release": {{{source}, "index": {{"from": "index:1.3.6.1.2.1.2.2.1.1", "max_bytes": 9}}}}, {}}}"#,
            raise(r#""resource": "{source}/{index}", "kind": "link-down""#)
        ),
        format!(
            r#"{{"id": "trap.auth", "match": {{"trap": {{"oid": "1.3.6.1.6.3.1.1.5.5"}}}}, "release": {{{source}}},
              "threshold": {{"count": {count}, "within_s": {within}}}, {}}}"#,
            raise(r#""resource": "{source}", "kind": "auth""#)
        ),
        format!(
            r#"{{"id": "log.login", "match": {{"syslog": {{"programs": ["sshd"]}}}}, "release": {{{source}, "pid": {{"max_bytes": 9}}}},
              "threshold": {{"count": {count}, "within_s": {within}, "per": "source"}}, {}}}"#,
            raise(r#""resource": "{source}", "kind": "login", "qualifier": "{pid}""#)
        ),
        format!(
            r#"{{"id": "log.cron", "mode": "observe", "match": {{"syslog": {{"programs": ["cron"]}}}}, "release": {{{source}}}, {}}}"#,
            raise(r#""resource": "{source}", "kind": "cron""#)
        ),
        format!(
            r#"{{"id": "push.load", {}, "release": {{{resource}, "value": {{"from": "field:value", "max_bytes": 9}}}},
              "rate": {{"of": "value", "per_s": {per_s}, "above": {above}}}, {}}}"#,
            pushed("load"),
            raise(r#""resource": "{resource}", "kind": "load""#)
        ),
        format!(
            r#"{{"id": "push.temp", {}, "release": {{{resource}, "severity": {{"max_bytes": 9}}}},
              "then": {{"raise": {{"resource": "{{resource}}", "kind": "temp", "summary": "s", "clear_after_s": {CLEAR_AFTER_S},
                "severity": {{"by": "severity", "map": {{"major": "major"}}, "default": "minor"}}}}}}}}"#,
            pushed("temp")
        ),
        format!(r#"{{"id": "push.down", {}, "release": {{{resource}}}, {}}}"#, pushed("node-down"), raise(r#""resource": "{resource}", "kind": "node-down""#)),
        format!(
            r#"{{"id": "push.alarm", {}, "release": {{{resource}, "severity": {{"max_bytes": 9}}}},
              "then": {{"raise": {{"resource": "{{resource}}", "kind": "alarm", "summary": "s",
                "severity": {{"by": "severity", "map": {{"major": "major"}}, "default": "minor"}}}}}}}}"#,
            pushed("alarm")
        ),
        format!(r#"{{"id": "push.noise", {}, "then": {{"suppress": {{}}}}}}"#, pushed("noise")),
        format!(
            r#"{{"id": "push.clear", "match": {{"push": {{"state": "clear"}}}}, "release": {{{resource}, "kind": {{"max_bytes": 64}}}},
              "then": {{"clear": {{"resource": "{{resource}}", "kind": "{{kind}}"}}}}}}"#
        ),
    ]
    .join(",\n")
}
