//! Instances at EC2, against the test cloud: real processes behind them, and faults in front.

#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test, in helpers too

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use tests::TestDoor;
use tests::cloud::{REGION, TestCloud, element};
use tests::door::binary;
use tests::elastic::{Elastic, config};
use tests::load::{Load, Manner};

/// An unoptimised program makes a client, and Python answers it, on a machine that compiles.
const PATIENCE: Duration = Duration::from_secs(90);

/// One of those that moto knows.
const IMAGE: &str = "ami-12c6146b";

/// A cloud with a network of loopback addresses in two zones, and a launch template.
struct Site {
    cloud: TestCloud,
    /// `127.80`: each test has a range of its own, because the addresses are real.
    network: &'static str,
    template: String,
    subnets: [String; 2],
}

impl Site {
    async fn open(network: &'static str) -> Site {
        let program = binary();
        let program = program.to_str().unwrap();
        let backend = [program, "backend", "--listen", "{ip}:{port}", "--name", "{id}"];
        let cloud = TestCloud::start_with(&backend);
        cloud.control("config", &json!({ "port": 8080, "boot_delay": 0.2 })).await;
        let range = format!("{network}.0.0/16");
        let vpc = cloud.call("ec2", &[("Action", "CreateVpc"), ("CidrBlock", &range)]).await;
        let vpc = element(&vpc, "vpcId");
        let subnets = [
            subnet(&cloud, network, &vpc, 0, "a").await,
            subnet(&cloud, network, &vpc, 1, "b").await,
        ];
        let template = [
            ("Action", "CreateLaunchTemplate"),
            ("LaunchTemplateName", "backend"),
            ("LaunchTemplateData.ImageId", IMAGE),
            ("LaunchTemplateData.InstanceType", "t3.micro"),
        ];
        let template = element(&cloud.call("ec2", &template).await, "launchTemplateId");
        Site { cloud, network, template, subnets }
    }

    /// A door in front of a pool of up to four instances that serve 2 requests at once each.
    async fn door(&self, aws: &str, scaler: &str) -> TestDoor {
        let mut program = Command::new(binary());
        program.envs(self.cloud.environment());
        TestDoor::launch_as(program, &self.configuration(aws, scaler)).ready().await
    }

    fn configuration(&self, aws: &str, scaler: &str) -> String {
        let (template, [first, second]) = (&self.template, &self.subnets);
        format!(
            r#"
schema = 1
workers = 1
[site]
name = "ec2-{}"
state_dir = "state"
[listeners.web]
bind = "127.0.0.1:0"
[[routes]]
name = "all"
to = {{ pool = "cloud" }}
[pools.cloud]
kind = "elastic"
max_concurrency = 2
queue = {{ time = "60s" }}
health = {{ kind = "http", path = "/healthz", interval = "200ms", timeout = "5s", healthy_after = 1 }}
[pools.cloud.aws]
region = "{REGION}"
launch_template = {{ id = "{template}", version = "1" }}
subnets = ["{first}", "{second}"]
instance_types = ["c6g.large", "m6g.large"]
backend_port = 8080
timeout = "5s"
visible_within = "6s"
tags = {{ team = "streaming" }}
{aws}
[scalers.cloud]
tick = "200ms"
ceiling = 4
up = {{ max_step = 4 }}
target = {{ per_instance = 2, window = "2s", spare = "0%", burst = {{ window = "1s" }} }}
down = {{ stable_for = "2s", cooldown = "0s", max_step = "100%" }}
{scaler}
"#,
            self.network
        )
    }

    async fn faults(&self, faults: Value) {
        self.cloud.control("faults", &faults).await;
    }

    async fn ledger(&self) -> Vec<Value> {
        self.cloud.control("ledger", &Value::Null).await.as_array().cloned().unwrap_or_default()
    }

