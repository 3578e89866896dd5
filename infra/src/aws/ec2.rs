//! Instances of EC2, by launch templates.
//!
//! A launch is one RunInstances with the token of its mark, so that EC2 itself makes a repeat
//! harmless; all its parameters are frozen in the offer. Instances carry the mark in their tags and are
//! found by them. Nothing is repeated here, and nothing is remembered but how often we have asked.
//!
//! | file          | what                                                        |
//! |---------------|-------------------------------------------------------------|
//! | here          | the port and the three calls                                 |
//! | `settings.rs` | what is configured, as offers                               |
//! | `request.rs`  | a launch of the port as RunInstances                        |
//! | `tags.rs`     | a mark as tags, and back                                    |
//! | `read.rs`     | an instance of the SDK as one of the port                   |
//! | `failure.rs`  | an error of the SDK as one of the port                      |
//! | `marks.rs`    | what EC2 is about to take back                              |
//! | `pace.rs`     | how often we ask                                            |
//!
//! Not used are the SDK's waiters (they sleep for 15 s) and its retries (the scaler knows what else is
//! under way), nor DescribeInstanceStatus: whether an instance works is for the health checks to say.

use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_ec2::Client;
use aws_sdk_ec2::config::http::HttpResponse;
use aws_sdk_ec2::error::{ProvideErrorMetadata, SdkError};
use policies::backend::BackendId;
use scaler::ports::{Abilities, Instance, LaunchRequest, Provider, ProviderError, Source};
use tokio::runtime::Handle;
use tokio::sync::OnceCell;

use super::connection::{self, Repeats};

mod failure;
mod marks;
mod pace;
mod read;
mod request;
mod settings;
mod tags;

use marks::Marks;
use pace::Bucket;
pub use settings::Ec2Settings;
use settings::Spec;

/// For events, metrics and the journal.
const NAME: &str = "ec2";

const RUN: &str = "ec2:RunInstances";
const DESCRIBE: &str = "ec2:DescribeInstances";
const TERMINATE: &str = "ec2:TerminateInstances";

/// Instances of one launch: EC2 counts those too, 1000 and 2 a second.
const MAX_BATCH: u32 = 100;

/// Instances of one call that gives them back.
const TERMINATED_AT_ONCE: usize = 100;

/// Instances of one page of a list (5 to 1000).
const PAGE: i32 = 500;

/// Pages of a list; nobody has so many instances in a pool.
const PAGES: usize = 40;

/// How long a token is relied on: EC2 keeps them for a day at least.
const TOKEN_LIFE: Duration = Duration::from_secs(12 * 3600);

/// Launches instances of one pool at EC2.
pub struct Ec2Provider {
    settings: Ec2Settings,
    /// Made with the first call: looking for credentials may take time.
    client: OnceCell<Client>,
    launches: Bucket,
    lists: Bucket,
    ends: Bucket,
    marks: Marks,
}

impl Ec2Provider {
    /// Touches no network yet.
    pub fn new(settings: Ec2Settings) -> Ec2Provider {
        Ec2Provider {
            settings,
            client: OnceCell::new(),
            launches: Bucket::new(4.0, 1.0),
            lists: Bucket::new(10.0, 2.0),
            ends: Bucket::new(10.0, 1.0),
            marks: Marks::new(),
        }
    }

    /// Made beside the others: certificates and tables of TLS take a part of a second.
    async fn client(&self, action: &'static str) -> Result<&Client, ProviderError> {
        let make = || async {
            let (place, runtime) = (self.settings.place.clone(), Handle::current());
            let made = tokio::task::spawn_blocking(move || {
                Client::new(&runtime.block_on(connection::connect(&place, Repeats::Caller)))
            });
            made.await.map_err(|error| unclear(action, error.into()))
        };
        self.client.get_or_try_init(make).await
    }

    async fn listed(&self) -> Result<Vec<Instance>, ProviderError> {
        let mut all = Vec::new();
        let mut after = None;
        for _ in 0..PAGES {
            let page = self.describe(after).await?;
            all.extend(page.instances);
            after = page.next;
            if after.is_none() {
                return Ok(all);
            }
        }
        Err(unclear(DESCRIBE, format!("the list has no end after {PAGES} pages").into()))
    }

