//! Operators' orders, as changes of the roster.
//!
//! A backend that is asked for is held to the same rules as one in the file. What the membership
//! itself refuses is told with what there is.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::Ordering;

use balancer::config::PoolConfig;
use balancer::roster::{self, Member};
use hyper::StatusCode;
use policies::backend::{Address, Backend, BackendId, BackendKey, Origin, PoolName};
use policies::membership::{Change, Rejected, Stage};

use super::{DoorSource, backend_view};
use crate::admin::orders::{Deed, Done, NewBackend, Order, Refusal, Target};
use crate::admin::view::{BackendView, MaintenanceView};
use crate::config;

/// As in the configuration.
const MAX_WEIGHT: u32 = 1_000;
const MAX_CONCURRENCY: u32 = 1_000_000;
/// Names that a refusal lists.
const MAX_NAMES: usize = 20;

impl DoorSource {
    pub(super) fn carry_out(&self, order: Order, actor: String) -> Result<Done, Refusal> {
        if self.exit.takes_no_orders.load(Ordering::Relaxed) {
            return Err(Refusal::handing_over());
        }
        let author = roster::Order { actor, reason: order.reason };
        let (key, changes, status) = match (order.target, order.deed) {
            (Target::Route(route), Deed::Maintain { is_on }) => {
                let switch = self.roster.maintain(route.as_deref(), is_on, &author);
                let switch = switch.ok_or_else(|| self.no_route(route.as_deref()))?;
                return Ok(Done::Maintenance(maintenance_view(switch)));
            }
            (Target::Pool(pool), Deed::Resize(size)) => {
                return self.resize(&pool, size, author.reason, &author.actor);
            }
            (Target::Pool(pool), Deed::Add(new)) => {
                let (key, change) = self.join(&pool, new)?;
                (key, vec![change], StatusCode::CREATED)
            }
            (Target::Backend(pool, id), Deed::Breaker(held)) => {
                let (key, _) = self.find(&pool, &id)?;
                let done = self.roster.hold_breaker(&key, held, Some(&author));
                done.map_err(|why| self.refusal(&why))?;
                (key, Vec::new(), StatusCode::OK)
            }
            (Target::Backend(pool, id), deed) => {
                let (key, member) = self.find(&pool, &id)?;
                let changes = changes(&key, &member, deed)?;
                (key, changes, StatusCode::OK)
            }
            (target @ (Target::Pool(_) | Target::Route(_)), _) => {
                return Err(Refusal::unknown(format!("{target:?} names no backend")));
            }
        };
        self.roster.change_all(changes, Some(&author)).map_err(|why| self.refusal(&why))?;
        Ok(match self.roster.member(&key) {
            None => Done::Gone,
            Some(member) => {
                // It goes later.
                let status = if member.is_leaving { StatusCode::ACCEPTED } else { status };
                Done::Backend(status, Box::new(self.view(&key, &member)))
            }
        })
    }

    pub(super) fn view(&self, key: &BackendKey, member: &Member) -> BackendView {
        backend_view(&key.pool, member, &self.telemetry.totals())
    }

    /// The member of this name, or who there is.
    pub(super) fn find(&self, pool: &str, id: &str) -> Result<(BackendKey, Member), Refusal> {
        let key = BackendKey { pool: PoolName(pool.into()), backend: BackendId(id.into()) };
        match self.roster.member(&key) {
            Some(member) => Ok((key, member)),
            None => Err(self.refusal(&Rejected::Unknown { key })),
        }
    }

    fn refusal(&self, why: &Rejected) -> Refusal {
        match why {
            Rejected::UnknownPool { pool } => self.no_pool(pool),
            Rejected::Unknown { key } => {
                let pools = self.roster.pools();
                let Some((_, members)) = pools.iter().find(|(name, _)| *name == key.pool) else {
                    return self.no_pool(&key.pool);
                };
                let ids = members.iter().map(|member| member.backend.id.to_string());
                let has = names(ids.collect());
                Refusal::unknown(format!("no backend `{key}`; pool `{}` has {has}", key.pool))
            }
            other => Refusal::conflict(other.to_string()),
        }
    }

    fn no_pool(&self, pool: &PoolName) -> Refusal {
        let known = self.roster.pools().into_iter().map(|(name, _)| name.to_string()).collect();
        Refusal::unknown(format!("no pool `{pool}`; there is {}", names(known)))
    }

    pub(super) fn no_route(&self, name: Option<&str>) -> Refusal {
        let snapshot = self.roster.snapshot();
        let routes = snapshot.config.routes.iter().map(|route| route.route.name.to_string());
        let known = names(routes.collect());
        Refusal::unknown(format!("no route `{}`; there is {known}", name.unwrap_or_default()))
    }

    /// A backend as the file could have it.
    fn join(&self, pool: &str, new: NewBackend) -> Result<(BackendKey, Change), Refusal> {
        let snapshot = self.roster.snapshot();
        let pool = PoolName(pool.into());
        let Some(settings) = snapshot.config.pools.iter().find(|known| known.name == pool) else {
            return Err(self.no_pool(&pool));
        };
        let backend = backend(settings, new)?;
        if let Some(own) = self.own_address(&backend.address) {
            let text = format!("`{}` is our own {own}; requests would go round", backend.address);
            return Err(Refusal::invalid(text));
        }
        let key = BackendKey { pool: pool.clone(), backend: backend.id.clone() };
        let pools = self.roster.pools();
        let members = pools.iter().find(|(name, _)| *name == pool).map(|(_, members)| members);
        let is_same = |member: &&Member| {
            member.backend.address == backend.address && member.backend.id != backend.id
        };
        if let Some(other) = members.and_then(|members| members.iter().find(is_same)) {
            return Err(Refusal::conflict(format!(
                "`{}` is also the address of backend `{}`; use its weight to send it more requests",
                backend.address, other.backend.id
            )));
        }
        Ok((key, Change::Join { pool, backend }))
    }

