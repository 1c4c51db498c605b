//! HTTP out: the document, the page with its assets, a page for each problem.

use std::sync::Arc;

use actix_web::http::header::{ContentEncoding, ContentType};
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use utoipa::OpenApi;
use utoipa_swagger_ui::Config;

use crate::platform::problem::{Problem, ProblemBody, ProblemType};

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

/// What the endpoints serve.
pub struct Endpoint {
    document: String,
    swagger_ui: Arc<Config<'static>>,
}

impl Endpoint {
    pub fn new() -> Self {
        Self {
            document: crate::slices::openapi()
                .to_json()
                .expect("the document is made of strings"),
            swagger_ui: Arc::new(Config::from("/openapi.json")),
        }
    }
}

/// This document.
#[utoipa::path(
    get,
    path = "/openapi.json",
    tag = "documentation",
    responses((status = 200, description = "The OpenAPI 3.1 document.", content_type = "application/json", body = Object))
)]
pub async fn openapi(endpoint: Data<Endpoint>) -> HttpResponse {
    HttpResponse::Ok()
        .content_type(ContentType::json())
        .body(endpoint.document.clone())
}

/// A page to read and try the service.
#[utoipa::path(
    get,
    path = "/docs",
    tag = "documentation",
    responses((status = 200, description = "The page.", content_type = "text/html", body = String))
)]
pub async fn page() -> HttpResponse {
    HttpResponse::Ok()
        .content_type(ContentType::html())
        .body(PAGE)
}

/// An asset of the page.
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

/// What a kind of problem means.
#[utoipa::path(
    get,
    path = "/problems/{slug}",
    tag = "documentation",
    params(("slug" = String, Path, description = "The last part of a problem's type.")),
    responses(
        (status = 200, description = "The page.", content_type = "text/html", body = String),
        (status = 404, description = "There is no such problem.", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn problem(request: HttpRequest) -> Result<HttpResponse, Problem> {
    let slug = request.match_info().query("slug");
    let about = ProblemType::ALL
        .into_iter()
        .map(ProblemType::about)
        .find(|about| about.slug == slug)
        .ok_or_else(|| Problem::new(ProblemType::NotFound, "There is no such problem."))?;
    // Fixed texts of ours, with nothing in them to escape.
    let page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <title>{title}</title>\n</head>\n<body>\n<h1>{title}</h1>\n\
         <p><code>{slug}</code>, HTTP status {status}</p>\n<p>{explanation}</p>\n\
         </body>\n</html>\n",
        title = about.title,
        status = about.status,
        explanation = about.explanation,
    );
    Ok(HttpResponse::Ok()
        .content_type(ContentType::html())
        .body(page))
}

#[derive(OpenApi)]
#[openapi(paths(openapi, page, problem))]
struct Api;

/// The slice's part of the OpenAPI document.
pub fn api() -> utoipa::openapi::OpenApi {
    Api::openapi()
}
