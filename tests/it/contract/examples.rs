//! The answers that the document itself shows, as callbook reads them.

use std::collections::BTreeSet;

use callbook::twilio::resource::{Call, IncomingNumber, Recording};
use serde_json::Value;

use super::document::{Document, Example};

const OF_CALLS: [&str; 4] = ["ListCall", "FetchCall", "CreateCall", "UpdateCall"];
const OF_RECORDINGS: [&str; 6] = [
    "ListRecording",
    "FetchRecording",
    "ListCallRecording",
    "FetchCallRecording",
    "CreateCallRecording",
    "UpdateCallRecording",
];
const OF_NUMBERS: [&str; 4] = [
    "ListIncomingPhoneNumber",
    "FetchIncomingPhoneNumber",
    "CreateIncomingPhoneNumber",
    "UpdateIncomingPhoneNumber",
];
const OF_MESSAGES: [&str; 4] = ["ListMessage", "FetchMessage", "CreateMessage", "UpdateMessage"];

/// The resources that an example shows: those of a list, or one.
fn resources(example: &Example) -> Vec<Value> {
    let list = example.body.as_object().unwrap().values().find_map(Value::as_array);
    list.cloned().unwrap_or_else(|| vec![example.body.clone()])
}

/// How many there were.
fn each(document: &Document, operations: &[&str], read: impl Fn(&Value)) -> usize {
    let shown: Vec<Value> = document.examples(operations).iter().flat_map(resources).collect();
    shown.iter().for_each(read);
    shown.len()
}

fn has(resource: &Value, field: &str) -> bool {
    !matches!(&resource[field], Value::Null) && resource[field] != ""
}

#[test]
fn every_call_and_recording_and_number_that_the_document_shows_is_read() {
    let Some(document) = Document::open() else { return };
    let calls = each(&document, &OF_CALLS, |shown| {
        let call = Call::try_from(shown).unwrap_or_else(|error| panic!("{error}: {shown}"));
        assert_eq!(call.sid.to_string(), shown["sid"]);
        assert_eq!(call.status.as_str(), shown["status"]);
        let read = [
            ("parent_call_sid", call.parent_call_sid.is_some()),
            ("start_time", call.start_time.is_some()),
            ("end_time", call.end_time.is_some()),
            ("date_created", call.date_created.is_some()),
            ("duration", call.duration.is_some()),
            ("price", call.price.is_some()),
            ("queue_time", call.queue_time.is_some()),
            ("answered_by", call.answered_by.is_some()),
        ];
        for (field, is_read) in read {
            assert_eq!(is_read, has(shown, field), "{field} of {shown}");
        }
    });
    let recordings = each(&document, &OF_RECORDINGS, |shown| {
        let recording = Recording::try_from(shown).unwrap_or_else(|error| panic!("{error}: {shown}"));
        assert_eq!(recording.sid.to_string(), shown["sid"]);
        assert_eq!(recording.status.as_str(), shown["status"]);
        assert_eq!(recording.duration.is_some(), has(shown, "duration") && shown["duration"] != "-1");
        assert_eq!(recording.start_time.is_some(), has(shown, "start_time"));
        // One shows another recording's `media_url`.
        let url = shown["media_url"].as_str().map(str::to_owned);
        let (account, sid) = (text(shown, "account_sid"), text(shown, "sid"));
        let derived = || format!("https://api.twilio.com/2010-04-01/Accounts/{account}/Recordings/{sid}");
        assert_eq!(recording.url, Some(url.unwrap_or_else(derived)));
    });
    let numbers = each(&document, &OF_NUMBERS, |shown| {
        let number = IncomingNumber::try_from(shown).unwrap_or_else(|error| panic!("{error}: {shown}"));
        assert_eq!((number.sid, number.phone_number), (text(shown, "sid"), text(shown, "phone_number")));
        assert_eq!(number.voice_application_sid.is_some(), has(shown, "voice_application_sid"));
    });
    assert!(calls >= 11 && recordings >= 10 && numbers >= 4, "{calls}, {recordings}, {numbers}");
}

fn text(shown: &Value, field: &str) -> String {
    shown[field].as_str().unwrap().to_owned()
}

/// That every field is there is taken from them, so they must pass what the simulated Twilio has to.
#[test]
fn every_example_of_the_document_is_as_the_document_says_but_for_its_own_slips() {
    let Some(document) = Document::open() else { return };
    let mut slips = BTreeSet::new();
    for operations in [&OF_CALLS[..], &OF_RECORDINGS, &OF_NUMBERS, &OF_MESSAGES] {
        for example in document.examples(operations) {
            let wrong = document.check_example(&example).into_iter();
            slips.extend(wrong.map(|wrong| format!("{} {wrong}", example.operation)));
        }
    }
    let mut known: BTreeSet<String> = BTreeSet::new();
    // A text, where the schema has a number: both are read.
    for (operation, place) in [("ListCallRecording", "/recordings/*"), ("FetchCallRecording", "")] {
        let wrong = r#""-0.0025" is not of types "null", "number""#;
        known.insert(format!("{operation} {place}/price: {wrong}"));
    }
    // An application that is not there is an empty text, and by the schema a SID or null: both are read as none.
    for (operation, place) in [
        ("ListIncomingPhoneNumber", "/incoming_phone_numbers/*"),
        ("FetchIncomingPhoneNumber", ""),
        ("UpdateIncomingPhoneNumber", ""),
    ] {
        for field in ["sms_application_sid", "voice_application_sid"] {
            for wrong in ["does not match \"^AP[0-9a-fA-F]{32}$\"", "is shorter than 34 characters"] {
                known.insert(format!("{operation} {place}/{field}: \"\" {wrong}"));
            }
        }
    }
    assert_eq!(slips, known);
}
