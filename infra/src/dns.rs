//! Names of backends, resolved again whenever their time to live is over.
//!
//! One task per name. A name that does not resolve is asked again, after 1 s at first and every
//! 30 s at last. A name that *did* resolve keeps its address through any failure: an outage of
//! DNS must not become one of the site, and the health checks see for themselves whether the
//! old address still answers. This includes "no such name", which is what a half-loaded zone
//! says; whoever wants a backend out removes it from the configuration.

mod lookup;

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};

pub use lookup::Resolver;

/// Bounds of a time to live: below, we would ask in a loop; above, a move would take too long
/// to arrive.
const TTL: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(5 * 60));

/// First and longest pause after a failure.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// A name to follow.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Name {
    /// A DNS name without a trailing dot, or an IP address (IPv6 without brackets).
    pub host: Arc<str>,
    /// Handed through to the result.
    pub port: u16,
}

/// News about a name: its first address, another address, or why it has none yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// As in the name.
    pub host: Arc<str>,
    /// As in the name.
    pub port: u16,
    /// The address to use from now on. `Err` says why there has never been one.
    pub result: Result<SocketAddr, String>,
}

/// Follows `names`, also those that appear later in the channel, and sends what is new to `out`.
///
/// A name has one address at a time: the one it had while that is still in the answer, else the
/// first, IPv4 before IPv6. Returns when the sender of `names` or the receiver of `out` is gone;
/// dropping the future ends all of it as well. While `out` is full, names with news wait.
pub async fn follow(
    resolver: Resolver,
    mut names: watch::Receiver<Arc<[Name]>>,
    out: mpsc::Sender<Resolved>,
) {
    // The set cancels its tasks when it is dropped, so it ends with this future.
    let mut tasks = JoinSet::new();
    let mut running: HashMap<Name, AbortHandle> = HashMap::new();
    loop {
        let list = Arc::clone(&names.borrow_and_update());
        for (_, left) in running.extract_if(|name, _| !list.contains(name)) {
            left.abort();
        }
        for name in list.iter() {
            running.entry(name.clone()).or_insert_with(|| {
                tasks.spawn(keep_fresh(resolver.clone(), name.clone(), out.clone()))
            });
        }
        while tasks.try_join_next().is_some() {}
        tokio::select! {
            changed = names.changed() => if changed.is_err() { return },
            () = out.closed() => return,
        }
    }
}

/// Resolves one name for ever, or once if it is an address.
async fn keep_fresh(resolver: Resolver, name: Name, out: mpsc::Sender<Resolved>) {
    let mut current: Option<IpAddr> = None;
    let mut failure: Option<String> = None;
    let mut failures = 0;
    loop {
        let pause = match resolver.lookup(&name.host, current).await {
            Ok(answer) => {
                let next = choose(current, &answer.addresses);
                if next != current {
                    tracing::info!(host = %name.host, address = ?next, was = ?current, "name_resolved");
                    current = next;
                    let address = next.map(|ip| SocketAddr::new(ip, name.port));
                    send(&out, &name, address.ok_or_else(|| "no address".to_owned())).await;
                }
                (failure, failures) = (None, 0);
                let Some(ttl) = answer.ttl else { return };
                ttl.clamp(TTL.0, TTL.1)
            }
            Err(error) => {
                failures += 1;
                if failure.as_ref() != Some(&error) {
                    report_failure(&out, &name, current, &error).await;
                    failure = Some(error);
                }
                backoff(failures)
            }
        };
        tokio::time::sleep(pause).await;
    }
}

/// Once per kind of failure, not once per try.
async fn report_failure(
    out: &mpsc::Sender<Resolved>,
    name: &Name,
    current: Option<IpAddr>,
    error: &str,
) {
    if let Some(address) = current {
        tracing::warn!(host = %name.host, %address, error, "name_stale");
    } else {
        tracing::warn!(host = %name.host, error, "name_unresolved");
        send(out, name, Err(error.to_owned())).await;
    }
}

/// [`follow`] sees for itself when nobody listens any more.
async fn send(out: &mpsc::Sender<Resolved>, name: &Name, result: Result<SocketAddr, String>) {
    let Name { host, port } = name.clone();
    let _ = out.send(Resolved { host, port, result }).await;
}

fn choose(current: Option<IpAddr>, addresses: &[IpAddr]) -> Option<IpAddr> {
    current.filter(|ip| addresses.contains(ip)).or(addresses.first().copied())
}

/// Doubles with each failure in a row, of which there is at least one.
fn backoff(failures: u32) -> Duration {
    let doubled = 2u32.saturating_pow(failures.saturating_sub(1));
    BACKOFF.0.saturating_mul(doubled).min(BACKOFF.1)
}

#[cfg(test)]
mod tests;
