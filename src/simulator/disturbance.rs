//! What the network does to webhooks: some arrive twice, some late, some before their neighbour, and where it is asked
//! for some never.

use std::time::Duration;

use rand::RngExt;

use super::script::{Endpoint, Script, rng};

/// How much of the traffic is disturbed: each is the share of requests, 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Disturbance {
    /// Sent twice, byte for byte.
    pub repeat: f64,
    /// Sent up to a minute after its time.
    pub late: f64,
    /// Arrives just after the next one.
    pub reorder: f64,
    /// Never sent, not even a second time.
    pub drop: f64,
}

/// By how much a request misses the one that overtakes it; less than lies between any two events.
const JUST_AFTER: Duration = Duration::from_millis(20);

impl Default for Disturbance {
    fn default() -> Self {
        Disturbance { repeat: 0.05, late: 0.05, reorder: 0.10, drop: 0.0 }
    }
}

/// One sending of one request of a script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delivery {
    /// When, counted from the start of the family in call time.
    pub at: Duration,
    /// Which of the script's requests.
    pub request: usize,
    /// The second sending of this request.
    pub repeated: bool,
    pub late: bool,
    /// Changed places with a neighbour.
    pub reordered: bool,
}

impl Disturbance {
    /// Everything as it happens.
    pub const NONE: Disturbance = Disturbance { repeat: 0.0, late: 0.0, reorder: 0.0, drop: 0.0 };

