//! Who we are at AWS, and how long we wait for it.

use std::error::Error;
use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use scaler::ports::with_causes;

/// One attempt, from the name to the last byte of the answer: calls here are small.
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
}

/// A connection to there, with our credentials.
pub(super) async fn connect(place: &Place) -> SdkConfig {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(CONNECT)
        .operation_attempt_timeout(ATTEMPT.min(place.timeout))
        .operation_timeout(place.timeout)
        .build();
    let mut loader = aws_config::defaults(BehaviorVersion::v2026_01_12())
        .timeout_config(timeouts)
        .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS));
    if let Some(region) = &place.region {
        loader = loader.region(Region::new(region.clone()));
    }
    if let Some(endpoint) = &place.endpoint {
        loader = loader.endpoint_url(endpoint);
    }
    loader.load().await
}

/// An error of the SDK in one line: its own text says only which kind of step failed.
pub(super) fn plain(error: &dyn Error) -> String {
    with_causes(error).chars().filter(|c| !c.is_control()).take(300).collect()
}
