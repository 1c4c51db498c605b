//! `/admin/keys`: makes, lists, rotates and revokes the keys of other services.
//!
//! A response with a secret is not kept, so these operations take no `Idempotency-Key`: a key whose
//! response was lost is rotated, or revoked.

mod http;

use crate::access::service_keys;
use crate::slice::Slice;

/// The slice.
pub const SLICE: Slice = Slice {
    limits: service_keys::LIMITS,
    ..Slice::for_administrators(http::operations)
};
