//! The stored form of every event type, in every version that was ever written.
//!
//! The log is kept for ever, so what is in `golden/` must always load, and must be written as it stands. A file
//! there is never edited: a change of the format is a new version, with a new file beside the old one.

#![expect(clippy::unwrap_used, reason = "a test that fails panics")]

use std::collections::BTreeSet;

use domain::call::event::DecodeError;
use domain::call::facts::{RecordingStatus, StartBasis};
use domain::call::{Authority, CallEvent, CallStatus, Facts, upcast};
use domain::direction::{Classification, Direction, Party, Rule};
use domain::phone::{Address, PhoneNumber};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Event type, version and stored payload; of each type the oldest version first.
const GOLDEN: [(&str, &str, &str); 9] = [
    ("call.created", "1", include_str!("golden/call.created.v1.json")),
    ("call.status_changed", "1", include_str!("golden/call.status_changed.v1.json")),
    ("call.status_changed", "1", include_str!("golden/call.status_changed.v1.given_up.json")),
    ("call.dial_completed", "1", include_str!("golden/call.dial_completed.v1.json")),
    ("call.dial_completed", "2", include_str!("golden/call.dial_completed.v2.json")),
    ("recording.ready", "1", include_str!("golden/recording.ready.v1.json")),
    ("call.details_reconciled", "1", include_str!("golden/call.details_reconciled.v1.json")),
    ("call.reclassified", "1", include_str!("golden/call.reclassified.v1.json")),
    ("call.frozen", "1", include_str!("golden/call.frozen.v1.json")),
];

/// What is written today.
fn current() -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    let formats = CallEvent::FORMATS;
    GOLDEN.into_iter().filter(move |(event_type, version, _)| {
        formats.iter().any(|format| format.event_type == *event_type && format.version == *version)
    })
}

fn golden(event_type: &str) -> CallEvent {
    let (_, version, payload) = current().find(|(name, ..)| *name == event_type).unwrap();
    CallEvent::decode(event_type, version, payload).unwrap()
}

#[test]
fn every_version_that_can_be_read_has_a_golden_payload() {
    let today: Vec<&str> = CallEvent::FORMATS.iter().map(|format| format.event_type).collect();
    let mut written: Vec<&str> = current().map(|(name, ..)| name).collect();
    written.dedup();
    assert_eq!(written, today);
    for event_type in today {
        let readable: Vec<String> =
            (0..=99).map(|n| n.to_string()).filter(|n| upcast::CURRENT.reads(event_type, n)).collect();
        let mut golden: Vec<&str> = GOLDEN
            .into_iter()
            .filter(|(name, ..)| *name == event_type)
            .map(|(_, version, _)| version)
            .collect();
        golden.dedup();
        assert_eq!(readable, golden, "{event_type}");
    }
}

#[test]
fn every_golden_payload_loads_by_its_columns() {
    for (event_type, version, payload) in GOLDEN {
        let event = CallEvent::decode(event_type, version, payload).unwrap();
        assert_eq!(event.type_name(), event_type);
        assert_eq!(serde_json::from_str::<Value>(payload).unwrap()["type"], event_type);
    }
}

#[test]
fn every_current_golden_payload_loads_by_its_tag_and_is_written_as_it_was_read() {
    for (event_type, version, payload) in current() {
        let event = CallEvent::decode(event_type, version, payload).unwrap();
        assert_eq!(event.version(), version);
        assert_eq!(serde_json::from_str::<CallEvent>(payload).unwrap(), event);
        let stored: Value = serde_json::from_str(payload).unwrap();
        assert_eq!(serde_json::to_value(event).unwrap(), stored, "{event_type}");
    }
}

#[test]
fn a_dial_that_was_stored_as_a_whole_report_reads_as_the_status_it_is_stored_as_today() {
    let old = include_str!("golden/call.dial_completed.v1.json");
    assert_eq!(CallEvent::decode("call.dial_completed", "1", old).unwrap(), golden("call.dial_completed"));
    let under_the_wrong_version = CallEvent::decode("call.dial_completed", "2", old).unwrap_err();
    assert!(matches!(under_the_wrong_version, DecodeError::Payload { .. }), "{under_the_wrong_version}");
}

