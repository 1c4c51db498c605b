//! What makes a request that is sent again the same request, and what was answered to it.

use std::fmt;
use std::time::Duration;

/// The keyed hash of an idempotency key and what it is used on.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyHash(pub [u8; 32]);

/// The keyed hash of everything that a request asks for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint(pub [u8; 32]);

/// A key and a request under one secret of the server.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// Names the record.
    pub key: KeyHash,
    /// Has to match for a replay.
    pub fingerprint: Fingerprint,
}

/// The right to answer a key, if nobody has answered it yet.
#[derive(Clone)]
pub struct Claim {
    /// Under the secret in use: it names what instances tell each other.
    pub current: Identity,
    /// One for each secret that is in use, in the order of their key hashes: whoever claims takes
    /// them all, in that order.
    pub identities: Vec<Identity>,
    /// How long the key is taken once it is answered: counted from the write, as a request may take
    /// longer than a short life.
    pub life: Duration,
}

/// What was answered: the status, the headers that are kept, and the body.
#[derive(Clone, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// `Location`, where there is one.
    pub location: Option<String>,
    /// `Content-Type`.
    pub content_type: String,
    /// The body, byte for byte.
    pub body: Vec<u8>,
}

/// A claim, with the answers to the ways in which a command can end. One of them commits with
/// what the command writes.
#[derive(Clone)]
pub struct Recording<A> {
    /// The right to answer.
    pub claim: Claim,
    /// The answers.
    pub answers: A,
}

/// What is kept of a key that has been answered.
#[derive(Clone, PartialEq, Eq)]
pub struct Record {
    /// The identity under which it was found.
    pub key: KeyHash,
    /// Of the request that was answered.
    pub fingerprint: Fingerprint,
    /// What was answered.
    pub answer: Answer,
    /// How often the key has come with another request since.
    pub mismatches: u32,
}

macro_rules! debug_shows_nothing {
    ($($name:ident),+) => {
        $(impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(..)"))
            }
        })+
    };
}

debug_shows_nothing!(KeyHash, Fingerprint, Claim, Answer, Record);
