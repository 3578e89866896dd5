//! Why somebody outside did not do what they were asked, sorted by what we do next.

use std::time::Duration;

use crate::look::FailureKind;

/// What an implementation knows about the cause; printed, never looked into.
pub type Source = Box<dyn std::error::Error + Send + Sync>;

/// An error with its causes, one line.
pub fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// Why a provider did not do what it was asked.
///
/// [`ProviderError::Unclear`] and [`ProviderError::Throttled`] are repeated as they were. All others
/// are definite: nothing was launched and nothing will be under this token.
#[derive(Debug, thiserror::Error)]
pub enum ProviderError {
    /// It may or may not have happened: no answer, half an answer, an answer of the 5xx kind.
    /// Repeated under the same token until the answer is definite.
    #[error(
        "`{provider}` did not say whether it did `{action}`; asking again under the same token"
    )]
    Unclear {
        /// As in the abilities.
        provider: &'static str,
        /// What was asked for, in the provider's words: `ec2:RunInstances`.
        action: &'static str,
        /// What was seen.
        #[source]
        source: Source,
    },
    /// It did not happen, because we ask too often. Repeated under the same token, slower.
    #[error("`{provider}` wants fewer requests; `{action}` is repeated later")]
    Throttled {
        /// As in the abilities.
        provider: &'static str,
        /// What was asked for.
        action: &'static str,
        /// Not before this has passed, if it said so.
        retry_after: Option<Duration>,
    },
    /// It has no instance of this offer now. The next offer is tried at once. If there is none, this
    /// one is tried again and again, ever slower.
    #[error("`{provider}` has no capacity for `{offer}`; trying the next offer")]
    NoCapacity {
        /// As in the abilities.
        provider: &'static str,
        /// [`super::Offer::name`].
        offer: String,
    },
    /// We may not have more. Trying again does not help until somebody changes something.
    #[error("`{provider}` refused: quota `{quota}` reached; have it raised or lower `ceiling`")]
    Quota {
        /// As in the abilities.
        provider: &'static str,
        /// The name by which it can be raised.
        quota: String,
    },
    /// The credentials do not allow this.
    #[error("`{provider}` denied `{action}`; grant it as docs/aws-permissions.md says")]
    Denied {
        /// As in the abilities.
        provider: &'static str,
        /// The permission that is missing, for example `ec2:RunInstances`.
        action: &'static str,
    },
    /// The request itself is wrong: an image that does not exist, a program that prints garbage.
    /// What follows is what follows from no capacity: somebody may mend it outside.
    #[error("`{provider}` refused `{action}`: {reason}")]
    Refused {
        /// As in the abilities.
        provider: &'static str,
        /// What was asked for.
        action: &'static str,
        /// In its own words, shortened by the implementation.
        reason: String,
    },
    /// The token was used before, for another request. What it launched is found by its mark.
    #[error(
        "`{provider}` knows the token of this launch for another request; looking for its instances"
    )]
    TokenReused {
        /// As in the abilities.
        provider: &'static str,
    },
}

impl ProviderError {
    /// Whether the same request is to be repeated under the same token.
    pub fn is_open(&self) -> bool {
        self.kind().is_open()
    }

    /// One word for events, metrics and the journal.
    pub fn word(&self) -> &'static str {
        self.kind().word()
    }

    /// What follows from it.
    pub fn kind(&self) -> FailureKind {
        match self {
            ProviderError::Unclear { .. } => FailureKind::Unclear,
            ProviderError::Throttled { .. } => FailureKind::Throttled,
            ProviderError::NoCapacity { .. } => FailureKind::NoCapacity,
            ProviderError::Quota { .. } => FailureKind::Quota,
            ProviderError::Denied { .. } => FailureKind::Denied,
            ProviderError::Refused { .. } => FailureKind::Refused,
            ProviderError::TokenReused { .. } => FailureKind::TokenReused,
        }
    }
}

/// Why there are no measurements now. Their absence is a value for the rules, so there is one kind.
#[derive(Debug, thiserror::Error)]
#[error("no measurements from `{from}`")]
pub struct SignalError {
    /// `cloudwatch`, ...
    pub from: &'static str,
    /// What was seen.
    #[source]
    pub source: Source,
}

/// Why a message was not delivered.
#[derive(Debug, thiserror::Error)]
pub enum NotifyError {
    /// Worth another try.
    #[error("`{notifier}` did not take the message; it is tried again")]
    Later {
        /// [`super::Notifier::name`].
        notifier: &'static str,
        /// What was seen.
        #[source]
        source: Source,
    },
    /// No try will help until somebody changes something.
    #[error("`{notifier}` refused the message: {reason}")]
    Never {
        /// [`super::Notifier::name`].
        notifier: &'static str,
        /// In its own words.
        reason: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_may_still_happen_is_repeated_under_its_token() {
        let throttled =
            ProviderError::Throttled { provider: "ec2", action: "RunInstances", retry_after: None };
        let source = Source::from("connection reset");
        let unclear = ProviderError::Unclear { provider: "ec2", action: "RunInstances", source };
        let full = ProviderError::NoCapacity { provider: "ec2", offer: "c7g.large".into() };
        assert!(throttled.is_open() && unclear.is_open() && !full.is_open());
        assert!(!ProviderError::TokenReused { provider: "ec2" }.is_open());
    }
}
