//! What is created at Twilio, and never twice. Twilio takes no key that would make a second request harmless, so
//! where an answer was lost its list is looked through before anything is sent again (contract section 4.3).

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use serde_json::Value;
use time::OffsetDateTime;

use super::Client;
use super::error::ClientError;
use super::list::{List, query};
use super::transport::{Ask, Failure, Tries};
use crate::twilio::form::Form;
use crate::twilio::timestamp;

/// How often the answer to the same request may be lost before a person must look.
const MOST_LOST: u32 = 5;
/// What is looked through; the newest come first.
const LOOKED_THROUGH: &str = "50";
/// SIDs remembered as known.
const REMEMBERED: usize = 1_000;

/// A call to place. Numbers in E.164, SIP addresses or clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewCall {
    pub to: String,
    pub from: String,
    pub with: CallWith,
    /// Where all progress is reported, and the recording if there is one.
    pub status_callback: Option<String>,
    pub recording_callback: Option<String>,
    /// Seconds of ringing; Twilio's default is 60.
    pub timeout: Option<u32>,
    /// Both sides, each in a channel of its own.
    pub record: bool,
}

/// What happens once the call is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallWith {
    /// TwiML is asked for there.
    Url(String),
    /// At most 4,000 characters.
    Twiml(String),
    /// A TwiML application's SID.
    Application(String),
}

/// A text to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewMessage {
    pub to: String,
    pub from: Sender,
    pub body: String,
    pub status_callback: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sender {
    Number(String),
    /// A messaging service's SID.
    Service(String),
}

/// What can be created, and found again.
pub(super) trait Creation {
    const LIST: List;

    fn form(&self) -> Form;
    /// Where to look for it: a query of the list.
    fn look(&self) -> String;
    /// Whether a resource of the list is what these words make, whenever it was made.
    fn made(&self, resource: &Value) -> bool;
}

/// The SIDs that were handed out, so that what was created a moment ago is not taken for what was lost.
#[derive(Debug, Default)]
pub(super) struct Created(Mutex<VecDeque<String>>);

impl Created {
    /// Whether this is the first time that this SID is handed out.
    fn claim(&self, sid: &str) -> bool {
        let mut sids = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if sids.iter().any(|known| known == sid) {
            return false;
        }
        sids.push_back(sid.to_owned());
        if sids.len() > REMEMBERED {
            sids.pop_front();
        }
        true
    }
}

impl Client {
    pub(super) async fn create<C: Creation>(&self, resource: &str, new: &C) -> Result<Value, ClientError> {
        let ask = Ask::post(self.path(resource), new.form().encode());
        let url = self.transport.url(&ask)?;
        let since = self.transport.just_before_now();
        let (mut tries, mut lost) = (Tries::of(self.transport.pace.tries), 0);
        loop {
            let failure = match self.transport.once(&ask, &url).await {
                Ok(created) => {
                    self.created.claim(text(&created, "sid").unwrap_or_default());
                    return Ok(created);
                }
                Err(failure) => failure,
            };
            match failure {
                Failure::Final(error) => return Err(error),
                Failure::NotDone { error, asked_for } => {
                    let given_up = self.transport.pause_or_give_up(&mut tries, error, asked_for).await;
                    given_up.map_err(|error| if lost > 0 { unknown(&ask, error) } else { error })?;
                }
                Failure::Unknown { error, .. } => {
                    lost += 1;
                    match self.find(resource, new, since).await {
                        Ok(Some(found)) => return Ok(found),
                        Ok(None) if lost < MOST_LOST => {}
                        // It is not there, but lists lag.
                        Ok(None) => return Err(unknown(&ask, error)),
                        Err(error) => return Err(unknown(&ask, error)),
                    }
                }
            }
        }
    }

