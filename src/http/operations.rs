//! What those see and do who run callbook, over HTTP: the same that the command line has, while it serves.

pub mod events;
pub mod inbox;
pub mod projections;
pub mod quarantine;
pub mod rebuilds;
pub mod reconcile;
