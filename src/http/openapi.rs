//! The OpenAPI document, generated from the operations.
//!
//! An operation's [`Documentation`] describes what is specific to it. Its path, its method, its key
//! and the problems that follow from its spec come from the [`Operation`](operation::Operation)
//! itself; parameters and headers common to all requests and responses are defined here.

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
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{self, Components, Header, Ref, RefOr, Required};
use utoipa::{OpenApi, ToSchema};

use super::json::{FORM, JSON, PATCH};
use super::middleware::idempotency;
use super::operation::{KeyUse, Method};
use super::problem::{EXAMPLE_ID, MEDIA_TYPE, ProblemType, field_error_schema};
use super::{authorization, operation, resource};
use crate::access::Access;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "signup-service",
        description = "Creates each account exactly once, and reads accounts back.\n\n\
            Every error is a problem (RFC 9457) of the media type `application/problem+json`. Its `type` \
            is a page of this service that explains what happened and what to do; `/problems` lists \
            them. Each has its own schema, distinguished by `type`.\n\n\
            Every response has `X-Request-ID` and `X-Correlation-ID`, taken from the request if it has \
            them. Every `GET` resource also supports `HEAD`. Paths have no trailing slash. Members may \
            be added to responses: ignore unknown members.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0")
    ),
    servers((url = "./", description = "The server of this document.")),
    tags(
        (name = "signup", description = "Creating accounts."),
        (name = "users", description = "Reading accounts, and the own account."),
        (name = "sessions", description = "Sessions and their tokens."),
        (name = "operations", description = "For operators of the service."),
        (name = "documentation", description = "The documentation of the service."),
    )
)]
struct Base;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "signup-service administration",
        description = "Administers users, their roles, and the keys of other services.\n\n\
            It is served by a listener of its own, on `ADMIN_HOST` and `ADMIN_PORT`, and by no other. Each operation \
            needs a permission: send the access token of a user with a role that grants it, or a service key that has \
            it. No one can give what they do not have.\n\n\
            `POST /auth/login`, `/auth/refresh` and `/auth/logout` are served here as well, as the document of the service \
            itself describes them.\n\n\
            Errors, ids and headers are as in the document of the service itself.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0")
    ),
    servers((url = "./", description = "The administration listener of the service.")),
    tags(
        (name = "users", description = "The access of users."),
        (name = "roles", description = "What users may do."),
        (name = "keys", description = "Keys of other services."),
        (name = "documentation", description = "This document."),
    )
)]
struct AdministrationBase;

/// The problems that a request with a body may cause.
const OF_A_BODY: [ProblemType; 2] = [
    ProblemType::PAYLOAD_TOO_LARGE,
    ProblemType::UNSUPPORTED_MEDIA_TYPE,
];

/// The problems that any request may cause.
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
const TRACE_RESPONSE: &str = "traceresponse";

/// The schemes of credentials.
const ACCESS_TOKEN: &str = "access_token";
const SERVICE_KEY: &str = "service_key";

fn bearer(scheme: &str) -> SecurityRequirement {
    SecurityRequirement::new(scheme, [""; 0])
}

/// The headers of every response.
const OF_EVERY_RESPONSE: [&str; 3] = [REQUEST_ID, CORRELATION_ID, TRACE_RESPONSE];

