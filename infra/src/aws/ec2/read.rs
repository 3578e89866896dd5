//! Instances as EC2 shows them, as the port wants them.

use std::net::{IpAddr, SocketAddr};

use aws_sdk_ec2::types::{Instance as Shown, InstanceLifecycleType, InstanceStateName};
use jiff::Timestamp;
use policies::backend::BackendId;
use scaler::ports::{Instance, InstanceState, Mark};

use super::tags;

/// One of them; `None` if it lacks what every instance has.
pub(super) fn instance(shown: &Shown, port: u16, launched: Option<&Mark>) -> Option<Instance> {
    let image = shown.image_id().unwrap_or("image");
    let kind = shown.instance_type().map_or("type", |kind| kind.as_str());
    let zone = shown.placement().and_then(|placement| placement.availability_zone());
    Some(Instance {
        id: BackendId(shown.instance_id()?.into()),
        state: state(shown.state()?.name()?)?,
        address: address(shown).map(|ip| SocketAddr::new(ip, port)),
        zone: zone.map(Into::into),
        mark: launched.cloned().or_else(|| tags::mark(shown.tags())),
        launched_at: shown.launch_time().and_then(|at| Timestamp::from_second(at.secs()).ok()),
        kind: format!("{image}/{kind}").into(),
        image_made_at: None,
        is_marked: false,
        is_spot: shown.instance_lifecycle() == Some(&InstanceLifecycleType::Spot),
    })
}

/// A state that EC2 may have one day is none of these.
fn state(name: &InstanceStateName) -> Option<InstanceState> {
    match name {
        InstanceStateName::Pending => Some(InstanceState::Pending),
        InstanceStateName::Running => Some(InstanceState::Running),
        InstanceStateName::Stopping | InstanceStateName::ShuttingDown => {
            Some(InstanceState::Stopping)
        }
        InstanceStateName::Stopped => Some(InstanceState::Stopped),
        InstanceStateName::Terminated => Some(InstanceState::Terminated),
        _ => None,
    }
}

/// Within the network; one in a subnet of IPv6 alone has the other kind.
fn address(shown: &Shown) -> Option<IpAddr> {
    let parsed = |text: Option<&str>| text.and_then(|text| text.parse::<IpAddr>().ok());
    parsed(shown.private_ip_address()).or_else(|| parsed(shown.ipv6_address()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use aws_sdk_ec2::primitives::DateTime;
    use aws_sdk_ec2::types::{InstanceState as ShownState, InstanceType, Placement};

    use super::*;

    fn shown(state: &str) -> aws_sdk_ec2::types::builders::InstanceBuilder {
        let state = ShownState::builder().name(state.into()).build();
        Shown::builder().instance_id("i-0a").state(state)
    }

    #[test]
    fn an_instance_has_its_address_its_zone_its_kind_and_its_mark() {
        let mark = tags::tests::made();
        let placed = shown("running")
            .private_ip_address("10.0.0.7")
            .placement(Placement::builder().availability_zone("eu-west-2b").build())
            .image_id("ami-0abc")
            .instance_type(InstanceType::C7gLarge)
            .launch_time(DateTime::from_secs(1_700_000_000))
            .set_tags(Some(tags::of(&mark, &BTreeMap::new())))
            .build();
        let read = instance(&placed, 8080, None).unwrap();
        assert_eq!((&*read.id.0, read.state), ("i-0a", InstanceState::Running));
        assert_eq!(read.address, Some("10.0.0.7:8080".parse().unwrap()));
        assert_eq!((read.zone.as_deref(), &*read.kind), (Some("eu-west-2b"), "ami-0abc/c7g.large"));
        assert_eq!(read.mark, Some(mark));
        assert_eq!(read.launched_at.map(|at| at.as_second()), Some(1_700_000_000));
    }

    #[test]
    fn what_is_not_understood_is_not_believed() {
        assert_eq!(instance(&shown("dreaming").build(), 1, None), None);
        let nameless = ShownState::builder().name(InstanceStateName::Running).build();
        assert_eq!(instance(&Shown::builder().state(nameless).build(), 1, None), None);
        assert_eq!(instance(&shown("pending").build(), 1, None).unwrap().address, None);
    }
}
