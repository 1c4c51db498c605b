//! Problem details (RFC 9457): the format of every error response.
//!
//! To add a kind, write a constant [`ProblemType`] in the slice or the area that it belongs to, and
//! name it in the documentation of the operations that respond with it: this adds it to the OpenAPI
//! document, with its page. Its slug is then part of the HTTP contract.

mod kinds;

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use actix_web::http::{StatusCode, header};
use actix_web::{HttpResponse, ResponseError};
use serde::Serialize;
use utoipa::openapi::extensions::Extensions;
use utoipa::openapi::{ArrayBuilder, Object, ObjectBuilder, Ref, SchemaFormat, Type};

use crate::domain::{CODES, StoreError};
use crate::platform::context;
use crate::platform::errors::error_chain;

/// The media type of every error body.
pub const MEDIA_TYPE: &str = "application/problem+json";

/// A kind of error that a client can receive. Kinds of a slice or an area are defined there.
#[derive(Debug, Clone, Copy)]
pub struct ProblemType(&'static About);

impl PartialEq for ProblemType {
    fn eq(&self, other: &Self) -> bool {
        self.0.slug == other.0.slug
    }
}

impl Eq for ProblemType {}

/// The fixed properties of a kind of problem.
#[derive(Debug)]
pub struct About {
    /// The last part of its `type`, which is stable.
    pub slug: &'static str,
    /// The HTTP status.
    pub status: StatusCode,
    /// The `title`, the same for each occurrence.
    pub title: &'static str,
    /// What has happened, in general. Names are in backticks, here and in the advice.
    pub meaning: &'static str,
    /// What the developer of a client should do.
    pub advice: &'static str,
    /// An example of a `detail`.
    pub detail: &'static str,
    /// Headers of its responses beside the common ones, by their names in the OpenAPI document.
    pub headers: &'static [&'static str],
    /// A member of its body beside the common ones.
    pub member: Member,
}

/// A member of a problem's body that only some kinds have.
#[derive(Debug, Clone, Copy)]
pub enum Member {
    /// None.
    None,
    /// `errors`: every invalid field.
    Errors,
    /// `checks`: a readiness report.
    Checks {
        /// The name of its schema, which is declared by the slice that makes the report.
        schema: &'static str,
        /// An example.
        example: fn() -> serde_json::Value,
    },
    /// `reason`: one of these words.
    Reason(&'static [&'static str]),
    /// `max_age`: the longest time since the password was sent, in seconds.
    MaxAge,
}

impl ProblemType {
    /// Creates a kind with these properties.
    #[must_use]
    pub const fn new(about: &'static About) -> Self {
        Self(about)
    }

    /// The properties of this kind. Its page, at `/problems/{slug}`, and the OpenAPI document show
    /// all of them.
    #[must_use]
    pub const fn about(self) -> &'static About {
        self.0
    }

    /// Sorts kinds into the order of the document and of the pages, without duplicates.
    pub fn arrange(kinds: &mut Vec<Self>) {
        kinds.sort_by_key(|kind| (kind.about().status.as_u16(), kind.about().slug));
        kinds.dedup();
    }

    /// The `type` of its problems: the path of its page.
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

    /// The schema of its problems: `type` and `status` are constants, so that a generated client
    /// has a separate type for each kind, and can distinguish them.
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
                            "The page of this service that explains this kind of problem. It does not \
                             change.",
                        )),
                    self.path(),
                ),
            )
            .property(
                "title",
                text()
                    .description(Some("A short summary of the kind, for people."))
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
                        "The id of the request in the log: the `X-Request-ID` of the response; of the \
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
        match about.member {
            Member::None => schema,
            Member::Errors => schema
                .property(
                    "errors",
                    ArrayBuilder::new()
                        .items(Ref::from_schema_name("FieldError"))
                        .min_items(Some(1))
                        .description(Some("Every invalid field.")),
                )
                .required("errors"),
            Member::Checks { schema: report, .. } => schema
                .property("checks", Ref::from_schema_name(report))
                .required("checks"),
            Member::Reason(reasons) => schema
                .property(
                    "reason",
                    text()
                        .description(Some("Why, in a word for programs. Others may be added."))
                        .enum_values(Some(reasons.iter().copied())),
                )
                .required("reason"),
            Member::MaxAge => schema
                .property(
                    "max_age",
                    ObjectBuilder::new()
                        .schema_type(Type::Integer)
                        .minimum(Some(1))
                        .description(Some(
                            "The longest time since the password was sent, in seconds.",
                        )),
                )
                .required("max_age"),
        }
        .build()
    }

    /// Whether its responses have `Retry-After`.
    #[must_use]
    pub fn has_retry_after(self) -> bool {
        self.about().headers.contains(&"Retry-After")
    }

    /// An example problem of this kind, for documentation.
    #[must_use]
    pub fn example(self) -> Problem {
        let problem = Problem::new(self, self.about().detail);
        match self.about().member {
            Member::None => problem,
            Member::Errors => Problem::validation(vec![FieldError {
                pointer: "/name",
                code: "required",
                detail: "Must not be empty.".into(),
            }]),
            Member::Checks { example, .. } => problem.with_checks(example()),
            Member::Reason(reasons) => {
                problem.because(reasons.first().copied().unwrap_or_default())
            }
            Member::MaxAge => problem.max_age(Duration::from_mins(5)),
        }
    }
}

