//! What the door refuses, and how it says so: to the client and in the access log.

#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test, in helpers too

use serde_json::Value;
use tests::door::one_pool;
use tests::{CEILING, End, Response, TestBackend, TestClient, TestDoor, within};

const WORKERS: [usize; 2] = [1, 4];
const BIND: &str = "bind = [\"127.0.0.1:0\"]\n";
const LOG: &str = "[observe]\naccess_log = { to = \"stdout\" }\n";
const GET: &str = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";

/// One pool with this backend, lines for the listener and lines at the end, and the access log.
async fn door(red: &TestBackend, workers: usize, listener: &str, end: &str) -> TestDoor {
    let config = one_pool(&[red], workers).replace(BIND, &format!("{BIND}{listener}\n"));
    TestDoor::checked(&format!("{config}{end}\n{LOG}"), &[red]).await
}

/// The line of the access log about the request with this path.
async fn line(door: &TestDoor, path: &str) -> Value {
    let line = door.logged(&format!("\"path\":\"{path}\"")).await;
    serde_json::from_str(&line).unwrap()
}

#[track_caller]
fn assert_refused(response: &Response, status: u16, word: &str) {
    assert_eq!(response.status, status, "{}", response.text());
    assert!(response.text().contains(word), "{}", response.text());
    assert!(response.field("x-request-id").is_some_and(|id| response.text().contains(&id)));
    assert_eq!(response.field("cache-control").as_deref(), Some("no-store"));
}

fn sized(size: usize) -> String {
    let head = "GET / HTTP/1.1\r\nHost: x\r\nX-Big: ";
    format!("{head}{}\r\n\r\n", "b".repeat(size - head.len() - 4))
}

#[tokio::test]
async fn what_is_too_large_is_refused_with_its_own_status_and_word() {
    for workers in WORKERS {
        let red = TestBackend::start("red").await;
        let limits = "max_header_size = \"2KiB\"\nmax_fields = 5\nmax_uri = \"200B\"";
        let door = door(&red, workers, limits, "").await;
        for (request, status, word) in [
            (sized(2048), 200, "red"),
            (sized(2049), 431, "head_too_large"),
            (GET.replace("\r\n\r\n", &("\r\na: b".repeat(5) + "\r\n\r\n")), 431, "head_too_large"),
            (GET.replace("/ ", &format!("/{} ", "p".repeat(200))), 414, "uri_too_long"),
            (GET.replace("1.1", "2.0"), 505, "version_refused"),
            (GET.replace("GET /", "GET x"), 400, "bad_request"),
            (GET.replace("Host: x", "Host: x\r\nExpect: cake"), 417, "expectation_failed"),
        ] {
            let mut client = door.client().await;
            let response = client.request(&request).await;
            if status == 200 {
                assert_eq!(response.status, 200);
                continue;
            }
            assert_refused(&response, status, word);
            assert_eq!(response.field("connection").as_deref(), Some("close"), "{word}");
            let logged = door.logged(&format!("\"outcome\":\"{word}\"")).await;
            let logged: Value = serde_json::from_str(&logged).unwrap();
            assert_eq!(logged["status"], status, "{logged}");
            client.half_close().await;
            assert_eq!(client.ended().await, End::Fin);
        }
        assert_eq!(red.request_count(), 1);
    }
}

const LIMITED_UPLOADS: &str = "[[routes]]\nname = \"small\"\nmatch = { path_prefix = \"/small\" }\n\
    limits = { body = \"8B\" }\nto = { pool = \"app\" }\n\
    [[routes]]\nname = \"large\"\nmatch = { path_prefix = \"/large\" }\n\
    limits = { body = \"none\" }\nto = { pool = \"app\" }\n";

