//! `[[routes]]`

use std::collections::BTreeMap;
use std::sync::Arc;

use balancer::config::{HeaderEdits, PoolConfig, Priority, Rewrite, RouteConfig, Sticky, Timeouts};
use policies::backend::PoolIndex;
use policies::retry::{Cause, Causes, Methods, RetryPolicy};
use policies::route::{Action, Location, Matcher, Route};

use super::references::target;
use super::{Build, access, files, matches};
use crate::config::document::Node;
use crate::config::text::{references as say, values as say_value};
use crate::config::values::http;
use crate::config::view::View;

/// Pools by name.
pub(super) type PoolNames<'a> = BTreeMap<&'a str, PoolIndex>;

/// All routes in the order written.
pub(super) fn routes(
    build: &mut Build<'_>,
    root: View<'_>,
    pools: &[PoolConfig],
) -> Vec<RouteConfig> {
    let places = (0..=u16::MAX).map(PoolIndex);
    let names: PoolNames<'_> = pools.iter().map(|pool| &*pool.name.0).zip(places).collect();
    let listeners: Vec<&str> =
        root.named("listeners").iter().map(|(entry, _)| entry.key.as_str()).collect();
    let defaults = root.view("defaults");

    let mut seen = BTreeMap::new();
    let mut routes = Vec::new();
    for (node, view) in root.tables("routes") {
        let name = view.text("name").unwrap_or_default();
        let span = view.own("name").unwrap_or(node).span;
        if let Some(first) = seen.insert(name, span)
            && !name.is_empty()
            && !build.problems.only_counts()
        {
            let first = format!("at {}", build.place(first));
            build.say(span, say::route_twice(name, &first));
        }
        routes.push(route(build, node, view, defaults, &names, &listeners));
    }
    routes
}

/// `"none"` lifts the listener's limit; nothing written leaves it.
fn max_body(limits: View<'_>) -> Option<u64> {
    match limits.text("body") {
        Some("none") => Some(u64::MAX),
        _ => limits.size("body"),
    }
}

/// Only a request that is forwarded has a backend to rewrite for, to wait for or to stick to.
fn idle_keys(build: &mut Build<'_>, view: View<'_>) {
    if view.own("to").is_some() {
        return;
    }
    for key in ["rewrite", "timeouts", "retries", "sticky", "priority"] {
        if let Some(node) = view.own(key) {
            build.say(node.span, say::idle_key(key, "the route has no `to`"));
        }
    }
    for key in ["concurrency", "reserve"] {
        if let Some(node) = view.view("limits").own(key) {
            let key = format!("limits.{key}");
            build.say(node.span, say::idle_key(&key, "the route has no `to`"));
        }
    }
}

fn route(
    build: &mut Build<'_>,
    node: &Node,
    view: View<'_>,
    defaults: View<'_>,
    pools: &PoolNames<'_>,
    listeners: &[&str],
) -> RouteConfig {
    let name = view.text("name").unwrap_or_default();
    let when = matches::matcher(build, view.view("match"), listeners);
    let access = access::lists(build, view);
    let rewrite = rewrite(build, view, &when);
    idle_keys(build, view);
    let headers = view.view("headers");
    let retries = view.view("retries").or(defaults.view("retries"));
    let limits = view.view("limits");
    RouteConfig {
        route: Route { name: name.into(), when, action: action(build, node, view, pools) },
        in_maintenance: view.flag("maintenance"),
        allow: access.allow,
        deny: access.deny,
        max_body: max_body(limits),
        rewrite,
        request_headers: edits(build, headers.view("request"), true),
        response_headers: edits(build, headers.view("response"), false),
        timeouts: timeouts(build, view.view("timeouts").or(defaults.view("timeouts"))),
        retries: retry_policy(retries),
        sticky: sticky(build, view, name),
        priority: priority(view),
        concurrency: limits.integer("concurrency"),
        reserve: limits.share("reserve").unwrap_or_default() / 100.0,
    }
}

fn priority(view: View<'_>) -> Priority {
    match view.text("priority") {
        Some("critical") => Priority::Critical,
        Some("low") => Priority::Low,
        _ => Priority::Normal,
    }
}

