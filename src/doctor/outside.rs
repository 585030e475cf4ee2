//! What the world sees: the public address, and where Twilio sends what it has to tell.

use std::time::Duration;

use serde_json::Value;
use time::OffsetDateTime;

use super::{Finding, within};
use crate::app::Rest;
use crate::clock::Clock;
use crate::config::{Account, Config};
use crate::door::TRY_AGAIN;
use crate::outgoing;
use crate::reconcile::CLOCKS_AGREE;
use crate::serve::Home;
use crate::twilio::client::{Client, ClientError};
use crate::twilio::resource::IncomingNumber;

const PATIENCE: Duration = Duration::from_secs(8);

pub(super) async fn examine(config: &Config, home: &Home) -> Vec<Finding> {
    if matches!(config.twilio, Account::Simulated) {
        return vec![Finding::ok("Twilio", "The account is simulated, so there is no Twilio to look at.")];
    }
    let mut findings = within("public address", async { vec![public_address(config, home).await] }).await;
    findings.extend(within("Twilio", twilio(config, home)).await);
    findings
}

async fn public_address(config: &Config, home: &Home) -> Finding {
    const ABOUT: &str = "public address";
    let Some(base) = &config.webhook_base_url else {
        return Finding::fail(
            ABOUT,
            "WEBHOOK_BASE_URL is not set, so no signature of Twilio's fits and every webhook is refused.",
            "Set it to the address that Twilio calls, as in https://calls.example.com.",
        );
    };
    match ask(&format!("{base}/health")).await {
        Err(error) => Finding::fail(
            ABOUT,
            format!("{base} cannot be reached from here: {error}."),
            "Start callbook, and check the name, the certificate and the proxy in front of it. From some networks a \
             public address cannot be reached from inside: try from elsewhere then.",
        ),
        Ok(health) if health["account_sid"] == home.credentials.owner.account_sid.as_str() => {
            Finding::ok(ABOUT, format!("{base} leads to a callbook of this account."))
        }
        Ok(_) => Finding::fail(
            ABOUT,
            format!("{base} leads to something else than a callbook of this account."),
            "Have the proxy lead to this callbook, with the path as it is.",
        ),
    }
}

async fn ask(url: &str) -> Result<Value, String> {
    let text = |error: reqwest::Error| projections::chain(&error.without_url());
    let client = outgoing::remote(|builder| builder.timeout(PATIENCE)).map_err(text)?;
    let answer = client.get(url).send().await.map_err(text)?;
    let status = answer.status();
    answer.json().await.map_err(|_| format!("it answers {status}, and not as callbook does"))
}

async fn twilio(config: &Config, home: &Home) -> Vec<Finding> {
    const ABOUT: &str = "Twilio";
    let Some(url) = &config.twilio_api.base_url else { return Vec::new() };
    let asked = async {
        let rest = Rest::new(config, &home.credentials, url, Clock::System)?;
        let client = rest.reconcile.client;
        let numbers = numbers(&client).await?;
        Ok::<_, ClientError>((client, numbers))
    };
    let (client, numbers) = match asked.await {
        Ok(asked) => asked,
        Err(error) => {
            return vec![Finding::fail(
                ABOUT,
                format!("Twilio's REST API does not answer as it should: {}.", projections::chain(&error)),
                "Check the credentials (TWILIO_AUTH_TOKEN, or the API key), TWILIO_REGION, and the way out of this network.",
            )];
        }
    };
    let mut findings = vec![Finding::ok(ABOUT, "Twilio's REST API answers to these credentials.")];
    findings.extend(client.now_there().map(clock));
    if numbers.is_empty() {
        findings.push(Finding::warn(
            "numbers",
            "The account has no phone number, so nobody can call.",
            "Buy one in Twilio's console, or check that these are the right account's credentials.",
        ));
    }
    let base = config.webhook_base_url.as_deref().unwrap_or("https://<your public address>");
    findings.extend(numbers.iter().flat_map(|number| webhooks(number, base)));
    findings
}

async fn numbers(client: &Client) -> Result<Vec<IncomingNumber>, ClientError> {
    let mut pages = client.pages(client.incoming_numbers().await?);
    let mut numbers = Vec::new();
    while let Some(page) = pages.next().await? {
        // What cannot be read as a number is told by the job that learns them.
        numbers.extend(page.resources.iter().filter_map(|number| IncomingNumber::try_from(number).ok()));
    }
    Ok(numbers)
}

