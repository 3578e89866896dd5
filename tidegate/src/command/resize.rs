//! `tidegate pin`, `pause` and `resume`: another size for an elastic pool than its rules want, for
//! a time.

use std::process::ExitCode;

use hyper::Method;
use serde_json::{Value, json};

use super::ask::{self, AskError, Socket, TIMEOUT};
use super::backends::encoded;
use super::say;
use crate::admin::view::OverrideView;

/// `tidegate pin POOL N --for 3h --reason TEXT`
#[derive(Debug, clap::Args)]
pub struct PinArgs {
    /// Which elastic pool
    pub pool: String,
    /// So many instances, within its ceiling
    #[arg(value_name = "N")]
    pub instances: u32,
    /// How long, and who.
    #[command(flatten)]
    pub terms: Terms,
}

/// `tidegate pause POOL --for 3h --reason TEXT`
#[derive(Debug, clap::Args)]
pub struct PauseArgs {
    /// Which elastic pool
    pub pool: String,
    /// How long, and who.
    #[command(flatten)]
    pub terms: Terms,
}

/// How long, and why.
#[derive(Debug, clap::Args)]
pub struct Terms {
    /// Then its rules decide again: `90m`, `3h`; at most `31d`
    #[arg(long = "for", value_name = "DURATION")]
    pub lasts: String,
    /// Why, for the journal and for whoever looks at it
    #[arg(long, visible_alias = "why", value_name = "TEXT")]
    pub reason: String,
    /// Which door.
    #[command(flatten)]
    pub socket: Socket,
}

/// `tidegate resume POOL`
#[derive(Debug, clap::Args)]
pub struct ResumeArgs {
    /// Which elastic pool
    pub pool: String,
    /// Which door.
    #[command(flatten)]
    pub socket: Socket,
}

/// `tidegate pin`
pub fn pin(args: PinArgs) -> ExitCode {
    let what = json!({ "pin": args.instances });
    ask::main(async move { set(&args.pool, what, &args.terms).await })
}

/// `tidegate pause`
pub fn pause(args: PauseArgs) -> ExitCode {
    let what = json!({ "pause": true });
    ask::main(async move { set(&args.pool, what, &args.terms).await })
}

/// `tidegate resume`
pub fn resume(args: ResumeArgs) -> ExitCode {
    ask::main(async move {
        args.socket.ask(Method::DELETE, &path(&args.pool), None, TIMEOUT).await?;
        say(&format!("the rules of pool {} decide\n", args.pool));
        Ok(())
    })
}

async fn set(pool: &str, mut body: Value, terms: &Terms) -> Result<(), AskError> {
    body["for"] = terms.lasts.as_str().into();
    body["reason"] = terms.reason.as_str().into();
    let door = &terms.socket;
    let answer = door.ask(Method::PUT, &path(pool), Some(&body), TIMEOUT).await?;
    let order: OverrideView =
        serde_json::from_slice(&answer).map_err(|error| door.strange(error.to_string()))?;
    let what = order.pin.map_or("paused".to_owned(), |pin| format!("pinned to {pin}"));
    say(&format!("pool {pool} is {what} until {}\n", order.until));
    Ok(())
}

fn path(pool: &str) -> String {
    format!("/v1/pools/{}/override", encoded(pool))
}
