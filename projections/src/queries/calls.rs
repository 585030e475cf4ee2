//! Calls across conversations: one entry a family, the newest first.

use std::collections::HashMap;

use sqlx::QueryBuilder;

use super::{Entry, Scope, Window, conversation_columns, message_columns};
use crate::conversations::{Contact, Conversation, Message};
use crate::generation::Snapshot;

/// A call with whom it was exchanged.
#[derive(Clone, Debug)]
pub struct ListedCall<T> {
    pub call: T,
    /// Nothing where callers withhold who they are.
    pub contact: Option<Contact>,
}

impl Snapshot {
    /// How many such calls there are. Of all, the threads have counted them.
    pub async fn total_calls(&mut self, scope: &Scope) -> sqlx::Result<i64> {
        let g = self.generation;
        if scope.is_everything() {
            let query = format!("select coalesce(sum(total_calls), 0)::bigint from {g}.conversations");
            return sqlx::query_scalar(&query).fetch_one(&mut *self.tx).await;
        }
        let mut query = QueryBuilder::new(format!("select count(*) from {g}.messages m where true"));
        scope.push_calls(&mut query);
        query.build_query_scalar().persistent(false).fetch_one(&mut *self.tx).await
    }

    /// Such calls, each with its legs.
    pub async fn calls(&mut self, scope: &Scope, window: Window) -> sqlx::Result<Vec<ListedCall<Entry>>> {
        let messages = self.call_messages(scope, window).await?;
        let contacts = self.contacts_of(&messages).await?;
        let entries = self.entries(messages).await?;
        Ok(listed(entries, contacts, |entry| entry.message.conversation_id))
    }

    /// Such calls without their legs: for lists that end only with the table.
    pub async fn bare_calls(
        &mut self,
        scope: &Scope,
        window: Window,
    ) -> sqlx::Result<Vec<ListedCall<Message>>> {
        let messages = self.call_messages(scope, window).await?;
        let contacts = self.contacts_of(&messages).await?;
        Ok(listed(messages, contacts, |message| message.conversation_id))
    }

    async fn call_messages(&mut self, scope: &Scope, window: Window) -> sqlx::Result<Vec<Message>> {
        let (g, columns) = (self.generation, message_columns());
        // Most that is asked for is in an index; only the rows of the page are looked at.
        let mut query = QueryBuilder::new(format!(
            "select {columns} from {g}.messages m where m.id in (select m.id from {g}.messages m where true"
        ));
        scope.push_calls(&mut query);
        window.push(&mut query, "m.start_time", "m.id");
        query.push(") order by m.start_time desc, m.id desc");
        // Planned for what is asked: whether a direction or a status is rare decides what is quick.
        query.build_query_as().persistent(false).fetch_all(&mut *self.tx).await
    }

    /// By conversation.
    async fn contacts_of(&mut self, messages: &[Message]) -> sqlx::Result<HashMap<i64, Contact>> {
        let mut ids: Vec<i64> = messages.iter().filter_map(|message| message.conversation_id).collect();
        ids.sort_unstable();
        ids.dedup();
        let query = format!(
            "select {} from {}.conversations c where c.id = any($1)",
            conversation_columns(),
            self.generation
        );
        let rows: Vec<Conversation> = sqlx::query_as(&query).bind(&ids).fetch_all(&mut *self.tx).await?;
        let contacts = self.contacts(&rows).await?;
        let of = |row: &Conversation| Some((row.id, contacts.get(&row.contact_id?)?.clone()));
        Ok(rows.iter().filter_map(of).collect())
    }
}

fn listed<T>(
    calls: Vec<T>,
    contacts: HashMap<i64, Contact>,
    conversation: impl Fn(&T) -> Option<i64>,
) -> Vec<ListedCall<T>> {
    let with_contact = |call| {
        let contact = conversation(&call).and_then(|id| contacts.get(&id)).cloned();
        ListedCall { call, contact }
    };
    calls.into_iter().map(with_contact).collect()
}
