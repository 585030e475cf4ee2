//! What Twilio sends about the calls of [`Cast`]s, signed.

use callbook::ingest::Endpoint;
use callbook::twilio::form::Form;
use callbook::twilio::signature;
use secrecy::SecretString;
use time::format_description::well_known::Rfc2822;
use time::{Duration, OffsetDateTime};

use crate::family::Cast;
use crate::server::{ACCOUNT_SID, AUTH_TOKEN, OURS, SIP_DOMAIN};

/// The webhooks of an answered call in the order in which they are sent.
pub fn family(cast: &Cast) -> anyhow::Result<Vec<(Endpoint, Form)>> {
    let child = |status, sequence, seconds| child_status(cast, status, sequence, seconds);
    let mut announced = parent(cast, "ringing");
    announced.extend(pairs(&[("CallToken", "token"), ("StirVerstat", "TN-Validation-Passed-A")]));
    let mut dialled = parent(cast, "in-progress");
    dialled.extend(pairs(&[
        ("DialCallSid", &cast.child),
        ("DialCallStatus", "completed"),
        ("DialCallDuration", "30"),
        ("DialBridged", "true"),
    ]));
    let mut ended = progress(parent(cast, "completed"), "0", cast.start + Duration::seconds(40))?;
    ended.extend(pairs(&[("CallDuration", "40"), ("Duration", "1")]));
    let recorded = pairs(&[
        ("AccountSid", ACCOUNT_SID),
        ("CallSid", &cast.parent),
        ("RecordingSid", &cast.recordings[0]),
        ("RecordingUrl", "https://api.twilio.com/2010-04-01/Recordings/it"),
        ("RecordingStatus", "completed"),
        ("RecordingDuration", "30"),
        ("RecordingChannels", "2"),
        ("RecordingSource", "DialVerb"),
    ]);
    Ok(vec![
        (Endpoint::VoiceInbound, Form(announced)),
        (Endpoint::VoiceStatus, Form(child("initiated", "0", 1)?)),
        (Endpoint::VoiceStatus, Form(child("ringing", "1", 2)?)),
        (Endpoint::VoiceStatus, Form(child("in-progress", "2", 9)?)),
        (Endpoint::VoiceStatus, Form(child("completed", "3", 39)?)),
        (Endpoint::DialAction, Form(dialled)),
        (Endpoint::VoiceStatus, Form(ended)),
        (Endpoint::RecordingStatus, Form(recorded)),
    ])
}

/// One status callback about a call that is named in no other.
pub fn lone_callback(cast: &Cast) -> anyhow::Result<Form> {
    Ok(Form(progress(parent(cast, "ringing"), "0", cast.start)?))
}

/// A form as bytes on the wire, with its signature for this public URL.
pub fn request(base_url: &str, host: &str, path: &str, form: &Form) -> Vec<u8> {
    let token = SecretString::from(AUTH_TOKEN);
    let signature = signature::sign(&token, &format!("{base_url}{path}"), &form.0);
    let body = form.encode();
    format!(
        "POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/x-www-form-urlencoded; charset=utf-8\r\n\
         User-Agent: TwilioProxy/1.1\r\nAccept: */*\r\nX-Home-Region: us1\r\nX-Twilio-Signature: {signature}\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

pub const STATUS_PATH: &str = "/webhooks/twilio/voice-status";

pub fn path(endpoint: Endpoint) -> &'static str {
    match endpoint {
        Endpoint::VoiceInbound => "/webhooks/twilio/voice-inbound",
        Endpoint::VoiceStatus => STATUS_PATH,
        Endpoint::RecordingStatus => "/webhooks/twilio/recording-status",
        Endpoint::DialAction => "/webhooks/twilio/dial-action",
    }
}

fn child_status(
    cast: &Cast,
    status: &str,
    sequence: &str,
    seconds: i64,
) -> anyhow::Result<Vec<(String, String)>> {
    let dispatcher = format!("sip:dispatcher@{SIP_DOMAIN}");
    let mut params = pairs(&[
        ("CallSid", &cast.child),
        ("ParentCallSid", &cast.parent),
        ("AccountSid", ACCOUNT_SID),
        ("ApiVersion", "2010-04-01"),
        ("CallStatus", status),
        ("Direction", "outbound-dial"),
        ("From", &cast.customer),
        ("Caller", &cast.customer),
        ("To", &dispatcher),
        ("Called", &dispatcher),
    ]);
    if status == "completed" {
        params.extend(pairs(&[("CallDuration", "30"), ("Duration", "1"), ("SipResponseCode", "200")]));
    }
    progress(params, sequence, cast.start + Duration::seconds(seconds))
}

/// What every request about the parent says, with the geography that Twilio adds.
fn parent(cast: &Cast, status: &str) -> Vec<(String, String)> {
    pairs(&[
        ("CallSid", &cast.parent),
        ("AccountSid", ACCOUNT_SID),
        ("ApiVersion", "2010-04-01"),
        ("CallStatus", status),
        ("Direction", "inbound"),
        ("From", &cast.customer),
        ("Caller", &cast.customer),
        ("FromCity", "NEW BEDFORD"),
        ("FromState", "MA"),
        ("FromZip", "02740"),
        ("FromCountry", "US"),
        ("CallerCountry", "US"),
        ("To", OURS),
        ("Called", OURS),
        ("ToCity", ""),
        ("ToState", "MA"),
        ("ToZip", ""),
        ("ToCountry", "US"),
        ("CalledCountry", "US"),
    ])
}

fn progress(
    mut params: Vec<(String, String)>,
    sequence: &str,
    at: OffsetDateTime,
) -> anyhow::Result<Vec<(String, String)>> {
    params.extend(pairs(&[
        ("CallbackSource", "call-progress-events"),
        ("SequenceNumber", sequence),
        ("Timestamp", &at.format(&Rfc2822)?),
    ]));
    Ok(params)
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}
