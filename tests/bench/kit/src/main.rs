//! The helpers of the benchmark in one binary: what answers, what asks, what waits.
//!
//! ```text
//! kit origin --ports 29001,29002            the cheapest HTTP/1.1 origin
//! kit load   --addr 127.0.0.1:8080 ...      closed loop, or a constant rate with --rate
//! kit idle   --addr 127.0.0.1:8080 ...      holds idle keep-alive connections
//! kit bulk   --addr 127.0.0.1:8080 ...      one large body, up or down
//! kit stall  --addr 127.0.0.1:8080 ...      a large body toward an origin that does not read it
//! ```
//!
//! `origin` and `load` are one thread each on bare edge-triggered epoll, because whatever they
//! cost on top of the kernel is load that the door under test does not get. Only loopback
//! addresses are accepted. What this is not: an HTTP implementation. It understands the answers
//! of an origin of its own, passed through a door, and gives up loudly on anything else.

mod args;
mod bulk;
mod histogram;
mod http;
mod idle;
mod load;
mod net;
mod origin;

use std::io;
use std::process::ExitCode;

use args::Args;

const USAGE: &str = "usage: kit origin|load|idle|bulk|stall --key value ...";

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    let command = words.next().unwrap_or_default();
    match run(&command, words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("kit {command}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: &str, words: impl Iterator<Item = String>) -> io::Result<()> {
    let args = Args::parse(words)?;
    match command {
        "origin" => origin::run(&args),
        "load" => load::run(&args),
        "idle" => idle::run(&args),
        "bulk" => bulk::run(&args),
        "stall" => bulk::stall(&args),
        _ => Err(io::Error::other(USAGE)),
    }
}