#[test]
fn a_golden_payload_means_what_it_says() {
    let created = golden("call.created").into_change();
    assert_eq!(created.facts.from, Some(Address::caller("+15085140320")));
    assert_eq!(created.facts.to, Some(Address::callee("sip:dispatcher@abchomes.sip.us1.twilio.com")));
    assert_eq!(
        created.classification,
        Some(Classification {
            direction: Direction::Inbound,
            party: Some(Party::Number(PhoneNumber::try_new("+15085140320").unwrap())),
            rule: Rule::Endpoint,
        })
    );
    let facts = golden("call.status_changed").into_change().facts;
    let status = facts.status.unwrap();
    assert_eq!((status.status, status.authority), (CallStatus::Completed, Authority::Callback));
    assert_eq!(facts.started.unwrap().basis, StartBasis::Computed);
    assert_eq!(facts.duration.unwrap().seconds, 29);
    let recordings = golden("recording.ready").into_change().facts.recordings;
    assert!(recordings.values().all(|recording| recording.status == RecordingStatus::Completed));
    let price = golden("call.details_reconciled").into_change().facts.price.unwrap();
    assert_eq!((price.amount.to_string(), price.unit.as_str()), ("-0.00850".to_owned(), "USD"));
}

#[test]
fn between_them_the_golden_payloads_hold_every_fact() {
    let mut all = Facts::default();
    for (event_type, version, payload) in current() {
        all.join(CallEvent::decode(event_type, version, payload).unwrap().into_change().facts);
    }
    // Without `..`, so that a new field does not compile until a golden payload holds it.
    let Facts {
        from,
        to,
        twilio_direction,
        parent_call_sid,
        forwarded_from,
        caller_name,
        status,
        started,
        answered,
        ended,
        end_reason,
        duration,
        last_event_time,
        answered_by,
        price,
        queue_time,
        dials,
        recordings,
    } = all;
    assert!(from.is_some() && to.is_some() && twilio_direction.is_some() && parent_call_sid.is_some());
    assert!(forwarded_from.is_some() && caller_name.is_some() && status.is_some() && started.is_some());
    assert!(
        answered.is_some()
            && ended.is_some()
            && end_reason.is_some()
            && duration.is_some()
            && last_event_time.is_some()
    );
    assert!(answered_by.is_some() && price.is_some() && queue_time.is_some());
    assert!(!dials.is_empty() && !recordings.is_empty());
}