    /// When each call of that action came, in seconds since the cloud began.
    async fn calls(&self, action: &str) -> Vec<f64> {
        let calls = self.cloud.control("calls", &Value::Null).await;
        let of_action = calls.as_array().unwrap().iter().filter(|call| call[2] == action);
        of_action.map(|call| call[0].as_f64().unwrap()).collect()
    }

    /// What Tidegate has called, each action once.
    async fn actions(&self) -> Vec<String> {
        let calls = self.cloud.control("calls", &Value::Null).await;
        let all = calls.as_array().unwrap().iter().filter_map(|call| call[2].as_str());
        let ours = all.filter(|action| !action.starts_with("Create")).map(str::to_owned);
        ours.collect::<BTreeSet<_>>().into_iter().collect()
    }
}

async fn subnet(cloud: &TestCloud, network: &str, vpc: &str, third: u8, zone: &str) -> String {
    let (range, zone) = (format!("{network}.{third}.0/24"), format!("{REGION}{zone}"));
    let made = [
        ("Action", "CreateSubnet"),
        ("VpcId", vpc),
        ("CidrBlock", &range),
        ("AvailabilityZone", &zone),
    ];
    element(&cloud.call("ec2", &made).await, "subnetId")
}

fn state(record: &Value) -> &str {
    let last = record["states"].as_array().and_then(|states| states.last());
    last.and_then(|state| state[1].as_str()).unwrap_or_default()
}

fn are_gone(ledger: &[Value]) -> bool {
    !ledger.is_empty() && ledger.iter().all(|record| state(record) == "terminated")
}

fn running(ledger: &[Value]) -> usize {
    ledger.iter().filter(|record| state(record) == "running").count()
}

/// Type and zone of each, as they were launched.
fn places(ledger: &[Value]) -> Vec<String> {
    let text = |record: &Value, key: &str| record[key].as_str().unwrap().to_owned();
    ledger.iter().map(|record| format!("{}/{}", text(record, "type"), text(record, "az"))).collect()
}

#[tokio::test]
async fn load_is_followed_by_machines_up_and_down_and_nothing_is_left() {
    let site = Site::open("127.80").await;
    let door = site.door("", "").await;
    // Nobody is there: the first requests wait until somebody is.
    let load = Load::start_at(door.addr("web"), "/slow?ms=50", 7, Manner::Kept, Duration::ZERO);
    door.logged_in(PATIENCE, "instance_serves", 4).await;
    load.goes_on(100).await;
    let (answered, failures) = load.stop().await;
    assert_eq!(failures, Vec::<String>::new());
    assert!(answered > 100);

    door.logged_in(PATIENCE, "instance_gone", 4).await;
    assert!(!door.output().contains("drain_cut_short"), "{}", door.output());
    let ledger = site.cloud.until("ledger", PATIENCE, are_gone).await;
    assert_eq!(places(&ledger), ["c6g.large/eu-west-2a"; 4], "no double, the first offer");
    for record in &ledger {
        assert_eq!(record["token"].as_str().unwrap().len(), 48);
        let tags = &record["tags"];
        let told = (&tags["tidegate:site"], &tags["tidegate:pool"], &tags["team"]);
        assert_eq!(told, (&json!("ec2-127.80"), &json!("cloud"), &json!("streaming")));
    }
    // What docs/aws-permissions.md grants, and nothing beyond it.
    let used = site.actions().await;
    assert_eq!(used, ["DescribeInstances", "RunInstances", "TerminateInstances"]);
}