    async fn describe(&self, after: Option<String>) -> Result<Page, ProviderError> {
        turn(&self.lists, DESCRIBE).await?;
        let own = tags::filters(&self.settings.site, &self.settings.pool);
        let describe = self.client(DESCRIBE).await?.describe_instances();
        let asked = describe.set_filters(Some(own.to_vec())).max_results(PAGE);
        let answer = asked.set_next_token(after).send().await;
        let page = answer.map_err(|error| self.failed(&self.lists, DESCRIBE, "", &error))?;
        let shown = page.reservations().iter().flat_map(|reservation| reservation.instances());
        let read = shown.map(|shown| read::instance(shown, self.settings.port, None));
        let instances = read.collect::<Option<Vec<Instance>>>();
        Ok(Page {
            instances: instances.ok_or_else(|| strange(DESCRIBE))?,
            next: page.next_token().filter(|token| !token.is_empty()).map(str::to_owned),
        })
    }

    /// All of them are gone, or on their way. One that is protected does not keep the others: EC2
    /// refuses a call as a whole.
    async fn end(&self, ids: &[String]) -> Result<(), ProviderError> {
        let all = self.end_together(ids).await;
        if ids.len() == 1 || !matches!(all, Err(ProviderError::Refused { .. })) {
            return all;
        }
        let mut worst = Ok(());
        for id in ids {
            worst = self.end_together(std::slice::from_ref(id)).await.and(worst);
        }
        worst
    }

    /// Those that EC2 does not know are gone.
    async fn end_together(&self, ids: &[String]) -> Result<(), ProviderError> {
        let mut left = ids.to_vec();
        // Each time those are left out of which EC2 says that it does not know them.
        while !left.is_empty() {
            turn(&self.ends, TERMINATE).await?;
            let terminate = self.client(TERMINATE).await?.terminate_instances();
            let answer = terminate.set_instance_ids(Some(left.clone())).send().await;
            let Err(error) = answer else { return Ok(()) };
            let before = left.len();
            left = known(&left, error.code(), error.message());
            if left.len() == before {
                return Err(self.failed(&self.ends, TERMINATE, "", &error));
            }
        }
        Ok(())
    }

    fn failed<E>(
        &self,
        bucket: &Bucket,
        action: &'static str,
        offer: &str,
        error: &SdkError<E, HttpResponse>,
    ) -> ProviderError
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        let sorted = failure::sorted(action, offer, error);
        if matches!(sorted, ProviderError::Throttled { .. }) {
            bucket.rest();
        }
        sorted
    }
}

/// A part of a list, and where the next begins.
struct Page {
    instances: Vec<Instance>,
    next: Option<String>,
}

#[async_trait]
impl Provider for Ec2Provider {
    fn abilities(&self) -> Abilities {
        Abilities {
            provider: NAME,
            offers: self.settings.offers(),
            purchase: self.settings.purchase,
            max_batch: MAX_BATCH,
            token_life: Some(TOKEN_LIFE),
            visible_within: self.settings.visible_within,
            // A call waits for its turn, and a list has pages.
            answer_within: self.settings.place.timeout + pace::WAIT + Duration::from_secs(1),
            quota: None,
            // By the second; only the first minute is whole.
            billing_step: None,
        }
    }

    async fn launch(&self, request: &LaunchRequest) -> Result<Vec<Instance>, ProviderError> {
        let refused = |reason| ProviderError::Refused { provider: NAME, action: RUN, reason };
        let spec = Spec::read(&request.offer.spec)
            .map_err(|why| refused(format!("the launch is none of EC2's: {why}")))?;
        if spec.region != self.settings.region() {
            // There the token may have launched, and here it would launch again.
            let text = format!("it was launched in `{}`, which is not asked any more", spec.region);
            return Err(unclear(RUN, text.into()));
        }
        turn(&self.launches, RUN).await?;
        let answer = request::input(request, &spec).send_with(self.client(RUN).await?).await;
        let answer = answer
            .map_err(|error| self.failed(&self.launches, RUN, &request.offer.name, &error))?;
        let read = answer
            .instances()
            .iter()
            .map(|shown| read::instance(shown, self.settings.port, Some(&request.mark)));
        read.collect::<Option<Vec<Instance>>>().ok_or_else(|| strange(RUN))
    }

    async fn terminate(&self, instances: &[BackendId]) -> Result<(), ProviderError> {
        let ids: Vec<String> = instances.iter().map(|id| id.0.to_string()).collect();
        for part in ids.chunks(TERMINATED_AT_ONCE) {
            self.end(part).await?;
        }
        Ok(())
    }

