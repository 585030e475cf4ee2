//! What was sent, and whether it was accepted: the client's own account, which the database is held against.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::ingest;
use crate::simulator::{Endpoint, Sent};
use crate::twilio::form::Form;

/// A webhook by its content, as the inbox stores it: `event_type` and the parameters as JSON.
pub(super) type Content = (String, String);

/// Every webhook that was sent, however often, and whether any sending was answered 2xx.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    webhooks: BTreeMap<Content, bool>,
    counts: Counts,
}

/// Sendings, repeats included.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub sent: u64,
    pub accepted: u64,
}

impl Ledger {
    pub fn note(&mut self, sent: &Sent) {
        let accepted = sent.is_accepted();
        self.counts.sent += 1;
        self.counts.accepted += u64::from(accepted);
        let content = content(event_type(sent.endpoint), &Form(sent.request.params.clone()).to_json());
        *self.webhooks.entry(content).or_default() |= accepted;
    }

    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// What is wrong with an inbox that holds these; nothing if it has every accepted webhook once, none twice, and
    /// none that was never sent.
    pub fn differences(&self, inbox: impl Iterator<Item = Content>) -> Vec<String> {
        let mut stored: BTreeMap<Content, u64> = BTreeMap::new();
        for content in inbox {
            *stored.entry(content).or_default() += 1;
        }
        let lost =
            self.webhooks.iter().filter(|(content, accepted)| **accepted && !stored.contains_key(content));
        let lost = lost.map(|(content, _)| format!("answered 2xx and lost: {}", name(content)));
        let doubled = stored.iter().filter(|(_, count)| **count > 1);
        let doubled =
            doubled.map(|(content, count)| format!("{count} times in the inbox: {}", name(content)));
        let invented = stored.keys().filter(|content| !self.webhooks.contains_key(content));
        let invented = invented.map(|content| format!("in the inbox and never sent: {}", name(content)));
        lost.chain(doubled).chain(invented).collect()
    }
}

/// Enough to find it by, as in `call-status CA… ringing 2`.
fn name((event_type, payload): &Content) -> String {
    let payload: Value = serde_json::from_str(payload).unwrap_or_default();
    let said = ["CallSid", "CallStatus", "SequenceNumber", "DialCallStatus", "RecordingSid"];
    said.iter()
        .filter_map(|name| payload[name].as_str())
        .fold(event_type.clone(), |text, value| format!("{text} {value}"))
}

/// `payload` with its keys sorted: one side has them as they were sent, the other as the database keeps them.
pub(super) fn content(event_type: &str, payload: &Value) -> Content {
    let sorted: BTreeMap<_, _> = payload.as_object().into_iter().flatten().collect();
    (event_type.to_owned(), json!(sorted).to_string())
}

fn event_type(endpoint: Endpoint) -> &'static str {
    match endpoint {
        Endpoint::VoiceInbound => ingest::Endpoint::VoiceInbound,
        Endpoint::VoiceStatus => ingest::Endpoint::VoiceStatus,
        Endpoint::DialAction => ingest::Endpoint::DialAction,
        Endpoint::RecordingStatus => ingest::Endpoint::RecordingStatus,
    }
    .event_type()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lost_doubled_or_invented_is_told_and_what_was_not_accepted_may_be_there_or_not() {
        let content = |name: &str| ("call-status".to_owned(), format!(r#"{{"CallSid":"{name}"}}"#));
        let ledger = Ledger {
            webhooks: [
                ("kept", true),
                ("twice", true),
                ("lost", true),
                ("refused", false),
                ("cut off", false),
            ]
            .map(|(name, accepted)| (content(name), accepted))
            .into(),
            counts: Counts::default(),
        };
        let inbox = ["kept", "twice", "twice", "cut off", "invented"].map(content);
        assert_eq!(
            ledger.differences(inbox.into_iter()),
            [
                "answered 2xx and lost: call-status lost",
                "2 times in the inbox: call-status twice",
                "in the inbox and never sent: call-status invented",
            ]
        );
    }
}
