//! What is asked of the program and what it answers: the contract of `docs/providers.md`.
//!
//! Nothing in an answer is believed before it was looked at: one instance that makes no sense makes
//! the whole answer worthless, because a list without it would be a lie.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use jiff::Timestamp;
use policies::backend::{BackendId, PoolName};
use scaler::ports::{Instance, InstanceState, LaunchRequest, Mark, ProviderError};
use serde::{Deserialize, Serialize};

use super::NAME;

/// Of the contract.
const VERSION: u32 = 1;

/// Longest id, zone, kind and mark.
const LONGEST: usize = 256;

/// What we want.
#[derive(Debug, Serialize)]
pub(super) struct Request<'a> {
    version: u32,
    action: &'static str,
    pool: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    launch: Option<Launch>,
    #[serde(skip_serializing_if = "Option::is_none")]
    instances: Option<Vec<&'a str>>,
}

#[derive(Debug, Serialize)]
struct Launch {
    count: u32,
    token: String,
    mark: String,
}

impl<'a> Request<'a> {
    pub(super) fn launch(pool: &'a PoolName, request: &LaunchRequest) -> Request<'a> {
        let launch = Launch {
            count: request.count,
            token: request.token().to_string(),
            mark: written(&request.mark),
        };
        Request { launch: Some(launch), ..Request::of("launch", pool) }
    }

    pub(super) fn terminate(pool: &'a PoolName, instances: &'a [BackendId]) -> Request<'a> {
        let ids = instances.iter().map(|id| &*id.0).collect();
        Request { instances: Some(ids), ..Request::of("terminate", pool) }
    }

    pub(super) fn list(pool: &'a PoolName) -> Request<'a> {
        Request::of("list", pool)
    }

    fn of(action: &'static str, pool: &'a PoolName) -> Request<'a> {
        Request { version: VERSION, action, pool: &pool.0, launch: None, instances: None }
    }

    pub(super) fn action(&self) -> &'static str {
        self.action
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        // Texts and numbers alone cannot fail to become JSON.
        let mut bytes = serde_json::to_vec(self).unwrap_or_default();
        bytes.push(b'\n');
        bytes
    }
}

