//! What an operator may say, and what callbook answers.

use std::fmt::Write as _;
use std::path::Path;

use secrecy::ExposeSecret;

use super::*;

const SID: &str = "AC0123456789abcdef0123456789abcdef";
const TOKEN: &str = "fedcba9876543210fedcba9876543210";
const ACCOUNT: [(&str, &str); 2] = [("TWILIO_ACCOUNT_SID", SID), ("TWILIO_AUTH_TOKEN", TOKEN)];
const DATABASE: (&str, &str) = ("DATABASE_URL", "postgres://callbook:hunter2@db.example/callbook");
const PRODUCTION: [(&str, &str); 5] = [
    ("NODE_ENV", "production"),
    DATABASE,
    ACCOUNT[0],
    ACCOUNT[1],
    ("WEBHOOK_BASE_URL", "https://calls.example.com"),
];

fn config(environment: &[(&str, &str)]) -> Result<Config, ConfigError> {
    Config::from_sources(environment.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())))
}

fn error(environment: &[(&str, &str)]) -> String {
    config(environment).unwrap_err().to_string()
}

fn with_file(text: &str, environment: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("callbook.toml");
    std::fs::write(&path, text).unwrap();
    let mut environment = environment.to_vec();
    environment.push(("CALLBOOK_CONFIG", path.to_str().unwrap()));
    config(&environment)
}

#[test]
fn with_nothing_set_it_simulates_an_account_on_a_database_of_its_own() {
    let config = config(&[]).unwrap();

    assert_eq!(config.mode, Mode::Development);
    assert_eq!(config.bind, "127.0.0.1:3000".parse().unwrap());
    assert_eq!(config.log_format, LogFormat::Text);
    assert!(matches!(config.database, Database::Embedded));
    assert_eq!(config.database_max_connections, 10);
    assert_eq!(config.data_dir, None);
    assert_eq!((&config.spool_dir, config.spool_bytes), (&None, 16 << 20));
    assert!(matches!(config.twilio, Account::Simulated));
    assert_eq!((&config.twilio_api.base_url, config.twilio_api.requests_at_once), (&None, 4));
    assert!(config.twilio_api.key.is_none());
    assert_eq!(
        config.reconcile,
        Reconcile {
            hot: Some(Duration::from_secs(60)),
            warm: Some(Duration::from_secs(900)),
            cold: Some(Duration::from_secs(21_600)),
            cold_window: Duration::from_secs(30 * 86_400),
            settled_after: Duration::from_secs(86_400),
        }
    );
    assert_eq!(config.recordings_cache_bytes, 1 << 30);
    assert_eq!(config.webhook_base_url, None);
    assert_eq!(numbers(&config), ["+16175006181"]);
    assert_eq!(config.sip_user, "dispatcher");
    assert_eq!(config.sip_domain, "abchomes.sip.us1.twilio.com");
    assert_eq!(config.record_calls, RecordCalls::Off);
    assert_eq!(config.simulation, Simulation { calls_per_minute: 12.0, speed: 1.0 });
}

