//! Which routes can come into question for a host and a path, without asking each.
//!
//! A [`HostIndex`] leads from a host to at most one list of its own, one list per wildcard above
//! it, and the list of routes for any host; a [`PathIndex`] leads from a path to the lists of
//! its own, of each prefix above it, and of routes for any path. All lists are ascending, so the
//! first match over all of them is the smallest of their first matches: no merged copy is kept.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::matching::stem;
use super::{HostPattern, PathPattern};

/// A route's place in the table, as small as it may be.
pub(super) type RouteIndex = u32;

/// What the index knows of one route: `None` is any.
pub(super) struct Keys<'a> {
    pub(super) hosts: Option<&'a [HostPattern]>,
    pub(super) paths: Option<&'a [PathPattern]>,
}

#[derive(Debug, Clone, Default)]
pub(super) struct HostIndex {
    exact: Sorted<PathIndex>,
    suffix: Sorted<PathIndex>,
    any: PathIndex,
}

#[derive(Debug, Clone, Default)]
struct PathIndex {
    exact: Sorted<Vec<RouteIndex>>,
    /// By [`stem`]; the empty one is among `any`.
    prefix: Sorted<Vec<RouteIndex>>,
    any: Vec<RouteIndex>,
}

impl HostIndex {
    /// Files the routes, which come in their order.
    pub(super) fn new<'a>(routes: impl Iterator<Item = Keys<'a>>) -> HostIndex {
        let mut exact: BTreeMap<Arc<str>, PathDraft> = BTreeMap::new();
        let mut suffix: BTreeMap<Arc<str>, PathDraft> = BTreeMap::new();
        let mut any = PathDraft::default();
        for (index, keys) in (0..).zip(routes) {
            let Some(hosts) = keys.hosts else {
                any.file(index, keys.paths);
                continue;
            };
            for host in hosts {
                let (drafts, name) = match host {
                    HostPattern::Exact(name) => (&mut exact, name),
                    HostPattern::Suffix(name) => (&mut suffix, name),
                };
                drafts.entry(Arc::clone(name)).or_default().file(index, keys.paths);
            }
        }
        HostIndex {
            exact: Sorted::new(exact, PathDraft::finish),
            suffix: Sorted::new(suffix, PathDraft::finish),
            any: any.finish(),
        }
    }

    /// The smallest index that `holds` among those whose host and path conditions, as far as
    /// they were filed, hold. `holds` is called for some of them only.
    pub(super) fn first(
        &self,
        host: &[u8],
        path: &[u8],
        holds: impl Fn(RouteIndex) -> bool,
    ) -> Option<RouteIndex> {
        let mut best = RouteIndex::MAX;
        if let Some(own) = self.exact.get(host) {
            own.improve(path, &holds, &mut best);
        }
        // Labels from the left; a key longer than what is left of the host cannot be met.
        let from = host.len().saturating_sub(self.suffix.longest).max(1);
        for at in from..host.len() {
            if host[at] == b'.'
                && let Some(above) = self.suffix.get(&host[at..])
            {
                above.improve(path, &holds, &mut best);
            }
        }
        self.any.improve(path, &holds, &mut best);
        (best != RouteIndex::MAX).then_some(best)
    }
}

impl PathIndex {
    /// Lowers `best` to the first of these routes that `holds`, if that is smaller.
    #[inline]
    fn improve(&self, path: &[u8], holds: &impl Fn(RouteIndex) -> bool, best: &mut RouteIndex) {
        let mut improve = |list: &[RouteIndex]| {
            for &index in list.iter().take_while(|&&index| index < *best) {
                if holds(index) {
                    *best = index;
                    break;
                }
            }
        };
        if let Some(own) = self.exact.get(path) {
            improve(own);
        }
        // Each prefix ends before a slash or at the end of the path.
        let to = path.len().min(self.prefix.longest);
        for end in 1..=to {
            if path.get(end).is_none_or(|&b| b == b'/')
                && let Some(above) = self.prefix.get(&path[..end])
            {
                improve(above);
            }
        }
        improve(&self.any); // the list that may be long comes last, when `best` is low
    }
}

/// A [`PathIndex`] that is being filled.
#[derive(Default)]
struct PathDraft {
    exact: BTreeMap<Arc<str>, Vec<RouteIndex>>,
    prefix: BTreeMap<Arc<str>, Vec<RouteIndex>>,
    any: Vec<RouteIndex>,
}

impl PathDraft {
    fn file(&mut self, index: RouteIndex, paths: Option<&[PathPattern]>) {
        let Some(paths) = paths else {
            push_once(&mut self.any, index);
            return;
        };
        for path in paths {
            match path {
                PathPattern::Exact(text) => {
                    push_once(self.exact.entry(Arc::clone(text)).or_default(), index);
                }
                PathPattern::Prefix(text) => {
                    push_once(self.prefix.entry(stem(text).into()).or_default(), index);
                }
                PathPattern::Regex(_) => debug_assert!(false, "a regex cannot be filed"),
            }
        }
    }

    fn finish(self) -> PathIndex {
        PathIndex {
            exact: Sorted::new(self.exact, |list| list),
            prefix: Sorted::new(self.prefix, |list| list),
            any: self.any,
        }
    }
}

/// Whether [`PathIndex`] can find a route by these patterns. `/` is a prefix of every path but
/// `*`, and asking the route itself costs less than a search.
pub(super) fn can_file(paths: &[PathPattern]) -> bool {
    paths.iter().all(|path| match path {
        PathPattern::Exact(_) => true,
        PathPattern::Prefix(text) => !stem(text).is_empty(),
        PathPattern::Regex(_) => false,
    })
}

/// Routes come in order, so an index that is there already is the last one.
fn push_once(list: &mut Vec<RouteIndex>, index: RouteIndex) {
    if list.last() != Some(&index) {
        list.push(index);
    }
}

/// A map that is written once, in two flat arrays, searched by halves.
#[derive(Debug, Clone)]
struct Sorted<T> {
    keys: Box<[Arc<str>]>,
    values: Box<[T]>,
    /// Length of the longest key.
    longest: usize,
}

impl<T> Default for Sorted<T> {
    fn default() -> Sorted<T> {
        Sorted { keys: Box::default(), values: Box::default(), longest: 0 }
    }
}

impl<T> Sorted<T> {
    fn new<Draft>(drafts: BTreeMap<Arc<str>, Draft>, finish: impl Fn(Draft) -> T) -> Sorted<T> {
        let longest = drafts.keys().map(|key| key.len()).max().unwrap_or(0);
        let (keys, values): (Vec<_>, Vec<_>) =
            drafts.into_iter().map(|(key, draft)| (key, finish(draft))).unzip();
        Sorted { keys: keys.into(), values: values.into(), longest }
    }

    fn get(&self, key: &[u8]) -> Option<&T> {
        let place = self.keys.binary_search_by(|probe| probe.as_bytes().cmp(key)).ok()?;
        Some(&self.values[place])
    }
}
