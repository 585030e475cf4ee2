//! What a conversation, its contact and its calls look like: seed 000's fields, with seed 001's further ones.

use domain::phone::Address;
use projections::conversations::{self, ContactMetadata, ConversationMetadata, MessageMetadata};
use projections::queries::{Entry, Thread};
use serde::Serialize;
use time::OffsetDateTime;
use time::serde::rfc3339;
use utoipa::ToSchema;

/// Whom calls are exchanged with: a number, a SIP user, a client.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Contact {
    #[schema(example = "5233100606242806050")]
    id: String,
    /// E.164 where it is a number.
    #[schema(example = "+15085140320")]
    handle: String,
    /// The same as `display_name`; what people have entered, and nothing else, is in `/api/contacts/{id}`.
    name: Option<String>,
    /// The name that people gave it, else the number for people.
    display_name: Option<String>,
    notes: Option<String>,
    tags: Vec<String>,
    /// For people.
    #[schema(example = "+1 (508) 514-0320")]
    phone_number: Option<String>,
    /// Always null.
    avatar_url: Option<String>,
    metadata: ContactMetadata,
    #[serde(with = "rfc3339")]
    created_at: OffsetDateTime,
    #[serde(with = "rfc3339")]
    updated_at: OffsetDateTime,
}

impl From<&conversations::Contact> for Contact {
    fn from(row: &conversations::Contact) -> Self {
        Self {
            id: row.id.to_string(),
            handle: row.phone_number.clone(),
            name: row.display_name.clone(),
            display_name: row.display_name.clone(),
            notes: row.notes.clone(),
            tags: row.tags.clone(),
            phone_number: row.formatted_number.clone(),
            avatar_url: None,
            metadata: row.metadata.0.clone(),
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }
}

/// What was exchanged with one contact.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Conversation {
    #[schema(example = "8172635482910384756")]
    id: String,
    #[schema(example = "+15085140320")]
    external_id: String,
    subject: Option<String>,
    /// `active`, or `archived`: put aside, and nobody has called since.
    status: String,
    archived: bool,
    #[serde(with = "rfc3339")]
    last_message_at: OffsetDateTime,
    /// Missed calls that ended after the read marker.
    unread_count: i64,
    /// Null for withheld callers, who cannot be told apart.
    contact: Option<Contact>,
    metadata: ConversationMetadata,
    #[serde(with = "rfc3339")]
    created_at: OffsetDateTime,
    #[serde(with = "rfc3339")]
    updated_at: OffsetDateTime,
}

impl Conversation {
    pub fn new(row: &conversations::Conversation, contact: Option<&conversations::Contact>) -> Self {
        Self {
            id: row.id.to_string(),
            external_id: row.external_id.clone(),
            subject: row.subject.clone(),
            status: row.status.clone(),
            archived: row.status == "archived",
            last_message_at: row.last_message_at,
            unread_count: row.unread_count,
            contact: contact.map(Contact::from),
            metadata: row.metadata.0.clone(),
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }
}

/// A conversation with its newest call.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ListedConversation {
    #[serde(flatten)]
    conversation: Conversation,
    last_message: Option<Message>,
    /// A call of it is quarantined, so it may lack something.
    stale: bool,
}

impl From<&Thread> for ListedConversation {
    fn from(thread: &Thread) -> Self {
        Self {
            conversation: Conversation::new(&thread.conversation, thread.contact.as_ref()),
            last_message: thread.last.as_ref().map(|entry| Message::new(entry, None)),
            stale: thread.stale,
        }
    }
}

#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct OneConversation {
    #[serde(flatten)]
    pub conversation: ListedConversation,
    pub position: i64,
}

/// A call in a thread, with its legs beside it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Message {
    #[serde(flatten)]
    leg: MessageLeg,
    contact: Option<Contact>,
    /// The call's own leg first, then those it was put through to.
    legs: Vec<MessageLeg>,
}

impl Message {
    pub fn new(entry: &Entry, contact: Option<&conversations::Contact>) -> Self {
        Self {
            leg: MessageLeg::from(&entry.message),
            contact: contact.map(Contact::from),
            legs: entry.legs.iter().map(MessageLeg::from).collect(),
        }
    }
}

/// A call in progress, with its conversation once it has one.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ActiveCall {
    #[serde(flatten)]
    pub message: Message,
    pub conversation: Option<Conversation>,
}

#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ActiveCalls {
    pub total: usize,
    pub calls: Vec<ActiveCall>,
    pub position: i64,
}

