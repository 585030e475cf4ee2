//! How often Twilio was asked, and what came of it.

use std::sync::atomic::{AtomicU64, Ordering};

use reqwest::StatusCode;

/// Requests by what came of them; each try is one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    pub answered: u64,
    /// Answered with an error.
    pub refused: u64,
    /// Answered with a 429.
    pub busy: u64,
    /// Without an answer.
    pub lost: u64,
}

#[derive(Debug, Default)]
pub(super) struct Counts {
    answered: AtomicU64,
    refused: AtomicU64,
    busy: AtomicU64,
    lost: AtomicU64,
}

impl Counts {
    /// One more, by the status of its answer, if it had one.
    pub fn count(&self, status: Option<StatusCode>) {
        let counter = match status {
            None => &self.lost,
            Some(StatusCode::TOO_MANY_REQUESTS) => &self.busy,
            Some(status) if status.is_client_error() || status.is_server_error() => &self.refused,
            Some(_) => &self.answered,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub fn asked(&self) -> Asked {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Asked {
            answered: read(&self.answered),
            refused: read(&self.refused),
            busy: read(&self.busy),
            lost: read(&self.lost),
        }
    }
}
