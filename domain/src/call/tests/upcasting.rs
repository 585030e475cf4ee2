//! Steps from old versions to today's, with made-up ones where the log has none yet.

use serde_json::{Value, json};

use super::*;
use crate::call::event::DecodeError;
use crate::call::upcast::{ChainError, Format, Misfit, Step, Upcasters};

const FROZEN: &str = "call.frozen";

/// As if `call.frozen` had come to version 3.
const FORMATS: [Format; 1] = [Format { event_type: FROZEN, version: "3", wrap: CallEvent::Frozen }];

const fn step(from: &'static str, to: &'static str, change: fn(Value) -> Result<Value, Misfit>) -> Step {
    Step { event_type: FROZEN, from, to, change }
}

fn nothing(payload: Value) -> Result<Value, Misfit> {
    Ok(payload)
}

/// 1 to 2: the time was called `at`.
fn rename(mut payload: Value) -> Result<Value, Misfit> {
    let at = payload.get_mut("at").ok_or(Misfit("it has no time"))?.take();
    payload["occurred_at"] = at;
    Ok(payload)
}

/// 2 to 3: the summary came later.
fn summarise(mut payload: Value) -> Result<Value, Misfit> {
    payload["summary"] =
        json!({ "status": "completed", "direction": null, "from": null, "to": null, "duration": 29 });
    Ok(payload)
}

/// Out of order, since order is not what makes a chain.
const CHAIN: [Step; 2] = [step("2", "3", summarise), step("1", "2", rename)];

#[test]
fn a_payload_goes_through_every_step_from_its_version_on() {
    let upcasters = Upcasters::try_new(&FORMATS, &CHAIN).unwrap();
    let today = json!({
        "occurred_at": "2026-03-10T03:00:00Z",
        "summary": { "status": "completed", "direction": null, "from": null, "to": null, "duration": 29 },
    });
    let expected = upcasters.decode(FROZEN, "3", &today.to_string()).unwrap();
    for (version, old) in [
        ("1", json!({ "at": "2026-03-10T03:00:00Z" })),
        ("2", json!({ "occurred_at": "2026-03-10T03:00:00Z" })),
    ] {
        assert_eq!(upcasters.decode(FROZEN, version, &old.to_string()).unwrap(), expected, "{version}");
    }
    assert!(["1", "2", "3"].iter().all(|version| upcasters.reads(FROZEN, version)));
    assert!(!upcasters.reads(FROZEN, "4") && !upcasters.reads(FROZEN, "0"));
    assert!(!upcasters.reads("call.created", "1"), "a type of which there is no format");
}

#[test]
fn an_old_payload_that_is_not_what_its_version_was_is_named_and_not_quoted() {
    let upcasters = Upcasters::try_new(&FORMATS, &CHAIN).unwrap();
    for (payload, reason) in [
        (json!({ "from": "+15085140320" }), "it has no time"),
        (json!({ "at": "+15085140320" }), "what the steps make of it is not an event"),
    ] {
        let error = upcasters.decode(FROZEN, "1", &payload.to_string()).unwrap_err();
        assert!(
            matches!(&error, DecodeError::Old { misfit: Misfit(said), .. } if *said == reason),
            "{error}"
        );
        assert!(!error.to_string().contains("508"), "{error}");
    }
    let error = upcasters.decode(FROZEN, "1", "{").unwrap_err();
    assert!(matches!(error, DecodeError::Payload { .. }), "{error}");
    let error = upcasters.decode(FROZEN, "4", "{}").unwrap_err();
    assert!(matches!(error, DecodeError::Unknown { .. }), "{error}");
}

#[test]
fn steps_that_are_no_chain_are_refused() {
    const HOLE: [Step; 1] = [step("1", "2", nothing)];
    const CIRCLE: [Step; 2] = [step("1", "2", nothing), step("2", "1", nothing)];
    const BEYOND: [Step; 1] = [step("3", "4", nothing)];
    const BACK: [Step; 2] = [step("3", "2", nothing), step("2", "3", nothing)];
    const TWICE: [Step; 2] = [step("2", "3", rename), step("2", "3", summarise)];
    const STRANGER: [Step; 1] = [Step { event_type: "call.abducted", from: "1", to: "2", change: nothing }];
    let refused = |steps| Upcasters::try_new(&FORMATS, steps).unwrap_err();
    assert_eq!(refused(&HOLE), ChainError::Hole { event_type: FROZEN, from: "1" });
    assert_eq!(refused(&CIRCLE), ChainError::Circle { event_type: FROZEN, from: "1" });
    assert_eq!(refused(&BEYOND), ChainError::Hole { event_type: FROZEN, from: "3" });
    assert_eq!(refused(&BACK), ChainError::Circle { event_type: FROZEN, from: "3" });
    assert_eq!(refused(&TWICE), ChainError::Ambiguous { event_type: FROZEN, from: "2" });
    assert_eq!(refused(&STRANGER), ChainError::UnknownType { event_type: "call.abducted" });
    assert!(Upcasters::try_new(&FORMATS, &[]).is_ok());
}
