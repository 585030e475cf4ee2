use std::collections::{BTreeMap, BTreeSet};

use secrecy::SecretString;
use time::macros::datetime;

use super::story::{CYCLE, MIX};
use super::*;

pub fn account() -> Account {
    Account {
        sid: "AC0123456789abcdef0123456789abcdef".into(),
        auth_token: SecretString::from("a token of the tests"),
        owned_numbers: vec!["+16175006181".into()],
        sip_user: "dispatcher".into(),
        sip_domain: "abchomes.sip.us1.twilio.com".into(),
    }
}

/// A second that is not whole, shortly before midnight, so that dates and seconds roll over.
pub fn started_at() -> OffsetDateTime {
    datetime!(2026-02-07 23:58:40.750 UTC)
}

fn scripts() -> impl Iterator<Item = Script> {
    (0..600).map(|index| Script::generate(42, index, &account(), started_at()))
}

fn one(scenario: Scenario) -> Script {
    scripts().find(|script| script.scenario == scenario).unwrap()
}

fn all(scenario: Scenario) -> impl Iterator<Item = Script> {
    scripts().filter(move |script| script.scenario == scenario)
}

impl Request {
    pub fn param(&self, name: &str) -> Option<&str> {
        self.params.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }
}

/// When the request says it happened.
fn timestamp(request: &Request) -> Option<OffsetDateTime> {
    let rfc_2822 = time::format_description::well_known::Rfc2822;
    request.param("Timestamp").map(|text| OffsetDateTime::parse(text, &rfc_2822).unwrap())
}

#[test]
fn equal_seeds_make_equal_scripts_and_others_do_not() {
    let make = |seed, index| Script::generate(seed, index, &account(), started_at());
    for index in 0..CYCLE {
        assert_eq!(make(7, index), make(7, index));
        assert_ne!(make(7, index).expected[0].call_sid, make(8, index).expected[0].call_sid);
        assert_ne!(make(7, index).expected[0].call_sid, make(7, index + 1).expected[0].call_sid);
    }
}

#[test]
fn the_start_changes_nothing_but_timestamps() {
    let early = Script::generate(7, 3, &account(), started_at());
    let later = Script::generate(7, 3, &account(), started_at() + time::Duration::hours(3));
    assert_eq!(early.expected, later.expected);
    for (a, b) in early.requests.iter().zip(&later.requests) {
        assert_eq!((a.at, a.endpoint, &a.idempotency_token), (b.at, b.endpoint, &b.idempotency_token));
    }
}

#[test]
fn any_sixty_consecutive_families_hold_every_scenario_as_often_as_the_mix_says() {
    assert_eq!(MIX.iter().map(|(_, cards)| cards).sum::<u64>(), CYCLE);
    for (seed, first) in [(0, 0), (1, 17), (u64::MAX, 59), (99, 123_456_789)] {
        let mut seen: BTreeMap<Scenario, u64> = BTreeMap::new();
        for index in first..first + CYCLE {
            *seen.entry(Scenario::at(seed, index)).or_default() += 1;
        }
        assert_eq!(seen, MIX.into_iter().collect());
    }
}

#[test]
fn every_request_is_well_formed() {
    let is_sid = |prefix: &str, sid: &str| {
        sid.len() == 34 && sid.starts_with(prefix) && sid[2..].bytes().all(|b| b.is_ascii_hexdigit())
    };
    for script in scripts() {
        for request in &script.requests {
            let names: BTreeSet<&str> = request.params.iter().map(|(name, _)| name.as_str()).collect();
            assert_eq!(names.len(), request.params.len(), "a field twice in {request:?}");
            assert!(is_sid("CA", request.param("CallSid").unwrap()));
            assert!(is_sid("AC", request.param("AccountSid").unwrap()));
            for name in ["ParentCallSid", "DialCallSid"] {
                assert!(request.param(name).is_none_or(|sid| is_sid("CA", sid)));
            }
            assert!(request.param("RecordingSid").is_none_or(|sid| is_sid("RE", sid)));
            assert_eq!(request.idempotency_token.len(), 36);
            if request.endpoint == Endpoint::RecordingStatus {
                assert_eq!(request.param("From"), None, "a recording tells no numbers");
                continue;
            }
            assert_eq!(request.param("ApiVersion"), Some("2010-04-01"));
            assert_eq!(request.param("From"), request.param("Caller"));
            assert_eq!(request.param("To"), request.param("Called"));
            assert_eq!(request.param("FromCity").is_some(), request.param("From").unwrap().starts_with('+'));
            let is_event = request.endpoint == Endpoint::VoiceStatus;
            for name in ["Timestamp", "CallbackSource", "SequenceNumber"] {
                assert_eq!(request.param(name).is_some(), is_event, "{name} in {request:?}");
            }
            let terminal = is_event && is_terminal(request.param("CallStatus").unwrap());
            for name in ["CallDuration", "Duration", "SipResponseCode"] {
                assert_eq!(request.param(name).is_some(), terminal, "{name} in {request:?}");
            }
        }
    }
}

