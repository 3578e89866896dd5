//! `[pools.*.aws]`: what is launched at EC2, as offers that can be frozen.

use std::collections::BTreeMap;
use std::time::Duration;

use policies::backend::PoolName;
use scaler::ports::{Offer, Purchase};
use serde::{Deserialize, Serialize};

use crate::aws::Place;

/// `[pools.*.aws]`, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ec2Settings {
    /// `[site].name`, by which instances are found again.
    pub site: String,
    /// The pool the instances are for.
    pub pool: PoolName,
    /// How EC2 is reached; with a region.
    pub place: Place,
    /// `lt-0a1b2c3d4e5f60718`
    pub template: String,
    /// A number: a moving version cannot be repeated under one token.
    pub version: u64,
    /// `subnet-0aaa`, in the order of preference, at least one.
    pub subnets: Vec<String>,
    /// `c7g.large`, in the order of preference; empty is the template's own.
    pub instance_types: Vec<String>,
    /// `sg-0abc`; empty are the template's own.
    pub security_groups: Vec<String>,
    /// Port that backends listen on.
    pub port: u16,
    /// Of everything launched, beside ours.
    pub tags: BTreeMap<String, String>,
    /// How many of them may be such as are taken back at any time.
    pub purchase: Purchase,
    /// How long a launched instance may be missing in a list.
    pub visible_within: Duration,
}

/// All parameters of a launch but its count and its mark.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Spec {
    /// Tokens are a region's own: in another one the same token would launch again.
    pub(super) region: String,
    pub(super) template: String,
    pub(super) version: u64,
    pub(super) subnet: String,
    pub(super) instance_type: Option<String>,
    pub(super) security_groups: Vec<String>,
    pub(super) tags: BTreeMap<String, String>,
    pub(super) spot: bool,
}

impl Ec2Settings {
    /// What can be launched: each type in each subnet, the first type first; where there may be spot,
    /// that before the same at full price.
    pub(super) fn offers(&self) -> Vec<Offer> {
        let types: Vec<Option<&String>> = match self.instance_types.is_empty() {
            true => vec![None],
            false => self.instance_types.iter().map(Some).collect(),
        };
        let has_spot = self.purchase.spot_percent > 0;
        let markets: &[bool] = if has_spot { &[true, false] } else { &[false] };
        let mut offers = Vec::new();
        for spot in markets {
            for instance_type in &types {
                for subnet in &self.subnets {
                    offers.push(self.offer(*instance_type, subnet, *spot));
                }
            }
        }
        offers
    }

    fn offer(&self, instance_type: Option<&String>, subnet: &str, spot: bool) -> Offer {
        let spec = Spec {
            region: self.region().to_owned(),
            template: self.template.clone(),
            version: self.version,
            subnet: subnet.to_owned(),
            instance_type: instance_type.cloned(),
            security_groups: self.security_groups.clone(),
            tags: self.tags.clone(),
            spot,
        };
        let market = if spot { "/spot" } else { "" };
        let named = instance_type.map_or("template", String::as_str);
        Offer {
            name: format!("{named}/{subnet}{market}").into(),
            // Strings and numbers alone cannot fail to become JSON.
            spec: serde_json::to_string(&spec).unwrap_or_default().into(),
            is_spot: spot,
        }
    }

    pub(super) fn region(&self) -> &str {
        self.place.region.as_deref().unwrap_or_default()
    }
}

impl Spec {
    /// `Err` says what is wrong with it.
    pub(super) fn read(text: &str) -> Result<Spec, String> {
        serde_json::from_str(text).map_err(|error| error.to_string())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::aws::Identity;

    pub(in super::super) fn settings() -> Ec2Settings {
        Ec2Settings {
            site: "kg-sports".to_owned(),
            pool: PoolName("cloud".into()),
            place: Place {
                region: Some("eu-west-2".to_owned()),
                endpoint: None,
                timeout: Duration::from_secs(1),
                identity: Identity::Found,
            },
            template: "lt-0a".to_owned(),
            version: 7,
            subnets: vec!["subnet-0a".to_owned(), "subnet-0b".to_owned()],
            instance_types: vec!["c7g.large".to_owned(), "c6g.large".to_owned()],
            security_groups: Vec::new(),
            port: 8080,
            tags: BTreeMap::from([("team".to_owned(), "streaming".to_owned())]),
            purchase: Purchase::default(),
            visible_within: Duration::from_secs(60),
        }
    }

    fn names(settings: &Ec2Settings) -> Vec<String> {
        settings.offers().iter().map(|offer| offer.name.to_string()).collect()
    }

    #[test]
    fn offers_are_types_in_subnets_in_the_order_written_and_spot_comes_first() {
        let full = [
            "c7g.large/subnet-0a",
            "c7g.large/subnet-0b",
            "c6g.large/subnet-0a",
            "c6g.large/subnet-0b",
        ];
        assert_eq!(names(&settings()), full);
        let purchase = Purchase { on_demand_base: 0, spot_percent: 50 };
        let spot = Ec2Settings { purchase, ..settings() };
        let offers = spot.offers();
        assert_eq!(offers.len(), 8);
        assert_eq!((&*offers[0].name, offers[0].is_spot), ("c7g.large/subnet-0a/spot", true));
        assert_eq!((&*offers[4].name, offers[4].is_spot), (full[0], false));
        let own = Ec2Settings { instance_types: Vec::new(), ..settings() };
        assert_eq!(names(&own), ["template/subnet-0a", "template/subnet-0b"]);
    }

    #[test]
    fn an_offer_says_all_of_a_launch() {
        let offer = &settings().offers()[1];
        let spec = Spec::read(&offer.spec).unwrap();
        assert_eq!((spec.region.as_str(), spec.version), ("eu-west-2", 7));
        assert_eq!((spec.subnet.as_str(), spec.spot), ("subnet-0b", false));
        assert_eq!(spec.instance_type.as_deref(), Some("c7g.large"));
        assert_eq!(spec.tags["team"], "streaming");
        assert!(Spec::read("{}").is_err(), "the offer of another provider");
    }
}
