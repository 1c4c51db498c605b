//! HTTP out: where to begin, the document, the page with its assets, a page for each problem.
//!
//! Pages for people are no operations of the OpenAPI document: no client is generated for them.

use actix_web::http::StatusCode;
use actix_web::http::header::{self, ContentType};
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse, ResponseError};
use serde::Serialize;
use utoipa::{OpenApi, ToSchema};

use super::accept::prefers_html;
use super::assets::{self, Asset};
use super::pages;
use crate::platform::openapi::OfEveryRequest;
use crate::platform::problem::{Problem, ProblemType};
use crate::platform::static_content::StaticContent;

/// What the pages may load: this service's own files, and nothing from elsewhere. Swagger UI puts styles
/// on elements, and has pictures in its style sheet.
const CONTENT_SECURITY_POLICY: &str = "default-src 'self'; img-src 'self' data:; \
    style-src 'self' 'unsafe-inline'; object-src 'none'; base-uri 'none'; form-action 'none'; \
    frame-ancestors 'none'";

/// What the endpoints serve.
pub struct Endpoint {
    document: StaticContent,
    assets: Vec<Asset>,
}

impl Endpoint {
    pub fn new() -> Self {
        Self {
            document: StaticContent::new(
                crate::slices::openapi_text().into_bytes(),
                "application/json",
                assets::MAX_AGE,
            ),
            assets: assets::all(),
        }
    }
}

/// What this is, and where to go.
#[derive(Serialize, ToSchema)]
pub struct Index {
    /// The name of the service.
    #[schema(example = "signup-service")]
    service: &'static str,
    /// Its version.
    #[schema(example = "0.1.0")]
    version: &'static str,
    /// Where the OpenAPI document is, from here.
    #[schema(example = "openapi.json")]
    openapi: &'static str,
    /// A page to read and try the service.
    #[schema(example = "docs")]
    docs: &'static str,
    /// Every kind of problem, on a page.
    #[schema(example = "problems")]
    problems: &'static str,
}

const INDEX: Index = Index {
    service: env!("CARGO_PKG_NAME"),
    version: env!("CARGO_PKG_VERSION"),
    openapi: "openapi.json",
    docs: "docs",
    problems: "problems",
};

/// What this is, and where to go.
///
/// JSON, or a page where `Accept` prefers `text/html`. The addresses in it are relative.
#[utoipa::path(
    get,
    path = "/",
    operation_id = "index",
    tag = "documentation",
    responses(
        (
            status = 200,
            description = "What this is, and where to go.",
            content(
                (Index = "application/json", example = json!(INDEX)),
                (String = "text/html", example = json!("<!doctype html>\n<html lang=\"en\">…</html>\n")),
            )
        ),
        OfEveryRequest,
    )
)]
pub async fn index(request: HttpRequest) -> HttpResponse {
    let mut response = if prefers_html(request.headers()) {
        html(pages::front())
    } else {
        HttpResponse::Ok().json(INDEX)
    };
    vary(&mut response);
    response
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
pub async fn openapi(endpoint: Data<Endpoint>, request: HttpRequest) -> HttpResponse {
    endpoint.document.respond(&request).await
}

/// A page to read and try the service. It loads nothing from elsewhere.
pub async fn page() -> HttpResponse {
    html(assets::PAGE.to_owned())
}

/// A file of the page.
pub async fn asset(
    endpoint: Data<Endpoint>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let name = request.match_info().query("file");
    let asset = endpoint
        .assets
        .iter()
        .find(|asset| asset.name == name)
        .ok_or_else(|| Problem::new(ProblemType::NotFound, "The page has no such file."))?;
    Ok(asset.content.respond(&request).await)
}

/// The licence, on a page for people.
pub async fn licence() -> HttpResponse {
    html(pages::licence())
}

/// Every kind of problem, on a page for people.
pub async fn problem_list() -> HttpResponse {
    html(pages::problems())
}

/// What a kind of problem means and what to do, on a page for people.
pub async fn problem(request: HttpRequest) -> HttpResponse {
    let slug = request.match_info().query("slug");
    let kind = ProblemType::ALL
        .into_iter()
        .find(|kind| kind.about().slug == slug);
    match kind {
        Some(kind) => html(pages::problem(kind)),
        None => nothing(&request, "There is no such problem."),
    }
}

/// No resource has this path.
pub async fn not_found(request: HttpRequest) -> HttpResponse {
    nothing(&request, "No resource has this path.")
}

/// 404: a page for those who would rather have one, else the problem.
fn nothing(request: &HttpRequest, detail: &'static str) -> HttpResponse {
    let mut response = if prefers_html(request.headers()) {
        let mut page = html(pages::not_found(request.path()));
        *page.status_mut() = StatusCode::NOT_FOUND;
        page
    } else {
        Problem::new(ProblemType::NotFound, detail).error_response()
    };
    vary(&mut response);
    response
}

/// Tells caches that the response is by the `Accept` of the request.
fn vary(response: &mut HttpResponse) {
    let accept = header::HeaderValue::from_static("Accept");
    response.headers_mut().insert(header::VARY, accept);
}

fn html(page: String) -> HttpResponse {
    HttpResponse::Ok()
        .content_type(ContentType::html())
        .insert_header((header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY))
        .body(page)
}

#[derive(OpenApi)]
#[openapi(paths(index, openapi), components(schemas(Index)))]
struct Api;

/// The slice's part of the OpenAPI document.
pub fn api() -> utoipa::openapi::OpenApi {
    Api::openapi()
}