#[test]
fn every_name_is_read_from_the_environment() {
    let config = config(&[
        DATABASE,
        ACCOUNT[0],
        ACCOUNT[1],
        ("OWNED_PHONE_NUMBERS", "+16175006181, +442071838750,+16175006181,"),
        ("WEBHOOK_BASE_URL", "https://calls.example.com"),
        ("TWILIO_API_BASE_URL", "http://127.0.0.1:9999"),
        ("TWILIO_API_KEY_SID", "SK0123456789abcdef0123456789abcdef"),
        ("TWILIO_API_KEY_SECRET", "opensesame"),
        ("TWILIO_REQUESTS_AT_ONCE", "9"),
        ("RECONCILE_HOT_SECONDS", "5"),
        ("RECONCILE_WARM_SECONDS", "0"),
        ("RECONCILE_COLD_DAYS", "2"),
        ("RECONCILE_SETTLED_HOURS", "1"),
        ("RECORDINGS_CACHE_MEBIBYTES", "10"),
        ("SIP_USER", "front-desk"),
        ("SIP_DOMAIN", "Acme.sip.twilio.com"),
        ("PORT", "0"),
        ("BIND_ADDRESS", "::1"),
        ("CALLBOOK_DATA_DIR", "/var/lib/callbook"),
        ("SPOOL_DIR", "/var/spool/callbook"),
        ("SPOOL_MEBIBYTES", "64"),
        ("RECORD_CALLS", "dual"),
        ("SIMULATION_CALLS_PER_MINUTE", "0.5"),
        ("SIMULATION_SPEED", "20"),
        ("DATABASE_MAX_CONNECTIONS", "7"),
        ("LOG_FORMAT", "json"),
    ])
    .unwrap();

    let Database::External { url } = &config.database else { panic!("{:?}", config.database) };
    assert_eq!(url.expose_secret(), DATABASE.1);
    let Account::Real { sid, auth_token } = &config.twilio else { panic!("{:?}", config.twilio) };
    assert_eq!((&**sid, auth_token.expose_secret()), (SID, TOKEN));
    assert_eq!(numbers(&config), ["+16175006181", "+442071838750"]);
    assert_eq!(config.webhook_base_url.as_deref(), Some("https://calls.example.com"));
    assert_eq!(config.twilio_api.base_url.as_deref(), Some("http://127.0.0.1:9999"));
    assert_eq!(config.twilio_api.requests_at_once, 9);
    let (key, secret) = config.twilio_api.key.as_ref().unwrap();
    assert_eq!((&**key, secret.expose_secret()), ("SK0123456789abcdef0123456789abcdef", "opensesame"));
    assert_eq!((config.reconcile.hot, config.reconcile.warm), (Some(Duration::from_secs(5)), None));
    assert_eq!(config.reconcile.cold_window, Duration::from_secs(2 * 86_400));
    assert_eq!(config.reconcile.settled_after, Duration::from_secs(3_600));
    assert_eq!(config.recordings_cache_bytes, 10 << 20);
    assert_eq!((&*config.sip_user, &*config.sip_domain), ("front-desk", "acme.sip.twilio.com"));
    assert_eq!(config.bind, "[::1]:0".parse().unwrap());
    assert_eq!(config.data_dir.as_deref(), Some(Path::new("/var/lib/callbook")));
    assert_eq!(config.spool_dir.as_deref(), Some(Path::new("/var/spool/callbook")));
    assert_eq!(config.spool_bytes, 64 << 20);
    assert_eq!(config.record_calls, RecordCalls::Dual);
    assert_eq!(config.simulation, Simulation { calls_per_minute: 0.5, speed: 20.0 });
    assert_eq!(config.database_max_connections, 7);
    assert_eq!(config.log_format, LogFormat::Json);
}

#[test]
fn edge_and_region_make_the_host_as_twilios_libraries_do() {
    let host = |settings: &[(&str, &str)]| {
        let config = config(&[&[DATABASE], &ACCOUNT[..], settings].concat()).unwrap();
        config.twilio_api.base_url.unwrap()
    };
    assert_eq!(host(&[]), "https://api.twilio.com");
    assert_eq!(host(&[("TWILIO_EDGE", "dublin")]), "https://api.dublin.us1.twilio.com");
    assert_eq!(host(&[("TWILIO_REGION", "ie1")]), "https://api.ie1.twilio.com");
    assert_eq!(
        host(&[("TWILIO_EDGE", "dublin"), ("TWILIO_REGION", "ie1")]),
        "https://api.dublin.ie1.twilio.com"
    );
    assert_eq!(
        error(&[("TWILIO_API_BASE_URL", "http://127.0.0.1:1"), ("TWILIO_REGION", "ie1")]),
        "TWILIO_API_BASE_URL and TWILIO_REGION are both set: unset one, as the URL says where to ask"
    );
    assert_eq!(
        error(&[("TWILIO_API_KEY_SID", "SK0123456789abcdef0123456789abcdef")]),
        "TWILIO_API_KEY_SID is set, but TWILIO_API_KEY_SECRET is not: set both for an API key, or neither to use \
         the account's own credentials"
    );
}

#[test]
fn an_empty_value_counts_as_unset_and_blanks_around_a_value_do_not_count() {
    let config = config(&[("PORT", ""), ("DATABASE_URL", " \n"), ("SIP_USER", " desk\n")]).unwrap();

    assert_eq!(config.bind.port(), 3000);
    assert!(matches!(config.database, Database::Embedded));
    assert_eq!(config.sip_user, "desk");
}

#[test]
fn the_environment_wins_over_the_file_and_the_file_over_the_defaults() {
    let file = "port = 4000\nsip_user = \"desk\"\nsimulation_speed = 2\nsimulate = true";
    let config = with_file(file, &[("PORT", "5000")]).unwrap();

    assert_eq!(config.bind.port(), 5000);
    assert_eq!(config.sip_user, "desk");
    assert_eq!(config.simulation, Simulation { calls_per_minute: 12.0, speed: 2.0 });
}

#[test]
fn production_logs_json_unless_the_file_or_the_environment_say_otherwise() {
    assert_eq!(config(&PRODUCTION).unwrap().log_format, LogFormat::Json);
    assert_eq!(with_file("port = 1", &PRODUCTION).unwrap().log_format, LogFormat::Json);
    assert_eq!(with_file("log_format = \"text\"", &PRODUCTION).unwrap().log_format, LogFormat::Text);
    assert_eq!(
        config(&[&PRODUCTION[..], &[("LOG_FORMAT", "text")]].concat()).unwrap().log_format,
        LogFormat::Text
    );
}

