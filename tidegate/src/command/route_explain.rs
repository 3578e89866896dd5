//! `tidegate route explain`: which route a request takes, and why the others do not.
//!
//! It asks the same table with the same normal form as the door does; nothing is sent anywhere.

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::process::ExitCode;

use balancer::config::{DoorConfig, ListenerConfig, RouteConfig};
use policies::backend::PoolIndex;
use policies::route::normal::{self, Normal, PathRules};
use policies::route::{Action, Fields, Location, Request, RouteTable, Target, Verdict};

use super::{complain, end};
use crate::cli::{ConfigFile, INVALID_CONFIG};
use crate::config::{self, Config};

/// The request to ask about.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// For example GET
    pub method: String,
    /// http://host/path?query, or /path?query with -H host:...
    pub url: String,
    /// A header, as `name: value`; may be given several times
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    pub headers: Vec<String>,
    /// Address of the client
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
    let asked = match Asked::new(&args) {
        Ok(asked) => asked,
        Err(why) => {
            complain(&format!("error: {why}\n"));
            return ExitCode::from(2);
        }
    };
    let file = ConfigFile { file: None, config: args.config };
    let loaded = config::load(file.path());
    let Some(config) = &loaded.config else {
        complain(&config::render_text(&loaded.problems));
        return ExitCode::from(INVALID_CONFIG);
    };
    match explain(config, &asked) {
        Ok(text) => end(&text, ExitCode::SUCCESS),
        Err(why) => {
            complain(&format!("error: {why}\n"));
            ExitCode::from(2)
        }
    }
}

/// A request as it would arrive.
struct Asked {
    method: String,
    /// As sent; the absolute form's wins over the `Host` field (RFC 9112 §3.2.2).
    host: String,
    path: String,
    query: Option<String>,
    headers: Headers,
    client: IpAddr,
    listener: Option<String>,
}

struct Headers(Vec<(String, String)>);

impl Fields for Headers {
    fn any(&self, name: &str, test: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        self.0.iter().any(|(n, value)| n == name && test(value.as_bytes()))
    }
}

impl Asked {
    fn new(args: &Args) -> Result<Asked, String> {
        let mut headers = Vec::new();
        for header in &args.headers {
            let Some((name, value)) = header.split_once(':') else {
                return Err(format!("`{header}` is not a header; write `name: value`"));
            };
            headers.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
        }
        let rest = ["http://", "https://"].iter().find_map(|scheme| args.url.strip_prefix(scheme));
        let (host, target) = match rest {
            Some(rest) => {
                let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
                (rest[..end].to_owned(), &rest[end..])
            }
            None => {
                let host = headers.iter().find(|(name, _)| name == "host");
                (host.map(|(_, value)| value.clone()).unwrap_or_default(), args.url.as_str())
            }
        };
        // A browser keeps what is behind `#` to itself.
        let target = target.split('#').next().unwrap_or_default();
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query.to_owned())),
            None => (target, None),
        };
        let path = if path.is_empty() { "/" } else { path };
        if !path.starts_with('/') && path != "*" {
            return Err(format!("`{}` is neither a URL nor a path; write `/{path}`", args.url));
        }
        Ok(Asked {
            method: args.method.clone(),
            host,
            path: path.to_owned(),
            query,
            headers: Headers(headers),
            client: args.client,
            listener: args.listener.clone(),
        })
    }
}

fn explain(config: &Config, asked: &Asked) -> Result<String, String> {
    let (name, listener) = listener(config, asked)?;
    let rules = listener.map_or(PathRules::default(), |listener| listener.path_rules);
    let mut path = Vec::new();
    let path = match normal::path(asked.path.as_bytes(), rules, &mut path) {
        Ok(Normal::Same) => asked.path.as_bytes().to_vec(),
        Ok(Normal::Changed) => path,
        Err(error) => return Ok(format!("400 before any route is asked: {error}\n")),
    };
    let mut host = Vec::new();
    let host = match asked.host.as_str() {
        "" => Vec::new(),
        text => match normal::host(text.as_bytes(), &mut host) {
            Ok(Normal::Same) => text.as_bytes().to_vec(),
            Ok(Normal::Changed) => host,
            Err(error) => return Ok(format!("400 before any route is asked: {error}\n")),
        },
    };
    let request = Request {
        listener: name,
        method: asked.method.as_bytes(),
        host: &host,
        path: &path,
        query: asked.query.as_deref().map(str::as_bytes),
        client: asked.client,
        fields: &asked.headers,
    };
    let mut text = format!(
        "{} {} for {} from {} by listener `{name}`{}\n",
        asked.method,
        String::from_utf8_lossy(&path),
        if host.is_empty() { "no host".into() } else { format!("host `{}`", asked_host(&host)) },
        asked.client,
        if listener.is_none() { " (not opened yet)" } else { "" },
    );
    if let Some(refusal) = listener.and_then(|l| before_routes(l, asked.client)) {
        let _ = writeln!(text, "{refusal}");
        return Ok(text);
    }
    verdicts(&config.door.clone().with_maintenance(), &request, &mut text);
    Ok(text)
}

