//! `[observe]` and `[admin]`

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use balancer::access_log::{AccessLogConfig, Format, LogTarget};

use super::{Build, aws};
use crate::config::document::Node;
use crate::config::text::references as say;
use crate::config::values::net;
use crate::config::view::View;
use crate::config::{
    AdminConfig, CloudWatchConfig, DrainConfig, LogConfig, LogFormat, ObserveConfig,
};

pub(super) fn observe(build: &mut Build<'_>, view: View<'_>) -> ObserveConfig {
    let metrics = view.view("metrics");
    let log = view.view("log");
    ObserveConfig {
        metrics: listen(build, metrics, "the metrics listener").map(|(_, address)| address),
        access_log: view.given("access_log").map(|_| access_log(view.view("access_log"))),
        log: LogConfig {
            level: log.text("level").unwrap_or("info").to_owned(),
            format: match log.text("format") {
                Some("json") => LogFormat::Json,
                _ => LogFormat::Text,
            },
        },
        cloudwatch: view.given("cloudwatch").map(|_| cloudwatch(build, view.view("cloudwatch"))),
    }
}

/// For one call with its repetitions: figures of a minute ago are still worth writing.
const CLOUDWATCH_TIMEOUT: Duration = Duration::from_secs(15);

fn cloudwatch(build: &mut Build<'_>, view: View<'_>) -> CloudWatchConfig {
    CloudWatchConfig {
        namespace: view.text("namespace").unwrap_or_default().to_owned(),
        every: view.duration("every").unwrap_or_default(),
        place: aws::place(build, view, view.text("region"), CLOUDWATCH_TIMEOUT),
    }
}

fn access_log(view: View<'_>) -> AccessLogConfig {
    AccessLogConfig {
        targets: view.texts("to", target),
        format: match view.text("format") {
            Some("combined") => Format::Combined,
            Some("clf") => Format::Clf,
            _ => Format::Json,
        },
        redact_query: match view.given("redact_query") {
            Some(_) => view.texts("redact_query", |text| Some(text.to_owned())),
            None => REDACTED.iter().map(|name| (*name).to_owned()).collect(),
        },
    }
}

/// The default of `redact_query`; a test compares it with the table of keys.
const REDACTED: [&str; 6] = ["access_token", "token", "password", "secret", "signature", "code"];

fn target(text: &str) -> Option<LogTarget> {
    match text.strip_prefix("file://") {
        Some(path) => Some(LogTarget::File(PathBuf::from(path))),
        None => (text == "stdout").then_some(LogTarget::Stdout),
    }
}

/// 107 bytes are what a socket's address holds (unix(7)); the file is made under a longer name
/// first, with a point and up to seven digits of the process id.
const LONGEST_SOCKET_PATH: usize = 107 - 8;

pub(super) fn admin(build: &mut Build<'_>, view: View<'_>) -> AdminConfig {
    let listen = listen(build, view, "the admin listener");
    if let Some((node, address)) = listen
        && !address.ip().is_loopback()
    {
        build.say(node.span, say::not_loopback(&address.to_string()));
    }
    if let Some(node) = view.given("unix")
        && let Some(path) = node.text().filter(|path| path.len() > LONGEST_SOCKET_PATH)
    {
        build.say(node.span, say::socket_path_long(path.len(), LONGEST_SOCKET_PATH));
    }
    AdminConfig {
        listen: listen.map(|(_, address)| address),
        unix: view.text("unix").map(PathBuf::from),
    }
}

pub(super) fn drain(view: View<'_>) -> DrainConfig {
    let duration = |name: &str| view.duration(name).unwrap_or_default();
    DrainConfig {
        grace: duration("grace"),
        limit: duration("limit"),
        hand_over: duration("hand_over"),
    }
}

fn listen<'a>(build: &mut Build<'_>, view: View<'a>, what: &str) -> Option<(&'a Node, SocketAddr)> {
    let node = view.given("listen")?;
    let address = net::listen(node.text()?).ok()?;
    build.bind(address, what.to_owned(), node);
    Some((node, address))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::keys::{Default, observe::OBSERVE};

    #[test]
    fn the_default_of_redact_query_is_the_one_in_the_table() {
        let view = View::new(&OBSERVE, None).view("access_log");
        assert_eq!(access_log(view).redact_query, REDACTED);
        let crate::config::keys::Kind::Table(shape) = OBSERVE.key("access_log").unwrap().kind
        else {
            panic!("not a table");
        };
        let Default::Value(text) = shape.key("redact_query").unwrap().default else {
            panic!("no default");
        };
        assert_eq!(text, format!("{REDACTED:?}"));
    }
}
