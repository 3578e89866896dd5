//! What a door knows of its backends, for the one that takes over from it.
//!
//! A backend is down until its first passed check. A successor that had to check all of them first
//! would answer 503 for as long, so it believes what was known: of the same backend, in the same
//! pool, at the same address, and no more than that.

use std::net::SocketAddr;

use policies::backend::{Address, BackendKey};
use policies::health::Verdict;
use policies::membership::{Change, Stage};

use super::Member;
use super::state::State;

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
}

impl Known {
    pub(super) fn of(key: BackendKey, member: &Member) -> Known {
        Known {
            key,
            written: member.backend.address.clone(),
            address: member.slot.as_ref().map(|slot| slot.address),
            verdict: member.verdict,
            reason: member.reason.clone(),
            is_drained: matches!(member.stage, Stage::Draining | Stage::Drained),
        }
    }
}

impl State {
    /// Believes what was known, of those backends that are members here too.
    pub(super) fn believe(&mut self, known: &[Known]) {
        let members = known.iter().filter(|known| self.is_written(known));
        let members: Vec<&Known> = members.collect();
        for known in &members {
            if let (Address::Name { host, port }, Some(address)) = (&known.written, known.address) {
                self.resolved(&(host.clone(), *port), &Ok(address));
            }
        }
        for known in members {
            self.hear(known);
            let drain = Change::Drain { key: known.key.clone() };
            if known.is_drained {
                // It has just joined, so it can; and if not it serves, which is no harm.
                let _ = self.change(vec![drain]);
            }
        }
    }

    fn is_written(&self, known: &Known) -> bool {
        let member = self.membership.get(&known.key);
        member.is_some_and(|member| member.backend.address == known.written)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::Roster;
    use super::super::fixture::{backend, door, key, report};
    use super::*;

    const A: &str = "10.0.0.1:80";
    const B: &str = "10.0.0.2:80";
    const C: &str = "10.0.0.3:80";

    /// Ids of those that take requests in a door with these backends that follows `first`.
    #[track_caller]
    fn check(first: &Roster, backends: &[(&str, &str)], expected: &[&str]) {
        let backends: Vec<_> = backends.iter().map(|(id, at)| backend(id, at)).collect();
        let second = Roster::new(Arc::new(door(&[("app", &backends)])));
        second.believe(&first.known());
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
}
