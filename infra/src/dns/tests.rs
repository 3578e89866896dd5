//! The resolver against a name server that changes its mind, fails and comes back.

use std::net::{Ipv4Addr, Ipv6Addr};

use tokio::net::UdpSocket;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use super::*;

/// Ceiling of every wait; the longest one here is two times to live of 1 s.
const CEILING: Duration = Duration::from_secs(20);

const NO_ERROR: u8 = 0;
const SERVER_FAILURE: u8 = 2;
const NO_SUCH_NAME: u8 = 3;

/// What the server says to everything.
#[derive(Clone)]
struct Zone {
    a: Vec<Ipv4Addr>,
    a_code: u8,
    aaaa: Vec<Ipv6Addr>,
    ttl_seconds: u32,
}

impl Zone {
    fn a(addresses: &[[u8; 4]]) -> Zone {
        let a = addresses.iter().map(|&octets| octets.into()).collect();
        Zone { a, a_code: NO_ERROR, aaaa: Vec::new(), ttl_seconds: 1 }
    }

    fn fails(code: u8) -> Zone {
        Zone { a_code: code, ..Zone::a(&[]) }
    }
}

/// A DNS server on loopback.
struct Server {
    address: SocketAddr,
    zone: watch::Sender<Zone>,
    /// The questions: first label and record type.
    asked: mpsc::UnboundedReceiver<String>,
    task: JoinHandle<()>,
}

impl Server {
    async fn start(zone: Zone) -> Server {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let (zone, zones) = watch::channel(zone);
        let (sender, asked) = mpsc::unbounded_channel();
        let task = tokio::spawn(async move {
            let mut packet = [0; 1024];
            while let Ok((length, client)) = socket.recv_from(&mut packet).await {
                let (name, answer) = answer(&packet[..length], &zones.borrow());
                let _ = sender.send(name);
                let _ = socket.send_to(&answer, client).await;
            }
        });
        Server { address, zone, asked, task }
    }

    /// Waits for the next question and says for whom.
    async fn asked(&mut self) -> String {
        timeout(CEILING, self.asked.recv()).await.expect("asked in time").unwrap()
    }

