//! What callbook tells Twilio to do with a call: seed 000's documents, and nothing else. A caller waits while
//! Twilio reads them, so they cannot fail to be built and are well-formed whatever stands in a number.

use std::borrow::Cow;
use std::io;

use quick_xml::escape::partial_escape;
use quick_xml::events::{BytesDecl, BytesText, Event};
use quick_xml::writer::{ElementWriter, Writer};

/// Where Twilio reports what becomes of the call. Absolute URLs, so that the document means the same wherever
/// it is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Callbacks {
    /// Asked once, when the dial is over; it must answer TwiML.
    pub dial_action: String,
    /// Told of each event of the leg that is dialled.
    pub voice_status: String,
    /// Told when a recording is ready.
    pub recording_status: String,
}

/// Whom to connect the caller with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dial {
    /// Inbound (seed 000): a customer's call goes to the dispatcher, `sip:dispatcher@…`.
    ToSip { uri: String },
    /// Outbound (seed 000): the dispatcher's call goes to a customer, who sees `caller_id`, one of our numbers.
    ToNumber { number: String, caller_id: String },
}

/// Seconds to let it ring (seed 000). Twilio adds 5 (contract section 7).
const RING_SECONDS: &str = "60";

/// Every event that the dialled leg can report (contract section 1.2).
const STATUS_EVENTS: &str = "initiated ringing answered completed";

/// Connects the caller. Attributes are in the order of seed 000; with `record`, both channels are recorded from
/// the answer on, the caller's first.
pub fn dial(dial: &Dial, callbacks: &Callbacks, record: bool) -> String {
    let mut attributes = vec![("timeout", RING_SECONDS)];
    if let Dial::ToNumber { caller_id, .. } = dial {
        attributes.push(("callerId", caller_id));
    }
    attributes.extend([("action", callbacks.dial_action.as_str()), ("method", "POST")]);
    if record {
        attributes.extend([
            ("record", "record-from-answer-dual"),
            ("recordingStatusCallback", callbacks.recording_status.as_str()),
            ("recordingStatusCallbackMethod", "POST"),
        ]);
    }
    let (noun, target) = match dial {
        Dial::ToSip { uri } => ("Sip", uri),
        Dial::ToNumber { number, .. } => ("Number", number),
    };
    let status = [
        ("statusCallback", callbacks.voice_status.as_str()),
        ("statusCallbackEvent", STATUS_EVENTS),
        ("statusCallbackMethod", "POST"),
    ];
    let target = storable(target);
    let text = BytesText::from_escaped(partial_escape(target.as_ref()));
    response(|writer| {
        let dial = with_attributes(writer, "Dial", &attributes);
        dial.write_inner_content(|writer| {
            with_attributes(writer, noun, &status).write_text_content(text).map(drop)
        })
        .map(drop)
    })
}

/// Nothing further: Twilio hangs up. The answer to a dial action.
pub fn empty() -> String {
    document(|writer| writer.create_element("Response").write_empty().map(drop))
}

type Memory = Writer<Vec<u8>>;

fn response(verbs: impl FnOnce(&mut Memory) -> io::Result<()>) -> String {
    document(|writer| writer.create_element("Response").write_inner_content(verbs).map(drop))
}

fn document(content: impl FnOnce(&mut Memory) -> io::Result<()>) -> String {
    let mut writer = Writer::new(Vec::new());
    writer
        .write_event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)))
        .and_then(|()| content(&mut writer))
        .expect("memory takes every write");
    String::from_utf8(writer.into_inner()).expect("only strings were written")
}

/// An element with its attributes in this order. The writer escapes more than it must (`'`, `>` and, so that
/// they survive the reading, tabs and line ends), which XML reads back as the same text.
fn with_attributes<'a>(
    writer: &'a mut Memory,
    name: &'a str,
    attributes: &[(&str, &str)],
) -> ElementWriter<'a, Vec<u8>> {
    attributes.iter().fold(writer.create_element(name), |element, (name, value)| {
        element.with_attribute((*name, storable(value)))
    })
}

/// The text without the characters that no XML 1.0 document may hold, escaped or not (contract section 7).
fn storable(text: &str) -> Cow<'_, str> {
    if !text.contains(is_forbidden) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.replace(is_forbidden, ""))
}

