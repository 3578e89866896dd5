//! What operators may want: from a request to an [`Order`], with everything wrong in it said.
//!
//! | request                                        | order                                     |
//! |------------------------------------------------|-------------------------------------------|
//! | `POST /v1/pools/POOL/backends`                 | one more backend                          |
//! | `PATCH /v1/pools/POOL/backends/ID`             | another weight, another cap               |
//! | `DELETE /v1/pools/POOL/backends/ID[?now]`      | it drains and goes; `now`: it goes        |
//! | `POST /v1/pools/POOL/backends/ID/drain`        | no new requests                           |
//! | `POST /v1/pools/POOL/backends/ID/undrain`      | requests again                            |
//! | `POST /v1/pools/POOL/backends/ID/breaker`      | its breaker is held open or closed, or not |
//! | `PUT /v1/pools/POOL/override`                  | its size is pinned, or pauses             |
//! | `DELETE /v1/pools/POOL/override`               | its rules decide again                    |
//! | `PUT /v1/maintenance`                          | the site is closed, or open again         |
//! | `PUT /v1/routes/NAME/maintenance`              | a route is                                |
//!
//! A body that is no JSON or too long is 400, one that says something else than what is allowed
//! 422; either names what was found. Only a whole order is carried out, in one step.

use hyper::Method;
use hyper::StatusCode;
use policies::breaker::Phase;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};

use super::view::{BackendView, MaintenanceView, OverrideView};

mod size;

pub use size::Size;

/// Longest reason that an operator gives.
const MAX_REASON_BYTES: usize = 200;

/// Something to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// To what.
    pub target: Target,
    /// What.
    pub deed: Deed,
    /// Why, in the operator's words.
    pub reason: Option<String>,
}

/// What an order is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A pool by its name.
    Pool(String),
    /// A backend by its pool's name and its id.
    Backend(String, String),
    /// A route by its name, or the whole site.
    Route(Option<String>),
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deed {
    /// One more backend.
    Add(NewBackend),
    /// No new requests.
    Drain,
    /// Requests again.
    Undrain,
    /// It goes: once it has drained, or now.
    Remove {
        /// Without waiting for its requests.
        now: bool,
    },
    /// Its breaker is held open or closed, or, with `None`, let go.
    Breaker(Option<Phase>),
    /// Another size than the rules want, or what they want.
    Resize(Size),
    /// Maintenance begins or ends.
    Maintain {
        /// It begins.
        is_on: bool,
    },
    /// Other settings; what is `None` stays.
    Set {
        /// Share of requests.
        weight: Option<u32>,
        /// Requests at once; `Some(None)` is no limit.
        max_concurrency: Option<Option<u32>>,
    },
}

