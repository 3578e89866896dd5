//! Who is a member of a pool, and in which stage.
//!
//! ```text
//!           admit               pass                drain                drained
//!   (none) ───────► Joining ───────────► Serving ───────────► Draining ───────────► Drained
//!                    ▲   │                   ▲                  ▲ │                      │
//!                    │   │                   └──────undrain─────┼─┘                      │
//!                    │   └──────────────────────────drain───────┘                        │
//!                    └─────────────────────────────undrain───────────────────────────────┘
//! ```
//!
//! From each stage `remove` leads to (none), at once. `leave` is what a reload does to a backend
//! that is no longer written down: it drains and then goes, or goes at once if it has drained.
//!
//! Only a *serving* member takes new requests, and only while its verdict is healthy; verdicts
//! are not kept here ([`crate::health`]). A draining one finishes what it has. What is not in
//! the picture is [`Rejected`]: [`Membership::apply`] is the only way to change anything, so two
//! writers' orders cannot lead to a stage that neither of them meant.

use std::collections::BTreeMap;
use std::fmt;

use crate::backend::{Backend, BackendId, BackendKey, PoolName};

/// How far a member has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// Admitted; has not passed a health check yet.
    Joining,
    /// Takes requests while it is healthy.
    Serving,
    /// Takes no new requests, finishes those it has.
    Draining,
    /// Has none left and takes none.
    Drained,
}

/// A backend in a pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// As configured, and with the weight it has now.
    pub backend: Backend,
    /// How far it has come.
    pub stage: Stage,
    /// No longer wanted: it goes for good once it has drained.
    pub is_leaving: bool,
    /// The configuration names it. One that joined at run time stays until somebody lets it go.
    pub is_written: bool,
}

/// One thing that happens to a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A new member, last in its pool, that the configuration names.
    Admit {
        /// The pool; comes into being with its first member.
        pool: PoolName,
        /// The backend, with an id that the pool does not have yet.
        backend: Backend,
    },
    /// The same for one that the configuration does not name: an operator's, or an instance that
    /// was launched. A reload leaves it alone as long as its pool is written down.
    Join {
        /// The pool.
        pool: PoolName,
        /// The backend, with an id that the pool does not have yet.
        backend: Backend,
    },
    /// Its first health check has passed.
    Pass {
        /// Which.
        key: BackendKey,
    },
    /// No new requests; it stays a member.
    Drain {
        /// Which.
        key: BackendKey,
    },
    /// Requests again. One that had drained must pass a health check first: nobody knows what
    /// was done to it meanwhile.
    Undrain {
        /// Which.
        key: BackendKey,
    },
    /// Its last request has ended.
    Drained {
        /// Which.
        key: BackendKey,
    },
    /// It drains and goes.
    Leave {
        /// Which.
        key: BackendKey,
    },
    /// It goes now. Requests under way are not the membership's business; they may finish.
    Remove {
        /// Which.
        key: BackendKey,
    },
    /// Another share of requests.
    Weight {
        /// Which.
        key: BackendKey,
        /// 0 to 1,000; 0 takes none.
        weight: u32,
    },
    /// Another limit of requests at once.
    Cap {
        /// Which.
        key: BackendKey,
        /// At least 1; `None` is no limit.
        max_concurrency: Option<u32>,
    },
    /// Other settings at the same address, as written down: weight, cap, zone, origin.
    Update {
        /// The pool.
        pool: PoolName,
        /// The member with this id becomes this.
        backend: Backend,
    },
    /// Another order of members, which [`crate::balance::Rule::First`] goes by.
    Order {
        /// The pool.
        pool: PoolName,
        /// First to last; members that are not named come after them.
        backends: Vec<BackendId>,
    },
}

/// Why a change was not made. Nothing has changed then.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// Nobody has this name.
    #[error("no backend `{key}`; `tidegate status` lists those there are")]
    Unknown {
        /// As asked for.
        key: BackendKey,
    },
    /// No pool has this name.
    #[error("no pool `{pool}`; `tidegate status` lists those there are")]
    UnknownPool {
        /// As asked for.
        pool: PoolName,
    },
    /// The name is taken.
    #[error("backend `{key}` is a member already and `{stage}`; remove it or choose another id")]
    Exists {
        /// As asked for.
        key: BackendKey,
        /// Of the member that has the name.
        stage: Stage,
    },
    /// The settings are those of another machine.
    #[error("backend `{key}` is at another address; remove it and admit it again")]
    Moved {
        /// As asked for.
        key: BackendKey,
    },
    /// There is no such way from its stage.
    #[error("cannot {change} backend `{key}`, which is `{stage}`; it must be {allowed}")]
    Stage {
        /// `pass`, `drain`, ...
        change: &'static str,
        /// As asked for.
        key: BackendKey,
        /// In which it is.
        stage: Stage,
        /// From which stages there is a way.
        allowed: &'static str,
    },
}

