//! callbook: the book of record for a business's phone traffic.
//!
//! What happens around the domain and its projections: HTTP, the inbox, the one writer of the log, Twilio,
//! the embedded PostgreSQL, the simulator and the command line. [`app`] puts it together.

pub mod access;
pub mod app;
pub mod backup;
pub mod chaos;
pub mod cli;
pub mod clock;
pub mod config;
pub mod doctor;
pub mod door;
pub mod engine;
pub mod event_store;
pub mod explain;
pub mod http;
pub mod ingest;
pub mod installation;
pub mod lease;
pub mod metrics;
pub mod outgoing;
pub mod people;
pub mod postgres;
pub mod rebuilds;
pub mod reclassify;
pub mod reconcile;
pub mod recordings;
pub mod retention;
pub mod serve;
pub mod simulator;
pub mod telemetry;
pub mod twilio;
pub mod ui;
pub mod wakeup;
