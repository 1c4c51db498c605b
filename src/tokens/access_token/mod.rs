//! Access tokens: JWTs (RFC 9068) that any service can check with the published keys.
//!
//! [`AccessTokens`] signs and verifies them. A token says who calls, by which session and with which roles; it
//! has no address, no name and no permissions. Whether its session was ended or its epoch is outdated is for
//! the caller to ask, after the token was verified.

mod json;
mod remembered;
mod verification;

#[cfg(test)]
mod attacks;

use chrono::serde::ts_seconds;
use chrono::{DateTime, Utc};
use jsonwebtoken::{Algorithm, Header};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::signing_keys::SigningKey;
use crate::config::TokenAlgorithm;
use crate::domain::{SessionId, TokenEpoch, UserId};

pub use remembered::{AccessTokens, MAX_REMEMBERED};
pub use verification::{EXPIRY_LEEWAY, ISSUED_LEEWAY, Refused, Unverified};

/// The longest token, in bytes. No larger one is issued, and none is read.
pub const MAX_TOKEN: usize = 4096;

/// The `typ` of the header (RFC 9068, section 2.1): no other JWT of the issuer passes for an access token.
const TYP: &str = "at+jwt";

/// The claim `type`.
const TYPE: &str = "access";

/// What a token says, by the names of RFC 7519 and RFC 9068. Times are whole seconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// The user.
    pub sub: UserId,
    /// When it expires.
    #[serde(with = "ts_seconds")]
    pub exp: DateTime<Utc>,
    /// When it was issued.
    #[serde(with = "ts_seconds")]
    pub iat: DateTime<Utc>,
    /// Its own id.
    pub jti: Uuid,
    /// The client that it was issued to.
    pub client_id: String,
    /// The session.
    pub sid: SessionId,
    /// When the user last proved who they are.
    #[serde(with = "ts_seconds")]
    pub auth_time: DateTime<Utc>,
    /// How they proved it, by the names of RFC 8176.
    pub amr: Vec<String>,
    /// The roles of the user.
    pub roles: Vec<String>,
    /// How often all tokens of the user had been made invalid when it was issued.
    pub epoch: TokenEpoch,
}

/// All members of a token.
#[derive(Serialize, Deserialize)]
struct Members<C> {
    iss: String,
    aud: String,
    #[serde(rename = "type")]
    kind: String,
    #[serde(flatten)]
    claims: C,
}

/// By whom tokens are issued, and for whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parties {
    /// The claim `iss`: the public URL of the service.
    pub issuer: String,
    /// The claim `aud`.
    pub audience: String,
}

/// A token cannot be signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    /// No signing key is active: the clock was set back, or the table of keys has been emptied.
    #[error("no signing key is active")]
    NoKey,
    /// The token would exceed [`MAX_TOKEN`].
    #[error("the token would be too long")]
    TooLong,
    /// The cryptographic library failed.
    #[error("the cryptographic library failed")]
    Failed,
}

/// Signs a token with this key.
///
/// # Errors
/// When it would be too long, or the cryptographic library fails.
pub fn sign(
    claims: &Claims,
    key: &SigningKey,
    parties: &Parties,
) -> Result<SecretString, SignError> {
    let header = Header {
        typ: Some(TYP.to_owned()),
        kid: Some(key.kid().to_owned()),
        ..Header::new(algorithm(key))
    };
    let members = Members {
        iss: parties.issuer.clone(),
        aud: parties.audience.clone(),
        kind: TYPE.to_owned(),
        claims,
    };
    let token = jsonwebtoken::encode(&header, &members, key.signing())
        .map(SecretString::from)
        .map_err(|_| SignError::Failed)?;
    if secrecy::ExposeSecret::expose_secret(&token).len() > MAX_TOKEN {
        return Err(SignError::TooLong);
    }
    Ok(token)
}

/// The algorithm of a key, as the library names it.
const fn algorithm(key: &SigningKey) -> Algorithm {
    match key.algorithm() {
        TokenAlgorithm::Es256 => Algorithm::ES256,
        TokenAlgorithm::Rs256 => Algorithm::RS256,
    }
}
