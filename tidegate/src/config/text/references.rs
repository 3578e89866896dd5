//! What one part of a configuration says about another, and warnings.

use crate::config::codes;

use super::{Message, one_of, shown, suggest};

/// A route to nowhere.
pub(crate) fn no_pool(name: &str, known: &[&str]) -> Message {
    let message = Message::new(
        &codes::NO_POOL,
        format!("there is no pool `{}`", shown(name)),
        "unknown pool",
    );
    Message { help: suggest(name, known), ..message }
}

/// A sink that is not there.
pub(crate) fn no_sink(name: &str, known: &[&str]) -> Message {
    let text = format!("there is no sink `{}`", shown(name));
    let message = Message::new(&codes::NO_SINK, text, "unknown sink");
    Message { help: suggest(name, known), ..message }
}

/// An event that never comes.
pub(crate) fn no_event(kind: &str, known: &[&str]) -> Message {
    let text = format!("there is no event `{}`, so nobody is told of it", shown(kind));
    let message = Message::new(&codes::NO_EVENT, text, "unknown event");
    Message { help: suggest(kind, known), ..message }
}

/// A listener that is not there.
pub(crate) fn no_listener(name: &str, known: &[&str]) -> Message {
    let text = format!("there is no listener `{}`", shown(name));
    let message = Message::new(&codes::NO_LISTENER, text, "unknown listener");
    Message { help: suggest(name, known), ..message }
}

/// Two routes of one name.
pub(crate) fn route_twice(name: &str, first_line: &str) -> Message {
    let text = format!("two routes are named `{}`; the other is {first_line}", shown(name));
    Message::new(&codes::ROUTE_TWICE, text, "named again here").help("name each route once")
}

/// Two backends of one id.
pub(crate) fn backend_twice(id: &str, pool: &str) -> Message {
    let text = format!("two backends of pool `{}` have the id `{}`", shown(pool), shown(id));
    Message::new(&codes::BACKEND_TWICE, text, "again here").help("give each backend its own id")
}

/// Two backends at one address.
pub(crate) fn address_shared(address: &str, id: &str) -> Message {
    let text = format!("`{}` is also the address of backend `{}`", shown(address), shown(id));
    Message::new(&codes::ADDRESS_SHARED, text, "counted twice")
        .help("use `weight` to send one server more requests")
}

/// Two listeners at one address.
pub(crate) fn address_twice(address: &str, other: &str) -> Message {
    let text = format!("`{}` is already the address of {other}", shown(address));
    Message::new(&codes::ADDRESS_TWICE, text, "taken").help("give each its own port")
}

/// A listener at an address, and one at all addresses of its family.
pub(crate) fn address_overlaps(address: &str, other_address: &str, other: &str) -> Message {
    let text = format!("`{}` overlaps `{}` of {other}", shown(address), shown(other_address));
    Message::new(&codes::ADDRESS_TWICE, text, "taken").help("give each its own port")
}

/// A path that no Unix socket can have.
pub(crate) fn socket_path_long(bytes: usize, limit: usize) -> Message {
    let text = format!("the path of the socket has {bytes} bytes, more than {limit}");
    Message::new(&codes::OUT_OF_RANGE, text, "too long").help("use a directory nearer to the root")
}

/// A pool of nobody.
pub(crate) fn no_backends(pool: &str) -> Message {
    let text = format!("pool `{}` has no backends", shown(pool));
    Message::new(&codes::NO_BACKENDS, text, "")
        .help("add `backends = [{ id = \"a\", address = \"10.0.0.1:8080\" }]`")
}

/// A pool of nobody for now.
pub(crate) fn pool_empty(pool: &str, why: &str) -> Message {
    let text = format!("pool `{}` has no backends for now: {why}", shown(pool));
    Message::new(&codes::POOL_EMPTY, text, "")
        .help("requests that only this pool could take get 503")
}

