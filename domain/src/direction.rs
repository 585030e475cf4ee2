//! Which way a call went and who its external party is.
//!
//! The rules are seed 000's "Direction Detection Priority"; where none of them decides, Twilio's own
//! `Direction` breaks the tie. The answer depends on configuration (which numbers and which SIP domain
//! are ours), so it is worked out once, when a call is announced, and stored in the event: a fold never
//! reads configuration.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::phone::{Address, Identity, PhoneNumber, SipUri};

/// The numbers and the SIP domain that are ours, as configured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lines {
    numbers: BTreeSet<PhoneNumber>,
    sip_host: String,
}

impl Lines {
    /// `sip_domain` is compared without Twilio's region label: `acme.sip.us1.twilio.com` and
    /// `acme.sip.twilio.com` are the same domain (seed 000 uses both spellings for one).
    pub fn new(numbers: impl IntoIterator<Item = PhoneNumber>, sip_domain: &str) -> Self {
        Self { numbers: numbers.into_iter().collect(), sip_host: without_region(sip_domain) }
    }

    /// Without a number of ours, Twilio's own direction decides most calls.
    pub fn has_numbers(&self) -> bool {
        !self.numbers.is_empty()
    }

    /// Whether a number is one of ours, which is never a customer.
    pub fn own(&self, number: &PhoneNumber) -> bool {
        self.numbers.contains(number)
    }

    fn side(&self, identity: &Identity) -> Side {
        match identity {
            Identity::Nobody | Identity::Malformed => Side::Unknown,
            Identity::Client(_) => Side::Endpoint,
            Identity::Sip(uri) if without_region(&uri.host) == self.sip_host => Side::Endpoint,
            Identity::Sip(uri) => Side::External(Party::Sip(uri.clone())),
            Identity::Number(number) if self.numbers.contains(number) => Side::OwnNumber,
            Identity::Number(number) => Side::External(Party::Number(number.clone())),
            Identity::Withheld => Side::External(Party::Withheld),
            Identity::ShortCode(code) => Side::External(Party::ShortCode(code.clone())),
            Identity::Name(name) => Side::External(Party::Name(name.clone())),
        }
    }
}

/// Seed 000's four directions, from the business's point of view.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    Inbound,
    Outbound,
    /// Between two endpoints of ours: hidden by the sync filters.
    Internal,
    /// No rule could tell.
    External,
}

impl Direction {
    pub const ALL: [Self; 4] = [Self::Inbound, Self::Outbound, Self::Internal, Self::External];

    /// As it is written in an event, or nothing if there is no such direction.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|direction| direction.as_str() == text)
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Inbound => "inbound",
            Self::Outbound => "outbound",
            Self::Internal => "internal",
            Self::External => "external",
        }
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Twilio's own `Direction` of a leg (contract section 4.2). A value this list does not know is kept.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum TwilioDirection {
    Other(String),
    Inbound,
    OutboundApi,
    OutboundDial,
    TrunkingTerminating,
    TrunkingOriginating,
}

impl TwilioDirection {
    pub fn as_str(&self) -> &str {
        match self {
            Self::Other(text) => text,
            Self::Inbound => "inbound",
            Self::OutboundApi => "outbound-api",
            Self::OutboundDial => "outbound-dial",
            Self::TrunkingTerminating => "trunking-terminating",
            Self::TrunkingOriginating => "trunking-originating",
        }
    }

    fn towards(&self) -> Option<Direction> {
        match self {
            Self::Inbound | Self::TrunkingOriginating => Some(Direction::Inbound),
            Self::OutboundApi | Self::OutboundDial | Self::TrunkingTerminating => Some(Direction::Outbound),
            Self::Other(_) => None,
        }
    }
}

impl From<String> for TwilioDirection {
    fn from(text: String) -> Self {
        match text.as_str() {
            "inbound" => Self::Inbound,
            "outbound-api" => Self::OutboundApi,
            "outbound-dial" => Self::OutboundDial,
            "trunking-terminating" => Self::TrunkingTerminating,
            "trunking-originating" => Self::TrunkingOriginating,
            _ => Self::Other(text),
        }
    }
}

impl From<TwilioDirection> for String {
    fn from(direction: TwilioDirection) -> Self {
        direction.as_str().to_owned()
    }
}

/// The customer's side of a call: never one of our numbers, SIP users or softphones.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Party {
    Number(PhoneNumber),
    /// All withheld callers share one thread and have no contact: they cannot be told apart.
    Withheld,
    ShortCode(String),
    Name(String),
    Sip(SipUri),
}