#[tokio::test]
async fn a_lost_answer_is_asked_for_again_and_launches_nothing_twice() {
    let site = Site::open("127.81").await;
    site.faults(json!([
        { "action": "RunInstances", "mode": "drop_after", "times": 1 },
        { "action": "DescribeInstances", "mode": "error", "status": 500, "code": "InternalError", "times": 2 },
    ]))
    .await;
    // The list shows them late, or the answer would not be needed; while they boot it is asked for.
    site.cloud.control("config", &json!({ "visible_lag": 5.0, "boot_delay": 3.0 })).await;
    let door = site.door("", "floor = 2").await;
    door.logged_in(PATIENCE, "instance_serves", 2).await;
    assert!(site.calls("RunInstances").await.len() >= 2);
    let ledger = site.ledger().await;
    assert_eq!((ledger.len(), running(&ledger)), (2, 2), "{ledger:#?}");
    assert_eq!(ledger[0]["token"], ledger[1]["token"]);
    assert!(!door.output().contains("instance_lost"), "{}", door.output());
}

#[tokio::test]
async fn too_many_requests_are_followed_by_fewer_and_then_by_instances() {
    let site = Site::open("127.82").await;
    site.faults(json!([
        { "action": "RunInstances", "mode": "throttle" },
        { "action": "DescribeInstances", "mode": "throttle", "times": 3 },
    ]))
    .await;
    let door = site.door("", "floor = 3").await;
    let calls = |least| move |all: &[Value]| count(all, "RunInstances") >= least;
    site.cloud.until("calls", PATIENCE, calls(5)).await;
    let times = site.calls("RunInstances").await;
    let pauses: Vec<f64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(pauses[0] > 0.9 && pauses[3] > 1.5 * pauses[0], "ever slower: {pauses:?}");
    let lists = site.calls("DescribeInstances").await;
    // At least a second, two seconds and four after the first three.
    assert!(lists[3] - lists[0] > 6.0, "{lists:?}");
    for action in ["list", "launch"] {
        let told = format!("action=\"{action}\" reason=\"throttled\"");
        assert!(door.output().contains(&told), "{told} in {}", door.output());
    }

    site.faults(json!([])).await;
    door.logged_in(PATIENCE, "instance_serves", 3).await;
    assert_eq!(site.ledger().await.len(), 3);
}

fn count(calls: &[Value], action: &str) -> usize {
    calls.iter().filter(|call| call[2] == action).count()
}

#[tokio::test]
async fn where_there_is_no_capacity_the_next_offer_is_taken_and_the_first_left_alone() {
    let site = Site::open("127.83").await;
    let capacity = json!({ "c6g.large/eu-west-2a": 0, "c6g.large/eu-west-2b": 1 });
    site.cloud.control("capacity", &capacity).await;
    let door = site.door("", "floor = 3").await;
    door.logged_in(PATIENCE, "instance_serves", 3).await;
    let full = ["c6g.large/eu-west-2b", "m6g.large/eu-west-2a", "m6g.large/eu-west-2a"];
    assert_eq!(places(&site.ledger().await), full);
    let times = site.calls("RunInstances").await;
    assert_eq!(times.len(), 4, "no place was asked again: {times:?}");
    assert!(times.windows(2).all(|pair| pair[1] - pair[0] < 5.0), "{times:?}");
    let told: Vec<String> = door
        .output()
        .lines()
        .filter(|line| line.contains("launch_failed"))
        .map(str::to_owned)
        .collect();
    assert!(told.len() == 2 && told.iter().all(|line| line.contains("no_capacity")), "{told:#?}");
}

#[tokio::test]
async fn a_share_of_the_instances_is_spot_and_at_full_price_where_there_is_none() {
    let site = Site::open("127.84").await;
    let fault = json!([{
        "action": "RunInstances", "contains": "MarketType=spot", "mode": "error", "skip": 1,
        "code": "MaxSpotInstanceCountExceeded", "message": "Max spot instance count exceeded",
        "status": 400,
    }]);
    site.faults(fault).await;
    let aws = "purchase = { on_demand_base = 1, spot_share = \"100%\" }";
    let door = site.door(aws, "floor = 3").await;
    door.logged_in(PATIENCE, "instance_serves", 3).await;
    assert_eq!(count_of(&site.ledger().await, "spot"), 2, "all beyond the first");

    // One more is wanted, and there is no more spot: nobody waits for it.
    let load = Load::start_at(door.addr("web"), "/slow?ms=50", 9, Manner::Kept, Duration::ZERO);
    door.logged_in(PATIENCE, "instance_serves", 4).await;
    assert_eq!(load.stop().await.1, Vec::<String>::new());
    assert!(door.output().contains("All Spot Instance Requests"), "{}", door.output());
    // The fourth, before the crowd has left it: two and two.
    assert_eq!(count_of(&site.ledger().await, "spot"), 2);
}