/// Every pool's members, in the order in which they are written down.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Membership {
    pools: BTreeMap<PoolName, Vec<Member>>,
}

impl Membership {
    /// Makes one change, or says why not.
    pub fn apply(&mut self, change: Change) -> Result<(), Rejected> {
        match change {
            Change::Admit { pool, backend } => self.admit(pool, backend, true),
            Change::Join { pool, backend } => self.admit(pool, backend, false),
            Change::Pass { key } => self.pass(key),
            Change::Drain { key } => self.drain(key),
            Change::Undrain { key } => self.undrain(key),
            Change::Drained { key } => self.drained(key),
            Change::Leave { key } => self.leave(key),
            Change::Remove { key } => self.remove(&key),
            Change::Weight { key, weight } => {
                self.member_mut(&key)?.backend.weight = weight;
                Ok(())
            }
            Change::Cap { key, max_concurrency } => {
                self.member_mut(&key)?.backend.max_concurrency = max_concurrency;
                Ok(())
            }
            Change::Update { pool, backend } => self.update(pool, backend),
            Change::Order { pool, backends } => self.order(pool, &backends),
        }
    }

    /// The members of a pool in order; none if there is no such pool.
    pub fn pool(&self, pool: &PoolName) -> &[Member] {
        self.pools.get(pool).map_or(&[], Vec::as_slice)
    }

    /// The member of this name.
    pub fn get(&self, key: &BackendKey) -> Option<&Member> {
        self.pool(&key.pool).iter().find(|member| member.backend.id == key.backend)
    }

    /// Every pool that has members, by name.
    pub fn pools(&self) -> impl Iterator<Item = (&PoolName, &[Member])> {
        self.pools.iter().map(|(pool, members)| (pool, members.as_slice()))
    }

    /// What must change so that these pools have these backends in this order: what a reload means.
    ///
    /// New backends are admitted; one at another address is removed and admitted again, because
    /// it is another machine; one with other settings is updated and keeps its stage, so that
    /// an operator's drain outlives a reload; one no longer written down leaves, and one that
    /// was leaving and is written down again comes back. One that joined at run time stays as
    /// long as its pool is written down. A weight or cap set at run time gives way to the one
    /// written down. Applied in this order, none of the changes is rejected, if no
    /// pool is named twice and no pool names a backend twice.
    pub fn reconcile(&self, wanted: &[(PoolName, Vec<Backend>)]) -> Vec<Change> {
        let mut changes = Vec::new();
        for (pool, members) in &self.pools {
            let written = wanted.iter().find(|(name, _)| name == pool);
            let is_written = |member: &&Member| {
                written.is_some_and(|(_, all)| all.iter().any(|b| b.id == member.backend.id))
            };
            let is_gone =
                |member: &&Member| !is_written(member) && (member.is_written || written.is_none());
            let gone = members.iter().filter(|member| !member.is_leaving).filter(is_gone);
            changes.extend(gone.map(|member| Change::Leave { key: key(pool, &member.backend) }));
        }
        for (pool, backends) in wanted {
            let mut admitted = Vec::new();
            for backend in backends {
                if !self.keep(pool, backend, &mut changes) {
                    admitted.push(&backend.id);
                }
            }
            let was = self.pool(pool).iter().map(|member| &member.backend.id);
            let kept = was.filter(|id| {
                backends.iter().any(|backend| backend.id == **id) && !admitted.contains(id)
            });
            if !kept.chain(admitted.iter().copied()).eq(backends.iter().map(|b| &b.id)) {
                let backends = backends.iter().map(|backend| backend.id.clone()).collect();
                changes.push(Change::Order { pool: pool.clone(), backends });
            }
        }
        changes
    }

    /// Adds what makes the pool have `backend`; whether the member stays the one it was.
    fn keep(&self, pool: &PoolName, backend: &Backend, changes: &mut Vec<Change>) -> bool {
        let key = key(pool, backend);
        let member = self.get(&key);
        let Some(member) = member.filter(|member| member.backend.address == backend.address) else {
            changes.extend(member.map(|_| Change::Remove { key }));
            changes.push(Change::Admit { pool: pool.clone(), backend: backend.clone() });
            return false;
        };
        if member.is_leaving {
            changes.push(Change::Undrain { key: key.clone() });
        }
        let weight = backend.weight;
        if member.is_written && *backend == (Backend { weight, ..member.backend.clone() }) {
            if member.backend.weight != weight {
                changes.push(Change::Weight { key, weight });
            }
        } else {
            changes.push(Change::Update { pool: pool.clone(), backend: backend.clone() });
        }
        true
    }