/// A pool nobody asks.
pub(crate) fn pool_unused(pool: &str) -> Message {
    let text = format!("no route leads to pool `{}`", shown(pool));
    Message::new(&codes::POOL_UNUSED, text, "")
}

/// A backend that is the door itself.
pub(crate) fn own_listener(address: &str, listener: &str) -> Message {
    let text = format!("`{}` is the address of {listener} of this door", shown(address));
    Message::new(&codes::LOOP, text, "requests would go round in circles").help(
        "write the address where the server itself listens; for what another route of this door \
         does, name the pool of that route",
    )
}

/// Instances that would have to listen where the door does.
pub(crate) fn instances_at_listener(place: &str, listener: &str) -> Message {
    let text = format!("instances at {place} have the address of {listener} of this door");
    Message::new(&codes::LOOP, text, "taken").help("give the instances another port or range")
}

/// Instances of this machine that would have to be somewhere else.
pub(crate) fn not_local(range: &str) -> Message {
    let text = format!("`{}` is not within 127.0.0.0/8", shown(range));
    Message::new(&codes::CIDR, text, "not on this machine")
        .help("processes get loopback addresses; write a range such as `127.60.0.0/24`")
}

/// Instances of two pools that would get one address.
pub(crate) fn instances_overlap(place: &str, other: &str) -> Message {
    let text = format!("instances at {place} overlap those of pool `{}`", shown(other));
    Message::new(&codes::INSTANCES_OVERLAP, text, "taken")
        .help("give each pool its own range or port")
}

/// A variable that no environment can have, or not from here.
pub(crate) fn variable(name: &str, why: &str) -> Message {
    let text = format!("`{}` is not a usable name of a variable: {why}", shown(name));
    Message::new(&codes::NAME, text, "")
}

/// One pool twice in a waterfall.
pub(crate) fn pool_twice(pool: &str) -> Message {
    let text = format!("pool `{}` is named twice", shown(pool));
    Message::new(&codes::POOL_TWICE, text, "has had its chance")
}

/// A split that sends nothing anywhere.
pub(crate) fn no_share() -> Message {
    Message::new(&codes::NO_SHARE, "every weight of the split is 0".to_owned(), "")
        .help("give at least one arm a weight of 1 or more")
}

/// An admin listener that others can reach.
pub(crate) fn not_loopback(address: &str) -> Message {
    let text = format!("`{}` can be reached from other machines", shown(address));
    Message::new(&codes::NOT_LOOPBACK, text, "not a loopback address").help(
        "write `127.0.0.1:9901`; metrics and health for other machines: `[observe] metrics.listen`",
    )
}

/// Parts that are more than the whole.
pub(crate) fn over_reserved(pool: &str, percent: f64) -> Message {
    let text = format!("routes reserve {percent}% of pool `{}`", shown(pool));
    Message::new(&codes::OVER_RESERVED, text, "more than there is")
        .help("lower `reserve` until those of all routes to the pool are 100% or less together")
}

/// A part of something without end.
pub(crate) fn reserve_of_unbounded(pool: &str) -> Message {
    let why = format!("nothing bounds pool `{}`", shown(pool));
    let help = "give the pool, or each of its backends, `max_concurrency`";
    idle_key("limits.reserve", &why).help(help)
}

/// None or several of keys that exclude each other.
pub(crate) fn choice(section: &str, keys: &[&str], found: &[&str]) -> Message {
    let text = match found {
        [] => format!("{section} needs one of {}", one_of(keys)),
        _ => format!(
            "{section} has {}; only one of them can hold",
            one_of(found).replace(" or ", " and ")
        ),
    };
    Message::new(&codes::CHOICE, text, "")
}

/// A key that needs another.
pub(crate) fn needs(key: &str, other: &str) -> Message {
    let text = format!("`{key}` needs {other}");
    Message::new(&codes::CHOICE, text, "")
}

/// A key that means nothing without another; it is read and nothing happens.
pub(crate) fn idle_key(key: &str, why: &str) -> Message {
    Message::new(&codes::IDLE_KEY, format!("`{key}` has no effect: {why}"), "no effect")
}

