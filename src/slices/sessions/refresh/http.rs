//! HTTP handler: the token and the key, the decision, the responses, and their documentation.

use std::sync::Arc;
use std::time::Duration;

use actix_web::HttpResponse;
use chrono::TimeDelta;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::json;
use utoipa::ToSchema;

use super::metrics::{Outcome, Refreshes};
use super::store::{self, Rotation};
use crate::access::Access;
use crate::config::AuthSettings;
use crate::dependencies::Dependencies;
use crate::domain::rotation::{self, Decision, KeyHash, Presented};
use crate::domain::{EndReason, Generation, SessionId};
use crate::http::middleware::idempotency::{IDEMPOTENCY_KEY_REUSED, mark_replayed};
use crate::http::openapi::Documentation;
use crate::http::operation::{Call, Operation};
use crate::http::problem::{FieldError, Problem, ProblemType};
use crate::http::rate_limit::RateLimit;
use crate::http::validation::{check, required};
use crate::platform::clock::Clock;
use crate::platform::context::RequestContext;
use crate::platform::database::Database;
use crate::platform::turns::Turns;
use crate::slices::sessions::end;
use crate::slices::sessions::http::{EXAMPLE_REFRESH, Ender, Issuer, TokenResponse, undocumented};
use crate::slices::sessions::problems::{
    REFRESH_TOKEN_INVALID, REFRESH_TOKEN_SUPERSEDED, SESSION_ENDED,
};
use crate::slices::sessions::session::{self, Session};
use crate::tokens::Tokens;
use crate::tokens::refresh::RefreshToken;
use crate::tokens::secrets::Purpose;

/// The largest body, in bytes.
const MAX_BODY: usize = 4 * 1024;

/// How often a refresh that lost a race looks again. Each time another refresh has won, so that one
/// look is enough but for a client that sends many at once.
const MAX_TRIES: usize = 5;

/// How long a refresh waits for the one before it.
const WAIT: Duration = Duration::from_secs(2);

/// A session may use this part of the refreshes of a client.
const SESSION_PART: u32 = 6;

/// The slice's operations.
pub fn operations() -> Vec<Operation> {
    vec![
        Operation::post(
            "/auth/refresh",
            Access::Public("the refresh token is the credential"),
        )
        .own_key()
        .body(MAX_BODY)
        .rate_limited(|settings| settings.refresh_rate)
        .documented(documentation)
        .handled_by(|dependencies| {
            let state = Arc::new(State::new(dependencies));
            move |call| refresh(Arc::clone(&state), call)
        }),
    ]
}

/// The same on the administration listener, whose page is of another origin.
pub fn on_administration() -> Vec<Operation> {
    undocumented(operations())
}

/// The dependencies of the handler.
struct State {
    database: Database,
    tokens: Arc<Tokens>,
    issuer: Issuer,
    ender: Ender,
    clock: Arc<dyn Clock>,
    settings: AuthSettings,
    /// Refreshes of a session that come at once wait for each other here, and not for the database's
    /// writer, which would refuse some of them.
    turns: Arc<Turns<SessionId>>,
    /// The limit of each session.
    rate_limit: Option<RateLimit<SessionId>>,
    metrics: Refreshes,
}

impl State {
    fn new(dependencies: &Dependencies) -> Self {
        let rate = dependencies.settings.refresh_rate;
        let rate = rate.map(|rate| rate.part(SESSION_PART));
        Self {
            database: dependencies.database.clone(),
            tokens: Arc::clone(&dependencies.tokens),
            issuer: Issuer::new(dependencies),
            ender: Ender::new(dependencies),
            clock: Arc::clone(&dependencies.clock),
            settings: dependencies.settings.auth.clone(),
            turns: Arc::default(),
            rate_limit: rate.map(|rate| RateLimit::new(rate, Arc::clone(&dependencies.clock))),
            metrics: Refreshes::new(&dependencies.metrics).expect("a unique name"),
        }
    }
}

// It has no `Debug`, as it carries a token.
/// The body of a refresh.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RefreshRequest {
    /// The newest refresh token of the session.
    #[schema(value_type = String, required = true, example = json!(EXAMPLE_REFRESH))]
    refresh_token: Option<SecretString>,
}

impl RefreshRequest {
    fn parse(self) -> Result<SecretString, Vec<FieldError>> {
        let mut errors = Vec::new();
        let token = check(
            &mut errors,
            "/refresh_token",
            required(self.refresh_token, Ok),
        );
        token.ok_or(errors)
    }
}

