//! Payloads of what people enter, as they stand in logs: they must always load, and mean what they meant.

#![expect(clippy::unwrap_used, reason = "a test that fails panics")]

use cqrs_es::DomainEvent;
use domain::contact::{self, ContactEvent, Name, Notes, Tags};
use domain::conversation::{self, ConversationEvent};
use domain::direction::Party;
use domain::phone::PhoneNumber;
use domain::upcast::{DecodeError, Format, Upcasters};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use time::OffsetDateTime;
use time::macros::datetime;

type Golden = (&'static str, &'static str, &'static str);

const OF_CONTACTS: [Golden; 5] = [
    ("contact.added", "1", include_str!("golden/contact.added.v1.json")),
    ("contact.renamed", "1", include_str!("golden/contact.renamed.v1.json")),
    ("contact.renamed", "1", include_str!("golden/contact.renamed.v1.removed.json")),
    ("contact.notes_changed", "1", include_str!("golden/contact.notes_changed.v1.json")),
    ("contact.tags_changed", "1", include_str!("golden/contact.tags_changed.v1.json")),
];

const OF_CONVERSATIONS: [Golden; 3] = [
    ("conversation.archived", "1", include_str!("golden/conversation.archived.v1.json")),
    ("conversation.unarchived", "1", include_str!("golden/conversation.unarchived.v1.json")),
    ("conversation.read", "1", include_str!("golden/conversation.read.v1.json")),
];

const AT: OffsetDateTime = datetime!(2026-03-10 03:00:00.019 UTC);

/// Asserts that every version that can be read has a payload, and that each payload is written as it was read.
fn hold<E>(golden: &[Golden], formats: &[Format], readable: Upcasters)
where
    E: DomainEvent + Serialize + DeserializeOwned,
{
    let mut kinds: Vec<(&str, String)> = golden.iter().map(|(kind, v, _)| (*kind, (*v).to_owned())).collect();
    kinds.dedup();
    let can_be_read: Vec<(&str, String)> = formats
        .iter()
        .flat_map(|format| (0..=99).map(|n| (format.event_type, n.to_string())))
        .filter(|(event_type, version)| readable.reads(event_type, version))
        .collect();
    assert_eq!(kinds, can_be_read);
    for (event_type, version, payload) in golden {
        let event: E = readable.decode(event_type, version, payload).unwrap();
        assert_eq!((event.event_type().as_str(), event.event_version().as_str()), (*event_type, *version));
        let stored: Value = serde_json::from_str(payload).unwrap();
        assert_eq!(serde_json::to_value(event).unwrap(), stored, "{event_type}");
    }
}

#[test]
fn every_golden_payload_loads_and_is_written_as_it_was_read() {
    hold::<ContactEvent>(&OF_CONTACTS, &ContactEvent::FORMATS, contact::event::READABLE);
    hold::<ConversationEvent>(&OF_CONVERSATIONS, &ConversationEvent::FORMATS, conversation::event::READABLE);
}

#[test]
fn a_golden_payload_means_what_it_says() {
    let contact = |nth: usize| {
        let (event_type, version, payload) = OF_CONTACTS[nth];
        ContactEvent::decode(event_type, version, payload).unwrap()
    };
    let number = Party::Number(PhoneNumber::try_new("+15085140320").unwrap());
    assert_eq!(contact(0), ContactEvent::Added { occurred_at: AT, party: number.clone() });
    let name = Some(Name::try_new("Zoë O’Hara").unwrap());
    assert_eq!(contact(1), ContactEvent::Renamed { occurred_at: AT, party: number, name });
    let party = Party::Name("ABCHOMES".to_owned());
    assert_eq!(contact(2), ContactEvent::Renamed { occurred_at: AT, party, name: None });
    let party = Party::of_kind("sip", "sip:bob@pbx.example.com").unwrap();
    let notes = Some(Notes::try_new("Calls at night.\nAsk for Bob.").unwrap());
    assert_eq!(contact(3), ContactEvent::NotesChanged { occurred_at: AT, party, notes });
    let party = Party::ShortCode("12345".to_owned());
    let tags = Tags::try_new(["VIP", "late payer"]).unwrap();
    assert_eq!(contact(4), ContactEvent::TagsChanged { occurred_at: AT, party, tags });

    let conversation = |nth: usize| {
        let (event_type, version, payload) = OF_CONVERSATIONS[nth];
        ConversationEvent::decode(event_type, version, payload).unwrap()
    };
    let up_to = datetime!(2026-02-08 06:11 UTC);
    assert_eq!(conversation(0), ConversationEvent::Archived { occurred_at: AT, up_to });
    assert_eq!(conversation(1), ConversationEvent::Unarchived { occurred_at: AT });
    let up_to = datetime!(2026-02-08 06:11:29 UTC);
    assert_eq!(conversation(2), ConversationEvent::Read { occurred_at: AT, up_to });
}

#[test]
fn what_was_entered_under_other_limits_still_loads() {
    let payload = OF_CONTACTS[1].2.replace("Zoë O’Hara", &"x".repeat(999));
    assert!(ContactEvent::decode("contact.renamed", "1", &payload).is_ok());
}

#[test]
fn a_payload_that_cannot_be_read_quotes_nothing() {
    let payload = OF_CONTACTS[1].2;
    for (event_type, version) in [("contact.renamed", "2"), ("contact.vanished", "1"), ("call.created", "1")]
    {
        let error = ContactEvent::decode(event_type, version, payload).unwrap_err();
        assert!(matches!(error, DecodeError::Unknown { .. }), "{error}");
    }
    let error = ContactEvent::decode("contact.added", "1", payload).unwrap_err();
    assert!(matches!(error, DecodeError::Old { .. }), "{error}");
    for payload in ["", "{}", "[]", &payload.replace("\"name\": \"Zoë O’Hara\"", "\"name\": 7")] {
        let error = ContactEvent::decode("contact.renamed", "1", payload).unwrap_err();
        assert!(matches!(error, DecodeError::Payload { .. }), "{error}");
    }
}