#[tokio::test]
async fn a_denial_names_the_permission_and_a_quota_its_name() {
    let site = Site::open("127.85").await;
    let text = "You are not authorized to perform this operation. User: arn:aws:iam::1:user/tide is \
                not authorized to perform: iam:PassRole on resource: arn:aws:iam::1:role/backend";
    let denied = json!([{
        "action": "RunInstances", "mode": "error", "status": 403,
        "code": "UnauthorizedOperation", "message": text,
    }]);
    site.faults(denied).await;
    let door = site.door("", "floor = 1").await;
    door.logged_in(PATIENCE, "launch_failed", 1).await;
    let output = door.output();
    let line = output.lines().find(|line| line.contains("launch_failed")).unwrap();
    for word in ["reason=\"denied\"", "`iam:PassRole`", "docs/aws-permissions.md"] {
        assert!(line.contains(word), "{word} in {line}");
    }
    drop(door);

    site.faults(json!([])).await;
    site.cloud.control("config", &json!({ "account_limit": 0 })).await;
    let door = site.door("", "floor = 1").await;
    door.logged_in(PATIENCE, "launch_failed", 1).await;
    let output = door.output();
    let line = output.lines().find(|line| line.contains("launch_failed")).unwrap();
    assert!(line.contains("reason=\"quota\"") && line.contains("(VcpuLimitExceeded)"), "{line}");
}

#[tokio::test]
async fn one_that_is_ended_by_hand_is_noticed_and_not_launched_again_at_once() {
    let site = Site::open("127.86").await;
    let door = site.door("", "floor = 3").await;
    door.logged_in(PATIENCE, "instance_serves", 3).await;
    let ledger = site.ledger().await;
    for (action, record) in [("StopInstances", &ledger[0]), ("TerminateInstances", &ledger[1])] {
        site.cloud.call("ec2", &[("Action", action), ("InstanceId.1", name(record))]).await;
        door.logged_in(PATIENCE, &format!("instance_lost pool=cloud backend={}", name(record)), 1)
            .await;
    }
    // Some lists later there is still no other: nobody waits, so nobody is missed for a minute.
    let lists = site.calls("DescribeInstances").await.len() + 1;
    let listed = move |all: &[Value]| count(all, "DescribeInstances") >= lists;
    site.cloud.until("calls", PATIENCE, listed).await;
    let ledger = site.ledger().await;
    assert_eq!(ledger.len(), 3);
    assert_eq!(state(&ledger[0]), "stopped", "it is left to whoever has stopped it");
    // The third one serves on.
    assert_eq!(door.client().await.get("/").await.status, 200);
}

#[tokio::test]
async fn without_its_journal_a_door_adopts_all_that_it_had_launched_page_by_page() {
    let site = Site::open("127.87").await;
    // One of a kind, so a launch of its own each; and a page has one launch.
    site.cloud.control("config", &json!({ "page": 1 })).await;
    site.cloud.control("capacity", &json!({ "c6g.large/eu-west-2a": 1 })).await;
    let door = site.door("", "floor = 2").await;
    door.logged_in(PATIENCE, "instance_serves", 2).await;
    door.signal(rustix::process::Signal::KILL);
    drop(door);

    // Another folder, so another journal.
    let door = site.door("", "floor = 2").await;
    door.logged_in(PATIENCE, "instance_adopted", 2).await;
    assert_eq!(door.client().await.get("/").await.status, 200);
    let ledger = site.ledger().await;
    assert_eq!((ledger.len(), running(&ledger)), (2, 2), "{ledger:#?}");
    assert_ne!(ledger[0]["token"], ledger[1]["token"]);
}

