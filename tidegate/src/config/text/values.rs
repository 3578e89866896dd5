//! What can be wrong with one value of the right type.

use crate::config::codes;
use crate::config::keys::Kind;

use super::{Message, expected, nearest, one_of, shown, suggest};

/// A word that is not allowed here.
pub(crate) fn unknown_word(word: &str, known: &[&str]) -> Message {
    let text = format!("`{}` is not one of {}", shown(word), one_of(known));
    let message = Message::new(&codes::UNKNOWN_WORD, text, "unknown word");
    match nearest(word, known.iter().copied()) {
        Some(near) => message.help(format!("did you mean `{near}`?")),
        None => message,
    }
}

/// Too little or too much.
pub(crate) fn out_of_range(value: &str, min: &str, max: &str) -> Message {
    let text = match min == max {
        true => format!("`{}` is not {min}", shown(value)),
        false => format!("`{}` is not between {min} and {max}", shown(value)),
    };
    Message::new(&codes::OUT_OF_RANGE, text, "out of range")
}

/// A text that should be a typed value and is not.
pub(crate) fn malformed(kind: &Kind, value: &str, why: &str) -> Message {
    let text = format!("expected {}, found the text \"{}\"", expected(kind), shown(value));
    Message::new(&codes::MALFORMED, text, why)
}

/// A number where a unit is needed.
pub(crate) fn unit_missing(kind: &Kind, number: &str, meant: Option<String>) -> Message {
    let text = format!("expected {}, found the number {number}", expected(kind));
    let message = Message::new(&codes::WRONG_TYPE, text, "a unit is needed");
    let help = meant.map(|meant| format!("write \"{meant}\" if that is what you mean"));
    Message { help, ..message }
}

/// A topic that is none.
pub(crate) fn topic(value: &str) -> Message {
    let text = format!("`{}` is not the ARN of an SNS topic", shown(value));
    Message::new(&codes::TOPIC, text, "")
        .help("write `arn:aws:sns:REGION:ACCOUNT:NAME`, as the console shows it")
}

/// What EC2 has under another form of name.
pub(crate) fn ec2_name(what: &str, value: &str, example: &str) -> Message {
    let text = format!("`{}` is not {what} of EC2", shown(value));
    Message::new(&codes::EC2_NAME, text, "").help(format!("write one such as `{example}`"))
}

/// A tag that cannot be set.
pub(crate) fn ec2_tag(key: &str, why: &str) -> Message {
    let text = format!("the tag `{}` cannot be set: {why}", shown(key));
    Message::new(&codes::EC2_NAME, text, "")
}

/// The same place or type twice.
pub(crate) fn ec2_twice(value: &str) -> Message {
    Message::new(&codes::EC2_NAME, format!("`{}` is named twice", shown(value)), "again here")
        .help("the order is the order of preference; name each once")
}

/// A version of a launch template that means something else tomorrow.
pub(crate) fn moving_version(value: &str) -> Message {
    let text = format!("version `{}` of a launch template is not a number", shown(value));
    Message::new(&codes::MOVING_VERSION, text, "may be another one tomorrow").help(
        "write the number that the console shows, such as `7`: a launch is repeated under its token \
         only as it was",
    )
}

/// A URL of AWS, or of what stands in for it, that is none.
pub(crate) fn endpoint(value: &str) -> Message {
    let text = format!("`{}` is not a URL that can be called", shown(value));
    Message::new(&codes::MALFORMED, text, "").help(
        "write scheme and host, such as `https://vpce-1.sns.eu-west-2.vpce.amazonaws.com`, \
         without a name or password",
    )
}

/// An empty text or list.
pub(crate) fn empty(kind: &Kind) -> Message {
    let text = format!("empty; expected {}", expected(kind));
    Message::new(&codes::EMPTY, text, "nothing here")
}

/// A name with letters that a metric label or a command line does not like.
pub(crate) fn name(value: &str, why: &str) -> Message {
    let text = format!("`{}` is not a usable name: {why}", shown(value));
    Message::new(&codes::NAME, text, "")
        .help("a name has 1 to 64 letters a-z, A-Z, digits, `-`, `_` and `.`")
}

/// A zone that does not exist.
pub(crate) fn zone(value: &str, near: Option<&str>) -> Message {
    let text = format!("`{}` is not an IANA time zone", shown(value));
    let message = Message::new(&codes::ZONE, text, "unknown zone");
    match near {
        Some(near) => message.help(format!("did you mean `{near}`?")),
        None => message.help("a zone is named after a city, such as `Asia/Seoul`, or `UTC`"),
    }
}

