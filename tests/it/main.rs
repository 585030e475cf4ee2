//! The real application on a real PostgreSQL, spoken to as Twilio and as a client would.
//!
//! Each test has its own database, cloned from a migrated one. Nothing waits for time: what is sent is
//! waited for by position.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that fails panics, and says when it was skipped"
)]

mod access;
mod architecture;
mod backup;
mod binary;
mod calls;
mod chaos;
mod contract;
mod edits;
mod find;
mod history;
mod ingest;
mod lease;
mod limits;
mod loading;
mod log;
mod metrics;
mod operations;
mod order;
mod page;
mod people;
mod quarantine;
mod rebuild;
mod reconcile;
mod recordings;
mod rest;
mod rest_api;
mod retention;
mod seeds;
mod shutdown;
mod signature;
mod simulation;
mod soak;
mod spool;
mod stats;
mod stream;
mod support;
mod sync;
mod traces;
mod twilio_client;
mod versions;
mod webhooks;
