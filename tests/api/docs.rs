//! Documentation served by the service: `/`, `/openapi.json`, `/docs` and `/problems`; and unknown paths.
//!
//! `tests/openapi` tests the document and the page further, with third-party tools.

use std::collections::BTreeSet;

use rstest::rstest;
use serde_json::{Map, Value};
use signup_service::http::openapi::all_problems;
use signup_service::http::problem::ProblemType;

use crate::harness::{Backend, Backend::Postgres, Backend::Sqlite, Service, problem, run};

/// The document printed by the binary.
fn document() -> Value {
    let printed = run(&["openapi"], &[]);
    serde_json::from_str(&printed.stdout).expect("JSON")
}

/// An operation of the document.
struct Operation<'a> {
    /// Such as `GET /users`.
    name: String,
    is: &'a Value,
}

fn operations(document: &Value) -> Vec<Operation<'_>> {
    let paths = document["paths"].as_object().expect("paths");
    let operations: Vec<_> = paths
        .iter()
        .flat_map(|(path, item)| {
            let methods = item.as_object().expect("methods");
            methods.iter().map(move |(method, is)| Operation {
                name: format!("{} {path}", method.to_uppercase()),
                is,
            })
        })
        .collect();
    assert!(!operations.is_empty());
    operations
}

/// The value, or the target of its reference.
fn resolved<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
    match value["$ref"].as_str() {
        Some(reference) => document
            .pointer(reference.trim_start_matches('#'))
            .unwrap_or_else(|| panic!("{reference} has no target")),
        None => value,
    }
}

fn members(value: &Value) -> &Map<String, Value> {
    value.as_object().expect("an object")
}

#[rstest]
#[tokio::test]
async fn the_document_is_served_as_it_is_printed(#[values(Sqlite, Postgres)] backend: Backend) {
    let service = Service::start(backend).await;
    let served: Value = service
        .get("/openapi.json")
        .await
        .json()
        .await
        .expect("JSON");
    assert_eq!(served["openapi"], "3.1.0");
    assert_eq!(served, document());
}

/// Generated clients name their functions after these ids: they are part of the contract.
#[test]
fn every_operation_has_its_name() {
    let document = document();
    let found: BTreeSet<String> = operations(&document)
        .iter()
        .map(|operation| {
            let id = operation.is["operationId"].as_str().expect("an id");
            format!("{} {id}", operation.name)
        })
        .collect();
    let expected = [
        "DELETE /users/me erase_account",
        "DELETE /users/me/sessions end_other_sessions",
        "DELETE /users/me/sessions/{id} end_session",
        "GET / index",
        "GET /.well-known/jwks.json jwks",
        "GET /auth/revocations list_revocations",
        "GET /health health",
        "GET /metrics get_metrics",
        "GET /openapi.json openapi",
        "GET /ready ready",
        "GET /users list_users",
        "GET /users/me me",
        "GET /users/me/export export_account",
        "GET /users/me/sessions list_sessions",
        "GET /users/{id} get_user",
        "PATCH /users/me update_profile",
        "POST /auth/email/confirm confirm_email",
        "POST /auth/email/undo undo_email",
        "POST /auth/introspect introspect",
        "POST /auth/login log_in",
        "POST /auth/logout log_out",
        "POST /auth/password/forgot forgot_password",
        "POST /auth/password/reset reset_password",
        "POST /auth/reauthenticate reauthenticate",
        "POST /auth/refresh refresh",
        "POST /auth/verify-email verify_email",
        "POST /auth/verify-email/resend resend_verification",
        "POST /signup sign_up",
        "POST /users/me/email change_email",
        "POST /users/me/password change_password",
    ];
    assert_eq!(found, expected.map(str::to_owned).into());
}

/// Resources for people, for which no client is generated.
const PAGES: [&str; 14] = [
    "/sign-up",
    "/log-in",
    "/verify-email",
    "/forgot-password",
    "/reset-password",
    "/confirm-email",
    "/undo-email",
    "/account",
    "/pages/{file}",
    "/docs",
    "/docs/licence",
    "/docs/{file}",
    "/problems",
    "/problems/{slug}",
];

#[test]
fn every_resource_is_in_the_document_or_a_page() {
    let document = document();
    let registered: BTreeSet<String> = signup_service::slices::operations()
        .iter()
        .map(|operation| format!("{} {}", operation.method().names()[0], operation.path()))
        .collect();
    let mut documented: BTreeSet<String> = operations(&document)
        .into_iter()
        .map(|operation| operation.name)
        .collect();
    documented.extend(PAGES.map(|path| format!("GET {path}")));
    assert_eq!(registered, documented);
}