/// Asserts that these are all stored under these names, and read back from them.
fn stored_as<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(
    names: impl IntoIterator<Item = (T, &'static str)>,
) {
    let mut seen = BTreeSet::new();
    for (value, name) in names {
        let json: Value = serde_json::from_str(name).unwrap();
        assert_eq!(serde_json::to_value(&value).unwrap(), json);
        assert_eq!(serde_json::from_value::<T>(json).unwrap(), value);
        assert!(seen.insert(name), "{name} is stored for two values");
    }
}

#[test]
fn every_word_that_an_event_may_hold_is_stored_under_its_name() {
    stored_as([
        (Authority::Derived, r#""derived""#),
        (Authority::Callback, r#""callback""#),
        (Authority::Rest, r#""rest""#),
    ]);
    stored_as([
        (StartBasis::Received, r#""received""#),
        (StartBasis::Computed, r#""computed""#),
        (StartBasis::Stated, r#""stated""#),
        (StartBasis::Rest, r#""rest""#),
    ]);
    stored_as([
        (CallStatus::Queued, r#""queued""#),
        (CallStatus::Initiated, r#""initiated""#),
        (CallStatus::Ringing, r#""ringing""#),
        (CallStatus::InProgress, r#""in-progress""#),
        (CallStatus::Canceled, r#""canceled""#),
        (CallStatus::NoAnswer, r#""no-answer""#),
        (CallStatus::Busy, r#""busy""#),
        (CallStatus::Failed, r#""failed""#),
        (CallStatus::Completed, r#""completed""#),
    ]);
    stored_as([
        (RecordingStatus::InProgress, r#""in-progress""#),
        (RecordingStatus::Processing, r#""processing""#),
        (RecordingStatus::Absent, r#""absent""#),
        (RecordingStatus::Failed, r#""failed""#),
        (RecordingStatus::Completed, r#""completed""#),
    ]);
    stored_as([
        (Direction::Inbound, r#""inbound""#),
        (Direction::Outbound, r#""outbound""#),
        (Direction::Internal, r#""internal""#),
        (Direction::External, r#""external""#),
    ]);
    stored_as([
        (Rule::Endpoint, r#""endpoint""#),
        (Rule::OwnedNumber, r#""owned_number""#),
        (Rule::BothEndpoints, r#""both_endpoints""#),
        (Rule::TwilioDirection, r#""twilio_direction""#),
        (Rule::Undetermined, r#""undetermined""#),
    ]);
}

#[test]
fn every_side_and_every_party_is_stored_under_its_name() {
    let from = |raw| Address::caller(raw).identity;
    stored_as([
        (Address::callee("").identity, r#""nobody""#),
        (from("12"), r#""malformed""#),
        (from("anonymous"), r#""withheld""#),
        (from("12345"), r#"{"short_code":"12345"}"#),
        (from("ABCHOMES"), r#"{"name":"ABCHOMES"}"#),
        (from("client:alice"), r#"{"client":"alice"}"#),
        (from("sip:bob@pbx.example.com"), r#"{"sip":{"user":"bob","host":"pbx.example.com"}}"#),
        (from("sip:pbx.example.com"), r#"{"sip":{"user":null,"host":"pbx.example.com"}}"#),
        (from("+15085140320"), r#"{"number":"+15085140320"}"#),
    ]);
    stored_as([
        (Party::Withheld, r#""withheld""#),
        (Party::ShortCode("12345".to_owned()), r#"{"short_code":"12345"}"#),
        (Party::Name("ABCHOMES".to_owned()), r#"{"name":"ABCHOMES"}"#),
        (Party::Number(PhoneNumber::try_new("+15085140320").unwrap()), r#"{"number":"+15085140320"}"#),
    ]);
}

#[test]
fn an_unknown_type_or_version_is_named() {
    let payload = GOLDEN[0].2;
    for (event_type, version) in [
        ("call.abducted", "1"),
        ("call.created", "2"),
        ("call.created", ""),
        ("Call.Created", "1"),
        ("call.dial_completed", "3"),
    ] {
        let error = CallEvent::decode(event_type, version, payload).unwrap_err();
        assert!(
            matches!(&error, DecodeError::Unknown { event_type: named, version: v } if named == event_type && v == version)
        );
        assert_eq!(
            error.to_string(),
            format!(
                "event type {event_type:?} in version {version:?} is not known to this callbook; run a newer one"
            )
        );
    }
}

#[test]
fn a_payload_that_cannot_be_read_names_its_type_and_quotes_nothing() {
    for payload in ["", "{}", "[]", &GOLDEN[0].2.replace("in-progress", "on hold")] {
        let error = CallEvent::decode("call.created", "1", payload).unwrap_err();
        let said = error.to_string();
        assert!(said.starts_with("the payload of a call.created event cannot be read beyond"), "{said}");
        assert!(!said.contains("on hold"), "a payload is personal: {said}");
    }
}

#[test]
fn a_payload_with_more_than_this_version_knows_still_loads() {
    let mut payload: Value = serde_json::from_str(GOLDEN[0].2).unwrap();
    payload["facts"]["mood"] = "cheerful".into();
    assert_eq!(CallEvent::decode("call.created", "1", &payload.to_string()).unwrap(), golden("call.created"));
}
