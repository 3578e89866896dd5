//! `drill-backend ADDR [key=value ...]`: a backend that is a process, to be killed, frozen and
//! restarted while a door sends to it.
//!
//! Each POST that it executes is a line `post ID` on standard output, written before the answer, so
//! that whoever reads the pipe knows what was executed however the process ends. A probe of
//! `/healthz` is a line `probe`, and the first line is `ready`. SIGTERM ends it as programs do: no
//! new connections, what is under way is answered, connections without a request close. SIGUSR1
//! makes it ill, SIGUSR2 well again; probes are answered as ever.
//!
//! | key        | what                                                                 |
//! |------------|----------------------------------------------------------------------|
//! | `delay`    | milliseconds until an answer                                          |
//! | `idle`     | milliseconds after which a connection without a request is closed     |
//! | `requests` | a connection is closed after 1 to so many answers                     |
//! | `announce` | 1: both are said in the answer that comes before                      |
//! | `errors`   | percent of answers that are 500 while it is ill                       |
//! | `slow`     | milliseconds until an answer while it is ill                          |

use std::io::{self, Write};
use std::net::SocketAddr;
use std::time::Duration;

use rustix::process::{Signal, set_parent_process_death_signal};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;

const USAGE: io::ErrorKind = io::ErrorKind::InvalidInput;

#[derive(Debug, Clone, Copy, Default)]
struct Manner {
    delay: Duration,
    idle: Option<Duration>,
    requests: Option<u64>,
    announces: bool,
    errors: u64,
    slow: Option<Duration>,
}

/// How it is, as signals say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Well,
    Ill,
    Stopping,
}

fn main() -> io::Result<()> {
    // Whatever ends the test ends this.
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let mut args = std::env::args().skip(1);
    let addr: SocketAddr =
        args.next().and_then(|addr| addr.parse().ok()).ok_or(io::Error::from(USAGE))?;
    let mut manner = Manner::default();
    for arg in args {
        let (key, value) = arg.split_once('=').ok_or(io::Error::from(USAGE))?;
        let number: u64 = value.parse().map_err(io::Error::other)?;
        match key {
            "delay" => manner.delay = Duration::from_millis(number),
            "idle" => manner.idle = Some(Duration::from_millis(number)),
            "requests" => manner.requests = Some(number),
            "announce" => manner.announces = number > 0,
            "errors" => manner.errors = number,
            "slow" => manner.slow = Some(Duration::from_millis(number)),
            _ => return Err(USAGE.into()),
        }
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(serve(addr, manner))
}

async fn serve(addr: SocketAddr, manner: Manner) -> io::Result<()> {
    let mut told = signal(SignalKind::terminate())?;
    let mut ill = signal(SignalKind::user_defined1())?;
    let mut well = signal(SignalKind::user_defined2())?;
    let listener = TcpListener::bind(addr).await?;
    say("ready")?;
    let (state, seen) = watch::channel(State::Well);
    let mut connections = JoinSet::new();
    let mut number = 0;
    loop {
        tokio::select! {
            // Cancel-safe: a connection is either accepted or still in the queue.
            accepted = listener.accept() => if let Ok((stream, _)) = accepted {
                number += 1;
                connections.spawn(connection(stream, manner, number, seen.clone()));
            },
            Some(_) = connections.join_next() => {}
            _ = ill.recv() => drop(state.send_replace(State::Ill)),
            _ = well.recv() => drop(state.send_replace(State::Well)),
            _ = told.recv() => break,
        }
    }
    drop(listener);
    state.send_replace(State::Stopping);
    while connections.join_next().await.is_some() {}
    Ok(())
}

/// Answers until one of the two sides wants no more.
async fn connection(
    mut stream: TcpStream,
    manner: Manner,
    number: u64,
    mut state: watch::Receiver<State>,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let idle = manner.idle.unwrap_or(Duration::from_secs(3_600));
    // Spread well enough, and the same in each run.
    let most = manner.requests.map(|most| 1 + (number.wrapping_mul(0x9E37_79B9) >> 7) % most);
    let mut seen = Vec::new();
    for served in 1.. {
        let request = loop {
            if let Some(request) = next(&mut seen) {
                break request;
            }
            tokio::select! {
                // Cancel-safe: what was read is in `seen`.
                count = stream.read_buf(&mut seen) => if count? == 0 { return Ok(()) },
                () = tokio::time::sleep(idle), if seen.is_empty() => return Ok(()),
                _ = state.wait_for(|state| *state == State::Stopping), if seen.is_empty() => return Ok(()),
            }
        };
        say(&request)?;
        let is_ill = *state.borrow() == State::Ill && request != "probe";
        if request != "probe" {
            let delay = manner.slow.filter(|_| is_ill).unwrap_or(manner.delay);
            tokio::time::sleep(delay).await;
        }
        // Spread evenly over the answers of each connection.
        let is_bad = is_ill && (served * 37 + number * 11) % 100 < manner.errors;
        let status = if is_bad { "500 Internal Server Error" } else { "200 OK" };
        let is_stopping = *state.borrow() == State::Stopping;
        let is_last = most == Some(served) || is_stopping;
        let field = match (manner.announces || is_stopping, is_last, manner.idle) {
            (true, true, _) => "Connection: close\r\n".to_owned(),
            (true, false, Some(idle)) => format!("Keep-Alive: timeout={}\r\n", idle.as_secs()),
            _ => String::new(),
        };
        let answer = format!("HTTP/1.1 {status}\r\n{field}Content-Length: 2\r\n\r\nok");
        stream.write_all(answer.as_bytes()).await?;
        if is_last {
            return Ok(());
        }
    }
    Ok(())
}

/// Takes a whole request off the front: `get`, `probe`, or `post` and its id.
fn next(seen: &mut Vec<u8>) -> Option<String> {
    let end = seen.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let head = String::from_utf8_lossy(&seen[..end]).into_owned();
    let field = |name: &str| {
        let is_it = |line: &&str| line.to_ascii_lowercase().starts_with(name);
        head.lines().find(is_it).map(|line| line[name.len()..].trim())
    };
    let length = field("content-length:").and_then(|digits| digits.parse().ok()).unwrap_or(0);
    if seen.len() < end + length {
        return None;
    }
    seen.drain(..end + length);
    Some(match field("x-id:") {
        _ if head.starts_with("GET /healthz ") => "probe".to_owned(),
        Some(id) if head.starts_with("POST ") => format!("post {id}"),
        _ => "get".to_owned(),
    })
}

/// Tells what is worth to be known after the end.
fn say(request: &str) -> io::Result<()> {
    if request == "get" {
        return Ok(());
    }
    // One write for each line: a kill leaves no half of one.
    io::stdout().write_all(format!("{request}\n").as_bytes())
}
