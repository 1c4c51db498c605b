//! `POST /auth/refresh`: exchanges a refresh token for the next one.
//!
//! [`rotation`](crate::domain::rotation) decides; the store changes the generation if it is still the one that the decision
//! was made on. So two that refresh at once make one successor, and both get it.

mod http;
mod metrics;
mod store;

use crate::slice::Slice;

/// The slice.
pub const SLICE: Slice = Slice {
    metrics: metrics::register,
    on_administration: http::on_administration,
    ..Slice::new(http::operations)
};
