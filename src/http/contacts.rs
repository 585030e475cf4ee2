//! Contacts as people edit them: name, notes and tags.
//!
//! A party that has called has a contact; one that has not is added by its number. What is changed is told as a merge
//! patch (RFC 7396): what is absent stays, null is removed, and so is text that is blank.

use axum::extract::State;
use axum::http::header::LOCATION;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use domain::contact::text::{TagsError, TextError};
use domain::contact::{Contact, ContactCommand, ContactError, Details, Name, Notes, Tags};
use domain::direction::Party;
use domain::phone::PhoneNumber;
use projections::people::EditableContact;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::ToSchema;

use super::conversations::{open, unreadable};
use super::editing::{Terms, Versioned, given};
use super::json_body::JsonBody;
use super::page::{Id, IdParam};
use super::problem::{ApiError, Problem};
use crate::app::AppState;
use crate::people::{EditError, Edited};

/// What people know of a party.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ContactCard {
    #[schema(example = "5233100606242806050")]
    id: String,
    /// E.164 where it is a number.
    #[schema(example = "+15085140320")]
    handle: String,
    /// For people.
    #[schema(example = "+1 (508) 514-0320")]
    phone_number: String,
    /// The name, else the number for people.
    display_name: String,
    name: Option<String>,
    notes: Option<String>,
    tags: Vec<String>,
    /// What the ETag says.
    version: i64,
    /// The position of the log that this reflects: for `min_position`.
    position: i64,
}

/// What is to be so of a contact. What is absent stays as it is.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ContactPatch {
    /// One line of at most 200 characters; null or blank removes it.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    name: Option<Option<String>>,
    /// At most 10,000 characters; null or blank removes them.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    notes: Option<Option<String>>,
    /// All tags from here on, at most 50 of at most 50 characters; null removes all.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<String>>)]
    tags: Option<Option<Vec<String>>>,
}

/// A party that is to be in the book.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewContact {
    /// As people write it, or in E.164; no number of ours.
    #[schema(example = "+15085140320")]
    number: String,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    notes: Option<String>,
    #[serde(default)]
    tags: Option<Vec<String>>,
}

