//! Clients that stay with their backend: the signed cookie, who believes it, and for how long.

#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test, in helpers too

use tests::crowd::{crowd, plain};
use tests::door::{TestFolder, one_pool};
use tests::{Answer, CEILING, Death, Response, TestBackend, TestDoor, within};

const WORKERS: [usize; 2] = [1, 4];

async fn backends(count: usize) -> Vec<TestBackend> {
    let mut all = Vec::new();
    for name in &["a", "b", "c", "d"][..count] {
        all.push(TestBackend::start(name).await);
    }
    all
}

const STICKY: &str = "sticky = { cookie = \"stay\", ttl = \"1h\", key = { file = \"key\" } }\n";
const KEY: &str = "0123456789abcdef0123456789abcdef";

/// A door that binds clients by a cookie.
async fn sticky(all: &[TestBackend], workers: usize, keys: &str) -> (TestDoor, TestFolder) {
    let folder = TestFolder::new("key");
    let key = folder.write("key", KEY);
    let keys = keys.replace("\"key\"", &format!("{:?}", key.to_str().unwrap()));
    let all: Vec<&TestBackend> = all.iter().collect();
    let door = TestDoor::start(&(one_pool(&all, workers) + &keys)).await;
    for backend in all {
        // Not the checks: several doors may ask the same backends.
        door.logged(&format!("backend_in_rotation pool=app backend={}", backend.name())).await;
    }
    (door, folder)
}

async fn with_cookie(door: &TestDoor, cookie: &str) -> Response {
    let request = format!("GET / HTTP/1.1\r\nHost: x\r\nCookie: {cookie}\r\n\r\n");
    door.client().await.request(request).await
}

/// `stay=value` of `Set-Cookie`.
fn pair(response: &Response) -> String {
    let set = response.field("set-cookie").expect("a cookie is set");
    set.split(';').next().unwrap().to_owned()
}

#[tokio::test]
async fn a_signed_cookie_keeps_a_client_at_its_backend() {
    for workers in WORKERS {
        let all = backends(4).await;
        let (door, _key) = sticky(&all, workers, STICKY).await;
        let first = door.client().await.get("/").await;
        let set = first.field("set-cookie").unwrap();
        for part in ["; Path=/", "; Max-Age=3600", "; HttpOnly", "; SameSite=Lax"] {
            assert!(set.contains(part), "{set}");
        }
        for _ in 0..20 {
            let again = with_cookie(&door, &format!("a=b; {}", pair(&first))).await;
            assert_eq!(again.text(), first.text());
            assert_eq!(again.field("set-cookie"), None, "set only when it is needed");
        }
        // Somebody else is not drawn to it.
        let others = crowd(door.addr("web"), 16, 80, plain).await;
        assert_eq!(others.len(), 4, "{others:?}");
        // The cookie stays with the door's own fields: backends may see it, and it is not theirs.
        assert!(
            all.iter().flat_map(TestBackend::requests).all(|r| r.field("set-cookie").is_none())
        );
    }
}

#[tokio::test]
async fn a_forged_or_broken_cookie_counts_for_nothing() {
    let all = backends(2).await;
    let (door, _key) = sticky(&all, 1, STICKY).await;
    let first = door.client().await.get("/").await;
    let value = pair(&first);
    let parts: Vec<&str> = value.strip_prefix("stay=").unwrap().split('.').collect();
    let [id, expiry, mac] = parts[..] else { panic!("{value}") };
    let other = if first.text() == "a" { "b" } else { "a" };
    let hex = |name: &str| name.bytes().map(|byte| format!("{byte:02x}")).collect::<String>();
    let foreign = id.replace(&hex(&first.text()), &hex(other));
    let later = (expiry.parse::<u64>().unwrap() + 1).to_string();
    let flip = if mac.starts_with('0') { "1" } else { "0" };
    let flipped = flip.to_owned() + &mac[1..];
    for forged in [
        format!("{foreign}.{expiry}.{mac}"),
        format!("{id}.{later}.{mac}"),
        format!("{id}.{expiry}.{flipped}"),
        format!("{id}.{expiry}.{}", &mac[..30]),
        format!("{id}.{expiry}.{}", mac.to_uppercase() + "00"),
        format!("{id}.{expiry}."),
        format!("{id}.{expiry}"),
        format!("{id}..{mac}"),
        "..".into(),
        String::new(),
        "\u{e9}".into(),
        "x".repeat(5_000),
    ] {
        let response = with_cookie(&door, &format!("stay={forged}")).await;
        assert_eq!(response.status, 200);
        assert!(response.field("set-cookie").is_some(), "`{forged}` was believed");
    }
    // Not even by a door with another key.
    let (other, _key) = sticky(&all, 1, &STICKY.replace(", key = { file = \"key\" }", "")).await;
    let response = with_cookie(&other, &value).await;
    assert_eq!(response.status, 200, "{}", response.text());
    assert!(response.field("set-cookie").is_some());
    let (same, _key) = sticky(&all, 4, STICKY).await;
    assert!(with_cookie(&same, &value).await.field("set-cookie").is_none());
}

