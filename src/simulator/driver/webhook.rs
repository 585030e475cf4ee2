//! Sending one webhook as Twilio does: signed, with its idempotency token, and again where the URL says so.

use std::time::{Duration, Instant};

use super::address::{Destination, Retries};
use super::{Driver, Request};
use crate::twilio::signature::sign;

/// The hard ceiling on all call-related requests, retries included (CONTRACT §3).
pub const TIME_LIMIT: Duration = Duration::from_secs(15);
const PAUSE_BEFORE_RETRY: Duration = Duration::from_millis(200);

/// What became of one webhook after its last attempt.
#[derive(Debug)]
pub struct Delivered {
    pub answer: Answer,
    /// Attempts after the first.
    pub retries: u32,
    /// How long the last attempt took.
    pub took: Duration,
}

#[derive(Debug)]
pub enum Answer {
    Http {
        status: u16,
        body: String,
    },
    /// No connection.
    Unreachable,
    /// No complete answer in time.
    TimedOut,
}

impl Driver {
    /// Every attempt is the same, byte for byte (CONTRACT §3).
    pub(super) async fn deliver(&self, request: &Request, destination: &Destination) -> Delivered {
        let begun = Instant::now();
        let signature = sign(&self.account.auth_token, &destination.signed_url, &request.params);
        let mut retries = 0;
        loop {
            let attempted = Instant::now();
            let answer = self
                .attempt(request, destination, &signature, TIME_LIMIT.saturating_sub(begun.elapsed()))
                .await;
            let is_last =
                retries >= destination.retries.count || begun.elapsed() + PAUSE_BEFORE_RETRY >= TIME_LIMIT;
            if is_last || !answer.asks_for_retry(destination.retries) {
                return Delivered { answer, retries, took: attempted.elapsed() };
            }
            retries += 1;
            tokio::time::sleep(PAUSE_BEFORE_RETRY).await;
        }
    }

    async fn attempt(
        &self,
        request: &Request,
        to: &Destination,
        signature: &str,
        time_left: Duration,
    ) -> Answer {
        // Held while connecting and waiting, so that a slow callbook does not cost us every file descriptor.
        let Ok(_permit) = self.connections.acquire().await else { return Answer::Unreachable };
        let sent = self
            .client
            .post(&to.url)
            .header("X-Twilio-Signature", signature)
            .header("I-Twilio-Idempotency-Token", &request.idempotency_token)
            .header("X-Home-Region", "us1")
            .timeout(time_left)
            .form(&request.params)
            .send()
            .await;
        let answer = match sent {
            Ok(response) => (response.status().as_u16(), response.text().await),
            Err(error) if error.is_connect() => return Answer::Unreachable,
            Err(_) => return Answer::TimedOut,
        };
        match answer {
            (status, Ok(body)) => Answer::Http { status, body },
            // "A partial response is not retried", unless a read timeout is.
            (_, Err(_)) => Answer::TimedOut,
        }
    }
}

impl Answer {
    fn asks_for_retry(&self, retries: Retries) -> bool {
        match self {
            Answer::Http { status: 400..=499, .. } => retries.on_4xx,
            Answer::Http { status: 500..=599, .. } => retries.on_5xx,
            Answer::Http { .. } => false,
            Answer::Unreachable => retries.on_connect_failure,
            Answer::TimedOut => retries.on_timeout,
        }
    }

    /// The HTTP status, when there was an answer.
    pub fn status(&self) -> Option<u16> {
        match self {
            Answer::Http { status, .. } => Some(*status),
            Answer::Unreachable | Answer::TimedOut => None,
        }
    }

    /// Why there was no answer.
    pub fn failure(&self) -> Option<&'static str> {
        match self {
            Answer::Http { .. } => None,
            Answer::Unreachable => Some("no connection"),
            Answer::TimedOut => Some("no complete answer in time"),
        }
    }
}