    /// When each request of `script` is sent, in the order of sending; equal arguments give equal deliveries.
    ///
    /// A call cannot go on before Twilio has its TwiML, so voice-inbound is never late, only swapped.
    pub fn apply(&self, script: &Script, seed: u64) -> Vec<Delivery> {
        let mut rng = rng(seed, script.index, "disturbance");
        let mut chance = |share: f64| rng.random::<f64>() < share;
        let mut deliveries: Vec<Delivery> = script
            .requests
            .iter()
            .enumerate()
            .map(|(request, &super::Request { at, .. })| Delivery {
                at,
                request,
                repeated: false,
                late: false,
                reordered: false,
            })
            .collect();
        for second in 1..deliveries.len() {
            let first = second - 1;
            if !deliveries[first].reordered && chance(self.reorder) {
                // The first waits for the second: nobody can tell of an event before it happens.
                deliveries[first].at = deliveries[second].at + JUST_AFTER;
                deliveries[first].reordered = true;
                deliveries[second].reordered = true;
            }
        }
        for delivery in &mut deliveries {
            let may_be_late = script.requests[delivery.request].endpoint != Endpoint::VoiceInbound;
            if may_be_late && chance(self.late) {
                delivery.late = true;
            }
        }
        let repeats: Vec<Delivery> = deliveries
            .iter()
            .filter(|_| chance(self.repeat))
            .map(|first| Delivery { repeated: true, ..*first })
            .collect();
        let mut seconds =
            |from: u64, to: u64| Duration::from_millis(rng.random_range(from * 1_000..to * 1_000));
        for delivery in deliveries.iter_mut().filter(|delivery| delivery.late) {
            delivery.at += seconds(5, 60);
        }
        for mut repeat in repeats {
            let first = deliveries[repeat.request].at;
            repeat.at = first + seconds(1, 15);
            deliveries.push(repeat);
        }
        // Drawn last, so that what arrives is disturbed as it would be without.
        let is_dropped: Vec<bool> = script.requests.iter().map(|_| rng.random::<f64>() < self.drop).collect();
        deliveries.retain(|delivery| !is_dropped[delivery.request]);
        deliveries.sort_by_key(|delivery| delivery.at);
        deliveries
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulator::script::tests::{account, started_at};

    fn script(index: u64) -> Script {
        Script::generate(5, index, &account(), started_at())
    }

    #[test]
    fn undisturbed_requests_are_sent_once_in_the_order_of_their_events() {
        for index in 0..60 {
            let script = script(index);
            let deliveries = Disturbance::NONE.apply(&script, 5);
            assert!(deliveries.iter().map(|delivery| delivery.request).eq(0..script.requests.len()));
            assert!(deliveries.iter().zip(&script.requests).all(|(delivery, sent)| delivery.at == sent.at));
        }
    }

    #[test]
    fn nothing_is_lost_and_equal_seeds_disturb_equally() {
        let everything = Disturbance { repeat: 1.0, late: 1.0, reorder: 1.0, drop: 0.0 };
        for index in 0..60 {
            let script = script(index);
            let deliveries = everything.apply(&script, 5);
            assert_eq!(deliveries, everything.apply(&script, 5));
            assert!(deliveries.is_sorted_by_key(|delivery| delivery.at));
            for request in 0..script.requests.len() {
                let sendings: Vec<_> = deliveries.iter().filter(|d| d.request == request).collect();
                assert_eq!(sendings.len(), 2);
                assert!(!sendings[0].repeated && sendings[1].repeated);
            }
        }
    }

    #[test]
    fn about_as_much_is_disturbed_as_was_asked_for() {
        let (mut sent, mut repeated, mut late, mut reordered) = (0.0, 0.0, 0.0, 0.0);
        for index in 0..1_000 {
            for delivery in Disturbance::default().apply(&script(index), 5) {
                sent += f64::from(u8::from(!delivery.repeated));
                repeated += f64::from(u8::from(delivery.repeated));
                late += f64::from(u8::from(delivery.late && !delivery.repeated));
                reordered += f64::from(u8::from(delivery.reordered && !delivery.repeated));
            }
        }
        assert!((0.04..0.06).contains(&(repeated / sent)), "{repeated} of {sent} repeated");
        assert!((0.03..0.06).contains(&(late / sent)), "{late} of {sent} late");
        // Each swap moves two, and the last request has no neighbour to change places with.
        assert!((0.10..0.20).contains(&(reordered / sent)), "{reordered} of {sent} reordered");
    }

    #[test]
    fn a_dropped_request_is_never_sent_and_the_rest_is_what_it_was() {
        let dropping = Disturbance { drop: 0.2, ..Disturbance::default() };
        let (mut requests, mut sent) = (0.0, 0.0);
        for index in 0..600 {
            let script = script(index);
            let all = Disturbance::default().apply(&script, 5);
            let some = dropping.apply(&script, 5);
            let is_sent = |request: usize| some.iter().any(|delivery| delivery.request == request);
            let left: Vec<_> = all.into_iter().filter(|delivery| is_sent(delivery.request)).collect();
            assert_eq!(some, left);
            requests += script.requests.len() as f64;
            sent += (0..script.requests.len()).filter(|request| is_sent(*request)).count() as f64;
            let nothing = Disturbance { drop: 1.0, ..dropping };
            assert_eq!(nothing.apply(&script, 5), []);
        }
        assert!((0.17..0.23).contains(&(1.0 - sent / requests)), "{sent} of {requests} sent");
    }

    #[test]
    fn nothing_is_sent_before_it_happens() {
        let everything = Disturbance { repeat: 1.0, late: 1.0, reorder: 1.0, drop: 0.0 };
        for index in 0..60 {
            let script = script(index);
            for delivery in everything.apply(&script, 5) {
                assert!(delivery.at >= script.requests[delivery.request].at);
            }
        }
    }

    #[test]
    fn neighbours_that_change_places_stay_neighbours() {
        let reorder = Disturbance { reorder: 1.0, ..Disturbance::NONE };
        for index in 0..60 {
            let script = script(index);
            for delivered in reorder.apply(&script, 5).chunks(2) {
                assert!(delivered.len() == 1 || delivered[0].request == delivered[1].request + 1);
            }
        }
    }

    #[test]
    fn the_first_request_is_overtaken_only_by_its_neighbour() {
        let late = Disturbance { late: 1.0, ..Disturbance::NONE };
        let reorder = Disturbance { reorder: 1.0, ..Disturbance::NONE };
        for index in 0..60 {
            let script = script(index);
            if script.requests[0].endpoint == Endpoint::VoiceInbound {
                assert_eq!(late.apply(&script, 5)[0].request, 0);
                assert_eq!(reorder.apply(&script, 5)[1].request, 0);
            }
        }
    }
}
