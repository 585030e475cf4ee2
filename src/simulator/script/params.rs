//! The form fields of each webhook, shaped like the captured ones (CONTRACT §1).

use std::time::Duration;

use rand::{Rng, RngExt};
use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

use super::story::{Child, Door, Outcome, Story};
use super::{Account, Endpoint, Request, Status, sid};
use crate::simulator::cast;

/// `Fri, 20 Aug 2010 01:13:42 +0000`.
const RFC_2822_GMT: &[BorrowedFormatItem<'_>] = format_description!(
    "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] +0000"
);

type Params = Vec<(String, String)>;

/// Writes the requests of one family, counting the events of the dialled leg as it goes.
pub struct Writer<'a, R> {
    account: &'a Account,
    story: &'a Story,
    root_sid: &'a str,
    child_sid: &'a str,
    started_at: OffsetDateTime,
    recording_sid: String,
    events_sent: u32,
    requests: Vec<Request>,
    rng: &'a mut R,
}

impl<'a, R: Rng> Writer<'a, R> {
    pub fn new(
        account: &'a Account,
        story: &'a Story,
        root_sid: &'a str,
        child_sid: &'a str,
        started_at: OffsetDateTime,
        rng: &'a mut R,
    ) -> Self {
        let recording_sid = sid("RE", rng);
        Writer {
            account,
            story,
            root_sid,
            child_sid,
            started_at,
            recording_sid,
            events_sent: 0,
            requests: Vec::new(),
            rng,
        }
    }

    /// The requests, and the SID of the recording, if there is one.
    pub fn finish(self) -> (Vec<Request>, String) {
        (self.requests, self.recording_sid)
    }

    /// The root's TwiML fetch.
    pub fn voice_inbound(&mut self) {
        let mut params = self.root("ringing");
        if self.story.door == Door::Number {
            push(
                &mut params,
                "CallToken",
                &format!("%7B%22parentCallInfoToken%22%3A%22{}%22%7D", self.token()),
            );
            if self.story.from == self.story.customer {
                push(&mut params, "StirVerstat", "TN-Validation-Passed-A");
            }
        }
        self.send(Duration::ZERO, Endpoint::VoiceInbound, params);
    }

    /// An event of the leg that was dialled: the child, or the root itself when there is no child.
    pub fn progress(&mut self, at: Duration, status: &str) {
        let mut params = match &self.story.child {
            None => self.root(status),
            Some(child) => {
                let mut params = call(self.account, self.child_sid, &child.from, &child.to, "outbound-dial");
                push(&mut params, "CallStatus", status);
                push(&mut params, "ParentCallSid", self.root_sid);
                if is_forwarded(self.story, child) {
                    push(&mut params, "ForwardedFrom", &self.story.to);
                    push(&mut params, "CalledVia", &self.story.to);
                }
                params
            }
        };
        let end = is_terminal(status).then(|| (self.story.times.talk_seconds, self.sip_response_code()));
        event(&mut params, self.started_at + at, self.events_sent, end);
        self.events_sent += 1;
        self.send(at, Endpoint::VoiceStatus, params);
    }

    /// What became of the dial, told about the root. It carries no Timestamp and no SequenceNumber (CONTRACT §1.3).
    pub fn dial_action(&mut self) {
        let times = &self.story.times;
        let mut params = self.root(if self.story.caller_hangs_up { "completed" } else { "in-progress" });
        push(&mut params, "DialCallSid", self.child_sid);
        push(&mut params, "DialCallStatus", self.story.outcome.status());
        if self.story.outcome.is_answered() {
            push(&mut params, "DialCallDuration", &times.talk_seconds.to_string());
        }
        push(
            &mut params,
            "DialBridged",
            if self.story.outcome == Outcome::Bridged { "true" } else { "false" },
        );
        if self.story.recorded {
            self.push_recording(&mut params);
        }
        self.send(times.dial_action, Endpoint::DialAction, params);
    }

