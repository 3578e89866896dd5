//! What becomes of each request in `fixtures/routes.tsv`: its route and the target that the
//! backend receives, or the refusal. The same file is sent through the whole door elsewhere.

#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test, in helpers too

use policies::backend::PoolIndex;
use policies::route::normal::{self, Normal, PathRules};
use policies::route::{
    Action, Fields, HostPattern, Matcher, PathPattern, Request, Route, RouteTable, Target,
    ValuePattern,
};

const REQUESTS: &str = include_str!("fixtures/routes.tsv");
const CONFIG: &str = include_str!("fixtures/routes.toml");

#[test]
fn each_request_of_the_table_takes_its_route() {
    let table = RouteTable::new(routes());
    let failures: Vec<String> = rows()
        .filter_map(|row| {
            let got = ask(&table, &row);
            let wanted = (row.outcome.to_owned(), bytes(row.at_backend));
            (got != wanted).then(|| {
                let target = String::from_utf8_lossy(&got.1).into_owned();
                format!("{row:?}\n    got {} {target}", got.0)
            })
        })
        .collect();
    assert!(failures.is_empty(), "{} rows failed:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn the_table_is_as_large_as_promised() {
    let (mut all, mut evasions, mut is_evasion) = (0, 0, false);
    for line in REQUESTS.lines() {
        match line.strip_prefix("# ") {
            Some(title) => is_evasion = title.starts_with("evasions"),
            None => {
                all += 1;
                evasions += u32::from(is_evasion);
            }
        }
    }
    assert!(all >= 200 && evasions >= 60, "{all} rows, {evasions} evasions");
}

#[test]
fn each_route_is_won_by_some_row_but_those_that_never_can() {
    for route in routes() {
        let is_won = rows().any(|row| row.outcome == &*route.name);
        let is_never = matches!(&*route.name, "elsewhere" | "other-listener");
        assert_eq!(is_won, !is_never, "{}", route.name);
    }
}

#[test]
fn the_configuration_names_the_same_routes() {
    let sections = CONFIG.split("[[routes]]").skip(1);
    let written: Vec<&str> = sections.filter_map(|text| text.split('"').nth(1)).collect();
    let built = routes();
    let built: Vec<&str> = built.iter().map(|route| &*route.name).collect();
    assert_eq!(written, built);
}

/// One request and what should become of it.
#[derive(Debug)]
struct Row {
    method: &'static str,
    target: &'static str,
    host: &'static str,
    lines: &'static str,
    outcome: &'static str,
    at_backend: &'static str,
}

fn rows() -> impl Iterator<Item = Row> {
    REQUESTS.lines().filter(|line| !line.starts_with('#')).map(|line| {
        let cells: Vec<&str> = line.split('\t').collect();
        let [method, target, host, lines, outcome, at_backend] = cells[..] else {
            panic!("a row has six cells: {line}")
        };
        Row { method, target, host, lines, outcome, at_backend }
    })
}

/// Undoes `\xNN`.
fn bytes(text: &str) -> Vec<u8> {
    let mut pieces = text.split("\\x");
    let mut bytes = pieces.next().unwrap_or_default().as_bytes().to_vec();
    for piece in pieces {
        bytes.push(u8::from_str_radix(&piece[..2], 16).unwrap());
        bytes.extend(piece[2..].bytes());
    }
    bytes
}

/// Name of the route and target at the backend, or the status and `-`.
fn ask(table: &RouteTable, row: &Row) -> (String, Vec<u8>) {
    let fields = Lines::new(row.lines);
    let Some((host, path, query)) = normal_form(&bytes(row.target), &bytes(row.host)) else {
        return ("400".into(), b"-".to_vec());
    };
    let request = Request {
        listener: "web",
        method: row.method.as_bytes(),
        host: &host,
        path: &path,
        query: query.as_deref(),
        client: "127.0.0.1".parse().unwrap(),
        fields: &fields,
    };
    match table.find(&request) {
        None => ("404".into(), b"-".to_vec()),
        Some(index) => {
            let query = query.map_or(Vec::new(), |query| [b"?", &query[..]].concat());
            (table.routes()[index].name.to_string(), [path, query].concat())
        }
    }
}

type HostPathQuery = (Vec<u8>, Vec<u8>, Option<Vec<u8>>);

/// Host, path and query as the door takes them from target and `Host`.
fn normal_form(target: &[u8], host: &[u8]) -> Option<HostPathQuery> {
    let mut host = normal_host(host)?; // checked even where the absolute form overrules it
    let is_absolute = target.get(..7).is_some_and(|t| t.eq_ignore_ascii_case(b"http://"));
    let mut rest = target;
    if is_absolute {
        let after = &target[7..];
        let end = after.iter().position(|b| b"/?".contains(b)).unwrap_or(after.len());
        host = normal_host(&after[..end])?;
        rest = &after[end..];
    }
    let end = rest.iter().position(|&b| b == b'?').unwrap_or(rest.len());
    let query = rest.get(end + 1..).map(<[u8]>::to_vec);
    let path = if is_absolute && end == 0 { b"/" } else { &rest[..end] };

    let mut out = Vec::new();
    Some(match normal::path(path, PathRules::default(), &mut out).ok()? {
        Normal::Same => (host, path.to_vec(), query),
        Normal::Changed => (host, out, query),
    })
}

fn normal_host(raw: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    Some(match normal::host(raw, &mut out).ok()? {
        Normal::Same => raw.to_vec(),
        Normal::Changed => out,
    })
}

/// Field lines with names in lower case.
struct Lines(Vec<(String, String)>);

impl Lines {
    fn new(cell: &str) -> Lines {
        let lines = cell.split(" | ").filter_map(|line| line.split_once(": "));
        Lines(lines.map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect())
    }
}

impl Fields for Lines {
    fn any(&self, name: &str, test: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        self.0.iter().any(|(n, value)| n == name && test(value.as_bytes()))
    }
}

/// The routes of `fixtures/routes.toml`.
fn routes() -> Vec<Route> {
    let api = || hosts(&["api.kgsports.example"]);
    let live = || hosts(&["live.kgsports.example"]);
    let vip = any([cookie("vip", "yes"), query("vip", "yes")]);
    let legacy = any([below("/legacy"), header("x-legacy", "1")]);
    vec![
        route("ping", [exactly("/_tidegate/ping")]),
        route("elsewhere", [source(&["192.0.2.0/24", "2001:db8::/32"])]),
        route("other-listener", [not(Matcher::Listener("web".into()))]),
        route("login", [api(), below("/v1/auth/")]),
        route("api-write", [api(), methods(&["POST", "PUT", "PATCH", "DELETE"])]),
        route("api-search", [api(), exactly("/v1/search"), query("kind", "live stream")]),
        route("api-match", [api(), matching("^/v1/matches/[0-9]+$")]),
        route("api-beta", [api(), header("x-beta", "1")]),
        route("api-v2", [api(), below("/v2/")]),
        route("admin", [hosts(&["admin.kgsports.example"]), source(&["127.0.0.0/8", "::1/128"])]),
        route("cdn-static", [hosts(&["*.cdn.kgsports.example"]), below("/static")]),
        route("cdn-img", [hosts(&["*.img.cdn.kgsports.example"])]),
        route("cdn", [hosts(&["cdn.kgsports.example", "*.cdn.kgsports.example"])]),
        route("live-internal", [live(), below("/internal")]),
        route("live-beta", [live(), cookie("beta", "1")]),
        route("live", [live()]),
        route("addresses", [hosts(&["127.0.0.1", "[::1]"])]),
        route("legacy", [legacy, not(methods(&["DELETE"]))]),
        route("shop-vip", [Matcher::All(vec![below("/shop"), vip])]),
        route("shop", [below("/shop"), methods(&["GET", "HEAD"])]),
        route("options", [exactly("*"), methods(&["OPTIONS"])]),
    ]
}

fn route<const N: usize>(name: &str, conditions: [Matcher; N]) -> Route {
    let action = Action::Forward(Target::Waterfall(vec![PoolIndex(0)]));
    Route { name: name.into(), when: Matcher::All(conditions.into()), action }
}

fn hosts(names: &[&str]) -> Matcher {
    Matcher::Host(names.iter().map(|name| HostPattern::parse(name).unwrap()).collect())
}

fn exactly(path: &str) -> Matcher {
    Matcher::Path(vec![PathPattern::Exact(path.into())])
}

fn below(prefix: &str) -> Matcher {
    Matcher::Path(vec![PathPattern::Prefix(prefix.into())])
}

fn matching(regex: &str) -> Matcher {
    Matcher::Path(vec![PathPattern::Regex(regex::bytes::Regex::new(regex).unwrap())])
}

fn methods(methods: &[&str]) -> Matcher {
    Matcher::Method(methods.iter().map(|&method| method.into()).collect())
}

fn header(name: &str, value: &str) -> Matcher {
    Matcher::Header(name.into(), ValuePattern::Exact(value.into()))
}

fn query(name: &str, value: &str) -> Matcher {
    Matcher::Query(name.into(), ValuePattern::Exact(value.into()))
}

fn cookie(name: &str, value: &str) -> Matcher {
    Matcher::Cookie(name.into(), ValuePattern::Exact(value.into()))
}

fn source(blocks: &[&str]) -> Matcher {
    Matcher::Source(blocks.iter().map(|block| block.parse().unwrap()).collect())
}

fn any<const N: usize>(conditions: [Matcher; N]) -> Matcher {
    Matcher::Any(conditions.into())
}

fn not(condition: Matcher) -> Matcher {
    Matcher::Not(Box::new(condition))
}
