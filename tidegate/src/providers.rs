//! From the proven configuration to the providers of instances that the scaler drives.

use std::io;
use std::sync::Arc;

use infra::aws::ec2::Ec2Provider;
use infra::exec::ExecProvider;
use infra::process::ProcessProvider;
use scaler::ports::Provider;

use crate::config::{ElasticConfig, ProviderConfig};

/// The provider of one elastic pool, at work: it takes up the instances that are there already.
///
/// There is to be one per pool at a time. One that replaces another is started after that was
/// dropped.
///
/// # Errors
///
/// The system has no more threads.
pub fn start(pool: &ElasticConfig) -> io::Result<Arc<dyn Provider>> {
    match &pool.provider {
        ProviderConfig::Process(settings) => {
            Ok(Arc::new(ProcessProvider::start(settings.clone())?))
        }
        ProviderConfig::Exec(settings) => Ok(Arc::new(ExecProvider::new(settings.clone()))),
        ProviderConfig::Ec2(settings) => Ok(Arc::new(Ec2Provider::new(settings.clone()))),
    }
}

#[cfg(test)]
mod tests {
    use infra::aws::Identity;

    use super::*;
    use crate::config;

    #[tokio::test]
    async fn what_is_configured_is_what_a_provider_offers() {
        let folder = std::env::temp_dir().join(format!("tidegate-offers-{}", std::process::id()));
        let text = format!(
            "schema = 1\n[site]\nstate_dir = \"{}\"\n[listeners.web]\nbind = \"127.0.0.1:0\"\n\
             [[routes]]\nname = \"all\"\nto = {{ pool = \"burst\" }}\n[scalers.burst]\nfloor = 1\n\
             [pools.burst]\nkind = \"elastic\"\nmax_concurrency = 9\n[pools.burst.process]\n\
             command = [\"sleep\", \"1000\"]\naddresses = \"127.61.0.0/30\"\nport = 8080\n\
             boot_delay = \"3s\"\n",
            folder.display()
        );
        let loaded = config::parse("test", &text);
        let config = loaded.config.unwrap_or_else(|| panic!("{:?}", loaded.problems));
        let [pool] = &config.elastic[..] else { panic!("{:?}", config.elastic) };
        assert_eq!((&*pool.pool.0, pool.max_concurrency), ("burst", Some(9)));

        let provider = start(pool).unwrap();
        let abilities = provider.abilities();
        assert_eq!((abilities.provider, abilities.quota), ("process", Some(2)));
        assert!(abilities.offers[0].spec.contains("\"boot_delay_ms\":3000"));
        assert_eq!(provider.list().await.unwrap(), []);
        assert!(folder.join("instances/burst/lock").exists());
        drop(provider);
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[tokio::test]
    async fn a_pool_at_ec2_offers_its_types_in_its_subnets_and_touches_nothing() {
        let text = "schema = 1\n[site]\nname = \"s\"\n[listeners.web]\nbind = \"127.0.0.1:0\"\n\
                    [[routes]]\nname = \"all\"\nto = { pool = \"cloud\" }\n[scalers.cloud]\n\
                    [pools.cloud]\nkind = \"elastic\"\nmax_concurrency = 9\n[pools.cloud.aws]\n\
                    region = \"eu-west-2\"\nlaunch_template = { id = \"lt-0a\", version = \"7\" }\n\
                    subnets = [\"subnet-0a\", \"subnet-0b\"]\nbackend_port = 8080\n\
                    purchase = { on_demand_base = 2, spot_share = \"50%\" }\n\
                    credentials = { profile = \"tidegate\" }\n";
        let loaded = config::parse("test", text);
        let config = loaded.config.unwrap_or_else(|| panic!("{:?}", loaded.problems));
        let [pool] = &config.elastic[..] else { panic!("{:?}", config.elastic) };
        let abilities = start(pool).unwrap().abilities();
        let offers: Vec<&str> = abilities.offers.iter().map(|offer| &*offer.name).collect();
        let subnets = ["template/subnet-0a", "template/subnet-0b"];
        assert_eq!(offers[..2], subnets.map(|subnet| format!("{subnet}/spot")));
        assert_eq!(offers[2..], subnets);
        assert_eq!((abilities.purchase.on_demand_base, abilities.purchase.spot_percent), (2, 50));
        assert_eq!(abilities.visible_within.as_secs(), 60);
        let ProviderConfig::Ec2(settings) = &pool.provider else { panic!("{pool:?}") };
        assert_eq!(settings.place.identity, Identity::Profile("tidegate".to_owned()));
        assert_eq!((settings.version, settings.port), (7, 8080));
    }
}
