//! What is done to callbook in one round, drawn from the seed.

use std::fmt;
use std::time::Duration;

use rand::{Rng, RngExt};

/// What happens, each after a wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub faults: Vec<(Duration, Fault)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// `kill -9`, and started again after a while.
    KillCallbook { away: Duration },
    /// `kill -9` of the postmaster, which callbook starts again.
    KillPostgres,
    /// Both at once, so that nobody stops in good order.
    KillBoth,
    /// Every process of it is stopped for a while, as by a disk that hangs.
    FreezePostgres { how_long: Duration },
}

impl Plan {
    /// callbook is killed, then PostgreSQL, and in two rounds of three something else as well.
    pub fn draw(chance: &mut impl Rng) -> Self {
        let mut millis = |range| Duration::from_millis(chance.random_range(range));
        let mut faults = vec![
            (millis(100..2_000), Fault::KillCallbook { away: millis(0..400) }),
            (millis(0..2_000), Fault::KillPostgres),
        ];
        let (wait, how_long) = (millis(0..1_500), millis(200..1_800));
        match chance.random_range(0..3) {
            0 => faults.push((wait, Fault::KillBoth)),
            1 => faults.push((wait, Fault::FreezePostgres { how_long })),
            _ => {}
        }
        Self { faults }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KillCallbook { away } => {
                write!(f, "callbook killed, away for {} ms,", away.as_millis())
            }
            Self::KillPostgres => f.write_str("PostgreSQL killed"),
            Self::KillBoth => f.write_str("both killed"),
            Self::FreezePostgres { how_long } => {
                write!(f, "PostgreSQL frozen for {} ms", how_long.as_millis())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    #[test]
    fn equal_seeds_draw_equal_plans_and_every_round_kills_both() {
        let plans = |seed| {
            let mut chance = StdRng::seed_from_u64(seed);
            (0..50).map(|_| Plan::draw(&mut chance)).collect::<Vec<_>>()
        };
        assert_eq!(plans(1), plans(1));
        assert_ne!(plans(1), plans(2));
        for plan in plans(1) {
            assert!(matches!(plan.faults[0].1, Fault::KillCallbook { .. }));
            assert_eq!(plan.faults[1].1, Fault::KillPostgres);
        }
        let third = |fault: fn(&Fault) -> bool| {
            plans(1).iter().filter(|plan| plan.faults.get(2).is_some_and(|(_, it)| fault(it))).count()
        };
        assert!(third(|fault| *fault == Fault::KillBoth) > 5);
        assert!(third(|fault| matches!(fault, Fault::FreezePostgres { .. })) > 5);
    }
}