fn is_terminal(status: &str) -> bool {
    matches!(status, "completed" | "busy" | "no-answer" | "failed" | "canceled")
}

#[test]
fn events_are_in_order_and_numbered_from_zero_for_each_call() {
    for script in scripts() {
        assert!(script.requests.is_sorted_by(|a, b| a.at < b.at), "{script:?}");
        let mut next: BTreeMap<&str, u32> = BTreeMap::new();
        let mut ended: BTreeSet<&str> = BTreeSet::new();
        for request in script.requests.iter().filter(|r| r.endpoint == Endpoint::VoiceStatus) {
            let call_sid = request.param("CallSid").unwrap();
            let sequence = next.entry(call_sid).or_default();
            assert_eq!(request.param("SequenceNumber"), Some(sequence.to_string().as_str()));
            *sequence += 1;
            let is_new_end =
                is_terminal(request.param("CallStatus").unwrap()).then(|| ended.insert(call_sid));
            assert_ne!(is_new_end, Some(false), "two ends of {call_sid}");
        }
        assert_eq!(next.len(), ended.len(), "a call without an end in {script:?}");
    }
}

#[test]
fn durations_are_the_differences_of_timestamps() {
    for script in scripts() {
        let mut answered: BTreeMap<&str, OffsetDateTime> = BTreeMap::new();
        for request in &script.requests {
            let Some(at) = timestamp(request) else { continue };
            let told = started_at() + request.at;
            assert_eq!(at, told.replace_nanosecond(0).unwrap(), "Twilio cuts to whole seconds");
            let call_sid = request.param("CallSid").unwrap();
            if request.param("CallStatus") == Some("in-progress") {
                answered.insert(call_sid, at);
            }
            let Some(seconds) = request.param("CallDuration") else { continue };
            let seconds: i64 = seconds.parse().unwrap();
            let minutes: i64 = request.param("Duration").unwrap().parse().unwrap();
            assert!(minutes * 60 >= seconds && (minutes - 1) * 60 < seconds, "{minutes} min for {seconds} s");
            if let Some(answered) = answered.get(call_sid) {
                assert_eq!(at - *answered, time::Duration::seconds(seconds));
            } else if request.param("ParentCallSid").is_some() {
                assert_eq!(seconds, 0, "nobody answered {call_sid}");
            }
            let expected = script.expected.iter().find(|call| call.call_sid == call_sid).unwrap();
            assert_eq!(expected.duration, Some(seconds));
        }
    }
}

#[test]
fn idempotency_tokens_and_call_sids_are_unique() {
    let tokens: Vec<String> = scripts().flat_map(|s| s.requests).map(|r| r.idempotency_token).collect();
    assert_eq!(tokens.iter().collect::<BTreeSet<_>>().len(), tokens.len());
    let sids: Vec<String> = scripts().flat_map(|s| s.expected).map(|call| call.call_sid).collect();
    assert_eq!(sids.iter().collect::<BTreeSet<_>>().len(), sids.len());
}

