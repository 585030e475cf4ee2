//! What holds for all facts and all commands: why neither order nor repetition of reports can matter.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::Value;

use super::*;
use crate::call::facts::{
    AnsweredBy, Dial, Duration, Earliest, EndReason, Ended, Price, StartBasis, Started,
};
use crate::call::status::StatusReport;

// Values are few, so that two sets of facts often agree on some and disagree on others.

fn second() -> impl Strategy<Value = OffsetDateTime> {
    (0_i64..4).prop_map(at)
}

fn sid() -> impl Strategy<Value = CallSid> {
    select(vec![call_sid(), child_sid()])
}

fn address() -> impl Strategy<Value = Address> {
    select(vec!["", "12", "anonymous", "client:alice", "sip:bob@pbx.example.com", CUSTOMER, OURS])
        .prop_map(Address::caller)
}

fn direction() -> impl Strategy<Value = TwilioDirection> {
    select(vec!["inbound", "outbound-dial", "sideways"]).prop_map(|text| text.to_owned().into())
}

fn text() -> impl Strategy<Value = String> {
    select(vec!["a".to_owned(), "b".to_owned()])
}

fn status() -> impl Strategy<Value = CallStatus> {
    select(CallStatus::ALL.to_vec())
}

fn authority() -> impl Strategy<Value = Authority> {
    select(vec![Authority::Derived, Authority::Callback, Authority::Rest])
}

fn status_report() -> impl Strategy<Value = StatusReport> {
    (status(), authority(), option::of(0_u32..3), option::of(second()))
        .prop_map(|(status, authority, sequence, at)| StatusReport::new(status, authority, sequence, at))
}

fn a_recording() -> impl Strategy<Value = Recording> {
    use RecordingStatus::{Absent, Completed, InProgress, Processing};
    let state = select(vec![InProgress, Processing, Absent, Completed]);
    (state, option::of(0_u32..3), option::of(second())).prop_map(|(status, seconds, started_at)| Recording {
        seconds,
        started_at,
        ..recording(status)
    })
}

fn recorded() -> impl Strategy<Value = (RecordingSid, Recording)> {
    let sid = select(vec!["RE27d559117edb45aac8a0270ac2f97b10", "RE27d559117edb45aac8a0270ac2f97b11"]);
    (sid.prop_map(|sid| RecordingSid::try_new(sid).unwrap()), a_recording())
}

fn dial_leg() -> impl Strategy<Value = DialLeg> {
    prop_oneof![1 => Just(DialLeg::Unnamed), 3 => sid().prop_map(DialLeg::Leg)]
}

fn a_dial() -> impl Strategy<Value = (DialLeg, Dial)> {
    (dial_leg(), status(), option::of(0_u32..3), option::of(any::<bool>()))
        .prop_map(|(leg, status, seconds, bridged)| (leg, Dial { status, seconds, bridged }))
}

fn identification() -> impl Strategy<Value = Identification> {
    (
        option::of(address()),
        option::of(address()),
        option::of(direction()),
        option::weighted(0.2, sid()),
        option::of(text()),
        option::of(text()),
    )
        .prop_map(|(from, to, twilio_direction, parent_call_sid, forwarded_from, caller_name)| {
            Identification { from, to, twilio_direction, parent_call_sid, forwarded_from, caller_name }
        })
}

