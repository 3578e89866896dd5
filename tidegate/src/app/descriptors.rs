//! How many connections there is room for: the limit of open files, divided.

use balancer::door::Capacity;

use crate::admin::{Addresses, MAX_CONNECTIONS};
use crate::config::Config;

/// Standard streams, signals, the control runtime, name servers, files read in passing.
const PROCESS: u64 = 32;
/// A worker's runtime: two for its poll set, one to wake it.
const RUNTIME: u64 = 3;
/// A client, and the backend that it is waiting for.
const CONNECTION: u64 = 2;
/// Connections beyond a limit that a worker keeps at once, where there is room.
const REFUSED: u64 = 64;
/// Guests (operators and the refused) get at most this part of all.
const GUESTS_PART: u64 = 4;

/// What needs descriptors besides clients.
#[derive(Debug, Clone, Copy)]
struct Needs {
    workers: u64,
    /// Addresses of all listeners: each worker has a socket for each.
    addresses: u64,
    admin: u64,
    log_targets: u64,
    /// Each may be under a check.
    backends: u64,
}

/// Raises the soft limit of open files to the hard one, and returns it.
pub(super) fn raise_limit() -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "the limit of open files could not be raised");
    }
    self::limit()
}

/// Descriptors that this process may have.
pub(super) fn limit() -> u64 {
    use rustix::process::{Resource, getrlimit};
    getrlimit(Resource::Nofile).current.unwrap_or(u64::from(u32::MAX))
}

/// What there is room for with `files` descriptors, and where admin will listen. Says so if it is
/// less than was asked for.
pub(super) fn capacity(config: &Config, files: u64) -> (Capacity, Addresses) {
    let addresses = Addresses {
        unix: config.admin.unix.clone(),
        loopback: config.admin.listen,
        metrics: config.observe.metrics,
    };
    let door = &config.door;
    let targets = config.observe.access_log.as_ref().map_or(0, |log| log.targets.len());
    let needs = Needs {
        workers: door.workers as u64,
        addresses: door.listeners.iter().map(|listener| listener.bind.len() as u64).sum(),
        admin: addresses.count() as u64,
        log_targets: targets as u64,
        backends: backends(config),
    };
    let wanted: Vec<_> = door.listeners.iter().map(|listener| listener.max_connections).collect();
    let capacity = divide(files, needs, &wanted);
    for (listener, &given) in door.listeners.iter().zip(&capacity.connections) {
        if let Some(wanted) = listener.max_connections.filter(|wanted| *wanted > given) {
            tracing::warn!(
                listener = %listener.name,
                max_connections = wanted,
                lowered_to = given,
                open_files = files,
                "max_connections lowered: each connection needs two open files; raise LimitNOFILE"
            );
        }
    }
    (capacity, addresses)
}

/// Those that are written down, and those that may be launched.
fn backends(config: &Config) -> u64 {
    let written: u64 = config.door.pools.iter().map(|pool| pool.backends.len() as u64).sum();
    let launched = config.scalers.iter().map(|scaler| u64::from(scaler.policy.ceiling));
    written + launched.sum::<u64>()
}

