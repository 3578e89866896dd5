//! `[listeners.*]`

use std::sync::Arc;

use balancer::config::{ForwardedStyle, ListenerConfig};
use policies::route::normal::PathRules;

use super::{Build, access};
use crate::config::document::{Entry, Node};
use crate::config::text::references as say;
use crate::config::values::net;
use crate::config::view::View;

/// The listeners to open, and the names of those that stay closed for now.
pub(super) fn listeners(
    build: &mut Build<'_>,
    root: View<'_>,
) -> (Vec<ListenerConfig>, Vec<String>) {
    let named = root.named("listeners");
    let mut open = Vec::new();
    let mut closed = Vec::new();
    for (entry, view) in &named {
        let listener = listener(build, &named, entry, *view);
        match why_closed(*view) {
            Some((node, why)) => {
                build.say(node.span, say::not_opened(&entry.key, why));
                closed.push(entry.key.clone());
            }
            None => open.push(listener),
        }
    }
    (open, closed)
}

fn why_closed<'a>(view: View<'a>) -> Option<(&'a Node, &'static str)> {
    if let Some(node) = view.own("tls") {
        return Some((
            node,
            "TLS is not supported yet, and clear text in its place would be wrong",
        ));
    }
    let node = view.own("protocols")?;
    let is_spoken = node.each().iter().any(|protocol| protocol.text() == Some("http/1.1"));
    (!is_spoken).then_some((node, "none of its protocols is supported yet; only `http/1.1` is"))
}

fn listener(
    build: &mut Build<'_>,
    named: &[(&Entry, View<'_>)],
    entry: &Entry,
    view: View<'_>,
) -> ListenerConfig {
    let name = &entry.key;
    let mut bind = Vec::new();
    for node in view.list("bind") {
        if let Some(address) = node.text().and_then(|text| net::listen(text).ok()) {
            build.bind(address, format!("listener `{name}`"), node);
            bind.push(address);
        }
    }
    check_uri_limit(build, view);
    let access = access::lists(build, view);
    let paths = view.view("paths");
    let timeouts = view.view("timeouts");
    ListenerConfig {
        name: Arc::from(name.as_str()),
        bind,
        redirect_to_https: redirect(build, named, view),
        max_connections: view.integer("max_connections"),
        max_connections_per_address: view.integer("max_connections_per_address"),
        max_header_size: bytes(view.size("max_header_size")),
        max_fields: view.integer("max_fields").unwrap_or(usize::MAX),
        max_uri: bytes(view.size("max_uri")),
        max_body: view.size("max_body"),
        trusted_proxies: view.texts("trusted_proxies", |text| net::cidr(text).ok()),
        proxy_protocol: view.view("proxy_protocol").texts("from", |text| net::cidr(text).ok()),
        forwarded: forwarded(view.text("forwarded")),
        path_rules: PathRules {
            merge_slashes: paths.flag("merge_slashes"),
            allow_encoded_slash: paths.flag("allow_encoded_slash"),
            allow_backslash: paths.flag("allow_backslash"),
        },
        request_head_timeout: timeouts.duration("request_headers").unwrap_or_default(),
        idle_timeout: timeouts.duration("idle").unwrap_or_default(),
        allow: access.allow,
        deny: access.deny,
        is_leaving: false,
    }
}

fn forwarded(word: Option<&str>) -> ForwardedStyle {
    match word {
        Some("forwarded") => ForwardedStyle::Forwarded,
        Some("both") => ForwardedStyle::Both,
        Some("off") => ForwardedStyle::Off,
        _ => ForwardedStyle::XForwarded,
    }
}

fn bytes(size: Option<u64>) -> usize {
    size.and_then(|size| usize::try_from(size).ok()).unwrap_or(usize::MAX)
}

fn check_uri_limit(build: &mut Build<'_>, view: View<'_>) {
    let (Some(uri), Some(head)) = (view.size("max_uri"), view.size("max_header_size")) else {
        return;
    };
    let node = view.own("max_uri").or(view.own("max_header_size"));
    if let (true, Some(node)) = (uri > head, node) {
        let written = view.text("max_uri").unwrap_or_default();
        let limit = view.text("max_header_size").unwrap_or_default();
        build.say(node.span, say::larger_than("max_uri", written, "max_header_size", limit));
    }
}

/// The port to redirect to: that of the listener named, or 443 for plain `https`.
fn redirect(build: &mut Build<'_>, named: &[(&Entry, View<'_>)], view: View<'_>) -> Option<u16> {
    let node = view.own("redirect_to")?;
    let target = node.text()?;
    let found = named.iter().find(|(entry, _)| entry.key == target);
    let port = found.and_then(|(_, other)| {
        other.list("bind").iter().filter_map(Node::text).find_map(|text| net::listen(text).ok())
    });
    match (found, port) {
        (Some((_, other)), Some(address)) => {
            if other.own("tls").is_none() {
                build.say(node.span, say::redirect_plain(target));
            }
            Some(address.port())
        }
        (None, _) if target == "https" => Some(443),
        (Some(_), None) => None,
        (None, _) => {
            let known: Vec<&str> = named.iter().map(|(entry, _)| entry.key.as_str()).collect();
            build.say(node.span, say::no_listener(target, &known));
            None
        }
    }
}