/// A contact as people edit it.
#[utoipa::path(
    get, path = "/api/contacts/{id}", tag = "contacts",
    params(
        IdParam,
        ("If-None-Match" = Option<String>, Header, description = "ETags that the caller has the answer to"),
    ),
    responses(
        (status = 200, body = ContactCard, headers(("ETag", description = "The version"))),
        (status = 304, description = "It is as the caller knows it"),
        (status = 404, description = "There is no such contact", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn one(
    State(state): State<AppState>,
    Id(id): Id,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let mut snapshot = open(&state).await?;
    let known = snapshot.editable_contact(&state.ids, id).await.map_err(unreadable)?;
    let EditableContact { contact, party, version } = known.ok_or(ApiError::UnknownContact { id })?;
    let display = party.display();
    let body = ContactCard {
        id: id.to_string(),
        handle: contact.phone_number,
        display_name: contact.display_name.unwrap_or_else(|| display.clone()),
        phone_number: display,
        name: contact.name,
        notes: contact.notes,
        tags: contact.tags,
        version,
        position: snapshot.position(),
    };
    Ok(Versioned { version, body }.unless_known(&headers))
}

/// Changes what people know of a party.
#[utoipa::path(
    patch, path = "/api/contacts/{id}", tag = "contacts",
    params(
        IdParam,
        ("If-Match" = Option<String>, Header, description = "The ETag of what the caller has seen"),
        ("Idempotency-Key" = Option<String>, Header, description = "The caller's name of this request; once done, it is answered the same for a day"),
    ),
    request_body(content((ContactPatch = "application/merge-patch+json"), (ContactPatch = "application/json"))),
    responses(
        (status = 200, body = ContactCard, headers(("ETag", description = "The version"))),
        (status = 404, description = "There is no such contact", body = Problem, content_type = "application/problem+json"),
        (status = 412, description = "Somebody has changed it since; `version` says to which version", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "The key was used for another request", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn change(
    State(state): State<AppState>,
    Id(id): Id,
    terms: Terms,
    JsonBody(patch): JsonBody<ContactPatch>,
) -> Result<Versioned<ContactCard>, ApiError> {
    let details = Details {
        name: patch.name.as_ref().map(|name| text("/name", name.as_deref(), Name::try_new)).transpose()?,
        notes: patch
            .notes
            .as_ref()
            .map(|notes| text("/notes", notes.as_deref(), Notes::try_new))
            .transpose()?,
        tags: patch.tags.as_ref().map(|list| tags(list.as_deref())).transpose()?,
    };
    let mut snapshot = open(&state).await?;
    let known = snapshot.editable_contact(&state.ids, id).await.map_err(unreadable)?;
    let party = known.ok_or(ApiError::UnknownContact { id })?.party;
    drop(snapshot);
    let command = ContactCommand::Change { party: party.clone(), details, at: OffsetDateTime::now_utc() };
    let edit = terms.edit(vec![command], &patch)?;
    let edited = state.editor.edit::<Contact>(&party.key(), edit).await?;
    Ok(card(&state, &party, edited))
}

/// Puts a number into the book. Where somebody has edited it already, nothing changes, and 200 says what is there.
#[utoipa::path(
    post, path = "/api/contacts", tag = "contacts",
    params(
        ("Idempotency-Key" = Option<String>, Header, description = "The caller's name of this request; once done, it is answered the same for a day"),
    ),
    request_body = NewContact,
    responses(
        (status = 201, body = ContactCard, headers(("ETag", description = "The version"), ("Location", description = "Where the contact is"))),
        (status = 200, description = "Somebody has edited it already; nothing has changed", body = ContactCard, headers(("ETag", description = "The version"), ("Location", description = "Where the contact is"))),
        (status = 412, description = "There is no version yet that `If-Match` could name", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "The key was used for another request", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn add(
    State(state): State<AppState>,
    terms: Terms,
    JsonBody(new): JsonBody<NewContact>,
) -> Result<Response, ApiError> {
    let wrong = |reason: String| ApiError::WrongField { pointer: "/number".to_owned(), reason };
    let number = PhoneNumber::try_new(&new.number).map_err(|error| wrong(error.to_string()))?;
    if state.door.routing.borrow().lines.own(&number) {
        return Err(wrong("this number is ours, and our numbers are never a contact".to_owned()));
    }
    let party = Party::Number(number);
    let details = Details {
        name: Some(text("/name", new.name.as_deref(), Name::try_new)?),
        notes: Some(text("/notes", new.notes.as_deref(), Notes::try_new)?),
        tags: Some(tags(new.tags.as_deref())?),
    };
    let id = state.ids.contact(&party.key());
    let command = ContactCommand::Add { party: party.clone(), details, at: OffsetDateTime::now_utc() };
    let edit = terms.edit(vec![command], &new)?;
    let edited = state.editor.edit::<Contact>(&party.key(), edit).await?;
    let status = if edited.recorded { StatusCode::CREATED } else { StatusCode::OK };
    let location = HeaderValue::try_from(format!("/api/contacts/{id}")).map_err(ApiError::internal)?;
    Ok((status, [(LOCATION, location)], card(&state, &party, edited)).into_response())
}

fn card(state: &AppState, party: &Party, edited: Edited<Contact>) -> Versioned<ContactCard> {
    let Edited { aggregate: contact, version, position, .. } = edited;
    let name = contact.name.map(|name| name.as_str().to_owned());
    let body = ContactCard {
        id: state.ids.contact(&party.key()).to_string(),
        handle: party.key(),
        phone_number: party.display(),
        display_name: name.clone().unwrap_or_else(|| party.display()),
        name,
        notes: contact.notes.map(|notes| notes.as_str().to_owned()),
        tags: contact.tags.iter().map(str::to_owned).collect(),
        version,
        position,
    };
    Versioned { version, body }
}

/// What a field says; blank is as good as null.
fn text<T>(
    pointer: &str,
    given: Option<&str>,
    parse: fn(&str) -> Result<T, TextError>,
) -> Result<Option<T>, ApiError> {
    match given.map(parse).transpose() {
        Ok(text) => Ok(text),
        Err(TextError::Blank) => Ok(None),
        Err(error) => Err(ApiError::WrongField { pointer: pointer.to_owned(), reason: error.to_string() }),
    }
}

fn tags(given: Option<&[String]>) -> Result<Tags, ApiError> {
    let texts = given.unwrap_or_default().iter().map(String::as_str);
    Tags::try_new(texts).map_err(|error| match error {
        TagsError::TooMany { .. } => {
            ApiError::WrongField { pointer: "/tags".to_owned(), reason: error.to_string() }
        }
        TagsError::Tag { nth, source } => {
            ApiError::WrongField { pointer: format!("/tags/{nth}"), reason: source.to_string() }
        }
    })
}

impl From<EditError<ContactError>> for ApiError {
    fn from(error: EditError<ContactError>) -> Self {
        // Withheld callers have no contact, so none can be asked for by its id.
        error.into_problem(|refused| Self::Forbidden {
            reason: match refused {
                ContactError::Withheld => {
                    "withheld callers cannot be told apart, so none of them can be named"
                }
            },
        })
    }
}
