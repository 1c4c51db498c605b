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