    /// The number's own status callback: the end of the call and nothing else, hence SequenceNumber 0.
    pub fn root_completed(&mut self) {
        let at = self.story.times.root_ended;
        let mut params = self.root("completed");
        event(&mut params, self.started_at + at, 0, Some((self.story.times.root_seconds, "200")));
        self.send(at, Endpoint::VoiceStatus, params);
    }

    /// The recording of the dial, told about the root (CONTRACT §1.5).
    pub fn recording(&mut self) {
        let times = &self.story.times;
        let mut params = Params::new();
        push(&mut params, "AccountSid", &self.account.sid);
        push(&mut params, "CallSid", self.root_sid);
        push(&mut params, "RecordingStatus", "completed");
        self.push_recording(&mut params);
        push(&mut params, "RecordingChannels", "2");
        push(&mut params, "RecordingSource", "DialVerb");
        push(&mut params, "RecordingTrack", "both");
        push(&mut params, "ErrorCode", "0");
        let answered = self.started_at + times.answered.unwrap_or(times.dialled);
        push(&mut params, "RecordingStartTime", &rfc_2822(answered));
        self.send(times.recording, Endpoint::RecordingStatus, params);
    }

    fn push_recording(&self, params: &mut Params) {
        let account = &self.account.sid;
        let recording = &self.recording_sid;
        push(params, "RecordingSid", recording);
        push(
            params,
            "RecordingUrl",
            &format!("https://api.twilio.com/2010-04-01/Accounts/{account}/Recordings/{recording}"),
        );
        push(params, "RecordingDuration", &self.story.times.talk_seconds.to_string());
    }

    /// What every request about the root says.
    fn root(&self, status: &str) -> Params {
        let Story { door, from, to, .. } = self.story;
        let mut params = call(self.account, self.root_sid, from, to, door.twilio_direction());
        push(&mut params, "CallStatus", status);
        // One application and one SIP domain an account, named after it.
        let hex = self.account.sid.get(2..).unwrap_or_default();
        match door {
            Door::App => {
                push(&mut params, "ApplicationSid", &format!("AP{hex}"));
                // What the page passed to `Device.connect` arrives as fields of its own (CONTRACT §1.10).
                push(&mut params, "openedFrom", "thread");
            }
            Door::SipDomain => {
                push(&mut params, "SipDomain", &self.account.sip_domain);
                push(&mut params, "SipDomainSid", &format!("SD{hex}"));
                push(
                    &mut params,
                    "SipCallId",
                    &format!("{}@203.0.113.7", self.root_sid.get(2..12).unwrap_or_default()),
                );
                push(&mut params, "SipSourceIp", "203.0.113.7");
            }
            Door::Number | Door::Api => {}
        }
        params
    }

    /// As carriers answer. Some say 487 for a busy line (`payloads.json`), so it says nothing about the status.
    fn sip_response_code(&mut self) -> &'static str {
        match self.story.outcome {
            Outcome::Bridged | Outcome::NotBridged => "200",
            Outcome::NoAnswer | Outcome::Canceled => "487",
            Outcome::Busy => cast::pick(self.rng, &["486", "486", "486", "487"]),
            Outcome::Failed => cast::pick(self.rng, &["503", "503", "404"]),
        }
    }

    fn send(&mut self, at: Duration, endpoint: Endpoint, params: Params) {
        let idempotency_token = self.token();
        self.requests.push(Request { at, endpoint, params, idempotency_token });
    }

    /// Shaped like a UUID.
    fn token(&mut self) -> String {
        let hex = format!("{:032x}", self.rng.random::<u128>());
        format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
    }
}

/// A leg that had not ended when callbook stopped, as callbook knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LegInFlight {
    pub call_sid: String,
    pub parent_call_sid: Option<String>,
    pub from: String,
    pub to: String,
    /// Twilio's: `inbound`, `outbound-api` or `outbound-dial`.
    pub direction: String,
    pub account_sid: String,
    /// Tells how long it lasted; a leg without it ends with duration 0.
    pub answered_at: Option<OffsetDateTime>,
}

