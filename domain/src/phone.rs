//! What stands in a From or To field, read once at the edge.
//!
//! Twilio writes E.164 where it can and whatever the carrier sent where it cannot (contract section 1), so
//! one field may hold a number, a SIP URI, a browser client, a sender's name, one of a dozen spellings of
//! "withheld", or nothing. An [`Address`] keeps that text beside what it was taken to mean.

mod number;
mod sip;
#[cfg(test)]
mod tests;

pub use number::{PhoneError, PhoneNumber};
pub use sip::SipUri;

use serde::{Deserialize, Serialize};

/// An identity is a key of the read model; what is longer than any address (in bytes) is none.
const LONGEST: usize = 512;

/// One end of a call: what it was taken to mean, and the text it was read from.
///
/// The order is by identity first, so of two reports of one call that disagree, the greater is the one that
/// says more.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Address {
    pub identity: Identity,
    /// As received, except that U+0000, which PostgreSQL cannot store, is U+FFFD.
    pub raw: String,
}

/// Who a From or To field names, from the least to the most informative.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Identity {
    /// An empty To: a softphone's call often has one (contract section 1.10).
    Nobody,
    /// Digits that are no number, or a scheme with nothing behind it.
    Malformed,
    /// The caller hides the number, or no network knew it. Never a customer (contract section 9, trap 11).
    Withheld,
    /// 3 to 6 digits.
    ShortCode(String),
    /// An alphanumeric sender, or an address of a scheme that is not voice, such as `whatsapp:+1…`.
    Name(String),
    /// The identity of a browser or mobile client, without `client:`.
    Client(String),
    Sip(SipUri),
    Number(PhoneNumber),
}

impl Address {
    /// Reads a From field. An empty one is a caller who withholds the number.
    pub fn caller(raw: &str) -> Address {
        Self::read(raw, Identity::Withheld)
    }

    /// Reads a To field. An empty one is nobody.
    pub fn callee(raw: &str) -> Address {
        Self::read(raw, Identity::Nobody)
    }

    /// What a person reads: `+1 (508) 514-0320`, `sip:dispatcher@…`, `client:alice`, `Withheld number`. It
    /// holds no control characters.
    pub fn display(&self) -> String {
        let text = match &self.identity {
            Identity::Nobody => "Nobody".to_owned(),
            Identity::Malformed => self.raw.trim().to_owned(),
            Identity::Withheld => "Withheld number".to_owned(),
            Identity::ShortCode(code) => code.clone(),
            Identity::Name(name) => name.clone(),
            Identity::Client(identity) => format!("client:{identity}"),
            Identity::Sip(uri) => uri.to_string(),
            Identity::Number(number) => number.display(),
        };
        text.replace(char::is_control, "\u{FFFD}")
    }

    /// What programs read: E.164 for a number, else the text as received.
    pub fn handle(&self) -> &str {
        match &self.identity {
            Identity::Number(number) => number.as_str(),
            _ => &self.raw,
        }
    }

    fn read(raw: &str, empty: Identity) -> Address {
        let raw = raw.replace('\0', "\u{FFFD}");
        let identity = match raw.trim() {
            "" => empty,
            text if text.len() > LONGEST => Identity::Malformed,
            _ => identify(&raw),
        };
        Address { identity, raw }
    }
}

/// The spellings of "withheld" that are words, in lower case (contract section 9, trap 11).
const WITHHELD_WORDS: [&str; 7] =
    ["anonymous", "unknown", "restricted", "unavailable", "blocked", "private", "withheld"];

/// The same words typed on a keypad: ANONYMOUS, UNAVAILABLE, UNKNOWN, BLOCKED, RESTRICTED. Carriers send them
/// as if they were numbers.
const WITHHELD_DIGITS: [&str; 5] = ["266696687", "86282452253", "8656696", "2562533", "7378742833"];

/// Reads text that is not blank. Refusals come first: a withheld number would otherwise pass for a possible
/// one, and every caller who hides would be one customer.
fn identify(raw: &str) -> Identity {
    let text = raw.trim();
    if WITHHELD_WORDS.contains(&text.to_ascii_lowercase().as_str()) {
        return Identity::Withheld;
    }
    if let Some(digits) = number::digits(raw) {
        return identify_digits(&digits);
    }
    match split_scheme(text) {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("client") => identify_client(rest),
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("sip") || scheme.eq_ignore_ascii_case("sips") => {
            identify_sip(rest)
        }
        _ if text.starts_with('+') || !text.contains(char::is_alphanumeric) => Identity::Malformed,
        _ => Identity::Name(text.to_owned()),
    }
}

/// Reads digits, with or without a leading `+`.
fn identify_digits(digits: &str) -> Identity {
    if is_withheld(digits) {
        return Identity::Withheld;
    }
    if let Ok(number) = PhoneNumber::try_new(digits) {
        return Identity::Number(number);
    }
    if !digits.starts_with('+') && (3..=6).contains(&digits.len()) {
        return Identity::ShortCode(digits.to_owned());
    }
    Identity::Malformed
}

fn identify_client(identity: &str) -> Identity {
    if identity.trim().is_empty() {
        return Identity::Malformed;
    }
    Identity::Client(identity.to_owned())
}

/// Reads what follows `sip:`. A URI whose user is a number names that number, since gateways and trunks put a
/// person's number there; any other user is an extension or a softphone.
fn identify_sip(rest: &str) -> Identity {
    let uri = SipUri::read(rest);
    let user = uri.user.as_deref().unwrap_or(&uri.host);
    // RFC 3323 and RFC 3325: a caller who asks for privacy is sip:anonymous@anonymous.invalid.
    if user.eq_ignore_ascii_case("anonymous") || uri.host == "anonymous.invalid" {
        return Identity::Withheld;
    }
    if let Some(digits) = number::digits(user) {
        if is_withheld(&digits) {
            return Identity::Withheld;
        }
        if let Ok(number) = PhoneNumber::try_new(&digits) {
            return Identity::Number(number);
        }
    }
    if uri.host.is_empty() {
        return Identity::Malformed;
    }
    Identity::Sip(uri)
}

fn is_withheld(digits: &str) -> bool {
    WITHHELD_DIGITS.contains(&digits.strip_prefix('+').unwrap_or(digits))
}

/// Splits `scheme:rest` where the scheme is ASCII letters.
fn split_scheme(text: &str) -> Option<(&str, &str)> {
    text.split_once(':').filter(|(scheme, _)| scheme.bytes().all(|byte| byte.is_ascii_alphabetic()))
}
