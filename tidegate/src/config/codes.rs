//! The stable codes of everything that can be wrong with a configuration.
//!
//! A code never changes its meaning and is never used again after it was given up: people
//! search for it, and `--format json` is read by programs. `TG01xx` files and syntax, `TG02xx`
//! values and types, `TG03xx` secrets, `TG04xx` what one part says about another, `TG05xx`
//! warnings about a configuration that runs.

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The configuration is not used.
    Error,
    /// It is used, and something in it does not do what one may expect.
    Warning,
}

impl Severity {
    /// `error` or `warning`.
    pub fn word(self) -> &'static str {
        match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
        }
    }
}

/// One kind of problem.
#[derive(Debug, PartialEq, Eq)]
pub struct Code {
    /// For example `TG0201`.
    pub id: &'static str,
    /// How bad it is, always.
    pub severity: Severity,
    /// What it says, in one sentence, for the reference.
    pub meaning: &'static str,
}

const fn error(id: &'static str, meaning: &'static str) -> Code {
    Code { id, severity: Severity::Error, meaning }
}

const fn warning(id: &'static str, meaning: &'static str) -> Code {
    Code { id, severity: Severity::Warning, meaning }
}

pub(crate) static UNREADABLE: Code = error("TG0101", "A file cannot be read.");
pub(crate) static NOT_TEXT: Code = error("TG0102", "A file is not UTF-8 text.");
pub(crate) static SYNTAX: Code = error("TG0103", "A file is not TOML.");
pub(crate) static KEY_TWICE: Code = error("TG0104", "A key is set twice.");
pub(crate) static FRAGMENT_SECTION: Code =
    error("TG0105", "An included file holds a section that belongs into the main file.");
pub(crate) static TOO_LARGE: Code =
    error("TG0106", "A file is larger than a configuration can be.");
pub(crate) static INCLUDE_RING: Code = error("TG0107", "A file includes itself.");

pub(crate) static UNKNOWN_KEY: Code = error("TG0201", "There is no such key here.");
pub(crate) static WRONG_TYPE: Code = error("TG0202", "The value is of another type.");
pub(crate) static MISSING_KEY: Code = error("TG0203", "A key that is needed is missing.");
pub(crate) static UNKNOWN_WORD: Code = error("TG0204", "The word is not one of those allowed.");
pub(crate) static OUT_OF_RANGE: Code = error("TG0205", "The value is too small or too large.");
pub(crate) static MALFORMED: Code =
    error("TG0206", "The text is not a duration, size, share, rate or other typed value.");
pub(crate) static ZONE: Code = error("TG0207", "Not a time zone of the IANA database.");
pub(crate) static ADDRESS: Code = error("TG0208", "Not an address with a port.");
pub(crate) static CIDR: Code = error("TG0209", "Not an address block.");
pub(crate) static REGEX: Code = error("TG0210", "The regular expression does not compile.");
pub(crate) static HOST: Code = error("TG0211", "Not a host name or host pattern.");
pub(crate) static PATH: Code = error("TG0212", "Not a path that a request can have.");
pub(crate) static STATUS: Code = error("TG0213", "Not a status code that fits here.");
pub(crate) static HEADER: Code =
    error("TG0214", "Not a header name or value, or a header that is not ours to edit.");
pub(crate) static CHOICE: Code = error("TG0215", "Exactly one of several keys is needed.");
pub(crate) static TOKEN: Code = error("TG0216", "Not a method, cookie name or other token.");
pub(crate) static NAME: Code = error("TG0217", "Not a usable name.");
pub(crate) static EMPTY: Code = error("TG0218", "Empty where something is needed.");
pub(crate) static TOPIC: Code = error("TG0219", "Not the ARN of an SNS topic.");
pub(crate) static EC2_NAME: Code = error("TG0220", "Not an id, type or tag that AWS EC2 has.");
pub(crate) static MOVING_VERSION: Code =
    error("TG0221", "The version of a launch template moves, so a launch cannot be repeated.");

pub(crate) static INLINE_SECRET: Code = warning("TG0301", "A secret stands in the file itself.");
pub(crate) static SECRET_UNREADABLE: Code = error("TG0302", "A secret cannot be read.");
pub(crate) static SECRET_WEAK: Code = error("TG0303", "A secret is too short to protect anything.");

pub(crate) static NO_POOL: Code = error("TG0401", "A route names a pool that does not exist.");
pub(crate) static ROUTE_TWICE: Code = error("TG0402", "Two routes have one name.");
pub(crate) static BACKEND_TWICE: Code = error("TG0403", "Two backends of a pool have one id.");
pub(crate) static ADDRESS_TWICE: Code = error("TG0404", "Two listeners accept on one address.");
pub(crate) static NO_BACKENDS: Code = error("TG0405", "A static pool has no backends.");
pub(crate) static LOOP: Code = error("TG0406", "A backend is one of our own listeners.");
pub(crate) static NO_LISTENER: Code = error("TG0407", "A listener is named that does not exist.");
pub(crate) static POOL_TWICE: Code = error("TG0408", "A route names one pool twice.");
pub(crate) static NO_SHARE: Code = error("TG0409", "No arm of a split has a weight.");
pub(crate) static NOT_LOOPBACK: Code =
    error("TG0410", "The admin listener would be reachable from other machines.");
