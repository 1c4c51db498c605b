//! `POST /admin/users/{id}/password-reset`: sends a user the mail to choose another password. No one but the
//! user chooses it (ASVS 6.4.6).

mod http;
mod store;

use crate::slice::Slice;

/// The slice.
pub const SLICE: Slice = Slice::for_administrators(http::operations);
