//! `tidegate backends`, `drain` and `undrain`: who takes requests of a running door, without a
//! reload.

use std::fmt::Write;
use std::io::IsTerminal;
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

use hyper::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::ask::{self, AskError, Socket, TIMEOUT};
use super::say;
use crate::admin::view::{BackendState, BackendView, PoolView};

/// Between two looks at a drain.
const LOOK: Duration = Duration::from_millis(200);

/// `tidegate backends ...`
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to do with them; `list` if nothing is said
    #[command(subcommand)]
    pub deed: Option<Deed>,
    /// Print JSON
    #[arg(long, global = true)]
    pub json: bool,
    /// Why, for the event
    #[arg(long, global = true, value_name = "TEXT")]
    pub reason: Option<String>,
    /// Which door.
    #[command(flatten)]
    pub socket: Socket,
}

/// What can be done with backends.
#[derive(Debug, clap::Subcommand)]
pub enum Deed {
    /// Show all backends, or those of one pool
    List {
        /// Only of this pool
        pool: Option<String>,
    },
    /// One more; it takes requests after its first passed check, and stays over reloads
    Add {
        /// Pool and id of the new backend
        #[arg(value_name = "POOL/ID")]
        name: Name,
        /// Where it listens: `10.0.0.4:8080`, `app.internal:8080`
        address: String,
        /// Its share of requests, 0 to 1000
        #[arg(long)]
        weight: Option<u32>,
        /// Requests that it may have in flight
        #[arg(long)]
        max_concurrency: Option<u32>,
        /// Failure domain it stands in
        #[arg(long)]
        zone: Option<String>,
    },
    /// It drains and goes
    Remove {
        /// Which
        #[arg(value_name = "POOL/ID")]
        name: Name,
        /// It goes at once; its requests may still end
        #[arg(long)]
        now: bool,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// Another share of requests, until the next reload
    Weight {
        /// Which
        #[arg(value_name = "POOL/ID")]
        name: Name,
        /// 0 to 1000; 0 takes none
        weight: u32,
    },
    /// Hold a breaker open (no requests) or closed (all of them) until `auto`, or a restart
    Breaker {
        /// Which
        #[arg(value_name = "POOL/ID")]
        name: Name,
        /// `open`, `closed`, or `auto` to let it go
        #[arg(value_parser = ["open", "closed", "auto"])]
        hold: String,
    },
    /// Another limit of requests in flight, until the next reload
    MaxConcurrency {
        /// Which
        #[arg(value_name = "POOL/ID")]
        name: Name,
        /// At least 1, or `none`
        limit: String,
    },
}

/// `tidegate drain POOL/ID`, `tidegate undrain POOL/ID`
#[derive(Debug, clap::Args)]
pub struct DrainArgs {
    /// Which
    #[arg(value_name = "POOL/ID")]
    pub name: Name,
    /// Return when it has drained
    #[arg(long)]
    pub wait: bool,
    /// Why, for the event
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// Which door.
    #[command(flatten)]
    pub socket: Socket,
}

/// A backend on the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    /// Its pool.
    pub pool: String,
    /// Unique in the pool.
    pub id: String,
}

impl FromStr for Name {
    type Err = String;

    fn from_str(text: &str) -> Result<Name, String> {
        match text.split_once('/') {
            Some((pool, id)) if !pool.is_empty() && !id.is_empty() => {
                Ok(Name { pool: pool.to_owned(), id: id.to_owned() })
            }
            _ => Err("write POOL/ID, as `tidegate backends` shows them".to_owned()),
        }
    }
}

impl Name {
    fn path(&self, more: &str) -> String {
        format!("/v1/pools/{}/backends/{}{more}", encoded(&self.pool), encoded(&self.id))
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.pool, self.id)
    }
}

#[derive(Deserialize)]
struct Pools {
    pools: Vec<PoolView>,
}

/// `tidegate backends`
pub fn main(args: Args) -> ExitCode {
    ask::main(async move {
        let Args { deed, json, reason, socket } = args;
        let reason = reason.map(|reason| ("reason".to_owned(), reason.into()));
        let mut body: Map<String, Value> = reason.into_iter().collect();
        let mut put = |name: &str, value: Value| drop(body.insert(name.to_owned(), value));
        let (name, method, path) = match deed {
            None => return list(&socket, None, json).await,
            Some(Deed::List { pool }) => return list(&socket, pool.as_deref(), json).await,
            Some(Deed::Add { name, address, weight, max_concurrency, zone }) => {
                put("id", name.id.clone().into());
                put("address", address.into());
                weight.into_iter().for_each(|weight| put("weight", weight.into()));
                max_concurrency.into_iter().for_each(|cap| put("max_concurrency", cap.into()));
                zone.into_iter().for_each(|zone| put("zone", zone.into()));
                let path = format!("/v1/pools/{}/backends", encoded(&name.pool));
                (name, Method::POST, path)
            }
            Some(Deed::Remove { name, now, yes }) => {
                if !yes && !is_meant(&name, now) {
                    say("nothing was changed\n");
                    return Ok(());
                }
                let path = name.path(if now { "?now" } else { "" });
                (name, Method::DELETE, path)
            }
            Some(Deed::Weight { name, weight }) => {
                put("weight", weight.into());
                let path = name.path("");
                (name, Method::PATCH, path)
            }
            Some(Deed::Breaker { name, hold }) => {
                put("hold", hold.into());
                let path = name.path("/breaker");
                (name, Method::POST, path)
            }
            Some(Deed::MaxConcurrency { name, limit }) => {
                // What is no number is told by the door.
                let number = limit.parse::<u32>().map(Value::from);
                let none = if limit == "none" { Value::Null } else { limit.into() };
                put("max_concurrency", number.unwrap_or(none));
                let path = name.path("");
                (name, Method::PATCH, path)
            }
        };
        let answer = socket.ask(method, &path, Some(&body.into()), TIMEOUT).await?;
        say(&told(&socket, &name, &answer, json)?);
        Ok(())
    })
}