impl Party {
    /// The natural key of this party's thread: E.164 for a number, else what the field held.
    pub fn key(&self) -> String {
        match self {
            Self::Number(number) => number.as_str().to_owned(),
            Self::Withheld => "withheld".to_owned(),
            Self::ShortCode(text) | Self::Name(text) => text.clone(),
            Self::Sip(uri) => uri.to_string(),
        }
    }

    /// The party with this natural key, where it is of that kind.
    pub fn of_kind(kind: &str, key: &str) -> Option<Self> {
        match kind {
            "number" => PhoneNumber::try_new(key).ok().map(Self::Number),
            "withheld" => Some(Self::Withheld),
            "short_code" => Some(Self::ShortCode(key.to_owned())),
            "name" => Some(Self::Name(key.to_owned())),
            "sip" => match Address::caller(key).identity {
                Identity::Sip(uri) => Some(Self::Sip(uri)),
                _ => None,
            },
            _ => None,
        }
    }

    /// What kind of party it is, as the read model names it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Number(_) => "number",
            Self::Withheld => "withheld",
            Self::ShortCode(_) => "short_code",
            Self::Name(_) => "name",
            Self::Sip(_) => "sip",
        }
    }

    /// For people: seed 001's `+1 (XXX) XXX-XXXX`.
    pub fn display(&self) -> String {
        match self {
            Self::Number(number) => number.display(),
            Self::Withheld => "Withheld number".to_owned(),
            other => other.key(),
        }
    }
}

/// Which rule gave a [`Classification`], kept so that Explain can say why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// One side is a SIP user or a softphone of ours.
    Endpoint,
    /// One side is an owned number.
    OwnedNumber,
    /// Both sides are endpoints of ours.
    BothEndpoints,
    /// No rule decided; Twilio's own direction did.
    TwilioDirection,
    /// Nothing decided.
    Undetermined,
}

impl Rule {
    /// As in an event's payload.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Endpoint => "endpoint",
            Self::OwnedNumber => "owned_number",
            Self::BothEndpoints => "both_endpoints",
            Self::TwilioDirection => "twilio_direction",
            Self::Undetermined => "undetermined",
        }
    }
}

/// What was worked out about a call when it was announced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Classification {
    pub direction: Direction,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub party: Option<Party>,
    pub rule: Rule,
}

enum Side {
    /// A SIP user of our domain, or a softphone.
    Endpoint,
    OwnNumber,
    External(Party),
    /// Empty, absent or malformed.
    Unknown,
}

impl Side {
    fn party(self) -> Option<Party> {
        match self {
            Self::External(party) => Some(party),
            Self::Endpoint | Self::OwnNumber | Self::Unknown => None,
        }
    }
}

/// Classifies a leg by seed 000's priority list: SIP first, then owned numbers, then both SIP, then
/// Twilio's own direction, then "external".
pub fn classify(
    from: Option<&Address>,
    to: Option<&Address>,
    twilio: Option<&TwilioDirection>,
    lines: &Lines,
) -> Classification {
    let side = |address: Option<&Address>| address.map_or(Side::Unknown, |a| lines.side(&a.identity));
    let found = |direction, party, rule| Classification { direction, party, rule };
    match (side(from), side(to)) {
        (Side::Endpoint, Side::Endpoint) => found(Direction::Internal, None, Rule::BothEndpoints),
        (other @ (Side::External(_) | Side::OwnNumber), Side::Endpoint) => {
            found(Direction::Inbound, other.party(), Rule::Endpoint)
        }
        // An empty `To` is a softphone whose app decides whom to dial; Twilio calls that leg inbound,
        // but it is a person of ours who dials (contract section 1.10).
        (Side::Endpoint, other) => found(Direction::Outbound, other.party(), Rule::Endpoint),
        (Side::OwnNumber, Side::External(party)) => {
            found(Direction::Outbound, Some(party), Rule::OwnedNumber)
        }
        (Side::External(party), Side::OwnNumber) => found(Direction::Inbound, Some(party), Rule::OwnedNumber),
        (from, to) => match twilio.and_then(TwilioDirection::towards) {
            Some(Direction::Inbound) => found(Direction::Inbound, from.party(), Rule::TwilioDirection),
            Some(direction) => found(direction, to.party(), Rule::TwilioDirection),
            None => found(Direction::External, from.party().or_else(|| to.party()), Rule::Undetermined),
        },
    }
}

