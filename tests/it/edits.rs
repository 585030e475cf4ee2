//! What people enter comes in between the reports about calls. Wherever it comes, and however the log is cut into batches,
//! the rows are the same, and mean what they say.

use callbook::event_store::NewEvent;
use callbook::ingest::report;
use callbook::twilio::form::Form;
use cqrs_es::{Aggregate, DomainEvent};
use domain::call::Call;
use domain::contact::{Contact, ContactEvent, Name, Tags};
use domain::conversation::{Conversation, ConversationEvent};
use domain::direction::{Lines, Party};
use domain::phone::PhoneNumber;
use projections::conversations::{self, Fold};
use projections::generation::Generation;
use projections::ids::IdKey;
use projections::log::StoredEvent;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use sqlx::{Connection, PgConnection};
use time::macros::datetime;
use time::{Duration, OffsetDateTime};

use crate::order::{Report, Rows, family, rows};
use crate::support::database::TestDatabase;
use crate::support::{CUSTOMER, OURS};

const START: OffsetDateTime = datetime!(2026-02-08 06:11:00 UTC);

#[test]
fn edits_and_calls_in_any_order_and_in_any_batches_leave_equal_rows() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (database, mut connection) = runtime.block_on(async {
        let database = TestDatabase::create().await;
        let connection = PgConnection::connect_with(&database.options()).await.unwrap();
        (database, connection)
    });
    let mut runner = TestRunner::new(Config { cases: 100, failure_persistence: None, ..Config::default() });
    let connection = std::cell::RefCell::new(&mut connection);
    let places = vec((any::<prop::sample::Index>(), 1_usize..4), 12..13);
    runner
        .run(&(family(), vec(edit(), 0..12), places), |(reports, edits, places)| {
            let mut connection = connection.borrow_mut();
            let events = decided(&reports);
            let after: Vec<NewEvent> = events.iter().chain(&edits).cloned().collect();
            let expected = runtime.block_on(folded(&mut connection, &after, &[usize::MAX]));
            let mut mixed = events;
            // Each stream stays in its order: later edits come at later places.
            let mut at: Vec<usize> = places.iter().map(|(place, _)| place.index(mixed.len() + 1)).collect();
            at.sort_unstable();
            for (place, edit) in at.into_iter().zip(edits).rev() {
                mixed.insert(place, edit);
            }
            let batches: Vec<usize> = places.iter().map(|(_, size)| *size).collect();
            let found = runtime.block_on(folded(&mut connection, &mixed, &batches));
            for (table, rows) in &expected {
                prop_assert_eq!(rows, &found[table], "rows of {}", table);
            }
            Ok(())
        })
        .unwrap();
    drop(database);
}

/// What the reports come to, in the order of the calls' streams.
fn decided(reports: &[Report]) -> Vec<NewEvent> {
    let lines = Lines::new([PhoneNumber::try_new(OURS).unwrap()], "abchomes.sip.us1.twilio.com");
    let mut calls: std::collections::BTreeMap<String, Call> = std::collections::BTreeMap::new();
    let mut events = Vec::new();
    for report in reports {
        let payload = Form(report.params.clone()).to_json();
        let (sid, command) =
            report::command(report.endpoint.event_type(), &payload, report.received_at, &lines).unwrap();
        let call = calls.entry(sid.to_string()).or_default();
        for event in call.decide(command).unwrap_or_default() {
            events.push(new_event::<Call>(sid.as_str(), &event));
            call.apply(event);
        }
    }
    events
}

/// Something that somebody enters about the customer, or about withheld callers, in a log that may hold anything.
pub fn edit() -> impl Strategy<Value = NewEvent> {
    let second = (-5_i64..70).prop_map(|second| START + Duration::seconds(second));
    prop_oneof![
        2 => Just(ContactEvent::Added { occurred_at: START, party: customer() }).prop_map(|event| of_contact(&event)),
        2 => prop::sample::select(vec![None, Some("Ann"), Some("Bob")]).prop_map(|name| {
            let name = name.map(|name| Name::try_new(name).unwrap());
            of_contact(&ContactEvent::Renamed { occurred_at: START, party: customer(), name })
        }),
        1 => prop::sample::subsequence(vec!["VIP", "late payer"], 0..3).prop_map(|tags| {
            let tags = Tags::try_new(tags).unwrap();
            of_contact(&ContactEvent::TagsChanged { occurred_at: START, party: customer(), tags })
        }),
        3 => (any::<bool>(), second.clone()).prop_map(|(withheld, up_to)| {
            of_conversation(withheld, &ConversationEvent::Archived { occurred_at: START, up_to })
        }),
        1 => any::<bool>().prop_map(|withheld| {
            of_conversation(withheld, &ConversationEvent::Unarchived { occurred_at: START })
        }),
        4 => (any::<bool>(), second).prop_map(|(withheld, up_to)| {
            of_conversation(withheld, &ConversationEvent::Read { occurred_at: START, up_to })
        }),
    ]
}

