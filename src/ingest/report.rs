//! What a stored request means: the command it makes, or why it makes none.
//!
//! What reaches this was signed by Twilio, or read from its REST API, and is stored. Where its meaning is impossible no retry
//! helps, so the row is dead-lettered at once, with the reason.

use domain::call::command::{
    Announce, CompleteDial, GiveUp, Identification, ReportRecording, ReportResource, ReportStatus,
};
use domain::call::facts::{AnsweredBy, DialLeg, EndReason, Recording, RecordingStatus};
use domain::call::{CallCommand, CallStatus};
use domain::direction::{Lines, TwilioDirection};
use domain::phone::Address;
use domain::sid::{CallSid, RecordingSid, SidError};
use serde_json::Value;
use time::OffsetDateTime;

use super::inbox::{Endpoint, Resource};
use crate::twilio::{resource, timestamp};

/// Why a request makes no command.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Meaningless {
    #[error("the parameter {name} is missing; a {kind} request has one")]
    Missing { name: &'static str, kind: &'static str },
    #[error("{name}: {source}")]
    Sid {
        name: &'static str,
        #[source]
        source: SidError,
    },
    #[error("{name} is {value:?}, which is {expected}")]
    Value { name: &'static str, value: String, expected: &'static str },
    #[error("this callbook does not know the event type {event_type:?}")]
    UnknownType { event_type: String },
    #[error(transparent)]
    Resource(#[from] resource::Misread),
    #[error("this is a report about {what} (it has {marker}), not about a call")]
    OtherResource { marker: &'static str, what: &'static str },
}

/// Parameters that only reports about something else have (contract sections 1.6 to 1.8).
const OTHER_RESOURCES: [(&str, &str); 5] = [
    ("MessageSid", "a message"),
    ("SmsSid", "a message"),
    ("TranscriptionSid", "a transcription"),
    ("StreamSid", "a media stream"),
    ("StatusCallbackEvent", "a conference"),
];

/// Reads a stored payload by its row's `event_type`. `lines` are the lines that are ours now; what they mean for the
/// call is stored.
pub fn command(
    event_type: &str,
    payload: &Value,
    received_at: OffsetDateTime,
    lines: &Lines,
) -> Result<(CallSid, CallCommand), Meaningless> {
    if let Some(endpoint) = Endpoint::of_event_type(event_type) {
        return webhook(endpoint, payload, received_at, lines);
    }
    match Resource::ALL.into_iter().find(|resource| resource.event_type() == event_type) {
        Some(Resource::Call) => call(payload, received_at, lines),
        Some(Resource::Recording) => recording(payload, received_at),
        Some(Resource::MissingCall) => {
            let fields = Fields { payload, kind: Resource::MissingCall.event_type() };
            let given_up = GiveUp { reason: EndReason::NotFound, at: received_at };
            Ok((fields.call_sid("sid")?, CallCommand::GiveUp(given_up)))
        }
        None => Err(Meaningless::UnknownType { event_type: event_type.to_owned() }),
    }
}

fn call(
    payload: &Value,
    read_at: OffsetDateTime,
    lines: &Lines,
) -> Result<(CallSid, CallCommand), Meaningless> {
    let call = resource::Call::try_from(payload)?;
    let command = CallCommand::ReportResource(ReportResource {
        call_sid: call.sid.clone(),
        who: Identification {
            // Nobody is somebody: a webhook says it with an empty text.
            from: Some(Address::caller(call.from.as_deref().unwrap_or_default())),
            to: Some(Address::callee(call.to.as_deref().unwrap_or_default())),
            twilio_direction: call.direction.map(TwilioDirection::from),
            parent_call_sid: call.parent_call_sid,
            forwarded_from: call.forwarded_from,
            caller_name: call.caller_name,
        },
        status: call.status,
        start_time: call.start_time,
        end_time: call.end_time,
        updated_at: call.date_updated,
        duration: call.duration,
        price: call.price.zip(call.price_unit),
        answered_by: call.answered_by.map(AnsweredBy::from),
        queue_time: call.queue_time,
        read_at,
        lines: lines.clone(),
    });
    Ok((call.sid, command))
}

