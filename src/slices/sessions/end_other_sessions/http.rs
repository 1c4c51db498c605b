//! HTTP handler and its documentation.

use std::sync::Arc;

use actix_web::HttpResponse;

use super::store::{EndOtherSessions, Outcome};
use crate::access::Access;
use crate::access::authenticator::Reason;
use crate::domain::EndReason;
use crate::http::authorization;
use crate::http::openapi::Documentation;
use crate::http::operation::{Call, Method, Operation};
use crate::http::problem::{Problem, ProblemType};
use crate::slices::sessions::end;
use crate::slices::sessions::http::Ender;

/// The slice's operations.
pub fn operations() -> Vec<Operation> {
    vec![
        Operation::of(Method::Delete, "/users/me/sessions", Access::User)
            .rate_limited_by_user(|settings| settings.user_rate)
            .documented(documentation)
            .handled_by(|dependencies| {
                let ender = Arc::new(Ender::new(dependencies));
                move |call| end_other_sessions(Arc::clone(&ender), call)
            }),
    ]
}

async fn end_other_sessions(ender: Arc<Ender>, call: Call) -> Result<HttpResponse, Problem> {
    let work = EndOtherSessions {
        caller: call.user()?.clone(),
        ending: ender.ending(EndReason::Revoked, "end_other_sessions", &call.context),
    };
    match ender.database.write(work).await? {
        Outcome::Ended(sessions) => {
            end::known_at_once(&ender.feed, &sessions);
            Ok(HttpResponse::NoContent().finish())
        }
        Outcome::CallerEnded => Err(authorization::invalid(Reason::Revoked)),
    }
}

fn documentation() -> Documentation {
    Documentation::new(
        "end_other_sessions",
        "sessions",
        "Ends all sessions of the caller but the current one.",
    )
    .description(
        "Access tokens of these sessions are refused within two seconds, and by commands at once.",
    )
    .no_content("The other sessions have ended.")
    .problems(&[ProblemType::UNAVAILABLE])
}