/// The formula:
///
/// ```text
/// guests      = min(admin addresses x 64 + workers x 64 refused, files / 4)
/// fixed       = 32 + admin addresses + log targets + backends + workers x (addresses + 3)
/// connections = (files - fixed - guests) / 2
/// ```
///
/// Connections are dealt out evenly; a listener that wants less than its even share gets what it
/// wants, and the rest is for the others. One without a limit (`None`) wants all. Each gets one at
/// least: a door that can do nothing should say so to somebody.
fn divide(files: u64, needs: Needs, wanted: &[Option<u32>]) -> Capacity {
    let workers = needs.workers.max(1);
    let guests = needs.admin * MAX_CONNECTIONS as u64 + workers * REFUSED;
    let kept_for_guests = guests.min(files / GUESTS_PART);
    let fixed = PROCESS
        + needs.admin
        + needs.log_targets
        + needs.backends
        + workers * (needs.addresses + RUNTIME);
    let mut room = files.saturating_sub(fixed + kept_for_guests) / CONNECTION;

    let mut connections = vec![0; wanted.len()];
    let mut modest_first: Vec<usize> = (0..wanted.len()).collect();
    modest_first.sort_by_key(|&listener| wanted[listener].unwrap_or(u32::MAX));
    for (place, listener) in modest_first.into_iter().enumerate() {
        let share = room / (wanted.len() - place) as u64;
        let share = u32::try_from(share).unwrap_or(u32::MAX);
        let given = share.min(wanted[listener].unwrap_or(u32::MAX)).max(1);
        connections[listener] = given;
        room = room.saturating_sub(u64::from(given));
    }
    // Of the part for guests, by the same measure as if there were enough.
    let refused = (REFUSED * kept_for_guests).checked_div(guests).unwrap_or(0).max(1);
    let refused_per_worker = u32::try_from(refused).unwrap_or(1);
    Capacity { connections, refused_per_worker }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEEDS: Needs = Needs { workers: 4, addresses: 2, admin: 1, log_targets: 1, backends: 6 };
    /// 32 + 1 + 1 + 6 + 4 x (2 + 3), and 64 + 4 x 64 guests.
    const KEPT: u64 = 60 + 320;

    fn connections(files: u64, wanted: &[Option<u32>]) -> Vec<u32> {
        divide(files, NEEDS, wanted).connections
    }

    #[test]
    fn listeners_without_a_limit_share_what_is_left() {
        assert_eq!(connections(KEPT + 2000, &[None]), [1000]);
        assert_eq!(connections(KEPT + 2000, &[None, None]), [500, 500]);
        assert_eq!(connections(KEPT + 2000, &[None, Some(100), None]), [450, 100, 450]);
    }

    #[test]
    fn a_limit_is_lowered_only_to_what_is_there() {
        assert_eq!(connections(KEPT + 2000, &[Some(1000)]), [1000]);
        assert_eq!(connections(KEPT + 2000, &[Some(1001)]), [1000]);
        assert_eq!(connections(KEPT + 2000, &[Some(900), Some(100)]), [900, 100]);
        assert_eq!(connections(KEPT + 2000, &[Some(10_000_000), Some(100)]), [900, 100]);
        assert_eq!(connections(KEPT + 2000, &[Some(800), Some(700), None]), [333, 333, 334]);
    }

    #[test]
    fn nothing_that_is_given_out_exceeds_the_limit() {
        for files in (400..4000).step_by(7) {
            for wanted in [vec![None], vec![None, Some(50)], vec![Some(5000), None, Some(9)]] {
                let Capacity { connections, refused_per_worker } = divide(files, NEEDS, &wanted);
                let clients: u64 = connections.iter().map(|&count| u64::from(count)).sum();
                let refused = u64::from(refused_per_worker) * NEEDS.workers;
                assert!(2 * clients + refused + 60 <= files, "{files} {wanted:?}");
            }
        }
    }

    #[test]
    fn a_door_without_room_still_has_a_place_to_say_so() {
        assert_eq!(
            divide(30, NEEDS, &[None, Some(7)]),
            Capacity { connections: vec![1, 1], refused_per_worker: 1 }
        );
        assert_eq!(divide(1 << 20, NEEDS, &[None]).refused_per_worker, 64);
    }

    #[test]
    fn backends_that_may_be_launched_count_as_well() {
        let text = "schema = 1\n[listeners.web]\nbind = \"127.0.0.1:0\"\n\
                    [pools.a]\nbackends = [{ address = \"10.0.0.1:80\" }]\n\
                    [pools.burst]\nkind = \"elastic\"\nmax_concurrency = 10\n\
                    [pools.burst.process]\ncommand = [\"sleep\", \"9\"]\nport = 8080\n\
                    [scalers.burst]\nceiling = 20\n";
        let config = crate::config::parse("test.toml", text).config.unwrap();
        assert_eq!(backends(&config), 21);
    }

    #[test]
    fn no_limit_of_files_is_too_large() {
        assert_eq!(connections(u64::MAX, &[None]), [u32::MAX]);
    }
}
