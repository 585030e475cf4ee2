//! SIP URIs, reduced to what tells one party from another.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A user at a host. Passwords, ports, parameters and headers say how to get there, not who it is, so they are
/// left out.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SipUri {
    /// With percent escapes decoded: `+15085140320`, never `%2B15085140320`.
    pub user: Option<String>,
    /// In lower case, without port and parameters.
    pub host: String,
}

impl SipUri {
    /// Reads what follows `sip:` or `sips:` (RFC 3261, section 19.1). Never fails: a URI without a host has an
    /// empty one.
    pub(super) fn read(rest: &str) -> SipUri {
        let (userinfo, rest) = match rest.split_once('@') {
            Some((userinfo, rest)) => (Some(userinfo), rest),
            None => (None, rest),
        };
        // A user may carry parameters of its own (`+1508…;phone-context=…`) and a password.
        let user = userinfo.map(|userinfo| decode(before(userinfo, &[';', ':'])));
        let authority = before(rest, &[';', '?', '/']);
        let host = match authority.find(']') {
            Some(end) if authority.starts_with('[') => &authority[..=end],
            _ => before(authority, &[':']),
        };
        SipUri { user: user.filter(|user| !user.is_empty()), host: host.trim().to_ascii_lowercase() }
    }
}

impl fmt::Display for SipUri {
    /// `sip:user@host`, with the characters escaped that would end the user early.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sip:")?;
        if let Some(user) = &self.user {
            for character in user.chars() {
                match character {
                    '@' | ':' | ';' | '%' | '?' | ' '..='"' | '<' | '>' => {
                        write!(f, "%{:02X}", character as u32)?
                    }
                    _ => write!(f, "{character}")?,
                }
            }
            f.write_str("@")?;
        }
        f.write_str(&self.host)
    }
}

fn before<'a>(text: &'a str, ends: &[char]) -> &'a str {
    text.split(ends).next().unwrap_or(text)
}

/// Decodes percent escapes. What is no escape stays as it is, and bytes that are not UTF-8, or that PostgreSQL
/// cannot store, become U+FFFD: this is a name to compare, and the raw text is kept elsewhere.
fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        match escape(&bytes[at..]) {
            Some(byte) => {
                decoded.push(byte);
                at += 3;
            }
            None => {
                decoded.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&decoded).replace('\0', "\u{FFFD}")
}

fn escape(bytes: &[u8]) -> Option<u8> {
    let [b'%', high, low, ..] = bytes else { return None };
    let digit = |byte: u8| char::from(byte).to_digit(16);
    u8::try_from(digit(*high)? * 16 + digit(*low)?).ok()
}
