//! Tokens: what a client presents to show who it is.
//!
//! | text | what it is | checked with |
//! |---|---|---|
//! | JWT | access token, valid for minutes ([`access_token`]) | a published key ([`signing_keys`]) |
//! | `srt_…` | refresh token, replaced at each use ([`refresh`]) | the row of its session |
//! | `sdt_…` | device token, a right to be counted alone ([`device`]) | nothing but the address |
//! | 64 characters | one-time token of a link in a mail ([`one_time`]) | what its row says |
//! | `ssk_…` | key of another service ([`service_key`]) | the hash in its row |
//!
//! All with a prefix have a checksum, so that damaged ones cost no query, and macs under keys that are
//! derived from `AUTH_SECRET` ([`secrets`]): neither the database nor the secret alone makes a token.
//!
//! To add a kind, add a [`Purpose`](secrets::Purpose) for its key, and a file with its format. Nothing here
//! depends on HTTP, and nothing writes rows but `signing_keys`.

pub mod access_token;
pub mod device;
mod format;
pub mod one_time;
pub mod refresh;
pub mod secrets;
pub mod service_key;
pub mod signing_keys;

use std::sync::Arc;

use access_token::AccessTokens;
use secrets::TokenSecrets;
use signing_keys::Keyring;

use crate::platform::limits::{Bound, Limit};

/// The limits that are kept here.
pub const LIMITS: &[Limit] = &[
    Limit {
        what: "Access token",
        bound: Bound::Bytes(access_token::MAX_TOKEN),
        effect: "it is invalid",
    },
    Limit {
        what: "Verified access tokens that are remembered",
        bound: Bound::Count(access_token::MAX_REMEMBERED),
        effect: "the signatures of others are checked at each use",
    },
    Limit {
        what: "Interval of look-ups of unknown signing keys",
        bound: Bound::Time(signing_keys::UNKNOWN_EVERY),
        effect: "tokens of unknown keys are invalid",
    },
];

/// What tokens are made and checked with.
pub struct Tokens {
    /// The keys of macs.
    pub secrets: Arc<TokenSecrets>,
    /// The signing keys.
    pub keyring: Arc<Keyring>,
    /// Access tokens.
    pub access: AccessTokens,
}
