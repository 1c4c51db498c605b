//! Problem details (RFC 9457): the one way in which an error leaves the service.
//!
//! To add one, add a variant to [`ProblemType`] and its row in [`ProblemType::about`]; the
//! compiler asks for the rest. Its slug is then part of the HTTP contract. Name it in the OpenAPI
//! attributes of the operations that answer it; a test asks for at least one.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use actix_web::http::{StatusCode, header};
use actix_web::{HttpResponse, ResponseError};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa::openapi::extensions::Extensions;
use utoipa::openapi::{ArrayBuilder, Object, ObjectBuilder, Ref, SchemaFormat, Type};

use crate::domain::{CODES, StoreError};
use crate::platform::context;
use crate::platform::errors::error_chain;

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
    /// The target of the request is too long.
    UriTooLong,
    /// The body is not JSON by its `Content-Type`.
    UnsupportedMediaType,
    /// The request is meant for another service.
    MisdirectedRequest,
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
    /// What has happened, in general. Names are in backticks, here and in the advice.
    pub meaning: &'static str,
    /// What the author of a client is to do.
    pub advice: &'static str,
    /// A `detail` as an answer may have it.
    pub detail: &'static str,
}

impl ProblemType {
    /// All of them, in the order of their status.
    pub const ALL: [Self; 23] = [
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
        Self::UriTooLong,
        Self::UnsupportedMediaType,
        Self::MisdirectedRequest,
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

    /// What is fixed about this kind. Its page, at `/problems/{slug}`, and the OpenAPI document show it all.
    #[must_use]
    #[expect(clippy::too_many_lines, reason = "it is a table")]
    pub const fn about(self) -> About {
        match self {
            Self::MalformedRequest => About {
                slug: "malformed-request",
                status: StatusCode::BAD_REQUEST,
                title: "The request could not be read",
                meaning: "The request line, a header or the JSON body is not well-formed; or \
                          the header `Host` is missing, stands twice or names no host; or \
                          the body is no object, or has a field twice, of a wrong type, or \
                          that is not known. Nothing was done.",
                advice: "Correct the request. The detail says what could not be read and, for \
                         a body, at which line and column. Sent again as it is, it gets the \
                         same answer.",
                detail: "A field is not known, at line 1, column 21.",
            },
            Self::InvalidParameter => About {
                slug: "invalid-parameter",
                status: StatusCode::BAD_REQUEST,
                title: "A query parameter is not valid",
                meaning: "A parameter in the query string breaks its rule, or stands twice; or \
                          there are more than 16 of them.",
                advice: "Correct the parameter that the detail names. `limit` is a whole \
                         number from 1 to 100. A cursor is valid only as `next_cursor` gave \
                         it: do not make or change one. Send a plus sign in an address as \
                         `%2B`.",
                detail: "limit must be a whole number from 1 to 100.",
            },
            Self::IdempotencyKeyInvalid => About {
                slug: "idempotency-key-invalid",
                status: StatusCode::BAD_REQUEST,
                title: "The Idempotency-Key is no key",
                meaning: "The header `Idempotency-Key` is empty, too long, has characters \
                          that it must not have, or stands twice. Nothing was done.",
                advice: "Send the header once, with 1 to 255 characters of visible ASCII, \
                         bare or as a string in double quotes. A random UUID will do.",
                detail: "The Idempotency-Key is empty.",
            },
            Self::IdempotencyKeyMissing => About {
                slug: "idempotency-key-missing",
                status: StatusCode::BAD_REQUEST,
                title: "An Idempotency-Key is required",
                meaning: "This service is set up to want the header `Idempotency-Key` on \
                          every signup, and there was none. Nothing was done.",
                advice: "Send the header `Idempotency-Key`: a new random UUID for each \
                         signup, and the same one for each try of it.",
                detail: "Send an Idempotency-Key: a new one for each signup, the same for \
                         each try.",
            },
            Self::NotFound => About {
                slug: "not-found",
                status: StatusCode::NOT_FOUND,
                title: "Nothing is here",
                meaning: "No resource has this path.",
                advice: "Compare the path with those in `/openapi.json`. Paths have no slash \
                         at their end, and upper case counts.",
                detail: "No resource has this path.",
            },
            Self::UserNotFound => About {
                slug: "user-not-found",
                status: StatusCode::NOT_FOUND,
                title: "There is no such user",
                meaning: "No user has this id.",
                advice: "Use the id that signup gave, a UUID in its hyphenated form. Right \
                         after a signup, a service that reads from a replica may not know the \
                         user yet: try again after a moment.",
                detail: "No user has this id.",
            },
            Self::MethodNotAllowed => About {
                slug: "method-not-allowed",
                status: StatusCode::METHOD_NOT_ALLOWED,
                title: "The method is not allowed here",
                meaning: "The path exists, but not for this method.",
                advice: "Use one of the methods in the header `Allow`.",
                detail: "Allowed here: POST.",
            },
            Self::RequestTimeout => About {
                slug: "request-timeout",
                status: StatusCode::REQUEST_TIMEOUT,
                title: "The request did not arrive in time",
                meaning: "The head or the body of the request was not complete within the \
                          time limit. Nothing was done, and the connection closes.",
                advice: "Send the request again on a new connection, all of it at once.",
                detail: "The body took over 5000 ms to arrive.",
            },
            Self::EmailAlreadyRegistered => About {
                slug: "email-already-registered",
                status: StatusCode::CONFLICT,
                title: "The address has an account",
                meaning: "One address has one account, and this one has it already. Addresses \
                          are compared in lower case, so that `Ada@example.org` is \
                          `ada@example.org`.",
                advice: "Ask for another address. If an earlier try of this signup got no \
                         certain answer, the account may be its own: send an \
                         `Idempotency-Key` with each signup, and a later try with the same \
                         key tells.",
                detail: "The address has an account already.",
            },
            Self::RequestInProgress => About {
                slug: "request-in-progress",
                status: StatusCode::CONFLICT,
                title: "The same request is still running",
                meaning: "A request with this `Idempotency-Key` has not ended yet. This one \
                          did nothing.",
                advice: "Wait for the seconds in `Retry-After`, and send the same request \
                         again with the same key. It then gets the answer of the first.",
                detail: "A request of this Idempotency-Key is still running.",
            },
            Self::PayloadTooLarge => About {
                slug: "payload-too-large",
                status: StatusCode::PAYLOAD_TOO_LARGE,
                title: "The body is too large",
                meaning: "The body is over the limit of 16 KiB (16,384 bytes). The rest was \
                          not read, nothing was done, and the connection closes.",
                advice: "Send a smaller body. No signup that keeps the rules of its fields \
                         needs as much.",
                detail: "The body is over 16384 bytes.",
            },
            Self::UriTooLong => About {
                slug: "uri-too-long",
                status: StatusCode::URI_TOO_LONG,
                title: "The target of the request is too long",
                meaning: "The path and the query together are over the limit of 8 KiB (8,192 \
                          bytes). Nothing was done, and the connection closes.",
                advice: "Send a shorter one. No path or query of this service needs as much.",
                detail: "The target of the request is over 8192 bytes.",
            },
            Self::UnsupportedMediaType => About {
                slug: "unsupported-media-type",
                status: StatusCode::UNSUPPORTED_MEDIA_TYPE,
                title: "The body is not JSON",
                meaning: "The header `Content-Type` is missing, stands twice or is not \
                          `application/json`; or the body has a `Content-Encoding`. Nothing \
                          was done, and the connection closes.",
                advice: "Send the body as JSON, uncompressed, with the header `Content-Type: \
                         application/json`.",
                detail: "Send the body with the header Content-Type: application/json.",
            },
            Self::MisdirectedRequest => About {
                slug: "misdirected-request",
                status: StatusCode::MISDIRECTED_REQUEST,
                title: "Misdirected request",
                meaning: "The header `Host` names a host that this service is not known under. \
                          Nothing was done, and the connection closes.",
                advice: "Use the name that the service is known under. Who runs it can add more by \
                         the setting `HTTP_HOSTS`: on loopback, only names of loopback are served \
                         by default, so that no web page can ask it under a name of its own.",
                detail: "This service is not known under the name in Host.",
            },
            Self::ValidationFailed => About {
                slug: "validation-failed",
                status: StatusCode::UNPROCESSABLE_ENTITY,
                title: "Fields break their rules",
                meaning: "The body could be read, and fields in it break their rules. Nothing \
                          was done.",
                advice: "Correct every field that the member `errors` lists: all of them are \
                         there at once. `pointer` says which field; `code` is for programs \
                         and does not change; `detail` is for people.",
                detail: "2 fields break their rules.",
            },
            Self::IdempotencyKeyReused => About {
                slug: "idempotency-key-reused",
                status: StatusCode::UNPROCESSABLE_ENTITY,
                title: "The Idempotency-Key was used with another request",
                meaning: "A key names one request, and another one had it within the last 24 \
                          hours. Nothing was done.",
                advice: "Use a new key for a new signup. To try the earlier signup again, \
                         send exactly its values.",
                detail: "This Idempotency-Key was used with another request.",
            },
            Self::IdempotencyKeyExhausted => About {
                slug: "idempotency-key-exhausted",
                status: StatusCode::TOO_MANY_REQUESTS,
                title: "The Idempotency-Key was used with too many other requests",
                meaning: "The key came with so many different requests that it is refused \
                          until it expires. Nothing was done.",
                advice: "Use a new key for each signup. Look for a client that sends the same \
                         key with everything.",
                detail: "This Idempotency-Key came with too many different requests.",
            },
            Self::RateLimited => About {
                slug: "rate-limited",
                status: StatusCode::TOO_MANY_REQUESTS,
                title: "Too many requests from this address",
                meaning: "So many signups came from the network address of the client that \
                          more are refused for a while. Nothing was done.",
                advice: "Wait for the seconds in `Retry-After`, and send the same request \
                         again, with the same key if it has one.",
                detail: "Too many requests came from this address. Nothing was done.",
            },
            Self::HeadersTooLarge => About {
                slug: "headers-too-large",
                status: StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                title: "The head of the request is too large",
                meaning: "The request line and the headers together are over the limit of 32 \
                          KiB, or there are more than 96 headers. Nothing was done, and the \
                          connection closes.",
                advice: "Send fewer or shorter headers; look for a cookie or a header that \
                         grows.",
                detail: "The head of the request is too large",
            },
            Self::Internal => About {
                slug: "internal-error",
                status: StatusCode::INTERNAL_SERVER_ERROR,
                title: "The service made a mistake",
                meaning: "Something went wrong that is not the client's doing. What was asked \
                          for may or may not have been done.",
                advice: "Give the `request_id` to those who run the service: the log has the \
                         reason under it. A signup with an `Idempotency-Key` can be sent \
                         again with the same key without harm.",
                detail: "The service made a mistake. The log has the reason under the request \
                         id.",
            },
            Self::Overloaded => About {
                slug: "overloaded",
                status: StatusCode::SERVICE_UNAVAILABLE,
                title: "Too much work is waiting",
                meaning: "More passwords wait to be hashed than can be done in time. Nothing \
                          was done.",
                advice: "Wait for the seconds in `Retry-After` and a random part more, and \
                         send the same request again. Double the wait when it happens again.",
                detail: "Too many signups are waiting. Nothing was done.",
            },
            Self::Unavailable => About {
                slug: "unavailable",
                status: StatusCode::SERVICE_UNAVAILABLE,
                title: "The service cannot answer now",
                meaning: "The database can't be reached, or the answer did not come in time. \
                          Of a signup the outcome is then not known: the account may have \
                          been made.",
                advice: "Wait for the seconds in `Retry-After`, and send the same request \
                         again. A signup with an `Idempotency-Key`, sent again with the same \
                         key, gets a certain answer. Without a key, an answer that the \
                         address has an account may be about your own earlier try.",
                detail: "The service cannot answer now. Try again shortly.",
            },
            Self::NotReady => About {
                slug: "not-ready",
                status: StatusCode::SERVICE_UNAVAILABLE,
                title: "The service is not ready",
                meaning: "A check of readiness does not hold. Only `/ready` answers this.",
                advice: "Send requests elsewhere, and ask again later. The member `checks` \
                         has each check with its status and figure: those that are `failed` \
                         or `timed_out` are the reason.",
                detail: "A check does not hold; see checks.",
            },
        }
    }

    /// The `type` of its problems: the path of the page that explains it.
    #[must_use]
    pub fn path(self) -> String {
        format!("/problems/{}", self.about().slug)
    }

    /// The name of its schema in the OpenAPI document, such as `UserNotFoundProblem`.
    #[must_use]
    pub fn schema_name(self) -> String {
        let words = self.about().slug.split('-').map(|word| {
            let (first, rest) = word.split_at(1);
            first.to_uppercase() + rest
        });
        words.chain(["Problem".to_owned()]).collect()
    }

    /// The schema of its problems: `type` and `status` have one value each, so that a generated client has a
    /// type of its own for each kind, and tells them apart.
    #[must_use]
    pub fn schema(self) -> Object {
        let about = self.about();
        let status = ObjectBuilder::new()
            .schema_type(Type::Integer)
            .description(Some("The HTTP status."));
        let schema = ObjectBuilder::new()
            .schema_type(Type::Object)
            .description(Some(about.meaning))
            .property(
                "type",
                constant(
                    text()
                        .format(Some(SchemaFormat::Custom("uri-reference".to_owned())))
                        .description(Some(
                            "Where this kind of problem is explained: a page of this service. It does not \
                             change.",
                        )),
                    self.path(),
                ),
            )
            .property(
                "title",
                text()
                    .description(Some("The kind in a few words, for people."))
                    .examples([about.title]),
            )
            .property("status", constant(status, about.status.as_u16()))
            .property(
                "detail",
                text()
                    .description(Some("What happened this time, for people."))
                    .examples([about.detail]),
            )
            .property(
                "request_id",
                text()
                    .description(Some(
                        "The id under which the log has more: the `X-Request-ID` of the response; of the \
                         first response where one is replayed.",
                    ))
                    .min_length(Some(1))
                    .max_length(Some(128))
                    .pattern(Some("^[!-~]+$"))
                    .examples([EXAMPLE_ID]),
            );
        let schema = ["type", "title", "status", "detail", "request_id"]
            .into_iter()
            .fold(schema, ObjectBuilder::required);
        match self {
            Self::ValidationFailed => schema
                .property(
                    "errors",
                    ArrayBuilder::new()
                        .items(Ref::from_schema_name("FieldError"))
                        .min_items(Some(1))
                        .description(Some("Each field that breaks its rule.")),
                )
                .required("errors"),
            Self::NotReady => schema
                .property("checks", Ref::from_schema_name(REPORT))
                .required("checks"),
            _ => schema,
        }
        .build()
    }

    /// Whether its answers have `Retry-After`.
    #[must_use]
    pub const fn has_retry_after(self) -> bool {
        matches!(
            self,
            Self::RequestInProgress | Self::RateLimited | Self::Overloaded | Self::Unavailable
        )
    }

    /// One of its kind, for those who read.
    #[must_use]
    pub fn example(self) -> Problem {
        let problem = Problem::new(self, self.about().detail);
        match self {
            Self::ValidationFailed => Problem::validation(vec![
                FieldError {
                    pointer: "/name",
                    code: "required",
                    detail: "Must not be empty.".into(),
                },
                FieldError {
                    pointer: "/email",
                    code: "invalid_email",
                    detail: "Must be an e-mail address such as ada@example.org.".into(),
                },
            ]),
            Self::NotReady => problem.with_checks(serde_json::json!({
                "running": {"status": "ok", "duration_ms": 0.0},
                "database": {"status": "failed", "duration_ms": 5.875, "detail": "read-only"},
                "migrations": {"status": "ok", "duration_ms": 6.311, "pending": 0},
                "cpu": {"status": "ok", "duration_ms": 4.236, "used_percent": 12.5},
                "memory": {"status": "ok", "duration_ms": 4.236, "used_percent": 4.1},
                "disk": {"status": "ok", "duration_ms": 4.236, "used_percent": 73.3},
            })),
            _ => problem,
        }
    }
}

/// A field that breaks its rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct FieldError {
    /// A JSON pointer (RFC 6901) to the field.
    #[schema(schema_with = pointer_schema)]
    pub pointer: &'static str,
    /// A short word for programs; does not change.
    #[schema(schema_with = code_schema)]
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
    allow: Option<Box<str>>,
    close: bool,
}

