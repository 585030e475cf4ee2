//! Twilio's identifiers, parsed once at the edge so that an Account SID can never stand where a Call SID
//! belongs, and nothing else can stand where a SID does.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Why a string is not the SID that was asked for. It holds the beginning of what stood there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SidError {
    #[error("{0:?} is not a Call SID: expected CA and 32 hexadecimal digits")]
    NotCall(String),
    #[error("{0:?} is not an Account SID: expected AC and 32 hexadecimal digits")]
    NotAccount(String),
    #[error("{0:?} is not a Recording SID: expected RE and 32 hexadecimal digits")]
    NotRecording(String),
}

/// How much of a rejected value an error repeats: enough to recognise it, and no more of a stranger's text.
const QUOTED_CHARS: usize = 64;

/// Two letters and 32 hexadecimal digits of either case (`^CA[0-9a-fA-F]{32}$` in Twilio's OpenAPI document).
fn is_sid(prefix: &str, value: &str) -> bool {
    value
        .strip_prefix(prefix)
        .is_some_and(|digits| digits.len() == 32 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

macro_rules! sid {
    ($(#[$doc:meta])* $name:ident, $prefix:literal, $error:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// Accepts the two letters and 32 hexadecimal digits, kept as written: SIDs compare byte by byte.
            pub fn try_new(value: &str) -> Result<Self, SidError> {
                if !is_sid($prefix, value) {
                    return Err(SidError::$error(value.chars().take(QUOTED_CHARS).collect()));
                }
                Ok(Self(value.to_owned()))
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = SidError;

            fn from_str(value: &str) -> Result<Self, SidError> {
                Self::try_new(value)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let value = String::deserialize(deserializer)?;
                if !is_sid($prefix, &value) {
                    return Self::try_new(&value).map_err(serde::de::Error::custom);
                }
                Ok(Self(value))
            }
        }
    };
}

sid!(
    /// One leg of a call: `CA` and 32 hexadecimal digits. A forwarded call has two, parent and child.
    CallSid, "CA", NotCall
);
sid!(
    /// The account, or subaccount, that a request is about: `AC` and 32 hexadecimal digits.
    AccountSid, "AC", NotAccount
);
sid!(
    /// One recording: `RE` and 32 hexadecimal digits.
    RecordingSid, "RE", NotRecording
);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The Call SID in seed 000's event payload.
    const CALL: &str = "CA27d559117edb45aac8a0270ac2f97b10";

    #[test]
    fn a_call_sid_is_ca_and_32_hexadecimal_digits_of_either_case() {
        assert_eq!(CallSid::try_new(CALL).unwrap().as_str(), CALL);
        let upper = "CA27D559117EDB45AAC8A0270AC2F97B10";
        assert_eq!(CallSid::try_new(upper).unwrap().to_string(), upper);
    }

    #[test]
    fn anything_else_is_refused() {
        let long = format!("{CALL}0");
        let newline = format!("{CALL}\n");
        let wide = format!("CA{}", "é".repeat(16));
        for value in
            ["", "CA", "CA123", &CALL[..33], &long, &newline, &wide, "ca27d559117edb45aac8a0270ac2f97b10"]
        {
            assert!(CallSid::try_new(value).is_err(), "{value:?} was taken for a Call SID");
        }
    }

    #[test]
    fn one_kind_of_sid_does_not_pass_for_another() {
        let digits = &CALL[2..];
        assert!(AccountSid::try_new(&format!("AC{digits}")).is_ok());
        assert!(RecordingSid::try_new(&format!("RE{digits}")).is_ok());
        assert!(AccountSid::try_new(CALL).is_err());
        assert!(RecordingSid::try_new(CALL).is_err());
        assert!(CallSid::try_new(&format!("AC{digits}")).is_err());
    }

    #[test]
    fn the_error_names_the_value_and_what_was_expected() {
        let error = CallSid::try_new("CA123").unwrap_err();
        assert_eq!(error, SidError::NotCall("CA123".into()));
        assert_eq!(error.to_string(), r#""CA123" is not a Call SID: expected CA and 32 hexadecimal digits"#);
        let error = AccountSid::try_new(&"x".repeat(1_000_000)).unwrap_err();
        assert!(error.to_string().len() < 200);
    }

    #[test]
    fn json_holds_a_plain_string_and_is_validated_on_the_way_in() {
        let sid: CallSid = CALL.parse().unwrap();
        let json = serde_json::to_string(&sid).unwrap();
        assert_eq!(json, format!("{CALL:?}"));
        assert_eq!(serde_json::from_str::<CallSid>(&json).unwrap(), sid);
        let error = serde_json::from_str::<CallSid>(r#""CA123""#).unwrap_err();
        assert!(error.to_string().contains("is not a Call SID"), "{error}");
    }

    proptest! {
        #[test]
        fn no_input_panics(value in any::<String>()) {
            let _ = CallSid::try_new(&value);
        }

        #[test]
        fn every_sid_of_the_published_pattern_is_accepted(value in "CA[0-9a-fA-F]{32}") {
            prop_assert_eq!(CallSid::try_new(&value).unwrap().to_string(), value);
        }
    }
}
