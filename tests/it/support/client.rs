//! Twilio's side: signed requests, and the reports that a call makes.

use callbook::twilio::form::Form;
use callbook::twilio::signature;
use reqwest::Response;
use reqwest::header::AUTHORIZATION;
use secrecy::SecretString;

use super::{ACCOUNT_SID, ADMIN_TOKEN, AUTH_TOKEN};

/// Sends signed webhooks to a callbook.
#[derive(Clone)]
pub struct Twilio {
    url: String,
}

pub type Pairs = Vec<(String, String)>;

pub fn pairs(pairs: &[(&str, &str)]) -> Pairs {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// A client that shows the admin token, which is needed where the account is a real one.
pub fn http() -> reqwest::Client {
    let token = format!("Bearer {ADMIN_TOKEN}").parse().unwrap();
    callbook::outgoing::local()
        .default_headers([(AUTHORIZATION, token)].into_iter().collect())
        .build()
        .unwrap()
}

impl Twilio {
    pub fn new(url: &str) -> Self {
        Self { url: url.to_owned() }
    }

    pub async fn post(&self, endpoint: &str, params: &[(String, String)]) -> Response {
        let url = format!("{}/webhooks/twilio/{endpoint}", self.url);
        let signature = signature::sign(&SecretString::from(AUTH_TOKEN), &url, params);
        http()
            .post(url)
            .header("X-Twilio-Signature", signature)
            .header("Content-Type", "application/x-www-form-urlencoded")
            .body(Form(params.to_vec()).encode())
            .send()
            .await
            .unwrap()
    }

    pub async fn get(&self, endpoint: &str, params: &[(String, String)]) -> Response {
        let query = Form(params.to_vec()).encode();
        let url = format!("{}/webhooks/twilio/{endpoint}?{query}", self.url);
        let signature = signature::sign(&SecretString::from(AUTH_TOKEN), &url, &[]);
        http().get(url).header("X-Twilio-Signature", signature).send().await.unwrap()
    }

    /// Sends and insists on a 2xx.
    pub async fn send(&self, endpoint: &str, params: &[(String, String)]) {
        let response = self.post(endpoint, params).await;
        assert!(response.status().is_success(), "{endpoint}: {}", response.status());
    }
}

/// Twilio's announcement of an incoming call.
pub fn incoming(call_sid: &str, from: &str, to: &str) -> Pairs {
    pairs(&[
        ("CallSid", call_sid),
        ("AccountSid", ACCOUNT_SID),
        ("ApiVersion", "2010-04-01"),
        ("CallStatus", "ringing"),
        ("Direction", "inbound"),
        ("From", from),
        ("To", to),
        ("FromCity", ""),
    ])
}

/// A status callback of a leg; a parent makes it a child.
pub fn status(
    call_sid: &str,
    parent: Option<&str>,
    from: &str,
    to: &str,
    status: &str,
    sequence: u32,
    at: &str,
) -> Pairs {
    let mut params = pairs(&[
        ("CallSid", call_sid),
        ("AccountSid", ACCOUNT_SID),
        ("ApiVersion", "2010-04-01"),
        ("CallStatus", status),
        ("Direction", if parent.is_some() { "outbound-dial" } else { "inbound" }),
        ("From", from),
        ("To", to),
        ("CallbackSource", "call-progress-events"),
        ("SequenceNumber", &sequence.to_string()),
        ("Timestamp", at),
    ]);
    if let Some(parent) = parent {
        params.push(("ParentCallSid".to_owned(), parent.to_owned()));
    }
    params
}

/// The end of a dial, reported on the parent.
pub fn dial_action(call_sid: &str, child: &str, from: &str, to: &str, status: &str, seconds: u32) -> Pairs {
    let mut params = incoming(call_sid, from, to);
    params.retain(|(name, _)| name != "CallStatus");
    params.extend(pairs(&[
        ("CallStatus", "in-progress"),
        ("DialCallSid", child),
        ("DialCallStatus", status),
        ("DialBridged", if status == "completed" { "true" } else { "false" }),
    ]));
    if status == "completed" {
        params.push(("DialCallDuration".to_owned(), seconds.to_string()));
    }
    params
}

/// The end of a call with its length.
pub fn lasting(mut params: Pairs, seconds: u32) -> Pairs {
    params.extend(pairs(&[("CallDuration", &seconds.to_string()), ("Duration", "1")]));
    params
}
