//! Who launched an instance, in its tags, and back.

use std::collections::BTreeMap;

use aws_sdk_ec2::types::{Filter, Tag};
use policies::backend::PoolName;
use scaler::ports::Mark;

/// The keys that hold a mark; `docs/aws-permissions.md` names the first.
pub(super) const SITE: &str = "tidegate:site";
const POOL: &str = "tidegate:pool";
const INSTALLATION: &str = "tidegate:installation";
const EPOCH: &str = "tidegate:epoch";
const DECISION: &str = "tidegate:decision";
const ATTEMPT: &str = "tidegate:attempt";

/// The tags of one launch: the operator's, and those that hold the mark.
pub(super) fn of(mark: &Mark, others: &BTreeMap<String, String>) -> Vec<Tag> {
    let ours = [
        (SITE, mark.site.to_string()),
        (POOL, mark.pool.to_string()),
        (INSTALLATION, mark.installation.to_string()),
        (EPOCH, mark.epoch.to_string()),
        (DECISION, mark.decision.to_string()),
        (ATTEMPT, mark.attempt.to_string()),
    ];
    let name = ("Name".to_owned(), format!("{}/{}", mark.site, mark.pool));
    let mut all = BTreeMap::from([name]);
    all.extend(others.clone());
    all.extend(ours.map(|(key, value)| (key.to_owned(), value)));
    let tag = |(key, value)| Tag::builder().key(key).value(value).build();
    all.into_iter().map(tag).collect()
}

/// The mark in these tags; `None` if one of its parts is missing or is none of ours.
pub(super) fn mark(tags: &[Tag]) -> Option<Mark> {
    let text = |key| tags.iter().find(|tag| tag.key() == Some(key))?.value();
    Some(Mark {
        site: text(SITE)?.into(),
        pool: PoolName(text(POOL)?.into()),
        installation: text(INSTALLATION)?.into(),
        epoch: text(EPOCH)?.parse().ok()?,
        decision: text(DECISION)?.parse().ok()?,
        attempt: text(ATTEMPT)?.parse().ok()?,
    })
}

/// What finds all instances of a pool, whoever of us launched them.
pub(super) fn filters(site: &str, pool: &PoolName) -> [Filter; 2] {
    let filter = |key: &str, value: &str| {
        Filter::builder().name(format!("tag:{key}")).values(literal(value)).build()
    };
    [filter(SITE, site), filter(POOL, &pool.0)]
}

/// `*` and `?` stand for others in a filter, unless a backslash precedes them.
fn literal(text: &str) -> String {
    let mut plain = String::new();
    for letter in text.chars() {
        if matches!(letter, '*' | '?' | '\\') {
            plain.push('\\');
        }
        plain.push(letter);
    }
    plain
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) fn made() -> Mark {
        Mark {
            site: "kg-sports".into(),
            pool: PoolName("cloud".into()),
            installation: "5f0c".into(),
            epoch: 1,
            decision: 17,
            attempt: 2,
        }
    }

    #[test]
    fn a_mark_comes_back_out_of_its_tags_and_nothing_else_is_one() {
        let others = BTreeMap::from([("tidegate:epoch".to_owned(), "9".to_owned())]);
        let tags = of(&made(), &others);
        assert_eq!(mark(&tags), Some(made()), "nobody writes over ours");
        for missing in 0..tags.len() {
            let mut rest = tags.clone();
            let gone = rest.remove(missing);
            assert_eq!(mark(&rest).is_some(), gone.key() == Some("Name"), "{gone:?}");
        }
        let mut strange = tags;
        strange.retain(|tag| tag.key() != Some(DECISION));
        strange.push(Tag::builder().key(DECISION).value("seventeen").build());
        assert_eq!(mark(&strange), None);
    }

    #[test]
    fn a_filter_finds_the_name_that_is_written_and_no_other() {
        let [site, pool] = filters("a*?\\b", &PoolName("cloud".into()));
        assert_eq!(
            (site.name(), site.values()),
            (Some("tag:tidegate:site"), &[r"a\*\?\\b".to_owned()][..])
        );
        assert_eq!(pool.values(), ["cloud"]);
    }
}