/// `tidegate drain`
pub fn drain(args: DrainArgs) -> ExitCode {
    ask::main(async move {
        order(&args, "/drain").await?;
        if args.wait {
            say(&drained(&args).await?);
        }
        Ok(())
    })
}

/// Looks until it has drained, or is wanted again; what to say then.
async fn drained(args: &DrainArgs) -> Result<String, AskError> {
    let (mut waited_for, mut cut) = (0, 0);
    loop {
        let now: BackendView = match args.socket.get(&args.name.path("")).await {
            // It was leaving, and has.
            Err(AskError::Refused { status: StatusCode::NOT_FOUND, .. }) => break,
            other => other?,
        };
        (waited_for, cut) = now.drain.map_or((waited_for, cut), |d| (d.waited_for, d.cut));
        match now.state {
            BackendState::Draining => tokio::time::sleep(LOOK).await,
            BackendState::Drained => break,
            other => return Ok(format!("{} is {} again, not drained\n", args.name, other.word())),
        }
    }
    let cut = if cut == 0 { String::new() } else { format!(", {cut} of them were cut") };
    Ok(format!("{} drained; it waited for {waited_for} requests{cut}\n", args.name))
}

/// `tidegate undrain`
pub fn undrain(args: DrainArgs) -> ExitCode {
    ask::main(async move { order(&args, "/undrain").await })
}

async fn order(args: &DrainArgs, verb: &str) -> Result<(), AskError> {
    let body = args.reason.as_ref().map_or(json!({}), |reason| json!({ "reason": reason }));
    let answer = args.socket.ask(Method::POST, &args.name.path(verb), Some(&body), TIMEOUT).await?;
    say(&told(&args.socket, &args.name, &answer, false)?);
    Ok(())
}

/// What became of it.
fn told(socket: &Socket, name: &Name, answer: &[u8], json: bool) -> Result<String, AskError> {
    if answer.is_empty() {
        return Ok(format!("{name} is gone\n"));
    }
    if json {
        return Ok(String::from_utf8_lossy(answer).into_owned());
    }
    let now: BackendView =
        serde_json::from_slice(answer).map_err(|error| socket.strange(error.to_string()))?;
    Ok(format!("{name} is {}, {} requests in flight\n", now.state.word(), now.in_flight))
}

async fn list(socket: &Socket, pool: Option<&str>, json: bool) -> Result<(), AskError> {
    let Pools { pools } = socket.get("/v1/pools").await?;
    let mut text = String::new();
    for PoolView { name: pool, backends, .. } in
        pools.iter().filter(|found| pool.is_none_or(|wanted| wanted == found.name))
    {
        for backend in backends {
            if json {
                let mut one = json!(backend);
                one["pool"] = pool.as_str().into();
                let _ = writeln!(text, "{one}");
                continue;
            }
            let BackendView { id, address, state, in_flight, weight, .. } = backend;
            let (name, state) = (format!("{pool}/{id}"), state.word());
            let cap = backend.max_concurrency.map_or("-".to_owned(), |cap| cap.to_string());
            let _ = writeln!(
                text,
                "{name:<24} {address:<22} {state:<10} weight {weight:<5} in flight {in_flight}/{cap}"
            );
        }
    }
    if text.is_empty() && !json {
        text = "no backends\n".to_owned();
    }
    say(&text);
    Ok(())
}

/// Asks a person. Nobody is there: no.
fn is_meant(name: &Name, now: bool) -> bool {
    let how = if now { "at once, whatever it is working on" } else { "when it has drained" };
    say(&format!("{name} will go {how}. Go on? (--yes does not ask) [y/N] "));
    if !std::io::stdin().is_terminal() {
        say("\n");
        return false;
    }
    let mut answer = String::new();
    let read = std::io::stdin().read_line(&mut answer);
    read.is_ok() && matches!(answer.trim(), "y" | "Y" | "yes")
}

/// A segment of a path: ids may be addresses.
pub(super) fn encoded(segment: &str) -> String {
    let mut out = String::new();
    for byte in segment.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.') {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backend_is_named_by_pool_and_id() {
        let name: Name = "app/[::1]:80".parse().unwrap();
        assert_eq!((&*name.pool, &*name.id), ("app", "[::1]:80"));
        assert_eq!(name.path("/drain"), "/v1/pools/app/backends/%5B%3A%3A1%5D%3A80/drain");
        for text in ["", "app", "app/", "/a"] {
            assert!(text.parse::<Name>().is_err(), "{text}");
        }
    }
}
