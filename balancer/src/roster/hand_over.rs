//! What a door knows of its backends, for the one that takes over from it.
//!
//! A backend is down until its first passed check. A successor that had to check all of them first
//! would answer 503 for as long, so it believes what was known: of the same backend, in the same
//! pool, at the same address, and no more than that.
//!
//! What operators have changed at run time goes on as well: a new program is no order to undo it.
//! A file that has been changed meanwhile is one: what it says otherwise than before holds.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use policies::backend::{Address, Backend, BackendKey, Origin};
use policies::breaker::Phase;
use policies::health::Verdict;
use policies::membership::{Change, Stage};

use super::state::State;
use super::{Member, Roster, UnderWay};
use crate::config::DoorConfig;

/// What was known of one backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// Which.
    pub key: BackendKey,
    /// As configured.
    pub written: Address,
    /// Where that is, once it is known.
    pub address: Option<SocketAddr>,
    /// What its checks say.
    pub verdict: Verdict,
    /// Why it is not healthy.
    pub reason: Option<String>,
    /// Whether an operator took it out: it drains, or has.
    pub is_drained: bool,
    /// Whether that is over: nothing is under way there, in any process, and nothing comes.
    pub has_drained: bool,
    /// All of it, if no file names it.
    pub joined: Option<Backend>,
    /// What the file says, if what holds is something else.
    pub changed: Option<Changed>,
    /// Its breaker is held like this.
    pub held: Option<Phase>,
}

/// What operators may set of a backend, and of one in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// 0 to 1,000.
    pub weight: u32,
    /// At least 1; `None` is no limit.
    pub max_concurrency: Option<u32>,
}

/// Settings that were changed at run time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Changed {
    /// In the file.
    pub from: Settings,
    /// What holds.
    pub to: Settings,
}

/// A maintenance switch that is otherwise than written: of a route, or of the site.
pub type Switch = (Option<Arc<str>>, bool);

impl Settings {
    /// Those of a backend.
    pub fn of(backend: &Backend) -> Settings {
        Settings { weight: backend.weight, max_concurrency: backend.max_concurrency }
    }
}

impl Roster {
    /// What is known of all backends, for a successor.
    pub fn known(&self) -> Vec<Known> {
        let state = self.lock();
        let mut known = Vec::new();
        for (pool, members) in state.pools() {
            for member in members.iter().filter(|member| !member.is_leaving) {
                let key = BackendKey { pool: pool.clone(), backend: member.backend.id.clone() };
                known.push(Known::of(key, member, &state.written));
            }
        }
        known
    }

    /// The maintenance switches that are otherwise than written, for a successor.
    pub fn switches(&self) -> Vec<Switch> {
        self.lock().switches.iter().map(|(route, is_on)| (route.clone(), *is_on)).collect()
    }

    /// Believes what a predecessor knew and has `under_way`, and keeps what was changed in it at run
    /// time. To be called before the door serves, and before its backends are checked.
    pub fn believe(&self, known: &[Known], switches: Vec<Switch>, under_way: Vec<UnderWay>) {
        let mut state = self.lock();
        state.follow(known, under_way);
        state.believe(known);
        state.switches.extend(switches);
        state.take_up();
        self.publish(&mut state);
        // Its predecessor has told all of it; what drains is kept account of here too.
        drop(state.news(Instant::now()));
    }
}

impl Known {
    /// The same without what nobody ordered; `None` of an instance, which has its scaler for that.
    pub fn ordered(&self) -> Option<Known> {
        let is_launched = self.joined.as_ref().is_some_and(|joined| joined.origin == Origin::Cloud);
        (!is_launched).then(|| Known {
            address: None,
            verdict: Verdict::Unknown,
            reason: None,
            has_drained: false,
            ..self.clone()
        })
    }

    fn of(key: BackendKey, member: &Member, file: &DoorConfig) -> Known {
        let now = Settings::of(&member.backend);
        let from = written(file, &key).map(Settings::of).filter(|from| *from != now);
        Known {
            joined: (!member.is_written).then(|| member.backend.clone()),
            changed: from.map(|from| Changed { from, to: now }),
            held: member.is_breaker_held.then_some(member.breaker),
            key,
            written: member.backend.address.clone(),
            address: member.slot.as_ref().map(|slot| slot.address),
            verdict: member.verdict,
            reason: member.reason.clone(),
            is_drained: matches!(member.stage, Stage::Draining | Stage::Drained),
            has_drained: member.stage == Stage::Drained,
        }
    }
}

