//! callbook: the book of record for a business's phone traffic.

pub mod config;
pub mod http;
pub mod postgres;
pub mod simulator;
pub mod telemetry;
pub mod twilio;