/// The body of every error. [`ProblemType::schema`] describes it to clients.
#[derive(Serialize)]
pub struct ProblemBody<'a> {
    #[serde(rename = "type")]
    kind: String,
    title: &'a str,
    status: u16,
    detail: &'a str,
    request_id: &'a str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    errors: &'a [FieldError],
    #[serde(skip_serializing_if = "Option::is_none")]
    checks: Option<&'a serde_json::Value>,
}

/// A request id, for examples.
pub const EXAMPLE_ID: &str = "01a1fcd0-3ac6-71ca-aa05-2becdf0b43e1";

/// The schema of the report of readiness, which the slice that makes the report declares.
const REPORT: &str = "Report";

/// Every member of a request body that has a rule. To add one, put its pointer here.
pub const POINTERS: &[&str] = &["/name", "/email", "/password", "/display_name"];

fn pointer_schema() -> Object {
    text()
        .format(Some(SchemaFormat::Custom("json-pointer".to_owned())))
        .description(Some("A JSON pointer (RFC 6901) to the field."))
        .enum_values(Some(POINTERS.iter().copied()))
        .examples(["/email"])
        .build()
}

fn code_schema() -> Object {
    text()
        .description(Some(
            "A short word for programs. A code does not change; others may be added.",
        ))
        .enum_values(Some(CODES.iter().copied()))
        .examples(["invalid_email"])
        .build()
}