#[tokio::test]
async fn one_that_is_protected_does_not_keep_the_others_from_being_given_back() {
    let site = Site::open("127.88").await;
    let door = site.door("", "floor = 4\n[admin]\nunix = \"admin.sock\"").await;
    door.logged_in(PATIENCE, "instance_serves", 4).await;
    let id = site.ledger().await[2]["id"].as_str().unwrap().to_owned();
    let protect = |value| {
        [
            ("Action", "ModifyInstanceAttribute"),
            ("InstanceId", id.as_str()),
            ("DisableApiTermination.Value", value),
        ]
    };
    site.cloud.call("ec2", &protect("true")).await;
    // All of them at once, so in one call.
    let pin = ["pin", "cloud", "0", "--for", "1h", "--reason", "test"];
    let (code, _, err) = door.ask(&pin).await;
    assert_eq!(code, 0, "{err}");
    door.logged_in(PATIENCE, "instance_gone", 3).await;
    door.logged_in(PATIENCE, "OperationNotPermitted", 1).await;
    let ledger = site.ledger().await;
    let left: Vec<&str> = ledger.iter().filter(|one| state(one) == "running").map(name).collect();
    assert_eq!(left, [id.as_str()]);
    site.cloud.call("ec2", &protect("false")).await;
    site.cloud.until("ledger", PATIENCE, are_gone).await;
    // The pauses between two tries grow: it is no storm while it is protected.
    let tries = site.calls("TerminateInstances").await;
    let last = tries.windows(2).last().map(|pair| pair[1] - pair[0]);
    assert!(tries.len() < 20 && last > Some(1.0), "{tries:?}");
}

#[tokio::test]
async fn one_that_ec2_takes_back_drains_before_and_is_replaced() {
    let site = Site::open("127.89").await;
    // Notices are of two minutes.
    site.cloud.control("config", &json!({ "spot_notice_s": 60.0 })).await;
    let door = site.door("purchase = { spot_share = \"100%\" }", "floor = 2").await;
    door.logged_in(PATIENCE, "instance_serves", 2).await;
    let id = name(&site.ledger().await[0]).to_owned();
    let load = Load::start_at(door.addr("web"), "/slow?ms=50", 3, Manner::Kept, Duration::ZERO);
    site.cloud.control("spot-interrupt", &json!({ "id": id })).await;
    let leaves = format!("instance_leaves pool=cloud backend={id} reason=\"marked\"");
    door.logged_in(PATIENCE, &leaves, 1).await;
    door.logged_in(PATIENCE, &format!("instance_gone pool=cloud backend={id}"), 1).await;
    door.logged_in(PATIENCE, "instance_serves", 3).await;
    load.goes_on(50).await;
    assert_eq!(load.stop().await.1, Vec::<String>::new());

    let ledger = site.ledger().await;
    assert_eq!((ledger.len(), running(&ledger)), (3, 2), "{ledger:#?}");
    assert_eq!(count_of(&ledger, "spot"), 3);
    assert_eq!(site.calls("TerminateInstances").await.len(), 1, "it was given back before");
    let used = site.actions().await;
    let beside = "DescribeSpotInstanceRequests";
    assert_eq!(used, ["DescribeInstances", beside, "RunInstances", "TerminateInstances"]);
}

