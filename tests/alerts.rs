//! People are told: from what happens at the door to a program, a topic of SNS, and figures of
//! CloudWatch.

#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test, in helpers too

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tests::backend::Death;
use tests::cloud::TestCloud;
use tests::door::{TestFolder, binary};
use tests::{TestBackend, TestDoor};

/// An unoptimised program that looks for credentials and connects, on a machine that compiles.
const LIMIT: Duration = Duration::from_secs(60);

/// One pool, one backend, a sink that writes into `folder`, and one that always fails.
fn configuration(backend: &TestBackend, folder: &TestFolder) -> String {
    let told = folder.path.join("told");
    format!(
        "schema = 1\nworkers = 1\n[site]\nname = \"kg-sports\"\n[admin]\nunix = \"admin.sock\"\n[listeners.web]\n\
         bind = \"127.0.0.1:0\"\n[pools.app]\nbackends = [{{ id = \"a\", address = \"{}\" }}]\n\
         [[routes]]\nname = \"all\"\nto = {{ pool = \"app\" }}\n\
         [alerts.sinks.pager]\nkind = \"exec\"\ncommand = [\"sh\", \"-c\", \"cat >> {}\"]\n\
         [alerts.sinks.broken]\nkind = \"exec\"\ncommand = [\"sh\", \"-c\", \"exit 1\"]\n\
         retry = {{ max = 1, backoff = \"10ms..10ms\" }}\n\
         [[alerts.rules]]\nwhen = [\"backend_in_rotation\", \"config_reloaded\"]\n\
         severity = \"critical\"\nto = [\"pager\", \"broken\"]\n",
        backend.addr(),
        told.display()
    )
}

/// The messages so far, once there are as many as wanted.
async fn told(folder: &TestFolder, count: usize) -> Vec<Value> {
    let began = Instant::now();
    loop {
        let text = fs::read_to_string(folder.path.join("told")).unwrap_or_default();
        if text.lines().count() >= count && text.ends_with('\n') {
            return text
                .lines()
                .map(|line| serde_json::from_str(line).expect("a sink gets JSON"))
                .collect();
        }
        assert!(began.elapsed() < LIMIT, "{count} messages did not come: {text}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn an_event_that_a_rule_names_is_told_and_a_sink_that_fails_is_said() {
    let folder = TestFolder::new("alerts");
    let backend = TestBackend::start("a").await;
    let door = TestDoor::start(&configuration(&backend, &folder)).await;
    let first = told(&folder, 1).await.remove(0);
    assert_eq!(
        (&first["kind"], &first["severity"]),
        (&"backend_in_rotation".into(), &"critical".into())
    );
    assert_eq!((&first["site"], &first["pool"]), (&"kg-sports".into(), &"app".into()));
    let line = door.logged("alert_lost").await;
    assert!(line.contains("broken"), "{line}");

    let (code, _, errors) = door.reload().await;
    assert_eq!(code, 0, "{errors}");
    let both = told(&folder, 2).await;
    assert_eq!(both[1]["kind"], "config_reloaded");
}

/// A door that takes the test cloud for AWS, in front of one backend that is checked often.
async fn door_at(cloud: &TestCloud, backend: &TestBackend, more: &str) -> TestDoor {
    let mut program = Command::new(binary());
    program.envs(cloud.environment());
    let configuration = format!(
        "schema = 1\nworkers = 1\n[site]\nname = \"kg-sports\"\n[admin]\nunix = \"admin.sock\"\n\
         [listeners.web]\nbind = \"127.0.0.1:0\"\n[[routes]]\nname = \"all\"\nto = {{ pool = \"app\" }}\n\
         [pools.app]\nbackends = [{{ id = \"a\", address = \"{}\" }}]\n\
         health = {{ kind = \"tcp\", interval = \"100ms\", healthy_after = 1, unhealthy_after = 1 }}\n{more}",
        backend.addr()
    );
    TestDoor::launch_as(program, &configuration).ready().await
}

fn topic_sink(name: &str, topic: &str) -> String {
    format!("[alerts.sinks.{name}]\nkind = \"sns\"\ntopic_arn = \"{topic}\"\n")
}

fn rule(when: &str, severity: &str, to: &str) -> String {
    format!("[[alerts.rules]]\nwhen = \"{when}\"\nseverity = \"{severity}\"\nto = [{to}]\n")
}

/// What a topic took, oldest first.
fn of_topic<'a>(published: &'a [Value], topic: &str) -> Vec<&'a Value> {
    published.iter().filter(|message| message["topic"] == topic).collect()
}

