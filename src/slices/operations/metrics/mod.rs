//! `GET /metrics`: the metrics, in Prometheus' text format.

mod http;

use crate::slice::Slice;

/// The slice.
pub const SLICE: Slice = Slice::for_operators(http::operations);
