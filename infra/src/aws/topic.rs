//! Topics of SNS, and what is said of them in the configuration.

use super::Place;

/// `[alerts.sinks.*]` with `kind = "sns"`, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnsSettings {
    /// Where to.
    pub topic: TopicArn,
    /// How it is reached.
    pub place: Place,
    /// Which facts become attributes, for the filter policies of subscriptions: `severity`, `state`,
    /// `site`, `pool`, `kind`.
    pub attributes: Vec<String>,
    /// Of an ordered topic; `{site}`, `{pool}` are filled in.
    pub group_id: String,
    /// Of an ordered topic; `{alert}`, `{state}`, `{sequence}` are filled in.
    pub dedup_id: String,
}

/// The name of a topic: `arn:aws:sns:eu-west-2:111122223333:people`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicArn {
    text: String,
    region: String,
}

impl TopicArn {
    /// Reads one; `None` if it is none.
    pub fn parse(text: &str) -> Option<TopicArn> {
        let parts: Vec<&str> = text.split(':').collect();
        let ["arn", partition, "sns", region, account, name] = parts[..] else { return None };
        let is_word = |text: &str| {
            !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        };
        let is_account = account.len() == 12 && account.bytes().all(|b| b.is_ascii_digit());
        let plain = name.strip_suffix(".fifo").unwrap_or(name);
        let is_name = name.len() <= 256 && is_word(&plain.replace('_', "-"));
        let is_whole = partition.starts_with("aws") && is_word(region) && is_account && is_name;
        is_whole.then(|| TopicArn { text: text.to_owned(), region: region.to_owned() })
    }

    /// Whether it keeps order.
    pub fn is_ordered(&self) -> bool {
        self.text.ends_with(".fifo")
    }

    /// Where it is.
    pub fn region(&self) -> &str {
        &self.region
    }

    /// As written.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_is_named_whole_or_not_at_all() {
        assert!(
            !TopicArn::parse("arn:aws:sns:eu-west-2:111122223333:people").unwrap().is_ordered()
        );
        let record = TopicArn::parse("arn:aws-cn:sns:cn-north-1:111122223333:a_b-c.fifo").unwrap();
        assert!(record.is_ordered() && record.region() == "cn-north-1");
        for wrong in [
            "people",
            "arn:aws:sqs:eu-west-2:111122223333:people",
            "arn:aws:sns::111122223333:people",
            "arn:aws:sns:eu-west-2:1111:people",
            "arn:aws:sns:eu-west-2:111122223333:",
            "arn:aws:sns:eu-west-2:111122223333:people:5f0c",
            "arn:aws:sns:eu-west-2:111122223333:a b",
        ] {
            assert_eq!(TopicArn::parse(wrong), None, "{wrong}");
        }
    }
}
