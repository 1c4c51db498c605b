//! `Idempotency-Key` over HTTP: the header, and the responses to a key.
//!
//! Keyed operations refuse a header that is invalid, or missing but required, before the body is
//! read. A slice renders the outcome of its command by [`respond`].

use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::http::header::{HeaderName, HeaderValue};
use actix_web::{HttpRequest, HttpResponse};

use crate::http::problem::{About, Member, Problem, ProblemType};
use crate::idempotency::{Error, IdempotencyKey, Recorded};

const NAME: &str = "idempotency-key";

/// Marks the response as a replay.
const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// The problems that a request to a keyed operation may cause.
pub const PROBLEMS: [ProblemType; 5] = [
    IDEMPOTENCY_KEY_INVALID,
    IDEMPOTENCY_KEY_MISSING,
    REQUEST_IN_PROGRESS,
    IDEMPOTENCY_KEY_REUSED,
    IDEMPOTENCY_KEY_EXHAUSTED,
];

/// The `Idempotency-Key` header is invalid.
const IDEMPOTENCY_KEY_INVALID: ProblemType = ProblemType::new(&About {
    slug: "idempotency-key-invalid",
    status: StatusCode::BAD_REQUEST,
    title: "Invalid Idempotency-Key",
    meaning: "The header `Idempotency-Key` is empty, too long or repeated, or has \
          characters that are not allowed. Nothing was done.",
    advice: "Send the header once, with 1 to 255 characters of visible ASCII, \
          bare or as a string in double quotes. A random UUID is suitable.",
    detail: "The Idempotency-Key is empty.",
    headers: &[],
    member: Member::None,
});

/// The `Idempotency-Key` header is missing, but required.
const IDEMPOTENCY_KEY_MISSING: ProblemType = ProblemType::new(&About {
    slug: "idempotency-key-missing",
    status: StatusCode::BAD_REQUEST,
    title: "Idempotency-Key required",
    meaning: "This service is configured to require the header `Idempotency-Key` on \
          every request that takes one, and it is missing. Nothing was done.",
    advice: "Send the header `Idempotency-Key`: a new random UUID for each \
          request, and the same one for each retry of it.",
    detail: "Send an Idempotency-Key: a new one for each request, the same for \
          each retry.",
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
    advice: "Wait for the seconds in `Retry-After`, and retry with the same key. \
          The retry then gets the response of the first request.",
    detail: "A request with this Idempotency-Key is still running.",
    headers: &["Retry-After"],
    member: Member::None,
});

/// The key was used with another request.
pub const IDEMPOTENCY_KEY_REUSED: ProblemType = ProblemType::new(&About {
    slug: "idempotency-key-reused",
    status: StatusCode::UNPROCESSABLE_ENTITY,
    title: "Idempotency-Key reused",
    meaning: "A key identifies one request, and another request used it within the \
          last 24 hours. Nothing was done.",
    advice: "Use a new key for a new request. To retry the earlier request, send \
          exactly the same values.",
    detail: "This Idempotency-Key was used with another request.",
    headers: &[],
    member: Member::None,
});

/// The key was used with too many other requests.
const IDEMPOTENCY_KEY_EXHAUSTED: ProblemType = ProblemType::new(&About {
    slug: "idempotency-key-exhausted",
    status: StatusCode::TOO_MANY_REQUESTS,
    title: "Idempotency-Key exhausted",
    meaning: "The key was used with so many different requests that it is refused \
          until it expires. Nothing was done.",
    advice: "Use a new key for each request. Look for a client that sends the same \
          key with every request.",
    detail: "This Idempotency-Key was used with too many different requests.",
    headers: &[],
    member: Member::None,
});

/// The key of a request, if it has one.
///
/// # Errors
/// 400 if it is invalid, or missing but required. The body need not be read.
pub fn read(request: &HttpRequest, is_required: bool) -> Result<Option<IdempotencyKey>, Problem> {
    let lines = request.headers().get_all(NAME).map(HeaderValue::as_bytes);
    let key = IdempotencyKey::read(lines)
        .map_err(|invalid| Problem::new(IDEMPOTENCY_KEY_INVALID, invalid.to_string()).closing())?;
    if key.is_none() && is_required {
        return Err(Problem::new(
            IDEMPOTENCY_KEY_MISSING,
            "Send an Idempotency-Key: a new one for each request, the same for each retry.",
        )
        .closing());
    }
    Ok(key)
}

/// The problems of an operation that has its own use of the key.
pub const PROBLEMS_OF_OWN_KEYS: [ProblemType; 2] =
    [IDEMPOTENCY_KEY_INVALID, IDEMPOTENCY_KEY_REUSED];

/// Marks a response as a replay.
pub fn mark_replayed(response: &mut HttpResponse) {
    let headers = response.headers_mut();
    headers.insert(REPLAYED, HeaderValue::from_static("true"));
    tracing::info!(status = response.status().as_u16(), "response replayed");
}

/// The response to the outcome of a keyed command: the same, fresh or replayed.
pub fn respond<O>(
    recorded: &Recorded<O>,
    render: impl FnOnce(&O) -> Result<HttpResponse, Problem>,
) -> HttpResponse {
    let mut response = render(&recorded.outcome)
        .unwrap_or_else(|problem| problem.response_to(&recorded.request_id));
    if recorded.is_replay {
        mark_replayed(&mut response);
    }
    response
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        match error {
            Error::InProgress => Self::new(
                REQUEST_IN_PROGRESS,
                "A request with this Idempotency-Key is still running.",
            )
            .retry_after(Duration::from_secs(1)),
            Error::Reused => Self::new(
                IDEMPOTENCY_KEY_REUSED,
                "This Idempotency-Key was used with another request.",
            ),
            Error::Exhausted => Self::new(
                IDEMPOTENCY_KEY_EXHAUSTED,
                "This Idempotency-Key was used with too many different requests.",
            ),
            Error::Store(error) => error.into(),
        }
    }
}
