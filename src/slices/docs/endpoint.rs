//! HTTP out: the document, the page with its assets, a page for each problem.

use std::collections::BTreeMap;
use std::sync::Arc;

use actix_web::http::header::{self, ContentEncoding, ContentType};
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use utoipa::openapi::{ObjectBuilder, RefOr, Response, Schema, Type};
use utoipa::{IntoResponses, OpenApi, PartialSchema, ToSchema};
use utoipa_swagger_ui::Config;

use super::pages;
use crate::platform::openapi::{OfEveryRequest, problems};
use crate::platform::problem::{Problem, ProblemType};

/// Swagger UI with its assets from here: the page loads nothing from elsewhere.
const PAGE: &str = r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>signup-service</title>
<link rel="stylesheet" href="/docs/swagger-ui.css">
<link rel="icon" href="/docs/favicon-32x32.png">
</head>
<body>
<div id="swagger-ui"></div>
<script src="/docs/swagger-ui-bundle.js"></script>
<script src="/docs/swagger-ui-standalone-preset.js"></script>
<script src="/docs/swagger-initializer.js"></script>
</body>
</html>
"#;

/// What the pages may load: this service's own files, and nothing from elsewhere. Swagger UI puts styles
/// on elements, and has pictures in its style sheet.
const CONTENT_SECURITY_POLICY: &str = "default-src 'self'; img-src 'self' data:; \
    style-src 'self' 'unsafe-inline'; object-src 'none'; base-uri 'none'; form-action 'none'; \
    frame-ancestors 'none'";

/// What the endpoints serve.
pub struct Endpoint {
    document: String,
    swagger_ui: Arc<Config<'static>>,
}

impl Endpoint {
    pub fn new() -> Self {
        Self {
            document: crate::slices::openapi_text(),
            // Else the page asks a validator on the internet about the document.
            swagger_ui: Arc::new(Config::from("/openapi.json").validator_url("none")),
        }
    }
}

/// This document.
#[utoipa::path(
    get,
    path = "/openapi.json",
    operation_id = "openapi",
    tag = "documentation",
    responses(
        (
            status = 200,
            description = "The OpenAPI 3.1 document.",
            content_type = "application/json",
            body = Object,
            example = json!({
                "openapi": "3.1.0",
                "info": {"title": "signup-service", "version": "0.1.0"},
                "paths": {},
            })
        ),
        OfEveryRequest,
    )
)]
pub async fn openapi(endpoint: Data<Endpoint>) -> HttpResponse {
    HttpResponse::Ok()
        .content_type(ContentType::json())
        .body(endpoint.document.clone())
}

/// A page to read and try the service.
///
/// It loads nothing from elsewhere.
#[utoipa::path(
    get,
    path = "/docs",
    operation_id = "docs",
    tag = "documentation",
    responses(
        (
            status = 200,
            description = "The page.",
            content_type = "text/html",
            body = String,
            example = json!("<!doctype html>\n<html lang=\"en\">…</html>\n")
        ),
        OfEveryRequest,
    )
)]
pub async fn page() -> HttpResponse {
    html(PAGE.to_owned())
}

/// A file of the page.
#[utoipa::path(
    get,
    path = "/docs/{file}",
    operation_id = "docs_file",
    tag = "documentation",
    params((
        "file" = String,
        Path,
        description = "The name of the file, as the page has it.",
        example = "swagger-initializer.js"
    )),
    responses(
        (
            status = 200,
            description = "The file.",
            content(
                (String = "text/javascript", example = json!("window.ui = SwaggerUIBundle({});")),
                (String = "text/css", example = json!(".swagger-ui { color: #3b4151 }")),
                (String = "text/html", example = json!("<!doctype html>\n<html lang=\"en\">…</html>\n")),
                ("image/png"),
                (Object = "application/json", example = json!({})),
            )
        ),
        ProblemsOfFiles,
    )
)]
pub async fn asset(
    endpoint: Data<Endpoint>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let not_found = || Problem::new(ProblemType::NotFound, "The page has no such file.");
    let file = request.match_info().query("file");
    let file = utoipa_swagger_ui::serve(file, Arc::clone(&endpoint.swagger_ui))
        .map_err(|_| Problem::internal())?
        .ok_or_else(not_found)?;
    let mut response = HttpResponse::Ok();
    response.content_type(file.content_type);
    if file.gzpipped {
        response.insert_header(ContentEncoding::Gzip);
    }
    Ok(response.body(file.bytes.into_owned()))
}

/// Every kind of problem, on a page for people.
#[utoipa::path(
    get,
    path = "/problems",
    operation_id = "problems",
    tag = "documentation",
    responses(
        (
            status = 200,
            description = "The page.",
            content_type = "text/html",
            body = String,
            example = json!("<!doctype html>\n<html lang=\"en\">…</html>\n")
        ),
        OfEveryRequest,
    )
)]
pub async fn problem_list() -> HttpResponse {
    html(pages::problems())
}

/// What a kind of problem means and what to do, on a page for people.
#[utoipa::path(
    get,
    path = "/problems/{slug}",
    operation_id = "problem",
    tag = "documentation",
    params((
        "slug" = inline(Slug),
        Path,
        description = "The last part of a problem's `type`.",
        example = "validation-failed"
    )),
    responses(
        (
            status = 200,
            description = "The page.",
            content_type = "text/html",
            body = String,
            example = json!("<!doctype html>\n<html lang=\"en\">…</html>\n")
        ),
        ProblemsOfFiles,
    )
)]
pub async fn problem(request: HttpRequest) -> Result<HttpResponse, Problem> {
    let slug = request.match_info().query("slug");
    let kind = ProblemType::ALL
        .into_iter()
        .find(|kind| kind.about().slug == slug)
        .ok_or_else(|| Problem::new(ProblemType::NotFound, "There is no such problem."))?;
    Ok(html(pages::problem(kind)))
}

fn html(page: String) -> HttpResponse {
    HttpResponse::Ok()
        .content_type(ContentType::html())
        .insert_header((header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY))
        .body(page)
}

/// The schema of a problem's slug.
struct Slug;

impl PartialSchema for Slug {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .enum_values(Some(ProblemType::ALL.map(|kind| kind.about().slug)))
            .into()
    }
}

impl ToSchema for Slug {}

/// What a request for a file or a page may be refused with.
struct ProblemsOfFiles;

impl IntoResponses for ProblemsOfFiles {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        problems(&[ProblemType::NotFound])
    }
}

#[derive(OpenApi)]
#[openapi(paths(openapi, page, asset, problem_list, problem))]
struct Api;

/// The slice's part of the OpenAPI document.
pub fn api() -> utoipa::openapi::OpenApi {
    Api::openapi()
}