#[test]
fn a_file_may_ask_for_production_and_is_then_held_to_it() {
    let config = with_file("node_env = \"production\"", &PRODUCTION[1..]).unwrap();
    assert_eq!((config.mode, config.log_format), (Mode::Production, LogFormat::Json));

    let error = with_file("node_env = \"production\"", &PRODUCTION[2..]).unwrap_err();
    assert_eq!(error.to_string(), "NODE_ENV=production needs DATABASE_URL, which nothing sets");
}

#[test]
fn production_names_everything_that_is_missing_at_once() {
    assert_eq!(
        error(&[("NODE_ENV", "production"), ("SIMULATE", "true")]),
        "NODE_ENV=production needs DATABASE_URL, TWILIO_ACCOUNT_SID, TWILIO_AUTH_TOKEN, \
         WEBHOOK_BASE_URL, which nothing sets"
    );
    for (missing, (key, _)) in PRODUCTION.iter().enumerate().skip(1) {
        let mut environment = PRODUCTION.to_vec();
        environment.remove(missing);
        assert_eq!(error(&environment), format!("NODE_ENV=production needs {key}, which nothing sets"));
    }
}

#[test]
fn a_simulated_account_shares_a_database_only_when_asked_to() {
    assert!(error(&[DATABASE]).contains("SIMULATE=true"));
    assert!(error(&[DATABASE, ("SIMULATE", "false")]).contains("SIMULATE=true"));
    assert!(matches!(config(&[DATABASE, ("SIMULATE", "true")]).unwrap().twilio, Account::Simulated));
    assert!(error(&[ACCOUNT[0], ACCOUNT[1], ("SIMULATE", "true")]).contains("both set"));
}

#[test]
fn half_an_account_names_the_missing_half() {
    assert!(error(&ACCOUNT[..1]).starts_with("TWILIO_ACCOUNT_SID is set, but TWILIO_AUTH_TOKEN is not"));
    assert!(error(&ACCOUNT[1..]).starts_with("TWILIO_AUTH_TOKEN is set, but TWILIO_ACCOUNT_SID is not"));
}

#[test]
fn a_real_account_is_given_no_invented_number() {
    assert!(config(&ACCOUNT).unwrap().owned_numbers.is_empty());
}

#[test]
fn a_wrong_value_is_answered_with_its_key_the_value_and_what_would_do() {
    for (key, value, expected) in [
        ("PORT", "http", "a port number from 0 to 65535"),
        ("PORT", "65536", "a port number from 0 to 65535"),
        ("PORT", "-1", "a port number from 0 to 65535"),
        ("BIND_ADDRESS", "localhost", "an IP address, such as 127.0.0.1 or 0.0.0.0"),
        ("NODE_ENV", "staging", "`development` or `production`"),
        ("LOG_FORMAT", "xml", "`text` or `json`"),
        ("RECORD_CALLS", "yes", "`off` or `dual`"),
        ("SIMULATE", "1", "`true` or `false`"),
        ("DATABASE_MAX_CONNECTIONS", "2", "a whole number from 3 to 1000"),
        ("DATABASE_MAX_CONNECTIONS", "2.5", "a whole number from 3 to 1000"),
        ("SPOOL_MEBIBYTES", "0", "a whole number from 1 to 65536"),
        ("SIMULATION_CALLS_PER_MINUTE", "-1", "a number from 0 to 60000"),
        ("SIMULATION_SPEED", "0", "a number from 0.01 to 10000"),
        ("SIMULATION_SPEED", "NaN", "a number from 0.01 to 10000"),
        ("SIMULATION_SPEED", "inf", "a number from 0.01 to 10000"),
        ("SIP_USER", "sip:desk@acme", "the user part of a SIP address, such as `dispatcher`"),
        ("SIP_DOMAIN", "acme..com", "a host name, such as example.sip.twilio.com"),
        ("SIP_DOMAIN", "acme.com:5060", "a host name, such as example.sip.twilio.com"),
        ("OWNED_PHONE_NUMBERS", "6175006181", "numbers in E.164 separated by commas, such as +16175006181"),
        ("OWNED_PHONE_NUMBERS", ",", "at least one number in E.164, such as +16175006181"),
    ] {
        assert_eq!(error(&[(key, value)]), format!("{key} is `{value}`, but it must be {expected}"));
    }
}

