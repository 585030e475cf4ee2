//! Texts to types, each refusal naming the key, the value and what would do.

use std::ops::RangeInclusive;
use std::str::FromStr;

use axum::http::HeaderValue;
use domain::phone::PhoneNumber;
use domain::sid::AccountSid;
use reqwest::Url;
use secrecy::SecretString;

use super::ConfigError;

pub(super) fn typed<T: FromStr>(
    key: &'static str,
    text: &str,
    expected: &'static str,
) -> Result<T, ConfigError> {
    text.parse().map_err(|_| invalid(key, text, expected))
}

/// Within the range; NaN is within none.
pub(super) fn number<T: FromStr + PartialOrd>(
    key: &'static str,
    text: &str,
    range: RangeInclusive<T>,
    expected: &'static str,
) -> Result<T, ConfigError> {
    let number = typed(key, text, expected)?;
    if range.contains(&number) { Ok(number) } else { Err(invalid(key, text, expected)) }
}

pub(super) fn choice<T: Copy>(
    key: &'static str,
    text: &str,
    choices: &[(&str, T)],
    expected: &'static str,
) -> Result<T, ConfigError> {
    let found = choices.iter().find(|(name, _)| *name == text).map(|(_, choice)| *choice);
    found.ok_or_else(|| invalid(key, text, expected))
}

pub(super) fn boolean(key: &'static str, text: &str) -> Result<bool, ConfigError> {
    typed(key, text, "`true` or `false`")
}

pub(super) fn database_url(key: &'static str, text: &str) -> Result<SecretString, ConfigError> {
    let valid = Url::parse(text).is_ok_and(|url| matches!(url.scheme(), "postgres" | "postgresql"));
    if !valid {
        return Err(ConfigError::InvalidSecret {
            key,
            expected: "a PostgreSQL URL, such as postgres://user:password@host/database",
        });
    }
    Ok(text.into())
}

/// The value of a wrong SID is not shown: it may well be the token, pasted into the wrong place.
pub(super) fn account_sid(key: &'static str, text: &str) -> Result<String, ConfigError> {
    AccountSid::try_new(text).map(|sid| sid.to_string()).map_err(|_| ConfigError::InvalidSecret {
        key,
        expected: "an account SID: AC and 32 hexadecimal digits (the SID of an API key, SK…, cannot check webhooks)",
    })
}

/// The value of a wrong SID is not shown: it may well be the secret.
pub(super) fn api_key_sid(key: &'static str, text: &str) -> Result<String, ConfigError> {
    let hex = text.strip_prefix("SK").unwrap_or_default();
    if hex.len() == 32 && hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        Ok(text.to_owned())
    } else {
        Err(ConfigError::InvalidSecret { key, expected: "an API key's SID: SK and 32 hexadecimal digits" })
    }
}

/// A part of a host name, such as `ie1`.
pub(super) fn host_label(key: &'static str, text: &str) -> Result<String, ConfigError> {
    if is_host_label(text) {
        Ok(text.to_ascii_lowercase())
    } else {
        Err(invalid(key, text, "one word of letters, digits and hyphens, such as `dublin` or `ie1`"))
    }
}

/// `scheme://host[:port][/path]`, kept as it was written but for the scheme's case: Twilio signs the
/// bytes that it was given, and only userinfo and fragment are not part of them (contract §2).
pub(super) fn base_url(key: &'static str, text: &str) -> Result<String, ConfigError> {
    let refused = || {
        // Userinfo is a password more often than not.
        let shown = text.rsplit_once('@').map_or(text.to_owned(), |(_, rest)| format!("…@{rest}"));
        invalid(
            key,
            &shown,
            "an http or https URL with a host and no query, such as https://calls.example.com",
        )
    };
    let (scheme, rest) = text.split_once("://").ok_or_else(refused)?;
    let rest = rest.split_once('#').map_or(rest, |(before, _)| before);
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    // The parser repairs a missing host, a backslash and blanks; Twilio would not.
    let repairable = host.is_empty()
        || host.ends_with(':')
        || rest.bytes().any(|byte| !byte.is_ascii_graphic() || matches!(byte, b'\\' | b'?'));
    let scheme = scheme.to_ascii_lowercase();
    let url = format!("{scheme}://{host}{}", path.trim_end_matches('/'));
    if repairable || !matches!(&*scheme, "http" | "https") || Url::parse(&url).is_err() {
        return Err(refused());
    }
    Ok(url)
}

/// Each as a browser sends it: scheme, host and port, and nothing after them.
pub(super) fn origins(key: &'static str, list: &str) -> Result<Vec<HeaderValue>, ConfigError> {
    let origin = |text: &str| {
        let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https"))?;
        (url.origin().ascii_serialization() == text).then(|| HeaderValue::from_str(text).ok())?
    };
    list.split(',')
        .map(str::trim)
        .filter(|text| !text.is_empty())
        .map(|text| {
            origin(text).ok_or_else(|| {
                invalid(key, text, "origins separated by commas, such as https://desk.example.com")
            })
        })
        .collect()
}

/// The one place where the owned numbers are read.
pub(super) fn owned_numbers(key: &'static str, list: &str) -> Result<Vec<PhoneNumber>, ConfigError> {
    let mut numbers = Vec::new();
    for text in list.split(',').map(str::trim).filter(|text| !text.is_empty()) {
        let number = PhoneNumber::try_new(text).ok().filter(|_| text.starts_with('+')).ok_or_else(|| {
            invalid(key, text, "numbers in E.164 separated by commas, such as +16175006181")
        })?;
        if !numbers.contains(&number) {
            numbers.push(number);
        }
    }
    if numbers.is_empty() {
        return Err(invalid(key, list, "at least one number in E.164, such as +16175006181"));
    }
    Ok(numbers)
}

pub(super) fn sip_user(key: &'static str, text: &str) -> Result<String, ConfigError> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.+".contains(&byte);
    if text.is_empty() || !text.bytes().all(allowed) {
        return Err(invalid(key, text, "the user part of a SIP address, such as `dispatcher`"));
    }
    Ok(text.to_owned())
}

pub(super) fn sip_domain(key: &'static str, text: &str) -> Result<String, ConfigError> {
    if !text.split('.').all(is_host_label) {
        return Err(invalid(key, text, "a host name, such as example.sip.twilio.com"));
    }
    Ok(text.to_ascii_lowercase())
}

fn is_host_label(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

fn invalid(key: &'static str, value: &str, expected: &'static str) -> ConfigError {
    ConfigError::Invalid { key, value: value.to_owned(), expected }
}