/// A number that must not be larger than another.
pub(crate) fn larger_than(key: &str, value: &str, other: &str, limit: &str) -> Message {
    let text = format!("`{key}` is `{}`, larger than `{other}` of {limit}", shown(value));
    Message::new(&codes::OUT_OF_RANGE, text, "out of range")
}

/// A redirect to https where nobody speaks it.
pub(crate) fn redirect_plain(listener: &str) -> Message {
    let text =
        format!("listener `{}` has no `tls`, so a redirect to https ends there", shown(listener));
    Message::new(&codes::REDIRECT_PLAIN, text, "speaks no TLS")
}

/// Too many of a kind.
pub(crate) fn too_many(what: &str, limit: usize) -> Message {
    Message::new(&codes::OUT_OF_RANGE, format!("more than {limit} {what}"), "")
}

/// A file that a route answers with and that cannot be read.
pub(crate) fn body_unreadable(path: &str, why: &str) -> Message {
    let text = format!("cannot read `{}`: {why}", shown(path));
    Message::new(&codes::UNREADABLE, text, "").help("paths are relative to the file they stand in")
}

/// A listener that stays closed.
pub(crate) fn not_opened(listener: &str, why: &str) -> Message {
    let text = format!("listener `{}` is not opened: {why}", shown(listener));
    Message::new(&codes::NOT_OPENED, text, "")
}

/// A route that no request reaches.
pub(crate) fn shadowed(route: &str, by: &str, same: bool) -> Message {
    let why = if same { "has the same match" } else { "matches every request" };
    let text =
        format!("no request reaches route `{}`: `{}` before it {why}", shown(route), shown(by));
    Message::new(&codes::SHADOWED, text, "never reached")
}

/// A path that is never seen as it is written.
pub(crate) fn path_never_merged(path: &str, normal: &str) -> Message {
    let why = "the listener merges slashes before routes are matched";
    let help =
        format!("write `{}`, or `paths.merge_slashes = false` at the listener", shown(normal));
    never_matches(path, why).help(help)
}

/// A path that is refused before it is matched.
pub(crate) fn path_never_refused(path: &str, code: &str, key: &str) -> Message {
    let why = format!("the listener answers a path with `{code}` with 400");
    never_matches(path, &why).help(format!("write `paths.{key} = true` at the listener"))
}

/// A method that is not passed on.
pub(crate) fn method_never(method: &str) -> Message {
    never_matches(method, "it is answered with 405 before routes are matched")
        .help("leave it out; neither tunnels nor echoes go through this door")
}

/// The opposite of everything.
pub(crate) fn not_everything() -> Message {
    never_matches("not = {}", "an empty match holds for every request, and its opposite for none")
        .help("leave `not` out, or write in it what must not hold")
}

fn never_matches(what: &str, why: &str) -> Message {
    let text = format!("`{}` never matches: {why}", shown(what));
    Message::new(&codes::SHADOWED, text, "never matches")
}

/// A text beside a status that has none (RFC 9110 §15.3.5, §15.3.6, §15.4.5).
pub(crate) fn body_of_none(key: &str, status: u16) -> Message {
    let text = format!("`{key}` is never sent: an answer with status {status} has no body");
    Message::new(&codes::STATUS, text, "no body here")
        .help(format!("leave `{key}` out, or write another `status`"))
}

/// A limit behind a shorter one.
pub(crate) fn never_fires(key: &str, value: &str, other: &str, limit: &str) -> Message {
    let text = format!("`{key}` of {value} never fires: `{other}` of {limit} is over before");
    Message::new(&codes::NEVER_FIRES, text, "never fires")
}

/// An entry that another covers.
pub(crate) fn covered(entry: &str, by: &str, list: &str) -> Message {
    let text = format!("`{entry}` has no effect: `{by}` in `{list}` covers it");
    Message::new(&codes::ACCESS_LIST, text, "no effect")
}
