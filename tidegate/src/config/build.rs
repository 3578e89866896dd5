//! From a document that was walked to the values that the crates run with.
//!
//! One module per section; this one holds what they share and what needs two of them. Every
//! function here goes on after a problem, so that one look shows all of them.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use balancer::config::DoorConfig;

use super::document::{Document, Node, Span};
use super::keys::ROOT;
use super::problem::Problems;
use super::text::{self, Message};
use super::view::View;
use super::{Config, SiteConfig};

mod access;
mod alerts;
mod aws;
mod conduct;
mod contradictions;
mod ec2;
mod elastic;
mod files;
mod listeners;
mod matches;
mod observe;
mod pools;
mod references;
mod routes;
mod scalers;
mod unreachable;
mod windows;

pub(crate) use files::random_seed;
pub(crate) use pools::check_kind;

/// What the sections share while they are built.
pub(crate) struct Build<'a> {
    document: &'a Document,
    problems: &'a mut Problems,
    /// Addresses that this door accepts on, for finding two of a kind and circles.
    binds: Vec<Bind>,
}

struct Bind {
    address: SocketAddr,
    /// ``listener `web` ``
    what: String,
    span: Span,
}

impl Build<'_> {
    fn say(&mut self, span: Span, message: Message) {
        self.problems.add(&self.document.sources, span, message);
    }

    /// Where something is written: `tidegate.toml:12`.
    fn place(&self, span: Span) -> Arc<str> {
        let Some(source) = self.document.sources.0.get(span.file) else { return "".into() };
        let before = source.text.get(..span.start).unwrap_or_default();
        let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
        format!("{}:{line}", source.name).into()
    }

    /// Keeps an address we accept on.
    fn bind(&mut self, address: SocketAddr, what: String, node: &Node) {
        self.binds.push(Bind { address, what, span: node.span });
    }

    /// Says which addresses are taken by something further up.
    fn check_binds(&mut self) {
        self.binds.sort_by_key(|bind| (bind.span.file, bind.span.start));
        let mut taken: BTreeMap<Place, &Bind> = BTreeMap::new();
        // Port 0 is a free one each time.
        for bind in self.binds.iter().filter(|bind| bind.address.port() != 0) {
            let Some(other) = overlapping(&taken, bind.address) else {
                taken.insert(place(bind.address), bind);
                continue;
            };
            let address = bind.address.to_string();
            let message = match other.address == bind.address {
                true => text::references::address_twice(&address, &other.what),
                false => {
                    let theirs = other.address.to_string();
                    text::references::address_overlaps(&address, &theirs, &other.what)
                }
            };
            self.problems.add(&self.document.sources, bind.span, message);
        }
    }
}

/// Port, address and scope: all addresses of one port and family lie side by side, and the one
/// that means each of them comes first.
type Place = (u16, IpAddr, u32);

fn place(address: SocketAddr) -> Place {
    let scope = match address {
        SocketAddr::V4(_) => 0,
        SocketAddr::V6(address) => address.scope_id(),
    };
    (address.port(), address.ip(), scope)
}

/// What accepts connections to `address` as well. `[::]` takes no IPv4 here.
fn overlapping<'b>(taken: &BTreeMap<Place, &'b Bind>, address: SocketAddr) -> Option<&'b Bind> {
    let (first, last): (IpAddr, IpAddr) = match address {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED.into(), Ipv4Addr::BROADCAST.into()),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED.into(), Ipv6Addr::from(u128::MAX).into()),
    };
    let port = address.port();
    let found = match address.ip().is_unspecified() {
        true => taken.range((port, first, 0)..=(port, last, u32::MAX)).next().map(|(_, bind)| bind),
        false => taken.get(&place(address)).or_else(|| taken.get(&(port, first, 0))),
    };
    found.copied()
}

/// Builds everything. The result is of use only if `problems` has no errors.
pub(crate) fn build(document: &Document, problems: &mut Problems) -> Config {
    let root_node = &document.root;
    let root = View::new(&ROOT, Some(root_node));
    let mut build = Build { document, problems, binds: Vec::new() };

    let site = site(root);
    let (listeners, closed_listeners) = listeners::listeners(&mut build, root);
    let observe = observe::observe(&mut build, root.view("observe"));
    let alerts = alerts::alerts(&mut build, root.view("alerts"));
    let admin = observe::admin(&mut build, root.view("admin"));
    let drain = observe::drain(root.view("drain"));
    let pools = pools::pools(&mut build, root);
    let elastic = elastic::elastic(&mut build, root, &site);
    let scalers = scalers::scalers(&mut build, root, &elastic);
    let routes = routes::routes(&mut build, root, &pools);
    build.check_binds();
    references::reserves(&mut build, root, &routes, &pools);
    // With errors about, a pool may look unused and two matches alike because part of a route
    // could not be read.
    if !build.problems.has_errors() {
        contradictions::cold_starts(&mut build, root, &scalers, &pools, &routes);
        references::shadowed(&mut build, root, &routes);
        unreachable::unreachable(&mut build, root);
        references::unused_pools(&mut build, root, &routes);
    }

    let seed = site.seed.unwrap_or_else(files::random_seed);
    let door = DoorConfig {
        site: site.name.as_str().into(),
        zone: root.view("site").text("zone").map(Into::into),
        workers: root.integer("workers").unwrap_or_else(cores),
        listeners,
        pools,
        routes,
        in_maintenance: site.in_maintenance,
        seed,
    };
    Config { door, elastic, scalers, site, alerts, observe, admin, drain, closed_listeners }
}

fn site(root: View<'_>) -> SiteConfig {
    let site = root.view("site");
    SiteConfig {
        name: site.text("name").unwrap_or_default().to_owned(),
        time_zone: site.text("time_zone").unwrap_or_default().to_owned(),
        state_dir: site.text("state_dir").unwrap_or_default().into(),
        in_maintenance: site.flag("maintenance"),
        seed: site.integer("seed"),
    }
}

/// The cores this process may use: affinity and cgroup quota are taken into account.
fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
