//! The requests: clients with keep-alive connections, on a thread and a runtime of their own, so
//! that they and the door do not wait for each other.
//!
//! A few hundred requests a second, far from what the door can carry: this is to be watched, not a
//! benchmark. Most are GET; some take their time, so that there is always something in flight.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Method, Request, Response, StatusCode, header};
use policies::rng::Rng;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use super::client::{Client, Place};
use super::tally::{Request as Counted, Tally};
use super::{NAMES, text};
use crate::command::backend::NAME_FIELD;

/// Connections, and requests under way at most.
const CLIENTS: u64 = 32;

/// Between two requests of one client: 32 in 80 ms are 400 a second.
const PACE: Duration = Duration::from_millis(80);

/// A form, or a small picture.
const POST_BYTES: usize = 2 * 1024;

const LARGE_BYTES: usize = 64 * 1024;

/// The running load. Dropping it ends it too, a little later.
pub(super) struct Load {
    stop: watch::Sender<bool>,
    thread: JoinHandle<()>,
}

impl Load {
    /// Starts all clients.
    pub(super) fn start(door: SocketAddr, tally: Arc<Tally>) -> Result<Load, String> {
        let (stop, stopped) = watch::channel(false);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| text::cannot_start(&error))?;
        let thread = std::thread::Builder::new().name("load".to_owned());
        let spawned = thread.spawn(move || runtime.block_on(run(door, tally, stopped)));
        let thread = spawned.map_err(|error| text::cannot_start(&error))?;
        Ok(Load { stop, thread })
    }

    /// Lets the requests under way end, and returns when they have.
    pub(super) async fn stop(self) {
        self.stop.send_replace(true);
        let thread = self.thread;
        // A panic there has been printed; the counts go on being true as far as they go.
        let _ = tokio::task::spawn_blocking(move || thread.join()).await;
    }
}

async fn run(door: SocketAddr, tally: Arc<Tally>, stopped: watch::Receiver<bool>) {
    let mut clients = JoinSet::new();
    for number in 0..CLIENTS {
        clients.spawn(client(number, door, Arc::clone(&tally), stopped.clone()));
    }
    while clients.join_next().await.is_some() {}
}

async fn client(
    number: u64,
    door: SocketAddr,
    tally: Arc<Tally>,
    mut stopped: watch::Receiver<bool>,
) {
    let mut rng = Rng::new(number);
    let mut client = Client::new(Place::Tcp(door));
    // Spread, so that they do not all ask at once.
    let offset = PACE.mul_f64(rng.below(1000) as f64 / 1000.0);
    let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + offset, PACE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = stopped.wait_for(|stop| *stop) => return,
            _ = ticks.tick() => {}
        }
        let question = Question::roll(&mut rng);
        let began = Instant::now();
        let outcome = match question.request(door) {
            Ok(request) => client.ask(request).await.and_then(|answer| question.judge(&answer)),
            Err(error) => Err(error.to_string()),
        };
        let is_post = matches!(question, Question::Post);
        tally.count(Counted { is_post, began, ended: Instant::now(), outcome });
    }
}

/// What a client may want.
enum Question {
    Name,
    Slow { ms: u64 },
    Large,
    Post,
}

impl Question {
    fn roll(rng: &mut Rng) -> Question {
        match rng.below(100) {
            0..50 => Question::Name,
            50..80 => Question::Slow { ms: 5 + rng.below(35) },
            80..90 => Question::Large,
            _ => Question::Post,
        }
    }

    fn request(&self, door: SocketAddr) -> Result<Request<Full<Bytes>>, hyper::http::Error> {
        let (method, path, body) = match self {
            Question::Name => (Method::GET, "/".to_owned(), Bytes::new()),
            Question::Slow { ms } => (Method::GET, format!("/slow?ms={ms}"), Bytes::new()),
            Question::Large => (Method::GET, format!("/bytes?n={LARGE_BYTES}"), Bytes::new()),
            Question::Post => (Method::POST, "/form".to_owned(), vec![b'x'; POST_BYTES].into()),
        };
        let request = Request::builder().method(method).uri(path);
        request.header(header::HOST, door.to_string()).body(Full::new(body))
    }

    /// The backend that answered, by its place in [`NAMES`], or what is wrong with the answer.
    fn judge(&self, answer: &Response<Bytes>) -> Result<usize, String> {
        if answer.status() != StatusCode::OK {
            return Err(answer.status().to_string());
        }
        let name = answer.headers().get(NAME_FIELD).map(|name| name.as_bytes());
        let place = NAMES.iter().position(|known| Some(known.as_bytes()) == name);
        let place = place.ok_or(text::UNSIGNED)?;
        let is_whole = match self {
            Question::Large => answer.body().len() == LARGE_BYTES,
            _ => answer.body().strip_suffix(b"\n") == Some(NAMES[place].as_bytes()),
        };
        is_whole.then_some(place).ok_or_else(|| text::WRONG_BODY.to_owned())
    }
}
