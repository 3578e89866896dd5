//! Typed texts: durations, sizes, shares, addresses and the rest, each as one pure function from
//! text to value or to what is wrong with it.
//!
//! [`check`] asks them for the walk; the builders call them again for the value. So a value that
//! was checked is a value that can be built, and there is no third reading.

use std::time::Duration;

use super::document::{Node, Value};
use super::keys::Kind;
use super::text::{self, Message, values as say};

pub(crate) mod http;
pub(crate) mod net;

/// Whether a node is a value of that kind. Only for kinds of a single value: those made of
/// others are taken apart by the walk.
pub(crate) fn check(kind: &Kind, node: &Node) -> Result<(), Message> {
    match (kind, &node.value) {
        (Kind::Secret, _)
        | (Kind::Flag, Value::Flag(_))
        | (Kind::Body, Value::Text(_))
        | (Kind::Date, Value::Date(_)) => Ok(()),
        (Kind::Integer(min, max), Value::Integer(number)) => integer(*number, *min, *max),
        (Kind::Number, Value::Integer(0..)) => Ok(()),
        (Kind::Number, Value::Float(number)) if *number >= 0.0 && number.is_finite() => Ok(()),
        (Kind::Number, Value::Integer(_) | Value::Float(_)) => {
            Err(say::out_of_range(&found_number(node), "0", "any finite number"))
        }
        (Kind::Status(min, max), Value::Integer(number)) => {
            http::status(*number, *min, *max).map(|_| ())
        }
        (Kind::StatusRange, Value::Integer(number)) => {
            http::status_range(&number.to_string()).map(|_| ())
        }
        (_, Value::Integer(_) | Value::Float(_)) if example_unit(kind).is_some() => {
            Err(say::unit_missing(kind, &found_number(node), with_unit(kind, node)))
        }
        (_, Value::Text(text)) if takes_text(kind) => check_text(kind, text),
        (_, value) => Err(text::wrong_type(kind, &text::found(value))),
    }
}

/// Whether a value of that kind is written as a TOML string.
pub(crate) fn takes_text(kind: &Kind) -> bool {
    !matches!(
        kind,
        Kind::Flag
            | Kind::Integer(..)
            | Kind::Number
            | Kind::Status(..)
            | Kind::Date
            | Kind::List(_)
            | Kind::Many(_)
            | Kind::Table(_)
            | Kind::Named(..)
            | Kind::OneOf(_)
            | Kind::Secret
    )
}

/// A default of the table of keys as it would be written in a file.
pub(crate) fn default_as_toml(kind: &Kind, text: &str) -> String {
    let quoted = match kind {
        Kind::Many(inner) => takes_text(inner),
        Kind::OneOf(kinds) => kinds.iter().any(takes_text),
        other => takes_text(other),
    };
    if quoted && !text.starts_with('[') { format!("\"{text}\"") } else { text.to_owned() }
}

fn found_number(node: &Node) -> String {
    match &node.value {
        Value::Integer(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        _ => String::new(),
    }
}

/// What was probably meant by a bare number.
fn with_unit(kind: &Kind, node: &Node) -> Option<String> {
    let Value::Integer(number @ 0..) = node.value else { return None };
    let is_size = matches!(kind, Kind::Size(..) | Kind::SizeOrNone);
    Some(match number {
        1.. if is_size && number % (1 << 20) == 0 => format!("{}MiB", number >> 20),
        1.. if is_size && number % (1 << 10) == 0 => format!("{}KiB", number >> 10),
        _ => format!("{number}{}", example_unit(kind)?),
    })
}

fn example_unit(kind: &Kind) -> Option<&'static str> {
    Some(match kind {
        Kind::Duration(..) => "s",
        Kind::Size(..) | Kind::SizeOrNone => "B",
        Kind::Share(_) => "%",
        Kind::Rate => "/s",
        Kind::Bandwidth => "Mbps",
        Kind::Factor => "x",
        _ => return None,
    })
}

