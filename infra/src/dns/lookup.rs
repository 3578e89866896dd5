//! One question to DNS. The only file that knows the library.
//!
//! A resolver is built for each question: that costs two small files, asked at most once a
//! second per name, and in exchange a changed `/etc/resolv.conf` or `/etc/hosts` holds at once
//! and no second cache stands behind the times to live that we keep ourselves.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hickory_resolver::config::{
    ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolveHosts, ResolverConfig,
};
use hickory_resolver::lookup_ip::LookupIp;
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::op::Query;
use hickory_resolver::proto::rr::{Name, RecordType};
use hickory_resolver::{Hosts, TokioResolver};

/// Longest wait for one packet; the system's own limit counts where it is shorter.
const PACKET_TIMEOUT: Duration = Duration::from_secs(2);

/// Longest wait for the whole question, with its repetitions and search domains.
const TIMEOUT: Duration = Duration::from_secs(10);

/// When to look into `/etc/hosts` again.
const HOSTS_TTL: Duration = Duration::from_secs(10);

/// Whom to ask for addresses.
#[derive(Debug, Clone, Default)]
pub struct Resolver {
    /// Instead of those of `/etc/resolv.conf`, where not empty.
    servers: Arc<[SocketAddr]>,
}

/// What a name stands for now.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer {
    /// At least one, IPv4 before IPv6.
    pub(super) addresses: Vec<IpAddr>,
    /// When to ask again; never where `None`.
    pub(super) ttl: Option<Duration>,
}

impl Resolver {
    /// The machine's own way: `/etc/hosts`, then the servers and search domains of
    /// `/etc/resolv.conf`, and where that is missing or unusable a server on this machine.
    pub fn system() -> Resolver {
        Resolver::default()
    }

    /// `/etc/hosts`, then these servers, without search domains.
    pub fn asking(servers: &[SocketAddr]) -> Resolver {
        Resolver { servers: servers.into() }
    }

    /// Asks for `host`, of which `current` is in use.
    ///
    /// # Errors
    ///
    /// One line for people. Also when only half of the question was answered and `current`, or
    /// its absence, would have been in the other half.
    pub(super) async fn lookup(
        &self,
        host: &str,
        current: Option<IpAddr>,
    ) -> Result<Answer, String> {
        if let Ok(address) = host.parse() {
            return Ok(Answer { addresses: vec![address], ttl: None });
        }
        let name: Name = host.parse().map_err(|_| {
            format!("`{host}` is not a DNS name; use letters, digits, `-` and dots")
        })?;
        let hosts = Hosts::from_system().unwrap_or_default();
        if let Some(addresses) = without_asking(&hosts, &name) {
            return Ok(Answer { addresses, ttl: Some(HOSTS_TTL) });
        }

        let (resolver, fallback) = self.build().map_err(|error| explain(host, &error, None))?;
        let asked = tokio::time::timeout(TIMEOUT, ask(&resolver, name, current)).await;
        asked
            .unwrap_or(Err(NetError::Timeout))
            .map_err(|error| explain(host, &error, fallback.as_deref()))
    }

    /// The library's resolver, and why it asks this machine instead of whom it should.
    fn build(&self) -> Result<(TokioResolver, Option<String>), NetError> {
        let provider = TokioRuntimeProvider::default();
        let mut fallback = None;
        let mut builder = if self.servers.is_empty() {
            TokioResolver::builder_tokio().unwrap_or_else(|error| {
                fallback = Some(error.to_string());
                // What resolv.conf(5) promises: no server named, ask the one on this machine.
                let this_machine = SocketAddr::from((Ipv4Addr::LOCALHOST, 53));
                TokioResolver::builder_with_config(config(&[this_machine]), provider)
            })
        } else {
            TokioResolver::builder_with_config(config(&self.servers), provider)
        };
        let options = builder.options_mut();
        options.cache_size = 0;
        options.use_hosts_file = ResolveHosts::Never;
        options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
        options.timeout = options.timeout.min(PACKET_TIMEOUT);
        Ok((builder.build()?, fallback))
    }
}

fn config(servers: &[SocketAddr]) -> ResolverConfig {
    let server = |server: &SocketAddr| {
        let mut config = NameServerConfig::udp_and_tcp(server.ip());
        for connection in &mut config.connections {
            let connection: &mut ConnectionConfig = connection;
            connection.port = server.port();
        }
        config
    };
    ResolverConfig::from_parts(None, Vec::new(), servers.iter().map(server).collect())
}

