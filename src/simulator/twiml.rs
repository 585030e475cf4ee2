//! Reading TwiML as Twilio does: which URLs the rest of the call is told to.

use quick_xml::events::{BytesStart, Event};
use quick_xml::{Reader, XmlVersion};

/// The callback URLs of a `<Dial>`, as written: absolute or relative, fragment included.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Callbacks {
    /// Of `<Dial action>`.
    pub action: Option<String>,
    /// Of `<Dial recordingStatusCallback>`.
    pub recording: Option<String>,
    /// Of the first `<Number>`, `<Sip>` or `<Client>` that has a `statusCallback`.
    pub status: Option<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum TwimlError {
    #[error("is not well-formed XML: {0}")]
    Malformed(#[from] quick_xml::Error),
    #[error("has an attribute that is not well-formed XML")]
    Attribute,
    #[error("ends inside an element, or has none")]
    Incomplete,
    #[error("is not a <Response>")]
    NotAResponse,
}

impl Callbacks {
    /// Reads the answer to a TwiML fetch. An answer without `<Dial>` has no callbacks.
    pub fn read(twiml: &str) -> Result<Callbacks, TwimlError> {
        let mut reader = Reader::from_str(twiml);
        let mut callbacks = Callbacks::default();
        let (mut depth, mut elements) = (0_u32, 0_u32);
        loop {
            let (element, opens) = match reader.read_event()? {
                Event::Start(element) => (element, true),
                Event::Empty(element) => (element, false),
                Event::End(_) => {
                    depth = depth.saturating_sub(1);
                    continue;
                }
                Event::Text(text) if depth == 0 && !text.trim_ascii().is_empty() => {
                    return Err(TwimlError::NotAResponse);
                }
                Event::CData(_) | Event::GeneralRef(_) if depth == 0 => return Err(TwimlError::NotAResponse),
                Event::Eof if depth > 0 || elements == 0 => return Err(TwimlError::Incomplete),
                Event::Eof => return Ok(callbacks),
                _ => continue,
            };
            if depth == 0 && (elements > 0 || element.name().as_ref() != "Response") {
                return Err(TwimlError::NotAResponse);
            }
            callbacks.take_from(&element)?;
            elements += 1;
            depth += u32::from(opens);
        }
    }

    fn take_from(&mut self, element: &BytesStart<'_>) -> Result<(), TwimlError> {
        let name = element.name();
        for attribute in element.attributes() {
            let attribute = attribute.map_err(|_| TwimlError::Attribute)?;
            let place = match (name.as_ref(), attribute.key.as_ref()) {
                ("Dial", "action") => &mut self.action,
                ("Dial", "recordingStatusCallback") => &mut self.recording,
                ("Number" | "Sip" | "Client", "statusCallback") => &mut self.status,
                _ => continue,
            };
            let url =
                attribute.normalized_value(XmlVersion::Implicit1_0).map_err(|_| TwimlError::Attribute)?;
            place.get_or_insert(url.into_owned());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_callbacks_of_a_dial_are_found_and_unescaped() {
        let twiml = r##"<?xml version="1.0" encoding="UTF-8"?><Response>
            <Dial timeout="60" action="/webhooks/twilio/dial-action?a=1&amp;b=2" recordingStatusCallback="/r">
                <Sip statusCallback="https://x.example/s#rc=2&amp;rp=5xx,ct"
                     statusCallbackEvent="initiated ringing answered completed">sip:dispatcher@x.example</Sip>
            </Dial>
        </Response>"##;
        let callbacks = Callbacks::read(twiml).unwrap();
        assert_eq!(callbacks.action.as_deref(), Some("/webhooks/twilio/dial-action?a=1&b=2"));
        assert_eq!(callbacks.recording.as_deref(), Some("/r"));
        assert_eq!(callbacks.status.as_deref(), Some("https://x.example/s#rc=2&rp=5xx,ct"));
    }

    #[test]
    fn an_empty_response_has_no_callbacks() {
        for twiml in ["<Response/>", "<Response></Response>", "<?xml version=\"1.0\"?>\n<Response />\n"] {
            assert_eq!(Callbacks::read(twiml).unwrap(), Callbacks::default());
        }
    }

    #[test]
    fn what_twilio_would_not_execute_is_an_error() {
        for twiml in [
            "",
            "internal server error",
            "<Response>",
            "<Response><Dial></Response>",
            "<html></html>",
            "<Response/><Response/>",
            "<Response/> and more",
            "<Response/>&amp;",
            r#"<Response><Dial action="a" action="b"/></Response>"#,
            r#"<Response><Dial action="&nonsense;"/></Response>"#,
        ] {
            assert!(Callbacks::read(twiml).is_err(), "{twiml:?} was accepted");
        }
    }
}
