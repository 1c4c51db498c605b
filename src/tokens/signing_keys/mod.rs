//! The keys that sign access tokens: made, published, replaced and removed by the instances themselves.
//!
//! They are rows of `signing_keys`, with the private half encrypted under `AUTH_SECRET`; or a single key from
//! `TOKEN_KEY`. A [`Keyring`] has them in memory. Their states follow from times ([`schedule`]).
//!
//! To add an algorithm, add it to `TokenAlgorithm` of the settings, and its form to `key.rs`.

mod key;
mod keyring;
pub mod schedule;
mod store;

pub use key::{KID, KeyError, SigningKey};
pub use keyring::{Keyring, KeyringError, Listed, UNKNOWN_EVERY};