    async fn list(&self) -> Result<Vec<Instance>, ProviderError> {
        let (listed, marked) = tokio::join!(self.listed(), self.marked());
        let mut listed = listed?;
        for instance in &mut listed {
            instance.is_marked = marked.contains(&*instance.id.0);
        }
        self.marks.look_at(&listed);
        Ok(listed)
    }
}

/// Our own turn, before EC2 has to say that it is too much.
async fn turn(bucket: &Bucket, action: &'static str) -> Result<(), ProviderError> {
    bucket.turn().await.map_err(|wait| ProviderError::Throttled {
        provider: NAME,
        action,
        retry_after: Some(wait),
    })
}

/// Those of `ids` that EC2 has not said it does not know. One id too many, and it refuses to give
/// back all of them.
fn known(ids: &[String], code: Option<&str>, message: Option<&str>) -> Vec<String> {
    let unknown = code.is_some_and(|code| code.starts_with("InvalidInstanceID"));
    let message = message.filter(|_| unknown).unwrap_or_default();
    let words: Vec<&str> =
        message.split(|c: char| !c.is_ascii_alphanumeric() && c != '-').collect();
    ids.iter().filter(|id| !words.contains(&id.as_str())).cloned().collect()
}

fn unclear(action: &'static str, source: Source) -> ProviderError {
    ProviderError::Unclear { provider: NAME, action, source }
}

/// An answer that lacks what every answer has: half of it, or of another version.
fn strange(action: &'static str) -> ProviderError {
    unclear(action, "an instance without an id or a state that is known".into())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::task::JoinSet;

    use super::settings::tests::settings;
    use super::*;

    /// Nobody listens there.
    fn unreachable() -> Ec2Settings {
        let mut settings = settings();
        settings.place.endpoint = Some("http://127.0.0.1:9".to_owned());
        settings
    }

    fn launch(settings: &Ec2Settings) -> LaunchRequest {
        LaunchRequest { mark: tags::tests::made(), count: 1, offer: settings.offers().remove(0) }
    }

    #[tokio::test]
    async fn a_launch_of_another_region_is_not_made_in_this_one() {
        let mut before = unreachable();
        before.place.region = Some("eu-west-1".to_owned());
        let provider = Ec2Provider::new(unreachable());
        let error = provider.launch(&launch(&before)).await.unwrap_err();
        assert!(matches!(error, ProviderError::Unclear { .. }), "{error}");
        assert!(scaler::ports::with_causes(&error).contains("`eu-west-1`"), "{error}");
        assert!(provider.client.get().is_none(), "nobody was asked");
    }

    #[tokio::test]
    async fn what_is_too_much_is_not_asked_for() {
        let provider = Arc::new(Ec2Provider::new(unreachable()));
        let mut launches = JoinSet::new();
        // Four at once, and two that wait for a second or two.
        for _ in 0..12 {
            let (provider, request) = (Arc::clone(&provider), launch(&unreachable()));
            launches.spawn(async move { provider.launch(&request).await });
        }
        let answers = launches.join_all().await;
        let is_throttled = |answer: &&Result<Vec<Instance>, ProviderError>| {
            matches!(answer, Err(ProviderError::Throttled { retry_after: Some(_), .. }))
        };
        let throttled = answers.iter().filter(is_throttled).count();
        assert!((4..=6).contains(&throttled), "{throttled} of 12");
        assert!(answers.iter().all(Result::is_err));
    }

    #[test]
    fn what_is_not_there_does_not_keep_the_others_from_being_given_back() {
        let ids = ["i-0a", "i-0b", "p-1-0"].map(str::to_owned);
        let named = |code, text| known(&ids, Some(code), Some(text)).join(" ");
        let missing = "The instance IDs 'i-0a, i-0b' do not exist";
        assert_eq!(named("InvalidInstanceID.NotFound", missing), "p-1-0");
        assert_eq!(named("InvalidInstanceID.Malformed", "Invalid id: \"p-1-0\""), "i-0a i-0b");
        assert_eq!(named("UnauthorizedOperation", missing), "i-0a i-0b p-1-0");
        assert_eq!(named("InvalidInstanceID.NotFound", "none of i-0abc"), "i-0a i-0b p-1-0");
    }
}
