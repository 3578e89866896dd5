//! `tidegate backend`: a small server to stand behind a door while trying it out.
//!
//! | path           | answer                                                    |
//! |----------------|-----------------------------------------------------------|
//! | `/healthz`     | `ok`                                                      |
//! | `/echo`        | the request as it came: line, fields, length of its body  |
//! | `/slow?ms=N`   | its name, after N milliseconds                            |
//! | `/bytes?n=N`   | N bytes                                                   |
//! | any other      | its name                                                  |
//!
//! `x-backend` has the name on every answer. Not for carrying a site's traffic: it is written with
//! hyper, which has nothing in common with the door's own codec, and it logs nothing.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Either, Full};
use hyper::body::Incoming;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustix::process::Signal;
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::cli::FAILED;
use crate::command::{complain, say};
use zeros::Zeros;

mod zeros;

/// Has the name of the backend, on every answer.
pub const NAME_FIELD: HeaderName = HeaderName::from_static("x-backend");

/// What is not done this long after the signal is cut.
const GRACE: Duration = Duration::from_secs(10);

/// After an accept that failed, for want of descriptors above all.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Longest wait of `/slow`.
const MAX_SLOW_MS: u64 = 600_000;

/// Be a backend.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Address and port to listen on
    #[arg(long, value_name = "ADDR")]
    pub listen: SocketAddr,
    /// What it answers with
    #[arg(long, value_name = "NAME", default_value = "backend")]
    pub name: String,
    /// End as soon as this process does, which must be the one that started this one
    #[arg(long, value_name = "PID")]
    pub parent: Option<i32>,
}

/// Serves until a signal ends it.
pub fn main(args: Args) -> ExitCode {
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(text) => {
            complain(&format!("error: {text}\n"));
            ExitCode::from(FAILED)
        }
    }
}

fn run(args: &Args) -> Result<(), String> {
    if let Some(parent) = args.parent {
        end_with(parent)?;
    }
    let field = HeaderValue::from_str(&args.name)
        .map_err(|_| format!("`--name` is `{}`; use printable ASCII", args.name.escape_debug()))?;
    let backend = Arc::new(ToyBackend { name: args.name.clone(), field });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("cannot start: {error}"))?;
    runtime.block_on(async {
        let hear = |kind| signal(kind).map_err(|error| format!("cannot hear signals: {error}"));
        let (mut terminate, mut interrupt) =
            (hear(SignalKind::terminate())?, hear(SignalKind::interrupt())?);
        let listener = TcpListener::bind(args.listen).await.map_err(|error| {
            let listen = args.listen;
            format!("cannot listen on `{listen}`: {error}; choose another or stop its owner")
        })?;
        let address = listener.local_addr().unwrap_or(args.listen);
        say(&format!("backend {} listens on http://{address}/\n", backend.name));
        let told = async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        serve(listener, backend, told).await;
        Ok(())
    })
}

/// Has the kernel kill this process when its parent ends, however that ends.
fn end_with(parent: i32) -> Result<(), String> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|error| format!("cannot follow the parent process: {error}"))?;
    // It may have ended before we asked.
    let actual = rustix::process::getppid().map(|pid| pid.as_raw_nonzero().get());
    if actual != Some(parent) {
        return Err(format!("`--parent` is `{parent}`, which did not start this or has ended"));
    }
    Ok(())
}

struct ToyBackend {
    name: String,
    field: HeaderValue,
}

/// Accepts until `told`, then lets what is under way end.
async fn serve(listener: TcpListener, backend: Arc<ToyBackend>, told: impl Future<Output = ()>) {
    let (stop, stopped) = watch::channel(false);
    let mut connections = JoinSet::new();
    tokio::pin!(told);
    loop {
        tokio::select! {
            () = &mut told => break,
            // Cancelling an accept loses no connection: it stays in the queue.
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection(stream, Arc::clone(&backend), stopped.clone()));
                }
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            },
        }
        // Reaps those that have ended, so that the set does not grow.
        while connections.try_join_next().is_some() {}
    }
    drop(listener);
    stop.send_replace(true);
    let all = async { while connections.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(GRACE, all).await;
}

