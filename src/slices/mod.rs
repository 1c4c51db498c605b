//! The slices, by area: each is a use case of the service, from its operation to its statements.
//!
//! To add one, create its folder in its area and name it in the area's `slices!`; see
//! `docs/how-to/add-a-slice.md`.

use utoipa::openapi::OpenApi;

use crate::http;
use crate::http::operation::Operation;
use crate::http::problem::ProblemType;
use crate::slice::{Audience, Slice};

/// Declares the slices of an area, each a module with a `SLICE`, and lists them.
macro_rules! slices {
    ($($name:ident),+ $(,)?) => {
        $(pub mod $name;)+

        /// The slices of the area.
        pub const SLICES: &[crate::slice::Slice] = &[$($name::SLICE),+];
    };
}

pub mod accounts;
pub mod administration;
pub mod operations;
pub mod people;
pub mod sessions;
pub mod user;

/// Every slice.
#[must_use]
pub fn all() -> Vec<Slice> {
    [
        accounts::SLICES,
        sessions::SLICES,
        administration::SLICES,
        operations::SLICES,
        people::SLICES,
    ]
    .concat()
}

/// Every operation but those of administration.
#[must_use]
pub fn operations() -> Vec<Operation> {
    let slices = all().into_iter();
    slices
        .filter(|slice| slice.audience != Audience::Administrators)
        .flat_map(|slice| (slice.http)())
        .collect()
}

/// Every operation of the administration listener.
#[must_use]
pub fn administration() -> Vec<Operation> {
    all().iter().flat_map(Slice::administration).collect()
}

/// Every kind of problem that a client can receive, on any listener.
#[must_use]
pub fn problems() -> Vec<ProblemType> {
    let all = [operations(), administration()].into_iter().flatten();
    http::openapi::all_problems(&all.collect::<Vec<_>>())
}

/// The complete OpenAPI document, without administration.
#[must_use]
pub fn openapi() -> OpenApi {
    http::openapi::document(&operations())
}

/// The OpenAPI document of administration.
#[must_use]
pub fn openapi_of_administration() -> OpenApi {
    http::openapi::document_of_administration(&administration())
}

/// The complete OpenAPI document as text, the content of `docs/reference/openapi.json`.
#[must_use]
pub fn openapi_text() -> String {
    text(&openapi())
}

/// The document of administration as text, the content of `docs/reference/openapi-administration.json`.
#[must_use]
pub fn administration_text() -> String {
    text(&openapi_of_administration())
}

/// A document as text.
///
/// # Panics
/// Never: it consists of strings.
fn text(document: &OpenApi) -> String {
    let text = document.to_pretty_json();
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
        for operations in [operations(), administration()] {
            let mut seen = std::collections::HashSet::new();
            let mut names = std::collections::HashMap::new();
            for operation in operations {
                let path = operation.path();
                assert!(
                    seen.insert((operation.method(), blank(path))),
                    "{path} twice"
                );
                let first = *names.entry(blank(path)).or_insert(path);
                assert_eq!(first, path, "one path, two names of a variable");
            }
        }
    }

    /// Administration needs a permission, and is beside the paths of clients.
    #[test]
    fn nothing_below_admin_is_public() {
        for operation in administration() {
            let path = operation.path();
            match operation.access() {
                Access::Public(because) => {
                    assert!(
                        !because.is_empty() && !path.starts_with("/admin/"),
                        "{path}"
                    );
                }
                Access::Needs(_) => assert!(path.starts_with("/admin/"), "{path}"),
                other => panic!("{path} is for {other}"),
            }
        }
        let paths = operations();
        assert!(
            paths
                .iter()
                .all(|operation| !operation.path().starts_with("/admin"))
        );
    }

    /// The same on the administration listener.
    #[test]
    fn these_operations_of_administration_are_public() {
        let public = administration()
            .iter()
            .filter(|operation| matches!(operation.access(), Access::Public(_)))
            .map(|operation| format!("{:?} {}", operation.method(), operation.path()))
            .collect::<Vec<_>>();
        let expected = [
            "Post /auth/login",
            "Post /auth/refresh",
            "Post /auth/logout",
            "Get /openapi.json",
            "Get /docs/{file}",
            "Get /problems",
            "Get /problems/{slug}",
            "Get /admin",
            "Get /pages/{file}",
        ];
        assert_eq!(public, expected);
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
            "Post /auth/verify-email",
            "Post /auth/verify-email/resend",
            "Post /auth/password/forgot",
            "Post /auth/password/reset",
            "Post /auth/email/confirm",
            "Post /auth/email/undo",
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
            "Get /sign-up",
            "Get /log-in",
            "Get /verify-email",
            "Get /forgot-password",
            "Get /reset-password",
            "Get /confirm-email",
            "Get /undo-email",
            "Get /account",
            "Get /pages/{file}",
        ];
        assert_eq!(public, expected);
    }
}
