//! What a key expects and what was found, as noun phrases.

use crate::config::document::Value;
use crate::config::keys::{Kind, Names};

use super::{one_of, shown};

/// `a duration such as "90s"`
pub(crate) fn expected(kind: &Kind) -> String {
    let fixed = match kind {
        Kind::Flag => "`true` or `false`",
        Kind::Text | Kind::Body => "a text",
        Kind::Name => "a name such as \"app-1\"",
        Kind::Number => "a number",
        Kind::Duration(..) => "a duration such as \"90s\", \"5m\" or \"2h30m\"",
        Kind::Size(..) => "a size such as \"64KiB\" or \"1MiB\"",
        Kind::SizeOrNone => "a size such as \"64MiB\", or \"none\"",
        Kind::Share(_) => "a share such as \"85%\"",
        Kind::Rate => "a rate such as \"20/s\"",
        Kind::Bandwidth => "a bandwidth such as \"2Gbps\"",
        Kind::Factor => "a factor such as \"1.6x\"",
        Kind::Date => "a date such as 2022-12-31T18:00:00",
        Kind::ListenAddress => "an address and port such as \"0.0.0.0:443\" or \"[::]:443\"",
        Kind::BackendAddress => "an address such as \"10.0.0.1:8080\" or \"app.internal:8080\"",
        Kind::Cidr => "an address block such as \"10.0.0.0/8\"",
        Kind::Host => "a host such as \"www.example.org\" or \"*.example.org\"",
        Kind::HostName => "a host name such as \"www.example.org\"",
        Kind::Path | Kind::WholePath => "a path such as \"/api/\"",
        Kind::Target => "a path such as \"/healthz\", maybe with a query",
        Kind::Regex => "a regular expression",
        Kind::Method => "a method such as \"GET\"",
        Kind::HeaderName => "a header name such as \"x-site\"",
        Kind::HeaderValue => "a header value",
        Kind::CookieName => "a cookie name such as \"session\"",
        Kind::StatusRange => "status codes such as \"200-299\" or \"204\"",
        Kind::Zone => "a time zone such as \"Asia/Seoul\"",
        Kind::File => "a path of a file",
        Kind::LogTarget => "\"stdout\" or a file such as \"file:///var/log/access.jsonl\"",
        Kind::Location => "a URL or a path such as \"/new\"",
        Kind::Pool => "the name of a pool",
        Kind::Listener => "the name of a listener",
        Kind::Secret => "a secret by reference such as { file = \"/run/secrets/key\" }",
        _ => return compound(kind),
    };
    fixed.to_owned()
}

fn compound(kind: &Kind) -> String {
    match kind {
        Kind::Integer(min, max) if *max == i64::MAX => format!("a whole number from {min}"),
        Kind::Integer(min, max) if min == max => format!("the number {min}"),
        Kind::Integer(min, max) => format!("a whole number from {min} to {max}"),
        Kind::Status(min, max) => format!("a status code from {min} to {max}"),
        Kind::Word(words) => {
            let words: Vec<&str> = words.iter().map(|word| word.text).collect();
            format!("one of {}", one_of(&words)).replace("one of `", "`")
        }
        Kind::Many(inner) => format!("{}, or a list of such", expected(inner)),
        Kind::List(Kind::Table(_)) => "a list of tables".to_owned(),
        Kind::List(inner) => format!("a list, each {}", expected(inner)),
        Kind::Named(Names::Header, _) => "a table such as { \"x-name\" = ... }".to_owned(),
        Kind::Named(..) => "a table of names".to_owned(),
        Kind::Table(shape) => {
            let keys: Vec<&str> = shape.keys.iter().take(3).map(|key| key.name).collect();
            let more = if shape.keys.len() > keys.len() { ", ..." } else { "" };
            format!("a table of {}{more}", keys.join(", "))
        }
        Kind::OneOf(kinds) => kinds.iter().map(expected).collect::<Vec<_>>().join(", or "),
        _ => String::new(),
    }
}

/// `the number 90`
pub(crate) fn found(value: &Value) -> String {
    match value {
        Value::Text(text) if text.is_empty() => "the empty text \"\"".to_owned(),
        Value::Text(text) => format!("the text \"{}\"", shown(text)),
        Value::Integer(number) => format!("the number {number}"),
        Value::Float(number) => format!("the number {number}"),
        Value::Flag(flag) => format!("`{flag}`"),
        Value::Date(date) => format!("the date {date}"),
        Value::List(nodes) => match nodes.len() {
            0 => "an empty list".to_owned(),
            1 => "a list of one".to_owned(),
            n => format!("a list of {n}"),
        },
        Value::Table(_) => "a table".to_owned(),
    }
}
