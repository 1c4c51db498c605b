//! `Idempotency-Key` on HTTP: the header, and the responses to a key.
//!
//! Headers of keyed operations that are no key, or that miss one, are refused before the body is
//! read. A slice renders what its command came to by [`respond`].

use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::http::header::{HeaderName, HeaderValue};
use actix_web::{HttpRequest, HttpResponse};

use crate::http::problem::{About, Member, Problem, ProblemType};
use crate::idempotency::{Error, IdempotencyKey, Recorded};

const NAME: &str = "idempotency-key";

/// Says that the response repeats one that was given before.
const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// What a request to a keyed operation may meet.
pub const PROBLEMS: [ProblemType; 5] = [
    IDEMPOTENCY_KEY_INVALID,
    IDEMPOTENCY_KEY_MISSING,
    REQUEST_IN_PROGRESS,
    IDEMPOTENCY_KEY_REUSED,
    IDEMPOTENCY_KEY_EXHAUSTED,
];

/// The `Idempotency-Key` header is no key.
const IDEMPOTENCY_KEY_INVALID: ProblemType = ProblemType::new(&About {
    slug: "idempotency-key-invalid",
    status: StatusCode::BAD_REQUEST,
    title: "Invalid Idempotency-Key",
    meaning: "The header `Idempotency-Key` is empty, too long, has characters \
          that it must not have, or stands twice. Nothing was done.",
    advice: "Send the header once, with 1 to 255 characters of visible ASCII, \
          bare or as a string in double quotes. A random UUID will do.",
    detail: "The Idempotency-Key is empty.",
    headers: &[],
    member: Member::None,
});

/// There is no `Idempotency-Key`, and one is required.
const IDEMPOTENCY_KEY_MISSING: ProblemType = ProblemType::new(&About {
    slug: "idempotency-key-missing",
    status: StatusCode::BAD_REQUEST,
    title: "Idempotency-Key required",
    meaning: "This service is set up to want the header `Idempotency-Key` on \
          every signup, and there was none. Nothing was done.",
    advice: "Send the header `Idempotency-Key`: a new random UUID for each \
          signup, and the same one for each try of it.",
    detail: "Send an Idempotency-Key: a new one for each signup, the same for \
          each try.",
    headers: &[],
    member: Member::None,
});

/// The same request is still running.
const REQUEST_IN_PROGRESS: ProblemType = ProblemType::new(&About {
    slug: "request-in-progress",
    status: StatusCode::CONFLICT,
    title: "Request in progress",
    meaning: "A request with this `Idempotency-Key` has not ended yet. This one \
          did nothing.",
    advice: "Wait for the seconds in `Retry-After`, and send the same request \
          again with the same key. It then gets the answer of the first.",
    detail: "A request of this Idempotency-Key is still running.",
    headers: &["Retry-After"],
    member: Member::None,
});

/// The key was used with another request.
const IDEMPOTENCY_KEY_REUSED: ProblemType = ProblemType::new(&About {
    slug: "idempotency-key-reused",
    status: StatusCode::UNPROCESSABLE_ENTITY,
    title: "Idempotency-Key reused",
    meaning: "A key names one request, and another one had it within the last 24 \
          hours. Nothing was done.",
    advice: "Use a new key for a new signup. To try the earlier signup again, \
          send exactly its values.",
    detail: "This Idempotency-Key was used with another request.",
    headers: &[],
    member: Member::None,
});

/// The key was used with too many other requests.
const IDEMPOTENCY_KEY_EXHAUSTED: ProblemType = ProblemType::new(&About {
    slug: "idempotency-key-exhausted",
    status: StatusCode::TOO_MANY_REQUESTS,
    title: "Idempotency-Key exhausted",
    meaning: "The key came with so many different requests that it is refused \
          until it expires. Nothing was done.",
    advice: "Use a new key for each signup. Look for a client that sends the same \
          key with everything.",
    detail: "This Idempotency-Key came with too many different requests.",
    headers: &[],
    member: Member::None,
});

/// The key of a request, if it has one.
///
/// # Errors
/// 400 where it is no key, or where there is none and it is required. The body need not be read.
pub fn read(request: &HttpRequest, is_required: bool) -> Result<Option<IdempotencyKey>, Problem> {
    let lines = request.headers().get_all(NAME).map(HeaderValue::as_bytes);
    let key = IdempotencyKey::read(lines)
        .map_err(|invalid| Problem::new(IDEMPOTENCY_KEY_INVALID, invalid.to_string()).closing())?;
    if key.is_none() && is_required {
        return Err(Problem::new(
            IDEMPOTENCY_KEY_MISSING,
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
        tracing::info!(status = response.status().as_u16(), "response replayed");
    }
    response
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        match error {
            Error::InProgress => Self::new(
                REQUEST_IN_PROGRESS,
                "A request of this Idempotency-Key is still running.",
            )
            .retry_after(Duration::from_secs(1)),
            Error::Reused => Self::new(
                IDEMPOTENCY_KEY_REUSED,
                "This Idempotency-Key was used with another request.",
            ),
            Error::Exhausted => Self::new(
                IDEMPOTENCY_KEY_EXHAUSTED,
                "This Idempotency-Key came with too many different requests.",
            ),
            Error::Store(error) => error.into(),
        }
    }
}
