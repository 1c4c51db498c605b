//! Problem details (RFC 9457): the one way in which an error leaves the service.
//!
//! To add one, add a variant to [`ProblemType`] and its row in [`ProblemType::about`]; the
//! compiler asks for the rest. Its slug is then part of the HTTP contract.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use actix_web::http::{StatusCode, header};
use actix_web::{HttpResponse, ResponseError};
use serde::Serialize;
use utoipa::ToSchema;

use super::context;
use crate::domain::{Answer, StoreError};

/// The media type of every error body.
pub const MEDIA_TYPE: &str = "application/problem+json";

/// Every kind of error that a client can meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProblemType {
    /// The request could not be read.
    MalformedRequest,
    /// A query parameter breaks its rule.
    InvalidParameter,
    /// The `Idempotency-Key` header is no key.
    IdempotencyKeyInvalid,
    /// There is no `Idempotency-Key`, and one is required.
    IdempotencyKeyMissing,
    /// Nothing lives at this path.
    NotFound,
    /// There is no such user.
    UserNotFound,
    /// The path is right, the method is not.
    MethodNotAllowed,
    /// The request did not arrive in time.
    RequestTimeout,
    /// The address has an account.
    EmailAlreadyRegistered,
    /// The same request is still running.
    RequestInProgress,
    /// The body is too large.
    PayloadTooLarge,
    /// The body is not JSON by its `Content-Type`.
    UnsupportedMediaType,
    /// Fields break their rules.
    ValidationFailed,
    /// The key was used with another request.
    IdempotencyKeyReused,
    /// The key was used with too many other requests.
    IdempotencyKeyExhausted,
    /// The client asked for too much in a short time.
    RateLimited,
    /// The head of the request is too large.
    HeadersTooLarge,
    /// A defect in the service.
    Internal,
    /// More work is waiting than can be done in time.
    Overloaded,
    /// Something the service needs can't be reached, or the outcome is unknown.
    Unavailable,
    /// A check of readiness does not hold.
    NotReady,
}

/// What is fixed about a kind of problem.
pub struct About {
    /// The last part of its `type`; does not change.
    pub slug: &'static str,
    /// The HTTP status.
    pub status: StatusCode,
    /// The `title`, the same for each occurrence.
    pub title: &'static str,
    /// What it means and what to do, for the page at `/problems/{slug}`.
    pub explanation: &'static str,
}

impl ProblemType {
    /// All of them, in the order of their status.
    pub const ALL: [Self; 21] = [
        Self::MalformedRequest,
        Self::InvalidParameter,
        Self::IdempotencyKeyInvalid,
        Self::IdempotencyKeyMissing,
        Self::NotFound,
        Self::UserNotFound,
        Self::MethodNotAllowed,
        Self::RequestTimeout,
        Self::EmailAlreadyRegistered,
        Self::RequestInProgress,
        Self::PayloadTooLarge,
        Self::UnsupportedMediaType,
        Self::ValidationFailed,
        Self::IdempotencyKeyReused,
        Self::IdempotencyKeyExhausted,
        Self::RateLimited,
        Self::HeadersTooLarge,
        Self::Internal,
        Self::Overloaded,
        Self::Unavailable,
        Self::NotReady,
    ];

