//! The thread through the whole product: load, a decision, a launch, checks, service, and back; and
//! somebody is told.

#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test, in helpers too

use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use tests::TestDoor;
use tests::cloud::TestCloud;
use tests::door::binary;
use tests::drill::is_drill;
use tests::elastic::{Elastic, PATIENCE, ask, config};
use tests::load::{Load, Manner};

#[tokio::test]
async fn load_is_followed_by_instances_up_and_down() {
    let mut text = config("127.60.77.0/28", 4);
    if is_drill() {
        text = text.replace("grace = \"1s\"\n", "grace = \"1s\"\nboot_delay = \"6s\"\n");
    }
    let thread = Elastic(TestDoor::start(&text).await);
    let door = &thread.0;
    // Nobody is there: the first requests wait until somebody is.
    let load = Load::start_at(door.addr("web"), "/slow?ms=50", 7, Manner::Kept, Duration::ZERO);
    door.logged_in(PATIENCE, "instance_serves", 4).await;
    load.goes_on(100).await;
    let (answered, failures) = load.stop().await;
    assert_eq!(failures, Vec::<String>::new());
    assert!(answered > 100);

    // The crowd has gone: everybody drains and is given back.
    door.logged_in(PATIENCE, "instance_gone", 4).await;
    let output = door.output();
    assert!(output.contains("scale_in_decided"), "{output}");
    assert!(!output.contains("drain_cut_short"), "{output}");
    let needs =
        output.split("need=").skip(1).filter_map(|text| text.split(' ').next()?.parse().ok());
    let most: u32 = needs.max().unwrap();
    assert!(most <= 6, "waiting is no work, {most} instances for seven clients:\n{output}");
    let launched = output.lines().filter(|line| line.contains("instance_started")).count();
    assert_eq!(launched, 4, "no double launch:\n{output}");

    let why = ask(door, &["why", "burst", "--config"]);
    assert!(
        why.contains("pool burst, decision") && why.contains("floor") | why.contains("target"),
        "{why}"
    );
    let decisions = ask(door, &["decisions", "--json", "--config"]);
    for word in ["launch_answered", "instance_serves", "instance_gone", "burst"] {
        assert!(decisions.contains(word), "{word} in\n{decisions}");
    }
}

#[tokio::test]
async fn whoever_finds_no_place_in_the_first_pool_is_asked_for_once_in_the_next() {
    let burst = config("127.60.77.32/28", 6);
    let (_, first) = burst.split_once("[pools.burst]").unwrap();
    let first =
        format!("[pools.burst]{first}").replace("burst]", "base]").replace("burst.", "base.");
    let first = first
        .replace("127.60.77.32/28", "127.60.77.48/28")
        .replace("ceiling = 6", "ceiling = 1\nfloor = 1");
    let text = burst
        .replace("to = { pool = \"burst\" }", "to = { waterfall = [\"base\", \"burst\"] }")
        .replace("kind = \"elastic\"", "kind = \"elastic\"\ntier = 1")
        + &first;
    let elastic = Elastic(TestDoor::start(&text).await);
    let door = &elastic.0;
    door.logged_in(PATIENCE, "instance_serves pool=base", 1).await;
    // Two of the eight find a place in the first pool, so three instances of two are needed.
    let load = Load::start_at(door.addr("web"), "/slow?ms=50", 8, Manner::Kept, Duration::ZERO);
    door.logged_in(PATIENCE, "instance_serves pool=burst", 3).await;
    load.goes_on(800).await;
    let (_, failures) = load.stop().await;
    assert_eq!(failures, Vec::<String>::new());
    let output = door.output();
    let decisions =
        output.lines().filter(|line| line.contains("pool=burst") && line.contains("need="));
    let needs =
        decisions.filter_map(|line| line.split("need=").nth(1)?.split(' ').next()?.parse().ok());
    let most: u32 = needs.max().unwrap();
    assert!(most <= 4, "{most} instances for six clients of eight:\n{output}");
}

#[tokio::test]
async fn instances_serve_on_while_the_door_hands_over_and_its_successor_looks_after_them() {
    let text = config("127.60.79.0/28", 4).replace("ceiling", "floor = 1\nceiling")
        + "[admin]\nunix = \"admin.sock\"\n";
    let thread = Elastic(TestDoor::start(&text).await);
    thread.0.logged_in(PATIENCE, "instance_serves", 1).await;
    let successor = Elastic(thread.0.launch_successor().ready().await);
    // At once, and not when its provider has listed it and a check has passed.
    let (_, out, err) = successor.0.ask(&["backends", "--json"]).await;
    let backend: Value = serde_json::from_str(&out).unwrap_or_else(|_| panic!("{out} {err}"));
    assert_eq!((&backend["state"], &backend["is_written"]), (&"serving".into(), &false.into()));
    let load =
        Load::start_at(successor.0.addr("web"), "/slow?ms=50", 7, Manner::Kept, Duration::ZERO);
    successor.0.logged_in(PATIENCE, "instance_serves", 1).await;
    load.goes_on(100).await;
    assert_eq!(load.stop().await.1, Vec::<String>::new());
    // Those of the predecessor are in its book: all but one go, and none twice.
    let output = || successor.0.output();
    successor.0.logged_in(PATIENCE, "instance_gone", 1).await;
    assert!(!output().contains("instance_lost"), "{}", output());
}