impl State {
    /// Believes what was known, of those backends that are members here too.
    fn believe(&mut self, known: &[Known]) {
        let joins = known.iter().filter_map(|known| {
            let (pool, backend) = (known.key.pool.clone(), known.joined.clone()?);
            Some(Change::Join { pool, backend })
        });
        for join in joins.collect::<Vec<_>>() {
            // The file names it now, or its pool no longer: then the file holds.
            let _ = self.change(vec![join]);
        }
        let members = known.iter().filter(|known| self.is_written(known));
        let members: Vec<&Known> = members.collect();
        for known in &members {
            if let (Address::Name { host, port }, Some(address)) = (&known.written, known.address) {
                self.resolved(&(host.clone(), *port), &Ok(address));
            }
        }
        for known in members {
            self.hear(known);
            let mut changes = self.still_changed(known);
            if known.is_drained {
                changes.push(Change::Drain { key: known.key.clone() });
            }
            // They are members, and those to be drained have just joined, so nothing is rejected;
            // and if it were, the file would hold.
            let _ = self.change(changes);
            if known.held.is_some() {
                let _ = self.hold_breaker(&known.key, known.held);
            }
        }
    }

    /// What was changed at run time, where the file says what it said then.
    fn still_changed(&self, known: &Known) -> Vec<Change> {
        let Some(Changed { from, to }) = known.changed else { return Vec::new() };
        let Some(now) = written(&self.written, &known.key).map(Settings::of) else {
            return Vec::new();
        };
        let key = || known.key.clone();
        let weight = (now.weight == from.weight && to.weight != from.weight)
            .then(|| Change::Weight { key: key(), weight: to.weight });
        let cap = (now.max_concurrency == from.max_concurrency && to != from)
            .then(|| Change::Cap { key: key(), max_concurrency: to.max_concurrency });
        weight.into_iter().chain(cap).collect()
    }

    fn is_written(&self, known: &Known) -> bool {
        let member = self.membership.get(&known.key);
        member.is_some_and(|member| member.backend.address == known.written)
    }
}

/// As the file has it.
fn written<'a>(file: &'a DoorConfig, key: &BackendKey) -> Option<&'a Backend> {
    let pool = file.pools.iter().find(|pool| pool.name == key.pool)?;
    pool.backends.iter().find(|backend| backend.id == key.backend)
}

#[cfg(test)]
mod tests {
    use super::super::Order;
    use super::super::fixture::{backend, door, healthy, key, report, report_now};
    use super::*;

    const A: &str = "10.0.0.1:80";
    const B: &str = "10.0.0.2:80";
    const C: &str = "10.0.0.3:80";

