//! What must hold when everything has settled after the kills.

use anyhow::{bail, ensure};
use serde_json::Value;
use sqlx::{Connection, PgConnection};

use super::ledger::{Ledger, content};
use super::subject::Subject;

/// Differences that are told.
const TOLD: usize = 5;

/// Rows of the log and of the inbox that contradict each other; each query must find nothing.
const CONTRADICTIONS: [(&str, &str); 5] = [
    (
        "readings that were given up",
        "select id, event_type, processing_status, error from twilio_webhook_inbox
          where processing_status in ('failed', 'dead_letter') and source not like 'twilio%'",
    ),
    (
        "webhooks that were not decided",
        "select id, processing_status, error from twilio_webhook_inbox
          where processing_status <> 'completed' and source like 'twilio%'",
    ),
    (
        "streams with a hole",
        "select aggregate_id, min(sequence), max(sequence), count(*) from call_events
          group by aggregate_type, aggregate_id
         having min(sequence) <> 1 or max(sequence) <> count(*)",
    ),
    (
        "events that no row of the inbox, or more than one, caused",
        "select e.id, e.aggregate_id, e.sequence, count(caused.id)
           from call_events e
           left join (select i.id, event ->> 'call_sid' as call_sid, (event ->> 'sequence')::bigint as sequence
                        from twilio_webhook_inbox i, jsonb_array_elements(i.outcome -> 'events') as event) caused
             on caused.call_sid = e.aggregate_id and caused.sequence = e.sequence
          where e.event_type <> 'call.frozen'
          group by e.id, e.aggregate_id, e.sequence
         having count(caused.id) <> 1",
    ),
    (
        "events that a row of the inbox caused and the log has not",
        "select i.id, event ->> 'call_sid', event ->> 'sequence'
           from twilio_webhook_inbox i, jsonb_array_elements(i.outcome -> 'events') as event
          where not exists (select from call_events e
                             where e.aggregate_id = event ->> 'call_sid'
                               and e.sequence = (event ->> 'sequence')::bigint
                               and e.event_type = event ->> 'type')",
    ),
];

/// Says what was compared.
pub(super) async fn check(subject: &Subject, ledger: &Ledger) -> anyhow::Result<String> {
    let mut connection = PgConnection::connect_with(&subject.database().await?).await?;
    let inbox: Vec<(String, Value)> =
        sqlx::query_as("select event_type, payload from twilio_webhook_inbox where source like 'twilio%'")
            .fetch_all(&mut connection)
            .await?;
    let rows = inbox.len();
    let differences =
        ledger.differences(inbox.iter().map(|(event_type, payload)| content(event_type, payload)));
    ensure!(
        differences.is_empty(),
        "{} differences between what was answered and the inbox:\n{}",
        differences.len(),
        differences[..differences.len().min(TOLD)].join("\n")
    );
    for (what, query) in CONTRADICTIONS {
        let query = format!("select to_jsonb(found) from ({query} limit {TOLD}) as found");
        let found: Vec<Value> = sqlx::query_scalar(&query).fetch_all(&mut connection).await?;
        if !found.is_empty() {
            bail!("{what}: {found:?}");
        }
    }
    let events: i64 =
        sqlx::query_scalar("select count(*) from call_events").fetch_one(&mut connection).await?;
    connection.close().await?;
    subject.verify().await?;
    Ok(format!("{rows} rows and {events} events agree"))
}
