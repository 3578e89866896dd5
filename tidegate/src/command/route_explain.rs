//! `tidegate route explain`: which route a request takes, and why the others do not.
//!
//! The bytes that such a request would have go the way of the door itself (`balancer::explain`):
//! codec, normal forms, rules, table. Nothing is sent anywhere.

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use balancer::config::{DoorConfig, ForwardedStyle, ListenerConfig, RouteConfig};
use balancer::explain::{self, Explanation, Fate};
use balancer::outcome::Outcome;
use policies::backend::PoolIndex;
use policies::route::normal::PathRules;
use policies::route::{Action, Target, Verdict};

use super::{complain, end};
use crate::cli::{ConfigFile, INVALID_CONFIG};
use crate::config::{self, Config};

/// The request to ask about.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// For example GET
    pub method: String,
    /// http://host/path?query, or the target as it is sent, with -H host:...
    pub url: String,
    /// A header, as `name: value`; may be given several times
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    pub headers: Vec<String>,
    /// Address that it comes from
    #[arg(long, value_name = "ADDRESS", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    pub client: IpAddr,
    /// Name of the listener it comes in by [default: the first that is open]
    #[arg(long, value_name = "NAME")]
    pub listener: Option<String>,
    /// Configuration file [default: /etc/tidegate/tidegate.toml]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// Explains, and ends with 0; with 2 if the request cannot be written like that, with 78 if the
/// configuration cannot be used.
pub fn main(args: Args) -> ExitCode {
    let file = ConfigFile { file: None, config: args.config.clone() };
    let loaded = config::load(file.path());
    let Some(config) = &loaded.config else {
        complain(&config::render_text(&loaded.problems));
        return ExitCode::from(INVALID_CONFIG);
    };
    match explain(config, &args) {
        Ok(text) => end(&text, ExitCode::SUCCESS),
        Err(why) => {
            complain(&format!("error: {why}\n"));
            ExitCode::from(2)
        }
    }
}

/// The head that these arguments describe, as it would arrive. A URL is sent as browsers do, its
/// host in `Host`; beside a `Host` of its own it is sent whole, which is the absolute form. Anything
/// else is the target as it stands.
fn head(args: &Args) -> Result<Vec<u8>, String> {
    let is_host = |name: &str| name.eq_ignore_ascii_case("host");
    let mut lines = String::new();
    let mut names_host = false;
    for header in &args.headers {
        let Some((name, _)) = header.split_once(':') else {
            return Err(format!("`{header}` is not a header; write `name: value`"));
        };
        names_host |= is_host(name);
        lines += &format!("{header}\r\n");
    }
    let url = args.url.as_str();
    let rest = ["http://", "https://"].iter().find_map(|scheme| url.strip_prefix(scheme));
    let target = match rest {
        // A browser keeps what is behind `#` to itself.
        Some(_) if names_host => before_fragment(url).to_owned(),
        Some(rest) => {
            let rest = before_fragment(rest);
            let (host, target) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
            lines = format!("Host: {host}\r\n{lines}");
            if target.starts_with('/') { target.to_owned() } else { format!("/{target}") }
        }
        None => url.to_owned(),
    };
    Ok(format!("{} {target} HTTP/1.1\r\n{lines}\r\n", args.method).into_bytes())
}

fn before_fragment(url: &str) -> &str {
    url.split('#').next().unwrap_or_default()
}

fn explain(config: &Config, args: &Args) -> Result<String, String> {
    let (listener, is_open) = listener(config, args.listener.as_deref())?;
    let head = head(args)?;
    let explained = explain::explain(&config.door, &listener, args.client, &head);
    let explained = explained.map_err(|error| error.to_string())?;
    let mut text = String::new();
    if let Fate::Refused { status, outcome, detail } = &explained.fate
        && explained.route().is_none()
        && let Some(why) = before_routes(*outcome, detail.as_deref())
    {
        let _ = writeln!(text, "{status} before any route is asked: {why}");
        return Ok(text);
    }
    let (host, path) = explained.asked_for();
    let _ = writeln!(
        text,
        "{} {path} for {} from {}{} by listener `{}`{}",
        args.method,
        if host.is_empty() { "no host".to_owned() } else { format!("host `{host}`") },
        explained.client(),
        if explained.client() == args.client { "" } else { ", whom a trusted proxy names," },
        listener.name,
        if is_open { "" } else { " (not opened yet)" },
    );
    verdicts(&config.door, &explained, &mut text);
    conclude(&config.door, &listener, &explained, &mut text);
    Ok(text)
}

