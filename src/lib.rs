//! callbook: the book of record for a business's phone traffic.

pub mod config;
pub mod event_store;
pub mod ingest;
pub mod postgres;
pub mod simulator;
pub mod telemetry;
pub mod twilio;
