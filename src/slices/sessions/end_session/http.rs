//! HTTP handler and its documentation.

use std::sync::Arc;

use actix_web::HttpResponse;
use utoipa::openapi::{ObjectBuilder, SchemaFormat, Type};

use super::store::{EndSession, Outcome};
use crate::access::Access;
use crate::access::authenticator::Reason;
use crate::domain::{EndReason, SessionId};
use crate::http::authorization;
use crate::http::openapi::Documentation;
use crate::http::operation::{Call, Method, Operation};
use crate::http::problem::{Problem, ProblemType};
use crate::slices::sessions::end;
use crate::slices::sessions::http::{EXAMPLE_SESSION, Ender};
use crate::slices::sessions::problems::SESSION_NOT_FOUND;

/// The slice's operations.
pub fn operations() -> Vec<Operation> {
    vec![
        Operation::of(Method::Delete, "/users/me/sessions/{id}", Access::User)
            .rate_limited_by_user(|settings| settings.user_rate)
            .documented(documentation)
            .handled_by(|dependencies| {
                let ender = Arc::new(Ender::new(dependencies));
                move |call| end_session(Arc::clone(&ender), call)
            }),
    ]
}

async fn end_session(ender: Arc<Ender>, call: Call) -> Result<HttpResponse, Problem> {
    // An invalid id belongs to no session: no query is needed.
    let parsed = call.path("id").parse();
    let session: SessionId = parsed.map_err(|_| SESSION_NOT_FOUND)?;
    let work = EndSession {
        caller: call.user()?.clone(),
        session,
        ending: ender.ending(EndReason::Revoked, "end_session", &call.context),
    };
    match ender.database.write(work).await? {
        Outcome::Ended => {
            end::known_at_once(&ender.feed, &[session]);
            Ok(HttpResponse::NoContent().finish())
        }
        Outcome::NotFound => Err(SESSION_NOT_FOUND.into()),
        Outcome::CallerEnded => Err(authorization::invalid(Reason::Revoked)),
    }
}

fn documentation() -> Documentation {
    let id = ObjectBuilder::new()
        .schema_type(Type::String)
        .format(Some(SchemaFormat::Custom("uuid".to_owned())));
    Documentation::new("end_session", "sessions", "Ends a session of the caller.")
        .description(
            "It may be the session of this request. A session that has ended already is no error, so that a retry is \
             safe. Access tokens of the session are refused within two seconds, and by commands at once.",
        )
        .path_parameter(
            "id",
            id,
            "The id of a session of the caller, with its hyphens, in either case.",
            EXAMPLE_SESSION.into(),
        )
        .no_content("The session has ended.")
        .problems(&[SESSION_NOT_FOUND, ProblemType::UNAVAILABLE])
}
