//! Every setting, read once at start into one typed value, so that nothing further in asks the
//! environment and a wrong setting stops the start with a sentence that names it.
//!
//! The names are the seeds' ("Environment Variables" of seed 000) and a few more; all of them,
//! with their defaults, are in `config/default.toml`.

mod limits;
mod parse;
mod source;
#[cfg(test)]
mod tests;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use domain::phone::PhoneNumber;
use secrecy::{ExposeSecret, SecretString};

pub use limits::{Limits, Retention};
use source::{Layers, Settings, Text};

/// What callbook was told. `Debug` shows no secret.
#[derive(Clone, Debug)]
pub struct Config {
    pub mode: Mode,
    /// Port 0 takes any free one.
    pub bind: SocketAddr,
    /// How long a client may take nothing of what it asked for.
    pub client_patience: Duration,
    pub log_format: LogFormat,
    pub admin_token: Option<SecretString>,
    pub database: Database,
    pub database_max_connections: u32,
    /// The folder of the embedded PostgreSQL, and of the spool unless that is elsewhere.
    pub data_dir: Option<PathBuf>,
    pub spool_dir: Option<PathBuf>,
    /// What the spool sets aside.
    pub spool_bytes: u64,
    pub twilio: Account,
    pub twilio_api: TwilioApi,
    /// Where Twilio reaches us: scheme, host, port and path as given, without userinfo, fragment
    /// and trailing slash, which Twilio does not sign (contract §2).
    pub webhook_base_url: Option<String>,
    /// E.164, in the order given, each once.
    pub owned_numbers: Vec<PhoneNumber>,
    pub sip_user: String,
    /// Lower case.
    pub sip_domain: String,
    pub record_calls: RecordCalls,
    pub reconcile: Reconcile,
    pub limits: Limits,
    pub retention: Retention,
    /// Where traces go; nothing: nowhere.
    pub traces_endpoint: Option<String>,
    /// What the local copies of recordings may take.
    pub recordings_cache_bytes: u64,
    pub simulation: Simulation,
}

/// Characters that nobody guesses.
const SHORTEST_TOKEN: usize = 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Development,
    Production,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
}

#[derive(Clone, Debug)]
pub enum Database {
    /// callbook runs its own PostgreSQL under [`Config::data_dir`].
    Embedded,
    External {
        url: SecretString,
    },
}

#[derive(Clone, Debug)]
pub enum Account {
    Real { sid: String, auth_token: SecretString },
    Simulated,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordCalls {
    Off,
    Dual,
}

/// How Twilio's REST API is asked.
#[derive(Clone, Debug)]
pub struct TwilioApi {
    /// Without a trailing slash, as in `https://api.dublin.ie1.twilio.com`. Nothing: the simulated account's own.
    pub base_url: Option<String>,
    /// An API key's SID and secret; without one the account's own credentials are used.
    pub key: Option<(String, SecretString)>,
    pub requests_at_once: usize,
}

/// How what webhooks missed is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reconcile {
    /// How often each job runs; nothing: never.
    pub hot: Option<Duration>,
    pub warm: Option<Duration>,
    pub cold: Option<Duration>,
    /// How far back the cold job looks.
    pub cold_window: Duration,
    /// How long after its end a priced call is left alone.
    pub settled_after: Duration,
}

/// How the simulated account behaves, if there is one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Simulation {
    /// 0 places no call by itself.
    pub calls_per_minute: f64,
    /// 2.0 passes a minute in half a minute; above zero.
    pub speed: f64,
}