#[tokio::test]
async fn a_cookie_is_believed_until_its_time_is_up() {
    let all = backends(2).await;
    let (door, _key) = sticky(&all, 4, &STICKY.replace("1h", "1s")).await;
    let first = door.client().await.get("/").await;
    let mut client = door.client().await;
    let request = format!("GET / HTTP/1.1\r\nHost: x\r\nCookie: {}\r\n\r\n", pair(&first));
    let renewed = within(CEILING, async {
        loop {
            let response = client.request(&request).await;
            if response.field("set-cookie").is_some() {
                break response;
            }
            assert_eq!(response.text(), first.text());
        }
    });
    assert_ne!(pair(&renewed.await), pair(&first));
}

#[tokio::test]
async fn a_client_whose_backend_is_down_or_full_is_bound_to_another() {
    for workers in WORKERS {
        let all = backends(3).await;
        let keys = format!("{STICKY}[pools.app.upstream]\nidle = \"4s\"\n");
        let (door, _key) = sticky(&all, workers, &keys).await;
        let first = door.client().await.get("/").await;
        let home = all.iter().position(|backend| backend.name() == first.text()).unwrap();
        all[home].kill(Death::Fin).await;
        let moved = with_cookie(&door, &pair(&first)).await;
        assert_eq!(moved.status, 200);
        assert_ne!(moved.text(), first.text());
        let stays = with_cookie(&door, &pair(&moved)).await;
        assert_eq!((stays.text(), stays.field("set-cookie")), (moved.text(), None));
    }
}

#[tokio::test]
async fn a_cookie_holds_over_the_pools_of_a_waterfall() {
    for workers in WORKERS {
        // The same id in both: a cookie names a pool too.
        let red = TestBackend::start_with("one", Answer::text("red")).await;
        let blue = TestBackend::start_with("one", Answer::text("blue")).await;
        let config = one_pool(&[&red], workers)
            .replace("[pools.app]\n", "[pools.app]\nmax_concurrency = 1\n")
            .replace("{ pool = \"app\" }", "{ waterfall = [\"app\", \"blue\"] }");
        let blues = format!(
            "[pools.blue]\nbackends = [{{ id = \"one\", address = \"{}\" }}]\n[pools.blue.health]\n\
             path = \"/healthz\"\ninterval = \"50ms\"\nhealthy_after = 1\n",
            blue.addr()
        );
        let sticky = STICKY.replace(", key = { file = \"key\" }", "");
        let config = config.replace("[[routes]]", &format!("{blues}[[routes]]")) + &sticky;
        let door = TestDoor::checked(&config, &[&red]).await;
        door.logged("backend_in_rotation pool=app").await;
        door.logged("backend_in_rotation pool=blue").await;
        red.answer_next(Answer::text("red").held());
        let mut holding = door.client().await;
        holding.send(plain(0)).await;
        red.received(1).await;
        let spilt = door.client().await.get("/").await;
        assert_eq!(spilt.text(), "blue");
        red.release();
        assert_eq!(holding.read_response().await.text(), "red");
        // There is room again, and the client stays where its session is.
        let again = with_cookie(&door, &pair(&spilt)).await;
        assert_eq!((again.text().as_str(), again.field("set-cookie")), ("blue", None));
    }
}