    /// What is fixed about this kind.
    #[must_use]
    #[expect(clippy::too_many_lines, reason = "it is a table")]
    pub const fn about(self) -> About {
        const fn row(
            slug: &'static str,
            status: StatusCode,
            title: &'static str,
            explanation: &'static str,
        ) -> About {
            About {
                slug,
                status,
                title,
                explanation,
            }
        }
        match self {
            Self::MalformedRequest => row(
                "malformed-request",
                StatusCode::BAD_REQUEST,
                "The request could not be read",
                "The request line, a header or the JSON body is not well-formed, has a field \
                 twice, or has a field that is not known. Nothing was done. Correct the request \
                 and send it again.",
            ),
            Self::InvalidParameter => row(
                "invalid-parameter",
                StatusCode::BAD_REQUEST,
                "A query parameter is not valid",
                "A parameter in the query string breaks its rule. The detail names it. A cursor \
                 is valid only as it was given in next_cursor.",
            ),
            Self::IdempotencyKeyInvalid => row(
                "idempotency-key-invalid",
                StatusCode::BAD_REQUEST,
                "The Idempotency-Key is no key",
                "Send the header once, with 1 to 255 characters of visible ASCII, bare or as a \
                 string in double quotes. Nothing was done.",
            ),
            Self::IdempotencyKeyMissing => row(
                "idempotency-key-missing",
                StatusCode::BAD_REQUEST,
                "An Idempotency-Key is required",
                "This service wants every signup to have the header Idempotency-Key: a new one \
                 for each signup, the same for each try. Nothing was done.",
            ),
            Self::NotFound => row(
                "not-found",
                StatusCode::NOT_FOUND,
                "Nothing is here",
                "No resource has this path. The paths are listed in /openapi.json.",
            ),
            Self::UserNotFound => row(
                "user-not-found",
                StatusCode::NOT_FOUND,
                "There is no such user",
                "No user has this id. Ids are UUIDs in their hyphenated form.",
            ),
            Self::MethodNotAllowed => row(
                "method-not-allowed",
                StatusCode::METHOD_NOT_ALLOWED,
                "The method is not allowed here",
                "The path exists, but not for this method. The Allow header lists those that \
                 it has.",
            ),
            Self::RequestTimeout => row(
                "request-timeout",
                StatusCode::REQUEST_TIMEOUT,
                "The request did not arrive in time",
                "The head or the body of the request was not complete within the time limit. \
                 Nothing was done.",
            ),
            Self::EmailAlreadyRegistered => row(
                "email-already-registered",
                StatusCode::CONFLICT,
                "The address has an account",
                "One address has one account, and this one has it already. Addresses are \
                 compared in lower case.",
            ),
            Self::RequestInProgress => row(
                "request-in-progress",
                StatusCode::CONFLICT,
                "The same request is still running",
                "A request with this Idempotency-Key has not ended yet. Send this one again, \
                 with the same key, after the seconds in Retry-After.",
            ),
            Self::PayloadTooLarge => row(
                "payload-too-large",
                StatusCode::PAYLOAD_TOO_LARGE,
                "The body is too large",
                "The body is over the limit of 16 KiB. Nothing was done.",
            ),
            Self::UnsupportedMediaType => row(
                "unsupported-media-type",
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "The body is not JSON",
                "Send the body as JSON, with the header Content-Type: application/json.",
            ),
            Self::ValidationFailed => row(
                "validation-failed",
                StatusCode::UNPROCESSABLE_ENTITY,
                "Fields break their rules",
                "The errors member lists every field that breaks its rule, with a code for \
                 programs and a detail for people. Nothing was done.",
            ),
            Self::IdempotencyKeyReused => row(
                "idempotency-key-reused",
                StatusCode::UNPROCESSABLE_ENTITY,
                "The Idempotency-Key was used with another request",
                "A key names one request, and another one had it within the last 24 hours. \
                 Nothing was done. Use a new key for a new request.",
            ),
            Self::IdempotencyKeyExhausted => row(
                "idempotency-key-exhausted",
                StatusCode::TOO_MANY_REQUESTS,
                "The Idempotency-Key was used with too many other requests",
                "The key came with so many different requests that it is refused until it \
                 expires. Nothing was done. Use a new key for a new request.",
            ),
            Self::RateLimited => row(
                "rate-limited",
                StatusCode::TOO_MANY_REQUESTS,
                "Too many requests from this address",
                "So many requests came from the address of the client that more are refused for \
                 a while. Nothing was done. Wait for Retry-After and send it again.",
            ),
            Self::HeadersTooLarge => row(
                "headers-too-large",
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                "The head of the request is too large",
                "The request line and the headers together are over the limit of 128 KiB, or \
                 there are more than 96 headers.",
            ),
            Self::Internal => row(
                "internal-error",
                StatusCode::INTERNAL_SERVER_ERROR,
                "The service made a mistake",
                "Something went wrong that is not the client's doing. Give the request id to \
                 those who run the service: the log has the reason under it.",
            ),
            Self::Overloaded => row(
                "overloaded",
                StatusCode::SERVICE_UNAVAILABLE,
                "Too much work is waiting",
                "Nothing was done. Try again after the seconds in Retry-After.",
            ),
            Self::Unavailable => row(
                "unavailable",
                StatusCode::SERVICE_UNAVAILABLE,
                "The service cannot answer now",
                "The store can't be reached, or the answer did not come in time, so that the \
                 outcome is not known. Try again after the seconds in Retry-After.",
            ),
            Self::NotReady => row(
                "not-ready",
                StatusCode::SERVICE_UNAVAILABLE,
                "The service is not ready",
                "A check of readiness does not hold. The checks member has each check with its \
                 status and figure.",
            ),
        }
    }
}