/// Not an address with a port.
pub(crate) fn address(value: &str, why: &str, remedy: Option<String>) -> Message {
    let text = format!("`{}` is not an address with a port: {why}", shown(value));
    let message = Message::new(&codes::ADDRESS, text, "");
    Message { help: remedy, ..message }
}

/// Not an address block.
pub(crate) fn cidr(value: &str, why: &str, remedy: Option<String>) -> Message {
    let text = format!("`{}` is not an address block: {why}", shown(value));
    let message = Message::new(&codes::CIDR, text, "");
    let help =
        remedy.unwrap_or_else(|| "write `10.0.0.0/8`, `2001:db8::/32` or one address".into());
    message.help(help)
}

/// A regular expression that does not compile.
pub(crate) fn regex(why: &str, within: Option<(usize, usize)>) -> Message {
    let text = format!("the regular expression does not compile: {why}");
    let message = Message::new(&codes::REGEX, text, "here");
    Message { within, ..message }
}

/// Not a host pattern.
pub(crate) fn host(value: &str, why: &str, remedy: Option<String>) -> Message {
    let text = format!("`{}` is not a host: {why}", shown(value));
    let message = Message::new(&codes::HOST, text, "");
    Message { help: remedy, ..message }
}

/// Not a path.
pub(crate) fn path(value: &str, why: &str, remedy: Option<String>) -> Message {
    let text = format!("`{}` is not a path that a request can have: {why}", shown(value));
    let message = Message::new(&codes::PATH, text, "");
    Message { help: remedy, ..message }
}

/// Not a status code.
pub(crate) fn status(value: &str, allowed: &str) -> Message {
    let text = format!("`{}` is not a status code that fits here", shown(value));
    Message::new(&codes::STATUS, text, "").help(format!("allowed: {allowed}"))
}

/// Not a header name or value.
pub(crate) fn header(value: &str, why: &str) -> Message {
    Message::new(&codes::HEADER, format!("`{}` {why}", shown(value)), "")
}

/// A header that the door itself writes.
pub(crate) fn header_ours(name: &str, why: &str) -> Message {
    let text = format!("`{}` cannot be edited: {why}", shown(name));
    Message::new(&codes::HEADER, text, "not ours to edit")
}

/// Not a token.
pub(crate) fn token(value: &str, what: &str, remedy: Option<String>) -> Message {
    let text = format!("`{}` is not {what}", shown(value));
    let message = Message::new(&codes::TOKEN, text, "");
    Message { help: remedy, ..message }
}

/// Where a redirect or a log cannot lead.
pub(crate) fn target(kind: &Kind, value: &str) -> Message {
    let text = format!("expected {}, found the text \"{}\"", expected(kind), shown(value));
    Message::new(&codes::MALFORMED, text, "")
}

/// A redirect to wherever the client wants.
pub(crate) fn open_redirect(value: &str) -> Message {
    let text = format!("`{}` can lead to any host, which browsers read behind `//`", shown(value));
    Message::new(&codes::MALFORMED, text, "").help(
        "write `{path}` behind a host, `https://{host}{path}`, or behind a segment, `/new{path}`",
    )
}

/// A placeholder that nobody fills in.
pub(crate) fn placeholder(name: &str, known: &[&str], within: (usize, usize)) -> Message {
    let text = format!("`{{{}}}` stands for nothing", shown(name));
    let message = Message::new(&codes::MALFORMED, text, "unknown placeholder");
    Message { help: suggest(name, known), within: Some(within), ..message }
}

/// A secret in the file.
pub(crate) fn inline_secret(path: &str) -> Message {
    let text = format!("`{path}` is a secret and stands in the file itself");
    Message::new(&codes::INLINE_SECRET, text, "readable by whoever reads the file")
        .help(
            "write { file = \"/run/secrets/...\" }, { env = \"...\" } or { credential = \"...\" }",
        )
        .quoting_nothing()
}

/// A secret table with none or several ways.
pub(crate) fn secret_reference() -> Message {
    let text = "a secret is named by exactly one of `file`, `env` or `credential`".to_owned();
    Message::new(&codes::CHOICE, text, "").quoting_nothing()
}

/// A secret that is not there.
pub(crate) fn secret_unreadable(path: &str, why: &str) -> Message {
    Message::new(&codes::SECRET_UNREADABLE, format!("`{path}` cannot be read: {why}"), "")
}

/// A secret that is too short; how short is nobody's business.
pub(crate) fn secret_weak(path: &str, least: usize) -> Message {
    let text = format!("`{path}` has fewer than {least} bytes");
    Message::new(&codes::SECRET_WEAK, text, "")
        .quoting_nothing()
        .help("make one with `head -c 32 /dev/urandom | base64`")
}