async fn refresh(state: Arc<State>, mut call: Call) -> Result<HttpResponse, Problem> {
    let text = call.validated(RefreshRequest::parse).await?;
    let key = call.take_key();
    let refused = |outcome: Outcome, problem: Problem| {
        state.metrics.count(outcome);
        Err(problem)
    };
    let invalid = || REFRESH_TOKEN_INVALID.into();
    let Some(presented) = RefreshToken::parse(text.expose_secret()) else {
        return refused(Outcome::Invalid, invalid());
    };
    let id = presented.token.session;
    let keys: Vec<KeyHash> = key.map_or_else(Vec::new, |key| {
        let values: [&[u8]; 2] = [id.as_bytes(), key.expose().as_bytes()];
        state.tokens.secrets.macs(Purpose::LoginKey, &values)
    });
    let generation = Generation::new(presented.token.generation);
    let grace = TimeDelta::from_std(state.settings.refresh_grace).unwrap_or_default();
    let mut turn = None;
    for _ in 0..MAX_TRIES {
        let found = session::by_id(&state.database, id).await?;
        let genuine =
            found.filter(|found| presented.is_genuine(&found.nonce, &state.tokens.secrets));
        let Some(session) = genuine else {
            return refused(Outcome::Invalid, invalid());
        };
        let presented = Presented {
            generation,
            keys: &keys,
        };
        let now = state.clock.now();
        match rotation::decide(&session.stored, &presented, grace, now) {
            Decision::Rotate => {
                if turn.is_none() {
                    let taken = state.turns.take(session.id, WAIT).await;
                    let taken = turn.insert(taken.ok_or_else(Problem::unavailable)?);
                    if taken.has_waited {
                        // The one before has refreshed it, most likely.
                        continue;
                    }
                }
                if let Some(rate_limit) = &state.rate_limit {
                    rate_limit.has_room(session.id)?;
                }
                if let Some(response) = rotate(&state, &session, &keys, &call.context).await? {
                    if let Some(rate_limit) = &state.rate_limit {
                        // Those that lose the race do not count: they are retries of this one.
                        let _ = rate_limit.admit_one(session.id);
                    }
                    state.metrics.count(Outcome::Rotated);
                    return Ok(response);
                }
                // Another refresh won, or the session ended: look again.
            }
            Decision::Replay => {
                state.metrics.count(Outcome::Replayed);
                return repeat(&state, &session);
            }
            Decision::Grace => {
                state.metrics.count(Outcome::Grace);
                return repeat(&state, &session);
            }
            Decision::Superseded => {
                return refused(Outcome::Superseded, REFRESH_TOKEN_SUPERSEDED.into());
            }
            Decision::Reused => {
                end_reused(&state, &session, &call.context).await?;
                return refused(Outcome::Reused, ended(EndReason::Reused));
            }
            Decision::Ended(reason) => return refused(Outcome::Ended, ended(reason)),
            Decision::KeyReused => return Err(IDEMPOTENCY_KEY_REUSED.into()),
            Decision::SetBack => {
                tracing::error!(
                    session_id = %session.id,
                    "refresh token newer than its session: the database was set back"
                );
                return refused(Outcome::Invalid, invalid());
            }
        }
    }
    tracing::warn!("refresh lost every race");
    Err(Problem::unavailable())
}

/// Makes the next token; `None` if the session has changed meanwhile.
async fn rotate(
    state: &State,
    session: &Session,
    keys: &[KeyHash],
    context: &RequestContext,
) -> Result<Option<HttpResponse>, Problem> {
    let from = session.stored.generation;
    let to = from.next().ok_or_else(Problem::internal)?;
    let now = state.clock.now();
    let idle = TimeDelta::from_std(state.settings.refresh_ttl).unwrap_or_default();
    let rotation = Rotation {
        session: session.id,
        from,
        to,
        at: now,
        key: keys.first().copied(),
        idle_until: (now + idle).min(session.stored.expires_at),
        network: context.network(),
    };
    let mut refreshed = session.clone();
    refreshed.stored.idle_until = rotation.idle_until;
    if !store::rotate(&state.database, rotation).await? {
        return Ok(None);
    }
    let tokens = state.issuer.issue(&refreshed, to)?;
    Ok(Some(HttpResponse::Ok().json(tokens)))
}

/// The current token once more.
fn repeat(state: &State, session: &Session) -> Result<HttpResponse, Problem> {
    let tokens = state.issuer.issue(session, session.stored.generation)?;
    let mut response = HttpResponse::Ok().json(tokens);
    mark_replayed(&mut response);
    Ok(response)
}

async fn end_reused(
    state: &State,
    session: &Session,
    context: &RequestContext,
) -> Result<(), Problem> {
    let ending = state.ender.ending(EndReason::Reused, "refresh", context);
    end::end(&state.database, &state.ender.feed, vec![session.id], ending).await?;
    tracing::warn!(session_id = %session.id, "refresh token reused, session ended");
    Ok(())
}

/// 401 for a session that has ended.
fn ended(reason: EndReason) -> Problem {
    Problem::from(SESSION_ENDED).because(reason.as_str())
}

fn documentation() -> Documentation {
    Documentation::new("refresh", "sessions", "Exchanges a refresh token for new tokens.")
        .description(
            "Each refresh token is exchanged once. A refresh that got no response can be repeated: with the same \
             `Idempotency-Key` for 24 hours, and without one for 30 seconds; it gets the same refresh token, and a new \
             access token. Any other use of an old refresh token ends the session. Write the token and a new key to \
             disk, send them, and on a response write the new token and forget the key.",
        )
        .body::<RefreshRequest>(
            "At most 4 KiB.",
            [("refresh", "A refresh", json!({ "refresh_token": EXAMPLE_REFRESH }))],
        )
        .fields(&["/refresh_token"])
        .json::<TokenResponse>(200, "The new tokens.", TokenResponse::example())
        .problems(&[
            REFRESH_TOKEN_INVALID,
            SESSION_ENDED,
            REFRESH_TOKEN_SUPERSEDED,
            ProblemType::VALIDATION_FAILED,
            ProblemType::RATE_LIMITED,
            ProblemType::UNAVAILABLE,
        ])
}