/// An invalid field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FieldError {
    /// A JSON pointer (RFC 6901) to the field.
    pub pointer: &'static str,
    /// A short, stable word for programs.
    pub code: &'static str,
    /// One sentence for people.
    pub detail: Cow<'static, str>,
}

/// An error response. Its texts are written here, never taken from a driver.
#[derive(Debug)]
pub struct Problem {
    kind: ProblemType,
    detail: Cow<'static, str>,
    errors: Vec<FieldError>,
    checks: Option<Box<serde_json::Value>>,
    /// Few problems have these, and every result has room for a problem.
    of_access: Option<Box<OfAccess>>,
    retry_after: Option<Duration>,
    allow: Option<Box<str>>,
    close: bool,
}

/// What problems of credentials and sessions have beside others.
#[derive(Debug, Default)]
struct OfAccess {
    reason: Option<&'static str>,
    max_age: Option<Duration>,
    /// The value of `WWW-Authenticate`.
    challenge: Option<Box<str>>,
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
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_age: Option<u64>,
}

/// The challenge of a 401 that has no other one: RFC 6750, section 3, wants a parameter.
const CHALLENGE: &str = "Bearer realm=\"signup-service\"";

/// A request id, for examples.
pub const EXAMPLE_ID: &str = "01a1fcd0-3ac6-71ca-aa05-2becdf0b43e1";

/// The schema of [`FieldError`], if these are all the validated fields.
#[must_use]
pub fn field_error_schema(pointers: &[&'static str]) -> Object {
    let schema = ObjectBuilder::new()
        .schema_type(Type::Object)
        .description(Some("An invalid field."))
        .property(
            "pointer",
            text()
                .format(Some(SchemaFormat::Custom("json-pointer".to_owned())))
                .description(Some("A JSON pointer (RFC 6901) to the field."))
                .enum_values(Some(pointers.iter().copied()))
                .examples(pointers.first().copied()),
        )
        .property(
            "code",
            text()
                .description(Some(
                    "A short word for programs. A code does not change; others may be added.",
                ))
                .enum_values(Some(CODES.iter().copied()))
                .examples(["required"]),
        )
        .property(
            "detail",
            text()
                .description(Some("One sentence for people."))
                .examples(["Must not be empty."]),
        );
    ["pointer", "code", "detail"]
        .into_iter()
        .fold(schema, ObjectBuilder::required)
        .build()
}

fn text() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String)
}

