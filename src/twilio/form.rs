//! The body of a webhook: `application/x-www-form-urlencoded`, decoded exactly once (contract section 9, trap
//! 10). The pairs keep their order, their repetitions and their empty values, because the signature covers all
//! of them; a lossy decoder would make a forged or broken body look like a good one.

use std::fmt::Write;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

/// The decoded pairs of a form or of a query string, in the order received.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Form(pub Vec<(String, String)>);

/// Why a body is not a form. The caller answers 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormError {
    #[error("the percent sign at byte {at} of the form is not followed by two hexadecimal digits")]
    BadEscape { at: usize },
    #[error("the name or value that begins at byte {at} of the form is not UTF-8")]
    NotUtf8 { at: usize },
}

impl Form {
    /// Reads a raw body or query string: pairs between `&`, a name and a value around the first `=`, `+` for a
    /// space, percent escapes. A name without `=` has an empty value; empty pairs are skipped.
    pub fn parse(raw: &[u8]) -> Result<Form, FormError> {
        let mut pairs = Vec::new();
        let mut at = 0;
        for pair in raw.split(|byte| *byte == b'&') {
            if !pair.is_empty() {
                let equals = pair.iter().position(|byte| *byte == b'=').unwrap_or(pair.len());
                let value = pair.get(equals + 1..).unwrap_or_default();
                pairs.push((decode(&pair[..equals], at)?, decode(value, at + equals + 1)?));
            }
            at += pair.len() + 1;
        }
        Ok(Form(pairs))
    }

    /// The first value of `name`, which may be empty. Absent is different from empty (contract section 1).
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The form as Twilio would send it: what [`Form::parse`] reads back.
    pub fn encode(&self) -> String {
        let pairs: Vec<String> =
            self.0.iter().map(|(name, value)| format!("{}={}", encode(name), encode(value))).collect();
        pairs.join("&")
    }

    /// An object of strings, for a `jsonb` column: a repeated name has an array of its values in order, and
    /// U+0000, which PostgreSQL cannot store, becomes U+FFFD.
    pub fn to_json(&self) -> Value {
        let mut object = Map::new();
        for (name, value) in &self.0 {
            let value = Value::String(storable(value));
            match object.get_mut(&storable(name)) {
                None => {
                    object.insert(storable(name), value);
                }
                Some(Value::Array(values)) => values.push(value),
                Some(first) => *first = Value::Array(vec![first.take(), value]),
            }
        }
        Value::Object(object)
    }

    /// The SHA-256, in hexadecimal, of the pairs in sorted order, repeated ones included. Each name and value is
    /// preceded by its length, so that `ab=c` and `a=bc`, which share a signature, do not share a digest.
    pub fn digest(&self) -> String {
        let mut pairs: Vec<_> = self.0.iter().collect();
        pairs.sort_unstable();
        let mut hash = Sha256::new();
        for text in pairs.into_iter().flat_map(|(name, value)| [name, value]) {
            hash.update((text.len() as u64).to_be_bytes());
            hash.update(text);
        }
        format!("{:x}", hash.finalize())
    }
}

fn storable(text: &str) -> String {
    text.replace('\0', "\u{FFFD}")
}

fn decode(raw: &[u8], begins_at: usize) -> Result<String, FormError> {
    let mut decoded = Vec::with_capacity(raw.len());
    let mut at = 0;
    while let Some(byte) = raw.get(at) {
        match byte {
            b'+' => decoded.push(b' '),
            b'%' => {
                decoded.push(escape(&raw[at + 1..]).ok_or(FormError::BadEscape { at: begins_at + at })?);
                at += 2;
            }
            _ => decoded.push(*byte),
        }
        at += 1;
    }
    String::from_utf8(decoded).map_err(|_| FormError::NotUtf8 { at: begins_at })
}

fn escape(after_percent: &[u8]) -> Option<u8> {
    let [high, low, ..] = after_percent else { return None };
    let digit = |byte: u8| char::from(byte).to_digit(16);
    u8::try_from(digit(*high)? * 16 + digit(*low)?).ok()
}

fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'*' => {
                encoded.push(char::from(byte))
            }
            b' ' => encoded.push('+'),
            _ => {
                let _ = write!(encoded, "%{byte:02X}");
            }
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn form(pairs: &[(&str, &str)]) -> Form {
        Form(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn a_captured_body_decodes_to_its_pairs() {
        // Contract section 1.2.
        let raw =
            b"Called=%2B551135892112&ToState=SP&Timestamp=Sun%2C+25+Mar+2018+09%3A53%3A19+%2B0000&ToCity=";
        let parsed = Form::parse(raw).unwrap();
        assert_eq!(
            parsed,
            form(&[
                ("Called", "+551135892112"),
                ("ToState", "SP"),
                ("Timestamp", "Sun, 25 Mar 2018 09:53:19 +0000"),
                ("ToCity", ""),
            ])
        );
        assert_eq!(parsed.get("ToCity"), Some(""));
        assert_eq!(parsed.get("FromCity"), None);
        assert_eq!(parsed.encode().as_bytes(), raw);
    }

    #[test]
    fn a_body_is_decoded_once_and_only_once() {
        assert_eq!(
            Form::parse(b"a=%252B1&b=+1555&c=%2b").unwrap(),
            form(&[("a", "%2B1"), ("b", " 1555"), ("c", "+")])
        );
    }

    #[test]
    fn odd_pairs_read_as_browsers_read_them() {
        assert_eq!(Form::parse(b"").unwrap(), form(&[]));
        assert_eq!(
            Form::parse(b"&a&&b=&=c&d=e=f&=&a=2&").unwrap(),
            form(&[("a", ""), ("b", ""), ("", "c"), ("d", "e=f"), ("", ""), ("a", "2")])
        );
        assert_eq!(Form::parse("é=%C3%A9".as_bytes()).unwrap(), form(&[("é", "é")]));
    }

    #[test]
    fn bad_escapes_and_bad_utf8_are_errors_that_say_where() {
        for (raw, error) in [
            (&b"a=%"[..], FormError::BadEscape { at: 2 }),
            (b"a=1&b=x%2", FormError::BadEscape { at: 7 }),
            (b"a=%zz", FormError::BadEscape { at: 2 }),
            (b"a=%+1", FormError::BadEscape { at: 2 }),
            (b"%4=1", FormError::BadEscape { at: 0 }),
            (b"a=1&b=%FF", FormError::NotUtf8 { at: 6 }),
            (b"a=1&\xff=2", FormError::NotUtf8 { at: 4 }),
            (b"a=%ED%A0%80", FormError::NotUtf8 { at: 2 }),
        ] {
            assert_eq!(Form::parse(raw), Err(error), "{raw:?}");
        }
        assert_eq!(
            FormError::NotUtf8 { at: 6 }.to_string(),
            "the name or value that begins at byte 6 of the form is not UTF-8"
        );
    }

    #[test]
    fn the_first_of_a_repeated_name_is_got_and_json_keeps_them_all() {
        let form = Form::parse(b"a=1&b=x%00y&a=&a=3&%00=z").unwrap();
        assert_eq!(form.get("a"), Some("1"));
        assert_eq!(form.get("b"), Some("x\0y"));
        assert_eq!(form.to_json(), json!({"a": ["1", "", "3"], "b": "x\u{fffd}y", "\u{fffd}": "z"}));
    }

    #[test]
    fn the_digest_ignores_order_and_nothing_else() {
        let digest = form(&[("a", "1"), ("b", "2")]).digest();
        assert_eq!(form(&[("b", "2"), ("a", "1")]).digest(), digest);
        for other in [
            form(&[("a", "1"), ("b", "2"), ("b", "2")]),
            form(&[("a", "1"), ("b2", "")]),
            form(&[("a1", ""), ("b", "2")]),
            form(&[("a", "2"), ("b", "1")]),
            form(&[("a", "1")]),
        ] {
            assert_ne!(other.digest(), digest, "{other:?}");
        }
    }

    #[test]
    fn the_digest_of_a_known_form_is_pinned_because_dedupe_keys_are_stored() {
        // printf '\0\0\0\0\0\0\0\1a\0\0\0\0\0\0\0\1b' | sha256sum
        assert_eq!(
            form(&[("a", "b")]).digest(),
            "3c9d591045bc8876f9d0399bbfb05c6a412096e906f73278f98406cd5dca86df"
        );
        assert_eq!(form(&[]).digest(), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    }

    proptest! {
        #[test]
        fn what_is_encoded_reads_back(pairs in proptest::collection::vec(any::<(String, String)>(), 0..8)) {
            let form = Form(pairs);
            prop_assert_eq!(Form::parse(form.encode().as_bytes()), Ok(form));
        }

        #[test]
        fn no_bytes_panic(raw in prop_oneof![
            any::<Vec<u8>>(),
            "[%+=&a0Ff\\x00é]{0,40}".prop_map(String::into_bytes),
        ]) {
            if let Ok(form) = Form::parse(&raw) {
                prop_assert!(!form.to_json().to_string().contains("\\u0000"));
                prop_assert_eq!(Form::parse(form.encode().as_bytes()), Ok(form));
            }
        }
    }
}