    fn was_asked(&mut self) -> bool {
        self.asked.try_recv().is_ok()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// First label and record type asked for, and the answer packet (RFC 1035 §4).
fn answer(query: &[u8], zone: &Zone) -> (String, Vec<u8>) {
    const A: u16 = 1;
    const AAAA: u16 = 28;
    let name = query[12..].iter().position(|&byte| byte == 0).unwrap() + 1;
    let question = &query[12..12 + name + 4];
    let kind = u16::from_be_bytes([question[name], question[name + 1]]);
    let (code, data): (u8, Vec<Vec<u8>>) = match kind {
        A => (zone.a_code, zone.a.iter().map(|ip| ip.octets().to_vec()).collect()),
        AAAA if zone.a_code == NO_SUCH_NAME => (NO_SUCH_NAME, Vec::new()),
        AAAA => (NO_ERROR, zone.aaaa.iter().map(|ip| ip.octets().to_vec()).collect()),
        _ => (NO_ERROR, Vec::new()),
    };
    let mut packet = query[..2].to_vec();
    packet.extend([0x81, 0x80 | code, 0, 1, 0, u8::try_from(data.len()).unwrap(), 0, 0, 0, 0]);
    packet.extend(question);
    for address in data {
        packet.extend([0xC0, 12]);
        packet.extend(kind.to_be_bytes());
        packet.extend([0, 1]);
        packet.extend(zone.ttl_seconds.to_be_bytes());
        packet.extend([0, u8::try_from(address.len()).unwrap()]);
        packet.extend(address);
    }
    let label = &question[1..=usize::from(question[0])];
    let label = String::from_utf8(label.to_vec()).unwrap();
    (format!("{label} {kind}"), packet)
}

/// `follow` on a task, with its two channels.
struct Followed {
    names: watch::Sender<Arc<[Name]>>,
    news: mpsc::Receiver<Resolved>,
    task: JoinHandle<()>,
}

impl Followed {
    fn start(server: &Server, hosts: &[&str]) -> Followed {
        let (names, list) = watch::channel(list(hosts));
        let (out, news) = mpsc::channel(8);
        let task = tokio::spawn(follow(Resolver::asking(&[server.address]), list, out));
        Followed { names, news, task }
    }

    /// The next news: an address without its port, or the reason.
    async fn news(&mut self) -> Result<IpAddr, String> {
        let news = timeout(CEILING, self.news.recv()).await.expect("news in time").unwrap();
        assert_eq!(news.port, 8080);
        news.result.map(|address| address.ip())
    }

    async fn address(&mut self) -> IpAddr {
        self.news().await.unwrap()
    }
}

fn list(hosts: &[&str]) -> Arc<[Name]> {
    hosts.iter().map(|&host| Name { host: host.into(), port: 8080 }).collect()
}

const ONE: [u8; 4] = [10, 0, 0, 1];
const TWO: [u8; 4] = [10, 0, 0, 2];

#[tokio::test]
async fn a_name_follows_its_record_when_the_ttl_is_over() {
    let server = Server::start(Zone::a(&[ONE])).await;
    let mut followed = Followed::start(&server, &["app.test"]);
    assert_eq!(followed.address().await, IpAddr::from(ONE));

    let changed = Instant::now();
    server.zone.send_replace(Zone::a(&[TWO]));
    assert_eq!(followed.address().await, IpAddr::from(TWO));
    assert!(changed.elapsed() < Duration::from_secs(10), "{:?}", changed.elapsed());
}

#[tokio::test]
async fn an_address_stays_while_it_is_in_the_answer_and_a_long_ttl_is_respected() {
    let mut server = Server::start(Zone::a(&[ONE])).await;
    let mut followed = Followed::start(&server, &["app.test"]);
    assert_eq!(followed.address().await, IpAddr::from(ONE));
    while server.was_asked() {}

    server.zone.send_replace(Zone { ttl_seconds: 600, ..Zone::a(&[TWO, ONE]) });
    server.asked().await;
    server.asked().await;

    // Another name lives through two of its own seconds meanwhile.
    server.zone.send_replace(Zone::a(&[TWO]));
    followed.names.send_replace(list(&["app.test", "other.test"]));
    assert_eq!(followed.address().await, IpAddr::from(TWO), "of the other name");
    for _ in 0..6 {
        assert!(server.asked().await.starts_with("other"), "the long time is not over");
    }
    assert!(followed.news.try_recv().is_err());
}

#[tokio::test]
async fn an_unresolved_name_is_reported_once_and_retried_until_it_resolves() {
    let mut server = Server::start(Zone::fails(NO_SUCH_NAME)).await;
    let mut followed = Followed::start(&server, &["app.test"]);
    let error = followed.news().await.unwrap_err();
    assert_eq!(
        error,
        "`app.test` does not resolve: there is no such name; correct it, or its zone"
    );

    while server.was_asked() {}
    server.asked().await;
    server.zone.send_replace(Zone::a(&[ONE]));
    assert_eq!(followed.address().await, IpAddr::from(ONE), "the same failure is no news");
}

#[tokio::test]
async fn a_name_that_did_resolve_keeps_its_address_through_failures() {
    for code in [SERVER_FAILURE, NO_SUCH_NAME] {
        let mut server = Server::start(Zone::a(&[ONE])).await;
        let mut followed = Followed::start(&server, &["app.test"]);
        assert_eq!(followed.address().await, IpAddr::from(ONE));
        while server.was_asked() {}

        server.zone.send_replace(Zone::fails(code));
        server.asked().await;
        server.asked().await;
        server.zone.send_replace(Zone::a(&[TWO]));
        assert_eq!(followed.address().await, IpAddr::from(TWO), "no failure in between");
    }
}

#[tokio::test]
async fn both_families_are_asked_and_losing_one_of_them_moves_nobody() {
    let six: Ipv6Addr = "fd00::6".parse().unwrap();
    let both = Zone { aaaa: vec![six], ..Zone::a(&[ONE]) };
    let mut server = Server::start(both.clone()).await;
    let mut followed = Followed::start(&server, &["app.test"]);
    assert_eq!(followed.address().await, IpAddr::from(ONE));
    while server.was_asked() {}

    // The half of IPv4 fails, until a second question for the other half shows that the first
    // is over.
    server.zone.send_replace(Zone { a_code: SERVER_FAILURE, ..both });
    for _ in 0..2 {
        while server.asked().await != "app 28" {}
    }
    assert!(followed.news.try_recv().is_err());

    // Now it is not lost, but gone.
    server.zone.send_replace(Zone { aaaa: vec![six], ..Zone::a(&[]) });
    assert_eq!(followed.address().await, IpAddr::from(six));
}

#[tokio::test]
async fn addresses_and_localhost_need_no_server() {
    let mut server = Server::start(Zone::fails(NO_SUCH_NAME)).await;
    let mut followed = Followed::start(&server, &["192.0.2.1"]);
    assert_eq!(followed.address().await, IpAddr::from([192, 0, 2, 1]));
    followed.names.send_replace(list(&["fd00::1"]));
    assert_eq!(followed.address().await, "fd00::1".parse::<IpAddr>().unwrap());
    followed.names.send_replace(list(&["localhost"]));
    assert!(followed.address().await.is_loopback());
    assert!(!server.was_asked());
}

#[tokio::test]
async fn a_name_that_left_is_not_asked_for_any_more() {
    let mut server = Server::start(Zone::a(&[ONE])).await;
    let mut followed = Followed::start(&server, &["app.test"]);
    followed.address().await;
    followed.names.send_replace(list(&["stays.test"]));
    followed.address().await;

    while server.was_asked() {}
    for _ in 0..4 {
        assert!(server.asked().await.starts_with("stays"));
    }
}

#[tokio::test]
async fn following_ends_with_either_channel() {
    let server = Server::start(Zone::a(&[ONE])).await;
    let Followed { names, news, task } = Followed::start(&server, &["app.test"]);
    drop(names);
    timeout(CEILING, task).await.unwrap().unwrap();
    drop(news);

    let Followed { names, news, task } = Followed::start(&server, &["app.test"]);
    drop(news);
    timeout(CEILING, task).await.unwrap().unwrap();
    drop(names);
}

#[test]
fn the_pause_after_failures_doubles_up_to_half_a_minute() {
    let pauses: Vec<u64> = (1..=7).map(|failures| backoff(failures).as_secs()).collect();
    assert_eq!(pauses, [1, 2, 4, 8, 16, 30, 30]);
    assert_eq!(backoff(u32::MAX), BACKOFF.1);
}
