//! The ground floor: the database, Redis, the machine, the clock, telemetry.
//!
//! Nothing here knows a slice, a face or HTTP.

pub mod client;
pub mod clock;
pub mod context;
pub mod database;
pub mod descriptors;
pub mod errors;
pub mod faults;
pub mod machine;
pub mod metrics;
pub mod redis;
pub mod tasks;
pub mod telemetry;