/// A field that breaks its rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct FieldError {
    /// A JSON pointer (RFC 6901) to the field.
    #[schema(example = "/email")]
    pub pointer: &'static str,
    /// A short word for programs; does not change.
    #[schema(example = "invalid_email")]
    pub code: &'static str,
    /// One sentence for people.
    #[schema(example = "Must be an e-mail address such as ada@example.org.")]
    pub detail: Cow<'static, str>,
}

/// An error on its way to a client. Its texts are written here, never taken from a driver.
#[derive(Debug)]
pub struct Problem {
    kind: ProblemType,
    detail: Cow<'static, str>,
    errors: Vec<FieldError>,
    checks: Option<serde_json::Value>,
    retry_after: Option<Duration>,
    allow: Option<&'static str>,
    close: bool,
}

/// The body of every error.
#[derive(Serialize, ToSchema)]
#[schema(as = Problem)]
pub struct ProblemBody<'a> {
    /// Where this kind of problem is explained: `/problems/<slug>`.
    #[serde(rename = "type")]
    #[schema(example = "/problems/validation-failed")]
    kind: String,
    /// The kind in a few words.
    #[schema(example = "Fields break their rules")]
    title: &'a str,
    /// The HTTP status.
    #[schema(example = 422)]
    status: u16,
    /// What happened this time.
    #[schema(example = "1 field breaks its rule.")]
    detail: &'a str,
    /// The id under which the log has more.
    request_id: &'a str,
    /// Each field that breaks its rule; only where the status is 422.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    errors: &'a [FieldError],
    /// Each check of readiness; only in the answer of `/ready`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    checks: Option<&'a serde_json::Value>,
}