fn action(build: &mut Build<'_>, node: &Node, view: View<'_>, pools: &PoolNames<'_>) -> Action {
    const KEYS: [&str; 3] = ["to", "redirect", "respond"];
    let found: Vec<&str> = KEYS.into_iter().filter(|key| view.own(key).is_some()).collect();
    if found.len() != 1 {
        let span = view.own("name").map_or(node.span, |name| name.span);
        let name = view.text("name").unwrap_or("?");
        let section = format!("route `{}`", crate::config::text::shown(name));
        build.say(span, say::choice(&section, &KEYS, &found));
    }
    match found.first() {
        Some(&"redirect") => redirect(view.view("redirect")),
        Some(&"respond") => respond(build, view.view("respond")),
        _ => Action::Forward(target(build, view.own("to"), view.view("to"), pools)),
    }
}

fn redirect(view: View<'_>) -> Action {
    Action::Redirect {
        location: Location::To(view.text("to").unwrap_or("/").into()),
        status: view.integer("status").unwrap_or(308),
    }
}

fn respond(build: &mut Build<'_>, view: View<'_>) -> Action {
    let status = view.integer("status").unwrap_or(200);
    for key in ["body", "file"] {
        if let Some(node) = view.own(key).filter(|node| node.text() != Some(""))
            && [204, 205, 304].contains(&status)
        {
            build.say(node.span, say::body_of_none(key, status));
        }
    }
    let body: Arc<[u8]> = match (view.own("body"), view.own("file")) {
        (Some(_), Some(file)) => {
            build.say(file.span, say::choice("`respond`", &["body", "file"], &["body", "file"]));
            Arc::from([])
        }
        (None, Some(file)) => files::body(build, file),
        (body, None) => body.and_then(Node::text).unwrap_or_default().as_bytes().into(),
    };
    Action::Respond {
        status,
        body,
        content_type: view.text("content_type").unwrap_or("text/plain").into(),
    }
}

fn rewrite(build: &mut Build<'_>, view: View<'_>, when: &Matcher) -> Option<Rewrite> {
    const KEYS: [&str; 3] = ["prefix", "path", "regex"];
    let node = view.own("rewrite")?;
    let rewrite = view.view("rewrite");
    let found: Vec<&str> = KEYS.into_iter().filter(|key| rewrite.own(key).is_some()).collect();
    if found.len() != 1 {
        build.say(node.span, say::choice("`rewrite`", &KEYS, &found));
    }
    if let (Some(replacement), None) = (rewrite.own("replacement"), rewrite.own("regex")) {
        build.say(replacement.span, say::needs("replacement", "`regex`"));
    }
    match *found.first()? {
        "prefix" => {
            let mut prefixes = Vec::new();
            matches::prefixes(when, &mut prefixes);
            if prefixes.len() != 1 {
                let other = "exactly one `path_prefix` in `match`";
                build.say(node.span, say::needs("rewrite.prefix", other));
            }
            let from = prefixes.into_iter().next()?;
            Some(Rewrite::Prefix { from, to: rewrite.text("prefix")?.into() })
        }
        "path" => Some(Rewrite::Path(rewrite.text("path")?.into())),
        _ => {
            if rewrite.own("replacement").is_none() {
                build.say(node.span, say::needs("rewrite.regex", "`replacement`"));
            }
            let pattern = http::regex(rewrite.text("regex")?).ok()?;
            let replacement = rewrite.text("replacement").unwrap_or_default().into();
            Some(Rewrite::Regex { pattern, replacement })
        }
    }
}

fn edits(build: &mut Build<'_>, view: View<'_>, is_request: bool) -> HeaderEdits {
    for node in view.list("remove") {
        if let Some((name, why)) = node.text().and_then(|name| why_ours(name, is_request)) {
            build.say(node.span, say_value::header_ours(name, why));
        }
    }
    let remove = view.texts("remove", |name| Some(Arc::from(name.to_ascii_lowercase())));
    let mut pairs = |key: &str| -> Vec<(Arc<str>, Arc<str>)> {
        let entries = view.own(key).and_then(Node::table).map(|t| t.entries.as_slice());
        let mut pairs = Vec::new();
        for entry in entries.unwrap_or_default() {
            if let Some((name, why)) = why_ours(&entry.key, is_request) {
                build.say(entry.key_span, say_value::header_ours(name, why));
            }
            if let Some(value) = entry.node.text() {
                pairs.push((entry.key.to_ascii_lowercase().into(), value.into()));
            }
        }
        pairs
    };
    let set = pairs("set");
    let add = pairs("add");
    HeaderEdits { remove, set, add }
}