/// For each scenario: the dialled leg's status and direction, the root's direction, what people see, and whether
/// the call was missed. `None` for a single leg.
#[test]
fn each_scenario_ends_as_its_story_tells() {
    use Scenario::*;
    type Row =
        (Scenario, Option<(&'static str, &'static str)>, (&'static str, &'static str), &'static str, bool);
    let table: [Row; 16] = [
        (InboundAnswered, Some(("completed", "inbound")), ("completed", "inbound"), "completed", false),
        (InboundRecorded, Some(("completed", "inbound")), ("completed", "inbound"), "completed", false),
        (InboundMissed, Some(("no-answer", "inbound")), ("completed", "inbound"), "no-answer", true),
        (InboundBusy, Some(("busy", "inbound")), ("completed", "inbound"), "busy", true),
        (InboundFailed, Some(("failed", "inbound")), ("completed", "inbound"), "failed", true),
        (InboundCancelled, Some(("canceled", "inbound")), ("completed", "inbound"), "canceled", true),
        (InboundWithheld, Some(("completed", "inbound")), ("completed", "inbound"), "completed", false),
        (InboundForwarded, Some(("completed", "outbound")), ("completed", "inbound"), "completed", false),
        (InboundUnreported, Some(("completed", "inbound")), ("completed", "inbound"), "completed", false),
        (InboundNotBridged, Some(("completed", "inbound")), ("completed", "inbound"), "no-answer", true),
        (OutboundAnswered, Some(("completed", "outbound")), ("completed", "outbound"), "completed", false),
        (OutboundNoAnswer, Some(("no-answer", "outbound")), ("completed", "outbound"), "no-answer", false),
        (OutboundBusy, Some(("busy", "outbound")), ("completed", "outbound"), "busy", false),
        (SoftphoneAnswered, Some(("completed", "outbound")), ("completed", "outbound"), "completed", false),
        (ApiAnswered, None, ("completed", "outbound"), "completed", false),
        (ApiNoAnswer, None, ("no-answer", "outbound"), "no-answer", false),
    ];
    for (scenario, child, (status, direction), display_status, missed) in table {
        for script in all(scenario) {
            let root = &script.expected[0];
            if scenario == InboundWithheld && root.missed {
                assert_eq!(root.display_status.as_deref(), Some("no-answer"));
                continue;
            }
            assert_eq!((root.status.as_str(), root.direction.as_str()), (status, direction), "{scenario:?}");
            assert_eq!(root.display_status.as_deref(), Some(display_status), "{scenario:?}");
            assert_eq!(root.missed, missed, "{scenario:?}");
            let got = script.expected.get(1).map(|leg| (leg.status.as_str(), leg.direction.as_str()));
            assert_eq!(got, child, "{scenario:?}");
            assert!(script.expected.iter().all(|leg| leg.thread == root.thread), "one thread a family");
        }
    }
}

#[test]
fn talk_and_wait_follow_from_what_the_requests_say() {
    for script in scripts() {
        let root = &script.expected[0];
        let dial = script.requests.iter().find(|r| r.endpoint == Endpoint::DialAction);
        let end = |sid: &str| {
            let mut events = script.requests.iter().filter(|r| r.endpoint == Endpoint::VoiceStatus);
            let end = events.find(|r| r.param("CallSid") == Some(sid) && r.param("CallDuration").is_some());
            end.map(|request| request.param("CallDuration").unwrap().parse::<i64>().unwrap())
        };
        let talk = match dial {
            Some(dial) if dial.param("DialBridged") == Some("true") => {
                let told: i64 = dial.param("DialCallDuration").unwrap().parse().unwrap();
                assert_eq!(Some(told), end(&script.expected[1].call_sid));
                told
            }
            Some(_) => 0,
            None => end(&root.call_sid).unwrap(),
        };
        assert_eq!(root.duration, end(&root.call_sid));
        for leg in &script.expected {
            assert_eq!(leg.talk_time, Some(talk), "{script:?}");
            assert_eq!(leg.wait_time, root.duration.map(|total| total - talk), "{script:?}");
        }
    }
}

#[test]
fn the_thread_is_the_customer_or_withheld() {
    for script in scripts() {
        let thread = script.expected[0].thread.clone().unwrap();
        let root = &script.requests[0];
        let (from, to) = (root.param("From").unwrap(), root.param("To").unwrap());
        match script.scenario {
            Scenario::InboundWithheld => {
                assert_eq!(thread, "withheld");
                assert!(crate::simulator::cast::WITHHELD.contains(&from));
            }
            Scenario::OutboundAnswered | Scenario::OutboundNoAnswer | Scenario::OutboundBusy => {
                assert_eq!(from, account().dispatcher());
                assert!(to.contains(&thread[1..]) && to.starts_with("sip:"), "{to} for {thread}");
            }
            Scenario::SoftphoneAnswered | Scenario::ApiAnswered | Scenario::ApiNoAnswer => {
                assert_eq!(to, thread);
            }
            _ => assert_eq!((from, to), (thread.as_str(), "+16175006181")),
        }
    }
}

#[test]
fn dial_actions_tell_the_child_and_whether_the_caller_is_still_there() {
    let cancelled = one(Scenario::InboundCancelled);
    let dial = cancelled.requests.iter().find(|r| r.endpoint == Endpoint::DialAction).unwrap();
    assert_eq!(dial.param("CallSid"), Some(cancelled.expected[0].call_sid.as_str()));
    assert_eq!(dial.param("DialCallSid"), Some(cancelled.expected[1].call_sid.as_str()));
    assert_eq!(dial.param("CallStatus"), Some("completed"));
    assert_eq!(dial.param("DialCallStatus"), Some("canceled"));
    assert_eq!(dial.param("DialCallDuration"), None);
    let missed = one(Scenario::InboundMissed);
    let dial = missed.requests.iter().find(|r| r.endpoint == Endpoint::DialAction).unwrap();
    assert_eq!(dial.param("CallStatus"), Some("in-progress"));
    let not_bridged = one(Scenario::InboundNotBridged);
    let dial = not_bridged.requests.iter().find(|r| r.endpoint == Endpoint::DialAction).unwrap();
    assert_eq!((dial.param("DialCallStatus"), dial.param("DialBridged")), (Some("completed"), Some("false")));
}

#[test]
fn a_recording_is_told_about_the_root_after_its_end() {
    let script = one(Scenario::InboundRecorded);
    let last = script.requests.last().unwrap();
    assert_eq!(last.endpoint, Endpoint::RecordingStatus);
    assert_eq!(last.param("CallSid"), Some(script.expected[0].call_sid.as_str()));
    assert_eq!(script.expected.iter().map(|leg| leg.recorded).collect::<Vec<_>>(), [true, false]);
}

#[test]
fn an_unreported_root_ends_with_its_dial_action() {
    let script = one(Scenario::InboundUnreported);
    assert_eq!(script.requests.last().unwrap().endpoint, Endpoint::DialAction);
    let root = &script.expected[0];
    assert_eq!((root.duration, root.wait_time), (None, None));
    assert!(root.talk_time.unwrap() > 0);
}

#[test]
fn forwarded_calls_show_our_number_or_the_callers() {
    let callers: BTreeSet<bool> = all(Scenario::InboundForwarded)
        .map(|script| {
            let child = script.requests.iter().find(|r| r.param("ParentCallSid").is_some()).unwrap();
            assert_eq!(child.param("ForwardedFrom"), Some("+16175006181"));
            assert!(child.param("To").unwrap().starts_with("+13"), "not a mobile: {child:?}");
            child.param("From") == Some("+16175006181")
        })
        .collect();
    assert_eq!(callers.len(), 2);
}

/// The simulator's expectations come from its stories; here callbook's own rules are held against them.
#[test]
fn callbooks_own_rules_find_the_direction_and_the_customer_that_the_story_tells() {
    use domain::direction::{Lines, TwilioDirection, classify};
    use domain::phone::{Address, PhoneNumber};
    let account = account();
    let numbers = account.owned_numbers.iter().map(|number| PhoneNumber::try_new(number).unwrap());
    let lines = Lines::new(numbers, &account.sip_domain);
    for script in scripts() {
        for leg in &script.expected {
            let mut requests = script.requests.iter();
            let told = requests.find(|r| r.param("CallSid") == Some(leg.call_sid.as_str())).unwrap();
            let found = classify(
                told.param("From").map(Address::caller).as_ref(),
                told.param("To").map(Address::callee).as_ref(),
                told.param("Direction").map(|text| TwilioDirection::from(text.to_owned())).as_ref(),
                &lines,
            );
            assert_eq!(found.direction.as_str(), leg.direction, "{told:?}");
            if leg.parent_call_sid.is_none() {
                assert_eq!(found.party.map(|party| party.key()), leg.thread, "{told:?}");
            }
        }
    }
}

#[test]
fn asking_twilio_tells_the_ends_that_no_webhook_tells_and_changes_no_other() {
    let mut untold = 0;
    for index in 0..60 {
        let script = Script::generate(3, index, &account(), started_at());
        for (heard, asked) in script.expected.iter().zip(script.expected_when_asked()) {
            assert!(asked.duration.is_some() && asked.wait_time.is_some(), "{asked:?}");
            let told = ExpectedCall { duration: heard.duration, wait_time: heard.wait_time, ..asked.clone() };
            assert_eq!(told, *heard);
            assert!(heard.duration.is_none() || heard.duration == asked.duration);
            untold += usize::from(heard.duration.is_none());
        }
    }
    assert!(untold > 0, "some root ends without a webhook");
}
