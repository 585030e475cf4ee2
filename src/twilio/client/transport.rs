//! One request at Twilio's REST API, and what its failure means for asking again.

use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, DATE, HeaderMap, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{ClientBuilder, Method, RequestBuilder, Response, StatusCode, Url};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use time::OffsetDateTime;
use tokio::sync::{Semaphore, SemaphorePermit, watch};
use tokio::time::Instant;

use super::Settings;
use super::asked::{Asked, Counts};
use super::error::ClientError;
use super::pace::Pace;
use crate::outgoing;
use crate::twilio::timestamp;

const TO_CONNECT: Duration = Duration::from_secs(5);
/// Media may be large, so only silence ends it.
const MEDIA_SILENCE: Duration = Duration::from_secs(30);
const USER_AGENT: &str = concat!("callbook/", env!("CARGO_PKG_VERSION"));
/// A page of a thousand calls has about two million bytes.
const LARGEST_ANSWER: usize = 32 << 20;
/// More hops than Twilio's media takes.
const MEDIA_HOPS: usize = 5;

pub(super) struct Transport {
    pub account_sid: String,
    pub pace: Pace,
    base_url: String,
    origin: Url,
    username: String,
    password: SecretString,
    json: reqwest::Client,
    media: reqwest::Client,
    under_way: Semaphore,
    /// Of its own, so that no listener's recording keeps the book waiting.
    media_under_way: Semaphore,
    /// After Twilio was too busy nobody asks before this.
    not_before: watch::Sender<Instant>,
    /// Seconds by which Twilio's clock is ahead of ours; unknown before the first answer.
    ahead: AtomicI64,
    counts: Counts,
}

const UNKNOWN: i64 = i64::MIN;

/// A request: a path with its query, and a form to post.
#[derive(Clone, Debug)]
pub(super) struct Ask {
    method: Method,
    uri: String,
    form: Option<String>,
}

impl Ask {
    pub(super) fn get(uri: String) -> Self {
        Self { method: Method::GET, uri, form: None }
    }

    pub(super) fn post(uri: String, form: String) -> Self {
        Self { method: Method::POST, uri, form: Some(form) }
    }

    /// Without the query, which may hold phone numbers.
    pub(super) fn path(&self) -> &str {
        self.uri.split(['?', '#']).next().unwrap_or_default()
    }
}

/// How one try failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// Twilio did not do what was asked: asking again is always safe.
    NotDone { error: ClientError, asked_for: Option<Duration> },
    /// Twilio may have done it, and the answer was lost.
    Unknown { error: ClientError, asked_for: Option<Duration> },
    /// Twilio answered; it would answer the same again.
    Final(ClientError),
}

/// How often something has failed, and may.
pub(super) struct Tries {
    failed: u32,
    most: u32,
}

impl Tries {
    pub(super) fn of(most: u32) -> Self {
        Self { failed: 0, most }
    }
}

/// An answer whose body has not been read. The request is under way for as long as the permit lives.
struct Begun<'a> {
    response: Response,
    permit: Option<SemaphorePermit<'a>>,
}

impl Transport {
    pub(super) fn new(settings: Settings, pace: Pace) -> Result<Self, ClientError> {
        let bad = || ClientError::BaseUrl { value: settings.base_url.clone() };
        let origin = Url::parse(&settings.base_url).map_err(|_| bad())?;
        if !matches!(origin.scheme(), "http" | "https") || settings.base_url.ends_with('/') {
            return Err(bad());
        }
        let configure = |builder: ClientBuilder| {
            let builder = builder.connect_timeout(TO_CONNECT).user_agent(USER_AGENT).referer(false);
            // What is asked again is decided here.
            let builder = builder.retry(reqwest::retry::never()).https_only(origin.scheme() == "https");
            if is_loopback(&origin) { builder.no_proxy() } else { builder }
        };
        let json = outgoing::remote(|builder| {
            configure(builder).timeout(pace.whole_request).redirect(Policy::none())
        });
        let media = outgoing::remote(|builder| {
            configure(builder).read_timeout(MEDIA_SILENCE).redirect(Policy::limited(MEDIA_HOPS))
        });
        Ok(Self {
            json: json.map_err(ClientError::Setup)?,
            media: media.map_err(ClientError::Setup)?,
            origin,
            account_sid: settings.account_sid,
            pace,
            base_url: settings.base_url,
            username: settings.username,
            password: settings.password,
            under_way: Semaphore::new(settings.at_once.max(1)),
            media_under_way: Semaphore::new(settings.at_once.max(1)),
            not_before: watch::Sender::new(Instant::now()),
            ahead: AtomicI64::new(UNKNOWN),
            counts: Counts::default(),
        })
    }