async fn connection(
    stream: TcpStream,
    backend: Arc<ToyBackend>,
    mut stopped: watch::Receiver<bool>,
) {
    let _ = stream.set_nodelay(true);
    let service = service_fn(|request| {
        let backend = Arc::clone(&backend);
        async move { Ok::<_, Infallible>(backend.answer(request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    tokio::select! {
        // What goes wrong on it is the client's affair: there is nobody left to tell.
        _ = connection.as_mut() => return,
        _ = stopped.wait_for(|stop| *stop) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = connection.await;
}

type Answer = Response<Either<Full<Bytes>, Zeros>>;

impl ToyBackend {
    async fn answer(&self, request: Request<Incoming>) -> Answer {
        let (head, body) = request.into_parts();
        let Ok(body_bytes) = drain(body).await else {
            return self.text(StatusCode::BAD_REQUEST, "the body ended early\n".into());
        };
        let query = head.uri.query().unwrap_or_default();
        match head.uri.path() {
            "/healthz" => self.text(StatusCode::OK, "ok\n".into()),
            "/echo" => self.text(StatusCode::OK, echo(&head, body_bytes)),
            "/slow" => match number(query, "ms", MAX_SLOW_MS) {
                Ok(ms) => {
                    tokio::time::sleep(Duration::from_millis(ms)).await;
                    self.named()
                }
                Err(text) => self.text(StatusCode::BAD_REQUEST, text),
            },
            "/bytes" => match number(query, "n", u64::MAX) {
                Ok(bytes) => self.bytes(bytes),
                Err(text) => self.text(StatusCode::BAD_REQUEST, text),
            },
            _ => self.named(),
        }
    }

    fn named(&self) -> Answer {
        self.text(StatusCode::OK, format!("{}\n", self.name))
    }

    fn text(&self, status: StatusCode, text: String) -> Answer {
        let mut answer = Response::new(Either::Left(Full::new(Bytes::from(text))));
        *answer.status_mut() = status;
        self.signed(answer, "text/plain; charset=utf-8")
    }

    fn bytes(&self, bytes: u64) -> Answer {
        self.signed(Response::new(Either::Right(Zeros::new(bytes))), "application/octet-stream")
    }

    fn signed(&self, mut answer: Answer, kind: &'static str) -> Answer {
        let headers = answer.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        headers.insert(NAME_FIELD, self.field.clone());
        answer
    }
}

/// Reads a body to its end; its length.
async fn drain(mut body: Incoming) -> Result<u64, hyper::Error> {
    let mut bytes = 0;
    while let Some(frame) = body.frame().await.transpose()? {
        bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
    }
    Ok(bytes)
}

/// Request line and fields as hyper read them, names in lower case.
fn echo(head: &hyper::http::request::Parts, body_bytes: u64) -> String {
    let mut text = format!("{} {} {:?}\n", head.method, head.uri, head.version);
    for (name, value) in &head.headers {
        text.push_str(&format!("{name}: {}\n", String::from_utf8_lossy(value.as_bytes())));
    }
    text.push_str(&format!("\nbody: {body_bytes} bytes\n"));
    text
}

/// The parameter `key` of a query; 0 if it is not there.
fn number(query: &str, key: &str, max: u64) -> Result<u64, String> {
    let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let Some((_, value)) = pairs.find(|(name, _)| *name == key) else { return Ok(0) };
    let number = value.parse().ok().filter(|number| *number <= max);
    number.ok_or_else(|| format!("`{key}` is `{value}`; give a number up to {max}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_found_in_the_query_and_has_a_limit() {
        assert_eq!(number("a=1&ms=20", "ms", 30), Ok(20));
        assert_eq!(number("", "ms", 30), Ok(0));
        assert_eq!(number("ms=40", "ms", 30), Err("`ms` is `40`; give a number up to 30\n".into()));
        assert!(number("ms=-1", "ms", 30).is_err());
    }

    #[tokio::test]
    async fn all_paths_answer_and_the_server_ends_when_told() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (tell, told) = tokio::sync::oneshot::channel::<()>();
        let backend = ToyBackend { name: "amber".into(), field: HeaderValue::from_static("amber") };
        let served = tokio::spawn(serve(listener, Arc::new(backend), async {
            let _ = told.await;
        }));
        let stream = TcpStream::connect(address).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let mut ask = async |path: &str, body: &'static str| {
            let request = Request::post(path).header("x-a", "1");
            let request = request.body(Full::new(Bytes::from_static(body.as_bytes()))).unwrap();
            let answer = sender.send_request(request).await.unwrap();
            let (status, name) = (answer.status().as_u16(), answer.headers()[NAME_FIELD].clone());
            assert_eq!(name, "amber");
            (status, answer.into_body().collect().await.unwrap().to_bytes())
        };
        assert_eq!(ask("/healthz", "").await, (200, "ok\n".into()));
        assert_eq!(ask("/any", "x").await, (200, "amber\n".into()));
        assert_eq!(ask("/slow?ms=1", "").await, (200, "amber\n".into()));
        assert_eq!(ask("/slow?ms=x", "").await.0, 400);
        assert_eq!(ask("/bytes?n=200000", "").await, (200, vec![0; 200_000].into()));
        let (status, echoed) = ask("/echo?b", "four").await;
        let echoed = String::from_utf8_lossy(&echoed).into_owned();
        assert_eq!(status, 200);
        assert!(echoed.starts_with("POST /echo?b HTTP/1.1\n"), "{echoed}");
        assert!(echoed.contains("\nx-a: 1\n") && echoed.ends_with("\nbody: 4 bytes\n"), "{echoed}");
        tell.send(()).unwrap();
        served.await.unwrap();
    }
}
