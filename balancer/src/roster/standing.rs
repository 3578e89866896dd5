//! What the membership does not know of a member: its slot, what its checks say, and its conduct.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use policies::backend::{Address, BackendKey};
use policies::breaker::Phase;
use policies::health::Verdict;

use super::Name;
use super::conduct::Conduct;
use super::slots::Slots;
use crate::snapshot::Slot;

/// Why nothing is known of a backend whose name nobody has answered for.
pub(super) const UNRESOLVED: &str = "name not resolved yet";

/// One member's.
pub(super) struct Standing {
    /// The version of the snapshot that was published when it began: no two of a member share it.
    pub(super) epoch: u64,
    /// What `slot` and `verdict` are about.
    pub(super) written: Address,
    pub(super) slot: Option<Arc<Slot>>,
    /// Of the same machine under an earlier name: what still runs there takes of this one's cap.
    pub(super) earlier: Vec<Arc<Slot>>,
    pub(super) verdict: Verdict,
    pub(super) reason: Option<String>,
    pub(super) conduct: Conduct,
    pub(super) intake: Intake,
    /// Whether a check has ever passed at this address.
    pub(super) has_passed: bool,
    /// Whether it is one of those of which a share has to be well.
    pub(super) counts: bool,
}

/// What its slot lets in, before anything is said about its conduct.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Intake {
    /// Nothing: it drains or has.
    Closed,
    /// As many as it may have; `None` is no limit.
    Open { cap: Option<u32> },
}

impl Standing {
    pub(super) fn new(
        key: &BackendKey,
        written: &Address,
        said: &BTreeMap<Name, Result<SocketAddr, String>>,
        slots: &mut Slots,
        epoch: u64,
    ) -> Standing {
        let said = match written {
            Address::Socket(address) => Some(Ok(*address)),
            Address::Name { host, port } => said.get(&(Arc::clone(host), *port)).cloned(),
        };
        let reason = match said {
            Some(Ok(address)) => return Standing::at(slots.at(key, address), written, epoch),
            Some(Err(reason)) => reason,
            None => UNRESOLVED.to_owned(),
        };
        Standing {
            epoch,
            written: written.clone(),
            slot: None,
            earlier: Vec::new(),
            verdict: Verdict::Unknown,
            reason: Some(reason),
            conduct: Conduct::default(),
            intake: Intake::Closed,
            has_passed: false,
            counts: false,
        }
    }

    /// At an address of which nothing is known.
    pub(super) fn at(slot: Arc<Slot>, written: &Address, epoch: u64) -> Standing {
        Standing {
            epoch,
            written: written.clone(),
            slot: Some(slot),
            earlier: Vec::new(),
            verdict: Verdict::Unknown,
            reason: Some("not checked yet".to_owned()),
            conduct: Conduct::default(),
            intake: Intake::Closed,
            has_passed: false,
            counts: false,
        }
    }

    /// Requests that run there under earlier names.
    pub(super) fn in_flight_before(&mut self) -> u32 {
        let now = Instant::now();
        self.earlier.retain(|slot| slot.parting_for(now).is_some() && !slot.is_idle());
        self.earlier.iter().map(|slot| slot.in_flight()).sum()
    }

    pub(super) fn is_named(&self, name: &Name) -> bool {
        matches!(&self.written, Address::Name { host, port } if *host == name.0 && *port == name.1)
    }

    /// Whether its checks and its requests have nothing against it, and it has an address.
    pub(super) fn is_well(&self) -> bool {
        self.slot.is_some()
            && self.verdict == Verdict::Healthy
            && !self.conduct.outlier.is_out()
            && self.conduct.breaker.phase() != Phase::Open
    }
}
