//! For those who run the service, and those who write its clients: health, metrics, documentation.

pub mod docs;
pub mod health;
pub mod metrics;