/// The document without paths.
fn base(mut document: openapi::OpenApi, kinds: &[ProblemType]) -> openapi::OpenApi {
    let components = document.components.get_or_insert_default();
    components.headers = headers();
    let scheme = |description: &str| {
        let http = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some(description));
        SecurityScheme::Http(http.build())
    };
    components.security_schemes = [
        (
            ACCESS_TOKEN.to_owned(),
            scheme("The access token of a user, from `POST /auth/login` or `/auth/refresh`.")
                .into(),
        ),
        (
            SERVICE_KEY.to_owned(),
            scheme("The key of a machine, which an administrator creates.").into(),
        ),
    ]
    .into();
    components.parameters = [
        parameter(
            REQUEST_ID,
            "The id of this request. Accepted if it is 1 to 128 visible ASCII characters, sent once; else \
             the service generates one.",
            EXAMPLE_ID,
        ),
        parameter(
            CORRELATION_ID,
            "An id shared by related requests. Accepted like `X-Request-ID`; if omitted, it is the request \
             id.",
            "order-42",
        ),
        parameter(
            TRACE,
            "The trace that this request is part of, by W3C Trace Context. An invalid one is \
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

/// The problem responses of an operation: its own, those that follow from its spec, and those that
/// any request may cause.
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

/// The part of an operation's OpenAPI description that does not follow from its spec. The problems
/// of its key, its body and its rate limit, and the headers of its key, are added.
///
/// Defined in a function below the handler.
pub struct Documentation {
    operation: OperationBuilder,
    responses: Vec<(u16, ResponseBuilder)>,
    schemas: Vec<(String, RefOr<Schema>)>,
    problems: Vec<ProblemType>,
    /// The fields of the body that are validated, as JSON pointers.
    pointers: &'static [&'static str],
    is_conditional: bool,
}

impl Documentation {
    /// Creates it with the operation's id, which names the functions of generated clients; its
    /// group; and a summary of one line.
    #[must_use]
    pub fn new(id: &str, tag: &str, summary: &str) -> Self {
        Self {
            operation: OperationBuilder::new()
                .operation_id(Some(id))
                .tag(tag)
                .summary(Some(summary)),
            responses: Vec::new(),
            schemas: Vec::new(),
            problems: Vec::new(),
            pointers: &[],
            is_conditional: false,
        }
    }

    /// The description, of several lines.
    #[must_use]
    pub fn description(mut self, text: &str) -> Self {
        self.operation = self.operation.description(Some(text));
        self
    }

    /// A path parameter.
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

    /// An optional query parameter.
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

    /// The JSON body, with its examples: name, summary and value.
    #[must_use]
    pub fn body<T: ToSchema>(
        self,
        description: &str,
        examples: impl IntoIterator<Item = (&'static str, &'static str, Value)>,
    ) -> Self {
        self.body_of::<T>(Required::True, &[JSON], description, examples)
    }

    /// The same, if it may be left out.
    #[must_use]
    pub fn optional_body<T: ToSchema>(
        self,
        description: &str,
        examples: impl IntoIterator<Item = (&'static str, &'static str, Value)>,
    ) -> Self {
        self.body_of::<T>(Required::False, &[JSON], description, examples)
    }

    /// The body as a form, or as JSON.
    #[must_use]
    pub fn form_body<T: ToSchema>(
        self,
        description: &str,
        examples: impl IntoIterator<Item = (&'static str, &'static str, Value)>,
    ) -> Self {
        self.body_of::<T>(Required::True, &[FORM, JSON], description, examples)
    }

    fn body_of<T: ToSchema>(
        mut self,
        required: Required,
        media_types: &[&str],
        description: &str,
        examples: impl IntoIterator<Item = (&'static str, &'static str, Value)>,
    ) -> Self {
        let content = ContentBuilder::new()
            .schema(Some(self.reference::<T>()))
            .examples_from_iter(examples.into_iter().map(example))
            .build();
        let body = RequestBodyBuilder::new()
            .description(Some(description))
            .required(Some(required));
        let body = media_types.iter().fold(body, |body, media_type| {
            body.content(*media_type, content.clone())
        });
        self.operation = self.operation.request_body(Some(body.build()));
        self
    }

    /// The fields of the body that are validated, as JSON pointers (RFC 6901).
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

    /// A JSON response, with its examples: name, summary and value.
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

    /// The body as a JSON merge patch, or as JSON; it is made only if the client has the current entity
    /// tag, if it sends one, and the response has the new one.
    #[must_use]
    pub fn patch_body<T: ToSchema>(
        mut self,
        description: &str,
        examples: impl IntoIterator<Item = (&'static str, &'static str, Value)>,
    ) -> Self {
        self.is_conditional = true;
        let parameter = ParameterBuilder::new()
            .name("If-Match")
            .parameter_in(ParameterIn::Header)
            .required(Required::False)
            .description(Some(
                "The `ETag` of the representation to change, or several (RFC 9110, section 13.1.1): \
                 otherwise nothing is done.",
            ))
            .schema(Some(
                ObjectBuilder::new()
                    .schema_type(Type::String)
                    .examples([EXAMPLE_TAG]),
            ));
        self.parameter(parameter).body_of::<T>(
            Required::True,
            &[PATCH, JSON],
            description,
            examples,
        )
    }

    /// Its response has an entity tag, and is 304 to a client that has it.
    #[must_use]
    pub fn conditional(mut self) -> Self {
        self.is_conditional = true;
        let parameter = ParameterBuilder::new()
            .name("If-None-Match")
            .parameter_in(ParameterIn::Header)
            .required(Required::False)
            .description(Some(
                "The `ETag` of an earlier response, or several (RFC 9110, section 13.1.2): the response is \
                 304 if it would be the same.",
            ))
            .schema(Some(
                // Any text: an invalid value is not an error.
                ObjectBuilder::new()
                    .schema_type(Type::String)
                    .examples([EXAMPLE_TAG]),
            ));
        let unchanged = ResponseBuilder::new().description("The client has the current response.");
        self.parameter(parameter).response(304, unchanged)
    }

    /// A response without content.
    #[must_use]
    pub fn no_content(self, description: &str) -> Self {
        let response = ResponseBuilder::new().description(description);
        self.response(204, response)
    }

    /// Any other response. Headers defined under `components` are referenced by their names.
    #[must_use]
    pub fn response(mut self, status: u16, response: ResponseBuilder) -> Self {
        self.responses.push((status, response));
        self
    }

    /// The operation's own problems.
    #[must_use]
    pub fn problems(mut self, own: &[ProblemType]) -> Self {
        self.problems.extend(own);
        self
    }

    /// A reference to a type's schema, which is added to the document.
    #[must_use]
    pub fn reference<T: ToSchema>(&mut self) -> RefOr<Schema> {
        self.schemas.push((T::name().into_owned(), T::schema()));
        T::schemas(&mut self.schemas);
        Ref::from_schema_name(T::name()).into()
    }
}

/// The entity tag in examples.
const EXAMPLE_TAG: &str = "\"2b59e1cd0f2fbd1eb0c8e9be4e0b3c86\"";

fn example(
    (name, summary, value): (&'static str, &'static str, Value),
) -> (&'static str, RefOr<Example>) {
    let example = ExampleBuilder::new().summary(summary).value(Some(value));
    (name, example.into())
}

/// Every validated field in the bodies of these operations, as a JSON pointer.
#[must_use]
pub fn all_fields(operations: &[operation::Operation]) -> Vec<&'static str> {
    let documented = operations
        .iter()
        .filter_map(|operation| operation.spec.documentation);
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
        .filter_map(|operation| operation.spec.documentation);
    let mut kinds: Vec<ProblemType> = documented
        .flat_map(|documentation| documentation().problems)
        .chain(ProblemType::COMMON)
        .chain(idempotency::PROBLEMS)
        .chain(operations.iter().flat_map(|operation| {
            let spec = &operation.spec;
            authorization::problems(spec.access, spec.foreign)
        }))
        // For operations to come: clients are to know it before.
        .chain([authorization::REAUTHENTICATION_REQUIRED])
        .collect();
    ProblemType::arrange(&mut kinds);
    kinds
}

