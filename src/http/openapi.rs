//! The OpenAPI document, made of the data of the operations.
//!
//! An operation's [`Documentation`] says what only it knows. Its path, its method, its key and the
//! problems that follow from its terms come from the [`Operation`](operation::Operation) itself; what
//! every request may have and every response has, from here.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use utoipa::openapi::content::ContentBuilder;
use utoipa::openapi::example::{Example, ExampleBuilder};
use utoipa::openapi::extensions::Extensions;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::link::Link;
use utoipa::openapi::path::{
    HttpMethod, Operation, OperationBuilder, Parameter, ParameterBuilder, ParameterIn, PathItem,
};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::response::{Response, ResponseBuilder};
use utoipa::openapi::schema::{Discriminator, ObjectBuilder, OneOfBuilder, Schema, Type};
use utoipa::openapi::{self, Components, Header, Ref, RefOr, Required};
use utoipa::{OpenApi, ToSchema};

use super::middleware::idempotency;
use super::operation::Method;
use super::problem::{EXAMPLE_ID, MEDIA_TYPE, ProblemType, field_error_schema};
use super::{operation, resource};
use crate::access::Access;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "signup-service",
        description = "Makes an account exactly once, and reads accounts back.\n\n\
            Every error is a problem (RFC 9457) of the media type `application/problem+json`. Its `type` \
            is a page of this service, which says what has happened and what to do; `/problems` lists \
            them. Each has a schema of its own, told from the others by `type`.\n\n\
            Every answer has `X-Request-ID` and `X-Correlation-ID`, taken from the request where it has \
            them. Every `GET` resource answers `HEAD` too. Paths have no slash at their end. Members may \
            be added to answers: ignore those that you do not know.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0")
    ),
    servers((url = "./", description = "Where this document is served.")),
    tags(
        (name = "signup", description = "Making accounts."),
        (name = "users", description = "Reading accounts. No login is asked for yet."),
        (name = "operations", description = "For those who run the service."),
        (name = "documentation", description = "What the service says of itself."),
    )
)]
struct Base;

/// What a request with a body may meet.
const OF_A_BODY: [ProblemType; 2] = [
    ProblemType::PAYLOAD_TOO_LARGE,
    ProblemType::UNSUPPORTED_MEDIA_TYPE,
];

/// What any request may meet, whatever it asks for.
const OF_EVERY_REQUEST: [ProblemType; 7] = [
    ProblemType::MALFORMED_REQUEST,
    ProblemType::METHOD_NOT_ALLOWED,
    ProblemType::REQUEST_TIMEOUT,
    ProblemType::URI_TOO_LONG,
    ProblemType::MISDIRECTED_REQUEST,
    ProblemType::HEADERS_TOO_LARGE,
    ProblemType::INTERNAL,
];

const REQUEST_ID: &str = "X-Request-ID";
const CORRELATION_ID: &str = "X-Correlation-ID";
const TRACE: &str = "traceparent";
const TRACE_ANSWER: &str = "traceresponse";

/// The headers that every answer has.
const OF_EVERY_ANSWER: [&str; 3] = [REQUEST_ID, CORRELATION_ID, TRACE_ANSWER];

/// The document without paths.
fn base(kinds: &[ProblemType]) -> openapi::OpenApi {
    let mut document = Base::openapi();
    let components = document.components.get_or_insert_default();
    components.headers = headers();
    components.parameters = [
        parameter(
            REQUEST_ID,
            "The id of this request. Taken where it is 1 to 128 visible ASCII characters, sent once; else \
             the service makes one.",
            EXAMPLE_ID,
        ),
        parameter(
            CORRELATION_ID,
            "The id of what this request is part of. Taken as `X-Request-ID` is; left out, it is the \
             request id.",
            "order-42",
        ),
        parameter(
            TRACE,
            "The trace that this request is part of, by W3C Trace Context. One that can't be read is \
             ignored.",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ),
    ]
    .into();
    components
        .schemas
        .insert("Problem".to_owned(), any_of(kinds));
    for kind in kinds {
        components
            .schemas
            .insert(kind.schema_name(), Schema::from(kind.schema()).into());
        let about = kind.about();
        let example = ExampleBuilder::new()
            .summary(about.title)
            .value(Some(json!(kind.example().members(EXAMPLE_ID))))
            .build();
        components
            .examples
            .insert(about.slug.to_owned(), example.into());
        components
            .responses
            .insert(about.slug.to_owned(), response(&[*kind]).into());
    }
    document
}