impl Problem {
    /// A problem of this kind.
    pub fn new(kind: ProblemType, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            kind,
            detail: detail.into(),
            errors: Vec::new(),
            checks: None,
            retry_after: None,
            allow: None,
            close: false,
        }
    }

    /// 405 with the methods that the resource has.
    #[must_use]
    pub fn method_not_allowed(allow: &'static str) -> Self {
        let mut problem = Self::new(
            ProblemType::MethodNotAllowed,
            format!("Allowed here: {allow}."),
        );
        problem.allow = Some(allow);
        problem
    }

    /// 422 with every field that breaks its rule.
    #[must_use]
    pub fn validation(errors: Vec<FieldError>) -> Self {
        let detail = match errors.len() {
            1 => "1 field breaks its rule.".to_owned(),
            n => format!("{n} fields break their rules."),
        };
        let mut problem = Self::new(ProblemType::ValidationFailed, detail);
        problem.errors = errors;
        problem
    }

    /// 503 where the outcome is not known or a dependency is away.
    #[must_use]
    pub fn unavailable() -> Self {
        Self::new(
            ProblemType::Unavailable,
            "The service cannot answer now. Try again shortly.",
        )
        .retry_after(Duration::from_secs(1))
    }

    /// 500; the reason is in the log.
    #[must_use]
    pub fn internal() -> Self {
        Self::new(
            ProblemType::Internal,
            "The service made a mistake. The log has the reason under the request id.",
        )
    }

    /// Says when to try again: whole seconds, rounded up.
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// Adds the report of `/ready`.
    #[must_use]
    pub fn with_checks(mut self, checks: serde_json::Value) -> Self {
        self.checks = Some(checks);
        self
    }

    /// Closes the connection after the answer, as the rest of the request was not read.
    #[must_use]
    pub fn closing(mut self) -> Self {
        self.close = true;
        self
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// Never: it has only strings and numbers.
    #[must_use]
    pub fn body(&self, request_id: &str) -> String {
        let about = self.kind.about();
        let body = ProblemBody {
            kind: format!("/problems/{}", about.slug),
            title: about.title,
            status: about.status.as_u16(),
            detail: &self.detail,
            request_id,
            errors: &self.errors,
            checks: self.checks.as_ref(),
        };
        serde_json::to_string(&body).expect("a problem has only strings and numbers")
    }
}

impl From<Problem> for Answer {
    /// The answer that a problem is to the current request, without the headers that are not
    /// kept.
    fn from(problem: Problem) -> Self {
        let body = context::with_current(|context| {
            problem.body(context.map_or("", |context| &context.request_id))
        });
        Self {
            status: problem.status_code().as_u16(),
            location: None,
            content_type: MEDIA_TYPE.to_owned(),
            body: body.into_bytes(),
        }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        // What the log is told and what the client is told are two things.
        let reason = error_chain(&error);
        match error {
            StoreError::Unavailable(_) => {
                tracing::warn!(reason, "store unavailable");
                Self::unavailable()
            }
            StoreError::Broken(_) => {
                tracing::error!(reason, "store gave an impossible answer");
                Self::internal()
            }
        }
    }
}

/// An error and its causes on one line.
#[must_use]
pub fn error_chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        // Many errors repeat their cause in their own text.
        if !text.ends_with(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text.replace('\n', " ")
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind.about().slug, self.detail)
    }
}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        self.kind.about().status
    }

    fn error_response(&self) -> HttpResponse {
        let body = context::with_current(|context| {
            self.body(context.map_or("", |context| &context.request_id))
        });
        let mut response = HttpResponse::build(self.status_code());
        response.content_type(MEDIA_TYPE);
        if let Some(wait) = self.retry_after {
            let seconds = wait.as_secs_f64().ceil().max(1.0);
            response.insert_header((header::RETRY_AFTER, format!("{seconds:.0}")));
        }
        if let Some(allow) = self.allow {
            response.insert_header((header::ALLOW, allow));
        }
        if self.close {
            response.force_close();
        }
        response.body(body)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_kind_has_a_slug_of_its_own_and_an_error_status() {
        let slugs: HashSet<_> = ProblemType::ALL.map(|kind| kind.about().slug).into();
        assert_eq!(slugs.len(), ProblemType::ALL.len());
        for kind in ProblemType::ALL {
            assert!(kind.about().status.as_u16() >= 400, "{kind:?}");
        }
    }

    #[test]
    fn retry_after_is_rounded_up_to_whole_seconds() {
        for (wait, expected) in [(0, "1"), (1_000, "1"), (1_001, "2"), (90_000, "90")] {
            let response = Problem::unavailable()
                .retry_after(Duration::from_millis(wait))
                .error_response();
            let header = response.headers().get(header::RETRY_AFTER);
            assert_eq!(header.expect("present"), expected);
        }
    }
}
