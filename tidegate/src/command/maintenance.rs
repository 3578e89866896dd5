//! `tidegate maintenance`: closes the site or a route of a running door, and opens it again.

use std::process::ExitCode;

use hyper::Method;
use serde_json::json;

use super::ask::{self, AskError, Socket, TIMEOUT};
use super::backends::encoded;
use super::say;
use crate::admin::view::{MaintenanceView, StatusView};

/// `tidegate maintenance [on|off] [ROUTE]`
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Begin or end it; without, show what is in maintenance
    #[arg(value_enum)]
    pub switch: Option<Switch>,
    /// Only this route, not the whole site
    pub route: Option<String>,
    /// Why, for the event
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// Which door.
    #[command(flatten)]
    pub socket: Socket,
}

/// Begin or end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Switch {
    /// Requests are answered with 503
    On,
    /// Requests are forwarded again
    Off,
}

/// `tidegate maintenance`
pub fn main(args: Args) -> ExitCode {
    ask::main(async move {
        match args.switch {
            None => show(&args.socket).await,
            Some(switch) => turn(&args, switch == Switch::On).await,
        }
    })
}

async fn show(socket: &Socket) -> Result<(), AskError> {
    let status: StatusView = socket.get("/v1/status").await?;
    match &status.maintenance[..] {
        [] => say("nothing is in maintenance\n"),
        all => say(&format!("in maintenance: {}\n", all.join(", "))),
    }
    Ok(())
}

async fn turn(args: &Args, is_on: bool) -> Result<(), AskError> {
    let path = match &args.route {
        None => "/v1/maintenance".to_owned(),
        Some(route) => format!("/v1/routes/{}/maintenance", encoded(route)),
    };
    let body = json!({ "is_on": is_on, "reason": args.reason });
    let answer = args.socket.ask(Method::PUT, &path, Some(&body), TIMEOUT).await?;
    let now: MaintenanceView =
        serde_json::from_slice(&answer).map_err(|error| args.socket.strange(error.to_string()))?;
    say(&told(args.route.as_deref(), now));
    Ok(())
}

/// What holds now, and that the file says otherwise where it does.
fn told(route: Option<&str>, now: MaintenanceView) -> String {
    let what = route.map_or("the site".to_owned(), |route| format!("route {route}"));
    let state = if now.is_on { "in maintenance" } else { "open" };
    let aside = match (now.is_on, now.is_written) {
        (true, false) => "; the file does not say so, and a restart forgets it",
        (false, true) => "; the file says otherwise, and a restart goes by it",
        _ => "",
    };
    format!("{what} is {state}{aside}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_file_says_otherwise_is_told() {
        let view = |is_on, is_written| MaintenanceView { is_on, is_written };
        assert_eq!(told(None, view(true, true)), "the site is in maintenance\n");
        let text = told(Some("shop"), view(true, false));
        assert!(text.starts_with("route shop is in maintenance; the file does not"), "{text}");
        assert_eq!(told(Some("shop"), view(false, false)), "route shop is open\n");
    }
}
