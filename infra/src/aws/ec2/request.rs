//! A launch as one call of RunInstances.

use aws_sdk_ec2::operation::run_instances::builders::RunInstancesInputBuilder;
use aws_sdk_ec2::types::{
    HttpTokensState, InstanceInterruptionBehavior, InstanceMarketOptionsRequest,
    InstanceMetadataOptionsRequest, InstanceType, LaunchTemplateSpecification, MarketType,
    ResourceType, ShutdownBehavior, SpotInstanceType, SpotMarketOptions, TagSpecification,
};
use scaler::ports::LaunchRequest;

use super::settings::Spec;
use super::tags;

/// Follows from the launch alone, byte for byte: under one token EC2 wants the same request again.
pub(super) fn input(request: &LaunchRequest, spec: &Spec) -> RunInstancesInputBuilder {
    let template = LaunchTemplateSpecification::builder()
        .launch_template_id(&spec.template)
        .version(spec.version.to_string());
    // Nobody asks the machine for its role without a token (IMDSv2).
    let metadata = InstanceMetadataOptionsRequest::builder().http_tokens(HttpTokensState::Required);
    let tags = tags::of(&request.mark, &spec.tags);
    let tagged = [ResourceType::Instance, ResourceType::Volume].map(|kind| {
        TagSpecification::builder().resource_type(kind).set_tags(Some(tags.clone())).build()
    });
    RunInstancesInputBuilder::default()
        .client_token(request.token().to_string())
        .launch_template(template.build())
        .min_count(1)
        .max_count(i32::try_from(request.count).unwrap_or(i32::MAX))
        .subnet_id(&spec.subnet)
        .set_instance_type(spec.instance_type.as_deref().map(InstanceType::from))
        .set_security_group_ids(Some(spec.security_groups.clone()).filter(|all| !all.is_empty()))
        .metadata_options(metadata.build())
        // One that is switched off from within costs nothing any more.
        .instance_initiated_shutdown_behavior(ShutdownBehavior::Terminate)
        .set_instance_market_options(spec.spot.then(spot))
        .set_tag_specifications(Some(tagged.to_vec()))
}

fn spot() -> InstanceMarketOptionsRequest {
    let options = SpotMarketOptions::builder()
        .spot_instance_type(SpotInstanceType::OneTime)
        .instance_interruption_behavior(InstanceInterruptionBehavior::Terminate);
    InstanceMarketOptionsRequest::builder()
        .market_type(MarketType::Spot)
        .spot_options(options.build())
        .build()
}

#[cfg(test)]
mod tests {
    use scaler::ports::Purchase;

    use super::super::settings::{Ec2Settings, tests::settings};
    use super::*;

    fn request(settings: &Ec2Settings) -> (LaunchRequest, Spec) {
        let offer = settings.offers().remove(0);
        let spec = Spec::read(&offer.spec).unwrap();
        (LaunchRequest { mark: tags::tests::made(), count: 3, offer }, spec)
    }

    #[test]
    fn a_launch_is_one_to_all_of_it_under_its_token_with_its_mark() {
        let (launch, spec) = request(&settings());
        let made = input(&launch, &spec).build().unwrap();
        assert_eq!(made.client_token(), Some(launch.token().to_string().as_str()));
        assert_eq!((made.min_count(), made.max_count()), (Some(1), Some(3)));
        let template = made.launch_template().unwrap();
        assert_eq!((template.launch_template_id(), template.version()), (Some("lt-0a"), Some("7")));
        assert_eq!((made.subnet_id(), made.security_group_ids()), (Some("subnet-0a"), &[][..]));
        assert_eq!(made.instance_type(), Some(&InstanceType::C7gLarge));
        let tokens = made.metadata_options().and_then(|options| options.http_tokens());
        assert_eq!(tokens, Some(&HttpTokensState::Required));
        assert!(made.instance_market_options().is_none());
        let marks = made.tag_specifications().iter().map(|tagged| tags::mark(tagged.tags()));
        assert_eq!(marks.collect::<Vec<_>>(), [Some(launch.mark.clone()), Some(launch.mark)]);
    }

    #[test]
    fn spot_is_asked_for_where_the_offer_says_so() {
        let purchase = Purchase { on_demand_base: 0, spot_percent: 100 };
        let spot =
            Ec2Settings { purchase, security_groups: vec!["sg-0a".to_owned()], ..settings() };
        let (launch, spec) = request(&spot);
        let made = input(&launch, &spec).build().unwrap();
        let market = made.instance_market_options().and_then(|options| options.market_type());
        assert_eq!(market, Some(&MarketType::Spot));
        assert_eq!(made.security_group_ids(), ["sg-0a"]);
    }
}
