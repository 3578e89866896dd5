//! What EC2 did not do, sorted by what follows.
//!
//! The one rule behind the table: only a code that EC2 itself has sent with a status of 4xx, or one
//! that is known, says that nothing was launched. Whatever else comes, or does not come, is unclear.

use aws_sdk_ec2::config::http::HttpResponse;
use aws_sdk_ec2::error::{ProvideErrorMetadata, SdkError};
use scaler::ports::ProviderError;

use super::NAME;
use crate::aws::connection;

/// What an answer says, without the types of the SDK.
#[derive(Debug, Clone, Copy)]
struct Said<'a> {
    /// `InsufficientInstanceCapacity`; empty if there was none.
    code: &'a str,
    message: &'a str,
    /// Of HTTP; 0 if there was no answer.
    status: u16,
}

/// Too much, whatever of it.
const THROTTLED: [&str; 6] = [
    "EC2ThrottledException",
    "RequestLimitExceeded",
    "RequestThrottled",
    "Throttling",
    "ThrottlingException",
    "TooManyRequestsException",
];

/// Not there now, in this zone at this price.
const NO_CAPACITY: [&str; 7] = [
    "InsufficientCapacity",
    "InsufficientFreeAddressesInSubnet",
    "InsufficientHostCapacity",
    "InsufficientInstanceCapacity",
    "InsufficientReservedInstanceCapacity",
    "ReservationCapacityExceeded",
    "SpotMaxPriceTooLow",
];

/// Quotas, by the names under which Service Quotas has them.
const QUOTAS: [(&str, &str); 3] = [
    ("InstanceLimitExceeded", "Running On-Demand instances"),
    ("MaxSpotInstanceCountExceeded", "All Spot Instance Requests"),
    ("VcpuLimitExceeded", "Running On-Demand instances (vCPUs)"),
];

/// Endings of the codes of all other quotas.
const QUOTA: [&str; 3] = ["LimitExceeded", "CountExceeded", "QuotaExceeded"];

/// Not with these credentials.
const DENIED: [&str; 13] = [
    "AccessDenied",
    "AccessDeniedException",
    "AuthFailure",
    "Blocked",
    "ExpiredToken",
    "ExpiredTokenException",
    "InvalidClientTokenId",
    "MissingAuthenticationToken",
    "OptInRequired",
    "RequestExpired",
    "SignatureDoesNotMatch",
    "UnauthorizedOperation",
    "UnrecognizedClientException",
];

/// What a launch needs beside its own permission; the message of a denial names which it was.
const IMPLIED: [&str; 5] = [
    "ec2:CreateTags",
    "iam:PassRole",
    "iam:CreateServiceLinkedRole",
    "kms:CreateGrant",
    "ssm:GetParameters",
];

/// It is broken over there: nobody knows what happened.
const BROKEN: [&str; 5] = [
    "InternalError",
    "InternalFailure",
    "InternalServiceError",
    "ServiceUnavailable",
    "Unavailable",
];

/// A call of the SDK that failed; `action` is `ec2:RunInstances`, `offer` the name of what was to be
/// launched.
pub(super) fn sorted<E>(
    action: &'static str,
    offer: &str,
    error: &SdkError<E, HttpResponse>,
) -> ProviderError
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    let status = error.raw_response().map_or(0, |response| response.status().as_u16());
    let service = error.as_service_error();
    let said = Said {
        code: service.and_then(ProvideErrorMetadata::code).unwrap_or_default(),
        message: service.and_then(ProvideErrorMetadata::message).unwrap_or_default(),
        status,
    };
    let unclear = || ProviderError::Unclear {
        provider: NAME,
        action,
        source: connection::plain(error).into(),
    };
    sort(action, offer, said).unwrap_or_else(unclear)
}

