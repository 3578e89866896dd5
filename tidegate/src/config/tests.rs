//! What is written arrives where it is used, and what is not written is the documented default.

use std::time::Duration;

use balancer::access_log::{Format, LogTarget};
use balancer::config::{DoorConfig, ForwardedStyle, Rewrite, RouteConfig};
use health::config::ProbeKind;
use policies::backend::{Address, PoolIndex};
use policies::balance::{HashKey, Rule};
use policies::route::{Action, HostPattern, Location, Matcher, PathPattern, Target, ValuePattern};

use super::{Config, parse, render_text};

#[track_caller]
fn config(text: &str) -> Config {
    let loaded = parse("test.toml", text);
    let problems = render_text(&loaded.problems);
    loaded.config.unwrap_or_else(|| panic!("{problems}"))
}

const LISTENER: &str = "schema = 1\n[listeners.web]\nbind = \"127.0.0.1:0\"\n";
const POOLS: &str = "[pools.a]\nbackends = [{ address = \"10.0.0.1:80\" }]\n\
                     [pools.b]\nbackends = [{ address = \"b.internal:80\" }]\n";

/// The one route of a file with the pools `a` and `b`.
#[track_caller]
fn route(keys: &str) -> RouteConfig {
    let text = format!("{LISTENER}{POOLS}[[routes]]\nname = \"r\"\n{keys}\n");
    config(&text).door.routes.remove(0)
}

#[track_caller]
fn when(keys: &str) -> Matcher {
    route(&format!("match = {{ {keys} }}\nto = {{ pool = \"a\" }}")).route.when
}

fn minimal() -> DoorConfig {
    config(&format!("{LISTENER}{POOLS}")).door
}

#[test]
fn a_listener_has_the_documented_defaults() {
    let listener = minimal().listeners.remove(0);
    assert_eq!(listener.max_header_size, 32 << 10);
    assert_eq!(listener.max_uri, 8 << 10);
    assert_eq!(listener.max_fields, 100);
    assert_eq!(listener.max_body, None);
    assert_eq!(listener.max_connections, None);
    assert_eq!(listener.request_head_timeout, Duration::from_secs(5));
    assert_eq!(listener.idle_timeout, Duration::from_secs(75));
    assert_eq!(listener.forwarded, ForwardedStyle::XForwarded);
    assert!(listener.path_rules.merge_slashes && !listener.path_rules.allow_backslash);
}

#[test]
fn a_pool_and_a_route_have_the_documented_defaults() {
    let pool = minimal().pools.remove(0);
    assert_eq!(pool.rule, Rule::LeastRequests);
    assert_eq!(pool.upstream.idle, Duration::from_secs(4));
    assert_eq!(pool.upstream.max_requests, 10_000);
    assert_eq!(pool.health.probe, ProbeKind::Tcp);
    assert_eq!(pool.health.jitter_percent, 20);
    assert_eq!(&*pool.backends[0].id.0, "10.0.0.1:80");
    let route = route("to = { pool = \"a\" }");
    assert_eq!(route.timeouts.connect, Duration::from_secs(1));
    assert_eq!(route.timeouts.first_byte, Duration::from_secs(30));
    assert_eq!(route.timeouts.idle_stream, Duration::from_secs(300));
    assert_eq!((route.timeouts.attempt, route.timeouts.total), (None, None));
    assert_eq!(route.retries.max, 1);
}

#[test]
fn what_a_listener_says_arrives() {
    let text = "schema = 1\n[listeners.web]\nbind = [\"127.0.0.1:80\", \"[::1]:80\"]\n\
                max_connections = 7\nmax_body = \"2MiB\"\nforwarded = \"off\"\n\
                paths = { merge_slashes = false, allow_encoded_slash = true }\n\
                timeouts = { idle = \"1m30s\" }\ndeny = \"10.0.0.0/8\"\n\
                [listeners.plain]\nbind = \"127.0.0.1:81\"\nredirect_to = \"https\"\n";
    let door = config(text).door;
    let [plain, web] = door.listeners.as_slice() else { panic!("two listeners") };
    assert_eq!((web.bind.len(), web.max_connections, web.max_body), (2, Some(7), Some(2 << 20)));
    assert_eq!(web.idle_timeout, Duration::from_secs(90));
    assert!(!web.path_rules.merge_slashes && web.path_rules.allow_encoded_slash);
    assert_eq!(web.deny.len(), 1);
    assert_eq!(plain.redirect_to_https, Some(443));
}

