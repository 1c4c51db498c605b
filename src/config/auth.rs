//! Settings of sessions and tokens.

use std::time::Duration;

use secrecy::SecretString;

use super::reader::Sources;
use super::setting::{Setting, fixed, secret, text, worded};
use super::urls::public_url;
use super::values::{boolean, long_secret, seconds};

/// The longest life of an access token that may be set, in seconds. A signing key that is replaced stays
/// published for this long, so a change of the setting never leaves a token without its key.
pub const MAX_ACCESS_TOKEN_TTL: Duration = Duration::from_hours(1);

/// The longest grace of a refresh token, in seconds: within it, a copy of a used token works.
const MAX_REFRESH_GRACE: u64 = 300;

/// A year, in seconds: a longer life is a mistake in the unit.
const MAX_LIFE: u64 = 31_536_000;

/// The shortest life of an account that is not verified, in seconds: that of the link in its mail.
const MIN_UNVERIFIED_TTL: u64 = 86_400;

/// The longest, in seconds: until then it is known when the user was asked.
const MAX_UNVERIFIED_TTL: u64 = 2_592_000;

/// The longest audience, in bytes. It is part of every access token.
const MAX_AUDIENCE: usize = 255;

/// The URL on a machine where nothing is set.
pub const DEFAULT_PUBLIC_URL: &str = "http://localhost:8000";

/// The rows of this group.
pub(super) const SETTINGS: &[Setting] = &[
    secret(worded(
        "AUTH_SECRET",
        "auth.secret",
        "on SQLite: generated once, and stored beside the database; on PostgreSQL: must be set",
        "The secret from which the keys of refresh tokens, device tokens, service keys and mail links are derived, and \
         the key that encrypts signing keys. At least 32 bytes, the same for every instance.",
    )),
    secret(worded(
        "AUTH_SECRET_PREVIOUS",
        "auth.secret_previous",
        "none",
        "The previous secret, during a rotation. First configure both on every instance, then swap them. Keep it until \
         every refresh token and service key from before has been replaced.",
    )),
    text(fixed(
        "PUBLIC_URL",
        "auth.public_url",
        DEFAULT_PUBLIC_URL,
        "The URL of the service as clients see it, such as `https://signup.example`: the issuer of access tokens, and the \
         beginning of links in mails. `https`, unless its host is a loopback address. It has a path if a proxy serves the \
         service under one.",
    )),
    text(worded(
        "TOKEN_AUDIENCE",
        "auth.token_audience",
        "that of `PUBLIC_URL`",
        "The audience of access tokens. Services that accept the tokens check it.",
    )),
    text(fixed(
        "TOKEN_ALGORITHM",
        "auth.token_algorithm",
        "ES256",
        "The algorithm of new signing keys: `ES256`, or `RS256` for gateways that support nothing else. Existing keys \
         keep theirs.",
    )),
    secret(worded(
        "TOKEN_KEY",
        "auth.token_key",
        "none: keys are generated, rotated and stored, encrypted, in the database",
        "A private key in PEM with which access tokens are signed, instead of the keys in the database: P-256 for ES256, \
         or RSA of at least 2,048 bits for RS256, whatever `TOKEN_ALGORITHM` is. Its file is named by `TOKEN_KEY_FILE`.",
    )),
    fixed(
        "ACCESS_TOKEN_TTL_SECONDS",
        "auth.access_token_ttl_seconds",
        "1800",
        "How long an access token is valid; at most 3600.",
    ),
    fixed(
        "REFRESH_TTL_SECONDS",
        "auth.refresh_ttl_seconds",
        "604800",
        "How long a session may be idle: it ends this long after its last refresh.",
    ),
    fixed(
        "SESSION_MAX_AGE_SECONDS",
        "auth.session_max_age_seconds",
        "2592000",
        "How long a session may last in all, however often it is refreshed.",
    ),
    fixed(
        "REFRESH_GRACE_SECONDS",
        "auth.refresh_grace_seconds",
        "30",
        "How long after a refresh the same refresh token may be resent without an `Idempotency-Key`, by a client that \
         got no response; at most 300.",
    ),
    fixed(
        "READS",
        "auth.reads",
        "protected",
        "Who may read users: `protected` for users themselves and callers with the permission `users:read`; `open` for \
         every caller, where something in front of the service asks who is there.",
    ),
    fixed(
        "EMAIL_VERIFICATION",
        "auth.email_verification",
        "required",
        "Whether users may log in before their address is verified: `off`, or `required`, which needs `MAIL_URL` on \
         PostgreSQL.",
    ),
    fixed(
        "VERIFY_WITH_PASSWORD",
        "auth.verify_with_password",
        "true",
        "Whether an address is verified by the token of the mail and the password, and not by the token alone. With \
         `false`, a user who opens a link confirms an account that another person may have made with the address, and \
         whose password that person knows.",
    ),
    fixed(
        "UNVERIFIED_TTL_SECONDS",
        "auth.unverified_ttl_seconds",
        "604800",
        "How long after its signup an account is removed whose address is not verified, with \
         `EMAIL_VERIFICATION=required`; from a day, 86400, to 30 days.",
    ),
    fixed(
        "SIGNUP_ANSWER",
        "auth.signup_answer",
        "direct",
        "What a signup says: `direct`, whether the address has an account; `uniform`, the same for every address, and \
         a mail says the rest. `uniform` needs `EMAIL_VERIFICATION=required`.",
    ),
];

