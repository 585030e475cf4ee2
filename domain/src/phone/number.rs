//! Phone numbers in E.164, which is how Twilio writes them and how callbook names a customer.

use std::fmt;
use std::str::FromStr;

use rlibphonenumber::{PHONE_NUMBER_UTIL, PhoneNumberFormat, Region};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A number in E.164, `+15085140320`: `+` and digits, judged *possible* by length, not *valid* by range,
/// because ranges change and a real caller must not disappear.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PhoneNumber(String);

/// Why text is not a phone number. It holds the beginning of that text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PhoneError {
    #[error("{0:?} is not a phone number: expected + and digits, such as +15085140320")]
    NotDigits(String),
    #[error("{0:?} is not a phone number: without + it needs 10 digits, or 11 of which the first is 1")]
    NotNational(String),
    #[error("{0:?} is not a possible phone number: no country has such numbers")]
    NotPossible(String),
}

/// How much of rejected text an error repeats.
const QUOTED_CHARS: usize = 32;

impl PhoneNumber {
    /// Reads `+` and digits, or 10 digits, or 11 that start with 1 (both then North American, seed 000's sync
    /// filters). Spaces, dashes, dots and parentheses are dropped, and a leading space before digits is the
    /// `+` that somebody forgot to encode (contract section 9, trap 10). A trunk prefix that does not belong
    /// in E.164, as in `+44 (0)20 …`, is dropped too.
    pub fn try_new(text: &str) -> Result<Self, PhoneError> {
        let quoted = || text.chars().take(QUOTED_CHARS).collect();
        let digits = digits(text).ok_or_else(|| PhoneError::NotDigits(quoted()))?;
        let given = international(digits).ok_or_else(|| PhoneError::NotNational(quoted()))?;
        let canonical = canonical(&given).ok_or_else(|| PhoneError::NotPossible(quoted()))?;
        Ok(Self(canonical))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// `+1 (508) 514-0320` in North America (seed 000), libphonenumber's international format elsewhere.
    pub fn display(&self) -> String {
        if let Some(national) = self.0.strip_prefix("+1").filter(|national| national.len() == 10) {
            return format!("+1 ({}) {}-{}", &national[..3], &national[3..6], &national[6..]);
        }
        match PHONE_NUMBER_UTIL.parse(&self.0, None) {
            Ok(parsed) => PHONE_NUMBER_UTIL.format(&parsed, PhoneNumberFormat::International).into_owned(),
            Err(_) => self.0.clone(),
        }
    }

    /// The country as ISO 3166 writes it, `US`; none where the number alone does not tell, as with an
    /// unassigned North American area code or international freephone.
    pub fn country(&self) -> Option<String> {
        let parsed = PHONE_NUMBER_UTIL.parse(&self.0, None).ok()?;
        let region = parsed.get_region_code().filter(|region| *region != Region::World)?;
        Some(region.to_string())
    }
}

/// Reads text that is nothing but a number in any of its spellings, as `+` and digits or digits alone.
pub(super) fn digits(text: &str) -> Option<String> {
    let trimmed = text.trim();
    let mut digits = String::with_capacity(trimmed.len() + 1);
    if text.starts_with(' ') && trimmed.starts_with(|first: char| first.is_ascii_digit()) {
        digits.push('+');
    }
    for character in trimmed.chars() {
        match character {
            '0'..='9' => digits.push(character),
            '+' if digits.is_empty() => digits.push(character),
            ' ' | '-' | '.' | '(' | ')' => {}
            _ => return None,
        }
    }
    digits.ends_with(|last: char| last.is_ascii_digit()).then_some(digits)
}

fn international(digits: String) -> Option<String> {
    match digits.len() {
        _ if digits.starts_with('+') => Some(digits),
        10 => Some(format!("+1{digits}")),
        11 if digits.starts_with('1') => Some(format!("+{digits}")),
        _ => None,
    }
}

/// The E.164 form, where it is possible and reads back as itself.
fn canonical(given: &str) -> Option<String> {
    let form = |text: &str| {
        let parsed = PHONE_NUMBER_UTIL.parse(text, None).ok()?;
        PHONE_NUMBER_UTIL
            .is_possible_number(&parsed)
            .then(|| PHONE_NUMBER_UTIL.format(&parsed, PhoneNumberFormat::E164).into_owned())
    };
    let once = form(given)?;
    if once == given || form(&once)? == once {
        return Some(once);
    }
    None
}

/// `+` and at most 20 digits: what [`PhoneNumber`] looks like whichever edition of the numbering plans judged it.
fn has_the_shape(text: &str) -> bool {
    text.strip_prefix('+').is_some_and(|digits| {
        (1..=20).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit())
    })
}

impl fmt::Display for PhoneNumber {
    /// E.164, as [`PhoneNumber::as_str`]. For people there is [`PhoneNumber::display`].
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for PhoneNumber {
    type Err = PhoneError;

    fn from_str(text: &str) -> Result<Self, PhoneError> {
        Self::try_new(text)
    }
}

impl Serialize for PhoneNumber {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for PhoneNumber {
    /// Checks the shape only. Whether a number is possible was judged when it was recorded; a later edition of
    /// the numbering plans must not make an old event unreadable.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if !has_the_shape(&text) {
            let quoted = text.chars().take(QUOTED_CHARS).collect();
            return Err(serde::de::Error::custom(PhoneError::NotDigits(quoted)));
        }
        Ok(Self(text))
    }
}
