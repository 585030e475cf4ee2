//! How patiently Twilio is asked.

use std::time::Duration;

/// How often, and after which pauses, what failed is asked again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// The first pause; each further one may be twice as long.
    pub first: Duration,
    /// No pause that is our own choice is longer.
    pub longest: Duration,
    /// Nor one that Twilio asks for by `Retry-After`.
    pub longest_asked_for: Duration,
    /// Tries in all, the first included.
    pub tries: u32,
    /// From the first byte sent to the last byte of the answer; media may take any time.
    pub whole_request: Duration,
}

impl Default for Pace {
    /// The official helper library's first pause; more tries than its three, because nobody waits (contract
    /// section 4.7).
    fn default() -> Self {
        Self {
            first: Duration::from_millis(100),
            longest: Duration::from_secs(10),
            longest_asked_for: Duration::from_secs(60),
            tries: 8,
            whole_request: Duration::from_secs(30),
        }
    }
}

impl Pace {
    /// The pause after the given number of failures: full jitter, so that those that failed together do not come back
    /// together. `chance` is from 0 to 1. What Twilio asked for is waited for in any case.
    pub(super) fn pause(&self, failures: u32, asked_for: Option<Duration>, chance: f64) -> Duration {
        let doubled = self.first.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1)));
        let own = doubled.min(self.longest).mul_f64(chance.clamp(0.0, 1.0));
        match asked_for {
            None => own,
            Some(asked_for) => asked_for.min(self.longest_asked_for).saturating_add(own),
        }
    }

    /// How long after the loss of an answer a list may show what it was about: Twilio's lists lag (contract
    /// section 4.1).
    pub(super) fn looks(&self) -> impl Iterator<Item = Duration> + use<> {
        let first = self.first;
        [0, 10, 20, 40].into_iter().map(move |times| first.saturating_mul(times))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_doubles_up_to_the_longest_and_is_any_part_of_that() {
        let pace = Pace::default();
        let pause = |failures, chance| pace.pause(failures, None, chance).as_millis();
        assert_eq!([1, 2, 3, 4].map(|failures| pause(failures, 1.0)), [100, 200, 400, 800]);
        assert_eq!(pause(30, 1.0), 10_000);
        assert_eq!(pause(u32::MAX, 1.0), 10_000);
        assert_eq!(pause(3, 0.25), 100);
        assert_eq!(pause(3, 0.0), 0);
    }

    #[test]
    fn what_twilio_asks_for_is_waited_for_within_reason() {
        let pace = Pace::default();
        assert_eq!(pace.pause(1, Some(Duration::from_secs(7)), 0.0).as_secs(), 7);
        assert_eq!(pace.pause(1, Some(Duration::from_secs(86_400)), 0.0).as_secs(), 60);
        assert!(pace.pause(1, Some(Duration::from_secs(7)), 0.5) > Duration::from_secs(7), "not all at once");
    }
}
