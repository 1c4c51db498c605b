//! Changes of access: who makes them, when, and in which request.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Serialize, Serializer};
use uuid::Uuid;

use super::history::Circumstances;
use crate::domain::UserId;
use crate::platform::clock::{Randomness, uuid_v7};

/// Who changes something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Actor {
    /// A user.
    User(UserId),
    /// A machine, by the id of its service key.
    Service(String),
    /// An operator, on the command line.
    Cli,
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(id) => id.fmt(f),
            Self::Service(key) => f.write_str(key),
            Self::Cli => f.write_str("cli"),
        }
    }
}

impl Serialize for Actor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The circumstances of a change.
#[derive(Clone)]
pub struct Change {
    /// Who makes it.
    pub actor: Actor,
    /// When, in whole microseconds.
    pub at: DateTime<Utc>,
    /// The correlation id of the request.
    pub correlation_id: String,
    /// The network of the client, as in the log.
    pub network: Option<String>,
    /// How long access tokens are valid: a revocation is kept for longer.
    pub token_life: Duration,
    /// The source of ids.
    pub randomness: Arc<dyn Randomness>,
}

impl Change {
    /// A new id, for an event or a revocation.
    #[must_use]
    pub fn id(&self) -> Uuid {
        uuid_v7(self.at, self.randomness.as_ref())
    }

    /// The circumstances of an event of this user.
    #[must_use]
    pub fn of(&self, user_id: UserId) -> Circumstances {
        Circumstances {
            event_id: self.id(),
            user_id,
            at: self.at,
            correlation_id: self.correlation_id.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_actor_is_written_as_its_id() {
        let user = UserId::new(Uuid::from_u128(7));
        for (actor, text) in [
            (Actor::User(user), "00000000-0000-0000-0000-000000000007"),
            (Actor::Service("0h2k4n6q8s".to_owned()), "0h2k4n6q8s"),
            (Actor::Cli, "cli"),
        ] {
            assert_eq!(actor.to_string(), text);
            let json = serde_json::to_string(&actor).expect("a string");
            assert_eq!(json, format!("\"{text}\""));
        }
    }
}
