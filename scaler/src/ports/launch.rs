//! Instances, what can be launched, and the name of a launch that makes it repeatable.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use jiff::Timestamp;
use policies::backend::{BackendId, PoolName};
use sha2::{Digest, Sha256};

/// One kind of instance that can be launched: a type in a zone at a price, a command.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Offer {
    /// For people, metrics and the memory of failures: `c7g.large/subnet-0aaa`. Unique.
    pub name: Arc<str>,
    /// All parameters of the launch, in a text that the provider writes and reads. It is frozen in
    /// the journal, so that a repeat after a restart asks for the same although the configuration
    /// has changed: a token with other parameters is an error at AWS.
    pub spec: Arc<str>,
    /// Cheaper, and may be taken back at any time.
    pub is_spot: bool,
}

/// How many instances may be of the cheaper kind, see [`Offer::is_spot`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Purchase {
    /// So many are at full price first.
    pub on_demand_base: u32,
    /// Of those beyond, 0 to 100.
    pub spot_percent: u32,
}

impl Purchase {
    /// How many of `total` should be of the cheaper kind, rounded down.
    pub fn spot(self, total: u32) -> u32 {
        let beyond = u64::from(total.saturating_sub(self.on_demand_base));
        u32::try_from(beyond * u64::from(self.spot_percent.min(100)) / 100).unwrap_or(u32::MAX)
    }
}

/// A launch as it was decided. It never changes: whatever is repeated is repeated as it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaunchRequest {
    /// Who launches, and why; goes into the instances' tags, whole.
    pub mark: Mark,
    /// How many, at least 1 and at most [`super::Abilities::max_batch`].
    pub count: u32,
    /// Of which kind.
    pub offer: Offer,
}

impl LaunchRequest {
    /// What makes a repeat harmless.
    pub fn token(&self) -> Token {
        self.mark.token()
    }
}

/// Who launched an instance, and by which decision. An instance carries it for life, so that one
/// whose launch nobody remembers can still be found.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark {
    /// `[site].name`.
    pub site: Arc<str>,
    /// The pool it was launched for.
    pub pool: PoolName,
    /// Random, made together with the journal. A journal that is new or restored gets a new one.
    pub installation: Arc<str>,
    /// Term of the door that leads; 1 while there is one door.
    pub epoch: u64,
    /// Number of the decision in the journal.
    pub decision: u64,
    /// Number of the launch within the decision.
    pub attempt: u32,
}

impl Mark {
    /// The token follows from the mark alone: whoever repeats the launch finds the same one.
    pub fn token(&self) -> Token {
        let mut hash = Sha256::new();
        // Lengths first, or two neighbours could trade letters and keep the sum.
        for text in [&self.site, &self.pool.0, &self.installation] {
            hash.update((text.len() as u64).to_be_bytes());
            hash.update(text.as_bytes());
        }
        hash.update(self.epoch.to_be_bytes());
        hash.update(self.decision.to_be_bytes());
        hash.update(self.attempt.to_be_bytes());
        let mut token = [0; 24];
        token.copy_from_slice(&hash.finalize()[..24]);
        Token(token)
    }
}

/// Names one journaled intention, so that repeating it cannot launch twice. 48 hexadecimal digits
/// on the wire; EC2 takes up to 64 characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Token(pub [u8; 24]);

impl Token {
    /// What [`Token`] prints.
    pub fn parse(text: &str) -> Option<Token> {
        let mut token = [0; 24];
        if text.len() != 48 || !text.is_ascii() {
            return None;
        }
        for (byte, place) in token.iter_mut().zip((0..48).step_by(2)) {
            *byte = u8::from_str_radix(&text[place..place + 2], 16).ok()?;
        }
        Some(Token(token))
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// How far an instance is, as its provider says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum InstanceState {
    /// Accepted, not running yet.
    Pending,
    /// Running; whether it answers is for the health checks to say.
    Running,
    /// On its way to stopped or terminated.
    Stopping,
    /// Kept, without running.
    Stopped,
    /// Gone for good.
    Terminated,
}

impl InstanceState {
    /// Whether it runs or is about to.
    pub fn is_live(self) -> bool {
        matches!(self, InstanceState::Pending | InstanceState::Running)
    }
}

/// A backend as its provider sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// The provider's id, which becomes the backend's.
    pub id: BackendId,
    /// How far it is.
    pub state: InstanceState,
    /// Where its backend listens, once that is known.
    pub address: Option<SocketAddr>,
    /// Failure domain it stands in.
    pub zone: Option<Arc<str>>,
    /// Who launched it; `None` if it has no tags of ours.
    pub mark: Option<Mark>,
    /// When it was launched, by the provider's clock.
    pub launched_at: Option<Timestamp>,
    /// What it was made from and on: `ami-0abc/c7g.large`. Boot times are learned per kind.
    pub kind: Arc<str>,
    /// Age of what it was made from; the oldest leave first.
    pub image_made_at: Option<Timestamp>,
    /// The provider takes it back soon.
    pub is_marked: bool,
    /// It is one of the cheaper ones, see [`Offer::is_spot`].
    pub is_spot: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark() -> Mark {
        Mark {
            site: "kg-sports".into(),
            pool: PoolName("cloud".into()),
            installation: "5f0c".into(),
            epoch: 1,
            decision: 17,
            attempt: 0,
        }
    }

    #[test]
    fn a_token_is_48_digits_and_the_same_for_the_same_launch() {
        let token = mark().token().to_string();
        assert_eq!(token.len(), 48);
        assert!(token.bytes().all(|b| b.is_ascii_hexdigit() && !b.is_ascii_uppercase()));
        assert_eq!(token, mark().token().to_string());
        assert_eq!(Token::parse(&token), Some(mark().token()));
        assert_eq!(Token::parse(&token[1..]), None);
    }

    #[test]
    fn every_part_of_a_launch_changes_its_token() {
        let others = [
            Mark { site: "kg".into(), ..mark() },
            Mark { pool: PoolName("burst".into()), ..mark() },
            Mark { installation: "5f0d".into(), ..mark() },
            Mark { epoch: 2, ..mark() },
            Mark { decision: 18, ..mark() },
            Mark { attempt: 1, ..mark() },
            Mark { site: "kg-sports5".into(), installation: "f0c".into(), ..mark() },
        ];
        assert!(others.iter().all(|other| other.token() != mark().token()));
    }
}
