//! The other door: what the REST API says becomes a row of the same inbox (seed 000, "Sync").

use serde_json::Value;
use sqlx::PgPool;
use time::OffsetDateTime;

use super::row::{self, Known, Row};

/// What was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Resource {
    /// A call, as the REST API has it (contract section 4.2).
    Call,
    /// A recording (contract section 4.4).
    Recording,
    /// A call that the REST API does not have, although it was told of.
    MissingCall,
}

impl Resource {
    pub const ALL: [Self; 3] = [Self::Call, Self::Recording, Self::MissingCall];

    /// As the column `event_type` has it.
    pub fn event_type(self) -> &'static str {
        match self {
            Self::Call => "call-resource",
            Self::Recording => "recording-resource",
            Self::MissingCall => "call-missing",
        }
    }
}

/// One answer of the REST API about one resource.
#[derive(Clone, Debug)]
pub struct Reading {
    /// The job that read it, as `source` has it.
    pub job: &'static str,
    pub resource: Resource,
    pub call_sid: Option<String>,
    pub recording_sid: Option<String>,
    /// Of all that is used of it: what differs in nothing else is not told twice.
    pub digest: String,
    /// As it came.
    pub payload: Value,
    pub read_at: OffsetDateTime,
}

/// Stores readings in one statement; gives the ids of those that say something new, or were given up before. Parents come first, so that a
/// child is decided after them (seed 001, "Parent-First Processing").
pub async fn store(pool: &PgPool, mut readings: Vec<Reading>) -> sqlx::Result<Vec<i64>> {
    if readings.is_empty() {
        return Ok(Vec::new());
    }
    // By one order everywhere, so that two who store the same could only wait for each other, not deadlock.
    readings.sort_by(|a, b| {
        let key = |reading: &Reading| (reading.resource == Resource::Recording, is_child(&reading.payload));
        key(a).cmp(&key(b)).then_with(|| {
            (&a.call_sid, &a.recording_sid, &a.digest).cmp(&(&b.call_sid, &b.recording_sid, &b.digest))
        })
    });
    readings.iter_mut().for_each(|reading| without_nul(&mut reading.payload));
    let rows: Vec<Row> = readings.into_iter().map(Row::of_reading).collect();
    let mut connection = pool.acquire().await?;
    row::insert(&mut connection, &rows, Known::Revives).await
}

fn is_child(call: &Value) -> bool {
    call.get("parent_call_sid").and_then(Value::as_str).is_some_and(|sid| !sid.is_empty())
}

/// `jsonb` cannot hold the character U+0000, and one call must not keep a page of others out.
fn without_nul(value: &mut Value) {
    match value {
        Value::String(text) if text.contains('\0') => *text = text.replace('\0', "\u{FFFD}"),
        Value::Array(values) => values.iter_mut().for_each(without_nul),
        Value::Object(fields) => {
            if fields.keys().any(|name| name.contains('\0')) {
                let named = std::mem::take(fields).into_iter();
                fields.extend(named.map(|(name, value)| (name.replace('\0', "\u{FFFD}"), value)));
            }
            fields.values_mut().for_each(without_nul);
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_jsonb_cannot_hold_is_replaced_wherever_it_stands() {
        let mut value = json!({ "a\u{0}": ["b\u{0}", { "c": "\u{0}" }], "d": "e" });
        without_nul(&mut value);
        assert_eq!(value, json!({ "a\u{FFFD}": ["b\u{FFFD}", { "c": "\u{FFFD}" }], "d": "e" }));
    }
}
