//! Which calls are looked for, and what that means in SQL.
//!
//! A filter is about calls as threads show them: one entry a family. Everything that it says must hold of one and
//! the same call. What names a party, a number or a part of a name, is looked up first ([`Snapshot::scope`]), so that
//! what is asked for then has the order of an index, however large the list.

use domain::call::CallStatus;
use domain::direction::Direction;
use domain::phone::PhoneNumber;
use sqlx::Postgres;
use sqlx::QueryBuilder;
use sqlx::types::time::OffsetDateTime;

use super::search::Search;
use crate::generation::{Generation, Snapshot};

/// What calls are looked for. Nothing given is every call that a thread shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    pub direction: Option<Direction>,
    /// As the thread shows it.
    pub status: Option<CallStatus>,
    pub missed: Option<bool>,
    /// The customer's, or the line's.
    pub number: Option<PhoneNumber>,
    pub search: Option<Search>,
    /// Calls that began then or later.
    pub from: Option<OffsetDateTime>,
    /// Calls that began before.
    pub until: Option<OffsetDateTime>,
    pub has_recording: Option<bool>,
}

/// The calls of some conversations, or of all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Parties {
    All,
    /// The conversations with these ids.
    These(Vec<i64>),
    /// Too many to name: those in which this is found.
    With(Search),
}

/// A filter whose parties have been looked up, in one snapshot.
#[derive(Clone, Debug)]
pub struct Scope {
    generation: Generation,
    filter: Filter,
    parties: Parties,
    /// The conversation and the line that a number is; it may be either, both or neither.
    number: Option<(Option<i64>, bool)>,
}

/// More conversations than this are not named one by one.
const NAMED: usize = 1_000;

impl Snapshot {
    /// Looks up what a filter names.
    pub async fn scope(&mut self, filter: Filter) -> sqlx::Result<Scope> {
        let number = match &filter.number {
            Some(number) => Some(self.who(number).await?),
            None => None,
        };
        let parties = match &filter.search {
            Some(search) => match self.found(search, NAMED).await? {
                Some(ids) => Parties::These(ids),
                None => Parties::With(search.clone()),
            },
            None => Parties::All,
        };
        Ok(Scope { generation: self.generation, filter, parties, number })
    }

    async fn who(&mut self, number: &PhoneNumber) -> sqlx::Result<(Option<i64>, bool)> {
        let g = self.generation;
        let query = format!(
            "select (select id from {g}.conversations where external_id = $1),
                    exists (select from {g}.messages
                             where line = $1 and entry and conversation_id is not null)"
        );
        sqlx::query_as(&query).bind(number.as_str()).fetch_one(&mut *self.tx).await
    }
}

impl Scope {
    /// Whether this is every call.
    pub(super) fn is_everything(&self) -> bool {
        self.filter == Filter::default()
    }

    /// Conditions on an entry `m`, each after an `and`.
    pub(crate) fn push_calls(&self, query: &mut QueryBuilder<'_, Postgres>) {
        // The condition of the indexes.
        query.push(" and m.entry and m.conversation_id is not null");
        match &self.parties {
            Parties::All => {}
            Parties::These(ids) => {
                query.push(" and m.conversation_id = any(").push_bind(ids.clone()).push(")");
            }
            Parties::With(search) => {
                query.push(" and m.conversation_id in (");
                search.push_conversations(query, self.generation);
                query.push(")");
            }
        }
        match self.number {
            None => {}
            Some((Some(id), false)) => {
                query.push(" and m.conversation_id = ").push_bind(id);
            }
            Some(_) => self.push_line(query),
        }
        self.push_call_alone(query);
    }

    /// Conditions on a conversation `c`, each after an `and`, as far as they are about all of its calls.
    pub(super) fn push_conversations(&self, query: &mut QueryBuilder<'_, Postgres>) {
        match &self.parties {
            Parties::All => {}
            Parties::These(ids) => {
                query.push(" and c.id = any(").push_bind(ids.clone()).push(")");
            }
            Parties::With(search) => {
                query.push(" and c.id in (");
                search.push_conversations(query, self.generation);
                query.push(")");
            }
        }
        if let Some((Some(id), false)) = self.number {
            query.push(" and c.id = ").push_bind(id);
        }
    }

    /// Whether anything is asked that the calls of a conversation do not have in common.
    pub(super) fn is_about_calls(&self) -> bool {
        let Filter { direction, status, missed, number: _, search: _, from, until, has_recording } =
            &self.filter;
        direction.is_some()
            || status.is_some()
            || missed.is_some()
            || from.is_some()
            || until.is_some()
            || has_recording.is_some()
            || matches!(self.number, Some((None, _) | (_, true)))
    }

    /// A number that is not, or not only, a customer's.
    fn push_line(&self, query: &mut QueryBuilder<'_, Postgres>) {
        let Some(number) = &self.filter.number else { return };
        query.push(" and (m.line = ").push_bind(number.as_str().to_owned());
        if let Some((Some(id), _)) = self.number {
            query.push(" or m.conversation_id = ").push_bind(id);
        }
        query.push(")");
    }

    fn push_call_alone(&self, query: &mut QueryBuilder<'_, Postgres>) {
        let filter = &self.filter;
        if let Some(direction) = filter.direction {
            query.push(" and m.direction = ").push_bind(direction.as_str());
        }
        if let Some(status) = filter.status {
            query.push(" and m.display_status = ").push_bind(status.as_str());
        }
        // Said in the words of the indexes' conditions.
        match filter.missed {
            None => {}
            Some(true) => {
                query.push(" and m.missed");
            }
            Some(false) => {
                query.push(" and not m.missed");
            }
        }
        match filter.has_recording {
            None => {}
            Some(true) => {
                query.push(" and m.recording_sid is not null");
            }
            Some(false) => {
                query.push(" and m.recording_sid is null");
            }
        }
        if let Some(from) = filter.from {
            query.push(" and m.start_time >= ").push_bind(from);
        }
        if let Some(until) = filter.until {
            query.push(" and m.start_time < ").push_bind(until);
        }
    }
}