/// The responses of an operation that are problems: its own, those that follow from its terms, and
/// those that any request may meet.
fn problems(own: &[ProblemType]) -> BTreeMap<String, RefOr<Response>> {
    let mut by_status: BTreeMap<String, Vec<ProblemType>> = BTreeMap::new();
    let mut kinds = [own, &OF_EVERY_REQUEST].concat();
    ProblemType::arrange(&mut kinds);
    for kind in kinds {
        let status = kind.about().status.as_str().to_owned();
        by_status.entry(status).or_default().push(kind);
    }
    by_status
        .into_iter()
        .map(|(status, kinds)| match kinds[..] {
            [kind] => (status, Ref::from_response_name(kind.about().slug).into()),
            _ => (status, response(&kinds).into()),
        })
        .collect()
}

/// What the OpenAPI document says of an operation, beside what follows from its terms: the problems
/// of its key, its body and its rate limit, and the header of its key.
///
/// It stands in a function below the handler.
pub struct Documentation {
    operation: OperationBuilder,
    schemas: Vec<(String, RefOr<Schema>)>,
    problems: Vec<ProblemType>,
    /// The fields of the body that have a rule, as JSON pointers.
    pointers: &'static [&'static str],
}

impl Documentation {
    /// The id, which names the functions of generated clients; the group; one line.
    #[must_use]
    pub fn new(id: &str, tag: &str, summary: &str) -> Self {
        Self {
            operation: OperationBuilder::new()
                .operation_id(Some(id))
                .tag(tag)
                .summary(Some(summary)),
            schemas: Vec::new(),
            problems: Vec::new(),
            pointers: &[],
        }
    }

    /// More than one line.
    #[must_use]
    pub fn description(mut self, text: &str) -> Self {
        self.operation = self.operation.description(Some(text));
        self
    }

    /// A variable of the path.
    #[must_use]
    pub fn path_parameter(
        self,
        name: &str,
        schema: impl Into<RefOr<Schema>>,
        description: &str,
        example: Value,
    ) -> Self {
        let parameter = ParameterBuilder::new()
            .name(name)
            .parameter_in(ParameterIn::Path)
            .required(Required::True)
            .description(Some(description))
            .schema(Some(schema))
            .example(Some(example));
        self.parameter(parameter)
    }

    /// A parameter of the query, which may be left out.
    #[must_use]
    pub fn query_parameter(
        self,
        name: &str,
        schema: impl Into<RefOr<Schema>>,
        description: &str,
    ) -> Self {
        let parameter = ParameterBuilder::new()
            .name(name)
            .parameter_in(ParameterIn::Query)
            .required(Required::False)
            .description(Some(description))
            .schema(Some(schema));
        self.parameter(parameter)
    }

    fn parameter(mut self, parameter: ParameterBuilder) -> Self {
        self.operation = self.operation.parameter(parameter);
        self
    }

    /// The JSON body, with its examples by name: a summary, and a value.
    #[must_use]
    pub fn body<T: ToSchema>(
        mut self,
        description: &str,
        examples: impl IntoIterator<Item = (&'static str, &'static str, Value)>,
    ) -> Self {
        let content = ContentBuilder::new()
            .schema(Some(self.reference::<T>()))
            .examples_from_iter(examples.into_iter().map(example))
            .build();
        let body = RequestBodyBuilder::new()
            .description(Some(description))
            .required(Some(Required::True))
            .content(JSON, content)
            .build();
        self.operation = self.operation.request_body(Some(body));
        self
    }

