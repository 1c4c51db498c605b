//! `Idempotency-Key` on HTTP: the header, and the responses to a key.
//!
//! Headers of keyed operations that are no key, or that miss one, are refused before the body is
//! read. A slice renders what its command came to by [`respond`].

use std::time::Duration;

use actix_web::http::header::{HeaderName, HeaderValue};
use actix_web::{HttpRequest, HttpResponse};

use crate::http::problem::{Problem, ProblemType};
use crate::idempotency::{Error, IdempotencyKey, Recorded};

const NAME: &str = "idempotency-key";

/// Says that the response repeats one that was given before.
const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// The key of a request, if it has one.
///
/// # Errors
/// 400 where it is no key, or where there is none and it is required. The body need not be read.
pub fn read(request: &HttpRequest, is_required: bool) -> Result<Option<IdempotencyKey>, Problem> {
    let lines = request.headers().get_all(NAME).map(HeaderValue::as_bytes);
    let key = IdempotencyKey::read(lines).map_err(|invalid| {
        Problem::new(ProblemType::IdempotencyKeyInvalid, invalid.to_string()).closing()
    })?;
    if key.is_none() && is_required {
        return Err(Problem::new(
            ProblemType::IdempotencyKeyMissing,
            "Send an Idempotency-Key: a new one for each signup, the same for each try.",
        )
        .closing());
    }
    Ok(key)
}

/// The response to what a keyed command came to: the same, fresh or replayed.
pub fn respond<O>(
    recorded: &Recorded<O>,
    render: impl FnOnce(&O) -> Result<HttpResponse, Problem>,
) -> HttpResponse {
    let mut response = render(&recorded.outcome)
        .unwrap_or_else(|problem| problem.response_to(&recorded.request_id));
    if recorded.is_replay {
        let headers = response.headers_mut();
        headers.insert(REPLAYED, HeaderValue::from_static("true"));
        tracing::info!(status = response.status().as_u16(), "answer replayed");
    }
    response
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        match error {
            Error::InProgress => Self::new(
                ProblemType::RequestInProgress,
                "A request of this Idempotency-Key is still running.",
            )
            .retry_after(Duration::from_secs(1)),
            Error::Reused => Self::new(
                ProblemType::IdempotencyKeyReused,
                "This Idempotency-Key was used with another request.",
            ),
            Error::Exhausted => Self::new(
                ProblemType::IdempotencyKeyExhausted,
                "This Idempotency-Key came with too many different requests.",
            ),
            Error::Store(error) => error.into(),
        }
    }
}
