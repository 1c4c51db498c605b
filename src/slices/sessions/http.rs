//! The tokens of a session, and what operations that end sessions have in common.

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::end::Ending;
use super::session::Session;
use crate::access::feed::Feed;
use crate::dependencies::Dependencies;
use crate::domain::{EndReason, Generation};
use crate::http::operation::Operation;
use crate::http::problem::Problem;
use crate::platform::clock::{Clock, Randomness, uuid_v7};
use crate::platform::context::RequestContext;
use crate::platform::database::Database;
use crate::tokens::Tokens;
use crate::tokens::access_token::Claims;
use crate::tokens::refresh;

/// The client that the service's own operations issue tokens to.
const CLIENT: &str = "first-party";

/// Issues the tokens of sessions.
pub struct Issuer {
    tokens: Arc<Tokens>,
    clock: Arc<dyn Clock>,
    randomness: Arc<dyn Randomness>,
    access_token_ttl: Duration,
}

/// An access token, by the names of RFC 6749, section 5.1.
#[derive(Serialize, ToSchema)]
pub struct AccessTokenResponse {
    /// A JWT (RFC 9068) for the header `Authorization` of requests.
    #[serde(serialize_with = "exposed")]
    #[schema(value_type = String, example = json!(EXAMPLE_ACCESS))]
    access_token: SecretString,
    /// Always `Bearer` (RFC 6750).
    #[schema(value_type = String, example = "Bearer")]
    token_type: &'static str,
    /// For how many seconds the access token is valid.
    #[schema(minimum = 1, example = 1800)]
    expires_in: u64,
}

/// The tokens of a session.
#[derive(Serialize, ToSchema)]
pub struct TokenResponse {
    #[serde(flatten)]
    access: AccessTokenResponse,
    /// The token for `POST /auth/refresh`. It is exchanged for a new one with each use.
    #[serde(serialize_with = "exposed")]
    #[schema(value_type = String, example = json!(EXAMPLE_REFRESH))]
    refresh_token: SecretString,
}

/// The dependencies of operations that end sessions of the caller.
pub struct Ender {
    /// The database.
    pub database: Database,
    /// What this instance knows of revocations.
    pub feed: Arc<Feed>,
    clock: Arc<dyn Clock>,
    randomness: Arc<dyn Randomness>,
    sends_mail: bool,
}

impl Ender {
    /// Ends sessions as the settings say.
    #[must_use]
    pub fn new(dependencies: &Dependencies) -> Self {
        Self {
            database: dependencies.database.clone(),
            feed: Arc::clone(&dependencies.feed),
            clock: Arc::clone(&dependencies.clock),
            randomness: Arc::clone(&dependencies.randomness),
            sends_mail: dependencies.delivery.is_some(),
        }
    }

    /// An ending now, by this request.
    #[must_use]
    pub fn ending(
        &self,
        reason: EndReason,
        action: &'static str,
        context: &RequestContext,
    ) -> Ending {
        Ending {
            reason,
            action,
            actor: if reason == EndReason::Reused {
                "service"
            } else {
                "user"
            },
            network: context.network(),
            correlation_id: context.correlation_id.clone(),
            at: self.clock.now(),
            sends_mail: self.sends_mail,
            randomness: Arc::clone(&self.randomness),
        }
    }
}

/// The id of a session in examples.
pub const EXAMPLE_SESSION: &str = "01a1fcd0-39d9-7edf-9953-1bfef046d2c7";

/// The access token in examples: shortened, as its form is no contract.
pub const EXAMPLE_ACCESS: &str =
    "eyJ0eXAiOiJhdCtqd3QiLCJhbGciOiJFUzI1NiIsImtpZCI6Ii4uLiJ9.eyJ9.c2ln";

/// The refresh token in examples.
pub const EXAMPLE_REFRESH: &str =
    "srt_AQGh_NA52X7fmVMb_vBG0scAAAAAm2oBcWbBzpFkzpCqtlPkQq0bD5sTl0dC1oWfyJZk3pN1rT8q";

/// Operations on a further listener. They are described in the document of the main one.
#[must_use]
pub fn undocumented(operations: Vec<Operation>) -> Vec<Operation> {
    let operations = operations.into_iter();
    operations.map(Operation::undocumented).collect()
}

/// Serializes a secret for its owner.
///
/// # Errors
/// The serializer's.
pub fn exposed<S: serde::Serializer>(secret: &SecretString, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(secret.expose_secret())
}

impl AccessTokenResponse {
    /// The example in the documentation.
    #[must_use]
    pub fn example() -> Value {
        json!({
            "access_token": EXAMPLE_ACCESS,
            "token_type": "Bearer",
            "expires_in": 1800,
        })
    }
}

impl TokenResponse {
    /// The example in the documentation.
    #[must_use]
    pub fn example() -> Value {
        let mut example = AccessTokenResponse::example();
        example["refresh_token"] = json!(EXAMPLE_REFRESH);
        example
    }
}

impl Issuer {
    /// Issues tokens as the settings say.
    #[must_use]
    pub fn new(dependencies: &Dependencies) -> Self {
        Self {
            tokens: Arc::clone(&dependencies.tokens),
            clock: Arc::clone(&dependencies.clock),
            randomness: Arc::clone(&dependencies.randomness),
            access_token_ttl: dependencies.settings.auth.access_token_ttl,
        }
    }

    /// The tokens of a session: a new access token, and the refresh token of this generation, which is
    /// the same each time.
    ///
    /// # Errors
    /// 500 if the access token cannot be signed.
    pub fn issue(
        &self,
        session: &Session,
        generation: Generation,
    ) -> Result<TokenResponse, Problem> {
        let refresh_token = refresh::issue(
            session.id.as_uuid(),
            generation.get(),
            &session.nonce,
            &self.tokens.secrets,
        );
        Ok(TokenResponse {
            access: self.access_token(session)?,
            refresh_token,
        })
    }

    /// A new access token of a session, which is not valid beyond it.
    ///
    /// # Errors
    /// 500 if it cannot be signed.
    pub fn access_token(&self, session: &Session) -> Result<AccessTokenResponse, Problem> {
        let now = self.clock.now();
        let life = TimeDelta::from_std(self.access_token_ttl).unwrap_or(TimeDelta::MAX);
        let end = session.stored.idle_until.min(session.stored.expires_at);
        let life = life.min(end - now);
        let seconds = u64::try_from(life.num_seconds()).unwrap_or(0);
        let claims = Claims {
            sub: session.user,
            exp: now + life,
            iat: now,
            jti: uuid_v7(now, self.randomness.as_ref()),
            client_id: CLIENT.to_owned(),
            sid: session.id,
            auth_time: session.auth_time,
            amr: session.amr.split(' ').map(str::to_owned).collect(),
            roles: session.roles.clone(),
            epoch: session.epoch,
        };
        let token = self.tokens.access.sign(&claims).map_err(|error| {
            tracing::error!(reason = %error, "access token not signed");
            Problem::internal()
        })?;
        Ok(AccessTokenResponse {
            access_token: token,
            token_type: "Bearer",
            expires_in: seconds.max(1),
        })
    }
}