    /// The fields of the body that have a rule, as JSON pointers (RFC 6901).
    #[must_use]
    pub const fn fields(mut self, pointers: &'static [&'static str]) -> Self {
        self.pointers = pointers;
        self
    }

    /// A JSON response with one example.
    #[must_use]
    pub fn json<T: ToSchema>(mut self, status: u16, description: &str, example: Value) -> Self {
        let content = ContentBuilder::new()
            .schema(Some(self.reference::<T>()))
            .example(Some(example))
            .build();
        let response = ResponseBuilder::new()
            .description(description)
            .content(JSON, content);
        self.response(status, response)
    }

    /// A JSON response with examples by name: a summary, and a value.
    #[must_use]
    pub fn json_examples<T: ToSchema>(
        mut self,
        status: u16,
        description: &str,
        examples: impl IntoIterator<Item = (&'static str, &'static str, Value)>,
        links: impl IntoIterator<Item = (&'static str, Link)>,
    ) -> Self {
        let content = ContentBuilder::new()
            .schema(Some(self.reference::<T>()))
            .examples_from_iter(examples.into_iter().map(example))
            .build();
        let response = ResponseBuilder::new()
            .description(description)
            .content(JSON, content);
        let response = links
            .into_iter()
            .fold(response, |response, (name, link)| response.link(name, link));
        self.response(status, response)
    }

    /// Any other response. Headers that stand under `components` are given by their names.
    #[must_use]
    pub fn response(mut self, status: u16, response: ResponseBuilder) -> Self {
        self.operation = self.operation.response(status.to_string(), response);
        self
    }

    /// The problems of the operation's own.
    #[must_use]
    pub fn problems(mut self, own: &[ProblemType]) -> Self {
        self.problems.extend(own);
        self
    }

    /// A reference to a type's schema, which becomes part of the document.
    #[must_use]
    pub fn reference<T: ToSchema>(&mut self) -> RefOr<Schema> {
        self.schemas.push((T::name().into_owned(), T::schema()));
        T::schemas(&mut self.schemas);
        Ref::from_schema_name(T::name()).into()
    }
}

const JSON: &str = "application/json";

fn example(
    (name, summary, value): (&'static str, &'static str, Value),
) -> (&'static str, RefOr<Example>) {
    let example = ExampleBuilder::new().summary(summary).value(Some(value));
    (name, example.into())
}

/// Every field of a body of these operations that has a rule, as a JSON pointer.
#[must_use]
pub fn all_fields(operations: &[operation::Operation]) -> Vec<&'static str> {
    let documented = operations
        .iter()
        .filter_map(|operation| operation.terms.documentation);
    let mut fields: Vec<&str> = Vec::new();
    for pointer in documented.flat_map(|documentation| documentation().pointers) {
        if !fields.contains(pointer) {
            fields.push(pointer);
        }
    }
    fields
}

/// Every kind of problem that these operations respond with.
#[must_use]
pub fn all_problems(operations: &[operation::Operation]) -> Vec<ProblemType> {
    let documented = operations
        .iter()
        .filter_map(|operation| operation.terms.documentation);
    let mut kinds: Vec<ProblemType> = documented
        .flat_map(|documentation| documentation().problems)
        .chain(ProblemType::COMMON)
        .chain(idempotency::PROBLEMS)
        .collect();
    ProblemType::arrange(&mut kinds);
    kinds
}

