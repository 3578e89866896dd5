//! What holds for any path, any host and any table of routes.

#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test, in helpers too

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use policies::route::normal::{self, Normal, PathRules};
use policies::route::{
    Action, Fields, HostPattern, Matcher, PathPattern, Request, Route, RouteTable, Target,
    ValuePattern, Verdict,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

/// Pieces that mean something to some parser, put together in any order.
const PIECES: &[&str] = &[
    "/",
    "/",
    "//",
    ".",
    "..",
    "/..",
    "%2e",
    "%2E%2e",
    "%2f",
    "%2F",
    "%5c",
    "%5C",
    "\\",
    ";",
    "%3b",
    "%3B",
    ";x=1",
    "a",
    "B",
    "%41",
    "%7e",
    "%25",
    "%252e",
    "%",
    "%0",
    "%zz",
    "%00",
    "%c0%af",
    "%EA%B2%BD",
    " ",
    "#",
    "\u{e9}",
    "...",
    "-",
    "@",
];

fn any_rules() -> impl Strategy<Value = PathRules> {
    any::<(bool, bool, bool)>().prop_map(|(merge_slashes, slash, backslash)| PathRules {
        merge_slashes,
        allow_encoded_slash: slash,
        allow_backslash: backslash,
    })
}

fn any_path() -> impl Strategy<Value = Vec<u8>> {
    let pieces = vec(select(PIECES), 0..9).prop_map(|p| format!("/{}", p.concat()).into_bytes());
    let bytes = vec(any::<u8>(), 0..12).prop_map(|tail| [b"/", &tail[..]].concat());
    prop_oneof![8 => pieces, 1 => bytes, 1 => vec(any::<u8>(), 0..4)]
}

/// The normal form, and that it was put where the answer says.
fn normal_path(raw: &[u8], rules: PathRules) -> Option<Vec<u8>> {
    let mut out = b"before".to_vec();
    match normal::path(raw, rules, &mut out).ok()? {
        Normal::Same => {
            assert_eq!(out, b"before", "`Same` touched out");
            Some(raw.to_vec())
        }
        Normal::Changed => {
            assert_ne!(out, raw, "`Changed` changed nothing");
            Some(out)
        }
    }
}

/// What a careless backend makes of a path: decoded again and again, backslashes turned,
/// parameters dropped.
fn careless(path: &[u8]) -> String {
    let mut text = String::from_utf8_lossy(path).to_lowercase();
    for (code, plain) in [("%2e", "."), ("%2f", "/"), ("%5c", "/"), ("\\", "/"), ("%3b", ";")] {
        text = text.replace(code, plain);
    }
    let segments = text.split('/').map(|segment| segment.split(';').next().unwrap_or(""));
    segments.collect::<Vec<_>>().join("/")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1024, failure_persistence: None, ..Default::default() })]

    #[test]
    fn the_normal_form_of_a_normal_path_is_itself(raw in any_path(), rules in any_rules()) {
        if let Some(once) = normal_path(&raw, rules) {
            let mut out = Vec::new();
            prop_assert_eq!(normal::path(&once, rules, &mut out), Ok(Normal::Same));
        }
    }

    #[test]
    fn no_normal_path_has_dots_for_anyone(raw in any_path(), rules in any_rules()) {
        if let Some(path) = normal_path(&raw, rules) {
            let text = careless(&path);
            prop_assert!(!text.split('/').any(|s| s == "." || s == ".."), "{} is {}", text,
                String::from_utf8_lossy(&path));
            prop_assert!(!rules.merge_slashes || !path.windows(2).any(|w| w == b"//"));
            prop_assert!(path.iter().all(|&b| (0x21..0x7F).contains(&b)));
        }
    }

    #[test]
    fn the_normal_form_of_a_normal_host_is_itself(
        raw in "(\\[[0-9a-fA-F:.]{0,9}\\]|[aB0_.-]{0,6})(\\.|:|:[0-9]{1,6}|[ -~])?"
    ) {
        let mut once = Vec::new();
        if let Ok(normal) = normal::host(raw.as_bytes(), &mut once) {
            if normal == Normal::Same {
                prop_assert!(once.is_empty());
                once.extend(raw.bytes());
            }
            let mut out = Vec::new();
            prop_assert_eq!(normal::host(&once, &mut out), Ok(Normal::Same));
            prop_assert!(!once.iter().any(u8::is_ascii_uppercase));
        }
    }
}

/// Field lines as they come.
#[derive(Debug, Clone)]
struct Lines(Vec<(&'static str, &'static str)>);

impl Fields for Lines {
    fn any(&self, name: &str, test: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        self.0.iter().any(|(n, value)| *n == name && test(value.as_bytes()))
    }
}