fn check_text(kind: &Kind, text: &str) -> Result<(), Message> {
    if text.is_empty() && !matches!(kind, Kind::HeaderValue) {
        return Err(say::empty(kind));
    }
    match kind {
        Kind::Text | Kind::File => no_nul(kind, text),
        Kind::Name => name(text),
        Kind::Duration(min, max) => duration_between(kind, text, min, max),
        Kind::Size(min, max) => size_between(kind, text, min, max),
        Kind::SizeOrNone if text == "none" => Ok(()),
        Kind::SizeOrNone => size(text).map(|_| ()).map_err(|why| say::malformed(kind, text, &why)),
        Kind::Share(max) => share_up_to(kind, text, *max),
        Kind::Rate => rate(text).map(|_| ()).map_err(|why| say::malformed(kind, text, why)),
        Kind::Bandwidth => known_suffix(kind, text, &["bps", "Kbps", "Mbps", "Gbps"]),
        Kind::Factor => known_suffix(kind, text, &["x"]),
        Kind::Word(words) => {
            let known: Vec<&str> = words.iter().map(|word| word.text).collect();
            if known.contains(&text) { Ok(()) } else { Err(say::unknown_word(text, &known)) }
        }
        Kind::ListenAddress => net::listen(text).map(|_| ()),
        Kind::BackendAddress => net::backend(text).map(|_| ()),
        Kind::Cidr => net::cidr(text).map(|_| ()),
        Kind::Host => net::host(text).map(|_| ()),
        Kind::HostName => net::host_name(text),
        Kind::WholePath if text == "*" => Ok(()),
        Kind::Path | Kind::WholePath => http::path(text),
        Kind::Target => http::target(text),
        Kind::Regex => http::regex(text).map(|_| ()),
        Kind::Method => http::method(text),
        Kind::HeaderName => http::header_name(text).map(|_| ()),
        Kind::HeaderValue => http::header_value(text),
        Kind::CookieName => http::cookie_name(text),
        Kind::StatusRange => http::status_range(text).map(|_| ()),
        Kind::Zone => zone(text),
        Kind::LogTarget => http::log_target(text),
        Kind::Location => http::location(text),
        _ => Ok(()),
    }
}

/// `90s`, `5m`, `2h30m`, `250ms`, `1d`, `2w`: whole numbers, units falling.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    const UNITS: [(&str, u64); 6] = [
        ("w", 604_800_000),
        ("d", 86_400_000),
        ("h", 3_600_000),
        ("m", 60_000),
        ("s", 1000),
        ("ms", 1),
    ];
    let mut rest = text;
    let mut total_ms: u64 = 0;
    let mut last_ms = u64::MAX;
    while !rest.is_empty() || text.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, tail) = rest.split_at(digits);
        let end = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(end);
        if number.is_empty() {
            return Err("a number is needed before the unit".to_owned());
        }
        if unit.is_empty() {
            return Err("a unit is needed: ms, s, m, h, d or w".to_owned());
        }
        let Some((_, unit_ms)) = UNITS.iter().find(|(name, _)| *name == unit) else {
            return Err(format!("unknown unit `{}`: use ms, s, m, h, d or w", text::shown(unit)));
        };
        if *unit_ms >= last_ms {
            return Err("the larger unit goes first, each unit once".to_owned());
        }
        last_ms = *unit_ms;
        let part = number.parse::<u64>().ok().and_then(|n| n.checked_mul(*unit_ms));
        let Some(sum) = part.and_then(|part| total_ms.checked_add(part)) else {
            return Err("longer than can be counted".to_owned());
        };
        total_ms = sum;
        rest = tail;
    }
    Ok(Duration::from_millis(total_ms))
}

/// `512B`, `64KiB`, `1MiB`, `2GiB`; powers of ten are refused because nobody means them.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let shift = match unit {
        "B" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        "TiB" => 40,
        "" => return Err("a unit is needed: B, KiB, MiB or GiB".to_owned()),
        "K" | "k" | "KB" | "kB" | "kb" | "Kib" | "kib" => return Err("write KiB".to_owned()),
        "M" | "m" | "MB" | "mb" | "Mib" | "mib" => return Err("write MiB".to_owned()),
        "G" | "g" | "GB" | "gb" | "Gib" | "gib" => return Err("write GiB".to_owned()),
        _ => return Err("units are B, KiB, MiB and GiB".to_owned()),
    };
    if number.is_empty() {
        return Err("a number is needed before the unit".to_owned());
    }
    let number: u64 = number.parse().map_err(|_| "larger than can be counted".to_owned())?;
    number.checked_mul(1 << shift).ok_or_else(|| "larger than can be counted".to_owned())
}

/// `85%` in percent.
pub(crate) fn share(text: &str) -> Result<f64, &'static str> {
    let Some(number) = text.strip_suffix('%') else {
        return Err("`%` is needed at the end");
    };
    plain_number(number).ok_or("a number is needed before `%`")
}

/// `1.6x`
pub(crate) fn factor(text: &str) -> Option<f64> {
    plain_number(text.strip_suffix('x')?)
}

/// `20/s`, `5/m` per second.
pub(crate) fn rate(text: &str) -> Result<f64, &'static str> {
    let Some((number, unit)) = text.split_once('/') else {
        return Err("write how many per unit of time");
    };
    let number = plain_number(number).ok_or("a number is needed before `/`")?;
    match unit {
        "s" => Ok(number),
        "m" => Ok(number / 60.0),
        "h" => Ok(number / 3600.0),
        _ => Err("per `s`, `m` or `h`"),
    }
}