#[tokio::test]
async fn marks_that_cannot_be_asked_for_are_told_once_and_lists_go_on() {
    let site = Site::open("127.91").await;
    site.faults(json!([{
        "action": "DescribeSpotInstanceRequests", "mode": "error", "status": 403,
        "code": "UnauthorizedOperation", "message": "You are not authorized.",
    }]))
    .await;
    let door = site.door("purchase = { spot_share = \"100%\" }", "floor = 3").await;
    door.logged_in(PATIENCE, "instance_serves", 3).await;
    let asked = |all: &[Value]| count(all, "DescribeSpotInstanceRequests") >= 2;
    site.cloud.until("calls", PATIENCE, asked).await;
    let line = door.logged("interruptions_unknown").await;
    assert!(line.contains("`ec2:DescribeSpotInstanceRequests`"), "{line}");
    assert_eq!(door.times("interruptions_unknown"), 1);
    assert_eq!(door.times("provider_failed"), 0);
}

#[tokio::test]
async fn calls_that_hang_delay_no_turn_and_no_other_pool_and_launch_nothing_twice() {
    let site = Site::open("127.90").await;
    let near = config("127.60.81.0/28", 2);
    let (_, near) = near.split_once("[pools.burst]").unwrap();
    let near = format!("[pools.burst]{near}").replace("burst]", "near]").replace("burst.", "near.");
    let near = near.replace("ceiling", "floor = 1\nceiling");
    let cloud = site.configuration("", "floor = 1");
    let cloud = cloud.replace("timeout = \"5s\"\n", "timeout = \"8s\"\n");
    let text = format!("{cloud}{near}[admin]\nunix = \"admin.sock\"\n");
    let mut program = Command::new(binary());
    program.envs(site.cloud.environment());
    let elastic = Elastic(TestDoor::launch_as(program, &text).ready().await);
    let door = &elastic.0;
    door.logged_in(PATIENCE, "instance_serves pool=near", 1).await;
    door.logged_in(PATIENCE, "instance_serves pool=cloud", 1).await;
    // EC2 takes the next launch when we have given it up, and says nothing of what there is.
    site.faults(json!([
        { "action": "RunInstances", "mode": "latency", "latency": 12, "times": 1 },
        { "action": "DescribeInstances", "mode": "hang", "seconds": 60, "times": 2 },
    ]))
    .await;
    let load = Load::start_at(door.addr("web"), "/slow?ms=50", 7, Manner::Kept, Duration::ZERO);
    let hangs = |mode: &'static str| move |all: &[Value]| all.iter().any(|call| call[3] == mode);
    site.cloud.until("calls", PATIENCE, hangs("latency")).await;
    site.cloud.until("calls", PATIENCE, hangs("hang")).await;
    // A turn of this pool, and one of another with what follows.
    for (pool, size) in [("cloud", "4"), ("near", "2")] {
        let pin = ["pin", pool, size, "--for", "1h", "--reason", "test"];
        let (code, _, err) = door.ask(&pin).await;
        assert_eq!(code, 0, "{err}");
        door.logged(&format!("override_set pool={pool}")).await;
    }
    assert_eq!(
        door.times("provider_failed"),
        0,
        "they hang no more:
{}",
        door.output()
    );
    door.logged_in(PATIENCE, "instance_serves pool=near", 2).await;
    load.goes_on(100).await;
    door.logged_in(PATIENCE, "instance_serves pool=cloud", 4).await;
    let launches = site.calls("RunInstances").await;
    let is_late = |all: &[Value]| all.last().unwrap()[0].as_f64() > Some(launches[1] + 13.0);
    site.cloud.until("calls", PATIENCE, is_late).await;
    assert_eq!(load.stop().await.1, Vec::<String>::new());
    assert_eq!(site.ledger().await.len(), 4, "{}", door.output());
    for what in ["launch", "list"] {
        assert!(door.times(&format!("action=\"{what}\" reason=\"unclear\"")) > 0, "{what}");
    }
}

fn count_of(ledger: &[Value], key: &str) -> usize {
    ledger.iter().filter(|record| record[key] == true).count()
}

fn name(record: &Value) -> &str {
    record["id"].as_str().unwrap_or_default()
}
