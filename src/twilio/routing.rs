//! Where an incoming call is sent (seed 000: PSTN to SIP, and SIP to PSTN).

use domain::direction::{Direction, Lines, Party, TwilioDirection, classify};
use domain::phone::{Address, Identity, PhoneNumber};

use super::form::Form;
use super::twiml::Dial;

/// How calls are routed, as configured.
#[derive(Clone, Debug)]
pub struct Routing {
    pub lines: Lines,
    /// With our numbers it makes up the lines.
    pub sip_domain: String,
    /// `sip:user@domain` of the dispatcher.
    pub dispatcher: String,
    /// What a customer sees when we call: an owned number, E.164.
    pub caller_id: Option<String>,
    pub record: bool,
}

impl Routing {
    /// Takes these numbers for ours. What customers see when we call stays for as long as it is ours, else it is the
    /// first. False if it knows them.
    pub fn own(&mut self, numbers: Vec<PhoneNumber>) -> bool {
        let kept = numbers.iter().find(|number| Some(number.as_str()) == self.caller_id.as_deref());
        let caller_id = kept.or(numbers.first()).map(PhoneNumber::to_string);
        let lines = Lines::new(numbers, &self.sip_domain);
        let changed = lines != self.lines || caller_id != self.caller_id;
        (self.lines, self.caller_id) = (lines, caller_id);
        changed
    }

    /// Whom to dial for the call that these parameters announce; nobody if they say nothing of one.
    pub fn dial(&self, form: &Form) -> Option<Dial> {
        let from = form.get("From").map(Address::caller);
        let to = form.get("To").map(Address::callee);
        if from.is_none() && to.is_none() {
            return None;
        }
        let to_dispatcher = Dial::ToSip { uri: self.dispatcher.clone() };
        let twilio = form.get("Direction").map(|text| TwilioDirection::from(text.to_owned()));
        // The customer of a call that the API placed is on the line already.
        if twilio == Some(TwilioDirection::OutboundApi) {
            return Some(to_dispatcher);
        }
        let call = classify(from.as_ref(), to.as_ref(), twilio.as_ref(), &self.lines);
        match (call.direction, call.party, to.map(|to| to.identity)) {
            (Direction::Outbound, Some(Party::Number(number)), _) => Some(Dial::ToNumber {
                number: number.as_str().to_owned(),
                caller_id: self.caller_id.clone()?,
            }),
            (Direction::Outbound, Some(Party::Sip(uri)), _)
            | (Direction::Internal, _, Some(Identity::Sip(uri))) => {
                Some(Dial::ToSip { uri: uri.to_string() })
            }
            // A softphone that dials nobody we could reach.
            (Direction::Outbound, ..) => None,
            _ => Some(to_dispatcher),
        }
    }
}

#[cfg(test)]
mod tests {
    use domain::phone::PhoneNumber;

    use super::*;

    fn dialled(from: &str, to: &str, direction: &str) -> String {
        let routing = Routing {
            sip_domain: String::new(),
            lines: Lines::new([PhoneNumber::try_new("+16175006181").unwrap()], "abchomes.sip.us1.twilio.com"),
            dispatcher: "sip:dispatcher@abchomes.sip.us1.twilio.com".to_owned(),
            caller_id: Some("+16175006181".to_owned()),
            record: false,
        };
        let pairs = [("From", from), ("To", to), ("Direction", direction)];
        let form = Form(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec());
        match routing.dial(&form) {
            Some(Dial::ToSip { uri }) => uri,
            Some(Dial::ToNumber { number, caller_id }) => format!("{number} as {caller_id}"),
            None => "nobody".to_owned(),
        }
    }

    #[test]
    fn a_customer_reaches_the_dispatcher_and_the_dispatcher_a_customer() {
        let dispatcher = "sip:dispatcher@abchomes.sip.us1.twilio.com";
        assert_eq!(dialled("+15085140320", "+16175006181", "inbound"), dispatcher);
        assert_eq!(dialled("anonymous", "+16175006181", "inbound"), dispatcher);
        assert_eq!(dialled(dispatcher, "+15085140320", "inbound"), "+15085140320 as +16175006181");
        assert_eq!(
            dialled(dispatcher, "sip:5085140320@abchomes.sip.twilio.com;transport=tls", "inbound"),
            "+15085140320 as +16175006181"
        );
        assert_eq!(dialled("client:alice", "+15085140320", "inbound"), "+15085140320 as +16175006181");
    }

    #[test]
    fn an_api_call_does_not_ring_its_customer_twice() {
        let dispatcher = "sip:dispatcher@abchomes.sip.us1.twilio.com";
        assert_eq!(dialled("+16175006181", "+15085140320", "outbound-api"), dispatcher);
    }

    #[test]
    fn a_softphone_that_dials_nothing_reaches_nobody() {
        assert_eq!(dialled("client:alice", "", "inbound"), "nobody");
    }
}
