//! What Twilio's REST API says of calls, recordings and numbers, read tolerantly: empty and null are alike, a number
//! may be a text, and what is not known here does not matter (contract sections 4.2, 4.4 and 4.6).
//!
//! A digest covers the fields that are read and nothing else, so that two answers that differ elsewhere are the same.

mod fields;

use domain::call::CallStatus;
use domain::call::facts;
use domain::sid::{CallSid, RecordingSid, SidError};
use rust_decimal::Decimal;
use serde_json::Value;
use time::OffsetDateTime;

use fields::{Digest, Fields};

/// Where Twilio keeps a recording that does not say so itself.
const HOST: &str = "https://api.twilio.com";

/// Why a resource cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misread {
    #[error("the field {name} is missing; {resource} has one")]
    Missing { name: &'static str, resource: &'static str },
    #[error("the field {name} is not usable")]
    Sid {
        name: &'static str,
        #[source]
        source: SidError,
    },
    /// `value` is the beginning of what stood there.
    #[error("{name} is {value:?}, which is {expected}")]
    Value { name: &'static str, value: String, expected: &'static str },
}

/// A call, each of whose legs is one (contract section 4.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    pub sid: CallSid,
    pub parent_call_sid: Option<CallSid>,
    /// A number, SIP address or client as Twilio writes it.
    pub from: Option<String>,
    pub to: Option<String>,
    pub status: CallStatus,
    pub direction: Option<String>,
    /// Nothing while it waits in a queue.
    pub start_time: Option<OffsetDateTime>,
    pub end_time: Option<OffsetDateTime>,
    pub date_created: Option<OffsetDateTime>,
    pub date_updated: Option<OffsetDateTime>,
    /// Seconds; nothing where it is zero, as in callbacks (contract section 1.2).
    pub duration: Option<u32>,
    /// In `price_unit`, negative, and at most 9,999,999 either way; nothing until Twilio has worked it out.
    pub price: Option<Decimal>,
    /// Upper case, as in `USD`; at most ten characters.
    pub price_unit: Option<String>,
    pub answered_by: Option<String>,
    pub forwarded_from: Option<String>,
    pub caller_name: Option<String>,
    /// Milliseconds (contract section 9, trap 8).
    pub queue_time: Option<u32>,
}

/// A recording (contract section 4.4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recording {
    pub sid: RecordingSid,
    /// A conference's has none.
    pub call_sid: Option<CallSid>,
    pub status: RecordingStatus,
    /// Without extension; never shown to a client.
    pub url: Option<String>,
    /// Seconds; nothing where it is zero or not known yet.
    pub duration: Option<u32>,
    pub channels: Option<u8>,
    pub source: Option<String>,
    pub start_time: Option<OffsetDateTime>,
    pub date_created: Option<OffsetDateTime>,
    /// Only in the list of one call.
    pub track: Option<String>,
}

/// REST's statuses of a recording: more than the callbacks have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordingStatus {
    InProgress,
    Paused,
    Stopped,
    Processing,
    Completed,
    Absent,
    Deleted,
}

/// A number of the account (contract section 4.6).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IncomingNumber {
    /// `PN` and 32 hexadecimal digits.
    pub sid: String,
    /// E.164.
    pub phone_number: String,
    /// What people call it.
    pub friendly_name: Option<String>,
    pub voice_url: Option<String>,
    pub status_callback: Option<String>,
    /// Each of these overrides the URLs (contract section 9, trap 6).
    pub voice_application_sid: Option<String>,
    pub trunk_sid: Option<String>,
}

impl TryFrom<&Value> for Call {
    type Error = Misread;

    fn try_from(value: &Value) -> Result<Self, Misread> {
        let fields = Fields { value, resource: "a call" };
        Ok(Self {
            sid: fields.required("sid", CallSid::try_new)?,
            parent_call_sid: fields.sid("parent_call_sid", CallSid::try_new)?,
            from: fields.text("from")?,
            to: fields.text("to")?,
            status: fields.call_status()?,
            direction: fields.text("direction")?,
            start_time: fields.time("start_time")?,
            end_time: fields.time("end_time")?,
            date_created: fields.time("date_created")?,
            date_updated: fields.time("date_updated")?,
            duration: fields.seconds("duration")?,
            price: fields.price()?,
            price_unit: fields.price_unit()?,
            answered_by: fields.text("answered_by")?,
            forwarded_from: fields.text("forwarded_from")?,
            caller_name: fields.text("caller_name")?,
            queue_time: fields.number("queue_time")?,
        })
    }
}

