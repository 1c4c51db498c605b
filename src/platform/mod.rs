//! What the slices stand on: the database, the machine, the clock, telemetry, problem details.
//!
//! Nothing here knows a slice. The database adapters of a slice live in the slice.

pub mod body;
pub mod client;
pub mod clock;
pub mod context;
pub mod database;
pub mod descriptors;
pub mod faults;
pub mod machine;
pub mod metrics;
pub mod openapi;
pub mod problem;
pub mod redis;
pub mod representation;
pub mod static_content;
pub mod tasks;
pub mod telemetry;
