//! The settings of idempotency keys.

use std::time::Duration;

use secrecy::SecretString;

use super::reader::Sources;
use super::setting::{Setting, fixed, secret, worded};
use super::values::{boolean, number};

/// The shortest secret, in bytes.
pub const MIN_SECRET_BYTES: usize = 32;

/// Their rows.
pub(super) const SETTINGS: &[Setting] = &[
    secret(worded(
        "IDEMPOTENCY_SECRET",
        "idempotency.secret",
        "on SQLite: made once, kept beside the database; on PostgreSQL: must be set",
        "Keys and requests are stored only as hashes under it. At least 32 bytes, the same for every instance.",
    )),
    secret(worded(
        "IDEMPOTENCY_SECRET_PREVIOUS",
        "idempotency.secret_previous",
        "none",
        "The secret before a change. Give every instance both secrets first, then change their places.",
    )),
    fixed(
        "IDEMPOTENCY_REQUIRED",
        "idempotency.required",
        "false",
        "Whether a signup without an `Idempotency-Key` is refused.",
    ),
    fixed(
        "IDEMPOTENCY_TTL_SECONDS",
        "idempotency.ttl_seconds",
        "86400",
        "How long the answer to a key is kept, from the answer on. At least `REQUEST_TIMEOUT_MS`, or a retry may \
         come too late.",
    ),
];

/// Settings of idempotency keys.
#[derive(Debug, Clone)]
pub struct IdempotencySettings {
    /// Makes the stored names of keys and requests.
    pub secret: Option<SecretString>,
    /// The one before it.
    pub secret_previous: Option<SecretString>,
    /// Whether every signup must have a key.
    pub required: bool,
    /// How long an answer is kept.
    pub ttl: Duration,
}

pub(super) fn read(s: &mut Sources) -> IdempotencySettings {
    IdempotencySettings {
        secret: s.take_optional("idempotency.secret", long_secret),
        secret_previous: s.take_optional("idempotency.secret_previous", long_secret),
        required: s.take("idempotency.required", boolean),
        ttl: s.take("idempotency.ttl_seconds", |text| {
            number(text, (1, 31_536_000)).map(Duration::from_secs)
        }),
    }
}

fn long_secret(text: &str) -> Result<SecretString, String> {
    if text.len() < MIN_SECRET_BYTES {
        return Err(format!("must have at least {MIN_SECRET_BYTES} bytes"));
    }
    Ok(SecretString::from(text))
}