/// A backend as asked for, not checked yet.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewBackend {
    /// Unique in the pool; the address if there is none.
    pub id: Option<String>,
    /// Address or name, and port.
    pub address: String,
    /// Share of requests.
    pub weight: Option<u32>,
    /// Requests at once; `Some(None)` is no limit, `None` is what the pool says.
    #[serde(default, deserialize_with = "given")]
    pub max_concurrency: Option<Option<u32>>,
    /// Failure domain.
    pub zone: Option<String>,
    reason: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    weight: Option<u32>,
    #[serde(default, deserialize_with = "given")]
    max_concurrency: Option<Option<u32>>,
    reason: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Holding {
    hold: Hold,
    reason: Option<String>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Hold {
    Open,
    Closed,
    Auto,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Switch {
    is_on: bool,
    reason: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Why {
    reason: Option<String>,
}

/// An order that was carried out.
#[derive(Debug, Clone, PartialEq)]
pub enum Done {
    /// The backend as it is now, and the status that says what became of it.
    Backend(StatusCode, Box<BackendView>),
    /// It is gone.
    Gone,
    /// How the switch stands now.
    Maintenance(MaintenanceView),
    /// What holds for the size of a pool from the next turn on; nothing but its rules.
    Resized(Option<OverrideView>),
}

/// An order that is not carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// 400, 404, 409, 422 or 503.
    pub status: StatusCode,
    /// What was found and what is allowed.
    pub detail: String,
}

impl Refusal {
    /// 404: there is no such thing.
    pub fn unknown(detail: String) -> Refusal {
        Refusal { status: StatusCode::NOT_FOUND, detail }
    }

    /// 409: not in the state that it is in.
    pub fn conflict(detail: String) -> Refusal {
        Refusal { status: StatusCode::CONFLICT, detail }
    }

    /// 503: it would be lost with this process.
    pub fn handing_over() -> Refusal {
        let detail = "this process hands over to another; ask again on a new connection".to_owned();
        Refusal { status: StatusCode::SERVICE_UNAVAILABLE, detail }
    }

    /// 422: a value that is not allowed.
    pub fn invalid(detail: String) -> Refusal {
        Refusal { status: StatusCode::UNPROCESSABLE_ENTITY, detail }
    }
}

/// What can be read or changed by its path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Resource {
    Pool(String),
    Backends(String),
    Backend(String, String),
    Drain(String, String),
    Undrain(String, String),
    Breaker(String, String),
    /// Of the size of a pool.
    Override(String),
    /// Of the site, or of a route.
    Maintenance(Option<String>),
}

impl Resource {
    /// `None`: there is nothing at this path.
    pub(super) fn of(path: &str) -> Option<Resource> {
        let parts: Option<Vec<String>> =
            path.strip_prefix("/v1/")?.split('/').map(decoded).collect();
        let parts = parts?;
        match parts.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["maintenance"] => return Some(Resource::Maintenance(None)),
            ["routes", name, "maintenance"] => {
                return Some(Resource::Maintenance(Some(name.to_owned())));
            }
            _ => {}
        }
        let [collection, pool, rest @ ..] = parts.as_slice() else { return None };
        if collection != "pools" {
            return None;
        }
        let rest: Vec<&str> = rest.iter().map(String::as_str).collect();
        let (pool, own) = (pool.clone(), str::to_owned);
        match rest[..] {
            [] => Some(Resource::Pool(pool)),
            ["override"] => Some(Resource::Override(pool)),
            ["backends"] => Some(Resource::Backends(pool)),
            ["backends", id] => Some(Resource::Backend(pool, own(id))),
            ["backends", id, "drain"] => Some(Resource::Drain(pool, own(id))),
            ["backends", id, "undrain"] => Some(Resource::Undrain(pool, own(id))),
            ["backends", id, "breaker"] => Some(Resource::Breaker(pool, own(id))),
            _ => None,
        }
    }

    /// For the field `Allow`.
    pub(super) fn allowed(&self) -> &'static str {
        match self {
            Resource::Pool(_) => "GET, HEAD",
            Resource::Backends(_)
            | Resource::Drain(..)
            | Resource::Undrain(..)
            | Resource::Breaker(..) => "POST",
            Resource::Backend(..) => "GET, HEAD, PATCH, DELETE",
            Resource::Maintenance(_) => "GET, HEAD, PUT",
            Resource::Override(_) => "GET, HEAD, PUT, DELETE",
        }
    }

    /// Whether requests with this method have an answer.
    pub(super) fn allows(&self, method: &Method) -> bool {
        self.allowed().split(", ").any(|allowed| allowed == method.as_str())
    }

    /// What a request that this resource allows wants.
    pub(super) fn order(self, method: &Method, query: &str, body: &[u8]) -> Result<Order, Refusal> {
        if *method != Method::DELETE || !matches!(self, Resource::Backend(..)) {
            no_parameters(query)?;
        }
        let why = || parse::<Why>(body).map(|why| why.reason);
        let (target, deed, reason) = match self {
            Resource::Pool(pool) | Resource::Backends(pool) => {
                let new: NewBackend = parse(body)?;
                let reason = new.reason.clone();
                (Target::Pool(pool), Deed::Add(new), reason)
            }
            Resource::Drain(pool, id) => (Target::Backend(pool, id), Deed::Drain, why()?),
            Resource::Undrain(pool, id) => (Target::Backend(pool, id), Deed::Undrain, why()?),
            Resource::Breaker(pool, id) => {
                let Holding { hold, reason } = parse(body)?;
                let held = match hold {
                    Hold::Open => Some(Phase::Open),
                    Hold::Closed => Some(Phase::Closed),
                    Hold::Auto => None,
                };
                (Target::Backend(pool, id), Deed::Breaker(held), reason)
            }
            Resource::Override(pool) if method == Method::DELETE => {
                (Target::Pool(pool), Deed::Resize(Size::Auto), why()?)
            }
            Resource::Override(pool) => {
                let (deed, reason) = size::order(body)?;
                (Target::Pool(pool), deed, reason)
            }
            Resource::Maintenance(route) => {
                let Switch { is_on, reason } = parse(body)?;
                (Target::Route(route), Deed::Maintain { is_on }, reason)
            }
            Resource::Backend(pool, id) if method == Method::DELETE => {
                let now = match query {
                    "" => false,
                    "now" => true,
                    other => {
                        let detail = format!("`?{other}` is not known here; only `?now` is");
                        return Err(Refusal::invalid(detail));
                    }
                };
                (Target::Backend(pool, id), Deed::Remove { now }, why()?)
            }
            Resource::Backend(pool, id) => {
                let Settings { weight, max_concurrency, reason } = parse(body)?;
                if weight.is_none() && max_concurrency.is_none() {
                    let detail = "nothing to change; give `weight` or `max_concurrency`";
                    return Err(Refusal::invalid(detail.to_owned()));
                }
                (Target::Backend(pool, id), Deed::Set { weight, max_concurrency }, reason)
            }
        };
        if reason.as_ref().is_some_and(|reason| reason.len() > MAX_REASON_BYTES) {
            let detail = format!("`reason` is longer than {MAX_REASON_BYTES} bytes");
            return Err(Refusal::invalid(detail));
        }
        Ok(Order { target, deed, reason })
    }
}

