//! `POST /auth/login`: begins a session.
//!
//! An attempt does the same work whether the address has an account or not: one look-up, one hash in
//! a lane, one write. The session is made on condition that the verified hash is still the account's.

mod command;
mod http;
mod metrics;
mod profiles;
mod store;

use crate::attempts;
use crate::platform::limits::{Bound, Limit};
use crate::slice::Slice;

/// The limits that are kept here, and for every operation with a password.
const LIMITS: &[Limit] = &[
    attempts::LIMITS[0],
    attempts::LIMITS[1],
    attempts::LIMITS[2],
    Limit {
        what: "Live sessions of a user",
        bound: Bound::Count(store::MAX_SESSIONS),
        effect: "the oldest ends",
    },
];

/// The slice.
pub const SLICE: Slice = Slice {
    limits: LIMITS,
    job: Some(profiles::JOB),
    metrics: metrics::register,
    on_administration: http::on_administration,
    ..Slice::new(http::operations)
};
