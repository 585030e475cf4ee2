//! Twilio's lists: what is asked of them, and their pages (contract section 4.1).

use domain::call::CallStatus;
use domain::sid::CallSid;
use serde_json::Value;
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime, UtcOffset};

use super::error::ClientError;
use super::transport::Ask;
use crate::twilio::form::Form;

/// Which calls; whatever is not said does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CallFilter {
    /// Started at this second or later. Calls that have not started are left out, as with `started_before`.
    pub started_from: Option<OffsetDateTime>,
    /// Started before this second.
    pub started_before: Option<OffsetDateTime>,
    /// REST has no `initiated` (contract section 9, trap 17).
    pub status: Option<CallStatus>,
    pub parent: Option<CallSid>,
    pub to: Option<String>,
    pub from: Option<String>,
    /// 1 to 1000; Twilio's default is 50.
    pub page_size: Option<u16>,
}

/// Which recordings of the account, by when they were created.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecordingFilter {
    pub created_from: Option<OffsetDateTime>,
    pub created_before: Option<OffsetDateTime>,
    /// 1 to 1000; Twilio's default is 50.
    pub page_size: Option<u16>,
}

/// A page of a list, in Twilio's order.
#[derive(Clone, Debug, PartialEq)]
pub struct Page {
    pub resources: Vec<Value>,
    /// Nothing on the last page.
    pub next: Option<NextPage>,
}

/// Where a list goes on, as Twilio says: for [`super::Client::next`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NextPage {
    pub(super) uri: String,
    pub(super) list: List,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum List {
    Calls,
    Recordings,
    Messages,
    IncomingPhoneNumbers,
}

impl CallFilter {
    pub(super) fn query(&self) -> String {
        query([
            ("StartTime>", self.started_from.map(from_second)),
            ("StartTime<", self.started_before.map(before_second)),
            ("Status", self.status.map(|status| status.as_str().to_owned())),
            ("ParentCallSid", self.parent.as_ref().map(ToString::to_string)),
            ("To", self.to.clone()),
            ("From", self.from.clone()),
            ("PageSize", self.page_size.map(|size| size.to_string())),
        ])
    }
}

impl RecordingFilter {
    pub(super) fn query(&self) -> String {
        query([
            ("DateCreated>", self.created_from.map(from_second)),
            ("DateCreated<", self.created_before.map(before_second)),
            ("PageSize", self.page_size.map(|size| size.to_string())),
        ])
    }
}

impl List {
    fn key(self) -> &'static str {
        match self {
            Self::Calls => "calls",
            Self::Recordings => "recordings",
            Self::Messages => "messages",
            Self::IncomingPhoneNumbers => "incoming_phone_numbers",
        }
    }

    pub(super) fn page(self, mut answer: Value, ask: &Ask) -> Result<Page, ClientError> {
        let unexpected = |expected| ClientError::Unexpected { path: ask.path().to_owned(), expected };
        let Some(Value::Array(resources)) = answer.get_mut(self.key()).map(Value::take) else {
            return Err(unexpected("a list has its resources under the name of their kind"));
        };
        if !resources.iter().all(Value::is_object) {
            return Err(unexpected("each resource of a list is an object"));
        }
        let next = match answer.get("next_page_uri") {
            None | Some(Value::Null) => None,
            Some(Value::String(uri)) if uri.is_empty() => None,
            Some(Value::String(uri)) => Some(NextPage { uri: uri.clone(), list: self }),
            Some(_) => return Err(unexpected("`next_page_uri` is a path or null")),
        };
        Ok(Page { resources, next })
    }
}

/// On the wire `StartTime>=…` is the name `StartTime>` with a value (contract section 4.1).
pub(super) fn query<const N: usize>(pairs: [(&str, Option<String>); N]) -> String {
    let given = pairs.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    Form(given.collect()).encode()
}

/// Twilio's times are whole seconds; `>` is "on or after".
fn from_second(at: OffsetDateTime) -> String {
    iso(at.truncate_to_second())
}

/// What began in the second that `at` is in began before `at`, unless that is its very start.
fn before_second(at: OffsetDateTime) -> String {
    let second = at.truncate_to_second();
    iso(if second == at { second } else { second.saturating_add(Duration::SECOND) })
}

fn iso(at: OffsetDateTime) -> String {
    // The years that RFC 3339 cannot write are outside of what Twilio has calls of.
    at.to_offset(UtcOffset::UTC).format(&Rfc3339).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use time::macros::datetime;

    use super::*;

    #[test]
    fn a_window_is_written_as_the_official_libraries_write_it() {
        let filter = CallFilter {
            started_from: Some(datetime!(2026-01-01 01:00:00.9 +1)),
            started_before: Some(datetime!(2026-01-02 00:00:00.1 UTC)),
            status: Some(CallStatus::InProgress),
            to: Some("+15555550142".to_owned()),
            page_size: Some(1000),
            ..CallFilter::default()
        };
        assert_eq!(
            filter.query(),
            "StartTime%3E=2026-01-01T00%3A00%3A00Z&StartTime%3C=2026-01-02T00%3A00%3A01Z&Status=in-progress\
             &To=%2B15555550142&PageSize=1000"
        );
        assert_eq!(CallFilter::default().query(), "");
    }

    #[test]
    fn a_page_without_its_list_is_an_error_and_not_an_empty_page() {
        let ask = Ask::get("/2010-04-01/Accounts/AC/Calls.json?To=%2B15555550142".to_owned());
        for answer in [json!({}), json!([]), json!({ "calls": null }), json!({ "calls": ["CA"] })] {
            let error = List::Calls.page(answer, &ask).unwrap_err();
            assert!(error.to_string().contains("/Calls.json is of an unknown shape"), "{error}");
            assert!(!error.to_string().contains("5555550142"), "{error}");
        }
        let last = List::Calls.page(json!({ "calls": [], "next_page_uri": null }), &ask).unwrap();
        assert_eq!(last, Page { resources: vec![], next: None });
    }
}
