//! Arrival order cannot matter: for the reports of one family, every processing order, repetition and batch
//! split leaves the same rows and the same aggregates.
//!
//! Each report keeps its own receive time; only the order in which reports are decided and folded changes.
//! Everything runs in one transaction that is rolled back, so that thousands of histories fit in a test.

use std::collections::BTreeMap;

use callbook::ingest::Endpoint;
use callbook::ingest::report;
use callbook::twilio::form::Form;
use cqrs_es::Aggregate;
use domain::call::Call;
use domain::direction::Lines;
use domain::phone::PhoneNumber;
use projections::conversations::{self, Fold};
use projections::generation::Generation;
use projections::ids::IdKey;
use projections::log::StoredEvent;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::Value;
use sqlx::{Connection, PgConnection};
use time::macros::datetime;
use time::{Duration, OffsetDateTime};

use crate::support::client::{Pairs, dial_action, incoming, lasting, status};
use crate::support::database::TestDatabase;
use crate::support::{CUSTOMER, DISPATCHER, OURS, call_sid, pairs};

/// One thing that Twilio said, and when we heard it.
#[derive(Clone, Debug)]
pub struct Report {
    pub endpoint: Endpoint,
    pub params: Pairs,
    pub received_at: OffsetDateTime,
}

/// The rows of every table of the read model, without the columns that say when and in which order things were recorded.
pub type Rows = BTreeMap<&'static str, Vec<Value>>;

const START: OffsetDateTime = datetime!(2026-02-08 06:11:00 UTC);

#[test]
fn order_repetition_and_batches_leave_equal_rows_and_equal_aggregates() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (database, mut connection) = runtime.block_on(async {
        let database = TestDatabase::create().await;
        let connection = PgConnection::connect_with(&database.options()).await.unwrap();
        (database, connection)
    });
    let mut runner = TestRunner::new(Config { cases: 150, failure_persistence: None, ..Config::default() });
    let connection = std::cell::RefCell::new(&mut connection);
    runner
        .run(&(family(), vec((any::<prop::sample::Index>(), 1_usize..4), 1..40)), |(reports, picks)| {
            let mut connection = connection.borrow_mut();
            let in_order: Vec<&Report> = reports.iter().collect();
            let expected = runtime.block_on(outcome(&mut connection, &in_order, &[usize::MAX]));
            // Picked reports first, some of them more than once; then every report, so that none is missing.
            let mut shuffled: Vec<&Report> = picks.iter().map(|(index, _)| index.get(&reports)).collect();
            shuffled.extend(reports.iter().rev());
            let batches: Vec<usize> = picks.iter().map(|(_, size)| *size).collect();
            let found = runtime.block_on(outcome(&mut connection, &shuffled, &batches));
            prop_assert_eq!(&expected.0, &found.0, "aggregates");
            for (table, rows) in &expected.1 {
                prop_assert_eq!(rows, &found.1[table], "rows of {}", table);
            }
            Ok(())
        })
        .unwrap();
    drop(database);
}

/// Decides and folds the reports in this order, so many a batch, and returns what that leaves.
async fn outcome(
    connection: &mut PgConnection,
    reports: &[&Report],
    batches: &[usize],
) -> (BTreeMap<String, Call>, Rows) {
    let lines = Lines::new([PhoneNumber::try_new(OURS).unwrap()], "abchomes.sip.us1.twilio.com");
    let ids = IdKey::new(&[7; 32]);
    let mut calls: BTreeMap<String, Call> = BTreeMap::new();
    let mut sequences: BTreeMap<String, i64> = BTreeMap::new();
    let mut position = 0;
    let mut tx = connection.begin().await.unwrap();
    let generation = Generation::current(&mut tx).await.unwrap();
    let mut rest = reports;
    let mut sizes = batches.iter().cycle();
    while !rest.is_empty() {
        let (batch, after) = rest.split_at((*sizes.next().unwrap()).min(rest.len()));
        rest = after;
        let mut events = Vec::new();
        for report in batch {
            let payload = Form(report.params.clone()).to_json();
            let (sid, command) =
                report::command(report.endpoint.event_type(), &payload, report.received_at, &lines).unwrap();
            let call = calls.entry(sid.to_string()).or_default();
            let Ok(decided) = call.decide(command) else { continue };
            for event in decided {
                position += 1;
                let sequence = sequences.entry(sid.to_string()).or_default();
                *sequence += 1;
                events.push(StoredEvent {
                    position,
                    aggregate_type: Call::TYPE.to_owned(),
                    aggregate_id: sid.to_string(),
                    sequence: *sequence,
                    event_type: event.type_name().to_owned(),
                    event_version: event.version().to_owned(),
                    payload: serde_json::to_string(&event).unwrap(),
                    recorded_at: START + Duration::seconds(position),
                });
                call.apply(event);
            }
        }
        conversations::fold(&mut tx, generation, &Fold::from(&ids), &events).await.unwrap();
    }
    let rows = rows(&mut tx, generation).await;
    tx.rollback().await.unwrap();
    (calls, rows)
}