/// One leg of a call, as a message.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct MessageLeg {
    #[schema(example = "7361829405716253940")]
    id: String,
    /// The Call SID.
    #[schema(example = "CA00000000000000000000000000000001")]
    external_id: String,
    /// Always `call`.
    #[serde(rename = "type")]
    kind: &'static str,
    conversation_id: Option<String>,
    #[schema(example = "📞 Incoming Call - 5m 50s")]
    subject: String,
    /// A few lines of Markdown.
    body: String,
    #[schema(example = "Incoming call, 5m 50s")]
    blurb: String,
    #[serde(with = "rfc3339")]
    created_at: OffsetDateTime,
    #[serde(with = "rfc3339")]
    updated_at: OffsetDateTime,
    /// `inbound`, `outbound`, `internal` or `unknown`.
    direction: String,
    /// The status that people are shown: Twilio's words, by what became of the whole call.
    call_status: String,
    /// Seconds.
    duration: Option<i32>,
    /// Inbound, and answered by nobody.
    missed: bool,
    /// It has not ended.
    live: bool,
    /// Our number in the call; null for legs, and where there is none.
    #[schema(example = "+16175006181")]
    line: Option<String>,
    call: CallOfMessage,
    metadata: MessageMetadata,
}

/// The call of a message as Twilio has it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct CallOfMessage {
    sid: String,
    from: String,
    to: String,
    /// Seconds.
    duration: Option<i32>,
    status: String,
    direction: String,
    /// Where callbook plays the recording, once there is one.
    recording_url: Option<String>,
    /// Decimal, negative where it costs.
    #[schema(example = "-0.00850")]
    price: Option<String>,
    #[schema(example = "USD")]
    price_unit: Option<String>,
    answered_by: Option<String>,
    #[serde(with = "rfc3339")]
    start_time: OffsetDateTime,
    #[serde(with = "rfc3339::option")]
    answered_at: Option<OffsetDateTime>,
    #[serde(with = "rfc3339::option")]
    end_time: Option<OffsetDateTime>,
}

impl From<&conversations::Message> for MessageLeg {
    fn from(row: &conversations::Message) -> Self {
        let words = Words::of(row);
        Self {
            id: row.id.to_string(),
            external_id: row.twilio_sid.clone(),
            kind: "call",
            conversation_id: row.conversation_id.map(|id| id.to_string()),
            subject: words.subject,
            body: words.body,
            blurb: words.blurb,
            created_at: row.start_time,
            updated_at: row.updated_at,
            direction: row.direction.clone(),
            call_status: row.display_status.clone(),
            duration: row.duration,
            missed: row.missed,
            live: row.live,
            line: row.line.clone(),
            call: CallOfMessage {
                sid: row.twilio_sid.clone(),
                from: row.from_number.clone(),
                to: row.to_number.clone(),
                duration: row.duration,
                status: row.status.clone(),
                direction: row.direction.clone(),
                recording_url: row.recording_url.clone(),
                price: row.price.map(|price| price.to_string()),
                price_unit: row.price_unit.clone(),
                answered_by: row.metadata.answered_by.clone(),
                start_time: row.start_time,
                answered_at: row.answered_at,
                end_time: row.end_time,
            },
            metadata: row.metadata.0.clone(),
        }
    }
}

/// What a person reads of a call.
struct Words {
    subject: String,
    body: String,
    blurb: String,
}

impl Words {
    fn of(row: &conversations::Message) -> Self {
        let kind = match row.direction.as_str() {
            "inbound" if row.missed => "Missed Call",
            "inbound" => "Incoming Call",
            "outbound" => "Outgoing Call",
            "internal" => "Internal Call",
            _ => "Call",
        };
        let state = match (row.display_status.as_str(), row.duration) {
            ("completed", Some(seconds)) => spoken(seconds),
            (status, _) => status.replace('-', " "),
        };
        let mut body = format!(
            "**From:** {}\n**To:** {}\n**Status:** {}",
            Address::caller(&row.from_number).display(),
            Address::callee(&row.to_number).display(),
            row.display_status,
        );
        for (name, seconds) in
            [("Duration", row.duration), ("Talk time", row.talk_time), ("Wait time", row.wait_time)]
        {
            if let Some(seconds) = seconds {
                body.push_str(&format!("\n**{name}:** {}", spoken(seconds)));
            }
        }
        let mut blurb = format!("{kind}, {state}").to_lowercase();
        if let Some(first) = blurb.get_mut(..1) {
            first.make_ascii_uppercase();
        }
        Self { subject: format!("📞 {kind} - {state}"), body, blurb }
    }
}

/// `29s`, `5m 50s`, `1h 2m 3s`.
fn spoken(seconds: i32) -> String {
    let (hours, minutes, seconds) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    match (hours, minutes) {
        (0, 0) => format!("{seconds}s"),
        (0, _) => format!("{minutes}m {seconds}s"),
        _ => format!("{hours}h {minutes}m {seconds}s"),
    }
}