    /// The address to ask, for a path, or for an address at the place that [`Settings`] name.
    pub(super) fn url(&self, ask: &Ask) -> Result<Url, ClientError> {
        let elsewhere = || ClientError::PageElsewhere { base_url: self.base_url.clone() };
        let absolute =
            if ask.uri.starts_with('/') { format!("{}{}", self.base_url, ask.uri) } else { ask.uri.clone() };
        let url = Url::parse(&absolute).map_err(|_| elsewhere())?;
        let is_ours = url.origin() == self.origin.origin() && url.username().is_empty();
        if is_ours { Ok(url) } else { Err(elsewhere()) }
    }

    /// Asks for something that asking does not change, until there is an answer or patience is out.
    pub(super) async fn ask(&self, ask: &Ask, url: &Url) -> Result<Value, ClientError> {
        let mut tries = Tries::of(self.pace.tries);
        loop {
            match self.once(ask, url).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => self.wait_after(failure, &mut tries).await?,
            }
        }
    }

    /// Returns when it is time to try again whatever may pass, whether it was done or not.
    pub(super) async fn wait_after(&self, failure: Failure, tries: &mut Tries) -> Result<(), ClientError> {
        match failure {
            Failure::Final(error) => Err(error),
            Failure::NotDone { error, asked_for } | Failure::Unknown { error, asked_for } => {
                self.pause_or_give_up(tries, error, asked_for).await
            }
        }
    }

    /// Returns after a pause, or the error where there have been tries enough.
    pub(super) async fn pause_or_give_up(
        &self,
        tries: &mut Tries,
        error: ClientError,
        asked_for: Option<Duration>,
    ) -> Result<(), ClientError> {
        tries.failed += 1;
        if tries.failed >= tries.most {
            return Err(error);
        }
        let pause = self.pace.pause(tries.failed, asked_for, rand::random());
        tracing::debug!(
            error = projections::chain(&error),
            twilio.failures = tries.failed,
            pause_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX),
            "Twilio is asked again after a pause"
        );
        if matches!(error, ClientError::Busy { .. }) {
            let until = Instant::now() + pause;
            self.not_before.send_if_modified(|not_before| {
                let later = until > *not_before;
                *not_before = until.max(*not_before);
                later
            });
        }
        tokio::time::sleep(pause).await;
        Ok(())
    }

    /// One try, its body read.
    pub(super) async fn once(&self, ask: &Ask, url: &Url) -> Result<Value, Failure> {
        let mut request = self.json.request(ask.method.clone(), url.clone());
        if let Some(form) = &ask.form {
            request = request.header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(form.clone());
        }
        let Begun { response, permit } = self.begin(request, ask, &self.under_way).await?;
        let (status, asked_for) = (response.status(), retry_after(response.headers()));
        let body = body_of(response, ask).await?;
        drop(permit);
        let answer = serde_json::from_slice(&body).ok();
        if status.is_success() {
            let error = ClientError::NotJson { path: ask.path().to_owned(), status: status.as_u16() };
            return answer.ok_or(Failure::Unknown { error, asked_for });
        }
        Err(refused(ask, status, asked_for, answer))
    }

    /// The same for media, whose body is left to the caller where there is one. Once it begins to come the request
    /// is answered: how fast somebody listens must keep nobody else waiting.
    pub(super) async fn begin_media(
        &self,
        ask: &Ask,
        url: &Url,
        range: Option<&str>,
    ) -> Result<Response, Failure> {
        let mut request = self.media.get(url.clone());
        if let Some(range) = range {
            request = request.header(reqwest::header::RANGE, range);
        }
        let Begun { response, permit } = self.begin(request, ask, &self.media_under_way).await?;
        let status = response.status();
        if status.is_success() || status == StatusCode::RANGE_NOT_SATISFIABLE {
            return Ok(response);
        }
        let asked_for = retry_after(response.headers());
        let body = body_of(response, ask).await?;
        drop(permit);
        Err(refused(ask, status, asked_for, serde_json::from_slice(&body).ok()))
    }

    /// Sends, once it is this request's turn. A request that Twilio was too busy for waits without a permit.
    async fn begin<'a>(
        &self,
        request: RequestBuilder,
        ask: &Ask,
        under_way: &'a Semaphore,
    ) -> Result<Begun<'a>, Failure> {
        let permit = loop {
            let not_before = *self.not_before.borrow();
            tokio::time::sleep_until(not_before).await;
            // The semaphore is never closed.
            let permit = under_way.acquire().await.ok();
            if *self.not_before.borrow() <= Instant::now() {
                break permit;
            }
        };
        let request = request.basic_auth(&self.username, Some(self.password.expose_secret()));
        let sent = request.send().await;
        self.counts.count(sent.as_ref().ok().map(Response::status));
        let response = sent.map_err(|error| lost(ask, error))?;
        self.compare_clocks(response.headers());
        Ok(Begun { response, permit })
    }

    pub(super) fn asked(&self) -> Asked {
        self.counts.asked()
    }

    fn compare_clocks(&self, headers: &HeaderMap) {
        let date = headers.get(DATE).and_then(|date| timestamp::rfc2822(date.to_str().ok()?));
        if let Some(date) = date {
            let ahead = (date - OffsetDateTime::now_utc()).whole_seconds();
            self.ahead.store(ahead, Ordering::Relaxed);
        }
    }

    #[cfg(test)]
    pub(super) fn not_before_for_test(&self) -> watch::Receiver<Instant> {
        self.not_before.subscribe()
    }

    /// A time at Twilio that is surely not after now, and not long before it.
    pub(super) fn just_before_now(&self) -> OffsetDateTime {
        let now = OffsetDateTime::now_utc();
        self.now_there().map_or(now - Duration::from_secs(120), |there| there - Duration::from_secs(3))
    }

    /// What time it is by Twilio's clock; unknown before the first answer.
    pub(super) fn now_there(&self) -> Option<OffsetDateTime> {
        match self.ahead.load(Ordering::Relaxed) {
            UNKNOWN => None,
            ahead => OffsetDateTime::now_utc().checked_add(time::Duration::seconds(ahead)),
        }
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { account_sid, base_url, username, pace, .. } = self;
        f.debug_struct("Transport")
            .field("account_sid", account_sid)
            .field("base_url", base_url)
            .field("username", username)
            .field("pace", pace)
            .finish_non_exhaustive()
    }
}