/// The algorithm of a signing key, by its name in RFC 7518, section 3.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TokenAlgorithm {
    /// ECDSA with P-256 and SHA-256.
    Es256,
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
}

impl TokenAlgorithm {
    /// Its registered name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Es256 => "ES256",
            Self::Rs256 => "RS256",
        }
    }

    /// The algorithm with this registered name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Es256, Self::Rs256]
            .into_iter()
            .find(|algorithm| algorithm.name() == name)
    }
}

/// Settings of sessions and tokens.
#[derive(Debug, Clone)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a setting of its own"
)]
pub struct AuthSettings {
    /// The secret from which keys are derived.
    pub secret: Option<SecretString>,
    /// The previous secret, during a rotation.
    pub secret_previous: Option<SecretString>,
    /// The URL of the service as clients see it, without a trailing slash.
    pub public_url: String,
    /// The audience of access tokens, if it is not the public URL.
    pub token_audience: Option<String>,
    /// The algorithm of new signing keys.
    pub token_algorithm: TokenAlgorithm,
    /// A private key in PEM, instead of the keys in the database.
    pub token_key: Option<SecretString>,
    /// How long an access token is valid.
    pub access_token_ttl: Duration,
    /// How long a session may be idle.
    pub refresh_ttl: Duration,
    /// How long a session may last.
    pub session_max_age: Duration,
    /// How long a used refresh token may be resent without a key.
    pub refresh_grace: Duration,
    /// Whether every caller may read users.
    pub open_reads: bool,
    /// Whether only users with a verified address may log in.
    pub requires_verification: bool,
    /// Whether the response to a signup is the same for every address.
    pub uniform_signup: bool,
    /// Whether a verification takes the password as well.
    pub verify_with_password: bool,
    /// How long an account is kept that is not verified.
    pub unverified_ttl: Duration,
}

pub(super) fn read(s: &mut Sources) -> AuthSettings {
    AuthSettings {
        secret: s.take_optional("auth.secret", long_secret),
        secret_previous: s.take_optional("auth.secret_previous", long_secret),
        public_url: s.take("auth.public_url", public_url),
        token_audience: s.take_optional("auth.token_audience", audience),
        token_algorithm: s.take("auth.token_algorithm", |text| {
            TokenAlgorithm::from_name(text).ok_or_else(|| "must be ES256 or RS256".to_owned())
        }),
        token_key: s.take_optional("auth.token_key", private_key),
        access_token_ttl: s.take("auth.access_token_ttl_seconds", |text| {
            seconds(text, (1, MAX_ACCESS_TOKEN_TTL.as_secs()))
        }),
        refresh_ttl: s.take("auth.refresh_ttl_seconds", |text| {
            seconds(text, (1, MAX_LIFE))
        }),
        session_max_age: s.take("auth.session_max_age_seconds", |text| {
            seconds(text, (1, MAX_LIFE))
        }),
        refresh_grace: s.take("auth.refresh_grace_seconds", |text| {
            seconds(text, (0, MAX_REFRESH_GRACE))
        }),
        open_reads: s.take("auth.reads", |text| match text {
            "protected" => Ok(false),
            "open" => Ok(true),
            _ => Err("must be protected or open".to_owned()),
        }),
        requires_verification: s.take("auth.email_verification", |text| match text {
            "off" => Ok(false),
            "required" => Ok(true),
            _ => Err("must be off or required".to_owned()),
        }),
        uniform_signup: s.take("auth.signup_answer", |text| match text {
            "direct" => Ok(false),
            "uniform" => Ok(true),
            _ => Err("must be direct or uniform".to_owned()),
        }),
        verify_with_password: s.take("auth.verify_with_password", boolean),
        unverified_ttl: s.take("auth.unverified_ttl_seconds", |text| {
            seconds(text, (MIN_UNVERIFIED_TTL, MAX_UNVERIFIED_TTL))
        }),
    }
}

/// A string or URI (RFC 7519, section 2), without characters that would need escapes in JSON.
fn audience(text: &str) -> Result<String, String> {
    let is_plain = |c: char| c.is_ascii_graphic() && !['"', '\\'].contains(&c);
    if text.is_empty() || text.len() > MAX_AUDIENCE || !text.chars().all(is_plain) {
        return Err(format!(
            "must be 1 to {MAX_AUDIENCE} characters of ASCII, without spaces, quotes and backslashes"
        ));
    }
    Ok(text.to_owned())
}

/// Only the form; the key itself is read when the service starts.
fn private_key(text: &str) -> Result<SecretString, String> {
    if !text.contains("-----BEGIN ") || !text.contains("PRIVATE KEY-----") {
        return Err("must be a private key in PEM: -----BEGIN PRIVATE KEY-----".to_owned());
    }
    Ok(SecretString::from(text))
}