/// The document of these operations.
#[must_use]
pub fn document(operations: &[operation::Operation]) -> openapi::OpenApi {
    describe(operations, Base::openapi())
}

/// The document of these operations of the administration listener.
#[must_use]
pub fn document_of_administration(operations: &[operation::Operation]) -> openapi::OpenApi {
    describe(operations, AdministrationBase::openapi())
}

fn describe(operations: &[operation::Operation], document: openapi::OpenApi) -> openapi::OpenApi {
    let mut document = base(document, &all_problems(operations));
    for operation in operations {
        let spec = &operation.spec;
        let Some(documentation) = spec.documentation else {
            continue;
        };
        let Documentation {
            operation: mut described,
            responses,
            schemas,
            problems: mut own,
            is_conditional,
            ..
        } = documentation();
        for (status, mut response) in responses {
            if spec.key != KeyUse::None {
                response = response.header("Idempotent-Replayed", Header::default());
            }
            if is_conditional {
                response = response.header("ETag", Header::default());
            }
            described = described.response(status.to_string(), response);
        }
        match spec.key {
            KeyUse::None => {}
            KeyUse::Recorded => {
                described = described.parameter(key(RECORDED_KEY));
                own.extend(idempotency::PROBLEMS);
            }
            KeyUse::Own => {
                described = described.parameter(key(OWN_KEY));
                own.extend(idempotency::PROBLEMS_OF_OWN_KEYS);
            }
        }
        if spec.body_limit.is_some() {
            own.extend(OF_A_BODY);
        }
        if spec.rate_limit.is_some() {
            own.push(ProblemType::RATE_LIMITED);
        }
        own.extend(authorization::problems(spec.access, spec.foreign));
        let described = problems(&own)
            .into_iter()
            .fold(described, |described, (status, response)| {
                described.response(status, response)
            });
        let described = match spec.access {
            // An empty list: no credentials, even if the document has a default.
            Access::Public(_) => described.securities(Some([])),
            Access::User | Access::Fresh(_) => described.security(bearer(ACCESS_TOKEN)),
            Access::Own(_) | Access::Needs(_) => described
                .security(bearer(ACCESS_TOKEN))
                .security(bearer(SERVICE_KEY)),
        };
        let methods = match spec.method {
            Method::Get => HttpMethod::Get,
            Method::Post => HttpMethod::Post,
            Method::Put => HttpMethod::Put,
            Method::Patch => HttpMethod::Patch,
            Method::Delete => HttpMethod::Delete,
        };
        let paths = &mut document.paths;
        paths.add_path_operation(spec.path, vec![methods], described);
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

const RECORDED_KEY: &str = "Identifies this request: a new key, such as a random UUID, for each operation, and the same key \
     for each retry of it. The first response is kept for 24 hours by default, and replayed to a \
     request with the same values; with other values the key is refused. The key is 1 to 255 visible \
     ASCII characters without comma and quotes; or a string in double quotes as in RFC 9651, whose \
     parameters are ignored. Optional, unless the service is configured to require it. Must not be \
     repeated.";

const OWN_KEY: &str = "Identifies this request: a new key, such as a random UUID, for each one, and the same key for each \
     retry of it, which then gets the same tokens; see the description. In the form of 1 to 255 visible \
     ASCII characters without comma and quotes, or a string in double quotes as in RFC 9651. Must not be \
     repeated.";

/// The `Idempotency-Key` header.
fn key(description: &str) -> ParameterBuilder {
    // Swagger UI would fill in an example beside the schema, and every user would send the same
    // key.
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
        .description(Some(description))
        .schema(Some(schema))
}

/// The `Allow` header of a 405.
fn allow(operations: &[operation::Operation]) -> (String, RefOr<Header>) {
    header(
        "Allow",
        true,
        "The methods of the path.",
        ObjectBuilder::new()
            .schema_type(Type::String)
            .enum_values(Some(resource::allowed(operations))),
        json!("POST"),
    )
}

/// Adds what every operation has: the ids, on requests and on responses. Names of headers defined
/// under `components` are replaced by references.
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
                for name in OF_EVERY_RESPONSE {
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

/// The response with one of these problems, which share a status.
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
    let mut headers = OF_EVERY_RESPONSE.to_vec();
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
            // Any text: an invalid value is not an error. The example is in the schema, as Swagger
            // UI fills in an example beside it.
            ObjectBuilder::new()
                .schema_type(Type::String)
                .examples([example]),
        ))
        .build();
    (name.to_owned(), parameter.into())
}