#[test]
fn every_operation_documents_its_headers_and_has_examples() {
    let document = document();
    for Operation { name, is } in operations(&document) {
        let parameters: BTreeSet<&str> = is["parameters"]
            .as_array()
            .expect("parameters")
            .iter()
            .map(|parameter| resolved(&document, parameter))
            .inspect(|parameter| {
                assert!(parameter["description"].is_string(), "{name}: {parameter}");
                let is_needed = parameter["required"] == true;
                assert!(
                    !is_needed || !parameter["example"].is_null(),
                    "{name}: {parameter}"
                );
            })
            .filter_map(|parameter| parameter["name"].as_str())
            .collect();
        for header in ["X-Request-ID", "X-Correlation-ID", "traceparent"] {
            assert!(parameters.contains(header), "{name} takes no {header}");
        }
        if let Some(content) = is["requestBody"]["content"].as_object() {
            assert_examples(&name, content);
        }
        for (status, response) in members(&is["responses"]) {
            let place = format!("{name}, {status}");
            let response = resolved(&document, response);
            for header in ["X-Request-ID", "X-Correlation-ID"] {
                let header = resolved(&document, &response["headers"][header]);
                assert_eq!(header["required"], true, "{place}");
            }
            let header = resolved(&document, &response["headers"]["traceresponse"]);
            assert!(header["schema"]["pattern"].is_string(), "{place}");
            // A 204 has no content (RFC 9110, section 15.3.5), nor has the 202 of a request for a mail: it says nothing.
            if status == "202" && name != "POST /signup" || status == "204" {
                assert!(response["content"].is_null(), "{place}");
                continue;
            }
            // A 304 has no content (RFC 9110, section 15.4.5), but the tag of what it stands for.
            if status == "304" {
                assert!(response["content"].is_null(), "{place}");
                let tag = resolved(&document, &response["headers"]["ETag"]);
                assert_eq!(tag["required"], true, "{place}");
                continue;
            }
            assert_examples(&place, members(&response["content"]));
        }
        for status in ["400", "405", "408", "431", "500"] {
            assert!(
                is["responses"][status].is_object(),
                "{name} has no {status}"
            );
        }
    }
}

fn assert_examples(place: &str, content: &Map<String, Value>) {
    assert!(!content.is_empty(), "{place} has no content");
    for (media_type, content) in content {
        // A picture has no example in JSON.
        let has_one = content["example"] != Value::Null || content["examples"].is_object();
        assert!(
            has_one || media_type == "image/png",
            "{place}: {media_type}"
        );
    }
}

#[rstest]
#[case("201", &["Location", "Idempotent-Replayed"])]
#[case("405", &["Allow"])]
#[case("409", &["Idempotent-Replayed", "Retry-After"])]
#[case("429", &["Retry-After"])]
#[case("503", &["Retry-After"])]
fn signup_responses_document_their_headers(#[case] status: &str, #[case] headers: &[&str]) {
    let document = document();
    let response = &document["paths"]["/signup"]["post"]["responses"][status];
    let response = resolved(&document, response);
    for header in headers {
        let header = resolved(&document, &response["headers"][header]);
        assert!(header["description"].is_string(), "{header}");
    }
}

/// The kinds of problem of the document.
fn kinds() -> Vec<ProblemType> {
    all_problems(&signup_service::slices::operations())
}

/// The kinds of problem that operations of a document respond with.
fn slugs(document: &Value) -> BTreeSet<String> {
    let mut of_operations = BTreeSet::new();
    for Operation { name, is } in operations(document) {
        for (status, response) in members(&is["responses"]) {
            let content = &resolved(document, response)["content"]["application/problem+json"];
            for (slug, example) in content["examples"].as_object().into_iter().flatten() {
                let example = &resolved(document, example)["value"];
                assert_eq!(example["type"], format!("/problems/{slug}"));
                assert_eq!(example["status"].to_string(), *status, "{name}: {slug}");
                let schemas = match content["schema"]["oneOf"].as_array() {
                    Some(kinds) => kinds.iter().collect(),
                    None => vec![&content["schema"]],
                };
                let is_documented = schemas.iter().any(|schema| {
                    let schema = resolved(document, schema);
                    schema["properties"]["type"]["const"] == example["type"]
                });
                assert!(is_documented, "{name}: {slug}");
                of_operations.insert(slug.clone());
            }
        }
    }
    of_operations
}