const HOSTS: &[&str] = &["", "a.b", "b.a.b", "c.b.a.b", "x.b", "b", "ab", "[::1]"];
const PATHS: &[&str] =
    &["/", "/a", "/a/", "/ab", "/a/b", "/a/b/c", "/a.b/c", "/b", "/a/b/c/d", "*"];

fn any_text(from: &'static [&'static str]) -> impl Strategy<Value = Arc<str>> {
    select(from).prop_map(Arc::from)
}

fn any_host_pattern() -> impl Strategy<Value = HostPattern> {
    prop_oneof![
        any_text(&HOSTS[1..]).prop_map(HostPattern::Exact),
        any_text(&[".b", ".a.b", ".b.a.b"]).prop_map(HostPattern::Suffix),
    ]
}

fn any_path_pattern() -> impl Strategy<Value = PathPattern> {
    let regex = |text| PathPattern::Regex(regex::bytes::Regex::new(text).unwrap());
    prop_oneof![
        4 => any_text(PATHS).prop_map(PathPattern::Exact),
        4 => any_text(&PATHS[..8]).prop_map(PathPattern::Prefix),
        1 => select(&["^/a", "b$", "c"][..]).prop_map(regex),
    ]
}

fn any_value() -> impl Strategy<Value = ValuePattern> {
    let regex = regex::bytes::Regex::new("^1").unwrap();
    prop_oneof![
        Just(ValuePattern::Present),
        Just(ValuePattern::Exact("1".into())),
        Just(ValuePattern::Regex(regex)),
    ]
}

fn any_matcher() -> impl Strategy<Value = Matcher> {
    let leaf = prop_oneof![
        4 => vec(any_host_pattern(), 0..3).prop_map(Matcher::Host),
        4 => vec(any_path_pattern(), 0..3).prop_map(Matcher::Path),
        1 => vec(any_text(&["GET", "POST"]), 0..2).prop_map(Matcher::Method),
        1 => any_value().prop_map(|value| Matcher::Header("x".into(), value)),
        1 => any_value().prop_map(|value| Matcher::Query("x".into(), value)),
        1 => any_value().prop_map(|value| Matcher::Cookie("x".into(), value)),
        1 => Just(Matcher::Source(vec!["10.0.0.0/8".parse().unwrap()])),
        1 => any_text(&["web", "tls"]).prop_map(Matcher::Listener),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            3 => vec(inner.clone(), 0..4).prop_map(Matcher::All),
            1 => vec(inner.clone(), 0..3).prop_map(Matcher::Any),
            1 => inner.prop_map(|m| Matcher::Not(Box::new(m))),
        ]
    })
}

fn table(conditions: Vec<Matcher>) -> RouteTable {
    let routes = conditions.into_iter().enumerate().map(|(place, when)| Route {
        name: place.to_string().into(),
        when,
        action: Action::Forward(Target::Waterfall(Vec::new())),
    });
    RouteTable::new(routes.collect())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..Default::default() })]

    #[test]
    fn the_index_finds_what_asking_one_by_one_finds(
        conditions in vec(any_matcher(), 0..24),
        listener in select(&["web", "tls"][..]),
        method in select(&["GET", "POST", "get"][..]),
        query in select(&[None, Some("x=1"), Some("x=%31"), Some("y"), Some("x")][..]),
        client in select(&[[10, 0, 0, 1], [192, 0, 2, 1]][..]),
        lines in vec(select(&[("x", "1"), ("x", "12"), ("cookie", "x=1"), ("cookie", "y; x=2")][..]), 0..3),
    ) {
        let table = table(conditions);
        let fields = Lines(lines);
        for (host, path) in HOSTS.iter().flat_map(|h| PATHS.iter().map(move |p| (h, p))) {
            let request = Request {
                listener,
                method: method.as_bytes(),
                host: host.as_bytes(),
                path: path.as_bytes(),
                query: query.map(str::as_bytes),
                client: IpAddr::V4(Ipv4Addr::from(client)),
                fields: &fields,
            };
            let naive = table.routes().iter().position(|route| route.when.holds(&request));
            prop_assert_eq!(table.find(&request), naive, "{} {}", host, path);
            let explained = table.explain(&request);
            prop_assert_eq!(explained.len(), table.routes().len());
            let won = explained.iter().position(|c| c.verdict == Verdict::Won);
            prop_assert_eq!(won, naive);
            for (place, considered) in explained.iter().enumerate() {
                let is_before = naive.is_none_or(|won| place < won);
                let is_lost = matches!(&considered.verdict, Verdict::Lost { why } if !why.is_empty());
                prop_assert_eq!(is_before, is_lost, "{:?}", considered);
            }
        }
    }
}