/// Why callbook cannot start with these settings. No variant holds a secret's value.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("cannot read the configuration file {}, which CALLBOOK_CONFIG names", path.display())]
    UnreadableFile { path: PathBuf, source: io::Error },
    /// The parser's own message quotes the line, which may hold a secret; so only the place is told.
    #[error("{} is not valid TOML{}", file.display(), place.as_ref().map(|at| format!(": see {at}")).unwrap_or_default())]
    NotToml { file: PathBuf, place: Option<String> },
    #[error("{} has a key `{key}` that callbook does not know; config/default.toml lists every key", file.display())]
    UnknownKey { file: PathBuf, key: String },
    #[error("`{key}` in {} must be a text, a number or a boolean", file.display())]
    NotAScalar { file: PathBuf, key: String },
    #[error("{key} is not valid UTF-8")]
    NotUnicode { key: String },

    #[error("TWILIO_API_BASE_URL and {other} are both set: unset one, as the URL says where to ask")]
    TwoTwilioHosts { other: &'static str },
    #[error("{key} is `{value}`, but it must be {expected}")]
    Invalid { key: &'static str, value: String, expected: &'static str },
    #[error("{key} (its value is not shown here) must be {expected}")]
    InvalidSecret { key: &'static str, expected: &'static str },
    #[error("{present} is set, but {missing} is not: set both for {what}, or neither to {otherwise}")]
    HalfOfTwo { present: &'static str, missing: &'static str, what: &'static str, otherwise: &'static str },
    #[error("NODE_ENV=production needs {}, which nothing sets", keys.join(", "))]
    MissingInProduction { keys: Vec<&'static str> },
    #[error(
        "DATABASE_URL is set, but TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN are not: set them, or set \
         SIMULATE=true if simulated calls may be written to that database"
    )]
    NoAccountForDatabase,
    #[error(
        "SIMULATE=true and TWILIO_ACCOUNT_SID are both set: unset one, as an account is real or simulated"
    )]
    RealAndSimulated,
}

impl Config {
    /// From this process's environment, and the file that `CALLBOOK_CONFIG` names, if it is set.
    pub fn from_env() -> Result<Self, ConfigError> {
        let environment =
            std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value)));
        Self::build(Layers::read(environment)?)
    }

    /// As [`Config::from_env`], from the given environment instead of the process's.
    pub fn from_sources(
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        Self::build(Layers::read(environment.into_iter().map(|(name, value)| (name, value.into())))?)
    }

    fn build(layers: Layers) -> Result<Self, ConfigError> {
        let mode = mode(&layers.settings(None)?)?;
        let settings = layers.settings(Some(mode))?;
        if mode == Mode::Production {
            require_for_production(&settings)?;
        }
        let twilio = account(&settings)?;
        let database = match settings.database_url.given() {
            None => Database::Embedded,
            Some(url) => Database::External { url: parse::database_url("DATABASE_URL", url)? },
        };
        let simulate = parse::boolean("SIMULATE", &settings.simulate)?;
        match (&twilio, &database) {
            (Account::Real { .. }, _) if simulate => return Err(ConfigError::RealAndSimulated),
            (Account::Simulated, Database::External { .. }) if !simulate => {
                return Err(ConfigError::NoAccountForDatabase);
            }
            _ => {}
        }
        Ok(Self {
            mode,
            bind: SocketAddr::new(
                parse::typed::<IpAddr>(
                    "BIND_ADDRESS",
                    &settings.bind_address,
                    "an IP address, such as 127.0.0.1 or 0.0.0.0",
                )?,
                parse::number("PORT", &settings.port, 0..=65_535, "a port number from 0 to 65535")?,
            ),
            client_patience: Duration::from_secs(parse::number(
                "CLIENT_PATIENCE_SECONDS",
                &settings.client_patience_seconds,
                1..=3_600,
                "a whole number of seconds from 1 to 3600",
            )?),
            log_format: parse::choice(
                "LOG_FORMAT",
                &settings.log_format,
                &[("text", LogFormat::Text), ("json", LogFormat::Json)],
                "`text` or `json`",
            )?,
            admin_token: admin_token(&settings)?,
            database,
            database_max_connections: parse::number(
                "DATABASE_MAX_CONNECTIONS",
                &settings.database_max_connections,
                3..=1_000,
                "a whole number from 3 to 1000",
            )?,
            data_dir: settings.callbook_data_dir.given().map(PathBuf::from),
            spool_dir: settings.spool_dir.given().map(PathBuf::from),
            spool_bytes: parse::number::<u64>(
                "SPOOL_MEBIBYTES",
                &settings.spool_mebibytes,
                1..=65_536,
                "a whole number from 1 to 65536",
            )? << 20,
            owned_numbers: owned_numbers(&settings, &twilio)?,
            twilio_api: twilio_api(&settings, &twilio)?,
            twilio,
            webhook_base_url: match settings.webhook_base_url.given() {
                None => None,
                Some(url) => Some(parse::base_url("WEBHOOK_BASE_URL", url)?),
            },
            sip_user: parse::sip_user("SIP_USER", &settings.sip_user)?,
            sip_domain: parse::sip_domain("SIP_DOMAIN", &settings.sip_domain)?,
            record_calls: parse::choice(
                "RECORD_CALLS",
                &settings.record_calls,
                &[("off", RecordCalls::Off), ("dual", RecordCalls::Dual)],
                "`off` or `dual`",
            )?,
            reconcile: reconcile(&settings)?,
            limits: limits::limits(&settings)?,
            retention: limits::retention(&settings)?,
            traces_endpoint: match settings.otel_exporter_otlp_endpoint.given() {
                None => None,
                Some(url) => Some(parse::base_url("OTEL_EXPORTER_OTLP_ENDPOINT", url)?),
            },
            recordings_cache_bytes: parse::number::<u64>(
                "RECORDINGS_CACHE_MEBIBYTES",
                &settings.recordings_cache_mebibytes,
                1..=1_048_576,
                "a whole number from 1 to 1048576",
            )? << 20,
            simulation: Simulation {
                calls_per_minute: parse::number(
                    "SIMULATION_CALLS_PER_MINUTE",
                    &settings.simulation_calls_per_minute,
                    0.0..=60_000.0,
                    "a number from 0 to 60000",
                )?,
                speed: parse::number(
                    "SIMULATION_SPEED",
                    &settings.simulation_speed,
                    0.01..=10_000.0,
                    "a number from 0.01 to 10000",
                )?,
            },
        })
    }
}