/// The reason of an order that says nothing else.
pub(super) fn why(query: &str, body: &[u8]) -> Result<Option<String>, Refusal> {
    no_parameters(query)?;
    parse::<Why>(body).map(|why| why.reason)
}

/// All that most orders say is in their path and their body.
fn no_parameters(query: &str) -> Result<(), Refusal> {
    if query.is_empty() {
        return Ok(());
    }
    let name = query.split(['=', '&']).next().unwrap_or_default();
    let detail = format!("`{name}` is no parameter of this order: it has none but its body");
    Err(Refusal::invalid(detail))
}

/// No body is an empty object.
fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    let body = if body.is_empty() { b"{}" } else { body };
    let read = serde_json::from_slice(body).map_err(|error| {
        if error.is_data() {
            return Refusal::invalid(format!("this cannot be: {error}"));
        }
        let detail = format!("the body is no JSON: {error}");
        Refusal { status: StatusCode::BAD_REQUEST, detail }
    })?;
    // A list of the values in their order would be read too, and nobody would know which is which.
    if !body.trim_ascii_start().starts_with(b"{") {
        return Err(Refusal::invalid("the body is no JSON object".to_owned()));
    }
    Ok(read)
}

/// Tells `null` from nothing.
fn given<'de, D: Deserializer<'de>>(value: D) -> Result<Option<Option<u32>>, D::Error> {
    Option::<u32>::deserialize(value).map(Some)
}