/// From `/etc/hosts`, or because it is `localhost`, which is never asked for (RFC 6761 §6.3).
fn without_asking(hosts: &Hosts, name: &Name) -> Option<Vec<IpAddr>> {
    let both = [RecordType::A, RecordType::AAAA];
    let found: Vec<IpAddr> = both
        .into_iter()
        .filter_map(|family| hosts.lookup_static_host(&Query::query(name.clone(), family)))
        .flat_map(|lookup| LookupIp::from(lookup).iter().collect::<Vec<_>>())
        .collect();
    if !found.is_empty() {
        return Some(found);
    }
    let is_local =
        name.iter().next_back().is_some_and(|top| top.eq_ignore_ascii_case(b"localhost"));
    is_local.then(|| vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()])
}

/// Both families at once; the library answers with one of them if the other one fails.
async fn ask(
    resolver: &TokioResolver,
    name: Name,
    current: Option<IpAddr>,
) -> Result<Answer, NetError> {
    let found = resolver.lookup_ip(name).await?;
    let mut addresses: Vec<IpAddr> = found.iter().collect();
    let ttl = found.valid_until().saturating_duration_since(Instant::now());

    // Is there really no address of the family in use, or was that half only lost? Without this
    // question a lost packet would move a backend from IPv4 to IPv6, and leave it there.
    let is_same_family = |ip: &IpAddr| current.is_some_and(|c| c.is_ipv4() == ip.is_ipv4());
    if let Some(current) = current
        && !addresses.iter().any(is_same_family)
        && let Some(record) = found.as_lookup().answers().first()
    {
        let family = if current.is_ipv4() { RecordType::A } else { RecordType::AAAA };
        match resolver.lookup(record.name.clone(), family).await {
            Ok(other) => addresses.extend(LookupIp::from(other).iter()),
            Err(error) if error.is_no_records_found() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Answer { addresses, ttl: Some(ttl) })
}

fn explain(host: &str, error: &NetError, fallback: Option<&str>) -> String {
    let why = if error.is_nx_domain() {
        "there is no such name; correct it, or its zone".to_owned()
    } else if error.is_no_records_found() {
        "the name has no address; add an A or AAAA record".to_owned()
    } else {
        format!("{error}; see to the DNS server")
    };
    let fallback = fallback.map_or(String::new(), |reason| {
        format!(" (asked 127.0.0.1, because `/etc/resolv.conf` is of no use: {reason})")
    });
    format!("`{host}` does not resolve: {why}{fallback}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(text: &str) -> Hosts {
        let mut hosts = Hosts::default();
        hosts.read_hosts_conf(text.as_bytes()).unwrap();
        hosts
    }

    #[track_caller]
    fn check(hosts_text: &str, name: &str, expected: Option<&[&str]>) {
        let found = without_asking(&hosts(hosts_text), &name.parse().unwrap());
        let expected = expected.map(|ips| ips.iter().map(|ip| ip.parse().unwrap()).collect());
        assert_eq!(found, expected, "{name}");
    }

    #[test]
    fn the_hosts_file_comes_before_dns_with_ipv4_first() {
        let text = "fd00::9 db\n10.0.0.9 db db.internal # ours\n";
        check(text, "db", Some(&["10.0.0.9", "fd00::9"]));
        check(text, "DB.internal", Some(&["10.0.0.9"]));
        check(text, "other", None);
    }

    #[test]
    fn localhost_is_this_machine_unless_the_hosts_file_says_otherwise() {
        check("", "localhost", Some(&["127.0.0.1", "::1"]));
        check("", "a.localhost", Some(&["127.0.0.1", "::1"]));
        check("", "localhost.example", None);
        check("127.0.0.2 localhost", "localhost", Some(&["127.0.0.2"]));
    }

    #[tokio::test]
    async fn an_address_is_its_own_answer_for_ever() {
        for text in ["10.1.2.3", "fd00::1"] {
            let answer = Resolver::system().lookup(text, None).await.unwrap();
            assert_eq!(answer, Answer { addresses: vec![text.parse().unwrap()], ttl: None });
        }
    }

    #[test]
    fn a_failure_says_what_to_see_to() {
        let error = explain("app", &NetError::Timeout, None);
        assert_eq!(error, "`app` does not resolve: request timed out; see to the DNS server");
        let error = explain("app", &NetError::Timeout, Some("no such file"));
        assert!(error.ends_with("`/etc/resolv.conf` is of no use: no such file)"), "{error}");
    }

    #[tokio::test]
    async fn what_cannot_be_a_name_is_not_asked_for() {
        let long = "x".repeat(64);
        let error = Resolver::system().lookup(&long, None).await.unwrap_err();
        assert!(error.contains("is not a DNS name"), "{error}");
    }
}