#[tokio::test]
async fn a_body_beyond_its_limit_is_refused_however_it_is_framed() {
    for workers in WORKERS {
        let red = TestBackend::start("red").await;
        let config = one_pool(&[&red], workers)
            .replace(BIND, &format!("{BIND}max_body = \"1KiB\"\n"))
            .replace("[[routes]]", &format!("{LIMITED_UPLOADS}[[routes]]"));
        let door = TestDoor::checked(&(config + LOG), &[&red]).await;
        for (number, (prefix, length, status)) in [
            ("/x", 1024, 200),
            ("/x", 1025, 413),
            ("/x", 3_000_000, 413),
            ("/small", 8, 200),
            ("/small", 9, 413),
            ("/large", 100_000, 200),
        ]
        .into_iter()
        .enumerate()
        {
            for is_chunked in [false, true] {
                let path = format!("{prefix}/{workers}-{number}-{is_chunked}");
                let (fields, body) = if is_chunked {
                    let chunk = format!("400\r\n{}\r\n", "c".repeat(1024)).repeat(length / 1024);
                    let last = length % 1024;
                    let tail = if last == 0 {
                        String::new()
                    } else {
                        format!("{last:x}\r\n{}\r\n", "c".repeat(last))
                    };
                    ("Transfer-Encoding: chunked".to_owned(), format!("{chunk}{tail}0\r\n\r\n"))
                } else {
                    (format!("Content-Length: {length}"), "c".repeat(length))
                };
                let mut client = door.client().await;
                client.send(format!("POST {path} HTTP/1.1\r\nHost: x\r\n{fields}\r\n\r\n")).await;
                // The whole of it: an answer that is refused early must not be lost in a reset.
                let sent = within(CEILING, client.try_send(body)).await;
                let response = client.read_response().await;
                assert_eq!(response.status, status, "{path}: {sent:?}");
                if status == 413 {
                    assert_refused(&response, 413, "body_too_large");
                    assert_eq!(response.field("connection").as_deref(), Some("close"));
                    assert_eq!(line(&door, &path).await["outcome"], "body_too_large");
                }
            }
        }
        let whole = red.requests().iter().filter(|request| request.is_whole).count();
        assert_eq!(whole, 6);
    }
}

#[tokio::test]
async fn a_client_that_asks_first_sends_no_body_that_is_refused() {
    let red = TestBackend::start("red").await;
    let door = door(&red, 1, "max_body = \"1KiB\"", "").await;
    let expect = "Expect: 100-continue";
    let request = |length| {
        format!("PUT / HTTP/1.1\r\nHost: x\r\n{expect}\r\nContent-Length: {length}\r\n\r\n")
    };
    let refused = door.client().await.request(request(1025)).await;
    assert_refused(&refused, 413, "body_too_large");
    assert!(refused.interim.is_empty());
    let mut client = door.client().await;
    client.send(request(4)).await;
    assert!(client.read_head().await.start.starts_with("HTTP/1.1 100"));
    client.send("body").await;
    assert_eq!(client.read_response().await.status, 200);
}

#[tokio::test]
async fn a_connection_beyond_the_limit_is_told_so_and_the_next_gets_its_place() {
    for workers in WORKERS {
        let red = TestBackend::start("red").await;
        let door = door(&red, workers, "max_connections = 8", "").await;
        let mut clients = Vec::new();
        for _ in 0..8 {
            let mut client = door.client().await;
            assert_eq!(client.get("/").await.status, 200);
            clients.push(client);
        }
        for number in 0..20 {
            let path = format!("/over/{number}");
            let mut client = door.client().await;
            let response = client.get(&path).await;
            assert_refused(&response, 503, "too_many_connections");
            assert_eq!(response.field("connection").as_deref(), Some("close"));
            assert_eq!(response.field("retry-after").as_deref(), Some("1"));
            assert_eq!(line(&door, &path).await["outcome"], "too_many_connections");
        }
        // Those inside go on, and who leaves makes room for one.
        assert_eq!(clients[7].get("/").await.status, 200);
        drop(clients.pop());
        let admitted = within(CEILING, async {
            loop {
                let mut client = door.client().await;
                if client.get("/").await.status == 200 {
                    break client;
                }
            }
        });
        let _admitted = admitted.await;
        assert_eq!(door.client().await.get("/").await.status, 503);
    }
}

#[tokio::test]
async fn a_connection_beyond_the_limit_that_says_nothing_is_closed_soon() {
    let red = TestBackend::start("red").await;
    let lines = "max_connections = 1\ntimeouts = { request_headers = \"100ms\", idle = \"1h\" }";
    let door = door(&red, 1, lines, "").await;
    let mut inside = door.client().await;
    assert_eq!(inside.get("/").await.status, 200);
    assert_eq!(door.client().await.ended().await, End::Fin);
    assert_eq!(inside.get("/").await.status, 200);
}

#[tokio::test]
async fn one_address_has_its_own_limit() {
    for workers in WORKERS {
        let red = TestBackend::start("red").await;
        let door = door(&red, workers, "max_connections_per_address = 3", "").await;
        let mut clients = Vec::new();
        for last in [2, 3] {
            for number in 0..5 {
                let source = [127, 0, 0, last].into();
                let mut client = TestClient::connect_from(source, door.addr("web")).await;
                let response = client.get("/").await;
                if number < 3 {
                    assert_eq!(response.status, 200);
                    clients.push(client);
                } else {
                    assert_refused(&response, 503, "too_many_connections");
                }
            }
        }
    }
}