#[test]
fn the_public_address_is_kept_as_written_without_what_twilio_does_not_sign() {
    for (written, kept) in [
        ("https://calls.example.com", "https://calls.example.com"),
        ("https://calls.example.com/", "https://calls.example.com"),
        ("https://calls.example.com/callbook//", "https://calls.example.com/callbook"),
        ("HTTPS://Calls.Example.com:443", "https://Calls.Example.com:443"),
        ("http://localhost:3000", "http://localhost:3000"),
        ("https://user:p@ss@calls.example.com/x#rc=2", "https://calls.example.com/x"),
        ("https://[2001:db8::1]:8443", "https://[2001:db8::1]:8443"),
    ] {
        let config = config(&[("WEBHOOK_BASE_URL", written)]).unwrap();
        assert_eq!(config.webhook_base_url.as_deref(), Some(kept), "{written}");
    }
}

#[test]
fn a_public_address_that_twilio_could_not_call_is_refused() {
    for written in [
        "calls.example.com",
        "ftp://calls.example.com",
        "https:calls.example.com",
        "https://",
        "https:///path",
        "https://#fragment",
        "https://user@",
        "https://calls.example.com:99999",
        "https://calls.example.com:",
        "https://calls example.com",
        "https://calls.example.com/?a=b",
        "https://calls.example.com?to=me@example.com",
        "https://calls.example.com\\path",
        "https://anrufe.straße.example",
    ] {
        let error = error(&[("WEBHOOK_BASE_URL", written)]);
        assert!(error.starts_with("WEBHOOK_BASE_URL is `"), "{written}: {error}");
    }
}

#[test]
fn a_file_that_cannot_be_used_is_named_with_its_fault() {
    let missing = config(&[("CALLBOOK_CONFIG", "/nonexistent/callbook.toml")]).unwrap_err();
    assert_eq!(
        missing.to_string(),
        "cannot read the configuration file /nonexistent/callbook.toml, which CALLBOOK_CONFIG names"
    );
    for (text, fault) in [
        ("prot = 1", "has a key `prot` that callbook does not know"),
        ("callbook_data_folder = \"x\"", "has a key `callbook_data_folder` that callbook does not know"),
        ("[twilio]\nsid = \"x\"", "has a key `twilio` that callbook does not know"),
        ("port = [1]", "`port` in "),
        ("\n\nport = ", "is not valid TOML: see line 3, column"),
    ] {
        let error = with_file(text, &[]).unwrap_err().to_string();
        assert!(error.contains(fault) && error.contains("callbook.toml"), "{error}");
    }
}

#[test]
fn no_secret_is_ever_shown() {
    const SECRET: &str = "hunter2";
    let token = ("TWILIO_AUTH_TOKEN", SECRET);
    for outcome in [
        config(&[ACCOUNT[0], token, ("DATABASE_URL", "postgres://u:hunter2@db/x")]),
        config(&[ACCOUNT[0], token, ("WEBHOOK_BASE_URL", "https://u:hunter2@calls.example.com")]),
        config(&[token]),
        config(&[("TWILIO_ACCOUNT_SID", SECRET), token]),
        config(&[("DATABASE_URL", "mysql://u:hunter2@db/x")]),
        config(&[("DATABASE_URL", "hunter2")]),
        config(&[("WEBHOOK_BASE_URL", "ftp://u:hunter2@calls.example.com")]),
        config(&[("WEBHOOK_BASE_URL", "u:hunter2@calls.example.com")]),
        with_file("twilio_auth_token = \"hunter2", &[]),
        with_file("twilio_auth_token = [\"hunter2\"]", &[]),
        with_file("twilio_auth_token = { token = \"hunter2\" }", &[]),
        with_file("twilio_auth_token = \"hunter2\"\ntwilio_auth_token = \"hunter2\"", &[]),
    ] {
        let mut shown = format!("{outcome:?}");
        if let Err(error) = &outcome {
            write!(shown, "{error}").unwrap();
            let mut cause = std::error::Error::source(error);
            while let Some(error) = cause {
                write!(shown, "{error}{error:?}").unwrap();
                cause = error.source();
            }
        }
        assert!(!shown.contains(SECRET), "{shown}");
    }
}

#[cfg(unix)]
#[test]
fn a_setting_that_is_not_unicode_is_named_and_other_variables_are_left_alone() {
    use std::os::unix::ffi::OsStringExt;
    let bytes = || std::ffi::OsString::from_vec(vec![0xff]);
    let read = |name: &str| Layers::read([(name.to_owned(), bytes())].into_iter()).map(|_| ());

    assert_eq!(read("SIP_USER").unwrap_err().to_string(), "SIP_USER is not valid UTF-8");
    assert!(read("HOME").is_ok());
    assert!(config(&[("port", "not ours"), ("CALLBOOK_TEST", "neither")]).is_ok());
}

fn numbers(config: &Config) -> Vec<&str> {
    config.owned_numbers.iter().map(|number| number.as_str()).collect()
}
