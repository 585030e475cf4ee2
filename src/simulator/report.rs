//! What a run of the simulated account did, and what callbook must show for it.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::Duration;

use super::script::{Endpoint, ExpectedCall, Request};

/// Rows of the table on a screen; a file has them all.
const ROWS_SHOWN: usize = 60;

/// Different complaints that are kept apart, because some name a URL.
const COMPLAINTS: usize = 20;

/// Counts of a run. A request counts once, however often it was retried.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Families that have been played to their end.
    pub calls_ended: u64,
    pub sent: u64,
    pub sent_to: BTreeMap<Endpoint, u64>,
    /// Answered with 2xx.
    pub accepted: u64,
    /// By HTTP status.
    pub answers: BTreeMap<u16, u64>,
    /// No connection, or no complete answer in time.
    pub unanswered: u64,
    /// Second sendings of the same request.
    pub repeated: u64,
    pub late: u64,
    pub reordered: u64,
    /// Requests that were never sent.
    pub dropped: u64,
    /// Further attempts after a failure.
    pub retries: u64,
    /// What was wrong besides the status, and how often.
    pub unexpected: BTreeMap<String, u64>,
    /// What every leg must end as, in the order of the families.
    pub expected: Vec<ExpectedCall>,
}

/// What a family tells while it is played.
#[derive(Debug)]
pub enum News {
    Sent(Sent),
    /// This many requests of a family are never sent.
    Dropped(u64),
    CallEnded,
}

/// One request and its answer.
#[derive(Debug)]
pub struct Sent {
    pub endpoint: Endpoint,
    pub request: Request,
    /// How long the last attempt took.
    pub took: Duration,
    pub repeated: bool,
    pub late: bool,
    pub reordered: bool,
    pub retries: u32,
    /// The HTTP status; `None` when there was no answer.
    pub answer: Option<u16>,
    pub complaint: Option<String>,
}

impl Sent {
    /// Whether callbook has answered for it.
    pub fn is_accepted(&self) -> bool {
        self.answer.is_some_and(is_accepted)
    }

    /// Why this is not what should have happened; `None` when it is.
    pub fn trouble(&self) -> Option<String> {
        match (&self.complaint, self.answer) {
            (Some(complaint), _) => Some(complaint.clone()),
            (None, Some(status)) if !is_accepted(status) => Some(format!("status {status}")),
            _ => None,
        }
    }
}

impl Report {
    pub fn add(&mut self, news: &News) {
        let sent = match news {
            News::Sent(sent) => sent,
            News::Dropped(count) => {
                self.dropped += count;
                return;
            }
            News::CallEnded => {
                self.calls_ended += 1;
                return;
            }
        };
        self.sent += 1;
        *self.sent_to.entry(sent.endpoint).or_default() += 1;
        self.repeated += u64::from(sent.repeated);
        self.late += u64::from(sent.late && !sent.repeated);
        self.reordered += u64::from(sent.reordered && !sent.repeated);
        self.retries += u64::from(sent.retries);
        match sent.answer {
            Some(status) => {
                *self.answers.entry(status).or_default() += 1;
                self.accepted += u64::from(is_accepted(status));
            }
            None => self.unanswered += 1,
        }
        if let Some(complaint) = &sent.complaint {
            self.complain(&format!("{}: {complaint}", sent.endpoint.name()));
        }
    }

    pub fn complain(&mut self, complaint: &str) {
        let known = self.unexpected.contains_key(complaint);
        let complaint =
            if known || self.unexpected.len() < COMPLAINTS { complaint } else { "something else" };
        *self.unexpected.entry(complaint.to_owned()).or_default() += 1;
    }

    /// Whether callbook accepted everything and answered as Twilio needs it.
    pub fn is_clean(&self) -> bool {
        self.accepted == self.sent && self.unexpected.is_empty()
    }

    /// For people: what was sent, what came back, and what the first calls must end as.
    pub fn write_to(&self, out: &mut impl Write) -> io::Result<()> {
        writeln!(out, "{} requests of {} families of calls", self.sent, self.calls_ended)?;
        for (endpoint, sent) in &self.sent_to {
            writeln!(out, "  {:<18}{sent:>8}", endpoint.name())?;
        }
        writeln!(out, "  {} repeated, {} late, {} reordered", self.repeated, self.late, self.reordered)?;
        if self.dropped > 0 {
            writeln!(out, "  {} more were never sent", self.dropped)?;
        }
        writeln!(out, "answers")?;
        for (status, count) in &self.answers {
            writeln!(out, "  {status:<18}{count:>8}")?;
        }
        if self.unanswered > 0 {
            writeln!(out, "  {:<18}{:>8}", "none", self.unanswered)?;
        }
        if self.retries > 0 {
            writeln!(out, "  {} attempts were retries", self.retries)?;
        }
        for (complaint, count) in &self.unexpected {
            writeln!(out, "  unexpected {count} times: {complaint}")?;
        }
        self.write_expected(out)
    }

    fn write_expected(&self, out: &mut impl Write) -> io::Result<()> {
        if self.expected.is_empty() {
            return Ok(());
        }
        writeln!(out, "\nwhat each call must end as (indented: dialled by the call above it)")?;
        writeln!(
            out,
            "{:<36} {:<9} {:<10} {:<13} {:>5} {:>5}",
            "call", "direction", "status", "thread", "talk", "wait"
        )?;
        let seconds = |time: Option<i64>| time.map_or("-".to_owned(), |seconds| seconds.to_string());
        for call in self.expected.iter().take(ROWS_SHOWN) {
            writeln!(
                out,
                "{:<36} {:<9} {:<10} {:<13} {:>5} {:>5}",
                format!("{}{}", if call.parent_call_sid.is_some() { "  " } else { "" }, call.call_sid),
                call.direction,
                call.status,
                call.thread.as_deref().unwrap_or("-"),
                seconds(call.talk_time),
                seconds(call.wait_time),
            )?;
        }
        match self.expected.len().saturating_sub(ROWS_SHOWN) {
            0 => Ok(()),
            more => writeln!(out, "and {more} more; --json FILE writes them all"),
        }
    }
}

fn is_accepted(status: u16) -> bool {
    (200..300).contains(&status)
}
