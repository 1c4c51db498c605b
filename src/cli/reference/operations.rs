//! `docs/reference/operations.md`: every operation.

use std::fmt::Write;

use serde_json::Value;

use super::row;
use crate::http::operation::{Method, Operation};
use crate::platform::limits::Bound;
use crate::slices;

/// The page of all operations. Summaries, statuses and problems are those of the OpenAPI documents.
pub fn page() -> String {
    let mut page = String::from(
        "# Operations\n\
         \n\
         Every operation of the service, by slice. Each `GET` serves `HEAD` as well; another method of a path \
         is 405 with `Allow`. [openapi.json](openapi.json) has parameters, bodies and examples, \
         [http-api.md](http-api.md) explains them. Pages and files for people are not part of the document.\n\
         \n",
    );
    page += &part(&slices::operations(), &slices::openapi_text());
    page += "\n# Administration\n\
         \n\
         On the listener of `ADMIN_HOST` and `ADMIN_PORT`, and on no other. \
         [openapi-administration.json](openapi-administration.json) has parameters, bodies and examples; the \
         listener serves it as `/openapi.json`.\n\
         \n";
    page += &part(&slices::administration(), &slices::administration_text());
    page
}

/// The table of some operations, which this document describes, and what it says about each.
fn part(operations: &[Operation], document: &str) -> String {
    let document: Value = serde_json::from_str(document).unwrap_or_default();
    let mut page = String::from(
        "| operation | success | access | `Idempotency-Key` | body | rate limit |\n\
         |---|---|---|---|---|---|\n",
    );
    let mut details = String::new();
    for operation in operations {
        let method = operation.method().names()[0];
        let name = format!("`{method} {}`", operation.path());
        let described = &document["paths"][operation.path()][method.to_lowercase()];
        let responses = described["responses"].as_object();
        let statuses: Vec<&str> = responses
            .into_iter()
            .flatten()
            .map(|(status, _)| status.as_str())
            .collect();
        let is_described = !statuses.is_empty();
        let (success, failure): (Vec<&str>, Vec<&str>) =
            statuses.into_iter().partition(|status| *status < "400");
        let success = match operation.method() {
            _ if is_described => success.join(", "),
            Method::Get => "page".to_owned(),
            // An operation of the main listener, which describes it.
            _ => "as above".to_owned(),
        };
        page += &row(&[
            &name,
            &success,
            &operation.access().to_string(),
            if operation.is_keyed() { "yes" } else { "" },
            &operation
                .body_limit()
                .map_or_else(String::new, |bytes| Bound::Bytes(bytes).to_string()),
            if operation.is_rate_limited() {
                "yes"
            } else {
                ""
            },
        ]);
        if let Some(summary) = described["summary"].as_str() {
            let _ = write!(details, "\n## {method} {}\n\n{summary}", operation.path());
            if let Some(description) = described["description"].as_str() {
                let _ = write!(details, " {description}");
            }
            let kinds = problems(&document, &described["responses"], &failure);
            let _ = write!(details, "\n\nProblems: {}.\n", kinds.join(", "));
        }
    }
    page + &details
}

/// Links to the kinds of problems that these statuses of an operation stand for.
fn problems(document: &Value, responses: &Value, statuses: &[&str]) -> Vec<String> {
    let mut links = Vec::new();
    for status in statuses {
        let response = &responses[status];
        let response = response["$ref"]
            .as_str()
            .and_then(|reference| document.pointer(reference.trim_start_matches('#')))
            .unwrap_or(response);
        let examples = response.pointer("/content/application~1problem+json/examples");
        let slugs = examples.and_then(Value::as_object).into_iter().flatten();
        links.extend(slugs.map(|(slug, _)| format!("{status} [`{slug}`](problems.md#{slug})")));
    }
    links
}