/// What only administration responds with is in its own document, and in no other.
#[test]
fn every_problem_of_administration_is_a_response_of_an_operation() {
    let document = signup_service::slices::administration_text();
    let document: Value = serde_json::from_str(&document).expect("JSON");
    let of_clients: BTreeSet<&str> = kinds().iter().map(|kind| kind.about().slug).collect();
    let found = slugs(&document);
    let mut own = 0;
    for kind in signup_service::slices::problems() {
        let slug = kind.about().slug;
        if !of_clients.contains(slug) {
            own += 1;
            assert!(found.contains(slug), "{slug}");
            let schema = &document["components"]["schemas"][&kind.schema_name()];
            assert_eq!(schema["properties"]["type"]["const"], kind.path());
        }
    }
    assert!(own >= 5, "{own}");
    for Operation { name, is } in operations(&document) {
        assert_ne!(is["operationId"], Value::Null, "{name}");
        let is_described =
            name.ends_with(" /openapi.json") || is["security"] != serde_json::json!([]);
        assert!(is_described, "{name} is public");
    }
}

#[test]
fn every_problem_is_a_response_of_an_operation() {
    let document = document();
    let of_the_schema =
        members(&document["components"]["schemas"]["Problem"]["discriminator"]["mapping"]);
    let of_the_schema: BTreeSet<&str> = of_the_schema.keys().map(String::as_str).collect();
    let paths = kinds();
    let paths: Vec<String> = paths.into_iter().map(ProblemType::path).collect();
    assert_eq!(of_the_schema, paths.iter().map(String::as_str).collect());

    let mut of_operations = slugs(&document);
    // An unknown path has no operation.
    of_operations.insert("not-found".to_owned());
    let all = kinds().into_iter();
    let all: BTreeSet<String> = all.map(|kind| kind.about().slug.to_owned()).collect();
    assert_eq!(of_operations, all);
}

/// Generators omit types that they can't distinguish, or turn them into text.
#[test]
fn every_problem_has_a_schema_of_its_own() {
    let document = document();
    let schemas = members(&document["components"]["schemas"]);
    let mut names = BTreeSet::new();
    for kind in kinds() {
        let schema = &schemas[&kind.schema_name()];
        let members = &schema["properties"];
        assert_eq!(members["type"]["const"], kind.path());
        assert_eq!(members["status"]["const"], kind.about().status.as_u16());
        let example = &document["components"]["examples"][kind.about().slug]["value"];
        let required: BTreeSet<&str> = schema["required"]
            .as_array()
            .expect("a list")
            .iter()
            .filter_map(Value::as_str)
            .collect();
        let found = example.as_object().expect("an object").keys();
        assert_eq!(required, found.map(String::as_str).collect(), "{kind:?}");
        names.insert(kind.schema_name());
    }
    assert_eq!(names.len(), kinds().len());
    let checks = &schemas["NotReadyProblem"]["properties"]["checks"];
    assert!(resolved(&document, checks)["properties"]["database"].is_object());
}

/// A member that is both optional and nullable would be ambiguous.
#[test]
fn a_page_always_has_its_cursor_and_a_look_up_never() {
    let document = document();
    let schemas = &document["components"]["schemas"];
    assert_eq!(
        schemas["UserPage"]["required"],
        serde_json::json!(["users", "next_cursor"])
    );
    let found = members(&schemas["FoundUsers"]["properties"]);
    assert_eq!(found.keys().collect::<Vec<_>>(), ["users"]);
}

#[tokio::test]
async fn every_problem_has_a_page_with_advice() {
    let service = Service::start(Sqlite).await;
    let list = service.get("/problems").await;
    assert_eq!(list.status(), 200);
    let list = list.text().await.expect("text");
    for kind in signup_service::slices::problems() {
        let about = kind.about();
        assert!(
            list.contains(&format!("href=\"problems/{}\"", about.slug)),
            "{list}"
        );
        let response = service.get(&kind.path()).await;
        assert_eq!(response.status(), 200);
        let page = response.text().await.expect("text");
        // Names are in backticks in the table, and marked up in the page.
        let words = page.replace("<code>", "`").replace("</code>", "`");
        for text in [about.title, about.meaning, about.advice, about.detail] {
            assert!(words.contains(text), "{text} in {page}");
        }
        for part in [
            "<h2>What happened</h2>",
            "<h2>What to do</h2>",
            "href=\"../problems\"",
            "href=\"../docs\"",
            about.status.as_str(),
        ] {
            assert!(page.contains(part), "{part} in {page}");
        }
        assert_eq!(page.contains("retry-after: 1"), kind.has_retry_after());
        let example = page
            .split("<pre><code>")
            .nth(1)
            .and_then(|rest| rest.split("</code>").next());
        let body = example
            .and_then(|example| example.split_once("\n\n"))
            .expect("a body")
            .1;
        let body: Value = serde_json::from_str(body).expect("JSON");
        assert_eq!(body["type"], kind.path());
        assert_eq!(body["status"], about.status.as_u16());
    }
    problem(service.get("/problems/no-such").await, 404, "not-found").await;
}

