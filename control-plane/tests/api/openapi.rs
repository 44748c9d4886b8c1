//! `openapi.json`: checked in, what the program serves, and true of what the handlers write.

use std::collections::BTreeSet;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use postern_control::api::openapi;
use postern_control::auth::Role;
use serde_json::Value;

use super::{World, alert, id};

const CHECKED_IN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.json");

#[test]
fn the_description_that_is_checked_in_is_the_generated_one() {
    let generated = format!("{}\n", serde_json::to_string_pretty(&openapi::describe()).unwrap());
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(CHECKED_IN, &generated).unwrap();
    }
    let checked_in = std::fs::read_to_string(CHECKED_IN).unwrap_or_default();
    let differs = generated.lines().zip(checked_in.lines()).position(|(new, old)| new != old).map(|line| line + 1);
    assert!(generated == checked_in, "openapi.json is stale from line {differs:?}: run the test with UPDATE_GOLDEN=1");
}

#[test]
fn every_reference_resolves_and_every_operation_is_described() {
    let description = serde_json::to_value(openapi::describe()).unwrap();
    assert_eq!(description["openapi"], "3.1.0");
    let mut references = BTreeSet::new();
    collect_references(&description, &mut references);
    for reference in references {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(description.pointer(pointer).is_some(), "{reference} is not there");
    }
    let mut names = BTreeSet::new();
    for (path, methods) in description["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            assert!(operation["summary"].as_str().is_some_and(|text| !text.is_empty()), "{method} {path}");
            assert!(names.insert(operation["operationId"].as_str().unwrap().to_owned()), "{method} {path}: operationId is taken");
        }
    }
}

fn collect_references(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            if let Some(Value::String(reference)) = map.get("$ref") {
                found.insert(reference.clone());
            }
            map.values().for_each(|value| collect_references(value, found));
        }
        Value::Array(values) => values.iter().for_each(|value| collect_references(value, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[tokio::test]
async fn the_documents_are_public() {
    let world = World::new().await;
    for (path, kind) in [
        ("/api/v1/openapi.json", "application/json"),
        ("/api/v1/schemas/push.json", "application/schema+json"),
        ("/api/v1/schemas/revision.json", "application/schema+json"),
    ] {
        let answer = world.send(Request::get(path).body(Body::empty()).unwrap()).await;
        assert_eq!((answer.status, answer.header("content-type")), (StatusCode::OK, kind), "{path}");
        assert!(answer.json().is_object(), "{path}");
    }
}

#[tokio::test]
async fn the_schemas_name_the_very_fields_that_are_written() {
    let world = World::new().await;
    world.report("a", 1, vec![alert("r", 1)]).await;
    let mut again = alert("r", 2);
    again.revision += 10;
    again.occurrence = again.revision;
    world.report("a", 2, vec![again]).await;
    let admin = world.token("a", Role::Admin).await;
    let alert = format!("/api/v1/alerts/{}", id("a", "r"));
    world.post(&admin, &format!("{alert}/acknowledge"), &[], "").await;
    world.post(&admin, &format!("{alert}/notes"), &[], r#"{"text":"x"}"#).await;
    let document = super::with_token(Request::put("/api/v1/gateways/gateway-a/configuration?force=true"), &admin)
        .header("content-type", "application/json")
        .body(Body::from("{}"))
        .unwrap();
    let stored = world.send(document).await;
    let token = world.post(&admin, "/api/v1/enrolment-tokens", &[], r#"{"gateway_name":"x"}"#).await;
    let problem = world.get(&admin, "/api/v1/alerts?limit=x").await;
    super::intake::furnish(&world).await;
    let uploaded = super::mibs::upload(&world, &admin, "", "text/plain", super::mibs::LACKING).await;
    let secret = super::secrets::sealed(&world, &admin).await;
    for (schema, answer) in [
        ("AlertPage", world.get(&admin, "/api/v1/alerts").await),
        ("History", world.get(&admin, &format!("{alert}/history")).await),
        ("Explanation", world.get(&admin, &format!("{alert}/explain")).await),
        ("AlertPage", world.get(&admin, &format!("{alert}/children")).await),
        ("GatewayPage", world.get(&admin, "/api/v1/gateways").await),
        ("RevisionPage", world.get(&admin, "/api/v1/gateways/gateway-a/revisions").await),
        ("EnrolmentTokenPage", world.get(&admin, "/api/v1/enrolment-tokens").await),
        ("CreatedEnrolmentToken", token),
        ("SealingKey", world.get(&admin, "/api/v1/gateways/gateway-a/sealing-key").await),
        ("SecretPage", world.get(&admin, "/api/v1/gateways/gateway-a/secrets").await),
        ("StoredRevision", stored),
        ("StoredSecret", secret),
        ("Problem", problem),
        ("LedgerAnswer", world.get(&admin, "/api/v1/gateways/gateway-a/ledger").await),
        ("WaitingRoom", world.get(&admin, "/api/v1/gateways/gateway-a/waiting-room").await),
        ("Compiled", uploaded),
        ("Modules", world.get(&admin, "/api/v1/mibs").await),
        ("UnknownOids", world.get(&admin, "/api/v1/unknown-oids").await),
    ] {
        let schema_value = serde_json::to_value(openapi::describe()).unwrap();
        let mut checked = 0;
        compare(&schema_value, &schema_value["components"]["schemas"][schema], &answer.json(), schema, &mut checked);
        assert!(checked > 0, "{schema}: nothing was compared");
    }
}

/// Compares an answer with its schema: no field more, no required one less, enumerated texts as listed.
fn compare(all: &Value, schema: &Value, value: &Value, place: &str, checked: &mut u32) {
    if let Some(reference) = schema["$ref"].as_str() {
        return compare(all, all.pointer(reference.trim_start_matches('#')).unwrap(), value, place, checked);
    }
    if let Some(choices) = schema["oneOf"].as_array() {
        let choice = choices.iter().find(|choice| (choice["type"] == "null") == value.is_null()).unwrap();
        return compare(all, choice, value, place, checked);
    }
    if let Some(known) = schema["enum"].as_array() {
        assert!(known.contains(value), "{place}: {value}");
    }
    if let (Some(properties), Some(fields)) = (schema["properties"].as_object(), value.as_object()) {
        for required in schema["required"].as_array().into_iter().flatten() {
            assert!(fields.contains_key(required.as_str().unwrap()), "{place}: {required} is missing");
        }
        for (name, field) in fields {
            let property = properties.get(name).unwrap_or_else(|| panic!("{place}.{name} is not described"));
            compare(all, property, field, &format!("{place}.{name}"), checked);
            *checked += 1;
        }
    }
    if let Some(items) = value.as_array() {
        assert!(items.is_empty() || schema["items"].is_object(), "{place} is not described as a list");
        items.iter().for_each(|item| compare(all, &schema["items"], item, place, checked));
    }
}