fn admin_token(settings: &Settings) -> Result<Option<SecretString>, ConfigError> {
    const KEY: &str = "CALLBOOK_ADMIN_TOKEN";
    let Some(token) = settings.callbook_admin_token.given().map(SecretString::from) else { return Ok(None) };
    let printed = token.expose_secret().chars().all(|character| character.is_ascii_graphic());
    if !printed || token.expose_secret().len() < SHORTEST_TOKEN {
        let expected =
            "at least 20 printed ASCII characters without spaces, such as those of `openssl rand -hex 32`";
        return Err(ConfigError::InvalidSecret { key: KEY, expected });
    }
    Ok(Some(token))
}

fn mode(settings: &Settings) -> Result<Mode, ConfigError> {
    parse::choice(
        "NODE_ENV",
        &settings.node_env,
        &[("development", Mode::Development), ("production", Mode::Production)],
        "`development` or `production`",
    )
}

/// All at once, so that a first deployment is not a guessing game.
fn require_for_production(settings: &Settings) -> Result<(), ConfigError> {
    let keys: Vec<_> = [
        ("DATABASE_URL", &settings.database_url),
        ("TWILIO_ACCOUNT_SID", &settings.twilio_account_sid),
        ("TWILIO_AUTH_TOKEN", &settings.twilio_auth_token),
        ("WEBHOOK_BASE_URL", &settings.webhook_base_url),
    ]
    .into_iter()
    .filter(|(_, value)| value.given().is_none())
    .map(|(key, _)| key)
    .collect();
    if keys.is_empty() { Ok(()) } else { Err(ConfigError::MissingInProduction { keys }) }
}

fn account(settings: &Settings) -> Result<Account, ConfigError> {
    const SID: &str = "TWILIO_ACCOUNT_SID";
    const TOKEN: &str = "TWILIO_AUTH_TOKEN";
    let given = both(
        (SID, &settings.twilio_account_sid),
        (TOKEN, &settings.twilio_auth_token),
        "a Twilio account",
        "simulate one",
    )?;
    match given {
        None => Ok(Account::Simulated),
        Some((sid, token)) => {
            Ok(Account::Real { sid: parse::account_sid(SID, sid)?, auth_token: token.into() })
        }
    }
}

