//! The status of a leg as a join: the greatest report wins, so arrival order cannot matter.
//!
//! Twilio gives no order across requests (contract section 3 and trap 1). Every report is therefore a
//! point in one total order, and the state keeps the maximum of what it has seen.

use std::cmp::Ordering;
use std::fmt;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

/// Twilio's statuses (contract section 1.1). `initiated` occurs in webhooks only, `queued` in REST too.
///
/// In the order of how far the call has got; final ones, which are equally far, in a fixed order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CallStatus {
    Queued,
    Initiated,
    Ringing,
    InProgress,
    Canceled,
    NoAnswer,
    Busy,
    Failed,
    Completed,
}

impl CallStatus {
    pub const ALL: [Self; 9] = [
        Self::Queued,
        Self::Initiated,
        Self::Ringing,
        Self::InProgress,
        Self::Canceled,
        Self::NoAnswer,
        Self::Busy,
        Self::Failed,
        Self::Completed,
    ];

    /// Twilio's spelling, or nothing if Twilio has no such status.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == text)
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Initiated => "initiated",
            Self::Ringing => "ringing",
            Self::InProgress => "in-progress",
            Self::Canceled => "canceled",
            Self::NoAnswer => "no-answer",
            Self::Busy => "busy",
            Self::Failed => "failed",
            Self::Completed => "completed",
        }
    }

    pub fn is_final(self) -> bool {
        self.rank() == 4
    }

    /// How far the call has got; all final statuses share the last rank.
    fn rank(self) -> u8 {
        match self {
            Self::Queued => 0,
            Self::Initiated => 1,
            Self::Ringing => 2,
            Self::InProgress => 3,
            Self::Canceled | Self::NoAnswer | Self::Busy | Self::Failed | Self::Completed => 4,
        }
    }
}

impl fmt::Display for CallStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Who says so; the later variant is believed over the earlier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Authority {
    /// Concluded from a dial action: our TwiML ends the call there.
    Derived,
    /// A webhook that states it.
    Callback,
    /// Twilio's REST API.
    Rest,
}

/// One report of a status.
///
/// Ordered by how far the call has got; among final statuses by authority, then Twilio's
/// `SequenceNumber`, then its `Timestamp`, then the fixed order of [`CallStatus::ALL`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusReport {
    pub status: CallStatus,
    pub authority: Authority,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sequence: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none", with = "time::serde::rfc3339::option")]
    at: Option<OffsetDateTime>,
}

impl StatusReport {
    /// Two reports of the same unfinished status are equal whoever made them: nothing depends on it.
    pub fn new(
        status: CallStatus,
        authority: Authority,
        sequence: Option<u32>,
        at: Option<OffsetDateTime>,
    ) -> Self {
        if status.is_final() {
            Self { status, authority, sequence, at }
        } else {
            Self { status, authority: Authority::Callback, sequence: None, at: None }
        }
    }

    fn key(&self) -> impl Ord + use<> {
        (self.status.rank(), self.authority, self.sequence, self.at, self.status)
    }
}

impl Ord for StatusReport {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
}

impl PartialOrd for StatusReport {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    fn report(status: &str, authority: Authority, sequence: u32) -> StatusReport {
        StatusReport::new(
            CallStatus::parse(status).unwrap(),
            authority,
            Some(sequence),
            Some(datetime!(2026-02-08 06:11:00 UTC)),
        )
    }

    #[test]
    fn a_late_ringing_never_regresses_an_ended_call() {
        let ended = report("completed", Authority::Derived, 0);
        let late = report("ringing", Authority::Callback, 9);
        assert_eq!(ended.max(late), ended);
    }

    #[test]
    fn among_final_statuses_authority_then_sequence_decides() {
        let callback = report("busy", Authority::Callback, 2);
        assert!(report("completed", Authority::Rest, 0) > callback);
        assert!(report("completed", Authority::Derived, 9) < callback);
        assert!(report("no-answer", Authority::Callback, 3) > callback);
        assert!(report("completed", Authority::Callback, 2) > callback, "the fixed order decides last");
    }

    #[test]
    fn every_status_is_read_as_it_is_written() {
        for status in CallStatus::ALL {
            assert_eq!(CallStatus::parse(status.as_str()), Some(status));
            let json = serde_json::to_string(&status).unwrap();
            assert_eq!(json, format!("{:?}", status.as_str()));
        }
        assert_eq!(CallStatus::parse("answered"), None);
    }
}
