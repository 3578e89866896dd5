//! That the test cloud does what the tests of the scaler rely on, and moto alone does not.

use std::time::Duration;

use serde_json::{Value, json};
use tests::cloud::TestCloud;

const LIMIT: Duration = Duration::from_secs(30);

/// One of those that moto knows.
const IMAGE: &str = "ami-12c6146b";

/// A subnet of loopback addresses.
async fn network(cloud: &TestCloud) -> String {
    let vpc = cloud.call("ec2", &[("Action", "CreateVpc"), ("CidrBlock", "127.77.0.0/16")]).await;
    let vpc = between(&vpc, "<vpcId>");
    let subnet = [("Action", "CreateSubnet"), ("VpcId", &vpc), ("CidrBlock", "127.77.0.0/20")];
    between(&cloud.call("ec2", &subnet).await, "<subnetId>")
}

async fn run(cloud: &TestCloud, subnet: &str, token: &str, most: &str) -> String {
    let parameters = [
        ("Action", "RunInstances"),
        ("ImageId", IMAGE),
        ("InstanceType", "c6g.large"),
        ("SubnetId", subnet),
        ("MinCount", "1"),
        ("MaxCount", most),
        ("ClientToken", token),
    ];
    cloud.call("ec2", &parameters).await
}

fn between(text: &str, tag: &str) -> String {
    let found = text.split(tag).nth(1).and_then(|rest| rest.split('<').next());
    found.unwrap_or_else(|| panic!("no {tag} in {text}")).to_owned()
}

fn state(record: &Value) -> &str {
    let last = record["states"].as_array().and_then(|states| states.last());
    last.and_then(|state| state[1].as_str()).unwrap_or_default()
}

#[tokio::test]
async fn an_instance_is_a_process_on_its_own_address_and_a_token_launches_once() {
    let server = "import http.server,sys; http.server.ThreadingHTTPServer((sys.argv[1], int(\
                  sys.argv[2])), http.server.SimpleHTTPRequestHandler).serve_forever()";
    let cloud = TestCloud::start_with(&["python3", "-c", server, "{ip}", "{port}"]);
    cloud.control("config", &json!({ "port": 8080, "boot_delay": 0.1 })).await;
    cloud.control("capacity", &json!({ "*": 2 })).await;
    let subnet = network(&cloud).await;
    let first = run(&cloud, &subnet, "one", "3").await;
    let again = run(&cloud, &subnet, "one", "3").await;
    assert_eq!(between(&first, "<instanceId>"), between(&again, "<instanceId>"));

    let ledger = cloud
        .until("ledger", LIMIT, |all| all.iter().all(|record| state(record) == "running"))
        .await;
    assert_eq!(ledger.len(), 2, "two of three were there, and the token launched nothing more");
    let address = format!("{}:8080", ledger[0]["ip"].as_str().unwrap());
    let began = std::time::Instant::now();
    while tokio::net::TcpStream::connect(&address).await.is_err() {
        assert!(began.elapsed() < LIMIT, "nobody listens on {address}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    let id = ledger[0]["id"].as_str().unwrap();
    cloud.call("ec2", &[("Action", "TerminateInstances"), ("InstanceId.1", id)]).await;
    let is_gone = |all: &[Value]| state(&all[0]) == "terminated";
    let ledger = cloud.until("ledger", LIMIT, is_gone).await;
    assert!(ledger[0]["billed_s"].as_f64().unwrap() >= 60.0);
    assert!(tokio::net::TcpStream::connect(&address).await.is_err());
}

#[tokio::test]
async fn messages_and_faults_are_seen() {
    let cloud = TestCloud::start();
    let topic = cloud.topic("people").await;
    let publish =
        [("Action", "Publish"), ("TopicArn", &topic), ("Message", "half time"), ("Subject", "s")];
    cloud.call("sns", &publish).await;
    let published = cloud.control("published", &Value::Null).await;
    assert_eq!(published[0]["message"], "half time");
    assert_eq!(published[0]["topic"], topic.as_str());

    let fault = json!([{ "service": "sns", "mode": "throttle", "times": 1 }]);
    cloud.control("faults", &fault).await;
    let calls = cloud.control("calls", &Value::Null).await;
    let actions: Vec<_> = calls.as_array().unwrap().iter().map(|call| &call[2]).collect();
    assert_eq!(actions, ["CreateTopic", "Publish"]);
}
