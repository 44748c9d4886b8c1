//! MIB modules: uploaded, compiled by the program itself in a child process, kept by tenant, listed with what is wrong.

use axum::body::Body;
use axum::http::{Request, StatusCode};
use postern_control::auth::Role;
use postern_control::mibs::MAX_ARCHIVE_BYTES;
use postern_protocol::status::intake::UnknownOid;
use postern_protocol::timestamp::Timestamp;

use super::{Answer, World, gateway, tenant, with_token};

const GOOD: &str = "ACME-MIB DEFINITIONS ::= BEGIN
IMPORTS MODULE-IDENTITY, NOTIFICATION-TYPE, enterprises FROM SNMPv2-SMI;
acme MODULE-IDENTITY
  LAST-UPDATED \"202601010000Z\" ORGANIZATION \"Acme\" CONTACT-INFO \"-\" DESCRIPTION \"-\"
  ::= { enterprises 99999 }
acmeTraps OBJECT IDENTIFIER ::= { acme 0 }
acmeDoorOpen NOTIFICATION-TYPE STATUS current DESCRIPTION \"-\" ::= { acmeTraps 1 }
END
";

pub(crate) const LACKING: &str = "ACME-EXTRA-MIB DEFINITIONS ::= BEGIN
IMPORTS NOTIFICATION-TYPE FROM SNMPv2-SMI
        acmeExtras FROM ACME-NOWHERE-MIB;
acmeLost NOTIFICATION-TYPE STATUS current DESCRIPTION \"-\" ::= { acmeExtras 1 }
END
";

pub(crate) async fn upload(world: &World, token: &str, query: &str, kind: &str, body: impl Into<Body>) -> Answer {
    let request = with_token(Request::post(format!("/api/v1/mibs{query}")), token).header("content-type", kind);
    world.send(request.body(body.into()).unwrap()).await
}

#[tokio::test]
async fn modules_are_compiled_together_and_their_faults_listed() {
    let world = World::new().await;
    let admin = world.token("a", Role::Admin).await;
    let empty = world.get(&admin, "/api/v1/mibs").await.json();
    assert_eq!((empty["digest"].is_null(), empty["archives"].as_array().map(Vec::len)), (true, Some(0)));
    let made = upload(&world, &admin, "?name=acme.mib", "text/plain", GOOD).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.json());
    assert_eq!(made.json()["totals"]["resolved"], 1);
    assert_eq!(upload(&world, &admin, "", "text/plain", GOOD).await.status, StatusCode::CONFLICT);
    assert_eq!(upload(&world, &admin, "?name=extra.mib", "text/plain", LACKING).await.status, StatusCode::CREATED);
    let list = world.get(&admin, "/api/v1/mibs").await.json();
    assert_eq!((list["archives"][0]["name"].as_str(), list["archives"][1]["number"].as_i64()), (Some("acme.mib"), Some(2)));
    assert_eq!(list["unresolved"][0]["name"], "acmeLost", "{list}");
    assert_eq!(list["unresolved"][0]["line"], 4);
    assert_eq!(list["digest"], list["totals"]["digest"]);
    let one = world.get(&admin, "/api/v1/mibs?module=ACME-MIB").await.json();
    assert_eq!((one["modules"].as_array().map(Vec::len), one["unresolved"].as_array().map(Vec::len)), (Some(1), Some(0)));
    let other = world.token("b", Role::Admin).await;
    assert_eq!(world.get(&other, "/api/v1/mibs").await.json(), empty, "another tenant's modules");
    let delete = |number: u32| with_token(Request::delete(format!("/api/v1/mibs/{number}")), &admin).body(Body::empty()).unwrap();
    assert_eq!(world.send(delete(2)).await.status, StatusCode::NO_CONTENT);
    assert_eq!(world.send(delete(2)).await.status, StatusCode::NOT_FOUND);
    assert_eq!(world.send(delete(1)).await.status, StatusCode::NO_CONTENT);
    let none = world.get(&admin, "/api/v1/mibs").await.json();
    assert_eq!((none["modules"].as_array().map(Vec::len), none["digest"].is_string()), (Some(0), true));
}

#[tokio::test]
async fn what_is_no_archive_or_too_large_is_refused_and_keeps_nothing() {
    let world = World::new().await;
    let admin = world.token("a", Role::Admin).await;
    for (kind, body, status) in [
        ("application/json", b"{}".to_vec(), StatusCode::UNSUPPORTED_MEDIA_TYPE),
        ("application/zip", Vec::new(), StatusCode::BAD_REQUEST),
        ("application/zip", b"PK\x03\x04 and then nothing".to_vec(), StatusCode::UNPROCESSABLE_ENTITY),
        ("application/zip", vec![0; MAX_ARCHIVE_BYTES + 1], StatusCode::PAYLOAD_TOO_LARGE),
    ] {
        let answer = upload(&world, &admin, "", kind, body).await;
        assert_eq!(answer.status, status, "{kind}");
        assert!(answer.is_problem());
    }
    assert_eq!(world.get(&admin, "/api/v1/mibs").await.json()["archives"].as_array().map(Vec::len), Some(0));
}

#[tokio::test]
async fn an_unknown_oid_is_explained_by_an_uploaded_module() {
    let world = World::new().await;
    let admin = world.token("a", Role::Admin).await;
    upload(&world, &admin, "", "text/plain", GOOD).await;
    let now = postern_control::clock::now();
    let unknown = |oid: &str, count| UnknownOid {
        oid: oid.to_owned(),
        count,
        first_seen: Timestamp::from_secs(1).as_nanos(),
        last_seen: now.as_nanos(),
        source: "10.0.0.1".to_owned(),
    };
    let oids = vec![unknown("1.3.6.1.4.1.99999.0.1", 3), unknown("1.3.6.1.4.1.4294967295.1", 2), unknown("1.3.6.1.4.1.99999.0.9", 1)];
    world.app.stores.tenant(&tenant("a")).unwrap().put_unknown_oids(&gateway("a"), oids, now).await.unwrap();
    let found = world.get(&admin, "/api/v1/unknown-oids").await.json();
    let explained = |at: usize, key: &str| found["items"][at]["explanation"][key].as_str().unwrap_or_default().to_owned();
    assert_eq!((explained(0, "name"), explained(0, "module")), ("acmeDoorOpen".to_owned(), "ACME-MIB".to_owned()));
    assert!(explained(1, "advice").contains("4294967295"));
    assert_eq!(explained(2, "above"), "acmeTraps");
    let other = world.token("b", Role::Admin).await;
    assert_eq!(world.get(&other, "/api/v1/unknown-oids").await.json()["items"].as_array().map(Vec::len), Some(0));
}
