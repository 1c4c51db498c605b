//! The slices, by area: each is a use case of the service, from its operation to its statements.
//!
//! To add one, create its folder in its area and name it in the area's `slices!`; see
//! `docs/how-to/add-a-slice.md`.

use utoipa::openapi::OpenApi;

use crate::http;
use crate::http::operation::Operation;
use crate::http::problem::ProblemType;
use crate::slice::Slice;

/// Declares the slices of an area, each a module with a `SLICE`, and lists them.
macro_rules! slices {
    ($($name:ident),+ $(,)?) => {
        $(pub mod $name;)+

        /// The slices of the area.
        pub const SLICES: &[crate::slice::Slice] = &[$($name::SLICE),+];
    };
}

pub mod accounts;
pub mod operations;
pub mod sessions;
pub mod user;

/// Every slice.
#[must_use]
pub fn all() -> Vec<Slice> {
    [accounts::SLICES, sessions::SLICES, operations::SLICES].concat()
}

/// Every operation of every slice.
#[must_use]
pub fn operations() -> Vec<Operation> {
    all().iter().flat_map(|slice| (slice.http)()).collect()
}

/// Every kind of problem that a client can receive.
#[must_use]
pub fn problems() -> Vec<ProblemType> {
    http::openapi::all_problems(&operations())
}

/// The complete OpenAPI document.
#[must_use]
pub fn openapi() -> OpenApi {
    http::openapi::document(&operations())
}

/// The complete OpenAPI document as text, the content of `docs/reference/openapi.json`.
///
/// # Panics
/// Never: it consists of strings.
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
    fn every_kind_has_a_unique_slug_and_an_error_status() {
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

    /// A path with its variables blanked: equal for two paths that match the same requests.
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

    /// The second of two would never be called.
    #[test]
    fn each_method_of_a_path_is_unique_and_variables_have_one_name() {
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

    /// Access is decided here, too: an operation that becomes public must be added to the list.
    #[test]
    fn these_operations_are_public() {
        let public: Vec<String> = operations()
            .iter()
            .filter_map(|operation| {
                let Access::Public(because) = operation.access() else {
                    return None;
                };
                assert!(!because.is_empty());
                Some(format!("{:?} {}", operation.method(), operation.path()))
            })
            .collect();
        let expected = [
            "Post /signup",
            "Post /auth/login",
            "Post /auth/refresh",
            "Post /auth/logout",
            "Get /.well-known/jwks.json",
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
}
