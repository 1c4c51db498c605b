//! The slices, by area: each is a use of the service from its operation to its statements.
//!
//! To add one, make its folder in its area and name it in `slices!` below. `docs/adding-a-slice.md`
//! walks through it.

use utoipa::openapi::OpenApi;

use crate::http;
use crate::http::operation::Operation;
use crate::http::problem::ProblemType;
use crate::slice::Slice;

/// Puts slices on the list, by area. Each module has a `SLICE`.
macro_rules! slices {
    ($($area:ident: $($name:ident),+;)+) => {
        $(pub mod $area;)+

        /// Every slice.
        #[must_use]
        pub fn all() -> Vec<Slice> {
            vec![$($($area::$name::SLICE,)+)+]
        }
    };
}

slices![
    accounts: signup, get_user, list_users;
    operations: docs, health, metrics;
];

/// Every operation of every slice.
#[must_use]
pub fn operations() -> Vec<Operation> {
    all().iter().flat_map(|slice| (slice.http)()).collect()
}

/// Every kind of problem that a client can meet.
#[must_use]
pub fn problems() -> Vec<ProblemType> {
    http::openapi::all_problems(&operations())
}

/// The whole OpenAPI document.
#[must_use]
pub fn openapi() -> OpenApi {
    http::openapi::document(&operations())
}

/// The whole OpenAPI document as text, as `docs/openapi.json` has it.
///
/// # Panics
/// Never: it is made of strings.
#[must_use]
pub fn openapi_text() -> String {
    let text = openapi().to_pretty_json();
    text.expect("the document is made of strings") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::Access;

    #[test]
    fn every_kind_has_a_slug_of_its_own_and_an_error_status() {
        let problems = problems();
        let slugs: std::collections::HashSet<_> =
            problems.iter().map(|kind| kind.about().slug).collect();
        assert_eq!(slugs.len(), problems.len());
        for kind in &problems {
            assert!(kind.about().status.as_u16() >= 400, "{kind:?}");
        }
        let statuses: Vec<_> = problems.iter().map(|kind| kind.about().status).collect();
        assert!(statuses.is_sorted(), "{statuses:?}");
    }

    /// A path with its variables left blank: what two paths that fit the same requests share.
    fn blank(path: &str) -> String {
        let segments = path.split('/').map(|segment| {
            if segment.starts_with('{') {
                "{}"
            } else {
                segment
            }
        });
        segments.collect::<Vec<_>>().join("/")
    }

    /// The second of two would never be asked.
    #[test]
    fn each_method_of_a_path_stands_once_and_variables_have_one_name() {
        let mut seen = std::collections::HashSet::new();
        let mut names = std::collections::HashMap::new();
        for operation in operations() {
            let path = operation.path();
            assert!(
                seen.insert((operation.method(), blank(path))),
                "{path} twice"
            );
            let first = *names.entry(blank(path)).or_insert(path);
            assert_eq!(first, path, "one path, two names of a variable");
        }
    }

    /// Who may call what is decided here, too: an operation that becomes public has to be put on the
    /// list.
    #[test]
    fn these_operations_are_public() {
        let public: Vec<String> = operations()
            .iter()
            .map(|operation| {
                let Access::Public(because) = operation.access();
                assert!(!because.is_empty());
                format!("{:?} {}", operation.method(), operation.path())
            })
            .collect();
        let expected = [
            "Post /signup",
            "Get /users/{id}",
            "Get /users",
            "Get /",
            "Get /openapi.json",
            "Get /docs",
            "Get /docs/licence",
            "Get /docs/{file}",
            "Get /problems",
            "Get /problems/{slug}",
            "Get /health",
            "Get /ready",
            "Get /metrics",
        ];
        assert_eq!(public, expected);
    }

    #[test]
    fn the_committed_document_is_fresh() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/openapi.json");
        let written = std::fs::read_to_string(path).expect("docs/openapi.json");
        assert!(
            written == openapi_text(),
            "docs/openapi.json is stale: run `make docs`"
        );
    }
}
