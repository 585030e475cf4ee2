//! Where settings come from, before anybody looks at what they say: layers of plain text, so that
//! one place parses them and every complaint has the same form.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::ops::Deref;
use std::path::PathBuf;

use figment::Figment;
use figment::error::Kind;
use figment::providers::{Format, Serialized, Toml};
use serde::de::{Deserialize, Deserializer, Visitor};

use super::{ConfigError, Mode};

const DEFAULTS: &str = include_str!("../../config/default.toml");
const PRODUCTION: &str = include_str!("../../config/production.toml");
/// Names the file; the one name that is no key, because a file cannot name itself.
const FILE: &str = "CALLBOOK_CONFIG";

/// Every key, as text. No field is optional: `config/default.toml` has them all.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Settings {
    pub node_env: Text,
    pub port: Text,
    pub bind_address: Text,
    pub client_patience_seconds: Text,
    pub log_format: Text,
    pub callbook_admin_token: Text,
    pub database_url: Text,
    pub database_max_connections: Text,
    pub callbook_data_dir: Text,
    pub spool_dir: Text,
    pub spool_mebibytes: Text,
    pub twilio_account_sid: Text,
    pub twilio_auth_token: Text,
    pub twilio_api_key_sid: Text,
    pub twilio_api_key_secret: Text,
    pub twilio_edge: Text,
    pub twilio_region: Text,
    pub twilio_api_base_url: Text,
    pub twilio_requests_at_once: Text,
    pub webhook_base_url: Text,
    pub owned_phone_numbers: Text,
    pub sip_user: Text,
    pub sip_domain: Text,
    pub record_calls: Text,
    pub reconcile_hot_seconds: Text,
    pub reconcile_warm_seconds: Text,
    pub reconcile_cold_seconds: Text,
    pub reconcile_cold_days: Text,
    pub reconcile_settled_hours: Text,
    pub recordings_cache_mebibytes: Text,
    pub rate_limit_per_second: Text,
    pub rate_limit_burst: Text,
    pub cors_allowed_origins: Text,
    pub retention_inbox_days: Text,
    pub retention_previous_minutes: Text,
    pub otel_exporter_otlp_endpoint: Text,
    pub simulate: Text,
    pub simulation_calls_per_minute: Text,
    pub simulation_speed: Text,
}

/// The layers over the embedded ones, read but not yet laid over each other.
pub(super) struct Layers {
    file: Option<(PathBuf, String)>,
    environment: BTreeMap<String, String>,
}

impl Layers {
    /// Takes the names that are settings and leaves the rest of the environment alone.
    /// An empty value counts as unset, which is how container platforms unset one.
    pub(super) fn read(environment: impl Iterator<Item = (String, OsString)>) -> Result<Self, ConfigError> {
        let known = keys(DEFAULTS)?;
        let mut layers = Self { file: None, environment: BTreeMap::new() };
        for (name, value) in environment.filter(|(_, value)| !value.is_empty()) {
            if name == FILE {
                let path = PathBuf::from(value);
                match std::fs::read_to_string(&path) {
                    Ok(text) => layers.file = Some((path, text)),
                    Err(source) => return Err(ConfigError::UnreadableFile { path, source }),
                }
                continue;
            }
            let key = name.to_ascii_lowercase();
            if name != name.to_ascii_uppercase() || !known.contains_key(&key) {
                continue;
            }
            let value = value.into_string().map_err(|_| ConfigError::NotUnicode { key: name })?;
            if !value.trim().is_empty() {
                layers.environment.insert(key, value);
            }
        }
        Ok(layers)
    }

    /// `None` for a first look at NODE_ENV, which a file may set too.
    pub(super) fn settings(&self, mode: Option<Mode>) -> Result<Settings, ConfigError> {
        let mut figment = Figment::from(Toml::string(DEFAULTS));
        if mode == Some(Mode::Production) {
            figment = figment.merge(Toml::string(PRODUCTION));
        }
        if let Some((_, text)) = &self.file {
            figment = figment.merge(Toml::string(text));
        }
        figment
            .merge(Serialized::defaults(&self.environment))
            .extract()
            .map_err(|error| self.complaint(error))
    }

    /// The embedded files are tested and the environment holds known texts only, so what cannot be
    /// read as [`Settings`] stands in the file.
    fn complaint(&self, error: figment::Error) -> ConfigError {
        let file = self.file.as_ref().map_or_else(|| "config/default.toml".into(), |(path, _)| path.clone());
        complaint(file, error)
    }
}

fn keys(text: &str) -> Result<BTreeMap<String, Text>, ConfigError> {
    Figment::from(Toml::string(text))
        .extract()
        .map_err(|error| complaint("config/default.toml".into(), error))
}

fn complaint(file: PathBuf, error: figment::Error) -> ConfigError {
    match error.kind {
        Kind::UnknownField(key, _) => ConfigError::UnknownKey { file, key },
        Kind::InvalidType(..) => ConfigError::NotAScalar { file, key: error.path.join(".") },
        Kind::Message(text) => {
            let place = text.lines().next().and_then(|line| line.strip_prefix("TOML parse error at "));
            ConfigError::NotToml { file, place: place.map(str::to_owned) }
        }
        _ => ConfigError::NotToml { file, place: None },
    }
}

/// A setting as it was written: `3000` and `"3000"` are one. Trimmed, since a secret mounted as a
/// file ends with a newline more often than not.
pub(super) struct Text(String);

impl Text {
    /// Nothing if it is empty.
    pub(super) fn given(&self) -> Option<&str> {
        (!self.0.is_empty()).then_some(&*self.0)
    }
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Scalar;

        impl Visitor<'_> for Scalar {
            type Value = Text;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text, a number or a boolean")
            }

            fn visit_str<E>(self, value: &str) -> Result<Text, E> {
                Ok(Text(value.trim().to_owned()))
            }

            fn visit_bool<E>(self, value: bool) -> Result<Text, E> {
                Ok(Text(value.to_string()))
            }

            fn visit_i64<E>(self, value: i64) -> Result<Text, E> {
                Ok(Text(value.to_string()))
            }

            fn visit_u64<E>(self, value: u64) -> Result<Text, E> {
                Ok(Text(value.to_string()))
            }

            fn visit_f64<E>(self, value: f64) -> Result<Text, E> {
                Ok(Text(value.to_string()))
            }
        }

        deserializer.deserialize_any(Scalar)
    }
}
