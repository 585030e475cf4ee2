//! The simulated Twilio of a data folder: what it knows, and the REST API that tells it.

use std::io;
use std::path::Path;

use tokio::net::TcpListener;

use super::world::JournalError;
use super::{Account, RestApi, World};
use crate::clock::Clock;

/// A Twilio that answers on a free port of this machine. Dropped, it answers no more.
#[derive(Debug)]
pub struct Service {
    /// What stands in place of `https://api.twilio.com`, without a trailing slash.
    pub base_url: String,
    pub world: World,
    _api: RestApi,
}

#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error("the simulated Twilio's REST API cannot listen on a port of this machine")]
    Listen(#[source] io::Error),
}

impl Service {
    /// Starts with what the Twilio of `data_dir` knew when it was stopped.
    pub async fn start(account: Account, data_dir: &Path, clock: Clock) -> Result<Self, ServiceError> {
        let world = World::open(data_dir, account, clock)?;
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.map_err(ServiceError::Listen)?;
        let api = RestApi::start(world.clone(), listener).map_err(ServiceError::Listen)?;
        // A week of calls takes a moment to read, which the first to ask need not wait for.
        let reader = world.clone();
        drop(tokio::task::spawn_blocking(move || reader.follow()));
        Ok(Self { base_url: api.base_url.clone(), world, _api: api })
    }
}