/// Two settings of which one is of no use without the other.
fn both<'a>(
    (first, a): (&'static str, &'a Text),
    (second, b): (&'static str, &'a Text),
    what: &'static str,
    otherwise: &'static str,
) -> Result<Option<(&'a str, &'a str)>, ConfigError> {
    match (a.given(), b.given()) {
        (None, None) => Ok(None),
        (Some(a), Some(b)) => Ok(Some((a, b))),
        (Some(_), None) => Err(ConfigError::HalfOfTwo { present: first, missing: second, what, otherwise }),
        (None, Some(_)) => Err(ConfigError::HalfOfTwo { present: second, missing: first, what, otherwise }),
    }
}

fn twilio_api(settings: &Settings, twilio: &Account) -> Result<TwilioApi, ConfigError> {
    const KEY: &str = "TWILIO_API_KEY_SID";
    let key = both(
        (KEY, &settings.twilio_api_key_sid),
        ("TWILIO_API_KEY_SECRET", &settings.twilio_api_key_secret),
        "an API key",
        "use the account's own credentials",
    )?;
    let edge = settings.twilio_edge.given().map(|edge| parse::host_label("TWILIO_EDGE", edge)).transpose()?;
    let region = settings
        .twilio_region
        .given()
        .map(|region| parse::host_label("TWILIO_REGION", region))
        .transpose()?;
    let base_url = match (settings.twilio_api_base_url.given(), edge, region, twilio) {
        (Some(_), Some(_), _, _) => return Err(ConfigError::TwoTwilioHosts { other: "TWILIO_EDGE" }),
        (Some(_), _, Some(_), _) => return Err(ConfigError::TwoTwilioHosts { other: "TWILIO_REGION" }),
        (Some(url), None, None, _) => Some(parse::base_url("TWILIO_API_BASE_URL", url)?),
        (None, _, _, Account::Simulated) => None,
        // As Twilio's libraries put a host together (contract section 4).
        (None, None, None, _) => Some("https://api.twilio.com".to_owned()),
        (None, None, Some(region), _) => Some(format!("https://api.{region}.twilio.com")),
        (None, Some(edge), region, _) => {
            Some(format!("https://api.{edge}.{}.twilio.com", region.as_deref().unwrap_or("us1")))
        }
    };
    Ok(TwilioApi {
        base_url,
        key: match key {
            None => None,
            Some((sid, secret)) => Some((parse::api_key_sid(KEY, sid)?, secret.into())),
        },
        requests_at_once: parse::number(
            "TWILIO_REQUESTS_AT_ONCE",
            &settings.twilio_requests_at_once,
            1..=100,
            "a whole number from 1 to 100",
        )?,
    })
}

fn reconcile(settings: &Settings) -> Result<Reconcile, ConfigError> {
    let every = |key, text| {
        let seconds = parse::number(key, text, 0..=31_536_000, "a whole number of seconds, 0 for never")?;
        Ok((seconds > 0).then(|| Duration::from_secs(seconds)))
    };
    const HOUR: u64 = 3_600;
    Ok(Reconcile {
        hot: every("RECONCILE_HOT_SECONDS", &settings.reconcile_hot_seconds)?,
        warm: every("RECONCILE_WARM_SECONDS", &settings.reconcile_warm_seconds)?,
        cold: every("RECONCILE_COLD_SECONDS", &settings.reconcile_cold_seconds)?,
        cold_window: Duration::from_secs(
            24 * HOUR
                * parse::number(
                    "RECONCILE_COLD_DAYS",
                    &settings.reconcile_cold_days,
                    1..=400,
                    "a whole number from 1 to 400",
                )?,
        ),
        settled_after: Duration::from_secs(
            HOUR * parse::number(
                "RECONCILE_SETTLED_HOURS",
                &settings.reconcile_settled_hours,
                1..=9_600,
                "a whole number from 1 to 9600",
            )?,
        ),
    })
}

/// A simulated business has a number even if nobody named one; a real one never gets an invented one.
fn owned_numbers(settings: &Settings, twilio: &Account) -> Result<Vec<PhoneNumber>, ConfigError> {
    const SIMULATED: &str = "+16175006181";
    match (settings.owned_phone_numbers.given(), twilio) {
        (Some(list), _) => parse::owned_numbers("OWNED_PHONE_NUMBERS", list),
        (None, Account::Simulated) => parse::owned_numbers("OWNED_PHONE_NUMBERS", SIMULATED),
        (None, Account::Real { .. }) => Ok(Vec::new()),
    }
}
