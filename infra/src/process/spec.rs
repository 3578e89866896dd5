//! What is launched, as a text that can be frozen, and the addresses it may have.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use super::ProcessSettings;

/// All parameters of a launch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Spec {
    command: Vec<String>,
    env: BTreeMap<String, String>,
    /// `127.60.0.0/24`
    addresses: String,
    port: u16,
    boot_delay_ms: u64,
}

impl Spec {
    pub(super) fn of(settings: &ProcessSettings) -> Spec {
        Spec {
            command: settings.command.clone(),
            env: settings.env.clone(),
            addresses: settings.addresses.to_string(),
            port: settings.port,
            boot_delay_ms: u64::try_from(settings.boot_delay.as_millis()).unwrap_or(u64::MAX),
        }
    }

    pub(super) fn to_text(&self) -> String {
        // Strings and numbers alone cannot fail to become JSON.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// `Err` says what is wrong with it.
    pub(super) fn parse(text: &str) -> Result<Spec, String> {
        let spec: Spec = serde_json::from_str(text).map_err(|error| error.to_string())?;
        if spec.command.is_empty() {
            return Err("the command is empty".to_owned());
        }
        let range: Ipv4Net = spec.addresses.parse().map_err(|_| "no range of addresses")?;
        match range.addr().is_loopback() && range.prefix_len() >= 8 {
            true => Ok(spec),
            false => Err(format!("`{range}` reaches beyond 127.0.0.0/8")),
        }
    }

    pub(super) fn boot_delay(&self) -> Duration {
        Duration::from_millis(self.boot_delay_ms)
    }

    pub(super) fn program(&self) -> &str {
        self.command.first().map_or("", String::as_str)
    }

    /// For learning boot times: `process/backend`.
    pub(super) fn kind(&self) -> String {
        let name = self.program().rsplit('/').next().unwrap_or_default();
        format!("{}/{name}", super::NAME)
    }

    /// The addresses there are, first to last; at most 65,536, so that looking has an end.
    pub(super) fn hosts(&self) -> impl Iterator<Item = Ipv4Addr> {
        let range: Option<Ipv4Net> = self.addresses.parse().ok();
        range.into_iter().flat_map(|range| range.hosts()).take(1 << 16)
    }

    /// The next address behind `last` that is not taken, round the range: one that was just given
    /// back rests as long as possible, since others may remember what was there.
    pub(super) fn next_address(
        &self,
        last: Option<IpAddr>,
        is_free: impl Fn(SocketAddr) -> bool,
    ) -> Option<SocketAddr> {
        let hosts: Vec<IpAddr> = self.hosts().map(IpAddr::from).collect();
        let start = hosts.iter().position(|host| Some(*host) > last).unwrap_or(0);
        let (before, behind) = hosts.split_at(start);
        let addresses = behind.iter().chain(before).map(|host| SocketAddr::new(*host, self.port));
        addresses.into_iter().find(|address| is_free(*address))
    }

    /// Program and arguments with everything filled in.
    pub(super) fn command_for(&self, id: &str, pool: &str, address: SocketAddr) -> Vec<String> {
        let fill = |text: &String| fill(text, id, pool, address);
        self.command.iter().map(fill).collect()
    }

    /// Its environment with everything filled in, and who it is.
    pub(super) fn env_for(
        &self,
        id: &str,
        pool: &str,
        address: SocketAddr,
    ) -> BTreeMap<String, String> {
        let own =
            self.env.iter().map(|(name, value)| (name.clone(), fill(value, id, pool, address)));
        let mut env: BTreeMap<String, String> = own.collect();
        env.insert(super::child::MARK.to_owned(), id.to_owned());
        env.insert("TIDEGATE_POOL".to_owned(), pool.to_owned());
        env.insert("TIDEGATE_ADDRESS".to_owned(), address.to_string());
        env
    }
}

/// Names in braces that are none of ours stay as they are: programs have braces of their own.
fn fill(text: &str, id: &str, pool: &str, address: SocketAddr) -> String {
    text.replace("{address}", &address.to_string())
        .replace("{ip}", &address.ip().to_string())
        .replace("{port}", &address.port().to_string())
        .replace("{pool}", pool)
        .replace("{id}", id)
}

/// Addresses of instances that have not ended.
pub(super) type Taken = BTreeSet<SocketAddr>;

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(addresses: &str) -> Spec {
        Spec {
            command: vec!["./b".into(), "--listen".into(), "{address}".into(), "{x}{id}".into()],
            env: BTreeMap::from([("A".to_owned(), "{ip}".to_owned())]),
            addresses: addresses.into(),
            port: 80,
            boot_delay_ms: 5,
        }
    }

    #[track_caller]
    fn check_next(last: Option<&str>, taken: &[&str], next: Option<&str>) {
        let taken: Taken = taken.iter().map(|ip| format!("{ip}:80").parse().unwrap()).collect();
        let last = last.map(|ip| ip.parse().unwrap());
        let found = spec("127.60.0.0/29").next_address(last, |address| !taken.contains(&address));
        assert_eq!(found.map(|address| address.ip().to_string()), next.map(str::to_owned));
    }

    #[test]
    fn addresses_are_given_out_in_a_ring() {
        check_next(None, &[], Some("127.60.0.1"));
        check_next(Some("127.60.0.2"), &["127.60.0.3"], Some("127.60.0.4"));
        check_next(Some("127.60.0.6"), &[], Some("127.60.0.1"));
        check_next(Some("127.60.0.5"), &["127.60.0.6", "127.60.0.1"], Some("127.60.0.2"));
        let all: Vec<String> = (1..7).map(|n| format!("127.60.0.{n}")).collect();
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        check_next(None, &all, None);
    }

    #[test]
    fn a_frozen_text_says_the_same_later_and_nothing_else_is_believed() {
        let one = spec("127.60.0.0/24");
        assert_eq!(Spec::parse(&one.to_text()).unwrap(), one);
        assert!(Spec::parse("{}").is_err());
        assert!(Spec::parse(&spec("10.0.0.0/8").to_text()).unwrap_err().contains("127.0.0.0/8"));
        assert!(Spec::parse(&spec("127.0.0.0/7").to_text()).is_err());
        assert!(Spec::parse(&spec("x").to_text()).is_err());
        assert!(Spec::parse(&Spec { command: Vec::new(), ..one }.to_text()).is_err());
    }

    #[test]
    fn placeholders_are_filled_in_and_strange_braces_stay() {
        let address = "127.60.0.4:80".parse().unwrap();
        let command = spec("127.60.0.0/24").command_for("p-1-0", "burst", address);
        assert_eq!(command, ["./b", "--listen", "127.60.0.4:80", "{x}p-1-0"]);
        let env = spec("127.60.0.0/24").env_for("p-1-0", "burst", address);
        assert_eq!(env["A"], "127.60.0.4");
        assert_eq!(env["TIDEGATE_INSTANCE"], "p-1-0");
    }
}