// Digits with at most one dot: no sign, exponent, `inf` or `nan`.
fn plain_number(text: &str) -> Option<f64> {
    let plain = text.starts_with(|c: char| c.is_ascii_digit())
        && text.chars().all(|c| c.is_ascii_digit() || c == '.');
    plain.then(|| text.parse().ok()).flatten()
}

fn integer(number: i64, min: i64, max: i64) -> Result<(), Message> {
    if (min..=max).contains(&number) {
        return Ok(());
    }
    // What does not fit into 64 bits was cut when it was read.
    let number = match number {
        i64::MAX => "9223372036854775807 or more".to_owned(),
        number => number.to_string(),
    };
    let max = if max == i64::MAX { "any whole number".to_owned() } else { max.to_string() };
    Err(say::out_of_range(&number, &min.to_string(), &max))
}

fn duration_between(kind: &Kind, text: &str, min: &str, max: &str) -> Result<(), Message> {
    let value = duration(text).map_err(|why| say::malformed(kind, text, &why))?;
    let inside =
        duration(min).is_ok_and(|min| value >= min) && duration(max).is_ok_and(|max| value <= max);
    if inside { Ok(()) } else { Err(say::out_of_range(text, min, max)) }
}

fn size_between(kind: &Kind, text: &str, min: &str, max: &str) -> Result<(), Message> {
    let value = size(text).map_err(|why| say::malformed(kind, text, &why))?;
    let inside = size(min).is_ok_and(|min| value >= min) && size(max).is_ok_and(|max| value <= max);
    if inside { Ok(()) } else { Err(say::out_of_range(text, min, max)) }
}

fn share_up_to(kind: &Kind, text: &str, max: u32) -> Result<(), Message> {
    let value = share(text).map_err(|why| say::malformed(kind, text, why))?;
    if value <= f64::from(max) {
        return Ok(());
    }
    Err(say::out_of_range(text, "0%", &format!("{max}%")))
}

fn known_suffix(kind: &Kind, text: &str, suffixes: &[&str]) -> Result<(), Message> {
    let fits = suffixes
        .iter()
        .any(|suffix| text.strip_suffix(suffix).is_some_and(|n| plain_number(n).is_some()));
    if fits { Ok(()) } else { Err(say::malformed(kind, text, "")) }
}

fn no_nul(kind: &Kind, text: &str) -> Result<(), Message> {
    if text.contains('\0') { Err(say::malformed(kind, text, "holds a NUL")) } else { Ok(()) }
}

/// A name of ours: short, and safe in labels, URLs, file names and on a command line.
pub(crate) fn name(text: &str) -> Result<(), Message> {
    if text.is_empty() {
        return Err(say::name(text, "it is empty"));
    }
    if text.len() > 64 {
        return Err(say::name(text, "it is longer than 64 letters"));
    }
    // Some names become names of folders.
    if text.bytes().all(|byte| byte == b'.') {
        return Err(say::name(text, "it has nothing but points"));
    }
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    match text.chars().find(|c| !good(*c)) {
        Some(c) => Err(say::name(text, &format!("it holds `{}`", c.escape_debug()))),
        None => Ok(()),
    }
}

fn zone(text: &str) -> Result<(), Message> {
    if jiff::tz::TimeZone::get(text).is_ok() && text != "Etc/Unknown" {
        return Ok(());
    }
    let known: Vec<String> = jiff::tz::db().available().map(|zone| zone.to_string()).collect();
    Err(say::zone(text, text::nearest(text, known.iter().map(String::as_str))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_whole_numbers_with_falling_units() {
        for (text, ms) in [("90s", 90_000), ("5m", 300_000), ("2h30m", 9_000_000), ("250ms", 250)] {
            assert_eq!(duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        assert_eq!(duration("0s"), Ok(Duration::ZERO));
        for text in ["", "90", "s", "5 m", "1.5s", "-5s", "5m2h", "5m5m", "5S", "99999999999999w"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_are_powers_of_two_with_a_unit() {
        for (text, bytes) in [("512B", 512), ("64KiB", 65_536), ("1MiB", 1 << 20), ("0B", 0)] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in ["", "64", "64KB", "64kib", "KiB", "1.5MiB", "99999999999TiB"] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn shares_and_rates_are_plain_numbers() {
        assert_eq!(share("85%"), Ok(85.0));
        assert_eq!(share("2.5%"), Ok(2.5));
        assert_eq!(rate("30/m"), Ok(0.5));
        for text in ["85", "%", "-1%", "1e2%", "inf%", "nan%", "."] {
            assert!(share(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_mistyped_zone_is_found() {
        assert!(zone("Asia/Seoul").is_ok());
        let message = zone("Asia/Seoull").unwrap_err();
        assert_eq!(message.help.as_deref(), Some("did you mean `Asia/Seoul`?"));
    }
}
