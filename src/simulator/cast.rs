//! Who calls: the people, numbers and places that the simulated calls draw from.
//!
//! Every number is fictional (+1XXX55501NN is reserved for that), every place is the real one of its area code.

use rand::{Rng, RngExt};

/// What carriers put in `From` when the caller withholds the number (CONTRACT §9.11). The last ones spell
/// ANONYMOUS, UNKNOWN, RESTRICTED, UNAVAILABLE and BLOCKED on a keypad.
pub const WITHHELD: [&str; 13] = [
    "anonymous",
    "Anonymous",
    "unknown",
    "restricted",
    "Restricted",
    "unavailable",
    "private",
    "",
    "+266696687",
    "+8656696",
    "+7378742833",
    "+86282452253",
    "+2562533",
];

/// How many different customers there are.
pub const CUSTOMERS: usize = 40;

/// Who answers forwarded calls on the road: mobiles of ours that callbook does not know as ours.
const MOBILES: [&str; 4] = ["+13395550171", "+13395550172", "+13515550173", "+13515550174"];

/// Where a number is, as Twilio puts it into `FromCity`, `FromState`, `FromZip` and `FromCountry`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    pub city: &'static str,
    pub state: &'static str,
    pub zip: &'static str,
    pub country: &'static str,
}

const NOWHERE: Place = Place { city: "", state: "", zip: "", country: "US" };

/// Area codes and their places. The customers live in the first ten; the rest are ours and the mobiles'.
const AREAS: [(&str, &str, &str, &str); 13] = [
    ("508", "WORCESTER", "MA", "01608"),
    ("781", "WALTHAM", "MA", "02451"),
    ("978", "LOWELL", "MA", "01852"),
    ("401", "PROVIDENCE", "RI", "02903"),
    ("603", "MANCHESTER", "NH", "03101"),
    ("207", "PORTLAND", "ME", "04101"),
    ("860", "HARTFORD", "CT", "06103"),
    ("413", "SPRINGFIELD", "MA", "01103"),
    ("212", "NEW YORK", "NY", "10001"),
    ("602", "PHOENIX", "AZ", "85012"),
    ("617", "BOSTON", "MA", "02110"),
    ("339", "", "MA", ""),
    ("351", "", "MA", ""),
];

/// The place of a number; unknown area codes have a country only, foreign numbers not even that.
pub fn place(number: &str) -> Place {
    let Some(national) = number.strip_prefix("+1") else { return Place { country: "", ..NOWHERE } };
    AREAS
        .iter()
        .find(|(area, ..)| national.starts_with(area))
        .map_or(NOWHERE, |&(_, city, state, zip)| Place { city, state, zip, country: "US" })
}

/// The `nth` customer's number, of the form +1XXX55501NN.
pub fn customer(nth: usize) -> String {
    let (area, ..) = AREAS[nth % 10];
    // 27 shares no factor with 100, so no two customers share the last two digits.
    format!("+1{area}55501{:02}", (nth * 27 + 11) % 100)
}

/// A customer, drawn so that few call often and most call seldom (Zipf: the nth calls 1/n as often as the first).
pub fn draw_customer(rng: &mut impl Rng) -> String {
    let weight = |nth: usize| 1.0 / (nth + 1) as f64;
    let total: f64 = (0..CUSTOMERS).map(weight).sum();
    let mut left = rng.random_range(0.0..total);
    let drawn = (0..CUSTOMERS).find(|&nth| {
        left -= weight(nth);
        left < 0.0
    });
    customer(drawn.unwrap_or(CUSTOMERS - 1))
}

pub fn draw_mobile(rng: &mut impl Rng) -> String {
    pick(rng, &MOBILES).to_owned()
}

/// One of `choices`, which must not be empty.
pub fn pick<T: Clone>(rng: &mut impl Rng, choices: &[T]) -> T {
    choices[rng.random_range(0..choices.len())].clone()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{SeedableRng, rngs::StdRng};
    use std::collections::{BTreeMap, BTreeSet};

    #[test]
    fn customers_are_forty_different_fictional_numbers() {
        let numbers: BTreeSet<String> = (0..CUSTOMERS).map(customer).collect();
        assert_eq!(numbers.len(), CUSTOMERS);
        for number in &numbers {
            assert_eq!(number.len(), 12, "{number}");
            assert_eq!(&number[5..10], "55501", "{number}");
            assert_ne!(place(number), NOWHERE);
        }
        assert!(MOBILES.iter().all(|mobile| !numbers.contains(*mobile)));
    }

    #[test]
    fn a_few_customers_call_often_and_most_call_seldom() {
        let mut rng = StdRng::seed_from_u64(7);
        let mut calls: BTreeMap<String, u32> = BTreeMap::new();
        for _ in 0..4_000 {
            *calls.entry(draw_customer(&mut rng)).or_default() += 1;
        }
        let first = calls[&customer(0)];
        assert!(first > 700, "{first} of 4000 by the most frequent caller");
        assert!(calls.len() > 35, "only {} of {CUSTOMERS} customers ever called", calls.len());
    }
}