fn recording(payload: &Value, read_at: OffsetDateTime) -> Result<(CallSid, CallCommand), Meaningless> {
    let recording = resource::Recording::try_from(payload)?;
    let call_sid = recording
        .call_sid
        .ok_or(Meaningless::OtherResource { marker: "no call_sid", what: "a conference" })?;
    let command = CallCommand::ReportRecording(ReportRecording {
        call_sid: call_sid.clone(),
        recording_sid: recording.sid,
        recording: Recording {
            status: recording.status.known_as(),
            url: recording.url,
            seconds: recording.duration.filter(|seconds| *seconds > 0),
            channels: recording.channels,
            started_at: recording.start_time,
            source: recording.source,
            track: recording.track,
        },
        received_at: read_at,
    });
    Ok((call_sid, command))
}

fn webhook(
    endpoint: Endpoint,
    payload: &Value,
    received_at: OffsetDateTime,
    lines: &Lines,
) -> Result<(CallSid, CallCommand), Meaningless> {
    let fields = Fields { payload, kind: endpoint.event_type() };
    for (marker, what) in OTHER_RESOURCES {
        if fields.get(marker).is_some() {
            return Err(Meaningless::OtherResource { marker, what });
        }
    }
    let call_sid = fields.call_sid("CallSid")?;
    let command = match endpoint {
        Endpoint::VoiceInbound => CallCommand::Announce(Announce {
            call_sid: call_sid.clone(),
            who: fields.who()?,
            status: fields.status("CallStatus")?,
            received_at,
            lines: lines.clone(),
        }),
        Endpoint::VoiceStatus => CallCommand::ReportStatus(ReportStatus {
            call_sid: call_sid.clone(),
            who: fields.who()?,
            status: fields.status("CallStatus")?,
            sequence: fields.number("SequenceNumber")?,
            timestamp: fields.time("Timestamp")?,
            received_at,
            duration: fields.seconds("CallDuration")?,
            answered_by: fields.text("AnsweredBy").map(AnsweredBy::from),
            recording: fields.mentioned_recording()?,
            lines: lines.clone(),
        }),
        Endpoint::DialAction => CallCommand::CompleteDial(CompleteDial {
            call_sid: call_sid.clone(),
            who: fields.who()?,
            dialled: match fields.text("DialCallSid") {
                None => DialLeg::Unnamed,
                Some(_) => DialLeg::Leg(fields.call_sid("DialCallSid")?),
            },
            status: fields.dial_status()?,
            seconds: fields.seconds("DialCallDuration")?,
            bridged: fields.boolean("DialBridged")?,
            received_at,
            recording: fields.mentioned_recording()?,
            lines: lines.clone(),
        }),
        Endpoint::RecordingStatus => {
            let sid = fields.required("RecordingSid")?;
            CallCommand::ReportRecording(ReportRecording {
                call_sid: call_sid.clone(),
                recording_sid: RecordingSid::try_new(sid)
                    .map_err(|source| Meaningless::Sid { name: "RecordingSid", source })?,
                recording: fields.recording(fields.recording_status()?)?,
                received_at,
            })
        }
    };
    Ok((call_sid, command))
}

struct Fields<'a> {
    payload: &'a Value,
    kind: &'static str,
}

