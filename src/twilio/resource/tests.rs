use proptest::prelude::*;
use serde_json::json;
use time::macros::datetime;

use super::*;

const CALL: &str = "CA27d559117edb45aac8a0270ac2f97b10";
const PARENT: &str = "CA27d559117edb45aac8a0270ac2f97b11";
const RECORDING: &str = "RE27d559117edb45aac8a0270ac2f97b12";

/// Contract section 4.2, with each field that it lists.
fn call() -> Value {
    json!({
        "sid": CALL,
        "account_sid": "AC27d559117edb45aac8a0270ac2f97b13",
        "parent_call_sid": PARENT,
        "phone_number_sid": "PN27d559117edb45aac8a0270ac2f97b14",
        "to": "+15555550142",
        "to_formatted": "(555) 555-0142",
        "from": "+15555550100",
        "from_formatted": "(555) 555-0100",
        "status": "completed",
        "direction": "outbound-dial",
        "start_time": "Fri, 20 Aug 2010 01:13:42 +0000",
        "end_time": "Fri, 20 Aug 2010 01:13:57 +0000",
        "date_created": "Fri, 20 Aug 2010 01:13:40 +0000",
        "date_updated": "Fri, 20 Aug 2010 01:14:40 +0000",
        "duration": "15",
        "price": "-0.03000",
        "price_unit": "USD",
        "answered_by": "human",
        "forwarded_from": "+15555550199",
        "caller_name": "ACME",
        "group_sid": null,
        "queue_time": "1000",
        "trunk_sid": "",
        "api_version": "2010-04-01",
        "annotation": null,
        "uri": "/2010-04-01/Accounts/AC/Calls/CA.json",
        "subresource_uris": { "events": "/2010-04-01/Accounts/AC/Calls/CA/Events.json" },
    })
}

fn with(mut resource: Value, changes: Value) -> Value {
    for (name, value) in changes.as_object().unwrap() {
        resource[name] = value.clone();
    }
    resource
}

fn misread(changes: Value) -> String {
    Call::try_from(&with(call(), changes)).unwrap_err().to_string()
}

#[test]
fn every_field_of_a_call_is_read() {
    let read = Call::try_from(&call()).unwrap();
    assert_eq!(
        read,
        Call {
            sid: CALL.parse().unwrap(),
            parent_call_sid: Some(PARENT.parse().unwrap()),
            from: Some("+15555550100".to_owned()),
            to: Some("+15555550142".to_owned()),
            status: CallStatus::Completed,
            direction: Some("outbound-dial".to_owned()),
            start_time: Some(datetime!(2010-08-20 01:13:42 UTC)),
            end_time: Some(datetime!(2010-08-20 01:13:57 UTC)),
            date_created: Some(datetime!(2010-08-20 01:13:40 UTC)),
            date_updated: Some(datetime!(2010-08-20 01:14:40 UTC)),
            duration: Some(15),
            price: Some("-0.03".parse().unwrap()),
            price_unit: Some("USD".to_owned()),
            answered_by: Some("human".to_owned()),
            forwarded_from: Some("+15555550199".to_owned()),
            caller_name: Some("ACME".to_owned()),
            queue_time: Some(1000),
        }
    );
}

#[test]
fn a_call_that_only_waits_has_a_sid_and_a_status() {
    let waiting = Call::try_from(&json!({ "sid": CALL, "status": "queued" })).unwrap();
    let nulls = with(
        call(),
        json!({
            "parent_call_sid": null, "to": "", "from": null, "status": "queued", "direction": null,
            "start_time": null, "end_time": "", "date_created": null, "date_updated": null, "duration": "0",
            "price": null, "price_unit": null, "answered_by": null, "forwarded_from": "", "caller_name": "",
            "queue_time": null,
        }),
    );
    let read = Call::try_from(&nulls).unwrap();
    assert_eq!(read, waiting);
    assert_eq!(read.digest(), waiting.digest());
}

