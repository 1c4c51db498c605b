//! `/admin/roles`: defines roles beside the built-in ones.

mod http;

use crate::access::roles;
use crate::slice::Slice;

/// The slice.
pub const SLICE: Slice = Slice {
    limits: roles::LIMITS,
    ..Slice::for_administrators(http::operations)
};