fn text() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String)
}

/// Adds the one value that there is, by which a generated client tells a kind of problem from others.
fn constant(schema: ObjectBuilder, value: impl Into<serde_json::Value>) -> ObjectBuilder {
    // utoipa has no place of its own for this keyword.
    schema.extensions(Some(Extensions::from_iter([("const", value.into())])))
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

    /// 404 where no resource has the path.
    #[must_use]
    pub fn not_found() -> Self {
        Self::new(ProblemType::NotFound, "No resource has this path.")
    }

    /// 405 with the methods that the resource has.
    #[must_use]
    pub fn method_not_allowed(allow: &str) -> Self {
        let mut problem = Self::new(
            ProblemType::MethodNotAllowed,
            format!("Allowed here: {allow}."),
        );
        problem.allow = Some(allow.into());
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

    /// What the body says.
    #[must_use]
    pub fn members<'a>(&'a self, request_id: &'a str) -> ProblemBody<'a> {
        let about = self.kind.about();
        ProblemBody {
            kind: self.kind.path(),
            title: about.title,
            status: about.status.as_u16(),
            detail: &self.detail,
            request_id,
            errors: &self.errors,
            checks: self.checks.as_ref(),
        }
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// Never: it has only strings and numbers.
    #[must_use]
    pub fn body(&self, request_id: &str) -> String {
        serde_json::to_string(&self.members(request_id))
            .expect("a problem has only strings and numbers")
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
        context::with_current(|context| {
            self.response_to(context.map_or("", |context| &context.request_id))
        })
    }
}

impl Problem {
    /// The response to the request with this id.
    #[must_use]
    pub fn response_to(&self, request_id: &str) -> HttpResponse {
        let body = self.body(request_id);
        let mut response = HttpResponse::build(self.status_code());
        response.content_type(MEDIA_TYPE);
        // For the log.
        response.extensions_mut().insert(self.kind);
        if let Some(wait) = self.retry_after {
            let seconds = wait.as_secs_f64().ceil().max(1.0);
            response.insert_header((header::RETRY_AFTER, format!("{seconds:.0}")));
        }
        if let Some(allow) = &self.allow {
            response.insert_header((header::ALLOW, &**allow));
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
        let statuses = ProblemType::ALL.map(|kind| kind.about().status);
        assert!(statuses.is_sorted(), "{statuses:?}");
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