/// A segment of a path without its %-codes.
fn decoded(segment: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digits = [rest.next()?, rest.next()?];
                u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
            }
            other => other,
        });
    }
    String::from_utf8(bytes).ok().filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(method: &str, path: &str, body: &str, expected: Result<Order, (u16, &str)>) {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let method = method.parse().unwrap();
        let resource = Resource::of(path).unwrap();
        assert!(resource.allows(&method), "{method} {path}");
        match (resource.order(&method, query, body.as_bytes()), expected) {
            (Ok(order), Ok(expected)) => assert_eq!(order, expected),
            (Err(refusal), Err((status, text))) => {
                assert_eq!(refusal.status.as_u16(), status, "{refusal:?}");
                assert!(refusal.detail.contains(text), "{refusal:?}");
            }
            (found, expected) => panic!("{found:?} is not {expected:?}"),
        }
    }

    fn order(deed: Deed, reason: Option<&str>) -> Result<Order, (u16, &'static str)> {
        let target = Target::Backend("app".into(), "[::1]:80".into());
        Ok(Order { target, deed, reason: reason.map(str::to_owned) })
    }

    const ONE: &str = "/v1/pools/app/backends/%5B::1%5d:80";

    #[test]
    fn an_order_is_read_from_method_path_and_body() {
        check("POST", &format!("{ONE}/drain"), "", order(Deed::Drain, None));
        let why = "{\"reason\": \"kernel\"}";
        check("POST", &format!("{ONE}/undrain"), why, order(Deed::Undrain, Some("kernel")));
        check("DELETE", ONE, "", order(Deed::Remove { now: false }, None));
        check("DELETE", &format!("{ONE}?now"), "{}", order(Deed::Remove { now: true }, None));
        let hold = |word| format!("{{\"hold\": \"{word}\"}}");
        let breaker = format!("{ONE}/breaker");
        check("POST", &breaker, &hold("open"), order(Deed::Breaker(Some(Phase::Open)), None));
        check("POST", &breaker, &hold("auto"), order(Deed::Breaker(None), None));
        check("POST", &breaker, &hold("half_open"), Err((422, "unknown variant `half_open`")));
        check("POST", &breaker, "", Err((422, "missing field `hold`")));
        let set = |weight, max_concurrency| Deed::Set { weight, max_concurrency };
        check("PATCH", ONE, "{\"weight\": 5}", order(set(Some(5), None), None));
        check("PATCH", ONE, "{\"max_concurrency\": null}", order(set(None, Some(None)), None));
        let both = "{\"weight\": 0, \"max_concurrency\": 7}";
        check("PATCH", ONE, both, order(set(Some(0), Some(Some(7))), None));
    }

    #[test]
    fn what_is_wrong_in_a_body_is_named() {
        let add = "/v1/pools/app/backends";
        for (body, status, text) in [
            ("{", 400, "EOF"),
            ("{\"address\": \"a:1\"} {}", 400, "trailing characters"),
            ("{'weight': 1}", 400, "no JSON"),
            ("\u{0}", 400, "no JSON"),
            ("{}", 422, "missing field `address`"),
            ("[]", 422, "invalid length 0"),
            ("[null, \"10.0.0.1:80\", 1, null, null, null]", 422, "no JSON object"),
            ("7", 422, "invalid type: integer `7`"),
            ("{\"address\": 7}", 422, "invalid type: integer `7`, expected a string"),
            ("{\"adress\": \"\"}", 422, "unknown field `adress`, expected one of `id`, `address`"),
            ("{\"address\": \"a:1\", \"address\": \"b:1\"}", 422, "duplicate field `address`"),
            ("{\"address\": \"a:1\", \"weight\": -1}", 422, "`-1`"),
            ("{\"address\": \"a:1\", \"weight\": 1.5}", 422, "1.5"),
        ] {
            check("POST", add, body, Err((status, text)));
        }
        check("PATCH", ONE, "{}", Err((422, "nothing to change")));
        check("PATCH", ONE, "{\"id\": \"b\"}", Err((422, "unknown field `id`")));
        check("DELETE", &format!("{ONE}?force"), "", Err((422, "only `?now`")));
        for (method, path, body) in [
            ("POST", format!("{ONE}/drain?now"), ""),
            ("POST", format!("{ONE}/undrain?now=1&x"), ""),
            ("PATCH", format!("{ONE}?now"), "{\"weight\": 5}"),
            ("POST", format!("{add}?now"), "{\"address\": \"a:1\"}"),
            ("PUT", "/v1/maintenance?now".into(), "{\"on\": true}"),
            ("DELETE", "/v1/pools/app/override?now".into(), ""),
        ] {
            check(method, &path, body, Err((422, "`now` is no parameter of this order")));
        }
        let long = format!("{{\"reason\": \"{}\"}}", "x".repeat(201));
        check("POST", &format!("{ONE}/drain"), &long, Err((422, "longer than 200")));
    }

    #[test]
    fn a_path_is_read_segment_by_segment() {
        let of = |path| Resource::of(path);
        assert_eq!(of("/v1/pools/app"), Some(Resource::Pool("app".into())));
        assert_eq!(of("/v1/pools/a%2Fb"), Some(Resource::Pool("a/b".into())));
        for path in [
            "/v1/pools",
            "/v1/pools/",
            "/v1/pools/app/",
            "/v1/pools/app/backends/",
            "/v1/pools/app/backends/a/b",
            "/v1/pools/app/backends/a/drain/x",
            "/v1/pools/%zz",
            "/v1/pools/%f",
            "/v1/pools/%ff",
            "/v2/pools/app",
            "/v1/routes/app",
        ] {
            assert_eq!(of(path), None, "{path}");
        }
    }
}