/// The JSON that machines get.
fn record(message: &Value) -> Value {
    serde_json::from_str(message["message"].as_str().unwrap()).unwrap()
}

#[tokio::test]
async fn a_backend_that_dies_is_told_to_people_and_recorded_once_each() {
    let cloud = TestCloud::start();
    let (people, ledger) = (cloud.topic("people").await, cloud.topic("record.fifo").await);
    let phone = cloud.queue("phone", &people, r#"{"severity": ["critical"]}"#).await;
    // A call that is lost with its connection, and one that says: slower.
    let faults = json!([
        { "service": "sns", "action": "Publish", "mode": "drop_before", "times": 1 },
        { "service": "sns", "action": "Publish", "mode": "throttle", "times": 1 },
    ]);
    cloud.control("faults", &faults).await;
    let backend = TestBackend::start("a").await;
    let more = topic_sink("people", &people)
        + &topic_sink("ledger", &ledger)
        + &rule("backend_out_of_rotation", "critical", "\"people\", \"ledger\"")
        + &rule("config_reloaded", "info", "\"people\", \"ledger\"");
    let door = door_at(&cloud, &backend, &more).await;
    door.logged("backend_in_rotation").await;

    backend.kill(Death::Reset).await;
    let both =
        |all: &[Value]| of_topic(all, &people).len() == 1 && of_topic(all, &ledger).len() == 1;
    let published = cloud.until("published", LIMIT, both).await;
    let told = of_topic(&published, &people)[0];
    let subject = told["subject"].as_str().unwrap();
    assert!(subject.starts_with("kg-sports: backend out of rotation, pool app, a"), "{subject}");
    for (name, value) in [
        ("severity", "critical"),
        ("site", "kg-sports"),
        ("pool", "app"),
        ("kind", "backend_out_of_rotation"),
    ] {
        assert_eq!(told["attributes"][name]["Value"], value, "{told}");
    }
    let first = record(of_topic(&published, &ledger)[0]);
    assert_eq!(
        (&first["kind"], &first["pool"]),
        (&"backend_out_of_rotation".into(), &"app".into())
    );

    // Whoever was told that it died is told that it lives.
    backend.revive();
    let over =
        |all: &[Value]| of_topic(all, &people).len() == 2 && of_topic(all, &ledger).len() == 2;
    let published = cloud.until("published", LIMIT, over).await;
    let resolved = of_topic(&published, &people)[1];
    assert_eq!(resolved["subject"], "kg-sports: resolved: backend out of rotation, pool app, a");
    assert_eq!(resolved["attributes"]["state"]["Value"], "resolved");
    let second = record(of_topic(&published, &ledger)[1]);
    assert_eq!((&second["state"], &second["key"]), (&"resolved".into(), &first["key"]));

    let (code, _, errors) = door.reload().await;
    assert_eq!(code, 0, "{errors}");
    let three =
        |all: &[Value]| of_topic(all, &people).len() == 3 && of_topic(all, &ledger).len() == 3;
    let published = cloud.until("published", LIMIT, three).await;
    assert_eq!(record(of_topic(&published, &ledger)[2])["kind"], "config_reloaded");

    // The phone rings for what its filter lets through, with all that a machine may want to know.
    let rung = cloud.received(&phone).await;
    let states: Vec<_> = rung.iter().map(|message| &message["state"]).collect();
    assert_eq!(states, ["fired", "resolved"], "{rung:?}");
    assert_eq!(rung[0]["title"], *subject);
}

#[tokio::test]
async fn a_topic_that_is_not_there_is_said_and_holds_up_nothing() {
    let cloud = TestCloud::start();
    let people = cloud.topic("people").await;
    let gone = people.replace(":people", ":gone");
    let backend = TestBackend::start("a").await;
    let more = topic_sink("gone", &gone)
        + &topic_sink("people", &people)
        + &rule("backend_in_rotation", "warning", "\"gone\", \"people\"");
    let door = door_at(&cloud, &backend, &more).await;
    cloud.until("published", LIMIT, |all| of_topic(all, &people).len() == 1).await;
    let line = door.logged("alert_lost").await;
    assert!(line.contains("gone") && line.contains("NotFound"), "{line}");
}

#[tokio::test]
async fn a_topic_that_cannot_be_reached_costs_clients_nothing() {
    let cloud = TestCloud::start();
    let topic = cloud.topic("people").await;
    let backend = TestBackend::start("a").await;
    // Nobody listens there; the endpoint of the file wins over the one of the environment.
    let more = topic_sink("people", &topic)
        + "endpoint = \"http://127.0.0.1:1\"\ntimeout = \"1s\"\n\
           retry = { max = 1, backoff = \"10ms..10ms\" }\n"
        + &rule("backend_in_rotation", "warning", "\"people\"");
    let door = door_at(&cloud, &backend, &more).await;
    door.logged("backend_in_rotation").await;
    assert_eq!(door.client().await.get("/").await.status, 200);
    door.logged_in(LIMIT, "alert_delayed", 1).await;
    door.logged_in(LIMIT, "alert_lost", 1).await;
    assert_eq!(door.client().await.get("/").await.status, 200);
    assert_eq!(cloud.control("published", &Value::Null).await, json!([]));
}

#[tokio::test]
async fn headline_figures_reach_cloudwatch_also_after_it_was_away() {
    let cloud = TestCloud::start();
    let fault = json!([{ "service": "monitoring", "mode": "error", "code": "InternalFailure", "status": 500 }]);
    cloud.control("faults", &fault).await;
    let backend = TestBackend::start("a").await;
    let more = "[observe.cloudwatch]\nnamespace = \"Match\"\nevery = \"1s\"\n";
    let door = door_at(&cloud, &backend, more).await;
    door.logged("backend_in_rotation").await;
    let mut client = door.client().await;
    for _ in 0..5 {
        assert_eq!(client.get("/").await.status, 200);
    }
    door.logged_in(LIMIT, "figures_not_written", 1).await;
    // Three attempts are one writing: all of one that counts these requests is lost.
    let attempts = cloud.control("calls", &Value::Null).await.as_array().unwrap().len();
    cloud.until("calls", LIMIT, |all| all.len() >= attempts + 7).await;
    cloud.control("faults", &json!([])).await;
    door.logged_in(LIMIT, "figures_written", 1).await;

    let has = |name: &'static str, value: f64| {
        move |metric: &Value| metric["name"] == name && metric["value"] == value
    };
    let is_serving = has("BackendsServing", 1.0);
    let metrics = cloud.until("metrics", LIMIT, |all| all.iter().any(is_serving)).await;
    let serving = metrics.iter().find(|metric| is_serving(metric)).unwrap();
    assert_eq!(serving["namespace"], "Match");
    assert_eq!(serving["dimensions"], json!({ "Site": "kg-sports", "Pool": "app" }));
    let beat = metrics.iter().find(|metric| has("Heartbeat", 1.0)(metric)).unwrap();
    assert_eq!(beat["dimensions"], json!({ "Site": "kg-sports" }));
    let requests = |all: &[Value]| {
        let all = all.iter().filter(|metric| metric["name"] == "Requests");
        all.filter_map(|metric| metric["value"].as_f64()).sum::<f64>()
    };
    let metrics = cloud.until("metrics", LIMIT, |all| requests(all) >= 5.0).await;
    assert!((requests(&metrics) - 5.0).abs() < 0.1, "each request once, also those of the outage");
}
