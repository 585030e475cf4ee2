//! The last frames, for all clients: whoever is not far behind is served from here, and everybody else from the log.

use std::collections::VecDeque;
use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::watch;

use super::batch::Batch;

/// What is kept of the frames, about a minute of a busy day.
const KEPT_BYTES: usize = 2 << 20;

#[derive(Debug)]
pub(super) struct Recent {
    kept: RwLock<Kept>,
    /// Up to where the log has been told.
    through: watch::Sender<i64>,
}

#[derive(Debug, Default)]
struct Kept {
    /// Everything after this position is here.
    floor: i64,
    size: usize,
    batches: VecDeque<Arc<Batch>>,
}

/// What comes after a position.
#[derive(Debug)]
pub(super) enum Next {
    Batch(Arc<Batch>),
    /// It is in the log, and from the floor on here.
    InTheLog {
        floor: i64,
    },
    /// It is still to come.
    Nothing,
}

impl Recent {
    pub fn after(position: i64) -> Self {
        let kept = Kept { floor: position, ..Kept::default() };
        Self { kept: RwLock::new(kept), through: watch::Sender::new(position) }
    }

    /// Hears of each further batch.
    pub fn through(&self) -> watch::Receiver<i64> {
        self.through.subscribe()
    }

    /// Adds what follows, and tells everybody.
    pub fn push(&self, batch: Batch) {
        let through = batch.through;
        // A panic elsewhere leaves nothing half done in here.
        let mut kept = self.kept.write().unwrap_or_else(PoisonError::into_inner);
        kept.size += batch.size();
        kept.batches.push_back(Arc::new(batch));
        while kept.size > KEPT_BYTES
            && let Some(oldest) = kept.batches.pop_front()
        {
            kept.size -= oldest.size();
            kept.floor = oldest.through;
        }
        drop(kept);
        self.through.send_replace(through);
    }

    /// Passes over what nobody listens to.
    pub fn skip_to(&self, position: i64) {
        let mut kept = self.kept.write().unwrap_or_else(PoisonError::into_inner);
        *kept = Kept { floor: position, ..Kept::default() };
        drop(kept);
        self.through.send_replace(position);
    }

    pub fn next(&self, position: i64) -> Next {
        let kept = self.kept.read().unwrap_or_else(PoisonError::into_inner);
        if position < kept.floor {
            return Next::InTheLog { floor: kept.floor };
        }
        let passed = kept.batches.partition_point(|batch| batch.through <= position);
        kept.batches.get(passed).map_or(Next::Nothing, |batch| Next::Batch(Arc::clone(batch)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn through(next: Next) -> Option<i64> {
        match next {
            Next::Batch(batch) => Some(batch.through),
            Next::InTheLog { .. } | Next::Nothing => None,
        }
    }

    #[test]
    fn whoever_is_at_a_position_gets_the_batch_that_has_the_next_one() {
        let recent = Recent::after(10);
        assert!(matches!(recent.next(10), Next::Nothing));
        for position in [13, 17] {
            recent.push(Batch::of(&[], None, position, "abc"));
        }
        assert!(matches!(recent.next(9), Next::InTheLog { floor: 10 }));
        for (position, expected) in [(10, Some(13)), (12, Some(13)), (13, Some(17)), (17, None), (99, None)] {
            assert_eq!(through(recent.next(position)), expected, "after {position}");
        }
        assert_eq!(*recent.through().borrow(), 17);
    }

    #[test]
    fn what_was_passed_over_is_in_the_log() {
        let recent = Recent::after(0);
        recent.push(Batch::of(&[], None, 3, "abc"));
        recent.skip_to(8);
        assert!(matches!(recent.next(3), Next::InTheLog { floor: 8 }));
        assert!(matches!(recent.next(8), Next::Nothing));
    }
}
