use domain::call::event::{Change, Summary};
use domain::call::facts::{
    AnsweredBy, Duration as Lasted, Earliest, Ended, Facts, Price, StartBasis, Started,
};
use domain::call::{Authority, CallEvent};
use rust_decimal::Decimal;

use super::*;

use CallStatus::{Completed, InProgress, Ringing};

fn root(story: &Story) -> Leg {
    story.legs().remove(sid(0).as_str()).unwrap()
}

#[test]
fn a_leg_holds_what_its_reports_said() {
    let leg =
        root(&Story::default().announced(ROOT).status(ROOT, InProgress, 1).ended(ROOT, Completed, 30, 29));
    assert!(leg.announced && !leg.provisional && !leg.frozen);
    assert_eq!((leg.root_call_sid.as_str(), leg.parent_call_sid), (sid(0).as_str(), None));
    assert_eq!((leg.direction.as_deref(), leg.rule.as_deref()), (Some("inbound"), Some("owned_number")));
    assert_eq!((leg.party_key.as_deref(), leg.party_kind.as_deref()), (Some(CUSTOMER), Some("number")));
    assert_eq!(leg.party_display.as_deref(), Some("+1 (508) 514-0320"));
    assert_eq!((leg.from_number.as_deref(), leg.to_number.as_deref()), (Some(CUSTOMER), Some(OURS)));
    assert_eq!(leg.twilio_direction.as_deref(), Some("inbound"));
    assert_eq!((leg.status.as_deref(), leg.duration), (Some("completed"), Some(29)));
    assert_eq!((leg.started_at, leg.answered_at, leg.ended_at), (Some(at(1)), Some(at(1)), Some(at(30))));
    assert_eq!(leg.last_event_time, Some(at(30)));
    assert_eq!((leg.created_at, leg.updated_at), (at(0), at(2)), "when the log heard of it");
}

#[test]
fn a_leg_is_provisional_until_its_end_is_confirmed() {
    let story = Story::default().announced(ROOT);
    assert!(!root(&story).provisional, "it has not ended");
    let story = story.dialled(ROOT, 1, CallStatus::Busy, None);
    assert!(root(&story).provisional);
    assert!(!root(&story.ended(ROOT, Completed, 30, 29)).provisional);
}

#[test]
fn a_leg_that_was_never_announced_keeps_what_is_known_and_shows_nothing() {
    let leg = root(&Story::default().recorded(0, 1, RecordingStatus::Completed, 9));
    assert!(!leg.announced);
    assert_eq!((leg.recordings.len(), leg.direction), (1, None));
}

#[test]
fn a_frozen_leg_says_so() {
    let story = Story::default().ended(ROOT, Completed, 30, 29);
    assert_eq!(story.entry().sync_state, "active");
    let story = story.and(0, CallCommand::Freeze { at: at(90) });
    assert_eq!(story.entry().sync_state, "frozen");
    assert_eq!(story.recorded(0, 1, RecordingStatus::Completed, 9).entry().sync_state, "frozen");
}

#[test]
fn a_message_shows_what_rest_added() {
    let mut leg = root(&Story::default().announced(ROOT).ended(ROOT, Completed, 30, 29));
    let reconciled = CallEvent::DetailsReconciled(Change {
        occurred_at: at(600),
        summary: Summary { status: None, direction: None, from: None, to: None, duration: None },
        facts: Facts {
            caller_name: Some("ANNA KOWALSKI".to_owned()),
            forwarded_from: Some("+16175006182".to_owned()),
            started: Some(Started::new(StartBasis::Rest, at(2))),
            answered: Some(Earliest::new(at(3))),
            ended: Some(Ended::new(Authority::Rest, at(31))),
            duration: Some(Lasted { authority: Authority::Rest, seconds: 28 }),
            answered_by: Some(AnsweredBy::Said("human".to_owned())),
            price: Some(Price { as_of: at(600), amount: Decimal::new(-85, 4), unit: "USD".to_owned() }),
            queue_time: Some(5),
            ..Facts::default()
        },
        classification: None,
    });
    leg.apply(reconciled, at(601));
    let legs = HashMap::from([(leg.call_sid.clone(), leg)]);
    let families = Family::assemble(&legs);
    let [message] = &message::messages(&families[0], &ids())[..] else { panic!("one leg, one message") };
    assert_eq!((message.start_time, message.answered_at), (at(2), Some(at(3))));
    assert_eq!((message.end_time, message.finalized_at), (Some(at(31)), Some(at(31))));
    assert_eq!((message.duration, message.total_duration), (Some(28), Some(28)));
    assert_eq!((message.price, message.price_unit.as_deref()), (Some(Decimal::new(-85, 4)), Some("USD")));
    assert_eq!(message.updated_at, at(601));
    let metadata = serde_json::to_value(&message.metadata).unwrap();
    for (name, value) in [
        ("answered_by", "human"),
        ("caller_name", "ANNA KOWALSKI"),
        ("forwarded_from", "+16175006182"),
        ("twilio_status", "completed"),
        ("actual_direction", "inbound"),
        ("twilioDirection", "inbound"),
    ] {
        assert_eq!(metadata[name], value);
    }
    assert_eq!(metadata["queue_time"], 5);
    assert_eq!(metadata["hasParent"], false);
}

#[test]
fn a_leg_that_goes_on_has_no_end() {
    let entry = Story::default().announced(ROOT).status(ROOT, Ringing, 1).entry();
    assert!(!entry.is_final);
    assert_eq!((entry.end_time, entry.finalized_at, entry.duration), (None, None, None));
}