#[test]
fn what_a_pool_says_arrives_and_defaults_stand_behind_it() {
    let text = format!(
        "{LISTENER}[pools.a]\nbalance = \"consistent_hash\"\nhash_by = {{ header = \"X-User\" }}\n\
         max_concurrency = 9\nbackends = [{{ id = \"x\", address = \"[::1]:81\", weight = 3 }},\n\
         {{ id = \"y\", address = \"y.internal:81\", max_concurrency = 2, zone = \"z\" }}]\n\
         health = {{ interval = \"7s\", status = [\"200-204\", 301] }}\n\
         [defaults.health]\npath = \"/up\"\ninterval = \"3s\"\ntimeout = \"2s\"\n"
    );
    let pool = config(&text).door.pools.remove(0);
    assert_eq!(pool.hash_by, HashKey::Header("x-user".into()));
    assert_eq!((pool.backends[0].weight, pool.backends[0].max_concurrency), (3, Some(9)));
    assert_eq!(pool.backends[1].max_concurrency, Some(2));
    assert!(matches!(&pool.backends[1].address, Address::Name { port: 81, .. }));
    assert_eq!(pool.health.interval, Duration::from_secs(7));
    assert_eq!(pool.health.timeout, Duration::from_secs(2));
    let ProbeKind::Http { path, status, .. } = &pool.health.probe else { panic!("not http") };
    assert_eq!((&**path, status.as_slice()), ("/up", &[(200, 204), (301, 301)][..]));
}

#[test]
fn more_than_sixteen_backends_are_balanced_by_two_choices() {
    let backend = |n: u32| format!("{{ address = \"10.0.0.{n}:80\" }}");
    let many: Vec<String> = (1..=17).map(backend).collect();
    let text = format!("{LISTENER}[pools.a]\nbackends = [{}]\n", many.join(", "));
    assert_eq!(config(&text).door.pools[0].rule, Rule::TwoChoices);
}

#[test]
fn every_condition_becomes_its_matcher() {
    assert!(matches!(when(""), Matcher::All(all) if all.is_empty()));
    assert!(matches!(when("host = \"*.B.example\""),
        Matcher::Host(hosts) if matches!(&hosts[0], HostPattern::Suffix(s) if &**s == ".b.example")));
    assert!(matches!(when("path_prefix = [\"/a\", \"/b\"]"),
        Matcher::Path(paths) if matches!(&paths[1], PathPattern::Prefix(p) if &**p == "/b")));
    assert!(matches!(when("methods = \"GET\""), Matcher::Method(m) if &*m[0] == "GET"));
    assert!(matches!(when("header = { \"X-A\" = \"1\" }"),
        Matcher::Header(name, ValuePattern::Exact(value)) if &*name == "x-a" && &*value == "1"));
    assert!(matches!(
        when("query = { q = { regex = \"^a\" } }"),
        Matcher::Query(_, ValuePattern::Regex(_))
    ));
    assert!(matches!(when("cookie = { c = { present = false } }"),
        Matcher::Not(inner) if matches!(*inner, Matcher::Cookie(_, ValuePattern::Present))));
    assert!(matches!(when("source = \"10.0.0.0/8\", listener = \"web\""),
        Matcher::All(all) if matches!(&all[..], [Matcher::Source(_), Matcher::Listener(_)])));
    assert!(
        matches!(when("any = [{ path = \"/a\" }, { path = \"/b\" }], not = { path = \"/c\" }"),
        Matcher::All(all) if matches!(&all[..], [Matcher::Any(any), Matcher::Not(_)] if any.len() == 2))
    );
}

#[test]
fn every_target_finds_its_pools() {
    let to = |keys: &str| match route(&format!("to = {{ {keys} }}")).route.action {
        Action::Forward(target) => target,
        other => panic!("{other:?}"),
    };
    assert!(matches!(to("pool = \"b\""), Target::Waterfall(p) if p == [PoolIndex(1)]));
    assert!(matches!(to("waterfall = [\"b\", \"a\"]"),
        Target::Waterfall(p) if p == [PoolIndex(1), PoolIndex(0)]));
    let split = to("split = [{ pool = \"a\", weight = 3 }, { pool = \"b\", weight = 1 }], \
                    sticky = { by = { cookie = \"id\" } }");
    let Target::Split { arms, sticky } = split else { panic!("not a split") };
    assert_eq!((arms[0].weight, &arms[1].to[..]), (3, &[PoolIndex(1)][..]));
    assert_eq!(sticky, Some(HashKey::Cookie("id".into())));
}