/// Why the door refuses a request that has no client and no route yet.
fn before_routes(outcome: Outcome, detail: Option<&str>) -> Option<&str> {
    match outcome {
        Outcome::MethodRefused => Some("CONNECT and TRACE are never passed on"),
        _ => detail,
    }
}

/// The listener to ask by, and whether it is open: the one that is named, else one that routes.
fn listener(config: &Config, name: Option<&str>) -> Result<(ListenerConfig, bool), String> {
    let open = &config.door.listeners;
    let closed = &config.closed_listeners;
    if let Some(name) = name {
        if closed.iter().any(|closed| closed == name) {
            return Ok((unopened(name), false));
        }
        let Some(found) = open.iter().find(|listener| *listener.name == *name) else {
            let known = open.iter().map(|listener| &*listener.name);
            let known: Vec<&str> = known.chain(closed.iter().map(String::as_str)).collect();
            return Err(format!("there is no listener `{name}`; there are: {}", known.join(", ")));
        };
        return Ok((found.clone(), true));
    }
    let routing = open.iter().find(|listener| listener.redirect_to_https.is_none());
    match (routing, closed.first(), open.first()) {
        (Some(listener), _, _) | (None, None, Some(listener)) => Ok((listener.clone(), true)),
        (None, Some(name), _) => Ok((unopened(name), false)),
        (None, None, None) => Err("the configuration has no listener".to_owned()),
    }
}

/// A listener that cannot be opened yet has no proven values: it is asked with the defaults.
fn unopened(name: &str) -> ListenerConfig {
    ListenerConfig {
        name: name.into(),
        bind: Vec::new(),
        redirect_to_https: None,
        max_connections: None,
        max_connections_per_address: None,
        max_header_size: 32 << 10,
        max_fields: 100,
        max_uri: 8 << 10,
        max_body: None,
        trusted_proxies: Vec::new(),
        proxy_protocol: Vec::new(),
        forwarded: ForwardedStyle::XForwarded,
        path_rules: PathRules::default(),
        request_head_timeout: Duration::ZERO,
        idle_timeout: Duration::ZERO,
        allow: Vec::new(),
        deny: Vec::new(),
        is_leaving: false,
    }
}

/// One line for each route, where routes were asked.
fn verdicts(door: &DoorConfig, explained: &Explanation, text: &mut String) {
    let width = door.routes.iter().map(|r| r.route.name.chars().count()).max().unwrap_or_default();
    for considered in explained.considered() {
        let Some(config) = door.routes.get(considered.index) else { continue };
        let verdict = match considered.verdict {
            Verdict::Won => "WON".to_owned(),
            Verdict::Lost { why } => format!("lost: {why}"),
            Verdict::NotReached => "not reached".to_owned(),
        };
        let _ =
            writeln!(text, "{:>4}  {:<width$}  {verdict}", considered.index + 1, config.route.name);
    }
}

/// What the door does, and what a backend gets of it.
fn conclude(
    door: &DoorConfig,
    listener: &ListenerConfig,
    explained: &Explanation,
    text: &mut String,
) {
    let route = explained.route().and_then(|place| door.routes.get(place));
    let who = match route {
        Some(route) => format!("route `{}`", route.route.name),
        None => format!("listener `{}`", listener.name),
    };
    let said = match (&explained.fate, route) {
        (Fate::Refused { outcome: Outcome::NoRoute, status, .. }, _) => {
            format!("no route matches: {status}")
        }
        (Fate::Refused { outcome: Outcome::Forbidden, status, .. }, _) => {
            format!("{status}: {who} does not let {} in", explained.client())
        }
        (Fate::Refused { outcome: Outcome::Maintenance, status, .. }, None) => {
            format!(
                "{status}: the maintenance switch of the site is on, and answers before any route"
            )
        }
        (Fate::Refused { outcome: Outcome::Maintenance, status, .. }, Some(_)) => {
            format!("{status}: {who} is in maintenance")
        }
        (Fate::Refused { outcome: Outcome::BodyTooLarge, status, .. }, _) => {
            format!("{status}: the body is larger than {who} takes")
        }
        (Fate::Refused { status, outcome, detail }, _) => {
            format!("{status}: {who} refuses it: {}", detail.as_deref().unwrap_or(outcome.word()))
        }
        (Fate::Options, _) => format!("{who} answers 200: an OPTIONS that may go no further"),
        (Fate::Redirected { status, to }, _) => format!("{who} redirects with {status} to {to}"),
        (Fate::Answered | Fate::Forwarded { .. }, route) => {
            format!("{who} {}", route.map(|route| outcome(door, route)).unwrap_or_default())
        }
    };
    let _ = writeln!(text, "{said}");
    if let Fate::Forwarded { head, .. } = &explained.fate {
        let _ = writeln!(text, "the backend gets, with `*` for what each request has of its own:");
        for line in head {
            let _ = writeln!(text, "    {line}");
        }
    }
}