fn clock(there: OffsetDateTime) -> Finding {
    let apart = (there - OffsetDateTime::now_utc()).abs();
    let said = format!("This machine's clock and Twilio's are {} s apart.", apart.whole_seconds());
    if apart < CLOCKS_AGREE {
        Finding::ok("clock", said)
    } else {
        Finding::warn("clock", said, "Have this machine's clock kept by NTP.")
    }
}

/// Whether a number's calls come to us, and what becomes of them.
fn webhooks(number: &IncomingNumber, base: &str) -> Vec<Finding> {
    const ABOUT: &str = "numbers";
    let name = &number.phone_number;
    let overridden = match (&number.voice_application_sid, &number.trunk_sid) {
        (Some(sid), _) => Some(("TwiML application", sid)),
        (None, Some(sid)) => Some(("SIP trunk", sid)),
        (None, None) => None,
    };
    if let Some((what, sid)) = overridden {
        return vec![Finding::warn(
            ABOUT,
            format!("{name} is handled by the {what} {sid}, so the number's own URLs mean nothing."),
            "Set the URLs there, or detach the number from it.",
        )];
    }
    let voice = format!("{base}/webhooks/twilio/voice-inbound");
    let status = format!("{base}/webhooks/twilio/voice-status");
    let calls = match number.voice_url.as_deref() {
        Some(url) if url == voice => Finding::ok(ABOUT, format!("Calls to {name} come to this callbook.")),
        url => Finding::fail(
            ABOUT,
            format!("Calls to {name} do not come to this callbook: its Voice URL is {}.", shown(url)),
            format!("In Twilio's console, set \"A call comes in\" of {name} to {voice} (HTTP POST)."),
        ),
    };
    let wanted = format!("{status}{TRY_AGAIN}");
    let told = match number.status_callback.as_deref() {
        Some(url) if url == wanted => {
            Finding::ok(ABOUT, format!("The end of a call to {name} is told to this callbook."))
        }
        Some(url) if url == status => Finding::warn(
            ABOUT,
            format!("The end of a call to {name} is told to this callbook, but only once if that fails."),
            format!("Set its status callback to {wanted}, by which Twilio tries again."),
        ),
        url => Finding::warn(
            ABOUT,
            format!(
                "The end of a call to {name} is not told to this callbook: its status callback is {}. It is found \
                 by asking, within a minute.",
                shown(url)
            ),
            format!("In Twilio's console, set \"Call status changes\" of {name} to {wanted} (HTTP POST)."),
        ),
    };
    vec![calls, told]
}

fn shown(url: Option<&str>) -> String {
    match url {
        None | Some("") => "not set".to_owned(),
        // Credentials may stand in it.
        Some(url) => url.rsplit_once('@').map_or(url.to_owned(), |(_, rest)| format!("https://…@{rest}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::State;

    fn number(voice_url: Option<&str>, status_callback: Option<&str>) -> IncomingNumber {
        IncomingNumber {
            sid: "PN00000000000000000000000000000001".to_owned(),
            phone_number: "+16175006181".to_owned(),
            friendly_name: None,
            voice_url: voice_url.map(str::to_owned),
            status_callback: status_callback.map(str::to_owned),
            voice_application_sid: None,
            trunk_sid: None,
        }
    }

    #[test]
    fn a_number_that_points_elsewhere_is_told_the_exact_urls() {
        let base = "https://calls.example.com";
        let (voice, status) = (
            "https://calls.example.com/webhooks/twilio/voice-inbound",
            "https://calls.example.com/webhooks/twilio/voice-status",
        );
        let again = format!("{status}#rc=2&rp=5xx,ct");
        let states = |number: &IncomingNumber| -> Vec<State> {
            webhooks(number, base).iter().map(|finding| finding.state).collect()
        };
        assert_eq!(states(&number(Some(voice), Some(&again))), [State::Ok, State::Ok]);
        assert_eq!(states(&number(Some(voice), Some(status))), [State::Ok, State::Warn]);
        let wrong = webhooks(&number(Some("https://user:secret@demo.twilio.com/welcome"), None), base);
        assert_eq!(wrong[0].state, State::Fail);
        assert!(!wrong[0].said.contains("secret"), "{}", wrong[0].said);
        assert!(wrong[0].to_do.as_ref().unwrap().contains(voice));
        assert!(wrong[1].to_do.as_ref().unwrap().contains(&again));
        let trunk = IncomingNumber { trunk_sid: Some("TK1".to_owned()), ..number(Some(voice), Some(&again)) };
        assert_eq!(states(&trunk), [State::Warn]);
    }
}