fn facts() -> impl Strategy<Value = Facts> {
    let basis =
        select(vec![StartBasis::Received, StartBasis::Computed, StartBasis::Stated, StartBasis::Rest]);
    let times = (
        option::of((basis, second()).prop_map(|(basis, at)| Started::new(basis, at))),
        option::of(second().prop_map(Earliest::new)),
        option::of((authority(), second()).prop_map(|(authority, at)| Ended::new(authority, at))),
        option::of((authority(), 1_u32..4).prop_map(|(authority, seconds)| Duration { authority, seconds })),
        option::of(second()),
    );
    let price = (second(), -3_i64..0, text()).prop_map(|(as_of, amount, unit)| Price {
        as_of,
        amount: amount.into(),
        unit,
    });
    let details = (
        option::of(select(vec!["unknown", "human", "fax"]).prop_map(|by| AnsweredBy::from(by.to_owned()))),
        option::of(price),
        option::of(0_u32..3),
        option::of(Just(EndReason::NotFound)),
        vec(a_dial(), 0..3),
        vec(recorded(), 0..3),
    );
    (identification(), option::of(status_report()), times, details).prop_map(
        |(who, status, times, details)| {
            let (started, answered, ended, duration, last_event_time) = times;
            let (answered_by, price, queue_time, end_reason, dials, recordings) = details;
            Facts {
                from: who.from,
                to: who.to,
                twilio_direction: who.twilio_direction,
                parent_call_sid: who.parent_call_sid,
                forwarded_from: who.forwarded_from,
                caller_name: who.caller_name,
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
                dials: dials.into_iter().collect(),
                recordings: recordings.into_iter().collect(),
            }
        },
    )
}

/// Reports about one call, plausible, contradicting and impossible ones. They carry the same lines.
fn a_report() -> impl Strategy<Value = CallCommand> {
    let who = identification;
    prop_oneof![
        (who(), status(), second()).prop_map(|(who, status, received_at)| {
            Announce { who, status, received_at, ..announce() }.into()
        }),
        (
            who(),
            status(),
            option::of(0_u32..3),
            option::of(second()),
            option::of(0_u32..3),
            option::of(recorded())
        )
            .prop_map(|(who, status, sequence, timestamp, duration, recording)| {
                ReportStatus { who, sequence, timestamp, duration, recording, ..report(status, 2) }.into()
            }),
        (
            who(),
            dial_leg(),
            status(),
            option::of(0_u32..3),
            option::of(any::<bool>()),
            option::of(recorded())
        )
            .prop_map(|(who, dialled, status, seconds, bridged, recording)| {
                CompleteDial { who, dialled, seconds, bridged, recording, ..dial(status) }.into()
            }),
        (
            who(),
            status(),
            option::of(second()),
            option::of(second()),
            option::of(0_u32..3),
            option::of(second())
        )
            .prop_map(|(who, status, start_time, end_time, duration, priced)| {
                let price = priced.map(|_| (rust_decimal::Decimal::new(-850, 5), "USD".to_owned()));
                let updated_at = priced;
                ReportResource { who, start_time, end_time, duration, price, updated_at, ..resource(status) }
                    .into()
            }),
        (recorded(), second()).prop_map(|((recording_sid, recording), received_at)| {
            ReportRecording { call_sid: call_sid(), recording_sid, recording, received_at }.into()
        }),
    ]
}

fn command() -> impl Strategy<Value = CallCommand> {
    let theirs = Lines::new([PhoneNumber::try_new(CUSTOMER).unwrap()], "pbx.example.com");
    prop_oneof![
        6 => a_report(),
        1 => select(vec![lines(), theirs]).prop_map(|lines| CallCommand::Reclassify { lines, at: heard(90) }),
        1 => Just(CallCommand::Freeze { at: heard(90) }),
        1 => Just(CallCommand::GiveUp(GiveUp { reason: EndReason::NotFound, at: heard(90) })),
    ]
}

fn join(one: &Facts, other: &Facts) -> Facts {
    let mut joined = one.clone();
    joined.join(other.clone());
    joined
}

/// Records what was decided, as the event store would: from the stored text.
fn store(call: &mut Call, events: Vec<CallEvent>) {
    for event in events {
        let payload = serde_json::to_string(&event).unwrap();
        call.apply(CallEvent::decode(event.type_name(), event.version(), &payload).unwrap());
    }
}

/// The facts as `field` or `field/key`, so that their parts can be compared one by one.
fn parts(facts: &Facts) -> std::collections::BTreeMap<String, Value> {
    let Value::Object(fields) = serde_json::to_value(facts).unwrap() else { panic!("facts are an object") };
    fields
        .into_iter()
        .flat_map(|(name, value)| match value {
            Value::Object(entries) if name == "dials" || name == "recordings" => {
                entries.into_iter().map(|(key, value)| (format!("{name}/{key}"), value)).collect()
            }
            value => vec![(name, value)],
        })
        .collect()
}

