//! What can go wrong when Twilio is asked, as somebody can act on it.

use std::error::Error;

/// Why Twilio's REST API did not do as asked. `Display` is fit for a log: it has paths and SIDs, and no phone numbers,
/// which Twilio's own words may quote.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("`{value}` is not the address of a REST API, which looks like https://api.twilio.com")]
    BaseUrl { value: String },
    #[error("the HTTP client for Twilio cannot be set up")]
    Setup(#[source] reqwest::Error),
    #[error(
        "no whole answer to {path} came from Twilio's REST API; check the network and TWILIO_API_BASE_URL"
    )]
    Unreachable {
        path: String,
        #[source]
        source: reqwest::Error,
    },
    #[error("Twilio's REST API did not answer {path} in time; try again later")]
    TimedOut { path: String },
    #[error(
        "Twilio refuses {path} with status {status}{}{}",
        code.map(|code| format!(" and error {code} (https://www.twilio.com/docs/errors/{code})")).unwrap_or_default(),
        self.hint()
    )]
    Refused {
        path: String,
        status: u16,
        /// Twilio's error code (contract section 4.7).
        code: Option<u32>,
        /// Twilio's words, which may quote phone numbers.
        message: String,
        more_info: Option<String>,
    },
    #[error(
        "Twilio is too busy to answer {path}, however often it is asked; lower TWILIO_REQUESTS_AT_ONCE if this stays"
    )]
    Busy { path: String },
    #[error(
        "what answered {path} with status {status} did not answer in JSON; it may be a proxy and not Twilio"
    )]
    NotJson { path: String, status: u16 },
    #[error(
        "what answered {path} sends more than any answer of Twilio's has; it may be a proxy and not Twilio"
    )]
    TooLarge { path: String },
    #[error("Twilio's answer to {path} is of an unknown shape: {expected}")]
    Unexpected { path: String, expected: &'static str },
    /// The request may or may not have been carried out.
    #[error(
        "Twilio's answer to a request to create ({path}) was lost, and whether it was carried out could not be found \
         out; look at Twilio's console before trying again"
    )]
    UnknownOutcome {
        path: String,
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    #[error("Twilio's list goes on at another place than {base_url}; credentials are not sent there")]
    PageElsewhere { base_url: String },
    #[error("Twilio's list goes round: a page of {path} leads back to one that was read; try again later")]
    PageRepeats { path: String },
    #[error("Twilio's list {path} has not ended after {pages} pages; ask for a shorter time")]
    PagesEndless { path: String, pages: usize },
}

/// Error codes of an account that is closed or suspended.
const NOT_ACTIVE: [u32; 3] = [10001, 20005, 30002];

impl ClientError {
    /// Twilio itself says that it has no such resource, or not yet (contract section 4.7); a proxy's 404 says nothing
    /// of what Twilio has.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused { status: 404, code: Some(20404), .. })
    }

    /// The same of media, whose host answers in XML or HTML, too: whatever says 404 has no audio.
    pub fn is_no_media(&self) -> bool {
        matches!(self, Self::Refused { status: 404, .. } | Self::NotJson { status: 404, .. })
    }

    /// Twilio does not let us in: no request will be answered until somebody has changed something.
    pub fn is_credentials(&self) -> bool {
        match self {
            Self::Refused { status, code, .. } => {
                matches!(status, 401 | 403) || matches!(code, Some(20003 | 20006)) || self.is_suspended()
            }
            Self::NotJson { status, .. } => *status == 401,
            _ => false,
        }
    }

    /// Twilio knows the account, and has suspended or closed it.
    pub fn is_suspended(&self) -> bool {
        match self {
            Self::Refused { status, code, message, .. } => {
                let message = message.to_lowercase();
                code.is_some_and(|code| NOT_ACTIVE.contains(&code))
                    || matches!(status, 401 | 403)
                        && ["suspended", "not active", "closed"].iter().any(|word| message.contains(word))
            }
            _ => false,
        }
    }

    /// Twilio's own words, for somebody who may see what was asked; they may quote phone numbers.
    pub fn twilios_words(&self) -> Option<&str> {
        match self {
            Self::Refused { message, .. } if !message.is_empty() => Some(message),
            _ => None,
        }
    }

    fn hint(&self) -> &'static str {
        if self.is_suspended() {
            "; the account is suspended or closed: see Twilio's console"
        } else if self.is_credentials() {
            "; check TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN, or TWILIO_API_KEY_SID and its secret, and that they are \
             of the region that is asked"
        } else {
            ""
        }
    }
}
