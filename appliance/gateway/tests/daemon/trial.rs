//! Revisions on trial, without a control plane that could confirm them.

use std::time::Duration;

use postern_gateway::revision::Mode;
use postern_protocol::id::RevisionNumber;
use serde_json::{Value, json};

use crate::restart::{ready, start};
use crate::site::Site;

const LONG: Duration = Duration::from_secs(600);

fn document(id: &str) -> Value {
    json!({"format": 1, "rules": [{"id": id, "match": {"syslog": {}}, "then": {"suppress": {}}}]})
}

/// Revision 1 confirmed, revision 2 on trial.
fn site(within: Duration) -> Site {
    let site = Site::new("");
    site.confirm(1, &document("confirmed"));
    site.try_out(2, &document("tried"), within);
    site
}

#[tokio::test]
async fn a_revision_that_nobody_confirms_is_taken_back_by_itself() {
    let site = site(Duration::from_secs(3));
    site.run(async |gateway| {
        let report = gateway.status().await.revision;
        assert_eq!(report.provisional.map(|provisional| provisional.number), Some(RevisionNumber(2)));
        let report = gateway.until(|status| status.revision.provisional.is_none()).await.revision;
        assert_eq!((report.effective, report.confirmed), (Some(RevisionNumber(1)), Some(RevisionNumber(1))));
        assert!(report.failed.unwrap().problems[0].reason.contains("not reached within 3 s"));
    })
    .await;
    site.run(async |gateway| {
        let report = gateway.status().await.revision;
        assert_eq!((report.effective, report.provisional), (Some(RevisionNumber(1)), None), "and stays so");
    })
    .await;
}

#[tokio::test]
async fn a_revision_with_which_the_daemon_dies_twice_is_taken_back() {
    let site = site(LONG);
    let gateway = site.running();
    for expected in [2, 2, 1] {
        let mut daemon = start(&site);
        ready(&gateway, &mut daemon).await;
        let report = gateway.status().await.revision;
        daemon.kill().unwrap();
        daemon.wait().unwrap();
        assert_eq!(report.effective, Some(RevisionNumber(expected)));
        if expected == 1 {
            assert!(report.failed.unwrap().problems[0].reason.contains("uncleanly"));
        }
    }
}

#[tokio::test]
async fn clean_restarts_do_not_end_a_trial() {
    let site = site(LONG);
    for _ in 0..4 {
        site.run(async |gateway| {
            let report = gateway.status().await.revision;
            assert_eq!(report.provisional.map(|provisional| provisional.number), Some(RevisionNumber(2)));
        })
        .await;
    }
}

#[tokio::test]
async fn safe_mode_runs_what_was_confirmed_last() {
    let site = site(LONG);
    site.run_in(Mode::Safe, async |gateway| {
        let status = gateway.status().await;
        assert_eq!((status.revision.effective, status.revision.provisional), (Some(RevisionNumber(1)), None));
        assert!(status.intake.warnings.iter().any(|warning| warning.contains("last confirmed revision")), "{:?}", status.intake.warnings);
    })
    .await;
    site.run(async |gateway| {
        let report = gateway.status().await.revision;
        assert_eq!(report.effective, Some(RevisionNumber(2)), "the trial goes on");
    })
    .await;
}
