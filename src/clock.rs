//! What time it is, for what is done on a schedule: the machine's clock, or one that a test sets.

use std::time::Duration;

use time::OffsetDateTime;
use tokio::sync::watch;

/// Cheap to clone; clones show the same time.
#[derive(Clone, Debug)]
pub enum Clock {
    System,
    Set(watch::Receiver<OffsetDateTime>),
}

impl Clock {
    /// A clock that stands until its sender moves it.
    pub fn set(at: OffsetDateTime) -> (watch::Sender<OffsetDateTime>, Self) {
        let (sender, receiver) = watch::channel(at);
        (sender, Self::Set(receiver))
    }

    /// UTC.
    pub fn now(&self) -> OffsetDateTime {
        match self {
            Self::System => OffsetDateTime::now_utc(),
            Self::Set(at) => *at.borrow(),
        }
    }

    /// Returns when it is `at` or later. A clock that nobody moves any more stands for good.
    pub async fn sleep_until(&self, at: OffsetDateTime) {
        match self {
            Self::System => {
                let left = Duration::try_from(at - OffsetDateTime::now_utc()).unwrap_or(Duration::ZERO);
                tokio::time::sleep(left).await;
            }
            Self::Set(clock) => {
                if clock.clone().wait_for(|now| *now >= at).await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[tokio::test]
    async fn a_set_clock_wakes_whoever_waits_for_the_time_that_it_is_moved_to() {
        let (hand, clock) = Clock::set(datetime!(2026-02-08 06:00 UTC));
        let sleeper = tokio::spawn({
            let clock = clock.clone();
            async move { clock.sleep_until(datetime!(2026-02-09 06:00 UTC)).await }
        });
        hand.send_replace(datetime!(2026-02-08 23:00 UTC));
        tokio::task::yield_now().await;
        assert!(!sleeper.is_finished());
        hand.send_replace(datetime!(2026-02-09 06:00 UTC));
        sleeper.await.unwrap();
        assert_eq!(clock.now(), datetime!(2026-02-09 06:00 UTC));
    }
}
