//! `callbook token`: who may use the API.

use std::io::{Write, stderr, stdout};
use std::process::ExitCode;

use clap::Subcommand;
use secrecy::ExposeSecret;
use time::OffsetDateTime;
use time::macros::format_description;

use super::with_database;
use crate::access::Role;
use crate::access::tokens::{self, Token};
use crate::config::Config;

#[derive(Debug, Subcommand)]
pub(super) enum TokenCommand {
    /// Make a token, and show it this once
    Create {
        /// Who or what it is for
        #[arg(long)]
        name: String,
        /// What it may do; each role may do what those before it may
        #[arg(long)]
        role: Role,
    },
    /// List the tokens that were made, and when each was last used
    List,
    /// Let nobody in by a token any more, nor by the browsers that were signed in with it
    Revoke {
        /// The token's name
        name: String,
    },
}

pub(super) async fn token(config: &Config, command: TokenCommand) -> anyhow::Result<ExitCode> {
    with_database(config, async |pool, _| {
        match command {
            TokenCommand::Create { name, role } => {
                let (token, secret) = tokens::create(&pool, &name, role).await?;
                // The token alone on standard output, so that a script can take it.
                writeln!(stdout(), "{}", secret.expose_secret())?;
                writeln!(
                    stderr(),
                    "This is the token of {} ({}). It is shown this once: keep it where secrets are kept.",
                    token.name,
                    token.role.as_str()
                )?;
            }
            TokenCommand::List => {
                let tokens = tokens::list(&pool).await?;
                if tokens.is_empty() {
                    writeln!(stdout(), "there are no tokens")?;
                }
                for token in tokens {
                    writeln!(stdout(), "{}", line(&token)?)?;
                }
            }
            TokenCommand::Revoke { name } => {
                let token = tokens::revoke(&pool, &name).await?;
                writeln!(stdout(), "{} ({}) lets nobody in any more", token.name, token.role.as_str())?;
            }
        }
        Ok(ExitCode::SUCCESS)
    })
    .await
}

fn line(token: &Token) -> anyhow::Result<String> {
    let Token { name, role, created_at, last_used_at, revoked_at, .. } = token;
    let mut line = format!("{name}  {}  made {}", role.as_str(), minute(*created_at)?);
    match last_used_at {
        Some(at) => line.push_str(&format!("  last used {}", minute(*at)?)),
        None => line.push_str("  never used"),
    }
    if let Some(at) = revoked_at {
        line.push_str(&format!("  REVOKED {}", minute(*at)?));
    }
    Ok(line)
}

fn minute(at: OffsetDateTime) -> Result<String, time::error::Format> {
    at.format(format_description!("[year]-[month]-[day] [hour]:[minute] UTC"))
}
