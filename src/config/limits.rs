//! How much is done for callers, and how long what was done is kept.

use std::num::NonZeroU32;
use std::time::Duration;

use axum::http::HeaderValue;

use super::source::Settings;
use super::{ConfigError, parse};

/// What callers of the API may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Requests of one caller; nothing: any number.
    pub per_second: Option<NonZeroU32>,
    /// How many at once.
    pub burst: NonZeroU32,
    /// Whose pages may ask, as in `https://desk.example.com`.
    pub cors_allowed_origins: Vec<HeaderValue>,
}

/// How long what can be had again, or has done its work, is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Completed rows of the inbox; nothing: for good.
    pub inbox: Option<Duration>,
    /// The read model that served before.
    pub previous_generation: Duration,
}

pub(super) fn limits(settings: &Settings) -> Result<Limits, ConfigError> {
    Ok(Limits {
        per_second: NonZeroU32::new(parse::number(
            "RATE_LIMIT_PER_SECOND",
            &settings.rate_limit_per_second,
            0..=100_000,
            "a whole number from 0 to 100000, 0 for no limit",
        )?),
        burst: parse::number(
            "RATE_LIMIT_BURST",
            &settings.rate_limit_burst,
            NonZeroU32::MIN..=NonZeroU32::new(1_000_000).unwrap_or(NonZeroU32::MAX),
            "a whole number from 1 to 1000000",
        )?,
        cors_allowed_origins: match settings.cors_allowed_origins.given() {
            None => Vec::new(),
            Some(list) => parse::origins("CORS_ALLOWED_ORIGINS", list)?,
        },
    })
}

pub(super) fn retention(settings: &Settings) -> Result<Retention, ConfigError> {
    const DAY: u64 = 86_400;
    let days = parse::number::<u64>(
        "RETENTION_INBOX_DAYS",
        &settings.retention_inbox_days,
        0..=36_500,
        "a whole number of days from 31, or 0 for good",
    )?;
    // What is younger is counted by the scorecard.
    if (1..31).contains(&days) {
        return Err(ConfigError::Invalid {
            key: "RETENTION_INBOX_DAYS",
            value: days.to_string(),
            expected: "a whole number of days from 31, or 0 for good",
        });
    }
    Ok(Retention {
        inbox: (days > 0).then(|| Duration::from_secs(days * DAY)),
        previous_generation: Duration::from_secs(
            60 * parse::number::<u64>(
                "RETENTION_PREVIOUS_MINUTES",
                &settings.retention_previous_minutes,
                1..=525_600,
                "a whole number of minutes from 1 to 525600",
            )?,
        ),
    })
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    fn config(key: &str, value: &str) -> Result<Config, String> {
        let environment = [(key.to_owned(), value.to_owned())];
        Config::from_sources(environment).map_err(|error| error.to_string())
    }

    #[test]
    fn nobody_may_ask_without_end_and_rows_are_kept_for_90_days_unless_it_is_said() {
        let config = Config::from_sources([]).unwrap();
        assert_eq!(config.limits.per_second.map(std::num::NonZeroU32::get), Some(50));
        assert_eq!(config.limits.burst.get(), 200);
        assert!(config.limits.cors_allowed_origins.is_empty());
        assert_eq!(config.retention.inbox.map(|kept| kept.as_secs()), Some(90 * 86_400));
        assert_eq!(config.retention.previous_generation.as_secs(), 900);
        assert_eq!(config.traces_endpoint, None);
    }

    #[test]
    fn nothing_is_no_limit_and_no_end() {
        assert_eq!(config("RATE_LIMIT_PER_SECOND", "0").unwrap().limits.per_second, None);
        assert_eq!(config("RETENTION_INBOX_DAYS", "0").unwrap().retention.inbox, None);
        assert!(config("RETENTION_INBOX_DAYS", "31").unwrap().retention.inbox.is_some());
    }

    #[test]
    fn what_would_not_do_is_refused_by_its_key() {
        for (key, value) in [
            ("RATE_LIMIT_PER_SECOND", "-1"),
            ("RATE_LIMIT_BURST", "0"),
            // The scorecard would miss what has gone.
            ("RETENTION_INBOX_DAYS", "30"),
            ("RETENTION_PREVIOUS_MINUTES", "0"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "127.0.0.1:4318"),
            ("CORS_ALLOWED_ORIGINS", "*"),
            ("CORS_ALLOWED_ORIGINS", "https://desk.example.com, desk.example.com"),
            // A browser sends no path and no slash.
            ("CORS_ALLOWED_ORIGINS", "https://desk.example.com/"),
        ] {
            let error = config(key, value).unwrap_err();
            assert!(error.starts_with(key) && error.contains("must be"), "{key}={value}: {error}");
        }
        let origins = "https://desk.example.com, http://localhost:8080";
        assert_eq!(config("CORS_ALLOWED_ORIGINS", origins).unwrap().limits.cors_allowed_origins.len(), 2);
    }
}
