//! What EC2 is about to take back.
//!
//! Two minutes before it ends a spot instance, EC2 says so in three places: to the instance itself, as an
//! event of EventBridge, and by the status of the request that every spot instance has (Amazon EC2 User
//! Guide, "Spot request status codes"). Only the last can be asked for from outside with nothing set up
//! before. What it does not tell are recommendations to rebalance.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use aws_sdk_ec2::types::{Filter, SpotInstanceRequest};
use scaler::ports::{Instance, ProviderError};

use super::pace::Bucket;
use super::{Ec2Provider, PAGES, turn, unclear};

const DESCRIBE: &str = "ec2:DescribeSpotInstanceRequests";

/// What the status of such a request begins with: `marked-for-termination`, `marked-for-stop`.
const MARKED: &str = "marked-for-";

/// Longer than this, and the list goes without: it is needed for more than for this.
const LIMIT: Duration = Duration::from_secs(2);

/// What is known about the marks of one pool.
#[derive(Debug)]
pub(super) struct Marks {
    asked: Bucket,
    /// The last list has shown one that may be taken back; without such, nobody asks.
    has_spot: AtomicBool,
    /// The last time there was no answer, which was told then.
    is_blind: AtomicBool,
}

impl Marks {
    pub(super) fn new() -> Marks {
        Marks {
            asked: Bucket::new(3.0, 1.0),
            has_spot: AtomicBool::new(false),
            is_blind: AtomicBool::new(false),
        }
    }

    /// Whether to ask next time.
    pub(super) fn look_at(&self, list: &[Instance]) {
        let has_spot = list.iter().any(|one| one.is_spot && one.state.is_live());
        self.has_spot.store(has_spot, Ordering::Relaxed);
    }
}

impl Ec2Provider {
    /// Ids of those that are marked, as far as EC2 tells: that it does not is no reason to have no list.
    pub(super) async fn marked(&self) -> BTreeSet<String> {
        if !self.marks.has_spot.load(Ordering::Relaxed) {
            return BTreeSet::new();
        }
        let late = || unclear(DESCRIBE, format!("no answer within {LIMIT:?}").into());
        let answer = tokio::time::timeout(LIMIT, self.ask_marked()).await;
        let marked = answer.unwrap_or_else(|_| Err(late()));
        let was_blind = self.marks.is_blind.swap(marked.is_err(), Ordering::Relaxed);
        if let (Err(error), false) = (&marked, was_blind) {
            tracing::warn!(pool = %self.settings.pool, %error, "interruptions_unknown");
        }
        marked.unwrap_or_default()
    }

    async fn ask_marked(&self) -> Result<BTreeSet<String>, ProviderError> {
        let mut all = BTreeSet::new();
        let mut after = None;
        for _ in 0..PAGES {
            turn(&self.marks.asked, DESCRIBE).await?;
            let describe = self.client(DESCRIBE).await?.describe_spot_instance_requests();
            let asked = describe.filters(filter()).set_next_token(after).send().await;
            let page =
                asked.map_err(|error| self.failed(&self.marks.asked, DESCRIBE, "", &error))?;
            all.extend(page.spot_instance_requests().iter().filter_map(instance));
            after = page.next_token().filter(|token| !token.is_empty()).map(str::to_owned);
            if after.is_none() {
                break;
            }
        }
        Ok(all)
    }
}

/// Of the whole account: so few are marked at a time that it is not worth naming ours.
fn filter() -> Filter {
    Filter::builder().name("status-code").values(format!("{MARKED}*")).build()
}

/// The instance that a request has brought and that is marked.
fn instance(request: &SpotInstanceRequest) -> Option<String> {
    let code = request.status()?.code()?;
    request.instance_id().filter(|_| code.starts_with(MARKED)).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use aws_sdk_ec2::types::SpotInstanceStatus;

    use super::*;

    #[test]
    fn only_what_is_marked_is_taken_back() {
        let request = |code: &str| {
            let status = SpotInstanceStatus::builder().code(code).build();
            SpotInstanceRequest::builder().instance_id("i-0a").status(status).build()
        };
        for code in ["marked-for-termination", "marked-for-stop"] {
            assert_eq!(instance(&request(code)).as_deref(), Some("i-0a"), "{code}");
        }
        for code in ["fulfilled", "instance-terminated-by-user", ""] {
            assert_eq!(instance(&request(code)), None, "{code}");
        }
        assert_eq!(instance(&SpotInstanceRequest::builder().instance_id("i-0a").build()), None);
    }
}
