//! `POST /users/me/password`: a user changes the own password.
//!
//! The other sessions end. The one of the request lives on: its access token is refused from then on,
//! its refresh token works. So the response has no token, and can be repeated by its key.

mod command;
mod http;
mod store;

use crate::slice::Slice;

/// The slice.
pub const SLICE: Slice = Slice::new(http::operations);
