//! `[pools.*.aws]`: instances of EC2.

use std::collections::{BTreeMap, BTreeSet};

use infra::aws::Identity;
use infra::aws::ec2::Ec2Settings;
use policies::backend::PoolName;
use scaler::ports::Purchase;

use super::{Build, aws};
use crate::config::document::{Entry, Node, Value};
use crate::config::text::values as say;
use crate::config::view::View;
use crate::config::{ProviderConfig, SiteConfig};

/// A tag's key and value (Amazon EC2 User Guide, "Tag restrictions"), and how many there may be, of
/// which seven are ours.
const TAG: (usize, usize, usize) = (128, 256, 50 - 7);

/// What launches and finds instances; `None` if it is to be done in a way that is not supported yet.
pub(super) fn ec2(
    build: &mut Build<'_>,
    entry: &Entry,
    view: View<'_>,
    site: &SiteConfig,
) -> Option<ProviderConfig> {
    if view.text("mode") == Some("asg") {
        return None;
    }
    let (template, purchase) = (view.view("launch_template"), view.view("purchase"));
    let region = checked(build, view, "region", is_region, ("a region", "eu-west-2")).pop();
    let timeout = view.duration("timeout").unwrap_or_default();
    let mut place = aws::place(build, view, region.as_deref(), timeout);
    place.identity = identity(view);
    let id = checked(build, template, "id", is_id("lt-"), ("a launch template", "lt-0a1b2c3d"));
    let one_subnet = ("a subnet", "subnet-0a1b2c3d");
    let one_group = ("a security group", "sg-0a1b2c3d");
    let one_type = ("an instance type", "c7g.large");
    Some(ProviderConfig::Ec2(Ec2Settings {
        site: site.name.clone(),
        pool: PoolName(entry.key.as_str().into()),
        place,
        template: id.concat(),
        version: version(build, template),
        subnets: checked(build, view, "subnets", is_id("subnet-"), one_subnet),
        instance_types: checked(build, view, "instance_types", is_type, one_type),
        security_groups: checked(build, view, "security_groups", is_id("sg-"), one_group),
        port: view.integer("backend_port").unwrap_or_default(),
        tags: tags(build, view),
        purchase: Purchase {
            on_demand_base: purchase.integer("on_demand_base").unwrap_or_default(),
            spot_percent: spot_percent(purchase),
        },
        visible_within: view.duration("visible_within").unwrap_or_default(),
    }))
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // the walk keeps it to 0 to 100
fn spot_percent(view: View<'_>) -> u32 {
    view.share("spot_share").unwrap_or_default().round() as u32
}

fn identity(view: View<'_>) -> Identity {
    let profile = view.given("credentials").and_then(Node::table).and_then(|t| t.get("profile"));
    match (profile.and_then(Node::text), view.text("credentials")) {
        (Some(profile), _) => Identity::Profile(profile.to_owned()),
        (None, Some("instance_profile")) => Identity::Machine,
        (None, _) => Identity::Found,
    }
}

/// The texts of a key, each as EC2 has it, and none twice.
fn checked(
    build: &mut Build<'_>,
    view: View<'_>,
    key: &str,
    is_good: impl Fn(&str) -> bool,
    (what, example): (&str, &str),
) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let mut good = Vec::new();
    for (node, text) in view.list(key).iter().filter_map(|node| Some((node, node.text()?))) {
        if !is_good(text) {
            build.say(node.span, say::ec2_name(what, text, example));
        } else if seen.insert(text) {
            good.push(text.to_owned());
        } else {
            build.say(node.span, say::ec2_twice(text));
        }
    }
    good
}

fn version(build: &mut Build<'_>, view: View<'_>) -> u64 {
    let Some(node) = view.given("version") else { return 0 };
    let number = match &node.value {
        Value::Integer(number) => u64::try_from(*number).ok(),
        _ => node.text().and_then(|text| text.parse().ok()),
    };
    match number {
        Some(number) if number > 0 => number,
        _ => {
            build.say(node.span, say::moving_version(node.text().unwrap_or("0")));
            0
        }
    }
}

fn tags(build: &mut Build<'_>, view: View<'_>) -> BTreeMap<String, String> {
    let mut tags = BTreeMap::new();
    let table = view.own("tags").and_then(Node::table);
    for entry in table.map(|table| table.entries.as_slice()).unwrap_or_default() {
        let key = entry.key.as_str();
        let value = entry.node.text().unwrap_or_default();
        let lower = key.to_ascii_lowercase();
        let why = if lower.starts_with("aws:") || lower.starts_with("tidegate:") {
            Some("keys that begin so are set by AWS and by Tidegate")
        } else if key.chars().count() > TAG.0 || value.chars().count() > TAG.1 {
            Some("a key has up to 128 letters, a value up to 256")
        } else if tags.len() == TAG.2 {
            Some("an instance has up to 50 tags, of which Tidegate needs 7")
        } else {
            None
        };
        match why {
            Some(why) => build.say(entry.key_span, say::ec2_tag(key, why)),
            None => drop(tags.insert(key.to_owned(), value.to_owned())),
        }
    }
    tags
}

fn is_word(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !text.is_empty() && text.len() <= 64 && text.bytes().all(is_plain)
}

/// `eu-west-2`; names of regions to come look like those of today.
fn is_region(text: &str) -> bool {
    is_word(text) && text.contains('-') && text.ends_with(|last: char| last.is_ascii_digit())
}

fn is_id(prefix: &'static str) -> impl Fn(&str) -> bool {
    move |text| {
        let rest = text.strip_prefix(prefix);
        rest.is_some_and(|rest| is_word(rest) && !rest.contains('-'))
    }
}

/// `c7g.large`, `u-6tb1.metal`
fn is_type(text: &str) -> bool {
    text.split_once('.').is_some_and(|(family, size)| is_word(family) && is_word(size))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_ec2_are_told_from_others() {
        for good in ["eu-west-2", "us-gov-east-1", "ap-northeast-2"] {
            assert!(is_region(good), "{good}");
        }
        for bad in ["", "london", "eu-west-2a", "EU-WEST-2", "http://eu-west-2"] {
            assert!(!is_region(bad), "{bad}");
        }
        let is_subnet = is_id("subnet-");
        assert!(is_subnet("subnet-0aaa") && is_subnet("subnet-0a1b2c3d4e5f60718"));
        assert!(!is_subnet("subnet-") && !is_subnet("sg-0a") && !is_subnet("subnet-0a/b"));
        assert!(is_type("c7g.large") && is_type("u-6tb1.metal") && is_type("m7i.metal-24xl"));
        assert!(!is_type("large") && !is_type("c7g.") && !is_type("c7g.large;"));
    }
}