fn without_region(host: &str) -> String {
    let host = host.to_ascii_lowercase();
    let Some(account) = host.strip_suffix(".twilio.com") else { return host };
    match account.split_once(".sip.") {
        Some((name, _region)) => format!("{name}.sip.twilio.com"),
        None => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines() -> Lines {
        Lines::new(
            [PhoneNumber::try_new("+16175006181").unwrap(), PhoneNumber::try_new("+16175006182").unwrap()],
            "abchomes.sip.us1.twilio.com",
        )
    }

    fn classified(from: &str, to: &str, twilio: &str) -> (&'static str, String, Rule) {
        let twilio = (!twilio.is_empty()).then(|| TwilioDirection::from(twilio.to_owned()));
        let found =
            classify(Some(&Address::caller(from)), Some(&Address::callee(to)), twilio.as_ref(), &lines());
        (found.direction.as_str(), found.party.map(|p| p.key()).unwrap_or_default(), found.rule)
    }

    #[test]
    fn seed_000_priority_list_decides_before_twilio() {
        let sip = "sip:dispatcher@abchomes.sip.us1.twilio.com";
        let regionless = "sip:dispatcher@abchomes.sip.twilio.com;transport=tls";
        for (from, to, twilio, direction, party, rule) in [
            ("+15085140320", sip, "outbound-dial", "inbound", "+15085140320", Rule::Endpoint),
            (regionless, "+15085140320", "inbound", "outbound", "+15085140320", Rule::Endpoint),
            (
                regionless,
                "sip:+15085140320@abchomes.sip.twilio.com",
                "inbound",
                "outbound",
                "+15085140320",
                Rule::Endpoint,
            ),
            ("client:alice", "+15085140320", "inbound", "outbound", "+15085140320", Rule::Endpoint),
            ("client:alice", "", "inbound", "outbound", "", Rule::Endpoint),
            ("+16175006181", sip, "outbound-dial", "inbound", "", Rule::Endpoint),
            ("+16175006181", "+15085140320", "inbound", "outbound", "+15085140320", Rule::OwnedNumber),
            ("+15085140320", "+16175006181", "outbound-api", "inbound", "+15085140320", Rule::OwnedNumber),
            ("anonymous", "+16175006181", "inbound", "inbound", "withheld", Rule::OwnedNumber),
            ("+266696687", sip, "outbound-dial", "inbound", "withheld", Rule::Endpoint),
            (
                "sip:bob@pbx.example.com",
                "+16175006181",
                "inbound",
                "inbound",
                "sip:bob@pbx.example.com",
                Rule::OwnedNumber,
            ),
            (sip, "client:alice", "inbound", "internal", "", Rule::BothEndpoints),
        ] {
            assert_eq!(classified(from, to, twilio), (direction, party.to_owned(), rule), "{from} to {to}");
        }
    }

    #[test]
    fn a_party_is_found_again_by_its_kind_and_key() {
        for from in [
            "+15085140320",
            "anonymous",
            "12345",
            "ABCHOMES",
            "sip:bob%20b@pbx.example.com",
            "sip:pbx.example.com",
        ] {
            let party =
                classify(Some(&Address::caller(from)), None, Some(&TwilioDirection::Inbound), &lines())
                    .party
                    .unwrap();
            assert_eq!(Party::of_kind(party.kind(), &party.key()), Some(party), "{from}");
        }
        for (kind, key) in [("number", "12"), ("sip", "bob"), ("planet", "+15085140320")] {
            assert_eq!(Party::of_kind(kind, key), None, "{kind} {key}");
        }
    }

    #[test]
    fn twilio_direction_breaks_the_tie_between_two_strangers() {
        let (a, b) = ("+15085140320", "+19788447773");
        assert_eq!(classified(a, b, "inbound"), ("inbound", a.to_owned(), Rule::TwilioDirection));
        assert_eq!(classified(a, b, "outbound-dial"), ("outbound", b.to_owned(), Rule::TwilioDirection));
        assert_eq!(classified(a, b, "sideways"), ("external", a.to_owned(), Rule::Undetermined));
        assert_eq!(classified(a, b, ""), ("external", a.to_owned(), Rule::Undetermined));
    }

    #[test]
    fn an_owned_number_is_never_the_customer() {
        let (ours, also_ours) = ("+16175006181", "+16175006182");
        assert_eq!(classified(ours, also_ours, "inbound"), ("inbound", String::new(), Rule::TwilioDirection));
        assert_eq!(classified(ours, "", ""), ("external", String::new(), Rule::Undetermined));
    }
}