/// Fields that decide where a message ends or what becomes of the connection: edited by hand
/// they would let two readers see two different messages (RFC 9112 §11).
fn why_ours(name: &str, is_request: bool) -> Option<(&str, &'static str)> {
    const FRAMING: [&str; 4] = ["content-length", "transfer-encoding", "trailer", "te"];
    const CONNECTION: [&str; 4] = ["connection", "keep-alive", "proxy-connection", "upgrade"];
    let lower = name.to_ascii_lowercase();
    let is_one = |list: &[&str]| list.contains(&lower.as_str());
    if is_one(&FRAMING) {
        Some((name, "it says where a message ends"))
    } else if is_one(&CONNECTION) {
        Some((name, "it belongs to one connection and not to the message"))
    } else if is_request && lower == "host" {
        Some((name, "the backend gets the host that was matched"))
    } else if is_request && lower == "expect" {
        Some((name, "it is the client's, and the backend's answer to it decides"))
    } else {
        None
    }
}

fn limits(view: View<'_>) -> Timeouts {
    Timeouts {
        connect: view.duration("connect").unwrap_or_default(),
        attempt: view.duration("attempt"),
        first_byte: view.duration("first_byte").unwrap_or_default(),
        total: view.duration("total"),
        idle_stream: view.duration("idle_stream").unwrap_or_default(),
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // 0 to 1000, see the key
fn retry_policy(view: View<'_>) -> RetryPolicy {
    let causes = view.texts("on", |word| match word {
        "connect_failure" => Some(Cause::Connect),
        "reset_before_headers" => Some(Cause::Reset),
        status => status.parse().ok().and_then(Cause::of_status),
    });
    let on = match view.given("on") {
        Some(_) => causes.into_iter().fold(Causes::NONE, Causes::with),
        None => Causes::USUAL,
    };
    let methods = match view.given("methods") {
        Some(_) => Methods::Named(view.texts("methods", |method| Some(method.into()))),
        None => Methods::Idempotent,
    };
    RetryPolicy {
        max: view.integer("max").unwrap_or_default(),
        on,
        methods,
        budget_permille: (view.share("budget").unwrap_or_default() * 10.0).round() as u32,
        other_backend: view.flag("other_backend"),
    }
}

/// The limits, and a word about those that are written and can never fire because another one
/// that is written is shorter.
fn timeouts(build: &mut Build<'_>, view: View<'_>) -> Timeouts {
    // Each covers those behind it.
    const NESTED: [&str; 4] = ["total", "first_byte", "attempt", "connect"];
    for (index, outer) in NESTED.iter().enumerate() {
        for inner in &NESTED[index + 1..] {
            let (Some(node), Some(_)) = (view.given(inner), view.given(outer)) else { continue };
            let (Some(long), Some(short)) = (view.duration(inner), view.duration(outer)) else {
                continue;
            };
            // A limit of nothing is an error of its own.
            if long > short && !short.is_zero() {
                let text = |key: &str| view.text(key).unwrap_or_default();
                build.say(node.span, say::never_fires(inner, text(inner), outer, text(outer)));
            }
        }
    }
    limits(view)
}

fn sticky(build: &mut Build<'_>, view: View<'_>, route: &str) -> Option<Sticky> {
    view.own("sticky")?;
    let sticky = view.view("sticky");
    let path = format!("routes.{}.sticky.key", crate::config::text::shown(route));
    Some(Sticky {
        cookie: sticky.text("cookie").unwrap_or_default().into(),
        ttl: sticky.duration("ttl").unwrap_or_default(),
        key: files::key(build, sticky.own("key"), &path),
        is_key_random: sticky.own("key").is_none(),
    })
}
