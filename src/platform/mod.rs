//! Infrastructure: the database, Redis, the machine, the clock, telemetry.
//!
//! Nothing here depends on slices, or on transports such as HTTP.

pub mod client;
pub mod clock;
pub mod context;
pub mod database;
pub mod descriptors;
pub mod errors;
pub mod faults;
pub mod limits;
pub mod machine;
pub mod metrics;
pub mod opaque;
pub mod redis;
pub mod secret_file;
pub mod tasks;
pub mod telemetry;
pub mod turns;