    /// Looks for what a request made whose answer was lost. Not by `StartTime` or `DateSent`: what waits in a queue
    /// has none, and a filter by them would leave it out.
    async fn find<C: Creation>(
        &self,
        resource: &str,
        new: &C,
        since: OffsetDateTime,
    ) -> Result<Option<Value>, ClientError> {
        let ask = Ask::get(format!("{}?{}&PageSize={LOOKED_THROUGH}", self.path(resource), new.look()));
        let url = self.transport.url(&ask)?;
        for pause in self.transport.pace.looks() {
            tokio::time::sleep(pause).await;
            let page = C::LIST.page(self.transport.ask(&ask, &url).await?, &ask)?;
            let found = page.resources.into_iter().find(|resource| {
                new.made(resource)
                    && created_at(resource).is_none_or(|at| at >= since)
                    && text(resource, "sid").is_some_and(|sid| self.created.claim(sid))
            });
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }
}

impl Creation for NewCall {
    const LIST: List = List::Calls;

    fn form(&self) -> Form {
        let (with, value) = match &self.with {
            CallWith::Url(url) => ("Url", url),
            CallWith::Twiml(twiml) => ("Twiml", twiml),
            CallWith::Application(sid) => ("ApplicationSid", sid),
        };
        let mut pairs = vec![("To", self.to.clone()), ("From", self.from.clone()), (with, value.clone())];
        if let Some(callback) = &self.status_callback {
            pairs.push(("StatusCallback", callback.clone()));
            for event in ["initiated", "ringing", "answered", "completed"] {
                pairs.push(("StatusCallbackEvent", event.to_owned()));
            }
        }
        if let Some(seconds) = self.timeout {
            pairs.push(("Timeout", seconds.to_string()));
        }
        if self.record {
            pairs.push(("Record", "true".to_owned()));
            pairs.push(("RecordingChannels", "dual".to_owned()));
            // The times in the recording are those of the call.
            pairs.push(("Trim", "do-not-trim".to_owned()));
            if let Some(callback) = &self.recording_callback {
                pairs.push(("RecordingStatusCallback", callback.clone()));
            }
        }
        form(pairs)
    }

    fn look(&self) -> String {
        query([("To", Some(self.to.clone())), ("From", Some(self.from.clone()))])
    }

    /// A leg that is dialled in the middle of a call may have the same numbers.
    fn made(&self, resource: &Value) -> bool {
        text(resource, "direction") == Some("outbound-api")
    }
}

impl Creation for NewMessage {
    const LIST: List = List::Messages;

    fn form(&self) -> Form {
        let from = match &self.from {
            Sender::Number(number) => ("From", number.clone()),
            Sender::Service(sid) => ("MessagingServiceSid", sid.clone()),
        };
        let mut pairs = vec![("To", self.to.clone()), from, ("Body", self.body.clone())];
        if let Some(callback) = &self.status_callback {
            pairs.push(("StatusCallback", callback.clone()));
        }
        form(pairs)
    }

    fn look(&self) -> String {
        let from = match &self.from {
            Sender::Number(number) => Some(number.clone()),
            // The service may not have chosen a number yet.
            Sender::Service(_) => None,
        };
        query([("To", Some(self.to.clone())), ("From", from)])
    }

    fn made(&self, resource: &Value) -> bool {
        let by_service = match &self.from {
            Sender::Number(_) => true,
            Sender::Service(sid) => text(resource, "messaging_service_sid") == Some(sid),
        };
        let outbound = text(resource, "direction").is_some_and(|direction| direction.starts_with("outbound"));
        // A trial account's texts have a preamble.
        let body = text(resource, "body").is_some_and(|body| body.trim().ends_with(self.body.trim()));
        by_service && outbound && body
    }
}

fn form(pairs: Vec<(&str, String)>) -> Form {
    Form(pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

fn unknown(ask: &Ask, error: ClientError) -> ClientError {
    ClientError::UnknownOutcome { path: ask.path().to_owned(), source: Box::new(error) }
}

fn created_at(resource: &Value) -> Option<OffsetDateTime> {
    ["date_created", "start_time"].into_iter().find_map(|name| timestamp::any(text(resource, name)?))
}

fn text<'a>(resource: &'a Value, name: &str) -> Option<&'a str> {
    resource.get(name)?.as_str()
}