fn is_forbidden(character: char) -> bool {
    match character {
        '\t' | '\n' | '\r' => false,
        '\u{fffe}' | '\u{ffff}' => true,
        _ => character < ' ',
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use quick_xml::Reader;

    fn callbacks() -> Callbacks {
        Callbacks {
            dial_action: "https://abc-metrics.fly.dev/webhooks/twilio/dial-action".to_owned(),
            voice_status: "https://abc-metrics.fly.dev/webhooks/twilio/voice-status".to_owned(),
            recording_status: "https://abc-metrics.fly.dev/webhooks/twilio/recording-status".to_owned(),
        }
    }

    fn inbound() -> Dial {
        Dial::ToSip { uri: "sip:dispatcher@abchomes.sip.us1.twilio.com".to_owned() }
    }

    fn outbound() -> Dial {
        Dial::ToNumber { number: "+15085140320".to_owned(), caller_id: "+16175006181".to_owned() }
    }

    /// A seed's document on one line, as it is written here for reading.
    fn compact(lines: &[&str]) -> String {
        format!(r#"<?xml version="1.0" encoding="UTF-8"?>{}"#, lines.concat())
    }

    #[test]
    fn an_inbound_call_goes_to_the_dispatcher_as_in_seed_000() {
        assert_eq!(
            dial(&inbound(), &callbacks(), false),
            compact(&[
                r#"<Response>"#,
                r#"<Dial timeout="60" action="https://abc-metrics.fly.dev/webhooks/twilio/dial-action" method="POST">"#,
                r#"<Sip statusCallback="https://abc-metrics.fly.dev/webhooks/twilio/voice-status""#,
                r#" statusCallbackEvent="initiated ringing answered completed""#,
                r#" statusCallbackMethod="POST">sip:dispatcher@abchomes.sip.us1.twilio.com</Sip>"#,
                r#"</Dial>"#,
                r#"</Response>"#,
            ])
        );
    }

    #[test]
    fn an_outbound_call_goes_to_the_customer_with_our_caller_id_as_in_seed_000() {
        assert_eq!(
            dial(&outbound(), &callbacks(), false),
            compact(&[
                r#"<Response>"#,
                r#"<Dial timeout="60" callerId="+16175006181""#,
                r#" action="https://abc-metrics.fly.dev/webhooks/twilio/dial-action" method="POST">"#,
                r#"<Number statusCallback="https://abc-metrics.fly.dev/webhooks/twilio/voice-status""#,
                r#" statusCallbackEvent="initiated ringing answered completed""#,
                r#" statusCallbackMethod="POST">+15085140320</Number>"#,
                r#"</Dial>"#,
                r#"</Response>"#,
            ])
        );
    }

    #[test]
    fn recording_adds_three_attributes_to_the_dial_and_changes_nothing_else() {
        let added = concat!(
            r#" method="POST" record="record-from-answer-dual""#,
            r#" recordingStatusCallback="https://abc-metrics.fly.dev/webhooks/twilio/recording-status""#,
            r#" recordingStatusCallbackMethod="POST">"#
        );
        for whom in [inbound(), outbound()] {
            let plain = dial(&whom, &callbacks(), false);
            let recorded = dial(&whom, &callbacks(), true);
            assert_eq!(recorded, plain.replacen(r#" method="POST">"#, added, 1));
            assert_ne!(recorded, plain);
        }
    }

    #[test]
    fn the_empty_document_is_as_short_as_it_can_be() {
        assert_eq!(empty(), r#"<?xml version="1.0" encoding="UTF-8"?><Response/>"#);
    }

    /// Everything that XML gives a meaning to, characters that it forbids, and one outside the basic plane.
    const HOSTILE: &str = "\"<>&'👍ż\t\r\n\0\u{1}\u{b}\u{1f}\u{fffe}]]>&amp;";

    /// [`HOSTILE`] as an XML reader must give it back.
    const DISARMED: &str = "\"<>&'👍ż\t\r\n]]>&amp;";

    fn hostile() -> (Callbacks, [Dial; 2]) {
        let text = |name: &str| format!("{name}{HOSTILE}");
        (
            Callbacks {
                dial_action: text("action"),
                voice_status: text("voice"),
                recording_status: text("recording"),
            },
            [
                Dial::ToSip { uri: text("uri") },
                Dial::ToNumber { number: text("number"), caller_id: text("id") },
            ],
        )
    }

    /// Every attribute and text of a document as a strict reader sees it: `(element, attribute or "", value)`.
    fn read(document: &str) -> Vec<(String, String, String)> {
        let mut reader = Reader::from_str(document);
        let (mut found, mut open, mut text) = (Vec::new(), Vec::<String>::new(), String::new());
        loop {
            match reader.read_event().unwrap() {
                Event::Start(tag) => {
                    let name = tag.name().0.to_owned();
                    for attribute in tag.attributes() {
                        let attribute = attribute.unwrap();
                        let value = quick_xml::escape::unescape(&attribute.value).unwrap().into_owned();
                        found.push((name.clone(), attribute.key.0.to_owned(), value));
                    }
                    open.push(name);
                }
                Event::Text(part) => text.push_str(&part),
                Event::GeneralRef(name) => {
                    text.push_str(&quick_xml::escape::unescape(&format!("&{};", &*name)).unwrap())
                }
                Event::End(_) => {
                    let name = open.pop().unwrap();
                    if !text.is_empty() {
                        found.push((name, String::new(), std::mem::take(&mut text)));
                    }
                }
                Event::Eof => break,
                _ => {}
            }
        }
        assert!(open.is_empty());
        found
    }

    #[test]
    fn hostile_text_survives_in_every_attribute_and_text_and_escapes_from_none() {
        let (callbacks, dials) = hostile();
        for whom in dials {
            let document = dial(&whom, &callbacks, true);
            let read = read(&document);
            let mut expected = vec![
                ("Dial", "timeout", "60".to_owned()),
                ("Dial", "action", format!("action{DISARMED}")),
                ("Dial", "method", "POST".to_owned()),
                ("Dial", "record", "record-from-answer-dual".to_owned()),
                ("Dial", "recordingStatusCallback", format!("recording{DISARMED}")),
                ("Dial", "recordingStatusCallbackMethod", "POST".to_owned()),
            ];
            let noun = match whom {
                Dial::ToSip { .. } => "Sip",
                Dial::ToNumber { .. } => {
                    expected.insert(1, ("Dial", "callerId", format!("id{DISARMED}")));
                    "Number"
                }
            };
            let target = if noun == "Sip" { "uri" } else { "number" };
            expected.extend([
                (noun, "statusCallback", format!("voice{DISARMED}")),
                (noun, "statusCallbackEvent", STATUS_EVENTS.to_owned()),
                (noun, "statusCallbackMethod", "POST".to_owned()),
                (noun, "", format!("{target}{DISARMED}")),
            ]);
            let read: Vec<(&str, &str, String)> =
                read.iter().map(|(element, name, value)| (&**element, &**name, value.clone())).collect();
            assert_eq!(read, expected);
        }
    }

    #[test]
    fn hostile_text_is_written_as_the_contract_says() {
        let (callbacks, [whom, _]) = hostile();
        let document = dial(&whom, &callbacks, false);
        assert!(
            document.contains(
                r#"action="action&quot;&lt;&gt;&amp;&apos;👍ż&#9;&#13;&#10;]]&gt;&amp;amp;" method="POST""#
            ),
            "{document}"
        );
        assert!(document.contains(">uri\"&lt;&gt;&amp;'👍ż\t&#13;\n]]&gt;&amp;amp;</Sip>"), "{document}");
    }

    proptest! {
        #[test]
        fn no_text_panics_or_changes_the_shape(text in any::<String>(), record in any::<bool>()) {
            let callbacks = Callbacks {
                dial_action: text.clone(),
                voice_status: text.clone(),
                recording_status: text.clone(),
            };
            let whom = Dial::ToNumber { number: format!("+{text}"), caller_id: text.clone() };
            let document = dial(&whom, &callbacks, record);
            prop_assert_eq!(read(&document).len(), if record { 11 } else { 8 });
            let forbidden = document.contains(|c: char| c < ' ' && !['\t', '\r', '\n'].contains(&c));
            prop_assert!(!forbidden);
        }
    }
}