/// No answer, or not all of one.
fn lost(ask: &Ask, error: reqwest::Error) -> Failure {
    let path = ask.path().to_owned();
    // What could not be connected was not sent.
    let not_sent = error.is_connect();
    let error = if error.is_timeout() && !not_sent {
        ClientError::TimedOut { path }
    } else {
        // The URL's query may hold phone numbers.
        ClientError::Unreachable { path, source: error.without_url() }
    };
    if not_sent {
        Failure::NotDone { error, asked_for: None }
    } else {
        Failure::Unknown { error, asked_for: None }
    }
}

/// What an answer means that is not a success, with Twilio's words where they are in its form (contract section 4.7).
fn refused(ask: &Ask, status: StatusCode, asked_for: Option<Duration>, answer: Option<Value>) -> Failure {
    let path = ask.path().to_owned();
    if status == StatusCode::TOO_MANY_REQUESTS {
        return Failure::NotDone { error: ClientError::Busy { path }, asked_for };
    }
    let text = |key: &str| Some(answer.as_ref()?.get(key)?.as_str()?.to_owned());
    let code = answer.as_ref().and_then(|answer| answer.get("code")?.as_u64());
    let error = if answer.as_ref().is_some_and(Value::is_object) {
        ClientError::Refused {
            path,
            status: status.as_u16(),
            code: code.and_then(|code| u32::try_from(code).ok()),
            message: text("message").unwrap_or_default(),
            more_info: text("more_info"),
        }
    } else {
        ClientError::NotJson { path, status: status.as_u16() }
    };
    if status.is_server_error() || status == StatusCode::REQUEST_TIMEOUT {
        Failure::Unknown { error, asked_for }
    } else {
        Failure::Final(error)
    }
}

/// All of it, unless it is no answer of Twilio's.
async fn body_of(mut response: Response, ask: &Ask) -> Result<Vec<u8>, Failure> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| lost(ask, error))? {
        if body.len() + chunk.len() > LARGEST_ANSWER {
            return Err(Failure::Final(ClientError::TooLarge { path: ask.path().to_owned() }));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// Seconds, or the time until a date.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?;
    match text.trim().parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => Duration::try_from(timestamp::rfc2822(text)? - OffsetDateTime::now_utc()).ok(),
    }
}

fn is_loopback(url: &Url) -> bool {
    match url.host_str() {
        Some("localhost") => true,
        Some(host) => host
            .trim_matches(['[', ']'])
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback()),
        None => false,
    }
}