#[test]
fn what_a_route_says_arrives() {
    let route = route(
        "match = { path_prefix = \"/api/\" }\nto = { pool = \"a\" }\nrewrite = { prefix = \"/\" }\n\
         limits = { body = \"none\" }\nretries = { max = 0 }\nallow = [\"10.0.0.0/8\"]\n\
         timeouts = { attempt = \"2s\", total = \"9s\" }\nsticky = { cookie = \"s\", ttl = \"1h\" }\n\
         headers = { request = { set = { \"X-Site\" = \"kg\" }, remove = \"X-Debug\" }, \
         response = { add = { vary = \"accept\" } } }",
    );
    assert!(
        matches!(&route.rewrite, Some(Rewrite::Prefix { from, to }) if &**from == "/api/" && &**to == "/")
    );
    assert_eq!((route.max_body, route.retries.max, route.allow.len()), (Some(u64::MAX), 0, 1));
    assert_eq!(route.timeouts.attempt, Some(Duration::from_secs(2)));
    assert_eq!(route.request_headers.set, [("x-site".into(), "kg".into())]);
    assert_eq!(route.request_headers.remove, ["x-debug".into()]);
    assert_eq!(route.response_headers.add, [("vary".into(), "accept".into())]);
    let sticky = route.sticky.unwrap();
    assert_eq!(
        (&*sticky.cookie, sticky.ttl, sticky.key.len()),
        ("s", Duration::from_secs(3600), 32)
    );
}

#[test]
fn answers_of_our_own_need_no_pool() {
    let redirect = route("redirect = { to = \"/new\", status = 301 }").route.action;
    assert!(matches!(redirect, Action::Redirect { location: Location::To(_), status: 301 }));
    let respond = route("respond = { body = \"ok\" }").route.action;
    assert!(matches!(respond, Action::Respond { status: 200, body, .. } if &*body == b"ok"));
}

#[test]
fn maintenance_closes_one_route_or_the_whole_site() {
    let route = route("maintenance = true\nto = { pool = \"a\" }");
    assert!(route.in_maintenance);
    let door = config(&format!("{LISTENER}{POOLS}[site]\nmaintenance = true\n")).door;
    assert!(door.in_maintenance);
    let door = door.with_maintenance();
    assert!(door.routes[0].in_maintenance);
    assert!(matches!(&door.routes[0].route.when, Matcher::All(all) if all.is_empty()));
}

#[test]
fn what_is_observed_and_administered_arrives() {
    let config = config(&format!(
        "{LISTENER}[observe]\nmetrics = {{ listen = \"0.0.0.0:9900\" }}\nlog = {{ level = \"debug\" }}\n\
         access_log = {{ to = [\"stdout\", \"file:///a.log\"], format = \"clf\", redact_query = \"k\" }}\n\
         [admin]\nunix = \"/run/t.sock\"\nlisten = \"127.0.0.1:9901\"\n\
         [site]\nname = \"kg\"\nzone = \"a\"\nseed = 7\n"
    ));
    assert_eq!(config.observe.metrics.unwrap().port(), 9900);
    assert_eq!(config.observe.log.level, "debug");
    let log = config.observe.access_log.unwrap();
    assert_eq!((log.targets.len(), log.format), (2, Format::Clf));
    assert_eq!(log.targets[1], LogTarget::File("/a.log".into()));
    assert_eq!(log.redact_query, ["k"]);
    assert_eq!(config.admin.unix.unwrap().to_str(), Some("/run/t.sock"));
    assert_eq!(config.admin.listen.unwrap().port(), 9901);
    assert_eq!(
        (&*config.door.site, config.door.zone.as_deref(), config.door.seed),
        ("kg", Some("a"), 7)
    );
}

