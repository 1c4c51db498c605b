//! HTTP handlers: the pages, and their scripts.

use std::sync::Arc;

use actix_web::HttpResponse;
use actix_web::http::header::{CONTENT_SECURITY_POLICY, HeaderValue};

use super::assets::{self, Page, Script, Setup};
use crate::access::Access;
use crate::http::operation::{Call, Operation};
use crate::http::problem::{Problem, ProblemType};

/// What a page may do: run and load this service's own files, and call its operations. No script that a
/// page did not name, no markup made of text, no form that the browser itself sends.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
    connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'; \
    require-trusted-types-for 'script'; trusted-types 'none'";

/// Pages are public; what they show comes from operations that are not.
const ACCESS: Access = Access::Public("it is the same for every client, and contains no user data");

/// The slice's operations. They are not in the OpenAPI document: no client is generated for them.
pub fn operations() -> Vec<Operation> {
    let pages = assets::PAGES.iter().map(page);
    pages.chain([scripts(assets::scripts)]).collect()
}

/// The page for administrators, on their listener.
pub fn on_administration() -> Vec<Operation> {
    vec![
        page(&assets::ADMINISTRATION),
        scripts(assets::scripts_of_administration),
    ]
}

fn page(page: &'static Page) -> Operation {
    Operation::get(page.path, ACCESS).handled_by(move |dependencies| {
        let content = Arc::new(page.content(Setup {
            verifies: dependencies.settings.auth.requires_verification,
            is_uniform: dependencies.settings.auth.uniform_signup,
            mails: dependencies.delivery.is_some(),
        }));
        move |call| {
            let content = Arc::clone(&content);
            async move {
                let mut response = content.respond(&call.request).await;
                let policy = HeaderValue::from_static(POLICY);
                response
                    .headers_mut()
                    .insert(CONTENT_SECURITY_POLICY, policy);
                Ok(response)
            }
        }
    })
}

fn scripts(all: fn() -> Vec<Script>) -> Operation {
    Operation::get("/pages/{file}", ACCESS).handled_by(move |_| {
        let scripts: Arc<[Script]> = all().into();
        move |call| script(Arc::clone(&scripts), call)
    })
}

async fn script(scripts: Arc<[Script]>, call: Call) -> Result<HttpResponse, Problem> {
    let name = call.path("file");
    let script = scripts.iter().find(|script| script.name == name);
    let script = script
        .ok_or_else(|| Problem::new(ProblemType::NOT_FOUND, "The pages have no such file."))?;
    Ok(script.content.respond(&call.request).await)
}
