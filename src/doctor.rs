//! `callbook doctor`: looks at everything that callbook stands on, changes nothing, and says what to do about what is
//! wrong. For somebody who has never seen callbook, at three in the morning; so each finding is a sentence, and no look
//! takes for ever.

mod book;
mod database;
mod machine;
mod outside;

use std::future::Future;
use std::time::Duration;

use serde::Serialize;
use sqlx::{Connection, PgConnection};

use crate::config::Config;
use crate::serve::{Home, Store};

/// How long starting PostgreSQL may take; a cold start takes two seconds.
const TO_START: Duration = Duration::from_secs(60);
/// How long everything that is asked of one server may take.
const TO_ANSWER: Duration = Duration::from_secs(15);

/// How something stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    Ok,
    /// It works, and somebody should look at it.
    Warn,
    /// It does not work.
    Fail,
}

/// One look at one thing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub state: State,
    /// What was looked at, in a word or two.
    pub about: &'static str,
    /// A sentence.
    pub said: String,
    /// What to do; nothing where nothing need be done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to_do: Option<String>,
}

impl Finding {
    pub fn ok(about: &'static str, said: impl Into<String>) -> Self {
        Self { state: State::Ok, about, said: said.into(), to_do: None }
    }

    pub fn warn(about: &'static str, said: impl Into<String>, to_do: impl Into<String>) -> Self {
        Self { state: State::Warn, about, said: said.into(), to_do: Some(to_do.into()) }
    }

    pub fn fail(about: &'static str, said: impl Into<String>, to_do: impl Into<String>) -> Self {
        Self { state: State::Fail, about, said: said.into(), to_do: Some(to_do.into()) }
    }
}

/// Looks at everything, one after the other.
pub async fn examine(config: &Config) -> Vec<Finding> {
    let mut findings = machine::configuration(config);
    let home = match Home::open(config) {
        Ok(home) => home,
        Err(error) => {
            findings.push(Finding::fail(
                "data folder",
                format!("The data folder cannot be used: {error:#}."),
                "Make it writable for the user that callbook runs as, or set CALLBOOK_DATA_DIR to another folder.",
            ));
            return findings;
        }
    };
    findings.extend(machine::disk(config, &home));
    let (running, told) = machine::running(config, &home).await;
    findings.extend(told);
    findings.extend(examine_database(config, &home, running).await);
    findings.extend(outside::examine(config, &home).await);
    findings
}

async fn examine_database(config: &Config, home: &Home, running: bool) -> Vec<Finding> {
    const ABOUT: &str = "database";
    let store = match tokio::time::timeout(TO_START, Store::open(config, home)).await {
        Ok(Ok(store)) => store,
        Ok(Err(error)) => {
            let error = projections::chain(&error);
            return vec![Finding::fail(
                ABOUT,
                format!("There is no database to work on: {error}."),
                "See to what it says; callbook takes webhooks meanwhile and keeps them in its spool.",
            )];
        }
        Err(_) => {
            return vec![Finding::fail(
                ABOUT,
                format!("callbook's own PostgreSQL did not start within {TO_START:?}."),
                format!("See the end of {}.", home.data_dir.join("postgres.log").display()),
            )];
        }
    };
    let findings = within(ABOUT, async {
        let options = store.options.clone().application_name("callbook doctor").options([
            ("lock_timeout", "2s"),
            ("statement_timeout", "10s"),
            ("idle_in_transaction_session_timeout", "10s"),
        ]);
        let mut connection = match PgConnection::connect_with(&options).await {
            Ok(connection) => connection,
            Err(error) => {
                return vec![Finding::fail(
                    ABOUT,
                    format!("The database cannot be reached: {}.", projections::chain(&error)),
                    "Check that the server runs, that DATABASE_URL names it, and that this machine may reach it.",
                )];
            }
        };
        let (mut findings, is_complete) = database::examine(&mut connection, config).await;
        findings.push(book::admin_token(&mut connection, config).await);
        if is_complete {
            findings.extend(book::examine(&mut connection, home, running).await);
        }
        // Whatever was looked at has been.
        let _ = connection.close().await;
        findings
    });
    let mut findings = findings.await;
    if let Err(error) = store.close().await {
        findings.push(Finding::warn(
            ABOUT,
            format!("PostgreSQL, which was started for this, could not be stopped: {error:#}."),
            format!("See the end of {}.", home.data_dir.join("postgres.log").display()),
        ));
    }
    findings
}

/// What was found, or that it could not be found out in time.
async fn within(about: &'static str, look: impl Future<Output = Vec<Finding>>) -> Vec<Finding> {
    tokio::time::timeout(TO_ANSWER, look).await.unwrap_or_else(|_| {
        vec![Finding::fail(
            about,
            format!("It did not answer within {} seconds.", TO_ANSWER.as_secs()),
            "Whatever it is asked hangs: look at the machine that it runs on, and at the way there.",
        )]
    })
}

/// A finding instead of what could not be read.
fn unreadable(about: &'static str, error: &sqlx::Error) -> Finding {
    Finding::fail(
        about,
        format!("This could not be read: {}.", projections::chain(error)),
        "See to what the database says, and run `callbook doctor` again.",
    )
}