#[tokio::test]
async fn addresses_are_allowed_and_denied_by_listener_and_by_route() {
    let lines = "allow = [\"127.0.0.0/8\"]\ndeny = [\"127.0.0.2\", \"127.1.0.0/16\"]\n\
                 trusted_proxies = [\"127.0.0.9\"]";
    let route = "[[routes]]\nname = \"inside\"\nmatch = { path_prefix = \"/inside\" }\n\
                 allow = \"127.0.0.3\"\nto = { pool = \"app\" }\n";
    for workers in WORKERS {
        let red = TestBackend::start("red").await;
        let config = one_pool(&[&red], workers)
            .replace(BIND, &format!("{BIND}{lines}\n"))
            .replace("[[routes]]", &format!("{route}[[routes]]"));
        let door = TestDoor::checked(&(config + LOG), &[&red]).await;
        for (number, (source, path, for_whom, status)) in [
            ([127, 0, 0, 1], "/", "", 200),
            ([127, 0, 0, 2], "/", "", 403),
            ([127, 1, 2, 3], "/", "", 403),
            ([127, 0, 0, 1], "/inside", "", 403),
            ([127, 0, 0, 3], "/inside", "", 200),
            ([127, 0, 0, 3], "/%69nside/../inside", "", 200),
            ([127, 0, 0, 1], "/x/../inside", "", 403),
            // Who is believed speaks for another, who is not does not.
            ([127, 0, 0, 9], "/inside", "127.0.0.3", 200),
            ([127, 0, 0, 9], "/inside", "127.0.0.3, 127.0.0.4", 403),
            ([127, 0, 0, 9], "/", "127.0.0.2", 403),
            ([127, 0, 0, 9], "/", "10.0.0.1", 403),
            ([127, 0, 0, 1], "/inside", "127.0.0.3", 403),
        ]
        .into_iter()
        .enumerate()
        {
            let mut client = TestClient::connect_from(source.into(), door.addr("web")).await;
            let mut request = format!("GET {path}/{number} HTTP/1.1\r\nHost: x\r\n");
            if !for_whom.is_empty() {
                request += &format!("X-Forwarded-For: {for_whom}\r\n");
            }
            let response = client.request(request + "\r\n").await;
            assert_eq!(response.status, status, "{source:?} {path} {for_whom}");
            if status == 403 {
                assert_refused(&response, 403, "forbidden");
                door.logged(&format!(
                    "/{number}\",\"protocol\":\"HTTP/1.1\",\"status\":403,\"outcome\":\"forbidden\""
                ))
                .await;
                // Nothing is wrong with the connection.
                assert_eq!(response.field("connection"), None);
            }
        }
    }
}

