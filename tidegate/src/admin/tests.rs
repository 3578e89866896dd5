//! The admin door over real sockets, in front of a source that says what it is told.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

use super::view::BackendState;
use super::*;

const CEILING: Duration = Duration::from_secs(5);

/// A door with one pool; see [`view::tests::well`].
pub(crate) struct Fake {
    pub(crate) state: BackendState,
    pub(crate) is_ready: AtomicBool,
    pub(crate) events: Arc<EventRing>,
}

impl Fake {
    pub(crate) fn new(state: BackendState) -> Arc<Fake> {
        Arc::new(Fake { state, is_ready: AtomicBool::new(true), events: EventRing::new() })
    }
}

impl Source for Fake {
    fn upgrade(&self) -> Upgrading {
        Box::pin(async { Err(UpgradeError::Busy) })
    }

    fn hand_over(&self, _: Line) {}

    fn reload(&self) -> Reloading {
        Box::pin(async { Err(ReloadError::Invalid("error[TG0201]: two problems".to_owned())) })
    }

    fn status(&self) -> StatusView {
        view::tests::well(self.state).0
    }

    fn pools(&self) -> Vec<PoolView> {
        view::tests::well(self.state).1
    }

    fn backend(&self, pool: &str, id: &str) -> Result<BackendView, Refusal> {
        Err(Refusal::unknown(format!("no backend `{pool}/{id}`")))
    }

    fn order(&self, order: Order, actor: String) -> Result<Done, Refusal> {
        Err(Refusal::conflict(format!("{actor} wants {:?}", order.deed)))
    }

    fn maintenance(&self, route: Option<&str>) -> Result<MaintenanceView, Refusal> {
        Err(Refusal::unknown(format!("no route `{route:?}`")))
    }

    fn routes(&self) -> Vec<RouteView> {
        vec![RouteView {
            name: "app".into(),
            when: "host is `a.example`".into(),
            action: "forward".into(),
            pools: vec!["app".into()],
            requests: 12,
            concurrency: None,
        }]
    }

    fn config(&self) -> String {
        "[site]\nname = \"test\"\n".into()
    }

    fn events(&self) -> Arc<EventRing> {
        Arc::clone(&self.events)
    }

    fn metrics(&self) -> String {
        "# TYPE x gauge\nx 1\n".into()
    }

    fn ready(&self) -> Result<(), Vec<String>> {
        if self.is_ready.load(Ordering::Relaxed) {
            return Ok(());
        }
        Err(vec!["draining".into(), "listener `web` is closed".into()])
    }

    fn has_started(&self) -> bool {
        self.is_ready.load(Ordering::Relaxed)
    }
}

/// A directory for one socket.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new(name: &str) -> Scratch {
        let path = std::env::temp_dir().join(format!("tdg-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Scratch(path)
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.0.join("admin.sock")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn opened(mut admin: Admin) -> Admin {
    admin.open();
    admin
}

async fn start(scratch: &Scratch, source: Arc<Fake>) -> Admin {
    let any = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
    let wanted = Addresses { unix: Some(scratch.socket()), loopback: any, metrics: any };
    opened(Bound::bind(&wanted, Inherited::default()).await.unwrap().serve(source))
}

/// Sends `request` and returns all that comes back until the end.
async fn talk(mut stream: impl AsyncRead + AsyncWrite + Unpin, request: &str) -> String {
    let talk = async {
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        // A reset after a refusal is as good an end as any.
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8(answer).unwrap()
    };
    tokio::time::timeout(CEILING, talk).await.unwrap()
}

fn get(path: &str, fields: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nConnection: close\r\n{fields}\r\n")
}

/// Status and body of a request by the socket.
async fn ask(admin: &Admin, request: &str) -> (u16, String) {
    let stream = UnixStream::connect(admin.socket().unwrap()).await.unwrap();
    split(&talk(stream, request).await)
}

async fn ask_tcp(address: Option<SocketAddr>, request: &str) -> (u16, String) {
    split(&talk(TcpStream::connect(address.unwrap()).await.unwrap(), request).await)
}

#[track_caller]
fn split(answer: &str) -> (u16, String) {
    let (head, body) =
        answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no head: {answer:?}"));
    (head[9..12].parse().unwrap(), body.to_owned())
}

#[tokio::test]
async fn every_page_is_there_by_the_socket() {
    let scratch = Scratch::new("pages");
    let admin = start(&scratch, Fake::new(BackendState::Down)).await;
    let page = async |path: &str| ask(&admin, &get(path, "Host: x\r\n")).await;

    let (status, body) = page("/v1/status").await;
    let json: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, json["site"].as_str()), (200, Some("test")));
    assert_eq!(json["summary"], "Coping: 4210 requests a second, 1 of 2 backends serve.");
    let (_, body) = page("/v1/pools").await;
    let json: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(json["pools"][0]["backends"][1]["state"], "down");
    let (_, body) = page("/v1/routes").await;
    let json: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(json["routes"][0]["name"], "app");
    assert_eq!(page("/v1/config").await, (200, "[site]\nname = \"test\"\n".into()));
    assert_eq!(page("/metrics").await, (200, "# TYPE x gauge\nx 1\n".into()));
    assert_eq!(page("/livez").await, (200, "ok\n".into()));
    assert_eq!(page("/startupz").await, (200, "ok\n".into()));
    admin.stop().await;
}

