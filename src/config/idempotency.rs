//! Settings of idempotency keys.

use std::time::Duration;

use secrecy::SecretString;

use super::reader::Sources;
use super::setting::{Setting, fixed, secret, worded};
use super::values::{boolean, long_secret, number};

/// The rows of this group.
pub(super) const SETTINGS: &[Setting] = &[
    secret(worded(
        "IDEMPOTENCY_SECRET",
        "idempotency.secret",
        "on SQLite: generated once, and stored beside the database; on PostgreSQL: must be set",
        "The secret under which keys and requests are hashed for storage. At least 32 bytes, the same for every instance.",
    )),
    secret(worded(
        "IDEMPOTENCY_SECRET_PREVIOUS",
        "idempotency.secret_previous",
        "none",
        "The previous secret, during a rotation. First configure both on every instance, then swap them.",
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
        "How long the outcome of a key is kept after it is recorded. At least `REQUEST_TIMEOUT_MS`, or a retry may \
         come too late.",
    ),
];

/// Settings of idempotency keys.
#[derive(Debug, Clone)]
pub struct IdempotencySettings {
    /// The secret of the fingerprints of keys and requests.
    pub secret: Option<SecretString>,
    /// The previous secret, during a rotation.
    pub secret_previous: Option<SecretString>,
    /// Whether every signup must have a key.
    pub required: bool,
    /// How long an outcome is kept.
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
