//! Why a call is what it is: each request that Twilio sent about its family, what came of it, and what each
//! event changed in the rows. For engineers, over REST and on the command line.

use std::collections::{BTreeMap, BTreeSet};

use domain::sid::CallSid;
use projections::generation::Snapshot;
use projections::history::{EventStep, History};
use projections::ids::IdKey;
use serde_json::Value;
use sqlx::PgPool;
use time::OffsetDateTime;

/// The whole story of a call and its kin.
#[derive(Clone, Debug)]
pub struct Explanation {
    pub asked: CallSid,
    /// The SID at the top of the family, whether that call has been seen or not.
    pub root: String,
    /// The calls of the family that anything was said of, by SID.
    pub calls: Vec<String>,
    /// In the order in which things were received, or appended by ourselves.
    pub steps: Vec<Step>,
    /// The last position of the log that the read model reflects.
    pub position: i64,
}

#[derive(Clone, Debug)]
pub enum Step {
    /// A request, and the events that it made.
    Received(Box<Received>, Vec<EventStep>),
    /// An event that no request made, or one that is kept no longer: the event has its `inbox_id` then.
    Recorded(Box<EventStep>),
}

/// A row of the inbox.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct Received {
    pub id: i64,
    /// `twilio_voice` and `twilio_recording` for webhooks, else the job that asked.
    pub source: String,
    pub event_type: String,
    pub call_sid: Option<String>,
    pub payload: Value,
    pub received_at: OffsetDateTime,
    pub processed_at: Option<OffsetDateTime>,
    pub processing_status: String,
    pub error: Option<String>,
    pub retry_count: i32,
    pub next_attempt_at: Option<OffsetDateTime>,
    outcome: Option<Value>,
    pub request_id: Option<String>,
}

impl Received {
    /// `recorded`, `already_so`, `refused`, `waiting`, `failed` (to be tried again) or `given_up`.
    pub fn result(&self) -> &str {
        let decided = self.outcome.as_ref().and_then(|outcome| outcome.get("result")?.as_str());
        match (decided, self.processing_status.as_str()) {
            (Some(result), _) => result,
            (None, "failed") => "failed",
            (None, "dead_letter") => "given_up",
            (None, _) => "waiting",
        }
    }

    /// The places of the events that it made, by stream and sequence.
    fn made(&self) -> impl Iterator<Item = (String, i64)> {
        let events = self.outcome.as_ref().and_then(|outcome| outcome.get("events")?.as_array());
        events.into_iter().flatten().filter_map(|event| {
            Some((event.get("call_sid")?.as_str()?.to_owned(), event.get("sequence")?.as_i64()?))
        })
    }
}

impl Step {
    fn at(&self) -> OffsetDateTime {
        match self {
            Self::Received(row, _) => row.received_at,
            Self::Recorded(step) => step.event.stored.recorded_at,
        }
    }
}

/// Nothing if neither the log nor the inbox has heard of the call.
pub async fn explain(pool: &PgPool, ids: &IdKey, asked: &CallSid) -> sqlx::Result<Option<Explanation>> {
    let mut snapshot = Snapshot::open(pool).await?;
    let History { root, calls, events } = snapshot.explain(ids, asked.as_str()).await?;
    let mut kin: BTreeSet<String> = calls.into_iter().collect();
    kin.extend([root.clone(), asked.as_str().to_owned()]);
    let received = received(&mut snapshot, &kin).await?;
    if received.is_empty() && events.is_empty() {
        return Ok(None);
    }
    let heard_of = |sid: &String| {
        events.iter().any(|step| step.event.stored.aggregate_id == *sid)
            || received.iter().any(|row| row.call_sid.as_ref() == Some(sid))
    };
    kin.retain(heard_of);
    let position = snapshot.position();
    let steps = in_order(received, events);
    Ok(Some(Explanation { asked: asked.clone(), root, calls: kin.into_iter().collect(), steps, position }))
}

/// Puts each event with the request that made it.
fn in_order(received: Vec<Received>, events: Vec<EventStep>) -> Vec<Step> {
    let mut unclaimed: BTreeMap<(String, i64), EventStep> = events
        .into_iter()
        .map(|step| ((step.event.stored.aggregate_id.clone(), step.event.stored.sequence), step))
        .collect();
    let mut steps: Vec<Step> = received
        .into_iter()
        .map(|row| {
            let made = row.made().filter_map(|place| unclaimed.remove(&place)).collect();
            Step::Received(Box::new(row), made)
        })
        .collect();
    let mut ours: Vec<EventStep> = unclaimed.into_values().collect();
    ours.sort_by_key(|step| step.event.stored.position);
    steps.extend(ours.into_iter().map(|step| Step::Recorded(Box::new(step))));
    // Stable: what came at one time stays in the order in which it was taken.
    steps.sort_by_key(Step::at);
    steps
}

async fn received(snapshot: &mut Snapshot, calls: &BTreeSet<String>) -> sqlx::Result<Vec<Received>> {
    let calls: Vec<&str> = calls.iter().map(String::as_str).collect();
    sqlx::query_as(
        "select id, source, event_type, call_sid, payload, received_at, processed_at, processing_status, error,
                retry_count, next_attempt_at, outcome, request_id
           from twilio_webhook_inbox
          where call_sid = any($1)
          order by received_at, id",
    )
    .bind(calls)
    .fetch_all(snapshot.connection())
    .await
}

/// Where Twilio keeps a recording is nobody's business: who has that address may have the recording.
pub fn without_media(mut value: Value) -> Value {
    hide_media(&mut value);
    value
}

fn hide_media(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                match name.as_str() {
                    // A parameter that was given twice is a list of texts.
                    "url" | "RecordingUrl" | "media_url" | "uri" | "subresource_uris" if !value.is_null() => {
                        *value = "(not shown)".into();
                    }
                    _ => hide_media(value),
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(hide_media),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn no_address_of_media_is_shown_in_whatever_form_it_came() {
        for name in ["url", "RecordingUrl", "media_url", "uri", "subresource_uris"] {
            for value in [json!("https://x"), json!(["https://x", "https://x"]), json!({ "a": "https://x" })]
            {
                let said = json!({ "CallSid": "CA", "also": [{ name: value }] });
                let expected = json!({ "CallSid": "CA", "also": [{ name: "(not shown)" }] });
                assert_eq!(without_media(said), expected);
            }
        }
    }

    #[test]
    fn that_there_is_no_address_is_shown() {
        assert_eq!(without_media(json!({ "RecordingUrl": null })), json!({ "RecordingUrl": null }));
    }
}
