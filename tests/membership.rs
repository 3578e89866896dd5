//! Backends come, drain, return and go while a door carries traffic, without a reload.

#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test, in helpers too

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tests::crowd::plain;
use tests::door::one_pool;
use tests::drill::is_drill;
use tests::load::{Load, Manner};
use tests::operator::Operator;
use tests::{Answer, CEILING, TestBackend, TestDoor, within};

const WORKERS: [usize; 2] = [1, 4];
const POOL: &str = "/v1/pools/app";
const BACKENDS: &str = "/v1/pools/app/backends";

/// Load that is no more than a busy machine carries beside the test.
fn load(door: &TestDoor) -> Load {
    Load::start(door.addr("web"), 8, Manner::Kept, Duration::from_millis(2))
}

fn new_backend(backend: &TestBackend) -> String {
    json!({ "id": backend.name(), "address": backend.addr().to_string() }).to_string()
}

fn path_of(backend: &TestBackend) -> String {
    format!("{BACKENDS}/{}", backend.name())
}

fn is(state: &str) -> impl Fn(&Value) -> bool + '_ {
    move |backend| backend["state"] == state
}

#[tokio::test]
async fn what_a_leaving_backend_does_not_answer_moves_on_once_its_checks_fail() {
    for workers in WORKERS {
        let (red, blue) = (TestBackend::start("red").await, TestBackend::start("blue").await);
        let config = one_pool(&[&red, &blue], workers);
        let (door, operator) = Operator::of(&config, &[&red, &blue]).await;
        red.answer(Answer::text("red").held());
        let mut client = door.client().await;
        let hangs = async {
            loop {
                client.send(plain(0)).await;
                tokio::select! {
                    () = red.received(1) => return,
                    _ = client.read_response() => {}
                }
            }
        };
        within(CEILING, hangs).await;
        let (status, answer) = operator.ask("DELETE", &path_of(&red), "").await;
        assert_eq!(status, 202, "{answer}");
        red.answer_probes("/healthz", 503);
        assert_eq!(client.read_response().await.text(), "blue");
        red.release_all();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backend_that_is_added_takes_its_share_after_its_first_pass_and_not_before() {
    for workers in WORKERS {
        let (red, blue) = (TestBackend::start("red").await, TestBackend::start("blue").await);
        let (door, operator) = Operator::of(&one_pool(&[&red], workers), &[&red]).await;
        let load = load(&door);
        // It boots: it answers, and says that it is not ready.
        blue.answer_probes("/healthz", 503);
        let (status, added) = operator.ask("POST", BACKENDS, &new_backend(&blue)).await;
        assert_eq!(
            (status, &added["state"], &added["is_written"]),
            (201, &"joining".into(), &false.into())
        );
        let ready = Instant::now() + Duration::from_secs(if is_drill() { 20 } else { 0 });
        blue.probed(4).await;
        loop {
            red.received(red.request_count() + 50).await;
            if Instant::now() >= ready {
                break;
            }
        }
        assert_eq!(blue.request_count(), 0, "a request before the first pass");
        blue.answer_probes("/healthz", 200);
        operator.until(&path_of(&blue), is("serving")).await;
        blue.received(50).await;
        load.none_failed(1).await;
        let told = operator.told("backend_added").await;
        assert_eq!((&told["pool"], &told["backend"]), (&"app".into(), &"blue".into()));
        assert!(told["actor"].as_str().unwrap().starts_with("uid "), "{told}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drained_backend_is_reported_so_when_its_last_request_has_ended() {
    for workers in WORKERS {
        let (red, blue) = (TestBackend::start("red").await, TestBackend::start("blue").await);
        let config = one_pool(&[&red, &blue], workers);
        let (door, operator) = Operator::of(&config, &[&red, &blue]).await;
        operator.until(&path_of(&blue), is("serving")).await;
        operator.until(&path_of(&red), is("serving")).await;
        // One request that blue does not finish.
        blue.answer_next(Answer::text("late").held());
        let mut slow = door.client().await;
        for number in 1.. {
            slow.send(plain(0)).await;
            tokio::select! {
                () = blue.received(1) => break,
                () = red.received(number) => assert_eq!(slow.read_response().await.text(), "red"),
            }
        }
        let load = load(&door);
        blue.received(blue.request_count() + 20).await;

        let why = json!({ "reason": "a new kernel" }).to_string();
        let (status, draining) = operator.ask("POST", &(path_of(&blue) + "/drain"), &why).await;
        assert_eq!((status, &draining["state"]), (200, &"draining".into()));
        let told = operator.told("backend_draining").await;
        assert_eq!((&told["from"], &told["reason"]), (&"serving".into(), &"a new kernel".into()));
        // Those under way end, and no other comes.
        let alone = |backend: &Value| backend["in_flight"] == 1;
        operator.until(&path_of(&blue), alone).await;
        let count = blue.request_count();
        red.received(red.request_count() + 200).await;
        assert_eq!(blue.request_count(), count);
        let still = operator.get(&path_of(&blue)).await;
        assert_eq!((&still["state"], &still["in_flight"]), (&"draining".into(), &1.into()));

        blue.release();
        assert_eq!(slow.read_response().await.text(), "late");
        let drained = operator.until(&path_of(&blue), is("drained")).await;
        assert_eq!(drained["in_flight"], 0);
        let told = operator.told("backend_drained").await;
        assert!(told["fields"]["waited_for"].as_u64().unwrap() >= 1, "{told}");

        let (status, back) = operator.ask("POST", &(path_of(&blue) + "/undrain"), "").await;
        // Its checks went on meanwhile, so that it need not wait for another.
        assert!(status == 200 && (back["state"] == "serving" || back["state"] == "joining"));
        blue.received(count + 20).await;
        load.none_failed(1).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_changes_under_load_fail_no_request() {
    for workers in WORKERS {
        let names = ["red", "blue", "green", "white"];
        let mut backends = Vec::new();
        for name in names {
            backends.push(TestBackend::start(name).await);
        }
        let (red, others) = backends.split_first().unwrap();
        let (door, operator) = Operator::of(&one_pool(&[red], workers), &[red]).await;
        operator.until(&path_of(red), is("serving")).await;
        let load = load(&door);
        let mut dice = policies::rng::Rng::new(7);
        let mut done = 0;
        for _ in 0..100 {
            let one = &others[usize::try_from(dice.next_u64() % 3).unwrap()];
            let path = path_of(one);
            let (method, path, body) = match dice.next_u64() % 6 {
                0 | 1 => ("POST", BACKENDS.to_owned(), new_backend(one)),
                2 => ("POST", path + "/drain", String::new()),
                3 => ("POST", path + "/undrain", String::new()),
                4 => ("PATCH", path, format!("{{\"weight\": {}}}", dice.next_u64() % 5)),
                _ => ("DELETE", path, String::new()),
            };
            let (status, answer) = operator.ask(method, &path, &body).await;
            // What does not fit its state is refused, and that is no failure.
            assert!(matches!(status, 200..=204 | 404 | 409), "{method} {path}: {status} {answer}");
            done += usize::from(status < 300);
            // Long enough that a check and some requests come in between.
            red.received(red.request_count() + 5).await;
        }
        assert!(done > 30, "{done} changes were made");
        load.none_failed(1).await;
        assert!(others.iter().any(|other| other.request_count() > 0));
        let pool = operator.until(POOL, |pool| pool["in_flight"] == 0).await;
        let in_flight = |backend: &Value| backend["in_flight"].as_u64().unwrap();
        assert_eq!(pool["backends"].as_array().unwrap().iter().map(in_flight).sum::<u64>(), 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_keeps_who_joined_and_who_drains_and_takes_back_what_the_file_says() {
    for workers in WORKERS {
        let mut backends = Vec::new();
        for name in ["red", "blue", "green", "white"] {
            backends.push(TestBackend::start(name).await);
        }
        let [red, blue, green, white] = &backends[..] else { panic!("four") };
        let file = |written: &[&TestBackend]| one_pool(written, workers);
        let all = [red, blue, green];
        let (door, operator) = Operator::of(&file(&all), &all).await;
        for one in all {
            operator.until(&path_of(one), is("serving")).await;
        }
        let reload = async |written: &[&TestBackend]| {
            door.configure(&operator.with_socket(&file(written)));
            let output = operator.command(&["reload"]).await;
            assert!(output.status.success(), "{output:?}");
        };
        let load = load(&door);
        assert_eq!(operator.ask("POST", BACKENDS, &new_backend(white)).await.0, 201);
        operator.until(&path_of(white), is("serving")).await;
        assert_eq!(operator.ask("POST", &(path_of(blue) + "/drain"), "").await.0, 200);
        operator.until(&path_of(blue), is("drained")).await;
        assert_eq!(operator.ask("PATCH", &path_of(red), "{\"weight\": 7}").await.0, 200);
        assert_eq!(operator.ask("DELETE", &path_of(green), "").await.0 / 100, 2);
        operator.until(POOL, |pool| pool["backends"].as_array().unwrap().len() == 3).await;

        reload(&all).await;
        let white_now = operator.get(&path_of(white)).await;
        let joined = (&white_now["state"], &white_now["is_written"]);
        assert_eq!(joined, (&"serving".into(), &false.into()));
        assert_eq!(operator.get(&path_of(blue)).await["state"], "drained");
        assert_eq!(operator.get(&path_of(red)).await["weight"], 1);
        // What the file names is there, after a check.
        operator.until(&path_of(green), is("serving")).await;

        // Once the file names it, it goes by the file.
        reload(&[red, blue, white]).await;
        let white_now = operator.get(&path_of(white)).await;
        let written = (&white_now["state"], &white_now["is_written"]);
        assert_eq!(written, (&"serving".into(), &true.into()));
        reload(&[red, blue]).await;
        operator.until(POOL, |pool| pool["backends"].as_array().unwrap().len() == 2).await;
        load.none_failed(1).await;
    }
}

/// Method, path, body; status and a part of the detail.
type Refused<'a> = (&'a str, &'a str, &'a str, u16, &'a str);

/// Each is refused so, and nothing changes.
async fn check_refused(door: &TestDoor, operator: &Operator, all: &[Refused<'_>]) {
    let state = async || {
        let mut pool = operator.get(POOL).await["backends"].clone();
        pool[0]["requests"] = Value::Null;
        pool
    };
    operator.until("/v1/pools/app/backends/red", is("serving")).await;
    let before = state().await;
    for &(method, path, body, status, detail) in all {
        let (found, problem) = operator.ask(method, path, body).await;
        assert_eq!(found, status, "{method} {path} {problem}");
        assert_eq!(problem["status"], status, "{problem}");
        assert!(problem["detail"].as_str().unwrap().contains(detail), "{detail} in {problem}");
        assert_eq!(state().await, before, "{method} {path} {body}");
    }
    assert_eq!(door.client().await.get("/").await.text(), "red");
}

#[tokio::test]
async fn an_order_to_nobody_or_in_the_wrong_state_is_refused_with_what_there_is() {
    let red = TestBackend::start("red").await;
    let (door, operator) = Operator::of(&one_pool(&[&red], 1), &[&red]).await;
    let (nope, x) = ("/v1/pools/nope/backends", "/v1/pools/app/backends/x");
    let one = "/v1/pools/app/backends/red";
    let some = "{\"address\": \"10.0.0.1:80\"}";
    let same_id = "{\"id\": \"red\", \"address\": \"10.0.0.1:80\"}";
    let same_address = format!("{{\"id\": \"b\", \"address\": \"{}\"}}", red.addr());
    let nobody = "no backend `app/x`; pool `app` has `red`";
    let all = [
        ("POST", nope, some, 404, "no pool `nope`; there is `app`"),
        ("POST", &format!("{x}/drain"), "", 404, nobody),
        ("GET", x, "", 404, nobody),
        ("GET", "/v1/pools/nope", "", 404, "no pool `nope`"),
        ("DELETE", x, "", 404, nobody),
        ("PATCH", "/v1/pools/nope/backends/red", "{\"weight\": 1}", 404, "no pool `nope`"),
        ("POST", one, "", 405, "GET, HEAD, PATCH, DELETE"),
        ("GET", &format!("{one}/drain"), "", 405, "POST"),
        ("POST", &format!("{one}/undrain"), "", 409, "which is `serving`"),
        ("POST", BACKENDS, same_id, 409, "is a member already"),
        ("POST", BACKENDS, &same_address, 409, "also the address of backend `red`"),
    ];
    check_refused(&door, &operator, &all).await;
}

#[tokio::test]
async fn a_value_that_cannot_be_is_refused_with_what_is_allowed() {
    let red = TestBackend::start("red").await;
    let config = one_pool(&[&red], 1) + "\n[observe]\nmetrics = { listen = \"127.0.0.1:0\" }\n";
    let (door, operator) = Operator::of(&config, &[&red]).await;
    let one = "/v1/pools/app/backends/red";
    let address = |address: &str, more: &str| format!("{{\"address\": \"{address}\"{more}}}");
    let own = address(&door.addr("web").to_string(), "");
    let mapped = address(&format!("[::ffff:127.0.0.1]:{}", door.addr("web").port()), "");
    let named = address(&format!("localhost:{}", door.addr("web").port()), "");
    let scraped = address(&door.metrics_addr().to_string(), "");
    let with = |more: &str| address("10.0.0.1:80", more);
    let weight = with(", \"weight\": 1001");
    let (id, mistyped) = (with(", \"id\": \"a b\""), with(", \"wieght\": 1"));
    let two = "{\"weight\": 7, \"max_concurrency\": 0}";
    let all = [
        ("POST", BACKENDS, &*own, 422, "our own listener `web`"),
        ("POST", BACKENDS, &mapped, 422, "our own listener `web`"),
        ("POST", BACKENDS, &named, 422, "our own listener `web`"),
        ("POST", BACKENDS, &scraped, 422, "our own address for metrics"),
        ("POST", BACKENDS, &address("http://a/", ""), 422, "it is a URL"),
        ("POST", BACKENDS, &address("10.0.0.1", ""), 422, "the port is missing"),
        ("POST", BACKENDS, &id, 422, "`a b`"),
        ("POST", BACKENDS, &weight, 422, "from 0 to 1000"),
        ("POST", BACKENDS, &mistyped, 422, "unknown field `wieght`"),
        ("PATCH", one, two, 422, "from 1 to 1000000, or null"),
        ("PATCH", one, "{\"weight\": \"7\"}", 422, "invalid type"),
        ("PATCH", one, "{\"weight\": 7", 400, "no JSON"),
        ("POST", BACKENDS, &address(&"x".repeat(70_000), ""), 400, "longer than 64 KiB"),
    ];
    check_refused(&door, &operator, &all).await;
}

#[tokio::test]
async fn the_command_line_does_what_the_interface_does() {
    let (red, blue) = (TestBackend::start("red").await, TestBackend::start("blue").await);
    let (_door, operator) = Operator::of(&one_pool(&[&red], 2), &[&red]).await;
    let run = async |args: &[&str]| {
        let output = operator.command(args).await;
        let text = [output.stdout, output.stderr].concat();
        (output.status.code().unwrap(), String::from_utf8(text).unwrap())
    };
    let address = blue.addr().to_string();
    let (code, text) = run(&["backends", "add", "app/blue", &address, "--weight", "3"]).await;
    assert_eq!((code, &*text), (0, "app/blue is joining, 0 requests in flight\n"));
    operator.until(&path_of(&blue), is("serving")).await;
    assert_eq!(run(&["backends", "weight", "app/blue", "5"]).await.0, 0);
    let (_, text) = run(&["backends"]).await;
    assert!(text.contains("app/blue") && text.contains("weight 5"), "{text}");
    let (code, text) = run(&["drain", "app/blue", "--wait", "--reason", "test"]).await;
    assert_eq!(code, 0);
    assert!(text.ends_with("app/blue drained; it waited for 0 requests\n"), "{text}");
    assert_eq!(run(&["undrain", "app/blue"]).await.0, 0);
    let (code, text) = run(&["backends", "remove", "app/blue"]).await;
    assert_eq!(code, 0);
    assert!(text.contains("nothing was changed"), "nobody was there to say yes: {text}");
    let (code, text) = run(&["backends", "remove", "app/blue", "--yes"]).await;
    assert_eq!((code, &*text), (0, "app/blue is gone\n"));
    let (code, text) = run(&["drain", "app/blue"]).await;
    assert_eq!((code, &*text), (1, "error: no backend `app/blue`; pool `app` has `red`\n"));
    assert_eq!(run(&["drain", "blue"]).await.0, 2);
}

#[tokio::test]
async fn the_connections_of_a_backend_that_left_close_while_an_older_stream_runs() {
    for workers in WORKERS {
        let (red, blue) = (TestBackend::start("red").await, TestBackend::start("blue").await);
        let config = one_pool(&[&red, &blue], workers)
            .replace("[pools.app]\n", "[pools.app]\nupstream = { idle = \"1h\" }\n");
        let (door, operator) = Operator::of(&config, &[&red, &blue]).await;
        // The stream holds the world of its beginning, and both have an idle connection.
        let mut stream = door.client().await;
        red.answer(Answer::upgrade("websocket"));
        blue.answer(Answer::upgrade("websocket"));
        let upgrade =
            "GET / HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
        assert_eq!(stream.request(upgrade).await.status, 101);
        let (stays, leaves) = if red.request_count() == 1 { (&red, &blue) } else { (&blue, &red) };
        stays.answer(Answer::text("ok"));
        leaves.answer(Answer::text("ok"));
        for _ in 0..8 * workers {
            door.client().await.get("/").await;
        }
        let connections = leaves.connection_count();
        assert!(leaves.request_count() > 0);
        let (status, _) = operator.ask("POST", &format!("{}/drain", path_of(leaves)), "").await;
        assert!(status < 300, "{status}");
        operator.until(&path_of(leaves), is("drained")).await;
        let (status, _) = operator.ask("DELETE", &path_of(leaves), "").await;
        assert!(status < 300, "{status}");
        // Each worker learns of it with its next request.
        for _ in 0..8 * workers {
            assert_eq!(door.client().await.get("/").await.text(), "ok");
        }
        for connection in 0..connections {
            leaves.closed(connection).await;
        }
        stream.send("ping").await;
        assert_eq!(stream.read_exact(4).await, b"ping");
    }
}