proptest! {
    #[test]
    fn joining_facts_is_commutative_associative_and_idempotent(a in facts(), b in facts(), c in facts()) {
        prop_assert_eq!(join(&a, &b), join(&b, &a));
        prop_assert_eq!(join(&join(&a, &b), &c), join(&a, &join(&b, &c)));
        prop_assert_eq!(join(&a, &a), a.clone());
        prop_assert_eq!(join(&a, &Facts::default()), a);
    }

    #[test]
    fn what_is_beyond_the_known_facts_is_the_least_that_completes_them(known in facts(), x in facts()) {
        let (joined, delta) = (join(&known, &x), x.clone().beyond(&known));
        prop_assert_eq!(&join(&known, &delta), &joined);
        // Each part of it is new, and is what the join has: none could be left out or be less.
        let (known_parts, joined_parts) = (parts(&known), parts(&joined));
        for (name, value) in parts(&delta) {
            prop_assert_ne!(known_parts.get(&name), Some(&value), "{} was known", name);
            prop_assert_eq!(joined_parts.get(&name), Some(&value), "{} is not what is joined", name);
        }
        prop_assert!(x.clone().beyond(&joined).is_empty());
        prop_assert!(known.clone().beyond(&joined).is_empty());
        prop_assert!(x.clone().beyond(&x).is_empty());
        prop_assert_eq!(delta.is_empty(), joined == known);
    }

    #[test]
    fn stored_facts_are_read_as_they_were_written(facts in facts()) {
        let json = serde_json::to_string(&facts).unwrap();
        prop_assert_eq!(serde_json::from_str::<Facts>(&json).unwrap(), facts);
    }

    #[test]
    fn a_command_that_was_recorded_is_already_so(commands in vec(command(), 1..12)) {
        let mut call = Call::default();
        for command in commands {
            let before = call.clone();
            match call.decide(command.clone()) {
                Err(_) => prop_assert!(call.decide(command).is_err()),
                Ok(events) => {
                    store(&mut call, events.clone());
                    prop_assert_eq!(call.decide(command), Ok(Vec::new()));
                    prop_assert_eq!(events.is_empty(), call == before);
                }
            }
        }
    }

    #[test]
    fn reports_leave_the_same_call_in_any_order_and_however_often(
        reports in vec(a_report(), 1..8),
        again in vec(any::<prop::sample::Index>(), 0..8),
    ) {
        let mut expected = Call::default();
        for report in &reports {
            if let Ok(events) = expected.decide(report.clone()) {
                store(&mut expected, events);
            }
        }
        let picked = again.iter().map(|index| index.get(&reports));
        let mut found = Call::default();
        for report in picked.chain(reports.iter().rev()) {
            if let Ok(events) = found.decide(report.clone()) {
                store(&mut found, events);
            }
        }
        prop_assert_eq!(&found, &expected);
        for report in reports {
            prop_assert!(expected.decide(report).map_or(true, |events| events.is_empty()));
        }
    }

    #[test]
    fn an_event_carries_facts_that_no_other_event_of_its_decision_carries(
        commands in vec(a_report(), 0..6),
        last in a_report(),
    ) {
        let mut call = Call::default();
        for command in commands {
            if let Ok(events) = call.decide(command) {
                store(&mut call, events);
            }
        }
        let Ok(events) = call.decide(last) else { return Ok(()) };
        let all: Vec<String> = events.iter().flat_map(|event| parts(&event.change().facts).into_keys()).collect();
        let distinct: std::collections::BTreeSet<&String> = all.iter().collect();
        prop_assert_eq!(distinct.len(), all.len());
        for event in &events {
            prop_assert!(!event.change().facts.is_empty());
        }
        store(&mut call, events.clone());
        for event in events {
            prop_assert_eq!(&event.change().summary, &call.summary());
        }
    }
}
