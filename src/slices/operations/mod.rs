//! For operators of the service, and developers of its clients: health, metrics, documentation.

pub mod docs;
pub mod health;
pub mod metrics;