pub(crate) static INSTANCES_OVERLAP: Code =
    error("TG0411", "Instances of two pools would have one address.");
pub(crate) static OVER_RESERVED: Code =
    error("TG0412", "Routes reserve more of a pool than there is.");
pub(crate) static NOTHING_TO_SCALE: Code =
    error("TG0413", "A scaler is about a pool that cannot be scaled, or that has one already.");
pub(crate) static FLOOR_ABOVE_CEILING: Code =
    error("TG0414", "The fewest instances are more than the most.");
pub(crate) static WINDOW: Code = error("TG0415", "A window of time cannot be understood.");
pub(crate) static NO_SINK: Code = error("TG0419", "A rule names a sink that does not exist.");

pub(crate) static KEY_LATER: Code =
    warning("TG0501", "The key is known and not supported yet; it has no effect.");
pub(crate) static WORD_LATER: Code = warning("TG0502", "The value is known and not supported yet.");
pub(crate) static NOT_OPENED: Code = warning("TG0503", "A listener is not opened.");
pub(crate) static SHADOWED: Code =
    warning("TG0504", "No request can reach a route, or have what it asks for.");
pub(crate) static NEVER_FIRES: Code = warning("TG0505", "A time limit can never fire.");
pub(crate) static NOTHING_INCLUDED: Code = warning("TG0506", "An `include` matches no file.");
pub(crate) static ACCESS_LIST: Code =
    warning("TG0507", "An entry of an access list has no effect.");
pub(crate) static POOL_EMPTY: Code = warning("TG0508", "A pool has no backends for now.");
pub(crate) static POOL_UNUSED: Code = warning("TG0509", "No route leads to a pool.");
pub(crate) static ADDRESS_SHARED: Code =
    warning("TG0510", "Two backends of a pool are the same server.");
pub(crate) static REDIRECT_PLAIN: Code =
    warning("TG0511", "A redirect to https leads to a listener without TLS.");
pub(crate) static IDLE_KEY: Code = warning("TG0512", "A key has no effect beside the others.");
pub(crate) static NO_TARGET: Code =
    warning("TG0513", "What an instance should carry is not said, or is more than it may.");
pub(crate) static ODD_SCALER: Code =
    warning("TG0516", "Two things that a scaler says work against each other.");
pub(crate) static NO_EVENT: Code =
    warning("TG0519", "A rule waits for a kind of event that does not exist.");

/// Every code, in order.
pub static ALL: &[&Code] = &[
    &UNREADABLE,
    &NOT_TEXT,
    &SYNTAX,
    &KEY_TWICE,
    &FRAGMENT_SECTION,
    &TOO_LARGE,
    &INCLUDE_RING,
    &UNKNOWN_KEY,
    &WRONG_TYPE,
    &MISSING_KEY,
    &UNKNOWN_WORD,
    &OUT_OF_RANGE,
    &MALFORMED,
    &ZONE,
    &ADDRESS,
    &CIDR,
    &REGEX,
    &HOST,
    &PATH,
    &STATUS,
    &HEADER,
    &CHOICE,
    &TOKEN,
    &NAME,
    &EMPTY,
    &TOPIC,
    &EC2_NAME,
    &MOVING_VERSION,
    &INLINE_SECRET,
    &SECRET_UNREADABLE,
    &SECRET_WEAK,
    &NO_POOL,
    &ROUTE_TWICE,
    &BACKEND_TWICE,
    &ADDRESS_TWICE,
    &NO_BACKENDS,
    &LOOP,
    &NO_LISTENER,
    &POOL_TWICE,
    &NO_SHARE,
    &NOT_LOOPBACK,
    &INSTANCES_OVERLAP,
    &OVER_RESERVED,
    &NOTHING_TO_SCALE,
    &FLOOR_ABOVE_CEILING,
    &WINDOW,
    &NO_SINK,
    &KEY_LATER,
    &WORD_LATER,
    &NOT_OPENED,
    &SHADOWED,
    &NEVER_FIRES,
    &NOTHING_INCLUDED,
    &ACCESS_LIST,
    &POOL_EMPTY,
    &POOL_UNUSED,
    &ADDRESS_SHARED,
    &REDIRECT_PLAIN,
    &IDLE_KEY,
    &NO_TARGET,
    &ODD_SCALER,
    &NO_EVENT,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_in_order_and_warn_where_their_number_says_so() {
        assert!(ALL.windows(2).all(|pair| pair[0].id < pair[1].id));
        for code in ALL {
            let is_warning = code.id.starts_with("TG05") || code.id == "TG0301";
            assert_eq!(code.severity == Severity::Warning, is_warning, "{}", code.id);
        }
    }
}
