//! HTTP handler: the tokens of a logout, and its documentation.

use std::collections::BTreeSet;
use std::sync::Arc;

use actix_web::HttpResponse;
use actix_web::http::header::HeaderMap;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::json;
use utoipa::ToSchema;

use crate::access::authenticator::{Authenticator, NotAuthenticated};
use crate::access::{Access, Caller};
use crate::dependencies::Dependencies;
use crate::domain::{EndReason, SessionId};
use crate::http::authorization;
use crate::http::openapi::Documentation;
use crate::http::operation::{Call, Operation};
use crate::http::problem::{Problem, ProblemType};
use crate::slices::sessions::end;
use crate::slices::sessions::http::{EXAMPLE_REFRESH, Ender, undocumented};
use crate::slices::sessions::session;
use crate::tokens::Tokens;
use crate::tokens::refresh::RefreshToken;

/// The largest body, in bytes.
const MAX_BODY: usize = 4 * 1024;

/// The slice's operations.
pub fn operations() -> Vec<Operation> {
    vec![
        Operation::post(
            "/auth/logout",
            Access::Public("the token is the credential, and an invalid one ends nothing"),
        )
        .body(MAX_BODY)
        .rate_limited(|settings| settings.refresh_rate)
        .documented(documentation)
        .handled_by(|dependencies| {
            let state = Arc::new(State::new(dependencies));
            move |call| log_out(Arc::clone(&state), call)
        }),
    ]
}

/// The same on the administration listener, whose page is of another origin.
pub fn on_administration() -> Vec<Operation> {
    undocumented(operations())
}

/// The dependencies of the handler.
struct State {
    tokens: Arc<Tokens>,
    authenticator: Arc<Authenticator>,
    ender: Ender,
}

impl State {
    fn new(dependencies: &Dependencies) -> Self {
        Self {
            tokens: Arc::clone(&dependencies.tokens),
            authenticator: Arc::clone(&dependencies.authenticator),
            ender: Ender::new(dependencies),
        }
    }
}

// It has no `Debug`, as it carries a token.
/// The body of a logout.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LogoutRequest {
    /// A refresh token of the session. It need not be the newest one.
    #[schema(value_type = Option<String>, example = json!(EXAMPLE_REFRESH))]
    refresh_token: Option<SecretString>,
}

async fn log_out(state: Arc<State>, mut call: Call) -> Result<HttpResponse, Problem> {
    let body: Option<LogoutRequest> = call.optional_body().await?;
    // In the order of their ids, in which two logouts lock the same rows.
    let mut sessions = BTreeSet::new();
    if let Some(token) = body.and_then(|body| body.refresh_token) {
        sessions.extend(of_refresh_token(&state, &token).await?);
    }
    sessions.extend(of_access_token(&state, call.request.headers()).await?);
    if !sessions.is_empty() {
        let ender = &state.ender;
        let ending = ender.ending(EndReason::LoggedOut, "logout", &call.context);
        let sessions = sessions.into_iter().collect();
        end::end(&ender.database, &ender.feed, sessions, ending).await?;
    }
    Ok(HttpResponse::NoContent().finish())
}

/// The session of a genuine refresh token, of any generation.
async fn of_refresh_token(
    state: &State,
    token: &SecretString,
) -> Result<Option<SessionId>, Problem> {
    let Some(presented) = RefreshToken::parse(token.expose_secret()) else {
        return Ok(None);
    };
    let found = session::by_id(&state.ender.database, presented.token.session).await?;
    let genuine = found.filter(|found| presented.is_genuine(&found.nonce, &state.tokens.secrets));
    Ok(genuine.map(|session| session.id))
}

/// The session of a valid access token. Any other credential is ignored.
async fn of_access_token(state: &State, headers: &HeaderMap) -> Result<Option<SessionId>, Problem> {
    let Ok(Some(credential)) = authorization::credential(headers) else {
        return Ok(None);
    };
    match state.authenticator.authenticate(credential).await {
        Ok(Caller::User(user)) => Ok(Some(user.session)),
        Ok(Caller::Service(_)) | Err(NotAuthenticated::Refused(_)) => Ok(None),
        Err(NotAuthenticated::Store(error)) => Err(error.into()),
    }
}

fn documentation() -> Documentation {
    Documentation::new("log_out", "sessions", "Ends the session of a token.")
        .description(
            "The token is a refresh token in the body, or an access token in `Authorization`; the body may be left \
             out. The response is the same if the token is unknown or invalid, or its session has ended (RFC 7009, \
             section 2.2), so that a retry is safe. An access token that has expired, or was revoked, ends nothing: \
             send the refresh token. After the response no refresh token of the session is accepted; its access \
             tokens are refused within two seconds, and by commands at once.",
        )
        .optional_body::<LogoutRequest>(
            "At most 4 KiB.",
            [(
                "logout",
                "A logout",
                json!({ "refresh_token": EXAMPLE_REFRESH }),
            )],
        )
        .no_content("The session of the token, if there is one, has ended.")
        .problems(&[ProblemType::UNAVAILABLE])
}
