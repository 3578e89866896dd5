//! The crowd: requests that come when they come, whether or not those before them were answered, on
//! a thread and a runtime of their own, so that they and the door do not wait for each other.
//!
//! A few hundred requests a second, far from what the door can carry: this is to be watched, not a
//! benchmark. Most keep a backend busy for a while, so that a backend has room for a few only.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
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
use super::night::Night;
use super::tally::{Request as Counted, Tally};
use super::{CLOUD, NAMES, text};
use crate::command::backend::NAME_FIELD;

/// Between two looks at the clock.
const TICK: Duration = Duration::from_millis(5);

/// Requests under way at once. More than can wait at the door, so it is reached only if nobody
/// answers at all.
const MOST: usize = 1_500;

/// A connection that was not used for so long is closed: before the door does so.
const IDLE: Duration = Duration::from_secs(20);

/// A form, or a small picture.
const POST_BYTES: usize = 2 * 1024;

const LARGE_BYTES: usize = 64 * 1024;

/// The running load. Dropping it ends it too, a little later.
pub(super) struct Load {
    stop: watch::Sender<bool>,
    thread: JoinHandle<()>,
}

impl Load {
    /// The evening begins now.
    pub(super) fn start(door: SocketAddr, night: Night, tally: Arc<Tally>) -> Result<Load, String> {
        let (stop, stopped) = watch::channel(false);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| text::cannot_start(&error))?;
        let thread = std::thread::Builder::new().name("load".to_owned());
        let crowd = Crowd { door, tally, idle: Mutex::default() };
        let spawned = thread.spawn(move || runtime.block_on(run(Arc::new(crowd), night, stopped)));
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

struct Crowd {
    door: SocketAddr,
    tally: Arc<Tally>,
    /// Kept-alive connections; the one that was used last is the last.
    idle: Mutex<VecDeque<(Instant, Client)>>,
}

async fn run(crowd: Arc<Crowd>, night: Night, mut stopped: watch::Receiver<bool>) {
    let (began, mut made, mut rng) = (Instant::now(), 0, Rng::new(1));
    let mut requests = JoinSet::new();
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = stopped.wait_for(|stop| *stop) => break,
            _ = ticks.tick() => {}
        }
        let due = night.due(began.elapsed());
        for _ in made..due {
            let question = Question::roll(&mut rng);
            if requests.len() < MOST {
                requests.spawn(Arc::clone(&crowd).ask(question));
            } else {
                crowd.count(&question, Instant::now(), Err(text::UNASKED.to_owned()));
            }
        }
        made = due;
        while requests.try_join_next().is_some() {}
    }
    while requests.join_next().await.is_some() {}
}

impl Crowd {
    async fn ask(self: Arc<Crowd>, question: Question) {
        let began = Instant::now();
        let mut client = self.client(began);
        let outcome = match question.request(self.door) {
            Ok(request) => client.ask(request).await.and_then(|answer| question.judge(&answer)),
            Err(error) => Err(error.to_string()),
        };
        self.lock().push_back((Instant::now(), client));
        self.count(&question, began, outcome);
    }

    fn count(&self, question: &Question, began: Instant, outcome: Result<usize, String>) {
        let is_post = matches!(question, Question::Post);
        self.tally.count(Counted { is_post, began, ended: Instant::now(), outcome });
    }

    fn client(&self, now: Instant) -> Client {
        let mut idle = self.lock();
        while idle.pop_front_if(|(since, _)| now.saturating_duration_since(*since) > IDLE).is_some()
        {
        }
        let kept = idle.pop_back();
        kept.map_or_else(|| Client::new(Place::Tcp(self.door)), |(_, client)| client)
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<(Instant, Client)>> {
        // A push is whole or has not happened.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a client may want.
enum Question {
    Slow { ms: u64 },
    Large,
    Post,
}

impl Question {
    /// A fifth of a second on the average.
    fn roll(rng: &mut Rng) -> Question {
        match rng.below(100) {
            0..80 => Question::Slow { ms: 200 + rng.below(100) },
            80..90 => Question::Large,
            _ => Question::Post,
        }
    }

    fn request(&self, door: SocketAddr) -> Result<Request<Full<Bytes>>, hyper::http::Error> {
        let (method, path, body) = match self {
            Question::Slow { ms } => (Method::GET, format!("/slow?ms={ms}"), Bytes::new()),
            Question::Large => (Method::GET, format!("/bytes?n={LARGE_BYTES}"), Bytes::new()),
            Question::Post => (Method::POST, "/form".to_owned(), vec![b'x'; POST_BYTES].into()),
        };
        let request = Request::builder().method(method).uri(path);
        request.header(header::HOST, door.to_string()).body(Full::new(body))
    }

    /// The backend that answered, by its place in [`NAMES`] or [`CLOUD`], or what is wrong with the
    /// answer.
    fn judge(&self, answer: &Response<Bytes>) -> Result<usize, String> {
        if answer.status() != StatusCode::OK {
            return Err(answer.status().to_string());
        }
        let name = answer.headers().get(NAME_FIELD).map_or(&b""[..], |name| name.as_bytes());
        let place = NAMES.iter().position(|known| known.as_bytes() == name);
        let place = place.or_else(|| name.starts_with(b"p-").then_some(CLOUD));
        let place = place.ok_or(text::UNSIGNED)?;
        let is_whole = match self {
            Question::Large => answer.body().len() == LARGE_BYTES,
            _ => answer.body().strip_suffix(b"\n") == Some(name),
        };
        is_whole.then_some(place).ok_or_else(|| text::WRONG_BODY.to_owned())
    }
}
