//! The checks of a token, in a fixed order: what costs least and trusts least comes first.
//!
//! 1. At most 4 KiB, and three parts.
//! 2. The header: `typ` is `at+jwt`, and there is nothing but `alg`, `kid` and `typ`. So there is no `crit`, and
//!    none of `jku`, `jwk`, `x5u` and `x5c`, by which a token could bring its own key.
//! 3. The key: `kid` is only looked up among the keys of the service.
//! 4. `alg` is the key's. The header never chooses how a token is verified.
//! 5. The signature.
//! 6. The claims: no duplicate; `iss`, `aud`, `exp`, `iat`, `type`.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, TimeDelta, Utc};
use jsonwebtoken::Validation;
use serde::Deserialize;
use serde_json::Value;

use super::json::Object;
use super::{Claims, MAX_TOKEN, Members, Parties, TYP, TYPE, algorithm};
use crate::tokens::signing_keys::{KID, SigningKey};

/// How long after its expiry a token is still valid: the clocks of issuer and validator may differ.
pub const EXPIRY_LEEWAY: TimeDelta = TimeDelta::seconds(30);

/// How far in the future a token may have been issued.
pub const ISSUED_LEEWAY: TimeDelta = TimeDelta::seconds(60);

/// A token is not valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It was valid, and has expired.
    #[error("the token has expired")]
    Expired,
    /// It never was valid, or its key is not.
    #[error("the token is invalid")]
    Invalid,
}

/// The header. It has no other member.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    alg: String,
    kid: String,
    typ: String,
}

/// A token whose form and header are right; nothing in it is to be trusted.
pub struct Unverified<'a> {
    token: &'a str,
    header: Header,
}

impl<'a> Unverified<'a> {
    /// Checks the form and the header.
    ///
    /// # Errors
    /// [`Refused::Invalid`] when one of them is not right.
    pub fn parse(token: &'a str) -> Result<Self, Refused> {
        if token.len() > MAX_TOKEN {
            return Err(Refused::Invalid);
        }
        let parts: Vec<&str> = token.splitn(4, '.').collect();
        let [header, _, _] = parts[..] else {
            return Err(Refused::Invalid);
        };
        if parts.iter().any(|part| part.is_empty()) {
            return Err(Refused::Invalid);
        }
        let header = header_of(header).ok_or(Refused::Invalid)?;
        let may_be_a_kid = |kid: &str| {
            kid.len() == KID
                && kid
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
        };
        if header.typ != TYP || !may_be_a_kid(&header.kid) {
            return Err(Refused::Invalid);
        }
        Ok(Self { token, header })
    }

    /// The id of the key that it claims to be signed with.
    #[must_use]
    pub fn kid(&self) -> &str {
        &self.header.kid
    }

    /// Checks everything else, with the key of its `kid`.
    ///
    /// # Errors
    /// Why it is not valid.
    pub fn verify(
        &self,
        key: &SigningKey,
        parties: &Parties,
        now: DateTime<Utc>,
    ) -> Result<Claims, Refused> {
        if key.kid() != self.header.kid || key.algorithm().name() != self.header.alg {
            return Err(Refused::Invalid);
        }
        let mut checked = Validation::new(algorithm(key));
        // The library checks a claim only if it is there, unless it is listed here.
        checked.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        checked.set_issuer(&[&parties.issuer]);
        checked.set_audience(&[&parties.audience]);
        // By the system's clock. It is checked below by the service's.
        checked.validate_exp = false;
        let verified = jsonwebtoken::decode::<Object>(self.token, key.verifying(), &checked)
            .map_err(|_| Refused::Invalid)?;
        let Object(members) = verified.claims;
        // `iss` and `aud` are one text each here: the library would accept one of a list.
        let members: Members<Claims> =
            serde_json::from_value(Value::Object(members)).map_err(|_| Refused::Invalid)?;
        check_times(&members.claims, now)?;
        if members.kind != TYPE {
            return Err(Refused::Invalid);
        }
        Ok(members.claims)
    }
}

fn header_of(encoded: &str) -> Option<Header> {
    let text = URL_SAFE_NO_PAD.decode(encoded).ok()?;
    let Object(members) = serde_json::from_slice(&text).ok()?;
    serde_json::from_value(Value::Object(members)).ok()
}

/// Checks `exp` and `iat`: also of a token that was verified before.
pub(super) fn check_times(claims: &Claims, now: DateTime<Utc>) -> Result<(), Refused> {
    if now.signed_duration_since(claims.exp) >= EXPIRY_LEEWAY {
        return Err(Refused::Expired);
    }
    if claims.iat.signed_duration_since(now) > ISSUED_LEEWAY {
        return Err(Refused::Invalid);
    }
    Ok(())
}