/// `None` is unclear.
fn sort(action: &'static str, offer: &str, said: Said<'_>) -> Option<ProviderError> {
    let code = said.code.trim_start_matches("Client.").trim_start_matches("Server.");
    let error = if THROTTLED.contains(&code) {
        ProviderError::Throttled { provider: NAME, action, retry_after: None }
    } else if NO_CAPACITY.contains(&code) {
        ProviderError::NoCapacity { provider: NAME, offer: offer.to_owned() }
    } else if DENIED.contains(&code) {
        ProviderError::Denied { provider: NAME, action: missing(action, said.message) }
    } else if code == "IdempotentParameterMismatch" {
        ProviderError::TokenReused { provider: NAME }
    } else if QUOTA.iter().any(|ending| code.ends_with(ending)) {
        ProviderError::Quota { provider: NAME, quota: quota(code) }
    } else if code.is_empty() || BROKEN.contains(&code) || !(400..500).contains(&said.status) {
        return None;
    } else {
        let text = format!("{code}: {}", said.message);
        let reason = text.chars().filter(|c| !c.is_control()).take(300).collect();
        ProviderError::Refused { provider: NAME, action, reason }
    };
    Some(error)
}

/// The permission that is missing: the call's own, or one that it implies and the message names.
fn missing(action: &'static str, message: &str) -> &'static str {
    let named = message.split("perform: ").nth(1).unwrap_or_default();
    IMPLIED.into_iter().find(|implied| named.starts_with(implied)).unwrap_or(action)
}

fn quota(code: &str) -> String {
    match QUOTAS.iter().find(|(known, _)| *known == code) {
        Some((_, name)) => format!("{name} ({code})"),
        None => code.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use scaler::look::FailureKind;

    use super::*;

    const RUN: &str = "ec2:RunInstances";

    fn kind(code: &str, status: u16) -> Option<FailureKind> {
        let said = Said { code, message: "", status };
        sort(RUN, "c7g.large/subnet-0a", said).map(|error| error.kind())
    }

    #[test]
    fn only_what_surely_did_not_happen_is_definite() {
        let sorted = [
            ("RequestLimitExceeded", 503, Some(FailureKind::Throttled)),
            ("InsufficientInstanceCapacity", 500, Some(FailureKind::NoCapacity)),
            ("Server.InsufficientInstanceCapacity", 500, Some(FailureKind::NoCapacity)),
            ("InsufficientFreeAddressesInSubnet", 400, Some(FailureKind::NoCapacity)),
            ("VcpuLimitExceeded", 400, Some(FailureKind::Quota)),
            ("MaxSpotInstanceCountExceeded", 400, Some(FailureKind::Quota)),
            ("VolumeLimitExceeded", 400, Some(FailureKind::Quota)),
            ("UnauthorizedOperation", 403, Some(FailureKind::Denied)),
            ("ExpiredToken", 400, Some(FailureKind::Denied)),
            ("IdempotentParameterMismatch", 400, Some(FailureKind::TokenReused)),
            ("InvalidAMIID.NotFound", 400, Some(FailureKind::Refused)),
            ("InvalidLaunchTemplateId.NotFound", 400, Some(FailureKind::Refused)),
            ("Unsupported", 400, Some(FailureKind::Refused)),
            ("InternalError", 500, None),
            ("Unavailable", 503, None),
            ("InvalidParameterValue", 502, None),
            ("", 403, None),
            ("", 0, None),
        ];
        for (code, status, expected) in sorted {
            assert_eq!(kind(code, status), expected, "{code} {status}");
        }
    }

    #[test]
    fn a_denial_names_the_permission_that_is_missing_and_a_quota_its_name() {
        let own = "You are not authorized to perform this operation.";
        let role = "You are not authorized to perform this operation. User: arn:aws:iam::1:user/a \
                    is not authorized to perform: iam:PassRole on resource: arn:aws:iam::1:role/b";
        let said = |message| Said { code: "UnauthorizedOperation", message, status: 403 };
        let denied = |message| sort(RUN, "", said(message)).unwrap().to_string();
        assert!(denied(own).contains("denied `ec2:RunInstances`"), "{}", denied(own));
        assert!(denied(role).contains("denied `iam:PassRole`"), "{}", denied(role));
        let said = Said { code: "VcpuLimitExceeded", message: "", status: 400 };
        let text = sort(RUN, "", said).unwrap().to_string();
        assert!(
            text.contains("`Running On-Demand instances (vCPUs) (VcpuLimitExceeded)`"),
            "{text}"
        );
    }
}