impl Call {
    /// A SHA-256 in hexadecimal over the fields above: the same for two answers exactly where these are.
    pub fn digest(&self) -> String {
        let Self {
            sid,
            parent_call_sid,
            from,
            to,
            status,
            direction,
            start_time,
            end_time,
            date_created,
            date_updated,
            duration,
            price,
            price_unit,
            answered_by,
            forwarded_from,
            caller_name,
            queue_time,
        } = self;
        Digest::of("call 1")
            .field(Some(sid))
            .field(parent_call_sid.as_ref())
            .field(from.as_ref())
            .field(to.as_ref())
            .field(Some(status))
            .field(direction.as_ref())
            .time(*start_time)
            .time(*end_time)
            .time(*date_created)
            .time(*date_updated)
            .field(duration.as_ref())
            // 0.03 and 0.03000 are one price.
            .field(price.map(|price| price.normalize()).as_ref())
            .field(price_unit.as_ref())
            .field(answered_by.as_ref())
            .field(forwarded_from.as_ref())
            .field(caller_name.as_ref())
            .field(queue_time.as_ref())
            .finish()
    }
}

impl TryFrom<&Value> for Recording {
    type Error = Misread;

    fn try_from(value: &Value) -> Result<Self, Misread> {
        let fields = Fields { value, resource: "a recording" };
        let sid = fields.required("sid", RecordingSid::try_new)?;
        let url = match fields.text("media_url")? {
            Some(url) => Some(url),
            // As in a webhook, so that it is one recording whoever told of it: a call's own list does not say.
            None => fields
                .text("account_sid")?
                .map(|account| format!("{HOST}/2010-04-01/Accounts/{account}/Recordings/{sid}")),
        };
        Ok(Self {
            sid,
            call_sid: fields.sid("call_sid", CallSid::try_new)?,
            status: fields.recording_status()?,
            url,
            duration: fields.recorded_seconds()?,
            channels: fields.channels()?,
            source: fields.text("source")?,
            start_time: fields.time("start_time")?,
            date_created: fields.time("date_created")?,
            track: fields.text("track")?,
        })
    }
}

impl Recording {
    /// As [`Call::digest`].
    pub fn digest(&self) -> String {
        let Self { sid, call_sid, status, url, duration, channels, source, start_time, date_created, track } =
            self;
        Digest::of("recording 1")
            .field(Some(sid))
            .field(call_sid.as_ref())
            .field(Some(&status.as_str()))
            .field(url.as_ref())
            .field(duration.as_ref())
            .field(channels.as_ref())
            .field(source.as_ref())
            .time(*start_time)
            .time(*date_created)
            .field(track.as_ref())
            .finish()
    }
}

impl RecordingStatus {
    const ALL: [Self; 7] = [
        Self::InProgress,
        Self::Paused,
        Self::Stopped,
        Self::Processing,
        Self::Completed,
        Self::Absent,
        Self::Deleted,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::InProgress => "in-progress",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
            Self::Processing => "processing",
            Self::Completed => "completed",
            Self::Absent => "absent",
            Self::Deleted => "deleted",
        }
    }

    /// What the domain says for it. A deleted recording is absent, which a completed one does not become.
    pub fn known_as(self) -> facts::RecordingStatus {
        match self {
            Self::InProgress | Self::Paused => facts::RecordingStatus::InProgress,
            Self::Stopped | Self::Processing => facts::RecordingStatus::Processing,
            Self::Completed => facts::RecordingStatus::Completed,
            Self::Absent | Self::Deleted => facts::RecordingStatus::Absent,
        }
    }
}

impl TryFrom<&Value> for IncomingNumber {
    type Error = Misread;

    fn try_from(value: &Value) -> Result<Self, Misread> {
        let fields = Fields { value, resource: "an incoming phone number" };
        let required =
            |name| fields.text(name)?.ok_or(Misread::Missing { name, resource: "an incoming phone number" });
        Ok(Self {
            sid: required("sid")?,
            phone_number: required("phone_number")?,
            friendly_name: fields.text("friendly_name")?,
            voice_url: fields.text("voice_url")?,
            status_callback: fields.text("status_callback")?,
            voice_application_sid: fields.text("voice_application_sid")?,
            trunk_sid: fields.text("trunk_sid")?,
        })
    }
}

#[cfg(test)]
mod tests;
