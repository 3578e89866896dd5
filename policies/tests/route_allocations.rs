//! Finding a route, once its table is built, takes nothing from the allocator.

#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test, in helpers too

use std::alloc::System;

use policies::backend::PoolIndex;
use policies::balance::HashKey;
use policies::route::normal::{self, PathRules};
use policies::route::{
    Action, Arm, Fields, HostPattern, Matcher, PathPattern, Request, Route, RouteTable, Target,
    ValuePattern, even_dice,
};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

struct Lines;

impl Fields for Lines {
    fn any(&self, name: &str, test: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        name == "cookie" && (test(b"a=b; c=d") || test(b"sid=1"))
    }
}

/// One route of each kind for other requests, then the one that wins.
fn routes() -> Vec<Route> {
    let exact = || ValuePattern::Exact("no".into());
    let regex = || regex::bytes::Regex::new("^n+o$").unwrap();
    let conditions = vec![
        Matcher::Host(vec![HostPattern::parse("*.b.example").unwrap()]),
        Matcher::Path(vec![PathPattern::Prefix("/b/".into()), PathPattern::Exact("/c".into())]),
        Matcher::Path(vec![PathPattern::Regex(regex())]),
        Matcher::Method(vec!["POST".into()]),
        Matcher::Header("x-a".into(), exact()),
        Matcher::Query("v".into(), exact()),
        Matcher::Query("v".into(), ValuePattern::Regex(regex())),
        Matcher::Cookie("sid".into(), ValuePattern::Regex(regex())),
        Matcher::Source(vec!["192.0.2.0/24".parse().unwrap()]),
        Matcher::Not(Box::new(Matcher::Any(vec![Matcher::Listener("web".into())]))),
        Matcher::Host(vec![HostPattern::parse("a.example").unwrap()]),
    ];
    let arm = |pool, weight| Arm { to: vec![PoolIndex(pool)], weight };
    let arms = vec![arm(0, 75), arm(1, 25)];
    let target = Target::Split { arms, sticky: Some(HashKey::ClientAddress) };
    let route = |when| Route { name: "r".into(), when, action: Action::Forward(target.clone()) };
    conditions.into_iter().map(route).collect()
}

/// The only test of this file: the counters are the whole process's. The test harness's own thread
/// takes a few blocks while the test starts, so the quietest of some rounds counts; what a request
/// takes would be in each of them.
#[test]
fn finding_a_route_does_not_allocate() {
    let table = RouteTable::new(routes());
    let mut out = Vec::with_capacity(256);
    let mut ask = |turn: u64| {
        normal::host(b"A.example:80", &mut out).unwrap();
        normal::path(b"/x/../y%7e", PathRules::default(), &mut out).unwrap();
        let request = Request {
            listener: "web",
            method: b"GET",
            host: b"a.example",
            path: b"/x/y",
            query: Some(b"v=%6eo+&w"),
            client: [127, 0, 0, 1].into(),
            fields: &Lines,
        };
        let found = table.find(&request).unwrap();
        let Action::Forward(target) = &table.routes()[found].action else { panic!("forwards") };
        (found, target.choose(even_dice(turn), Some(turn)).len())
    };
    ask(0); // a regex makes its caches on first use

    let rounds = (0..10).map(|_| {
        let region = Region::new(ALLOCATOR);
        for turn in 0..1000 {
            assert_eq!(ask(turn), (10, 1));
        }
        region.change().allocations
    });
    assert_eq!(rounds.min(), Some(0));
}