/// How a leg ended that nobody was there to hear end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
    pub at: OffsetDateTime,
    pub status: Status,
    /// From answer to end.
    pub seconds: i64,
}

impl End {
    /// Of a leg that ends at `at`, whatever it was about to do: whoever had not answered by then never did.
    pub fn cut_short(at: OffsetDateTime, direction: &str, answered_at: Option<OffsetDateTime>) -> End {
        let status = match (answered_at, direction) {
            (Some(_), _) | (None, "inbound") => Status::Completed,
            (None, "outbound-dial") => Status::Canceled,
            (None, _) => Status::NoAnswer,
        };
        let seconds = answered_at.map_or(0, |answered_at| (at - answered_at).whole_seconds().max(0));
        End { at, status, seconds }
    }
}

/// The terminal callback of a leg that was in flight when nobody was there to hear its end.
///
/// Its sequence number is the last that a leg with all four events has, or the only one that a root has.
pub fn ended(account: &Account, leg: &LegInFlight, end: End) -> Vec<(String, String)> {
    let mut params = call(account, &leg.call_sid, &leg.from, &leg.to, &leg.direction);
    push(&mut params, "CallStatus", end.status.name());
    if let Some(parent) = &leg.parent_call_sid {
        push(&mut params, "ParentCallSid", parent);
    }
    let sip = match end.status {
        Status::Busy => "486",
        Status::Failed => "503",
        Status::NoAnswer | Status::Canceled => "487",
        _ => "200",
    };
    let sequence = if leg.direction == "inbound" { 0 } else { 3 };
    event(&mut params, end.at, sequence, Some((end.seconds, sip)));
    params
}

/// Whether a customer's call to us goes on to a telephone.
pub fn is_forwarded(story: &Story, child: &Child) -> bool {
    !child.to.starts_with("sip:") && story.door == Door::Number
}

/// What every request about a call says, its status aside.
fn call(account: &Account, call_sid: &str, from: &str, to: &str, direction: &str) -> Params {
    let mut params = Params::new();
    push(&mut params, "AccountSid", &account.sid);
    push(&mut params, "ApiVersion", "2010-04-01");
    push(&mut params, "CallSid", call_sid);
    push(&mut params, "Direction", direction);
    for (names, party) in [(["From", "Caller"], from), (["To", "Called"], to)] {
        for name in names {
            push(&mut params, name, party);
            // Twilio knows the place of a telephone number only.
            if party.starts_with('+') {
                let place = cast::place(party);
                push(&mut params, &format!("{name}City"), place.city);
                push(&mut params, &format!("{name}State"), place.state);
                push(&mut params, &format!("{name}Zip"), place.zip);
                push(&mut params, &format!("{name}Country"), place.country);
            }
        }
    }
    params
}

/// What a call progress event adds. `end` is the duration in seconds and the SIP response code.
fn event(params: &mut Params, happened_at: OffsetDateTime, sequence: u32, end: Option<(i64, &str)>) {
    push(params, "Timestamp", &rfc_2822(happened_at));
    push(params, "CallbackSource", "call-progress-events");
    push(params, "SequenceNumber", &sequence.to_string());
    if let Some((seconds, sip_response_code)) = end {
        push(params, "CallDuration", &seconds.to_string());
        // Minutes, as billed.
        push(params, "Duration", &((seconds + 59) / 60).to_string());
        push(params, "SipResponseCode", sip_response_code);
    }
}

fn is_terminal(status: &str) -> bool {
    !matches!(status, "queued" | "initiated" | "ringing" | "in-progress")
}

/// As Twilio writes times, in webhooks and in its REST API: whole seconds in UTC.
pub fn rfc_2822(time: OffsetDateTime) -> String {
    // Formatting into a string fails only for components that the format does not have.
    time.to_offset(time::UtcOffset::UTC).format(RFC_2822_GMT).unwrap_or_default()
}

fn push(params: &mut Params, name: &str, value: &str) {
    params.push((name.to_owned(), value.to_owned()));
}