#[test]
fn what_cannot_be_encrypted_is_not_sent_in_the_clear() {
    let config = config(&format!(
        "{LISTENER}[listeners.tls]\nbind = \"127.0.0.1:1\"\ntls = {{}}\n\
         [pools.a]\nbackends = [{{ address = \"10.0.0.1:443\" }}]\ntls = {{}}\n"
    ));
    assert_eq!(config.door.listeners.len(), 1);
    assert_eq!(config.closed_listeners, ["tls"]);
    assert!(config.door.pools[0].backends.is_empty());
}

#[test]
fn a_boot_is_reckoned_to_full_weight() {
    let slow_start = |pool: &str, defaults: &str| {
        let text = format!(
            "{LISTENER}[pools.burst]\nkind = \"elastic\"\nmax_concurrency = 10\n{pool}\n\
             [pools.burst.process]\ncommand = [\"sleep\", \"9\"]\nport = 8080\n\
             [scalers.burst]\n{defaults}\n"
        );
        config(&text).scalers.remove(0).boot.slow_start
    };
    let of = |slow_start: &str| format!("health = {{ slow_start = \"{slow_start}\" }}");
    assert_eq!(slow_start("", ""), Duration::from_secs(10));
    assert_eq!(slow_start(&of("3s"), ""), Duration::from_secs(3));
    let defaults = format!("[defaults]\n{}", of("4s"));
    assert_eq!(slow_start("", &defaults), Duration::from_secs(4));
    assert_eq!(slow_start(&of("0s"), &defaults), Duration::ZERO);
}

#[test]
fn no_form_of_our_own_address_is_a_backend() {
    for (address, why) in [
        ("127.0.0.1:1", "of this door"),
        ("[::ffff:127.0.0.1]:1", "of this door"),
        ("localhost:1", "of this door"),
        ("0.0.0.0:1", "nobody can be reached"),
        ("[::ffff:0.0.0.0]:1", "nobody can be reached"),
    ] {
        let text = format!(
            "schema = 1\n[listeners.web]\nbind = \"127.0.0.1:1\"\n[pools.app]\n\
             backends = [{{ address = \"{address}\" }}]\n[[routes]]\nname = \"all\"\n\
             to = {{ pool = \"app\" }}\n"
        );
        let problems = parse("a.toml", &text).problems;
        let text = super::render_text(&problems);
        assert!(text.contains(why), "{address}: {text}");
    }
}

#[test]
fn a_health_check_says_what_it_does_not_look_at() {
    for (health, idle) in [
        ("kind = \"tcp\", path = \"/a\"", vec!["path"]),
        ("kind = \"grpc\", status = [204], body_contains = \"a\"", vec!["status", "body_contains"]),
        ("kind = \"http\", grpc_service = \"a\"", vec!["grpc_service"]),
        ("path = \"/a\", status = [204]", vec![]),
        ("grpc_service = \"a\"", vec![]),
    ] {
        let text = format!(
            "schema = 1\n[listeners.web]\nbind = \"127.0.0.1:1\"\n[pools.app]\n\
             backends = [{{ address = \"127.0.0.1:2\" }}]\nhealth = {{ {health} }}\n\
             [[routes]]\nname = \"all\"\nto = {{ pool = \"app\" }}\n"
        );
        let text = super::render_text(&parse("a.toml", &text).problems);
        assert_eq!(text.matches("TG0512").count(), idle.len(), "{text}");
        for key in idle {
            assert!(text.contains(&format!("`{key}` has no effect")), "{text}");
        }
    }
}

#[test]
fn credentials_are_in_no_effective_configuration_whatever_form_they_have() {
    let text = "schema = 1\n[listeners.web]\nbind = \"127.0.0.1:1\"\n[pools.app]\nkind = \"elastic\"\n\
        [pools.app.process]\ncommand = [\"x\"]\nports = [9000, 9010]\n\
        env = { DATABASE_URL = \"postgres://u:s3cr3t@h\" }\n\
        [[routes]]\nname = \"all\"\nto = { pool = \"app\" }\n\
        match = { header = { authorization = { regex = \"^Bearer s3cr3t$\" } }, \
        query = { token = \"s3cr3t\" }, cookie = { sid = \"s3cr3t\" } }\n";
    let loaded = parse("a.toml", text);
    for with_defaults in [true, false] {
        let shown = loaded.effective(with_defaults);
        assert!(!shown.contains("s3cr3t"), "{shown}");
        assert!(shown.contains("DATABASE_URL") && shown.contains("authorization"), "{shown}");
    }
}