#[tokio::test]
async fn methods_that_are_never_passed_on_are_refused_with_those_that_are() {
    for workers in WORKERS {
        let red = TestBackend::start("red").await;
        let door = door(&red, workers, "", "").await;
        for request in [
            "TRACE /t HTTP/1.1\r\nHost: x\r\n\r\n",
            "CONNECT example.org:443 HTTP/1.1\r\nHost: example.org:443\r\n\r\n",
        ] {
            let response = door.client().await.request(request).await;
            assert_refused(&response, 405, "method_refused");
            let allow = response.field("allow").unwrap();
            assert!(allow.split(", ").any(|method| method == "GET") && !allow.contains("TRACE"));
        }
        door.logged("\"outcome\":\"method_refused\"").await;
        assert_eq!(red.request_count(), 0);
        // Any other method is the backend's affair.
        let response = door.client().await.request("BREW / HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert_eq!((response.status, red.request(0).method()), (200, "BREW"));
    }
}

#[tokio::test]
async fn maintenance_closes_a_route_or_the_site_and_says_so() {
    for workers in WORKERS {
        let red = TestBackend::start("red").await;
        let shop = "[[routes]]\nname = \"shop\"\nmatch = { path_prefix = \"/shop\" }\n\
                    maintenance = true\nto = { pool = \"app\" }\n";
        let config = one_pool(&[&red], workers).replace("[[routes]]", &format!("{shop}[[routes]]"));
        let door = TestDoor::checked(&(config + LOG), &[&red]).await;
        let mut client = door.client().await;
        let response = client.get("/shop/1").await;
        assert_refused(&response, 503, "maintenance");
        assert_eq!(response.field("retry-after").as_deref(), Some("120"));
        let logged = line(&door, "/shop/1").await;
        assert_eq!((&logged["outcome"], &logged["route"]), (&"maintenance".into(), &"shop".into()));
        assert_eq!(client.get("/").await.status, 200);

        let site = one_pool(&[&red], workers).replace("[site]\n", "[site]\nmaintenance = true\n");
        // Checks go on.
        let closed = TestDoor::checked(&(site + LOG), &[&red]).await;
        for path in ["/", "/shop"] {
            assert_refused(&closed.client().await.get(path).await, 503, "maintenance");
        }
        assert_eq!(line(&closed, "/shop").await["outcome"], "maintenance");
        assert_eq!(red.request_count(), 1);
    }
}

#[tokio::test]
async fn a_listener_sends_everybody_to_https() {
    let red = TestBackend::start("red").await;
    for (port, shown) in [("443", ""), ("8443", ":8443")] {
        let secure = format!(
            "[listeners.secure]\nbind = [\"0.0.0.0:{port}\"]\n[listeners.secure.tls]\n\
             acme = {{ email = \"a@example.org\", domains = [\"example.org\"] }}\n"
        );
        let config = one_pool(&[&red], 1)
            .replace(BIND, &format!("{BIND}redirect_to = \"secure\"\n"))
            .replace("[pools.app]\n", &format!("{secure}[pools.app]\n"));
        let door = TestDoor::checked(&(config + LOG), &[&red]).await;
        for (request, location) in [
            ("GET /a/../b?c=d HTTP/1.1\r\nHost: Example.org:80\r\n\r\n", "/b?c=d"),
            ("POST /x HTTP/1.1\r\nHost: example.org\r\nContent-Length: 0\r\n\r\n", "/x"),
            ("OPTIONS * HTTP/1.1\r\nHost: example.org\r\n\r\n", ""),
        ] {
            let response = door.client().await.request(request).await;
            assert_eq!(response.status, 308);
            let expected = format!("https://example.org{shown}{location}");
            assert_eq!(response.field("location"), Some(expected));
        }
        // Nowhere to send somebody who does not say where he wants to go.
        let response = door.client().await.request("GET / HTTP/1.0\r\n\r\n").await;
        assert_refused(&response, 400, "bad_request");
        assert_eq!(line(&door, "/b").await["outcome"], "answered");
        assert_eq!(red.request_count(), 0);
    }
}

#[tokio::test]
async fn a_refusal_is_html_or_json_as_the_client_likes() {
    let red = TestBackend::start("red").await;
    let config = one_pool(&[&red], 1).replace("path_prefix = \"/\"", "path_prefix = \"/x\"");
    let door = TestDoor::checked(&config, &[&red]).await;
    let mut client = door.client().await;
    for (accept, is_json) in [
        ("", false),
        ("Accept: */*\r\n", false),
        ("Accept: application/json\r\n", true),
        ("Accept: application/problem+json\r\n", true),
        ("Accept: text/html,application/xhtml+xml,application/json;q=0.5\r\n", false),
        ("Accept: image/png\r\nAccept: application/json\r\n", true),
    ] {
        let request = format!("GET / HTTP/1.1\r\nHost: x\r\n{accept}\r\n");
        let response = client.request(&request).await;
        assert_refused(&response, 404, "no_route");
        let kind = response.field("content-type").unwrap();
        if is_json {
            assert_eq!(kind, "application/problem+json", "{accept}");
            let json: Value = serde_json::from_str(&response.text()).unwrap();
            assert_eq!(json["status"], 404);
            assert_eq!(json["outcome"], "no_route");
            assert_eq!(json["request_id"].as_str(), response.field("x-request-id").as_deref());
        } else {
            assert_eq!(kind, "text/html; charset=utf-8", "{accept}");
        }
        // HEAD: the same head, and nothing after it.
        let head = client.request(request.replace("GET", "HEAD")).await;
        assert_eq!(head.status, 404);
        assert_eq!(head.field("content-length"), Some(response.body.len.to_string()));
        assert_eq!(head.field("content-type"), response.field("content-type"));
    }
    assert_eq!(client.get("/x").await.text(), "red");
}

#[tokio::test]
async fn a_door_without_a_healthy_backend_says_so_at_once() {
    for workers in WORKERS {
        let red = TestBackend::start("red").await;
        red.answer_probes("/healthz", 503);
        let door = TestDoor::start(&(one_pool(&[&red], workers) + LOG)).await;
        door.logged("backend_unhealthy pool=app backend=red").await;
        let response = door.client().await.get("/nobody").await;
        assert_refused(&response, 503, "no_healthy_backend");
        assert_eq!(response.field("retry-after").as_deref(), Some("1"));
        let logged = line(&door, "/nobody").await;
        assert_eq!(
            (&logged["outcome"], &logged["pool"]),
            (&"no_healthy_backend".into(), &"app".into())
        );
    }
}