    fn admit(
        &mut self,
        pool: PoolName,
        backend: Backend,
        is_written: bool,
    ) -> Result<(), Rejected> {
        let key = key(&pool, &backend);
        if let Some(member) = self.get(&key) {
            return Err(Rejected::Exists { key, stage: member.stage });
        }
        let member = Member { backend, stage: Stage::Joining, is_leaving: false, is_written };
        self.pools.entry(pool).or_default().push(member);
        Ok(())
    }

    fn pass(&mut self, key: BackendKey) -> Result<(), Rejected> {
        let member = self.member_mut(&key)?;
        member.stage = match member.stage {
            Stage::Joining => Stage::Serving,
            stage => return Err(reject("pass", key, stage, "joining")),
        };
        Ok(())
    }

    fn drain(&mut self, key: BackendKey) -> Result<(), Rejected> {
        let member = self.member_mut(&key)?;
        member.stage = match member.stage {
            // One that joins has nothing under way here, but an older process may have.
            Stage::Joining | Stage::Serving => Stage::Draining,
            stage => return Err(reject("drain", key, stage, "joining or serving")),
        };
        Ok(())
    }

    fn undrain(&mut self, key: BackendKey) -> Result<(), Rejected> {
        let member = self.member_mut(&key)?;
        member.stage = match member.stage {
            Stage::Draining => Stage::Serving,
            Stage::Drained => Stage::Joining,
            stage => return Err(reject("undrain", key, stage, "draining or drained")),
        };
        member.is_leaving = false;
        Ok(())
    }

    fn drained(&mut self, key: BackendKey) -> Result<(), Rejected> {
        let member = self.member_mut(&key)?;
        member.stage = match member.stage {
            Stage::Draining if member.is_leaving => return self.remove(&key),
            Stage::Draining => Stage::Drained,
            stage => return Err(reject("call drained the", key, stage, "draining")),
        };
        Ok(())
    }

    fn leave(&mut self, key: BackendKey) -> Result<(), Rejected> {
        let member = self.member_mut(&key)?;
        member.stage = match member.stage {
            Stage::Drained => return self.remove(&key),
            // One that joins has nothing under way here, but an older process may have.
            Stage::Joining | Stage::Serving | Stage::Draining => Stage::Draining,
        };
        member.is_leaving = true;
        Ok(())
    }

    fn remove(&mut self, key: &BackendKey) -> Result<(), Rejected> {
        self.member_mut(key)?;
        if let Some(members) = self.pools.get_mut(&key.pool) {
            members.retain(|member| member.backend.id != key.backend);
        }
        self.pools.retain(|_, members| !members.is_empty());
        Ok(())
    }

    fn update(&mut self, pool: PoolName, backend: Backend) -> Result<(), Rejected> {
        let key = key(&pool, &backend);
        let member = self.member_mut(&key)?;
        if member.backend.address != backend.address {
            return Err(Rejected::Moved { key });
        }
        member.backend = backend;
        member.is_written = true;
        Ok(())
    }

    fn order(&mut self, pool: PoolName, backends: &[BackendId]) -> Result<(), Rejected> {
        let Some(members) = self.pools.get_mut(&pool) else {
            return Err(Rejected::UnknownPool { pool });
        };
        let place = |member: &Member| backends.iter().position(|id| *id == member.backend.id);
        members.sort_by_cached_key(|member| place(member).unwrap_or(usize::MAX));
        Ok(())
    }

    fn member_mut(&mut self, key: &BackendKey) -> Result<&mut Member, Rejected> {
        let members = self.pools.get_mut(&key.pool).into_iter().flatten();
        members
            .into_iter()
            .find(|member| member.backend.id == key.backend)
            .ok_or_else(|| Rejected::Unknown { key: key.clone() })
    }
}

fn key(pool: &PoolName, backend: &Backend) -> BackendKey {
    BackendKey { pool: pool.clone(), backend: backend.id.clone() }
}

fn reject(change: &'static str, key: BackendKey, stage: Stage, allowed: &'static str) -> Rejected {
    Rejected::Stage { change, key, stage, allowed }
}

impl fmt::Display for Stage {
    /// `joining`, `serving`, `draining`, `drained`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Stage::Joining => "joining",
            Stage::Serving => "serving",
            Stage::Draining => "draining",
            Stage::Drained => "drained",
        })
    }
}