#[tokio::test]
async fn readiness_tells_its_reasons_only_when_asked() {
    let scratch = Scratch::new("ready");
    let source = Fake::new(BackendState::Serving);
    let admin = start(&scratch, source.clone()).await;
    let page = async |path: &str| ask(&admin, &get(path, "Host: x\r\n")).await;
    assert_eq!(page("/readyz").await, (200, "ready\n".into()));
    source.is_ready.store(false, Ordering::Relaxed);
    assert_eq!(page("/readyz").await, (503, "not ready\n".into()));
    let reasons = "not ready\n- draining\n- listener `web` is closed\n";
    assert_eq!(page("/readyz?verbose").await, (503, reasons.into()));
    assert_eq!(page("/startupz").await.0, 503);
    assert_eq!(page("/livez").await.0, 200);
    admin.stop().await;
}

#[tokio::test]
async fn errors_are_problem_documents() {
    let scratch = Scratch::new("problems");
    let admin = start(&scratch, Fake::new(BackendState::Serving)).await;
    for (request, status) in [
        (get("/v1/nothing", "Host: x\r\n"), 404),
        (get("/", "Host: x\r\n"), 404),
        ("POST /v1/status HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".into(), 405),
        ("DELETE /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".into(), 405),
        ("POST /v1/reload?dry HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".into(), 422),
        ("POST /v1/upgrade?dry HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".into(), 422),
        ("POST /v1/pools HTTP/1.1\r\nHost: x\r\nContent-Length: 65537\r\n\r\n".into(), 413),
        ("POST /v1/pools HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".into(), 413),
    ] {
        let stream = UnixStream::connect(admin.socket().unwrap()).await.unwrap();
        let answer = talk(stream, &request).await;
        let (found, body) = split(&answer);
        assert_eq!(found, status, "{request}");
        assert!(answer.contains("content-type: application/problem+json\r\n"), "{answer}");
        assert_eq!(answer.contains("allow: GET, HEAD\r\n"), status == 405, "{answer}");
        let json: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(
            (json["status"].as_u64(), &json["type"]),
            (Some(status.into()), &"about:blank".into())
        );
    }
    admin.stop().await;
}

#[tokio::test]
async fn a_head_request_gets_the_head_alone() {
    let scratch = Scratch::new("head");
    let admin = start(&scratch, Fake::new(BackendState::Serving)).await;
    let request = "HEAD /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    assert_eq!(ask(&admin, request).await, (200, String::new()));
    admin.stop().await;
}

#[tokio::test]
async fn pages_of_the_web_cannot_read_the_loopback_address() {
    let scratch = Scratch::new("foreign");
    let admin = start(&scratch, Fake::new(BackendState::Serving)).await;
    let address = admin.addresses().loopback;
    let port = address.unwrap().port();
    for (fields, expected) in [
        (format!("Host: 127.0.0.1:{port}\r\n"), 200),
        (format!("Host: localhost:{port}\r\n"), 200),
        (format!("Host: rebound.example:{port}\r\n"), 403),
        ("Host: localhost\r\n".into(), 403),
        (format!("Host: localhost:{port}\r\nOrigin: https://evil.example\r\n"), 403),
        (format!("Host: localhost:{port}\r\nOrigin: null\r\n"), 403),
        (format!("Host: localhost:{port}\r\nHost: localhost:{port}\r\n"), 403),
        (String::new(), 403),
    ] {
        let (status, _) = ask_tcp(address, &get("/v1/config", &fields)).await;
        assert_eq!(status, expected, "{fields:?}");
    }
    let absolute = format!("http://evil.example:{port}/v1/config");
    let (status, _) =
        ask_tcp(address, &get(&absolute, &format!("Host: localhost:{port}\r\n"))).await;
    assert_eq!(status, 403);
    admin.stop().await;
}