#[tokio::test]
async fn no_instance_is_given_back_while_an_older_process_has_requests_there() {
    let text = config("127.60.80.0/28", 3).replace("ceiling", "floor = 3\nceiling")
        + "[admin]\nunix = \"admin.sock\"\n";
    let thread = Elastic(TestDoor::start(&text).await);
    thread.0.logged_in(PATIENCE, "instance_serves", 3).await;
    let mut clients = Vec::new();
    for _ in 0..6 {
        let mut client = thread.0.client().await;
        client.ceiling = PATIENCE;
        client.send("GET /slow?ms=8000 HTTP/1.1\r\nHost: x\r\n\r\n").await;
        clients.push(client);
    }
    // The next one shall have nobody, whoever asks for what.
    thread.0.configure(&text.replace("floor = 3", "floor = 0"));
    let successor = Elastic(thread.0.launch_successor().ready().await);
    let pin = ["pin", "burst", "0", "--for", "1h", "--reason", "the night is over"];
    assert_eq!(successor.0.ask(&pin).await.0, 0);
    successor.0.logged_in(PATIENCE, "scale_in_decided", 1).await;
    for mut client in clients {
        assert_eq!(client.read_response().await.status, 200);
    }
    successor.0.logged_in(PATIENCE, "instance_gone", 3).await;
    assert!(!successor.0.output().contains("drain_cut_short"), "{}", successor.0.output());
}

#[tokio::test]
async fn what_an_older_process_still_serves_is_demand_until_it_has_ended() {
    let text = config("127.60.80.16/28", 2).replace("ceiling", "floor = 2\nceiling")
        + "[admin]\nunix = \"admin.sock\"\n";
    let thread = Elastic(TestDoor::start(&text).await);
    thread.0.logged_in(PATIENCE, "instance_serves", 2).await;
    let mut clients = Vec::new();
    for _ in 0..4 {
        let mut client = thread.0.client().await;
        client.ceiling = PATIENCE;
        client.send("GET /slow?ms=12000 HTTP/1.1\r\nHost: x\r\n\r\n").await;
        clients.push(client);
    }
    thread.0.configure(&text.replace("floor = 2", "floor = 0"));
    let successor = Elastic(thread.0.launch_successor().ready().await);
    for mut client in clients {
        assert_eq!(client.read_response().await.status, 200);
    }
    // It has looked for longer than `down.stable_for`, and nobody asked it for anything.
    let decided = successor.0.times("scale_in_decided");
    assert_eq!(decided, 0, "{}", successor.0.output());
    successor.0.logged_in(PATIENCE, "instance_gone", 2).await;
}

#[tokio::test]
async fn the_thread_ends_with_one_message_and_with_figures_in_the_cloud() {
    let cloud = TestCloud::start();
    let topic = cloud.topic("people").await;
    let told = format!(
        "[alerts.sinks.people]\nkind = \"sns\"\ntopic_arn = \"{topic}\"\n\
         [[alerts.rules]]\nwhen = \"instance_gone\"\nseverity = \"info\"\nto = \"people\"\n\
         [observe.cloudwatch]\nevery = \"1s\"\n"
    );
    let mut program = Command::new(binary());
    program.envs(cloud.environment());
    let configuration = config("127.60.77.16/28", 1) + &told;
    let thread = Elastic(TestDoor::launch_as(program, &configuration).ready().await);
    let door = &thread.0;

    let load = Load::start_at(door.addr("web"), "/slow?ms=20", 2, Manner::Kept, Duration::ZERO);
    door.logged_in(PATIENCE, "instance_serves", 1).await;
    load.goes_on(50).await;
    let serving = |count: f64| {
        move |metric: &Value| metric["name"] == "BackendsServing" && metric["value"] == count
    };
    cloud.until("metrics", PATIENCE, |all| all.iter().any(serving(1.0))).await;
    let (answered, failures) = load.stop().await;
    assert_eq!(failures, Vec::<String>::new());

    door.logged_in(PATIENCE, "instance_gone", 1).await;
    let published = cloud.until("published", PATIENCE, |all| !all.is_empty()).await;
    assert_eq!(published.len(), 1, "{published:#?}");
    let told = &published[0];
    assert!(told["subject"].as_str().unwrap().starts_with("thread: instance gone, pool burst"));
    assert_eq!(told["attributes"]["kind"]["Value"], "instance_gone");

    // What was written before it came and went is not what is written after.
    let counted = |all: &[Value]| {
        let all = all.iter().filter(|metric| metric["name"] == "Requests");
        all.filter_map(|metric| metric["value"].as_f64()).sum::<f64>()
    };
    #[allow(clippy::cast_precision_loss)] // a few hundred
    let wanted = answered as f64;
    let is_over = |all: &[Value]| {
        let last = all.iter().rfind(|metric| metric["name"] == "BackendsServing");
        counted(all) >= wanted && last.is_some_and(serving(0.0))
    };
    let metrics = cloud.until("metrics", PATIENCE, is_over).await;
    assert!((counted(&metrics) - wanted).abs() < 0.5, "{} of {wanted}", counted(&metrics));
    let beat = metrics.iter().find(|metric| metric["name"] == "Heartbeat").unwrap();
    assert_eq!(
        (&beat["namespace"], &beat["dimensions"]),
        (&json!("Tidegate"), &json!({ "Site": "thread" }))
    );
}