/// The headers of responses.
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
            "The id of the request, which is also in the log: the client's own if it was accepted.",
            id(),
            json!(EXAMPLE_ID),
        ),
        header(
            CORRELATION_ID,
            true,
            "The id shared by related requests: the client's own if it was accepted, else the request id.",
            id(),
            json!(EXAMPLE_ID),
        ),
        header(
            TRACE_RESPONSE,
            false,
            "The trace and, in it, the span of this request, by which its log lines can be found; in the form \
             of `traceparent`. On every response, except those to malformed HTTP.",
            text().pattern(Some("^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$")),
            json!("00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01"),
        ),
        header(
            "Location",
            true,
            "The location of the user: `/users/{id}`.",
            text().pattern(Some("^/users/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")),
            json!("/users/01a1fcd0-39d9-7edf-9953-1bfef046d2c7"),
        ),
        header(
            "ETag",
            true,
            "A strong tag of the response, for `If-None-Match`. Each instance sends the same one.",
            text().pattern(Some("^\"[0-9a-f]{32}\"$")),
            json!(EXAMPLE_TAG),
        ),
        header(
            "Idempotent-Replayed",
            false,
            "`true` if the response is a replay, to the same request with the same key.",
            text().enum_values(Some(["true"])),
            json!("true"),
        ),
        header(
            "WWW-Authenticate",
            true,
            "The challenge (RFC 6750): without `error` if the request had no credential.",
            text(),
            json!("Bearer error=\"invalid_token\""),
        ),
        header(
            "Retry-After",
            false,
            "Whole seconds to wait before a retry. On every `request-in-progress`, `rate-limited`, \
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
        // utoipa's headers have no field for this member.
        .extensions(Some(Extensions::from_iter([("required", is_always_there)])))
        .build();
    (name.to_owned(), header.into())
}