fn asked_host(host: &[u8]) -> String {
    String::from_utf8_lossy(host).into_owned()
}

/// The listener to ask by: the one that is named, else one that routes, open or not.
fn listener<'a>(
    config: &'a Config,
    asked: &'a Asked,
) -> Result<(&'a str, Option<&'a ListenerConfig>), String> {
    let open = &config.door.listeners;
    let closed = &config.closed_listeners;
    if let Some(name) = &asked.listener {
        if closed.contains(name) {
            return Ok((name, None));
        }
        let Some(found) = open.iter().find(|listener| *listener.name == **name) else {
            let known = open.iter().map(|listener| &*listener.name);
            let known: Vec<&str> = known.chain(closed.iter().map(String::as_str)).collect();
            return Err(format!("there is no listener `{name}`; there are: {}", known.join(", ")));
        };
        return Ok((name, Some(found)));
    }
    let routing = open.iter().find(|listener| listener.redirect_to_https.is_none());
    match (routing, closed.first(), open.first()) {
        (Some(listener), _, _) | (None, None, Some(listener)) => {
            Ok((&listener.name, Some(listener)))
        }
        (None, Some(name), _) => Ok((name, None)),
        (None, None, None) => Err("the configuration has no listener".to_owned()),
    }
}

/// What the listener answers by itself.
fn before_routes(listener: &ListenerConfig, client: IpAddr) -> Option<String> {
    if !may(&listener.allow, &listener.deny, client) {
        return Some(format!("403: listener `{}` does not let {client} in", listener.name));
    }
    let port = listener.redirect_to_https?;
    Some(format!("listener `{}` redirects everything to https on port {port}", listener.name))
}

fn may(allow: &[ipnet::IpNet], deny: &[ipnet::IpNet], client: IpAddr) -> bool {
    let is_in = |list: &[ipnet::IpNet]| list.iter().any(|block| block.contains(&client));
    !is_in(deny) && (allow.is_empty() || is_in(allow))
}

fn verdicts(door: &DoorConfig, request: &Request<'_, Headers>, text: &mut String) {
    let table = RouteTable::new(door.routes.iter().map(|config| config.route.clone()).collect());
    let width = door.routes.iter().map(|r| r.route.name.chars().count()).max().unwrap_or_default();
    let mut winner = None;
    for considered in table.explain(request) {
        let Some(config) = door.routes.get(considered.index) else { continue };
        let verdict = match considered.verdict {
            Verdict::Won => {
                winner = Some(config);
                "WON".to_owned()
            }
            Verdict::Lost { why } => format!("lost: {why}"),
            Verdict::NotReached => "not reached".to_owned(),
        };
        let _ =
            writeln!(text, "{:>4}  {:<width$}  {verdict}", considered.index + 1, config.route.name);
    }
    let conclusion = match winner {
        None => "no route matches: 404".to_owned(),
        Some(config) if !may(&config.allow, &config.deny, request.client) => {
            format!("403: route `{}` does not let {} in", config.route.name, request.client)
        }
        Some(config) if config.in_maintenance => {
            format!("503: route `{}` is in maintenance", config.route.name)
        }
        Some(config) => format!("route `{}` {}", config.route.name, outcome(door, config)),
    };
    let _ = writeln!(text, "{conclusion}");
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
        Action::Redirect { location: Location::Https { port }, status } => {
            format!("redirects with {status} to https on port {port}")
        }
        Action::Redirect { location: Location::To(to), status } => {
            format!("redirects with {status} to {to}")
        }
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
        match = { host = "api.example", path_prefix = "/v1/" }
        to = { pool = "app" }
        [[routes]]
        name = "inside"
        allow = "10.0.0.0/8"
        match = { path = "/inside" }
        redirect = { to = "/outside" }
    "#;

    #[track_caller]
    fn check(url: &str, client: &str, expected: &str) {
        let loaded = config::parse("test.toml", CONFIG);
        let config = loaded.config.as_ref().unwrap();
        let args = Args {
            method: "GET".into(),
            url: url.into(),
            headers: Vec::new(),
            client: client.parse().unwrap(),
            listener: None,
            config: None,
        };
        let text = explain(config, &Asked::new(&args).unwrap()).unwrap();
        assert_eq!(text.lines().last().unwrap(), expected, "{text}");
    }

    #[test]
    fn the_conclusion_is_what_the_door_would_do() {
        check("http://API.example:80/v1/x/../y", "127.0.0.1", "route `login` forwards to `app`");
        check("http://a.example/", "127.0.0.1", "no route matches: 404");
        check("/inside", "10.0.0.1", "route `inside` redirects with 308 to /outside");
        check("/inside?x#y", "127.0.0.1", "403: route `inside` does not let 127.0.0.1 in");
        check("/", "192.0.2.1", "403: listener `web` does not let 192.0.2.1 in");
    }
}
