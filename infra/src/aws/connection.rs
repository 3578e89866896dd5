//! Who we are at AWS, and how long we wait for it.

use std::error::Error;
use std::time::Duration;

use aws_config::imds::credentials::ImdsCredentialsProvider;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use scaler::ports::with_causes;

/// One attempt of several, from the name to the last byte of the answer: such calls are small.
const ATTEMPT: Duration = Duration::from_secs(5);

/// A connection; it is a part of the attempt.
const CONNECT: Duration = Duration::from_secs(3);

/// Attempts of the SDK's own within a call; whoever calls us has a longer breath.
const ATTEMPTS: u32 = 3;

/// Where calls go, and how long one may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// `eu-west-2`; `None` is what environment, profile or machine say.
    pub region: Option<String>,
    /// `https://...`; `None` is AWS's own, or that of `AWS_ENDPOINT_URL`.
    pub endpoint: Option<String>,
    /// For one call with its repetitions.
    pub timeout: Duration,
    /// Who calls.
    pub identity: Identity,
}

/// Whose credentials are shown.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Identity {
    /// Whoever the SDK finds: environment, profile, a process, the role of the machine.
    #[default]
    Found,
    /// This profile of the files that the SDK reads.
    Profile(String),
    /// The role of the machine, and nothing else.
    Machine,
}

/// Who repeats a call that may be repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Repeats {
    /// The SDK, within the timeout.
    Sdk,
    /// Whoever calls: they know what else is under way.
    Caller,
}

/// A connection to there, with our credentials.
pub(super) async fn connect(place: &Place, repeats: Repeats) -> SdkConfig {
    let (attempt, retries) = match repeats {
        Repeats::Sdk => (ATTEMPT, RetryConfig::standard().with_max_attempts(ATTEMPTS)),
        Repeats::Caller => (place.timeout, RetryConfig::disabled()),
    };
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(CONNECT.min(place.timeout))
        .operation_attempt_timeout(attempt.min(place.timeout))
        .operation_timeout(place.timeout)
        .build();
    let mut loader = aws_config::defaults(BehaviorVersion::v2026_01_12())
        .timeout_config(timeouts)
        .retry_config(retries);
    if let Some(region) = &place.region {
        loader = loader.region(Region::new(region.clone()));
    }
    if let Some(endpoint) = &place.endpoint {
        loader = loader.endpoint_url(endpoint);
    }
    match &place.identity {
        Identity::Found => {}
        Identity::Profile(name) => loader = loader.profile_name(name),
        Identity::Machine => {
            loader = loader.credentials_provider(ImdsCredentialsProvider::builder().build());
        }
    }
    loader.load().await
}

/// An error of the SDK in one line: its own text says only which kind of step failed.
pub(super) fn plain(error: &dyn Error) -> String {
    with_causes(error).chars().filter(|c| !c.is_control()).take(300).collect()
}
