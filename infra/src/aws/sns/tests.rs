//! What is published; that it is published is shown with the test cloud (`tests/alerts.rs`).

use std::time::Duration;

use policies::backend::PoolName;
use scaler::ports::{Severity, State};
use serde_json::Value;

use super::*;
use crate::aws::topic::TopicArn;
use crate::aws::{Identity, Place};

fn message(title: &str) -> Message {
    Message {
        key: "kg-sports/cloud/scaled_out".to_owned(),
        sequence: 7,
        at: "2026-11-21T10:00:00Z".parse().unwrap(),
        state: State::Fired,
        severity: Severity::Warning,
        kind: "scaled_out".into(),
        site: "kg-sports".into(),
        pool: Some(PoolName("cloud".into())),
        title: title.to_owned(),
        text: "3 more instances".to_owned(),
        fields: vec![("count".into(), "3".to_owned())],
    }
}

fn settings(topic: &str) -> SnsSettings {
    SnsSettings {
        topic: TopicArn::parse(topic).unwrap(),
        place: Place {
            region: None,
            endpoint: None,
            timeout: Duration::from_secs(1),
            identity: Identity::Found,
        },
        attributes: ["severity", "pool", "event"].map(str::to_owned).to_vec(),
        group_id: "{site}/{pool}".to_owned(),
        dedup_id: "{alert}/{state}/{sequence}".to_owned(),
    }
}

const PEOPLE: &str = "arn:aws:sns:eu-west-2:111122223333:people";

#[test]
fn people_get_a_short_text_and_a_long_one_and_machines_get_json() {
    let forms: Value = serde_json::from_str(&forms(&message("more capacity"))).unwrap();
    assert_eq!(forms["sms"], "more capacity");
    assert_eq!(forms["default"], "more capacity\n\n3 more instances");
    let record: Value = serde_json::from_str(forms["sqs"].as_str().unwrap()).unwrap();
    assert_eq!((&record["kind"], &record["fields"]["count"]), (&json!("scaled_out"), &json!("3")));
    assert_eq!(record["at"], "2026-11-21T10:00:00Z");
}

#[test]
fn a_text_message_is_one_message_in_either_alphabet() {
    let latin = short(&message(&"a".repeat(500)));
    assert!(latin.len() == 160 && latin.ends_with("aaa..."));
    let korean = short(&message(&"경기".repeat(100)));
    assert_eq!(korean.encode_utf16().count(), 70);
    let wide = short(&message(&"⚽️🏟".repeat(40)));
    assert!(wide.encode_utf16().count() <= 70);
    assert_eq!(short(&message("one\r\ntwo")), "one  two");
    let brackets = short(&message(&"[".repeat(81)));
    assert_eq!(brackets, "[".repeat(78) + "...", "a bracket takes two places");
    assert_eq!(
        short(&message(&"`".repeat(71))).len(),
        70,
        "and a back-quote is in no SMS alphabet"
    );
}

#[test]
fn ids_of_an_ordered_topic_are_short_and_keep_their_number() {
    let settings = settings("arn:aws:sns:eu-west-2:111122223333:record.fifo");
    assert_eq!(group_id(&settings, &message("t")), "kg-sports/cloud");
    assert_eq!(dedup_id(&settings, &message("t")), "kg-sports/cloud/scaled_out/fired/7");
    let over = Message { state: State::Resolved, sequence: 8, ..message("t") };
    assert_eq!(dedup_id(&settings, &over), "kg-sports/cloud/scaled_out/resolved/8");
    let long = Message { key: "k".repeat(300), ..message("t") };
    let id = dedup_id(&settings, &long);
    assert!(id.len() == ID && id.ends_with("k/fired/7"));
    let nobody = Message { pool: None, ..message("t") };
    assert_eq!(group_id(&settings, &nobody), "kg-sports/-");
}

#[test]
fn attributes_are_those_that_are_wanted_and_known() {
    let found = attributes(&settings(PEOPLE), &message("t"));
    let mut names: Vec<_> = found.keys().map(String::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["pool", "severity"]);
    assert_eq!(found["severity"].string_value(), Some("warning"));
}
