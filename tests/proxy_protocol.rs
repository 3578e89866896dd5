//! Who the client is behind a proxy that says so with the PROXY protocol, and that nobody else can
//! say it.

use std::net::IpAddr;
use std::time::Duration;

use tests::door::one_pool;
use tests::{TestBackend, TestClient, TestDoor};

const WORKERS: [usize; 2] = [1, 4];
const PROXY: [u8; 4] = [127, 0, 0, 2];
const GET: &str = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
const CLIENT: &str = "PROXY TCP4 192.0.2.7 192.0.2.1 56324 80\r\n";

/// A door that expects the header from [`PROXY`], with more lines for its listener.
async fn door(red: &TestBackend, workers: usize, lines: &str) -> TestDoor {
    let bind = "bind = [\"127.0.0.1:0\"]\n";
    let more = format!("{bind}proxy_protocol = {{ from = [\"127.0.0.2/31\"] }}\n{lines}\n");
    let log = "[observe]\naccess_log = { to = \"stdout\" }\n";
    let configuration = one_pool(&[red], workers).replace(bind, &more) + log;
    TestDoor::checked(&configuration, &[red]).await
}

async fn proxy(door: &TestDoor) -> TestClient {
    TestClient::connect_from(IpAddr::from(PROXY), door.addr("web")).await
}

/// `\x21` and the like, as bytes: signature, command, family, and what follows with its length.
fn version_2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len()).expect("short").to_be_bytes();
    [&b"\r\n\r\n\0\r\nQUIT\n"[..], &[command, family], &length, body].concat()
}

fn v4(last: u8) -> [u8; 12] {
    [192, 0, 2, last, 192, 0, 2, 1, 0xdc, 4, 0, 80]
}

/// Who the backend believes has asked last.
fn client_of(red: &TestBackend) -> String {
    let last = red.request(red.request_count() - 1);
    last.field("x-forwarded-for").expect("the door says who asks")
}

#[tokio::test]
async fn a_header_names_the_client_for_backends_and_logs() {
    let mut v6 = [0; 36];
    (v6[0], v6[1], v6[15]) = (0x20, 0x01, 7);
    let with_values = [&v4(9)[..], &[0x04, 0, 1, 0, 0x02, 0, 1, b'a']].concat();
    let headers = [
        (CLIENT.as_bytes().to_vec(), "192.0.2.7"),
        (b"PROXY TCP6 2001:db8::7 ::1 1 80\r\n".to_vec(), "2001:db8::7"),
        (b"PROXY TCP6 ::ffff:192.0.2.8 ::1 1 80\r\n".to_vec(), "192.0.2.8"),
        (version_2(0x21, 0x11, &v4(7)), "192.0.2.7"),
        (version_2(0x21, 0x11, &with_values), "192.0.2.9"),
        (version_2(0x21, 0x21, &v6), "2001::7"),
        // The proxy speaks for itself, or does not know.
        (b"PROXY UNKNOWN\r\n".to_vec(), "127.0.0.2"),
        (version_2(0x20, 0x00, b""), "127.0.0.2"),
        (version_2(0x21, 0x31, &[b'x'; 216]), "127.0.0.2"),
    ];
    for workers in WORKERS {
        let red = TestBackend::start("red").await;
        let door = door(&red, workers, "").await;
        for (header, client) in &headers {
            // With the first request, alone, and byte by byte.
            for size in [usize::MAX, header.len(), 1] {
                let mut proxy = proxy(&door).await;
                let bytes = [header, GET.as_bytes()].concat();
                for piece in bytes.chunks(size) {
                    proxy.send(piece).await;
                }
                assert_eq!(proxy.read_response().await.text(), "red");
                assert_eq!(client_of(&red), *client);
                // It holds for the connection, and its client is believed nothing.
                let forged = "GET / HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n";
                assert_eq!(proxy.request(forged).await.status, 200);
                assert_eq!(client_of(&red), *client);
            }
            door.logged(&format!("\"client\":\"{client}\"")).await;
        }
    }
}

