//! The slices, one folder each: a use of the service from its route to its statements.
//!
//! To add one, make its folder and name it in `slices!` below. `docs/adding-a-slice.md` walks
//! through it.

use utoipa::openapi::OpenApi;

use crate::platform;
use crate::slice::Slice;

/// Declares each slice's module and puts it on the list. A slice gives two functions: `api`, its
/// part of the OpenAPI document, and `routes`, its resources over what the platform offers.
macro_rules! slices {
    ($($name:ident),+; for operations: $($operations:ident),+ $(,)?) => {
        $(pub mod $name;)+
        $(pub mod $operations;)+

        /// Every slice.
        #[must_use]
        pub fn all() -> Vec<Slice> {
            vec![
                $(Slice { api: $name::api, routes: $name::routes, for_operations: false },)+
                $(Slice {
                    api: $operations::api,
                    routes: $operations::routes,
                    for_operations: true,
                },)+
            ]
        }
    };
}

slices![signup, get_user, list_users, docs; for operations: health, metrics];

/// The whole OpenAPI document.
#[must_use]
pub fn openapi() -> OpenApi {
    let mut document = platform::openapi::base();
    for slice in all() {
        document.merge((slice.api)());
    }
    platform::openapi::complete(&mut document);
    document
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
    fn the_committed_document_is_fresh() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/openapi.json");
        let written = std::fs::read_to_string(path).expect("docs/openapi.json");
        assert!(
            written == openapi_text(),
            "docs/openapi.json is stale: run `make docs`"
        );
    }
}
