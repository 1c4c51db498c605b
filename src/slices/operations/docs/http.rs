//! HTTP handlers: the index, the OpenAPI document, the page with its assets, and the problem pages.

use std::sync::Arc;

use actix_web::http::StatusCode;
use actix_web::http::header::{self, ContentType};
use actix_web::{HttpRequest, HttpResponse, ResponseError};
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;
use utoipa::openapi::content::ContentBuilder;
use utoipa::openapi::{ObjectBuilder, ResponseBuilder, Type};

use super::accept::prefers_html;
use super::assets::{self, Asset};
use super::pages;
use crate::access::Access;
use crate::http::openapi::Documentation;
use crate::http::operation::{Call, Operation};
use crate::http::problem::{Problem, ProblemType};
use crate::http::static_content::StaticContent;

/// What the pages may load: this service's own files only. Swagger UI sets styles on elements, and
/// has images in its style sheet.
const CONTENT_SECURITY_POLICY: &str = "default-src 'self'; img-src 'self' data:; \
    style-src 'self' 'unsafe-inline'; object-src 'none'; base-uri 'none'; form-action 'none'; \
    frame-ancestors 'none'";

/// Pages are public.
const ACCESS: Access = Access::Public("it describes the service, and contains no user data");

/// The slice's operations. Pages for people are not in the OpenAPI document: no client is generated
/// for them.
pub fn operations() -> Vec<Operation> {
    vec![
        Operation::get("/", ACCESS)
            .documented(document_index)
            .handled_by(|dependencies| {
                let pages = dependencies.settings.http.pages;
                move |call| async move { Ok(index(&call.request, pages)) }
            }),
        openapi(crate::slices::openapi_text),
        Operation::get("/docs", ACCESS)
            .handled_by(|_| |_| async { Ok(html(assets::PAGE.to_owned())) }),
        Operation::get("/docs/licence", ACCESS)
            .handled_by(|_| |_| async { Ok(html(pages::licence())) }),
        files(assets::all),
        problem_list(),
        problem_page(),
    ]
}

/// What describes administration, on its listener: its own document, the pages that the `type` of a
/// problem refers to, and what every page looks like.
pub fn on_administration() -> Vec<Operation> {
    vec![
        openapi(crate::slices::administration_text),
        files(assets::of_every_page),
        problem_list(),
        problem_page(),
    ]
}

fn files(files: fn() -> Vec<Asset>) -> Operation {
    Operation::get("/docs/{file}", ACCESS).handled_by(move |_| {
        let assets: Arc<[Asset]> = files().into();
        move |call| asset(Arc::clone(&assets), call)
    })
}

fn openapi(text: fn() -> String) -> Operation {
    Operation::get("/openapi.json", ACCESS)
        .documented(document_openapi)
        .handled_by(move |_| {
            let document = Arc::new(StaticContent::new(
                text().into_bytes(),
                "application/json",
                assets::MAX_AGE,
            ));
            move |call| {
                let document = Arc::clone(&document);
                async move { Ok(document.respond(&call.request).await) }
            }
        })
}

fn problem_list() -> Operation {
    Operation::get("/problems", ACCESS).handled_by(|_| {
        let page = pages::problems(&crate::slices::problems());
        move |_| {
            let page = html(page.clone());
            async { Ok(page) }
        }
    })
}

fn problem_page() -> Operation {
    Operation::get("/problems/{slug}", ACCESS).handled_by(|_| {
        let kinds: Arc<[ProblemType]> = crate::slices::problems().into();
        move |call| {
            let page = problem(&kinds, &call);
            async { Ok(page) }
        }
    })
}

/// An overview of the service, with links.
#[derive(Serialize, ToSchema)]
pub struct Index {
    /// The name of the service.
    #[schema(example = "signup-service")]
    service: &'static str,
    /// Its version.
    #[schema(example = "0.1.0")]
    version: &'static str,
    /// The relative address of the OpenAPI document.
    #[schema(example = "openapi.json")]
    openapi: &'static str,
    /// The page on which to read and try the API.
    #[schema(example = "docs")]
    docs: &'static str,
    /// The page of all kinds of problem.
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

/// The overview. `pages` is whether the service has pages for people.
fn index(request: &HttpRequest, pages: bool) -> HttpResponse {
    let mut response = if prefers_html(request.headers()) {
        html(pages::front(pages))
    } else {
        HttpResponse::Ok().json(INDEX)
    };
    vary(&mut response);
    response
}

fn document_index() -> Documentation {
    let mut documentation = Documentation::new(
        "index",
        "documentation",
        "An overview of the service, with links.",
    );
    let json = ContentBuilder::new()
        .schema(Some(documentation.reference::<Index>()))
        .example(Some(json!(INDEX)))
        .build();
    let html = ContentBuilder::new()
        .schema(Some(ObjectBuilder::new().schema_type(Type::String)))
        .example(Some(json!("<!doctype html>\n<html lang=\"en\">…</html>\n")))
        .build();
    let response = ResponseBuilder::new()
        .description("An overview of the service, with links.")
        .content("application/json", json)
        .content("text/html", html);
    documentation
        .description(
            "JSON, or a page where `Accept` prefers `text/html`. The addresses in it are relative.",
        )
        .response(200, response)
}

fn document_openapi() -> Documentation {
    let content = ContentBuilder::new()
        .schema(Some(ObjectBuilder::new().schema_type(Type::Object)))
        .example(Some(json!({
            "openapi": "3.1.0",
            "info": {"title": "signup-service", "version": "0.1.0"},
            "paths": {},
        })))
        .build();
    let response = ResponseBuilder::new()
        .description("The OpenAPI 3.1 document.")
        .content("application/json", content);
    Documentation::new("openapi", "documentation", "This document.").response(200, response)
}

/// A file of the page.
async fn asset(assets: Arc<[Asset]>, call: Call) -> Result<HttpResponse, Problem> {
    let name = call.path("file");
    let asset = assets
        .iter()
        .find(|asset| asset.name == name)
        .ok_or_else(|| Problem::new(ProblemType::NOT_FOUND, "The page has no such file."))?;
    Ok(asset.content.respond(&call.request).await)
}

/// The page of a kind of problem.
fn problem(kinds: &[ProblemType], call: &Call) -> HttpResponse {
    let slug = call.path("slug");
    let kind = kinds.iter().find(|kind| kind.about().slug == slug);
    match kind {
        Some(kind) => html(pages::problem(*kind)),
        None => nothing(
            &call.request,
            &Problem::new(ProblemType::NOT_FOUND, "There is no such problem."),
        ),
    }
}

/// 404 for a path that matches no resource.
pub fn not_found(request: &HttpRequest) -> HttpResponse {
    nothing(request, &Problem::not_found())
}

/// 404: a page for clients that prefer one, else the problem.
fn nothing(request: &HttpRequest, problem: &Problem) -> HttpResponse {
    let mut response = if prefers_html(request.headers()) {
        let mut page = html(pages::not_found(request.path()));
        *page.status_mut() = StatusCode::NOT_FOUND;
        page
    } else {
        problem.error_response()
    };
    vary(&mut response);
    response
}

/// Makes caches distinguish responses by the `Accept` of the request.
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
