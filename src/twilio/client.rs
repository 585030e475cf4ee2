//! Twilio's REST API, asked patiently: what Twilio refuses for being too busy is asked again, more slowly by
//! everybody, and what is created is never created twice (contract section 4).
//!
//! What Twilio says is handed on as raw JSON, because it is kept as it came; [`super::resource`] reads it.

mod asked;
mod create;
mod error;
mod list;
mod media;
mod pace;
mod pages;
#[cfg(test)]
mod tests;
mod transport;

use std::sync::Arc;

use domain::sid::{CallSid, RecordingSid};
use secrecy::SecretString;
use serde_json::Value;
use time::OffsetDateTime;

pub use asked::Asked;
pub use create::{CallWith, NewCall, NewMessage, Sender};
pub use error::ClientError;
pub use list::{CallFilter, NextPage, Page, RecordingFilter};
pub use media::{Media, MediaFormat};
pub use pace::Pace;
pub use pages::Pages;

use create::Created;
use list::List;
use transport::{Ask, Transport};

/// Whose account is asked, where, and as whom.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Without a trailing slash, as in `https://api.dublin.ie1.twilio.com`.
    pub base_url: String,
    /// The account that is asked about; part of every path.
    pub account_sid: String,
    /// The account's SID, or an API key's.
    pub username: String,
    /// The account's auth token, or the API key's secret.
    pub password: SecretString,
    /// How many requests for JSON are under way at the same time at most, each until the last byte of its answer,
    /// and how many for media apart from these, each until its media begins to come.
    pub at_once: usize,
}

/// Cheap to clone; clones share connections, the limit of requests under way, and the pause after Twilio was
/// too busy. `Debug` shows no secret.
#[derive(Clone, Debug)]
pub struct Client {
    transport: Arc<Transport>,
    created: Arc<Created>,
}

impl Client {
    /// Asks nothing yet. The error is of a base URL that is none, or of TLS.
    pub fn new(settings: Settings) -> Result<Self, ClientError> {
        Self::with_pace(settings, Pace::default())
    }

    /// [`Client::new`] with another patience than the usual.
    pub fn with_pace(settings: Settings, pace: Pace) -> Result<Self, ClientError> {
        let transport = Arc::new(Transport::new(settings, pace)?);
        Ok(Self { transport, created: Arc::default() })
    }

    /// What time it is by Twilio's clock, to the second; unknown before the first answer.
    pub fn now_there(&self) -> Option<OffsetDateTime> {
        self.transport.now_there()
    }

    /// What was asked since this was made.
    pub fn asked(&self) -> Asked {
        self.transport.asked()
    }

    /// Calls by what the filter says, the first page (contract section 4.1). Without `started_from` and
    /// `started_before` it has those that have not started, too.
    pub async fn calls(&self, filter: &CallFilter) -> Result<Page, ClientError> {
        self.first_page(List::Calls, "/Calls.json", filter.query()).await
    }

    pub async fn call(&self, sid: &CallSid) -> Result<Value, ClientError> {
        self.get(&format!("/Calls/{sid}.json")).await
    }

    /// Recordings of the whole account, the first page (contract section 4.4).
    pub async fn recordings(&self, filter: &RecordingFilter) -> Result<Page, ClientError> {
        self.first_page(List::Recordings, "/Recordings.json", filter.query()).await
    }

    pub async fn recordings_of(&self, call: &CallSid) -> Result<Page, ClientError> {
        let path = format!("/Calls/{call}/Recordings.json");
        self.first_page(List::Recordings, &path, String::new()).await
    }

    /// The numbers that the account has, the first page (contract section 4.6).
    pub async fn incoming_numbers(&self) -> Result<Page, ClientError> {
        let query = "PageSize=1000".to_owned();
        self.first_page(List::IncomingPhoneNumbers, "/IncomingPhoneNumbers.json", query).await
    }

    /// The page that an earlier one named; [`Client::pages`] goes through a whole list.
    pub async fn next(&self, next: &NextPage) -> Result<Page, ClientError> {
        self.page(next, |further| further == next).await
    }

    /// A page that leads back is asked for again: the next answer may lead on.
    async fn page(
        &self,
        next: &NextPage,
        leads_back: impl Fn(&NextPage) -> bool,
    ) -> Result<Page, ClientError> {
        let ask = Ask::get(next.uri.clone());
        let url = self.transport.url(&ask)?;
        for _ in 0..self.transport.pace.tries {
            let page = next.list.page(self.transport.ask(&ask, &url).await?, &ask)?;
            if !page.next.as_ref().is_some_and(&leads_back) {
                return Ok(page);
            }
        }
        Err(ClientError::PageRepeats { path: ask.path().to_owned() })
    }

    /// Places a call (contract section 4.3). It is never placed twice: where the answer was lost, Twilio's list is
    /// looked through first.
    pub async fn create_call(&self, call: &NewCall) -> Result<Value, ClientError> {
        self.create("/Calls.json", call).await
    }

    /// Sends a text (contract section 4.5), and not twice either.
    pub async fn create_message(&self, message: &NewMessage) -> Result<Value, ClientError> {
        self.create("/Messages.json", message).await
    }

    /// The media of a recording as it comes, all of it or the bytes of a `Range` header's value. Redirects are
    /// followed; credentials do not go with them to another host.
    pub async fn media(
        &self,
        recording: &RecordingSid,
        format: MediaFormat,
        range: Option<&str>,
    ) -> Result<Media, ClientError> {
        let ask = Ask::get(self.path(&format!("/Recordings/{recording}.{}", format.extension())));
        self.transport.media(&ask, range).await
    }

    async fn first_page(&self, list: List, resource: &str, query: String) -> Result<Page, ClientError> {
        let path = self.path(resource);
        let ask = Ask::get(if query.is_empty() { path } else { format!("{path}?{query}") });
        list.page(self.transport.ask(&ask, &self.transport.url(&ask)?).await?, &ask)
    }

    async fn get(&self, resource: &str) -> Result<Value, ClientError> {
        let ask = Ask::get(self.path(resource));
        self.transport.ask(&ask, &self.transport.url(&ask)?).await
    }

    fn path(&self, resource: &str) -> String {
        format!("/2010-04-01/Accounts/{}{resource}", self.transport.account_sid)
    }
}
