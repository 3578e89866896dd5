//! The routes in their order, compiled.

use std::fmt;

use super::index::{HostIndex, Keys, RouteIndex, can_file};
use super::{Fields, HostPattern, Matcher, PathPattern, Request, Route};

/// All routes of a configuration. First match wins.
#[derive(Clone)]
pub struct RouteTable {
    routes: Vec<Route>,
    /// Per route, what the index does not prove: all of it must hold.
    rests: Vec<Vec<Matcher>>,
    index: HostIndex,
}

impl RouteTable {
    /// Files each route under the host and path conditions that it cannot do without.
    pub fn new(routes: Vec<Route>) -> RouteTable {
        let plans: Vec<Plan<'_>> = routes.iter().map(|route| plan(&route.when)).collect();
        let keys = plans.iter().map(|plan| Keys { hosts: plan.hosts, paths: plan.paths });
        let index = HostIndex::new(keys);
        let rests =
            plans.into_iter().map(|plan| plan.rest.into_iter().cloned().collect()).collect();
        RouteTable { routes, rests, index }
    }

    /// In the order written.
    pub fn routes(&self) -> &[Route] {
        &self.routes
    }

    /// The place in [`RouteTable::routes`] of the first route whose condition holds.
    ///
    /// Costs a search by halves for the host, for each of its labels where there are wildcards,
    /// for the path and for each of its segments; then the other conditions of those routes
    /// alone that were found so. Routes without a host (or path) condition, or with one inside
    /// `any` or `not`, are asked one by one. Allocates where [`Matcher::holds`] does.
    pub fn find<F: Fields>(&self, request: &Request<'_, F>) -> Option<usize> {
        let holds = |index: RouteIndex| self.rests[index as usize].iter().all(|m| m.holds(request));
        let found = self.index.first(request.host, request.path, holds)? as usize;
        debug_assert!(self.routes[found].when.holds(request), "the index proved too much");
        Some(found)
    }
}

impl fmt::Debug for RouteTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.routes).finish()
    }
}

/// A condition in two parts: what the index proves, and the rest.
#[derive(Default)]
struct Plan<'a> {
    hosts: Option<&'a [HostPattern]>,
    paths: Option<&'a [PathPattern]>,
    rest: Vec<&'a Matcher>,
}

fn plan(when: &Matcher) -> Plan<'_> {
    let mut plan = Plan::default();
    split(when, &mut plan);
    plan
}

/// The first host and the first path condition that the whole stands or falls with are filed.
fn split<'a>(when: &'a Matcher, plan: &mut Plan<'a>) {
    match when {
        Matcher::All(matchers) => matchers.iter().for_each(|matcher| split(matcher, plan)),
        Matcher::Host(hosts) if plan.hosts.is_none() => plan.hosts = Some(hosts),
        Matcher::Path(paths) if plan.paths.is_none() && can_file(paths) => {
            plan.paths = Some(paths);
        }
        other => plan.rest.push(other),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::route::{Action, Target, ValuePattern};

    /// Counts how often a route asks for a field.
    #[derive(Default)]
    struct Asked(Cell<u32>);

    impl Fields for Asked {
        fn any(&self, _: &str, _: &mut dyn FnMut(&[u8]) -> bool) -> bool {
            self.0.set(self.0.get() + 1);
            true
        }
    }

    /// A thousand routes, each with a field to ask for: the one for this host and path is found,
    /// and `asked` of them were looked into.
    #[track_caller]
    fn check(condition: impl Fn(usize) -> Matcher, host: &str, path: &str, won: usize, asked: u32) {
        let routes = (0..1000).map(|place| Route {
            name: place.to_string().into(),
            when: Matcher::All(vec![
                Matcher::Header("x".into(), ValuePattern::Present),
                condition(place),
            ]),
            action: Action::Forward(Target::Waterfall(Vec::new())),
        });
        let table = RouteTable::new(routes.collect());
        let fields = Asked::default();
        let request = Request {
            listener: "web",
            method: b"GET",
            host: host.as_bytes(),
            path: path.as_bytes(),
            query: None,
            client: [127, 0, 0, 1].into(),
            fields: &fields,
        };
        // Not `find`, which asks the winner once more where debug assertions are on.
        let holds = |index| table.rests[index as usize].iter().all(|m| m.holds(&request));
        let found = table.index.first(request.host, request.path, holds);
        assert_eq!(found.map(|index| index as usize), Some(won));
        assert_eq!(fields.0.get(), asked, "routes asked");
    }

    #[test]
    fn a_thousand_hosts_are_not_asked_one_by_one() {
        let exact = |n| Matcher::Host(vec![HostPattern::Exact(format!("h{n}.example").into())]);
        check(exact, "h777.example", "/", 777, 1);
        let below = |n| Matcher::Host(vec![HostPattern::Suffix(format!(".h{n}.example").into())]);
        check(below, "a.b.h777.example", "/", 777, 1);
    }

    #[test]
    fn a_thousand_paths_are_not_asked_one_by_one() {
        let exact = |n| Matcher::Path(vec![PathPattern::Exact(format!("/p{n}").into())]);
        check(exact, "a.example", "/p777", 777, 1);
        let below = |n| Matcher::Path(vec![PathPattern::Prefix(format!("/p{n}/").into())]);
        check(below, "a.example", "/p777/x/y", 777, 1);
    }

    #[test]
    fn the_first_of_several_that_hold_wins_wherever_it_is_filed() {
        let mixed = |n| match n {
            0..400 => Matcher::Host(vec![HostPattern::Exact("other.example".into())]),
            400..500 => Matcher::Path(vec![PathPattern::Prefix("/a/b".into())]),
            500..600 => Matcher::Path(vec![PathPattern::Prefix("/a".into())]),
            600..700 => Matcher::Host(vec![HostPattern::Suffix(".example".into())]),
            700..800 => Matcher::Host(vec![HostPattern::Exact("a.example".into())]),
            _ => Matcher::All(Vec::new()),
        };
        // One is asked per list that host and path lead to, unless an earlier route won already:
        // exact host (700), wildcard (600), then for any host `/a` (500) and `/a/b` (400).
        check(mixed, "a.example", "/x", 600, 2);
        check(mixed, "a.example", "/a/b/c", 400, 4);
        check(mixed, "a.org", "/a", 500, 1);
        check(mixed, "a.org", "/x", 800, 1);
    }
}