#[tokio::test]
async fn a_proxy_that_sends_no_clean_header_gets_nothing() {
    for workers in WORKERS {
        let red = TestBackend::start("red").await;
        let door = door(&red, workers, "").await;
        let mut wrong_sum = [&v4(7)[..], &[0x03, 0, 4, 0, 0, 0, 0]].concat();
        wrong_sum[18] = 1;
        let headers = [
            b"".to_vec(),
            b"\r\n".to_vec(),
            b"proxy TCP4 192.0.2.7 192.0.2.1 1 80\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.7 192.0.2.1 1 80\n".to_vec(),
            b"PROXY TCP4 192.0.2.7 192.0.2.1 1\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.07 192.0.2.1 1 80\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.7  192.0.2.1 1 80\r\n".to_vec(),
            b"PROXY TCP4 2001:db8::7 ::1 1 80\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.7 192.0.2.1 1 65536\r\n".to_vec(),
            [&b"PROXY UNKNOWN "[..], &[b'a'; 200], b"\r\n"].concat(),
            version_2(0x11, 0x11, &v4(7)),
            version_2(0x22, 0x11, &v4(7)),
            version_2(0x21, 0x12, &v4(7)),
            version_2(0x21, 0x11, &v4(7)[..8]),
            version_2(0x21, 0x21, &v4(7)),
            version_2(0x21, 0x11, &[0; 5000]),
            version_2(0x21, 0x11, &[&v4(7)[..], &[4, 0, 9]].concat()),
            version_2(0x21, 0x11, &wrong_sum),
            // One each.
            [CLIENT.as_bytes(), CLIENT.as_bytes()].concat(),
            [CLIENT.as_bytes(), &version_2(0x21, 0x11, &v4(8))].concat(),
        ];
        for header in headers {
            let mut proxy = proxy(&door).await;
            let response = proxy.request([&header[..], GET.as_bytes()].concat()).await;
            assert_eq!(response.status, 400, "{}", header.escape_ascii());
            assert_eq!(response.field("connection").as_deref(), Some("close"));
            proxy.ended().await;
        }
        assert_eq!(red.request_count(), 0);
    }
}

#[tokio::test]
async fn nobody_but_the_proxies_that_are_named_can_send_a_header() {
    for workers in WORKERS {
        let red = TestBackend::start("red").await;
        let door = door(&red, workers, "").await;
        for header in [CLIENT.as_bytes().to_vec(), version_2(0x21, 0x11, &v4(7))] {
            let mut stranger = door.client().await;
            let response = stranger.request([&header[..], GET.as_bytes()].concat()).await;
            assert_eq!(response.status, 400);
            stranger.ended().await;
        }
        assert_eq!(red.request_count(), 0);
        assert_eq!(door.client().await.get("/").await.status, 200);
        assert_eq!(client_of(&red), "127.0.0.1");
    }
}

#[tokio::test]
async fn limits_and_access_are_those_of_the_client_that_is_named() {
    for workers in WORKERS {
        let red = TestBackend::start("red").await;
        let lines = "max_connections_per_address = 1\ndeny = [\"192.0.2.66\"]\n";
        let door = door(&red, workers, lines).await;
        let header = |last: u8| format!("PROXY TCP4 192.0.2.{last} 192.0.2.1 1 80\r\n{GET}");
        let mut kept = Vec::new();
        for last in 1..=5 {
            let mut proxy = proxy(&door).await;
            assert_eq!(proxy.request(header(last)).await.status, 200);
            kept.push(proxy);
        }
        let mut second = proxy(&door).await;
        let response = second.request(header(3)).await;
        assert_eq!(response.status, 503);
        assert!(response.text().contains("too_many_connections"));
        second.ended().await;
        let mut unwanted = proxy(&door).await;
        assert_eq!(unwanted.request(header(66)).await.status, 403);
        assert_eq!(kept[2].request(GET).await.status, 200);
    }
}

#[tokio::test]
async fn a_header_that_does_not_come_whole_ends_with_its_limit() {
    let red = TestBackend::start("red").await;
    let door = door(&red, 1, "timeouts = { request_headers = \"100ms\" }").await;
    for begun in ["", "PROXY TCP4 192.0.2.7"] {
        let mut proxy = proxy(&door).await;
        proxy.send(begun).await;
        proxy.ended().await;
    }
    // One that leaves is nobody's error, as is one that says who asks and asks nothing.
    let mut gone = proxy(&door).await;
    gone.half_close().await;
    gone.ended().await;
    let mut silent = proxy(&door).await;
    silent.ceiling = Duration::from_secs(1);
    silent.send(CLIENT).await;
    assert_eq!(silent.request(GET).await.status, 200);
    assert_eq!(red.request_count(), 1);
}