pub async fn rows(connection: &mut PgConnection, generation: Generation) -> Rows {
    let mut rows = Rows::new();
    for (table, key) in [
        ("call_legs", "call_sid"),
        ("contacts", "id"),
        ("conversations", "id"),
        ("entered", "conversation_id"),
        ("messages", "id"),
        ("totals", "name"),
    ] {
        let query = format!(
            "select to_jsonb(r) - 'created_at' - 'updated_at' - 'former_parties' - 'contact_created_at'
                    - 'contact_updated_at' - 'state_updated_at' from {generation}.{table} r order by {key}"
        );
        rows.insert(table, sqlx::query_scalar(&query).fetch_all(&mut *connection).await.unwrap());
    }
    rows
}

/// Reports about a root, two children and a grandchild: plausible ones, contradicting ones, and strange ones.
pub fn family() -> impl Strategy<Value = Vec<Report>> {
    vec((report(), 0_i64..600_000), 1..14).prop_map(|reports| {
        let mut seen = std::collections::BTreeSet::new();
        reports
            .into_iter()
            .filter(|((endpoint, params), _)| seen.insert((endpoint.event_type(), format!("{params:?}"))))
            .map(|((endpoint, params), milliseconds)| Report {
                endpoint,
                params,
                received_at: START + Duration::milliseconds(milliseconds),
            })
            .collect()
    })
}

fn report() -> impl Strategy<Value = (Endpoint, Pairs)> {
    prop_oneof![
        2 => (caller(), callee()).prop_map(|(from, to)| (Endpoint::VoiceInbound, incoming(&root(), from, to))),
        6 => (leg(), caller(), callee(), any_status(), 0_u32..5, second(), 0_u32..200).prop_map(
            |((sid, parent), from, to, state, sequence, at, seconds)| {
                let params = status(&sid, parent.as_deref(), from, to, state, sequence, &at);
                let params = if seconds > 0 { lasting(params, seconds) } else { params };
                (Endpoint::VoiceStatus, params)
            }
        ),
        3 => (1_u32..4, caller(), any_dial_status(), 0_u32..100).prop_map(|(child, from, state, seconds)| {
            (Endpoint::DialAction, dial_action(&root(), &call_sid(child), from, OURS, state, seconds))
        }),
        // A report that says nothing of who calls whom, and one that mentions a recording.
        1 => (leg(), any_status(), 0_u32..5, second(), 1_u32..3).prop_map(
            |((sid, _), state, sequence, at, recording)| {
                let mut params = status(&sid, None, CUSTOMER, OURS, state, sequence, &at);
                params.retain(|(name, _)| !["From", "To", "Direction"].contains(&name.as_str()));
                params.extend(pairs(&[("RecordingSid", &format!("RE{recording:032}"))]));
                (Endpoint::VoiceStatus, params)
            }
        ),
        2 => (leg(), 1_u32..3, recording_status(), second()).prop_map(|((sid, _), recording, state, at)| {
            (Endpoint::RecordingStatus, pairs(&[
                ("CallSid", &sid),
                ("RecordingSid", &format!("RE{recording:032}")),
                ("RecordingStatus", state),
                ("RecordingDuration", "12"),
                ("RecordingStartTime", &at),
                ("RecordingUrl", "https://api.twilio.com/recordings/RE1"),
            ]))
        }),
    ]
}

fn root() -> String {
    call_sid(0)
}

/// The root, its children 1 and 2, and 3, which is a child of 1.
///
/// Now and then a report leaves the parent out, or names another one.
fn leg() -> impl Strategy<Value = (String, Option<String>)> {
    (0_u32..4, prop::option::weighted(0.1, prop::option::of(0_u32..6))).prop_map(|(n, strange)| {
        let parent = match n {
            0 => None,
            3 => Some(call_sid(1)),
            _ => Some(root()),
        };
        let parent = strange.map_or(parent, |other| other.map(call_sid));
        (call_sid(n), parent.filter(|parent| *parent != call_sid(n)))
    })
}

fn caller() -> impl Strategy<Value = &'static str> {
    prop_oneof![
        6 => Just(CUSTOMER),
        1 => Just("sip:+15085140320@carrier.example"),
        1 => Just("+19788447773"),
        1 => Just("anonymous"),
        1 => Just(DISPATCHER),
        1 => Just("client:alice"),
        1 => Just("12"),
        1 => Just(""),
        1 => Just("withheld"),
    ]
}

fn callee() -> impl Strategy<Value = &'static str> {
    prop_oneof![5 => Just(OURS), 2 => Just(DISPATCHER), 1 => Just(CUSTOMER), 1 => Just("")]
}

fn any_status() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "queued",
        "initiated",
        "ringing",
        "in-progress",
        "completed",
        "busy",
        "failed",
        "no-answer",
        "canceled",
    ])
}

fn any_dial_status() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["completed", "answered", "busy", "no-answer", "failed", "canceled"])
}

fn recording_status() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["in-progress", "completed", "absent"])
}

fn second() -> impl Strategy<Value = String> {
    (0_u8..60).prop_map(|second| format!("Sun, 08 Feb 2026 06:11:{second:02} +0000"))
}