#[test]
fn numbers_may_be_texts_and_times_may_be_iso_8601() {
    let read = Call::try_from(&with(
        call(),
        json!({
            "duration": 15, "price": -0.03, "price_unit": "usd", "queue_time": 1000,
            "start_time": "2010-08-20T01:13:42Z",
        }),
    ));
    assert_eq!(read.unwrap(), Call::try_from(&call()).unwrap());
    let tiny = Call::try_from(&with(call(), json!({ "price": -0.00001 }))).unwrap();
    assert_eq!(tiny.price, Some("-0.00001".parse().unwrap()), "JSON writes it as -1e-5");
}

#[test]
fn what_cannot_be_used_is_named_with_its_value() {
    assert_eq!(misread(json!({ "sid": null })), "the field sid is missing; a call has one");
    assert_eq!(misread(json!({ "status": "" })), "the field status is missing; a call has one");
    for status in ["initiated", "answered", "COMPLETED"] {
        let expected = format!("status is {status:?}, which is not a status of a call in Twilio's REST API");
        assert_eq!(misread(json!({ "status": status })), expected);
    }
    assert_eq!(misread(json!({ "duration": "-1" })), r#"duration is "-1", which is not a whole number"#);
    assert_eq!(misread(json!({ "duration": "4294967295" })).split(',').count(), 2);
    assert!(misread(json!({ "price": "laborum" })).starts_with(r#"price is "laborum""#));
    assert!(misread(json!({ "end_time": "soon" })).starts_with(r#"end_time is "soon", which is not a time"#));
    assert!(misread(json!({ "from": {} })).starts_with(r#"from is "{}", which is neither"#));
    assert_eq!(misread(json!({ "parent_call_sid": "PA1" })), "the field parent_call_sid is not usable");
    assert!(misread(json!({ "status": "x".repeat(10_000) })).len() < 200);
    assert!(Call::try_from(&json!([])).is_err());
}

#[test]
fn a_digest_is_of_what_is_read_and_of_nothing_else() {
    let digest = Call::try_from(&call()).unwrap().digest();
    let same = with(
        call(),
        json!({
            "uri": "/elsewhere", "to_formatted": "", "annotation": "x", "subresource_uris": null, "group_sid": "GP",
            "new_field": [1], "price": "-0.03", "duration": 15,
        }),
    );
    assert_eq!(Call::try_from(&same).unwrap().digest(), digest);
    let changes = json!({
        "sid": PARENT, "parent_call_sid": null, "to": "+15555550100", "from": "+15555550142", "status": "busy",
        "direction": "inbound", "start_time": "Fri, 20 Aug 2010 01:13:41 +0000", "end_time": null,
        "date_created": null, "date_updated": null, "duration": "16", "price": "-0.04", "price_unit": "EUR",
        "answered_by": "fax", "forwarded_from": null, "caller_name": "15", "queue_time": "0",
    });
    for (name, value) in changes.as_object().unwrap() {
        let other = Call::try_from(&with(call(), json!({ name: value }))).unwrap();
        assert_ne!(other.digest(), digest, "{name} is part of it");
    }
}

#[test]
fn a_price_that_the_read_model_cannot_hold_is_refused() {
    for price in ["-123456789.00", "10000000", "-9999999.999999", "1e7"] {
        let expected = format!("price is {price:?}, which is more than the price of a call can be");
        assert_eq!(misread(json!({ "price": price })), expected);
    }
    for price in ["-9999999", "-0.0000000001", "9999998.999999"] {
        let read = Call::try_from(&with(call(), json!({ "price": price }))).unwrap();
        assert_eq!(read.price, Some(price.parse().unwrap()));
    }
    let expected = r#"price_unit is "US DOLLARS.", which is longer than the code of a currency such as USD"#;
    assert_eq!(misread(json!({ "price_unit": "US DOLLARS." })), expected);
    let ten = Call::try_from(&with(call(), json!({ "price_unit": "us dollar\u{e9}" }))).unwrap();
    assert_eq!(ten.price_unit.as_deref(), Some("US DOLLAR\u{e9}"));
}

#[test]
fn a_digest_does_not_change_with_a_new_callbook() {
    // What it is keeps what was stored from being stored again: change the name in `Digest::of` with the fields.
    assert_eq!(
        Call::try_from(&call()).unwrap().digest(),
        "16e614c635251e358ff59030a3e0e8456b32f7fc6683e6a893d9815dc73fd2b9"
    );
    assert_eq!(
        Recording::try_from(&recording()).unwrap().digest(),
        "b1d8bcc871ff9bc7e6a4dd07ae914700a56b7b7619017c59351c5a4fb2722c15"
    );
}

/// Contract section 4.4.
fn recording() -> Value {
    json!({
        "sid": RECORDING,
        "account_sid": "AC1",
        "call_sid": CALL,
        "conference_sid": null,
        "status": "completed",
        "duration": "12",
        "channels": 2,
        "source": "DialVerb",
        "error_code": null,
        "price": "-0.00250",
        "start_time": "Fri, 20 Aug 2010 01:13:45 +0000",
        "date_created": "Fri, 20 Aug 2010 01:13:46 +0000",
        "media_url": format!("https://api.twilio.com/2010-04-01/Accounts/AC1/Recordings/{RECORDING}"),
        "uri": format!("/2010-04-01/Accounts/AC1/Recordings/{RECORDING}.json"),
    })
}

#[test]
fn a_recording_is_the_same_in_the_accounts_list_and_in_the_calls_list() {
    let read = Recording::try_from(&recording()).unwrap();
    assert_eq!((read.duration, read.channels, read.status), (Some(12), Some(2), RecordingStatus::Completed));
    assert_eq!(read.start_time, Some(datetime!(2010-08-20 01:13:45 UTC)));
    // There a price is a number, `media_url` is missing and the recording's own address is below the call's.
    let uri = format!("/2010-04-01/Accounts/AC1/Calls/{CALL}/Recordings/{RECORDING}.json");
    let of_call = with(recording(), json!({ "price": -0.0025, "media_url": null, "uri": uri }));
    let of_call = Recording::try_from(&of_call).unwrap();
    assert_eq!(of_call, read);
    assert_eq!(of_call.digest(), read.digest());
}

#[test]
fn a_recording_that_goes_on_has_no_duration_yet() {
    let going = with(recording(), json!({ "status": "paused", "duration": "-1", "call_sid": null }));
    let read = Recording::try_from(&going).unwrap();
    assert_eq!((read.duration, read.call_sid), (None, None));
    assert_eq!(read.status.known_as(), facts::RecordingStatus::InProgress);
    let failed = with(recording(), json!({ "status": "failed" }));
    assert_eq!(
        Recording::try_from(&failed).unwrap_err().to_string(),
        r#"status is "failed", which is not a status of a recording in Twilio's REST API"#
    );
}

#[test]
fn a_number_needs_its_sid_and_itself() {
    let number = json!({ "sid": "PN1", "phone_number": "+16175006181", "voice_url": "", "capabilities": {} });
    let read = IncomingNumber::try_from(&number).unwrap();
    assert_eq!((read.phone_number.as_str(), read.voice_url), ("+16175006181", None));
    assert_eq!(
        IncomingNumber::try_from(&json!({ "sid": "PN1" })).unwrap_err().to_string(),
        "the field phone_number is missing; an incoming phone number has one"
    );
}

proptest! {
    #[test]
    fn no_value_of_a_field_panics(name in 0_usize..27, text in any::<String>(), number in any::<f64>()) {
        let keys: Vec<String> = call().as_object().unwrap().keys().cloned().collect();
        for value in [json!(text), json!(number), json!([text]), json!(true)] {
            let _ = Call::try_from(&with(call(), json!({ keys[name % keys.len()].as_str(): value })));
        }
    }
}
