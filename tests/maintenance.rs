//! The maintenance switches of a running door.

#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test, in helpers too

use serde_json::{Value, json};
use tests::door::one_pool;
use tests::operator::Operator;
use tests::{TestBackend, TestDoor};

const WORKERS: [usize; 2] = [1, 4];
const SITE: &str = "/v1/maintenance";
const SHOP: &str = "/v1/routes/shop/maintenance";

/// Route `shop` before route `all`.
fn config(red: &TestBackend, workers: usize) -> String {
    let shop = "[[routes]]\nname = \"shop\"\nmatch = { path_prefix = \"/shop\" }\n\
                to = { pool = \"app\" }\n[[routes]]\nname = \"all\"";
    one_pool(&[red], workers).replace("[[routes]]\nname = \"all\"", shop)
}

async fn door(red: &TestBackend, workers: usize) -> (TestDoor, Operator) {
    let (door, operator) = Operator::of(&config(red, workers), &[red]).await;
    operator.until("/v1/pools/app/backends/red", |now| now["state"] == "serving").await;
    (door, operator)
}

/// Statuses of `/shop` and `/`, each over a connection of its own.
async fn statuses(door: &TestDoor) -> [u16; 2] {
    let mut both = [0; 2];
    for (status, path) in both.iter_mut().zip(["/shop", "/"]) {
        *status = door.client().await.get(path).await.status;
    }
    both
}

async fn turn(operator: &Operator, path: &str, is_on: bool) -> Value {
    let body = json!({ "is_on": is_on, "reason": "a new database" }).to_string();
    let (status, answer) = operator.ask("PUT", path, &body).await;
    assert_eq!((status, &answer["is_on"]), (200, &is_on.into()), "{answer}");
    answer
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_route_and_the_site_close_at_once_and_open_again() {
    for workers in WORKERS {
        let red = TestBackend::start("red").await;
        let (door, operator) = door(&red, workers).await;
        let mut kept = door.client().await;
        assert_eq!(kept.get("/shop").await.status, 200);
        assert_eq!(turn(&operator, SHOP, true).await["is_written"], false);
        assert_eq!(statuses(&door).await, [503, 200]);
        assert_eq!(kept.get("/shop").await.status, 503);
        let status = operator.get("/v1/status").await;
        assert_eq!(status["maintenance"], json!(["shop"]));
        assert!(status["summary"].as_str().unwrap().ends_with("In maintenance: shop."), "{status}");
        let told = operator.told("maintenance_on").await;
        assert_eq!((&told["route"], &told["reason"]), (&"shop".into(), &"a new database".into()));
        assert!(told["actor"].as_str().unwrap().starts_with("uid "), "{told}");

        turn(&operator, SITE, true).await;
        assert_eq!(statuses(&door).await, [503, 503]);
        assert_eq!(operator.get("/v1/status").await["maintenance"], json!(["the site", "shop"]));
        assert_eq!(door.client().await.get("/nowhere").await.status, 503);
        turn(&operator, SITE, false).await;
        assert_eq!(statuses(&door).await, [503, 200]);
        turn(&operator, SHOP, false).await;
        assert_eq!(statuses(&door).await, [200, 200]);
        assert_eq!(operator.told("maintenance_off").await["route"], Value::Null);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_switch_stays_over_a_reload_until_it_is_turned_back() {
    let red = TestBackend::start("red").await;
    let (door, operator) = door(&red, 2).await;
    let reload = async |config: &str| {
        door.configure(&operator.with_socket(config));
        let output = operator.command(&["reload"]).await;
        assert!(output.status.success(), "{output:?}");
    };
    let open = config(&red, 2);
    let closed = open.replace("[site]\n", "[site]\nmaintenance = true\n");
    turn(&operator, SITE, true).await;
    reload(&open.replace("/shop", "/shops")).await;
    assert_eq!(statuses(&door).await, [503, 503]);
    // Now the file says it too, so that it goes by the file from here on.
    reload(&closed).await;
    assert_eq!(operator.get(SITE).await, json!({ "is_on": true, "is_written": true }));
    reload(&open).await;
    assert_eq!(statuses(&door).await, [200, 200]);
    reload(&closed).await;
    turn(&operator, SITE, false).await;
    reload(&closed.replace("/shop", "/shops")).await;
    assert_eq!(statuses(&door).await, [200, 200]);
}

#[tokio::test]
async fn the_command_line_turns_the_switch_and_a_mistake_is_told() {
    let red = TestBackend::start("red").await;
    let (door, operator) = door(&red, 1).await;
    let run = async |args: &[&str]| {
        let output = operator.command(args).await;
        let text = [output.stdout, output.stderr].concat();
        (output.status.code().unwrap(), String::from_utf8(text).unwrap())
    };
    let (code, text) = run(&["maintenance", "on", "shop", "--reason", "test"]).await;
    assert_eq!(code, 0, "{text}");
    assert_eq!(statuses(&door).await, [503, 200]);
    let (_, text) = run(&["maintenance"]).await;
    assert_eq!(text, "in maintenance: shop\n");
    assert_eq!(run(&["maintenance", "off", "shop"]).await.0, 0);
    assert_eq!(statuses(&door).await, [200, 200]);
    let (code, text) = run(&["maintenance", "on", "nope"]).await;
    assert_eq!((code, &*text), (1, "error: no route `nope`; there is `shop`, `all`\n"));
    for (method, path, body, status) in [
        ("PUT", SITE, "{}", 422),
        ("PUT", SITE, "{\"is_on\": 1}", 422),
        ("PUT", SITE, "{\"is_on\": true", 400),
        ("PUT", SITE, "{\"is_on\": true, \"for\": \"1h\"}", 422),
        ("POST", SITE, "{\"is_on\": true}", 405),
        ("GET", "/v1/routes/nope/maintenance", "", 404),
    ] {
        let (found, problem) = operator.ask(method, path, body).await;
        assert_eq!(found, status, "{method} {path} {body} {problem}");
    }
    assert_eq!(statuses(&door).await, [200, 200]);
}