/// The document of these operations.
#[must_use]
pub fn document(operations: &[operation::Operation]) -> openapi::OpenApi {
    let mut document = base(&all_problems(operations));
    for operation in operations {
        let terms = &operation.terms;
        let Some(documentation) = terms.documentation else {
            continue;
        };
        let Documentation {
            operation: mut described,
            schemas,
            problems: mut own,
            ..
        } = documentation();
        if terms.is_keyed {
            described = described.parameter(key());
            own.extend(idempotency::PROBLEMS);
        }
        if terms.body_limit.is_some() {
            own.extend(OF_A_BODY);
        }
        if terms.rate_limit.is_some() {
            own.push(ProblemType::RATE_LIMITED);
        }
        let described = problems(&own)
            .into_iter()
            .fold(described, |described, (status, response)| {
                described.response(status, response)
            });
        let described = match terms.access {
            // An empty list: no credentials, whatever the document says elsewhere.
            Access::Public(_) => described.securities(Some([])),
        };
        let methods = match terms.method {
            Method::Get => HttpMethod::Get,
            Method::Post => HttpMethod::Post,
            Method::Put => HttpMethod::Put,
            Method::Patch => HttpMethod::Patch,
            Method::Delete => HttpMethod::Delete,
        };
        let paths = &mut document.paths;
        paths.add_path_operation(terms.path, vec![methods], described);
        let components = document.components.get_or_insert_default();
        components.schemas.extend(schemas);
    }
    if let Some(components) = &mut document.components {
        components.headers.extend([allow(operations)]);
        let field_error = Schema::from(field_error_schema(&all_fields(operations)));
        let named = ("FieldError".to_owned(), field_error.into());
        components.schemas.extend([named]);
    }
    complete(&mut document);
    document
}

/// The header of a key.
fn key() -> ParameterBuilder {
    // An example beside the schema would be filled in by Swagger UI, and everybody would send the same key.
    let schema = ObjectBuilder::new()
        .schema_type(Type::String)
        .pattern(Some(
            r#"^([!#-+\--~]{1,255}|"([ !#-\[\]-~]|\\["\\]){1,255}"(; *[a-z][a-z0-9_]*(=[A-Za-z][A-Za-z0-9_]*)?){0,9})$"#,
        ))
        .examples(["5b0f3c1e-7d0a-4f5e-9a55-0c1d1f7a2b90"]);
    ParameterBuilder::new()
        .name("Idempotency-Key")
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .description(Some(
            "Names this request: a new one, such as a random UUID, for each thing that is to be done, and \
             the same for each try of it. The first response is kept for 24 hours, unless the service is set \
             up otherwise, and given again to the same values; with other values the key is refused. 1 to \
             255 visible ASCII characters without comma and quotes; or a string in double quotes as RFC \
             9651 has it, whose parameters are ignored. Optional, unless the service is set up to require \
             it. Sent once.",
        ))
        .schema(Some(schema))
}

/// The header of a 405.
fn allow(operations: &[operation::Operation]) -> (String, RefOr<Header>) {
    header(
        "Allow",
        true,
        "The methods that the path has.",
        ObjectBuilder::new()
            .schema_type(Type::String)
            .enum_values(Some(resource::allowed(operations))),
        json!("POST"),
    )
}

/// Adds what every operation has: the ids, on requests and on answers. Headers that are told once
/// for all, under `components`, take the place of their names.
fn complete(document: &mut openapi::OpenApi) {
    let operations = document.paths.paths.values_mut().flat_map(operations);
    for operation in operations {
        let parameters = operation.parameters.get_or_insert_default();
        for name in [REQUEST_ID, CORRELATION_ID, TRACE] {
            parameters.push(RefOr::Ref(Ref::new(format!(
                "#/components/parameters/{name}"
            ))));
        }
        for response in operation.responses.responses.values_mut() {
            if let RefOr::T(response) = response {
                for name in OF_EVERY_ANSWER {
                    response
                        .headers
                        .insert(name.to_owned(), Header::default().into());
                }
                for (name, header) in &mut response.headers {
                    *header = RefOr::Ref(Ref::new(format!("#/components/headers/{name}")));
                }
            }
        }
    }
    let used = json!(document.paths).to_string();
    if let Some(Components { responses, .. }) = &mut document.components {
        responses.retain(|name, _| used.contains(&format!("\"#/components/responses/{name}\"")));
    }
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    let PathItem {
        get,
        post,
        put,
        patch,
        delete,
        ..
    } = item;
    [get, post, put, patch, delete].into_iter().flatten()
}