#[tokio::test]
async fn scrapers_see_metrics_and_health_and_nothing_else() {
    let scratch = Scratch::new("scrape");
    let admin = start(&scratch, Fake::new(BackendState::Serving)).await;
    let page = async |path: &str| {
        ask_tcp(admin.addresses().metrics, &get(path, "Host: door.lan:9900\r\n")).await.0
    };
    for (path, status) in [
        ("/metrics", 200),
        ("/livez", 200),
        ("/readyz?verbose", 200),
        ("/startupz", 200),
        ("/v1/status", 404),
        ("/v1/pools", 404),
        ("/v1/config", 404),
    ] {
        assert_eq!(page(path).await, status, "{path}");
    }
    admin.stop().await;
}

#[tokio::test]
async fn the_socket_is_for_owner_and_group_and_goes_with_the_door() {
    let scratch = Scratch::new("mode");
    let admin = start(&scratch, Fake::new(BackendState::Serving)).await;
    let mode = fs::metadata(scratch.socket()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    admin.stop().await;
    assert!(fs::read_dir(&scratch.0).unwrap().next().is_none(), "nothing is left");
}

#[tokio::test]
async fn a_second_door_does_not_take_the_socket_and_a_dead_one_leaves_it() {
    let scratch = Scratch::new("second");
    let wanted = Addresses { unix: Some(scratch.socket()), ..Addresses::default() };
    let source = Fake::new(BackendState::Serving);
    let first =
        opened(Bound::bind(&wanted, Inherited::default()).await.unwrap().serve(source.clone()));
    let second = Bound::bind(&wanted, Inherited::default()).await;
    assert!(matches!(second, Err(AdminError::SocketInUse { .. })), "{second:?}");
    first.stop().await;

    drop(std::os::unix::net::UnixListener::bind(scratch.socket()).unwrap());
    assert!(scratch.socket().exists(), "as a killed door leaves it");
    let third =
        opened(Bound::bind(&wanted, Inherited::default()).await.unwrap().serve(source.clone()));
    assert_eq!(ask(&third, &get("/livez", "Host: x\r\n")).await.0, 200);
    third.stop().await;

    fs::write(scratch.socket(), "precious").unwrap();
    let fourth = Bound::bind(&wanted, Inherited::default()).await;
    assert!(matches!(fourth, Err(AdminError::Unix { .. })), "{fourth:?}");
    assert_eq!(fs::read_to_string(scratch.socket()).unwrap(), "precious");
}

#[tokio::test]
async fn an_address_beyond_this_machine_is_refused() {
    let wanted = Addresses { loopback: "192.0.2.1:0".parse().ok(), ..Addresses::default() };
    let refused = Bound::bind(&wanted, Inherited::default()).await;
    assert!(matches!(refused, Err(AdminError::NotLoopback(_))), "{refused:?}");
}

#[tokio::test]
async fn whoever_comes_beyond_the_limit_has_the_place_of_the_oldest_that_asks_nothing() {
    let scratch = Scratch::new("limit");
    let admin = start(&scratch, Fake::new(BackendState::Serving)).await;
    let address = admin.addresses().metrics.unwrap();
    let mut held = Vec::new();
    for _ in 0..64 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        // Once one byte came back it has a place.
        stream.write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        stream.read_u8().await.unwrap();
        held.push(stream);
    }
    let one_more = TcpStream::connect(address).await.unwrap();
    assert!(talk(one_more, &get("/livez", "Host: x\r\n")).await.starts_with("HTTP/1.1 200"));
    let mut rest = Vec::new();
    // An end or a reset.
    let ended = tokio::time::timeout(CEILING, held[0].read_to_end(&mut rest)).await;
    assert!(ended.is_ok(), "the oldest is closed");
    let last = held.last_mut().unwrap();
    last.write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    assert!(last.read_u8().await.is_ok(), "the others are served on");
    drop(held);
    let served = async {
        loop {
            let stream = TcpStream::connect(address).await.unwrap();
            if !talk(stream, &get("/livez", "Host: x\r\n")).await.is_empty() {
                break;
            }
        }
    };
    tokio::time::timeout(CEILING, served).await.unwrap();
    admin.stop().await;
}

#[tokio::test]
async fn a_head_without_end_is_cut() {
    let scratch = Scratch::new("endless");
    let admin = start(&scratch, Fake::new(BackendState::Serving)).await;
    let endless = format!("GET /livez HTTP/1.1\r\nX: {}\r\n", "x".repeat(20_000));
    let (status, _) = ask(&admin, &endless).await;
    assert_eq!(status, 431);
    admin.stop().await;
}

#[tokio::test]
async fn a_stop_does_not_wait_for_idle_connections() {
    let scratch = Scratch::new("stop");
    let admin = start(&scratch, Fake::new(BackendState::Serving)).await;
    let mut idle = UnixStream::connect(scratch.socket()).await.unwrap();
    idle.write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    idle.read_u8().await.unwrap();
    tokio::time::timeout(GRACE / 2, admin.stop()).await.unwrap();
}