/// Adds the constant value by which a generated client distinguishes kinds of problem.
fn constant(schema: ObjectBuilder, value: impl Into<serde_json::Value>) -> ObjectBuilder {
    // utoipa has no field for this keyword.
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
            of_access: None,
            retry_after: None,
            allow: None,
            close: false,
        }
    }

    /// 404 for a path that matches no resource.
    #[must_use]
    pub fn not_found() -> Self {
        Self::new(ProblemType::NOT_FOUND, "No resource has this path.")
    }

    /// 405 with the methods of the resource.
    #[must_use]
    pub fn method_not_allowed(allow: &str) -> Self {
        let mut problem = Self::new(
            ProblemType::METHOD_NOT_ALLOWED,
            format!("Allowed here: {allow}."),
        );
        problem.allow = Some(allow.into());
        problem
    }

    /// 422 with every invalid field.
    #[must_use]
    pub fn validation(errors: Vec<FieldError>) -> Self {
        let detail = match errors.len() {
            1 => "1 field is invalid.".to_owned(),
            n => format!("{n} fields are invalid."),
        };
        let mut problem = Self::new(ProblemType::VALIDATION_FAILED, detail);
        problem.errors = errors;
        problem
    }

    /// 503: a dependency is unavailable, or the outcome is unknown.
    #[must_use]
    pub fn unavailable() -> Self {
        Self::new(
            ProblemType::UNAVAILABLE,
            "The service is unavailable. Try again shortly.",
        )
        .retry_after(Duration::from_secs(1))
    }

    /// 500; the reason is in the log.
    #[must_use]
    pub fn internal() -> Self {
        Self::new(
            ProblemType::INTERNAL,
            "The service failed. The log has the reason under the request id.",
        )
    }

    /// Sets `Retry-After`: whole seconds, rounded up.
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// Adds the reason, a word of its kind.
    #[must_use]
    pub fn because(mut self, reason: &'static str) -> Self {
        self.of_access.get_or_insert_default().reason = Some(reason);
        self
    }

    /// Adds the longest time since the password was sent.
    #[must_use]
    pub fn max_age(mut self, within: Duration) -> Self {
        self.of_access.get_or_insert_default().max_age = Some(within);
        self
    }

    /// Sets `WWW-Authenticate` (RFC 9110, section 11.6.1). Every 401 has one.
    #[must_use]
    pub fn challenge(mut self, challenge: impl Into<Box<str>>) -> Self {
        self.of_access.get_or_insert_default().challenge = Some(challenge.into());
        self
    }

    /// Adds the report of `/ready`.
    #[must_use]
    pub fn with_checks(mut self, checks: serde_json::Value) -> Self {
        self.checks = Some(Box::new(checks));
        self
    }

    /// Closes the connection after the response, as the rest of the request was not read.
    #[must_use]
    pub fn closing(mut self) -> Self {
        self.close = true;
        self
    }

    /// The members of the body.
    #[must_use]
    pub fn members<'a>(&'a self, request_id: &'a str) -> ProblemBody<'a> {
        let about = self.kind.about();
        let of_access = self.of_access.as_deref();
        let max_age = of_access.and_then(|members| members.max_age);
        ProblemBody {
            kind: self.kind.path(),
            title: about.title,
            status: about.status.as_u16(),
            detail: &self.detail,
            request_id,
            errors: &self.errors,
            checks: self.checks.as_deref(),
            reason: of_access.and_then(|members| members.reason),
            max_age: max_age.map(|within| within.as_secs()),
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

/// The kind says it all: its detail is always the same.
impl From<ProblemType> for Problem {
    fn from(kind: ProblemType) -> Self {
        Self::new(kind, kind.about().detail)
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        // The reason goes to the log, and not to the client.
        let reason = error_chain(&error);
        match error {
            StoreError::Unavailable(_) => {
                tracing::warn!(reason, "store unavailable");
                Self::unavailable()
            }
            StoreError::Broken(_) => {
                tracing::error!(reason, "store returned invalid data");
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
        let of_access = self.of_access.as_deref();
        if let Some(challenge) = of_access.and_then(|members| members.challenge.as_deref()) {
            response.insert_header((header::WWW_AUTHENTICATE, challenge));
        } else if self.status_code() == StatusCode::UNAUTHORIZED {
            response.insert_header((header::WWW_AUTHENTICATE, CHALLENGE));
        }
        if self.close {
            response.force_close();
        }
        response.body(body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