fn outcome(door: &DoorConfig, config: &RouteConfig) -> String {
    match &config.route.action {
        Action::Forward(Target::Waterfall(to)) => format!("forwards to {}", pools(door, to)),
        Action::Forward(Target::Split { arms, .. }) => {
            let sum: u64 = arms.iter().map(|arm| u64::from(arm.weight)).sum();
            let arms =
                arms.iter().map(|arm| format!("{}/{sum} to {}", arm.weight, pools(door, &arm.to)));
            format!("forwards {}", arms.collect::<Vec<_>>().join(", "))
        }
        // Where to depends on the request.
        Action::Redirect { status, .. } => format!("redirects with {status}"),
        Action::Respond { status, body, .. } => {
            format!("answers {status} with {} bytes", body.len())
        }
    }
}

fn pools(door: &DoorConfig, indices: &[PoolIndex]) -> String {
    let names = indices.iter().filter_map(|index| door.pools.get(usize::from(index.0)));
    let names: Vec<String> = names.map(|pool| format!("`{}`", pool.name)).collect();
    names.join(", then ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = r#"
        schema = 1
        [listeners.web]
        bind = "127.0.0.1:8080"
        deny = ["192.0.2.0/24"]
        [pools.app]
        backends = [{ address = "127.0.0.1:9000" }]
        [[routes]]
        name = "login"
        headers = { request = { set = { "x-api-key" = "s3cr3t" } } }
        match = { host = "api.example", path_prefix = "/v1/" }
        to = { pool = "app" }
        [[routes]]
        name = "inside"
        allow = "10.0.0.0/8"
        match = { path = "/inside" }
        redirect = { to = "/outside" }
    "#;

    #[track_caller]
    fn check(url: &str, headers: &[&str], client: &str, expected: &str) {
        let loaded = config::parse("test.toml", CONFIG);
        let config = loaded.config.as_ref().unwrap();
        let args = Args {
            method: "GET".into(),
            url: url.into(),
            headers: headers.iter().map(|&header| header.to_owned()).collect(),
            client: client.parse().unwrap(),
            listener: None,
            config: None,
        };
        let text = explain(config, &args).unwrap();
        assert!(text.lines().any(|line| line == expected), "{expected}:\n{text}");
    }

    #[test]
    fn the_conclusion_is_what_the_door_would_do() {
        let (here, login) = ("127.0.0.1", "route `login` forwards to `app`");
        check("http://API.example:80/v1/x/../y", &[], here, login);
        check("http://a.example/", &[], here, "no route matches: 404");
        check("/inside", &["Host: a"], "10.0.0.1", "route `inside` redirects with 308 to /outside");
        let no = "403: route `inside` does not let 127.0.0.1 in";
        check("http://a/inside?x#y", &[], here, no);
        check("/", &["Host: a"], "192.0.2.1", "403: listener `web` does not let 192.0.2.1 in");
    }

    #[test]
    fn no_credential_is_shown_of_the_caller_or_of_the_configuration() {
        let headers = ["Authorization: Bearer mine", "Cookie: sid=mine"];
        for line in ["Authorization: ***", "Cookie: ***", "x-api-key: ***"] {
            check("http://api.example/v1/", &headers, "127.0.0.1", &format!("    {line}"));
        }
        let line = "    GET /v1/?a=b&token=*** HTTP/1.1";
        check("http://api.example/v1/?a=b&token=mine", &[], "127.0.0.1", line);
    }

    #[test]
    fn a_url_is_sent_as_browsers_do() {
        let here = "127.0.0.1";
        check("https://api.example/v1/a?b#c", &[], here, "    GET /v1/a?b HTTP/1.1");
        check("http://api.example:81/v1/a", &[], here, "    host: api.example:81");
        check(
            "http://api.example?a",
            &[],
            here,
            "GET / for host `api.example` from 127.0.0.1 by listener `web`",
        );
        let no = "400 before any route is asked: the target names another host than Host";
        check("http://api.example/v1/a", &["host: other"], here, no);
    }
}
