//! Playing one family of calls: each request at its time, to the URL that callbook gave for it.

use std::collections::HashMap;

use tokio::sync::mpsc::UnboundedSender;
use tokio::time::Instant;

use super::address::Destination;
use super::webhook::Answer;
use super::{Driver, Request, Script};
use crate::simulator::disturbance::Delivery;
use crate::simulator::report::{News, Sent};
use crate::simulator::script::Endpoint;
use crate::simulator::twiml::Callbacks;

/// What callbook told Twilio to do with the rest of a call.
#[derive(Default)]
struct Told {
    action: Option<Destination>,
    recording: Option<Destination>,
    status: Option<Destination>,
}

impl Driver {
    /// Sends `deliveries` one after another, so that only a disturbance puts them out of order, and tells `news`
    /// about each. Call time is wall time divided by `speed`.
    pub(super) async fn play(
        self,
        script: Script,
        deliveries: Vec<Delivery>,
        speed: f64,
        news: UnboundedSender<News>,
    ) {
        let begun = Instant::now();
        let mut told = Told::default();
        // A repeat is identical, so it goes where the first went, whatever was told in between.
        let mut sent_to: HashMap<usize, Destination> = HashMap::new();
        for delivery in deliveries {
            tokio::time::sleep_until(begun + delivery.at.div_f64(speed)).await;
            let request = &script.requests[delivery.request];
            let destination = sent_to.entry(delivery.request).or_insert_with(|| {
                told.destination(request).unwrap_or_else(|| self.addresses.standard(request.endpoint))
            });
            let delivered = self.deliver(request, destination).await;
            let complaint = self.understand(request.endpoint, &delivered.answer, &mut told);
            // Nobody listens any more when the run was given up.
            let _ = news.send(News::Sent(Sent {
                request: request.clone(),
                took: delivered.took,
                endpoint: request.endpoint,
                repeated: delivery.repeated,
                late: delivery.late,
                reordered: delivery.reordered,
                retries: delivered.retries,
                answer: delivered.answer.status(),
                complaint,
            }));
        }
        let _ = news.send(News::CallEnded);
    }

    /// What is wrong with the answer besides its status.
    fn understand(&self, endpoint: Endpoint, answer: &Answer, told: &mut Told) -> Option<String> {
        let Answer::Http { status, body } = answer else { return answer.failure().map(str::to_owned) };
        match (endpoint, status) {
            (Endpoint::VoiceInbound, 200) => self.obey(body, told).err(),
            (Endpoint::VoiceInbound, 201..=299) => Some("TwiML must come with status 200".to_owned()),
            (Endpoint::DialAction, 200..=299) => {
                Callbacks::read(body).err().map(|error| format!("the answer {error}"))
            }
            _ => None,
        }
    }

    /// Takes the callback URLs out of TwiML. What cannot be used stays at its standard path, and is complained about.
    fn obey(&self, twiml: &str, told: &mut Told) -> Result<(), String> {
        let callbacks = Callbacks::read(twiml).map_err(|error| format!("the answer {error}"))?;
        let mut complaint = Ok(());
        let mut resolve = |what: &str, url: Option<String>, required: bool| {
            let destination = url.as_deref().and_then(|url| self.addresses.resolve(url));
            match url {
                Some(url) if destination.is_none() => {
                    complaint = Err(format!("{what} {url} is not below the webhook base URL"));
                }
                None if required => complaint = Err(format!("the TwiML has no {what}")),
                _ => {}
            }
            destination
        };
        told.recording = resolve("<Dial recordingStatusCallback>", callbacks.recording, false);
        told.status = resolve("statusCallback of what is dialled", callbacks.status, true);
        told.action = resolve("<Dial action>", callbacks.action, true);
        complaint
    }
}

impl Told {
    /// `None` where the URL that is configured at Twilio counts: for the fetch and for the root's own callback.
    fn destination(&self, request: &Request) -> Option<Destination> {
        let is_child = request.params.iter().any(|(name, _)| name == "ParentCallSid");
        match request.endpoint {
            Endpoint::VoiceStatus if is_child => self.status.clone(),
            Endpoint::VoiceInbound | Endpoint::VoiceStatus => None,
            Endpoint::DialAction => self.action.clone(),
            Endpoint::RecordingStatus => self.recording.clone(),
        }
    }
}