    /// Ids of those that take requests in a door with these backends that follows `first`.
    #[track_caller]
    fn check(first: &Roster, backends: &[(&str, &str)], expected: &[&str]) {
        let backends: Vec<_> = backends.iter().map(|(id, at)| backend(id, at)).collect();
        let second = Roster::new(Arc::new(door(&[("app", &backends)])));
        second.believe(&first.known(), Vec::new(), first.under_way());
        let snapshot = second.snapshot();
        let eligible = snapshot.pools[0].eligible.iter().map(|slot| slot.key.backend.0.to_string());
        assert_eq!(eligible.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_successor_believes_of_a_backend_what_was_known_of_it_there_and_of_no_other() {
        let backends = [backend("a", A), backend("b", B), backend("new", C)];
        let first = Roster::new(Arc::new(door(&[("app", &backends)])));
        first.report(report("app/a", A, Verdict::Healthy));
        first.report(report("app/b", B, Verdict::Unhealthy));
        check(&first, &[("a", A), ("b", B), ("new", C)], &["a"]);
        check(&first, &[("a", C), ("other", A)], &[]);
        first.report(report("app/b", B, Verdict::Healthy));
        check(&first, &[("b", B), ("a", A)], &["b", "a"]);
    }

    #[test]
    fn a_name_is_where_it_was() {
        let name = "app.internal:80";
        let first = Roster::new(Arc::new(door(&[("app", &[backend("a", name)])])));
        first.resolved(&("app.internal".into(), 80), Ok(A.parse().unwrap()));
        let epoch = first.targets().borrow()[0].epoch;
        first.report(health::Report { epoch, ..report("app/a", A, Verdict::Healthy) });
        check(&first, &[("a", name)], &["a"]);
        check(&first, &[("a", A)], &[]);
    }

    #[test]
    fn what_an_operator_took_out_stays_out() {
        let first = Roster::new(Arc::new(door(&[("app", &[backend("a", A), backend("b", B)])])));
        first.report(report("app/a", A, Verdict::Healthy));
        first.report(report("app/b", B, Verdict::Healthy));
        first.change(Change::Drain { key: key("app/a") }).unwrap();
        check(&first, &[("a", A), ("b", B)], &["b"]);
    }

    /// A successor of `first` with these backends in its file.
    fn successor(first: &Roster, backends: &[Backend]) -> Roster {
        let second = Roster::new(Arc::new(door(&[("app", backends)])));
        second.believe(&first.known(), first.switches(), first.under_way());
        second
    }

    #[test]
    fn who_joined_at_run_time_is_there_and_serves_and_who_is_in_the_file_is_as_there() {
        let file = [backend("a", A)];
        let first = healthy(door(&[("app", &file)]));
        let pool = key("app/b").pool;
        let joined = Backend { weight: 7, zone: Some("z".into()), ..backend("b", B) };
        first.change(Change::Join { pool: pool.clone(), backend: joined.clone() }).unwrap();
        first.report(report_now(&first, "app/b", B, Verdict::Healthy));
        first.change(Change::Join { pool, backend: backend("c", C) }).unwrap();
        let second = successor(&first, &file);
        let b = second.member(&key("app/b")).unwrap();
        assert_eq!((b.backend, b.is_written, b.is_eligible), (joined, false, true));
        assert!(!second.member(&key("app/c")).unwrap().is_eligible, "never checked");
        // A third one as well, and one whose file names it, at another address.
        let third = successor(&second, &file);
        assert!(third.member(&key("app/b")).unwrap().is_eligible);
        let fourth = successor(&third, &[backend("a", A), backend("b", C)]);
        let b = fourth.member(&key("app/b")).unwrap();
        assert_eq!((b.backend.weight, b.is_written, b.is_eligible), (1, true, false));
    }

    #[test]
    fn what_was_set_at_run_time_holds_unless_the_file_was_changed_too() {
        let file = [backend("a", A), backend("b", B)];
        let first = healthy(door(&[("app", &file)]));
        first.change(Change::Weight { key: key("app/a"), weight: 5 }).unwrap();
        let max_concurrency = Some(9);
        first.change(Change::Cap { key: key("app/a"), max_concurrency }).unwrap();
        first.hold_breaker(&key("app/b"), Some(Phase::Open), None).unwrap();
        let second = successor(&successor(&first, &file), &file);
        let a = second.member(&key("app/a")).unwrap();
        assert_eq!(Settings::of(&a.backend), Settings { weight: 5, max_concurrency });
        let b = second.member(&key("app/b")).unwrap();
        assert_eq!((b.breaker, b.is_breaker_held, b.is_eligible), (Phase::Open, true, false));
        let other = [Backend { weight: 2, ..backend("a", A) }, backend("b", B)];
        let a = successor(&second, &other).member(&key("app/a")).unwrap();
        assert_eq!(Settings::of(&a.backend), Settings { weight: 2, max_concurrency });
    }

    #[test]
    fn a_site_that_was_closed_stays_closed() {
        let first = Roster::new(Arc::new(door(&[("app", &[backend("a", A)])])));
        first.maintain(None, true, &Order::default()).unwrap();
        let second = successor(&first, &[backend("a", A)]);
        assert!(second.maintenance(None).unwrap().is_on);
        assert!(second.snapshot().config.in_maintenance);
    }
}