fn customer() -> Party {
    Party::Number(PhoneNumber::try_new(CUSTOMER).unwrap())
}

fn of_contact(event: &ContactEvent) -> NewEvent {
    new_event::<Contact>(CUSTOMER, event)
}

fn of_conversation(withheld: bool, event: &ConversationEvent) -> NewEvent {
    new_event::<Conversation>(if withheld { "withheld" } else { CUSTOMER }, event)
}

/// Without a place in its stream yet.
fn new_event<A: Aggregate>(aggregate_id: &str, event: &impl DomainEvent) -> NewEvent {
    NewEvent {
        aggregate_type: A::TYPE,
        aggregate_id: aggregate_id.to_owned(),
        sequence: 0,
        event_type: event.event_type(),
        event_version: event.event_version(),
        payload: serde_json::to_string(event).unwrap(),
        metadata: "{}".to_owned(),
    }
}

/// Folds the events, so many a batch, and returns what that leaves.
async fn folded(connection: &mut PgConnection, events: &[NewEvent], batches: &[usize]) -> Rows {
    let ids = IdKey::new(&[7; 32]);
    let mut sequences: std::collections::BTreeMap<(&str, &str), i64> = std::collections::BTreeMap::new();
    let mut tx = connection.begin().await.unwrap();
    let generation = Generation::current(&mut tx).await.unwrap();
    let (mut rest, mut position) = (events, 0);
    let mut sizes = batches.iter().cycle();
    while !rest.is_empty() {
        let (batch, after) = rest.split_at((*sizes.next().unwrap()).min(rest.len()));
        rest = after;
        let batch: Vec<StoredEvent> = batch
            .iter()
            .map(|event| {
                position += 1;
                let sequence = sequences.entry((event.aggregate_type, &event.aggregate_id)).or_default();
                *sequence += 1;
                StoredEvent {
                    position,
                    aggregate_type: event.aggregate_type.to_owned(),
                    aggregate_id: event.aggregate_id.clone(),
                    sequence: *sequence,
                    event_type: event.event_type.clone(),
                    event_version: event.event_version.clone(),
                    payload: event.payload.clone(),
                    recorded_at: START + Duration::seconds(position),
                }
            })
            .collect();
        conversations::fold(&mut tx, generation, &Fold::from(&ids), &batch).await.unwrap();
        assert_eq!(amiss(&mut tx, generation).await, Vec::<String>::new());
    }
    let rows = rows(&mut tx, generation).await;
    tx.rollback().await.unwrap();
    rows
}

/// The threads that do not say what the definitions say: of what is unread, of what is archived, and of what it is called.
async fn amiss(connection: &mut PgConnection, generation: Generation) -> Vec<String> {
    let query = format!(
        "select c.external_id
           from {generation}.conversations c
           left join {generation}.entered e on e.conversation_id = c.id
           left join {generation}.contacts t on t.id = c.contact_id
          where c.unread_count <> (
                select count(*) from {generation}.messages m
                 where m.conversation_id = c.id and m.entry and m.direction = 'inbound' and m.missed
                   and (e.read_up_to is null or coalesce(m.end_time, m.start_time) > e.read_up_to))
             or (c.status = 'archived') <> (e.archived_up_to is not null and not exists (
                select from {generation}.messages m
                 where m.conversation_id = c.id and m.entry and m.direction = 'inbound'
                   and m.start_time > e.archived_up_to))
             or t.name is distinct from e.name"
    );
    sqlx::query_scalar(&query).fetch_all(connection).await.unwrap()
}