/// The resources and links of a page, as paths, with relative addresses resolved as by a browser.
fn addresses(base: &str, page: &str) -> BTreeSet<String> {
    let base = reqwest::Url::parse("http://x").and_then(|host| host.join(base));
    let base = base.expect("a path");
    ["href=\"", "src=\""]
        .iter()
        .flat_map(|attribute| page.split(attribute).skip(1))
        .filter_map(|rest| rest.split('"').next())
        .map(|address| {
            assert!(!address.starts_with('/'), "{address} ignores a path prefix");
            base.join(address).expect("an address").path().to_owned()
        })
        .collect()
}

#[rstest]
#[tokio::test]
async fn pages_load_nothing_from_elsewhere(
    #[values(
        "/",
        "/docs",
        "/docs/licence",
        "/problems",
        "/problems/overloaded",
        "/no/such/page"
    )]
    path: &str,
) {
    let service = Service::start(Sqlite).await;
    let response = browse(&service, path).await;
    let policy = response.headers()["content-security-policy"].to_str();
    let policy = policy.expect("ASCII").to_owned();
    assert!(policy.starts_with("default-src 'self';"), "{policy}");
    assert!(!policy.contains("http"), "{policy}");
    let page = response.text().await.expect("text");
    let addresses = addresses(path, &page);
    // A licence has addresses, and an example that of a local service; neither is loaded.
    for part in ["href=\"http", "src=\"http", "url(http", "@import"] {
        assert!(!page.contains(part), "{page}");
    }
    assert!(addresses.contains("/") && addresses.contains("/problems"));
    let assets = addresses.iter().filter(|path| path.starts_with("/docs/"));
    assert!(
        assets.count() >= if path == "/docs" { 5 } else { 2 },
        "{page}"
    );
    for address in addresses {
        let response = service.get(&address).await;
        assert_eq!(response.status(), 200, "{address}");
        assert!(
            !response.bytes().await.expect("a body").is_empty(),
            "{address}"
        );
    }
}

/// Sends a request like a browser's.
async fn browse(service: &Service, path: &str) -> reqwest::Response {
    let accept = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
    reqwest::Client::new()
        .get(service.url(path))
        .header("accept", accept)
        .send()
        .await
        .expect("a response")
}

#[tokio::test]
async fn the_root_is_a_page_for_browsers_and_json_for_programs() {
    let service = Service::start(Sqlite).await;
    let page = browse(&service, "/").await;
    assert_eq!(page.status(), 200);
    assert_eq!(page.headers()["content-type"], "text/html; charset=utf-8");
    assert_eq!(page.headers()["vary"], "Accept");
    for accept in [None, Some("*/*"), Some("application/json")] {
        let request = reqwest::Client::new().get(service.url("/"));
        let request = accept
            .into_iter()
            .fold(request, |request, accept| request.header("accept", accept));
        let response = request.send().await.expect("a response");
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["vary"], "Accept");
        assert_eq!(response.headers()["content-type"], "application/json");
        let index: Value = response.json().await.expect("JSON");
        assert_eq!(index["service"], "signup-service");
        for link in ["openapi", "docs", "problems"] {
            let path = format!("/{}", index[link].as_str().expect("an address"));
            assert_eq!(service.get(&path).await.status(), 200, "{path}");
        }
    }
}

#[rstest]
#[tokio::test]
async fn browsers_get_a_page_for_an_unknown_path(
    #[values("/docs/", "/problem", "/problems/no-such", "/a/b/c", "/%75nknown")] path: &str,
) {
    let service = Service::start(Sqlite).await;
    let page = browse(&service, path).await;
    assert_eq!(page.status(), 404);
    assert_eq!(page.headers()["content-type"], "text/html; charset=utf-8");
    assert_eq!(page.headers()["vary"], "Accept");
    assert!(page.headers().contains_key("x-request-id"));
    let problem = problem(service.get(path).await, 404, "not-found").await;
    assert!(problem["request_id"].is_string());
}

#[tokio::test]
async fn the_docs_page_uses_no_external_validator() {
    let service = Service::start(Sqlite).await;
    let start = service.get("/docs/swagger-initializer.js").await;
    let start = start.text().await.expect("text");
    assert!(start.contains("\"openapi.json\""), "{start}");
    assert!(start.contains("validatorUrl: null"), "{start}");
    // Only those files of Swagger UI that the page uses are served.
    for file in [
        "no-such",
        "index.html",
        "oauth2-redirect.html",
        "swagger-ui-es-bundle.js",
        "swagger-ui-standalone-preset.js",
    ] {
        problem(
            service.get(&format!("/docs/{file}")).await,
            404,
            "not-found",
        )
        .await;
    }
}