    /// What of ours answers at this address. Names other than `localhost` are not looked up.
    fn own_address(&self, address: &Address) -> Option<String> {
        let (ip, port) = match address {
            Address::Socket(address) => (address.ip().to_canonical(), address.port()),
            Address::Name { host, port } if &**host == "localhost" => {
                (Ipv4Addr::LOCALHOST.into(), *port)
            }
            Address::Name { .. } => return None,
        };
        let is_it = |own: &SocketAddr| {
            let own_ip = own.ip().to_canonical();
            let is_any = own_ip.is_unspecified() && ip.is_loopback();
            own.port() == port && (own_ip == ip || is_any)
        };
        let running = self.running();
        let found = running.listeners.iter().find(|(_, addresses)| addresses.iter().any(is_it));
        let desks = [
            (self.desks.metrics, "address for metrics"),
            (self.desks.loopback, "address for operators"),
        ];
        let desk = || desks.iter().find(|(own, _)| own.as_ref().is_some_and(is_it));
        found
            .map(|(name, _)| format!("listener `{name}`"))
            .or_else(|| desk().map(|(_, what)| (*what).to_owned()))
    }
}

pub(super) fn maintenance_view(switch: roster::Maintenance) -> MaintenanceView {
    MaintenanceView { is_on: switch.is_on, is_written: switch.is_written }
}

fn backend(pool: &PoolConfig, new: NewBackend) -> Result<Backend, Refusal> {
    if !pool.is_usable {
        let text = format!(
            "pool `{}` needs what is not supported toward backends yet; `tidegate check` says what",
            pool.name
        );
        return Err(Refusal::conflict(text));
    }
    let address = config::backend_address(&new.address).map_err(Refusal::invalid)?;
    if let Some(id) = &new.id {
        config::name(id).map_err(Refusal::invalid)?;
    }
    if let Some(zone) = &new.zone {
        config::name(zone).map_err(Refusal::invalid)?;
    }
    let max_concurrency = new.max_concurrency.unwrap_or(pool.max_concurrency);
    check_settings(new.weight, Some(max_concurrency))?;
    Ok(Backend {
        id: BackendId(new.id.unwrap_or(new.address).into()),
        address,
        weight: new.weight.unwrap_or(1),
        max_concurrency,
        zone: new.zone.map(Into::into),
        origin: Origin::OnPrem,
    })
}

fn changes(key: &BackendKey, member: &Member, deed: Deed) -> Result<Vec<Change>, Refusal> {
    let key = key.clone();
    Ok(match deed {
        Deed::Drain => vec![Change::Drain { key }],
        Deed::Undrain => vec![Change::Undrain { key }],
        Deed::Remove { now: true } => vec![Change::Remove { key }],
        Deed::Remove { now: false } if member.is_leaving => {
            let text = format!("backend `{key}` is on its way out; `?now` does not wait for it");
            return Err(Refusal::conflict(text));
        }
        Deed::Remove { now: false } => vec![Change::Leave { key }],
        Deed::Set { weight, max_concurrency } => {
            if matches!(member.stage, Stage::Draining) && member.is_leaving {
                return Err(Refusal::conflict(format!("backend `{key}` is on its way out")));
            }
            check_settings(weight, max_concurrency)?;
            let weight = weight.map(|weight| Change::Weight { key: key.clone(), weight });
            let cap = max_concurrency.map(|max_concurrency| Change::Cap { key, max_concurrency });
            weight.into_iter().chain(cap).collect()
        }
        // Their targets are others, and that of the breaker no member's.
        Deed::Add(_) | Deed::Resize(_) | Deed::Breaker(_) | Deed::Maintain { .. } => {
            return Err(Refusal::unknown(format!("`{key}` is no pool")));
        }
    })
}

fn check_settings(weight: Option<u32>, cap: Option<Option<u32>>) -> Result<(), Refusal> {
    let wrong = |name: &str, found: u32, min: u32, max: u32, more: &str| {
        let text = format!("`{name}` is {found}; give a whole number from {min} to {max}{more}");
        Err(Refusal::invalid(text))
    };
    if let Some(weight) = weight.filter(|weight| *weight > MAX_WEIGHT) {
        return wrong("weight", weight, 0, MAX_WEIGHT, "");
    }
    match cap {
        Some(Some(cap)) if !(1..=MAX_CONCURRENCY).contains(&cap) => {
            wrong("max_concurrency", cap, 1, MAX_CONCURRENCY, ", or null for no limit")
        }
        _ => Ok(()),
    }
}

/// "`a`, `b` and 3 more"
fn names(all: Vec<String>) -> String {
    let shown: Vec<String> = all.iter().take(MAX_NAMES).map(|name| format!("`{name}`")).collect();
    match (shown.len(), all.len() - shown.len()) {
        (0, _) => "none".to_owned(),
        (_, 0) => shown.join(", "),
        (_, more) => format!("{} and {more} more", shown.join(", ")),
    }
}