/// What it says.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Answer {
    #[serde(default)]
    instances: Option<Vec<Told>>,
    #[serde(default)]
    error: Option<Fault>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Told {
    id: String,
    state: State,
    #[serde(default)]
    address: Option<SocketAddr>,
    #[serde(default)]
    zone: Option<String>,
    #[serde(default)]
    mark: Option<String>,
    #[serde(default)]
    launched_at: Option<String>,
    #[serde(default)]
    kind: Option<String>,
    #[serde(default)]
    is_marked: bool,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum State {
    Pending,
    Running,
    Stopping,
    Stopped,
    Terminated,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fault {
    kind: FaultKind,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    retry_after_s: Option<u32>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum FaultKind {
    Throttled,
    NoCapacity,
    Quota,
    Denied,
    Refused,
    TokenReused,
}

/// What an answer comes to: instances, or an error that it states in so many words.
pub(super) type Meant = Result<Vec<Instance>, ProviderError>;

/// Reads an answer. `Err` says why it is none.
pub(super) fn read(bytes: &[u8], action: &'static str, pool: &PoolName) -> Result<Meant, String> {
    let answer: Answer = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    match (answer.error, answer.instances) {
        (Some(_), Some(_)) => Err("it has `error` and `instances`".to_owned()),
        (Some(fault), None) => Ok(Err(meant(fault, action))),
        (None, None) if action == "terminate" => Ok(Ok(Vec::new())),
        (None, None) => Err("it has no `instances`".to_owned()),
        (None, Some(told)) => {
            let mut ids = BTreeSet::new();
            for one in &told {
                check(one)?;
                if !ids.insert(&one.id) {
                    return Err(format!("instance `{}` is there twice", shown(&one.id)));
                }
            }
            told.into_iter().map(|one| instance(one, pool)).collect::<Result<_, _>>().map(Ok)
        }
    }
}

/// What an answer to a launch must be beyond a list.
pub(super) fn check_launch(request: &LaunchRequest, instances: &[Instance]) -> Result<(), String> {
    if instances.len() > request.count as usize {
        return Err(format!("{} instances for a launch of {}", instances.len(), request.count));
    }
    if instances.is_empty() {
        return Err("no instance, and no `error` that says why".to_owned());
    }
    let stranger = instances.iter().find(|one| one.mark.as_ref() != Some(&request.mark));
    stranger.map_or(Ok(()), |one| Err(format!("instance `{}` has another mark", one.id)))
}

fn check(told: &Told) -> Result<(), String> {
    let is_id = |text: &str| {
        !text.is_empty()
            && text.len() <= LONGEST
            && text.bytes().all(|byte| byte.is_ascii_graphic())
    };
    if !is_id(&told.id) {
        return Err(format!("`{}` is no id of an instance", shown(&told.id)));
    }
    let words = [("zone", &told.zone), ("kind", &told.kind)];
    for (name, word) in words {
        if word.as_deref().is_some_and(|word| !is_id(word)) {
            return Err(format!("instance `{}` has a `{name}` that is none", told.id));
        }
    }
    let is_nowhere = |address: &SocketAddr| address.port() == 0 || address.ip().is_unspecified();
    match told.address.as_ref().is_some_and(is_nowhere) {
        true => Err(format!("instance `{}` has an address where nobody can be", told.id)),
        false => Ok(()),
    }
}

fn instance(told: Told, pool: &PoolName) -> Result<Instance, String> {
    let mark = match told.mark {
        Some(text) if text.len() <= LONGEST => {
            let why = || format!("instance `{}` has a mark that is none of ours", told.id);
            Some(parsed(&text).ok_or_else(why)?)
        }
        Some(_) => return Err(format!("the mark of instance `{}` is too long", told.id)),
        None => None,
    };
    let launched_at = match &told.launched_at {
        Some(text) => {
            let why = |_| format!("instance `{}` has a `launched_at` that is no time", told.id);
            Some(text.parse::<Timestamp>().map_err(why)?)
        }
        None => None,
    };
    if let Some(other) = mark.as_ref().filter(|mark| mark.pool != *pool) {
        return Err(format!("instance `{}` is of pool `{}`", told.id, other.pool));
    }
    Ok(Instance {
        id: BackendId(told.id.as_str().into()),
        state: match told.state {
            State::Pending => InstanceState::Pending,
            State::Running => InstanceState::Running,
            State::Stopping => InstanceState::Stopping,
            State::Stopped => InstanceState::Stopped,
            State::Terminated => InstanceState::Terminated,
        },
        address: told.address,
        zone: told.zone.map(Into::into),
        mark,
        launched_at,
        kind: told.kind.unwrap_or_else(|| NAME.to_owned()).into(),
        image_made_at: None,
        is_marked: told.is_marked,
        is_spot: false,
    })
}

fn meant(fault: Fault, action: &'static str) -> ProviderError {
    let reason = shown(&fault.reason);
    match fault.kind {
        FaultKind::Throttled => ProviderError::Throttled {
            provider: NAME,
            action,
            retry_after: fault.retry_after_s.map(|s| Duration::from_secs(s.into())),
        },
        FaultKind::NoCapacity => {
            ProviderError::NoCapacity { provider: NAME, offer: NAME.to_owned() }
        }
        FaultKind::Quota => ProviderError::Quota { provider: NAME, quota: reason },
        FaultKind::Denied => ProviderError::Denied { provider: NAME, action },
        FaultKind::Refused => ProviderError::Refused { provider: NAME, action, reason },
        FaultKind::TokenReused => ProviderError::TokenReused { provider: NAME },
    }
}

/// A mark as one word, which the other side keeps as it is: none of its parts has a slash.
pub(super) fn written(mark: &Mark) -> String {
    let Mark { site, pool, installation, epoch, decision, attempt } = mark;
    format!("{site}/{pool}/{installation}/{epoch}/{decision}/{attempt}")
}

fn parsed(text: &str) -> Option<Mark> {
    let parts: Vec<&str> = text.split('/').collect();
    let [site, pool, installation, epoch, decision, attempt] = parts[..] else { return None };
    Some(Mark {
        site: site.into(),
        pool: PoolName(pool.into()),
        installation: installation.into(),
        epoch: epoch.parse().ok()?,
        decision: decision.parse().ok()?,
        attempt: attempt.parse().ok()?,
    })
}

/// Foreign words in a line of ours.
fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}