/// The answer with one of these problems, which have one status.
fn response(kinds: &[ProblemType]) -> Response {
    let description: Vec<String> = kinds
        .iter()
        .map(|kind| format!("`{}`: {}", kind.about().slug, kind.about().meaning))
        .collect();
    let examples = kinds.iter().map(|kind| {
        let slug = kind.about().slug;
        (
            slug,
            RefOr::Ref(Ref::new(format!("#/components/examples/{slug}"))),
        )
    });
    let content = ContentBuilder::new()
        .schema(Some(any_of(kinds)))
        .examples_from_iter(examples)
        .build();
    let mut headers = OF_EVERY_ANSWER.to_vec();
    headers.extend(kinds.iter().flat_map(|kind| kind.about().headers));
    let response = ResponseBuilder::new()
        .description(description.join("\n\n"))
        .content(MEDIA_TYPE, content);
    headers
        .into_iter()
        .fold(response, |response, name| {
            response.header_ref(name, Ref::new(format!("#/components/headers/{name}")))
        })
        .build()
}

/// The schema of problems of these kinds.
fn any_of(kinds: &[ProblemType]) -> RefOr<Schema> {
    if let [kind] = kinds {
        return Ref::from_schema_name(kind.schema_name()).into();
    }
    let reference = |kind: &ProblemType| Ref::from_schema_name(kind.schema_name());
    let mapping = kinds
        .iter()
        .map(|kind| (kind.path(), reference(kind).ref_location));
    kinds
        .iter()
        .map(reference)
        .fold(OneOfBuilder::new(), OneOfBuilder::item)
        .discriminator(Some(Discriminator::with_mapping("type", mapping)))
        .into()
}

fn parameter(name: &'static str, description: &str, example: &str) -> (String, RefOr<Parameter>) {
    let parameter = ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .description(Some(description))
        .schema(Some(
            // Any text at all: what can't be taken is no error. The example is in the schema, as Swagger UI
            // fills in one that stands beside it.
            ObjectBuilder::new()
                .schema_type(Type::String)
                .examples([example]),
        ))
        .build();
    (name.to_owned(), parameter.into())
}

/// The headers of answers.
fn headers() -> BTreeMap<String, RefOr<Header>> {
    let text = || ObjectBuilder::new().schema_type(Type::String);
    let id = || {
        text()
            .min_length(Some(1))
            .max_length(Some(128))
            .pattern(Some("^[!-~]+$"))
    };
    [
        header(
            REQUEST_ID,
            true,
            "The id of the request, which the log has too: the client's own where it was taken.",
            id(),
            json!(EXAMPLE_ID),
        ),
        header(
            CORRELATION_ID,
            true,
            "The id of what the request is part of: the client's own where it was taken, else the \
             request id.",
            id(),
            json!(EXAMPLE_ID),
        ),
        header(
            TRACE_ANSWER,
            false,
            "The trace, and in it the span of this request, by which its log lines are found; in the form of \
             `traceparent`. On every answer but those to bytes that are no HTTP.",
            text().pattern(Some("^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$")),
            json!("00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01"),
        ),
        header(
            "Location",
            true,
            "Where the user is: `/users/{id}`.",
            text().pattern(Some("^/users/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")),
            json!("/users/01a1fcd0-39d9-7edf-9953-1bfef046d2c7"),
        ),
        header(
            "Idempotent-Replayed",
            false,
            "`true` where the answer was given before, to the same request with the same key.",
            text().enum_values(Some(["true"])),
            json!("true"),
        ),
        header(
            "Retry-After",
            false,
            "Whole seconds to wait before the next try. On every `request-in-progress`, `rate-limited`, \
             `overloaded` and `unavailable`.",
            ObjectBuilder::new()
                .schema_type(Type::Integer)
                .minimum(Some(1)),
            json!(1),
        ),
    ]
    .into()
}

fn header(
    name: &'static str,
    is_always_there: bool,
    description: &str,
    schema: ObjectBuilder,
    example: Value,
) -> (String, RefOr<Header>) {
    let header = HeaderBuilder::new()
        .description(Some(description))
        .schema(Some(schema))
        .example(Some(example))
        // utoipa's headers have no place of their own for this member.
        .extensions(Some(Extensions::from_iter([("required", is_always_there)])))
        .build();
    (name.to_owned(), header.into())
}