impl<'a> Fields<'a> {
    /// The first value of a parameter; it may be empty.
    fn get(&self, name: &str) -> Option<&'a str> {
        match self.payload.get(name)? {
            Value::Array(values) => values.first()?.as_str(),
            value => value.as_str(),
        }
    }

    /// Missing and empty are alike.
    fn text(&self, name: &str) -> Option<String> {
        self.get(name).filter(|value| !value.is_empty()).map(str::to_owned)
    }

    fn required(&self, name: &'static str) -> Result<&'a str, Meaningless> {
        self.get(name).filter(|value| !value.is_empty()).ok_or(Meaningless::Missing { name, kind: self.kind })
    }

    fn call_sid(&self, name: &'static str) -> Result<CallSid, Meaningless> {
        CallSid::try_new(self.required(name)?).map_err(|source| Meaningless::Sid { name, source })
    }

    fn status(&self, name: &'static str) -> Result<CallStatus, Meaningless> {
        let value = self.required(name)?;
        CallStatus::parse(value).ok_or_else(|| not(name, value, "not a status of a call at Twilio"))
    }

    /// `answered` is what a conference's dial ends with; somebody was reached all the same.
    fn dial_status(&self) -> Result<CallStatus, Meaningless> {
        let name = "DialCallStatus";
        match self.required(name)? {
            "answered" => Ok(CallStatus::Completed),
            value => CallStatus::parse(value)
                .filter(|status| status.is_final())
                .ok_or_else(|| not(name, value, "not a way in which a dial ends at Twilio")),
        }
    }

    fn recording_status(&self) -> Result<RecordingStatus, Meaningless> {
        let name = "RecordingStatus";
        match self.required(name)? {
            "in-progress" => Ok(RecordingStatus::InProgress),
            "completed" => Ok(RecordingStatus::Completed),
            "absent" => Ok(RecordingStatus::Absent),
            "failed" => Ok(RecordingStatus::Failed),
            value => Err(not(name, value, "not a status of a recording at Twilio")),
        }
    }

    fn who(&self) -> Result<Identification, Meaningless> {
        Ok(Identification {
            from: self.get("From").map(Address::caller),
            to: self.get("To").map(Address::callee),
            twilio_direction: self.text("Direction").map(TwilioDirection::from),
            parent_call_sid: match self.text("ParentCallSid") {
                None => None,
                Some(_) => Some(self.call_sid("ParentCallSid")?),
            },
            forwarded_from: self.text("ForwardedFrom"),
            caller_name: self.text("CallerName"),
        })
    }

    /// A call's own callback may mention its recording, whose file may not be ready (contract section 1.2).
    fn mentioned_recording(&self) -> Result<Option<(RecordingSid, Recording)>, Meaningless> {
        let Some(sid) = self.text("RecordingSid") else { return Ok(None) };
        let sid = RecordingSid::try_new(&sid)
            .map_err(|source| Meaningless::Sid { name: "RecordingSid", source })?;
        Ok(Some((sid, self.recording(RecordingStatus::Processing)?)))
    }

    fn recording(&self, status: RecordingStatus) -> Result<Recording, Meaningless> {
        Ok(Recording {
            status,
            url: self.text("RecordingUrl"),
            seconds: self.seconds("RecordingDuration")?,
            channels: match self.number("RecordingChannels")? {
                None => None,
                Some(channels) => Some(u8::try_from(channels).map_err(|_| {
                    not("RecordingChannels", &channels.to_string(), "more channels than a recording has")
                })?),
            },
            started_at: self.time("RecordingStartTime")?,
            source: self.text("RecordingSource"),
            track: self.text("RecordingTrack"),
        })
    }

    fn number(&self, name: &'static str) -> Result<Option<u32>, Meaningless> {
        // The read model's columns are signed.
        const MOST: u32 = i32::MAX.cast_unsigned();
        match self.text(name) {
            None => Ok(None),
            Some(text) => match text.parse() {
                Ok(number) if number <= MOST => Ok(Some(number)),
                _ => Err(not(name, &text, "not a whole number")),
            },
        }
    }

    /// Zero, empty and missing are alike (contract section 1.2).
    fn seconds(&self, name: &'static str) -> Result<Option<u32>, Meaningless> {
        Ok(self.number(name)?.filter(|seconds| *seconds > 0))
    }

    fn boolean(&self, name: &'static str) -> Result<Option<bool>, Meaningless> {
        match self.get(name) {
            None | Some("") => Ok(None),
            Some("true") => Ok(Some(true)),
            Some("false") => Ok(Some(false)),
            Some(value) => Err(not(name, value, "neither true nor false")),
        }
    }

    fn time(&self, name: &'static str) -> Result<Option<OffsetDateTime>, Meaningless> {
        match self.text(name) {
            None => Ok(None),
            Some(text) => timestamp::rfc2822(&text)
                .map(Some)
                .ok_or_else(|| not(name, &text, "not a time such as \"Fri, 20 Aug 2010 01:13:42 +0000\"")),
        }
    }
}

fn not(name: &'static str, value: &str, expected: &'static str) -> Meaningless {
    // Long enough to recognise, short enough to read.
    Meaningless::Value { name, value: value.chars().take(80).collect(), expected }
}
