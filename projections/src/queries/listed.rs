//! Lists of conversations: all of them, or those that have a call that is looked for.

use sqlx::{Postgres, QueryBuilder};

use super::{Scope, Thread, Window, conversation_columns};
use crate::conversations::Conversation;
use crate::generation::Snapshot;

/// Where at least one conversation of so many is wanted, a page is soon found by trying them in order. Where fewer are, the
/// wanted ones are looked up first.
const COMMON: i64 = 20;

/// A part of a list of conversations.
#[derive(Clone, Debug)]
pub struct Threads {
    /// Of the whole list.
    pub total: i64,
    pub threads: Vec<Thread>,
}

impl Snapshot {
    /// Conversations that have such a call, the one with the newest call first, whichever call that is.
    pub async fn conversations(&mut self, scope: &Scope, window: Window) -> sqlx::Result<Threads> {
        let all = self.all_conversations().await?;
        let total = if scope.is_everything() { all } else { self.total_conversations(scope).await? };
        if total == 0 {
            return Ok(Threads { total, threads: Vec::new() });
        }
        let (g, columns) = (self.generation, conversation_columns());
        let mut query = if !scope.is_about_calls() {
            let mut query =
                QueryBuilder::new(format!("select {columns} from {g}.conversations c where true"));
            scope.push_conversations(&mut query);
            query
        } else if total.saturating_mul(COMMON) >= all {
            let mut query = QueryBuilder::new(format!(
                "select {columns} from {g}.conversations c
                  where exists (select from {g}.messages m where m.conversation_id = c.id"
            ));
            scope.push_calls(&mut query);
            query.push(")");
            query
        } else {
            let mut query: QueryBuilder<'_, Postgres> = QueryBuilder::new(format!(
                "with wanted as materialized (
                    select distinct m.conversation_id as id from {g}.messages m where true"
            ));
            scope.push_calls(&mut query);
            query.push(format!(
                ") select {columns} from {g}.conversations c join wanted using (id) where true"
            ));
            query
        };
        window.push(&mut query, "c.last_message_at", "c.id");
        let rows: Vec<Conversation> =
            query.build_query_as().persistent(scope.is_everything()).fetch_all(&mut *self.tx).await?;
        Ok(Threads { total, threads: self.threads(rows).await? })
    }

    /// A counter, not a count.
    async fn all_conversations(&mut self) -> sqlx::Result<i64> {
        let query = format!("select rows from {}.totals where name = 'conversations'", self.generation);
        sqlx::query_scalar(&query).fetch_one(&mut *self.tx).await
    }

    async fn total_conversations(&mut self, scope: &Scope) -> sqlx::Result<i64> {
        let g = self.generation;
        let mut query = if scope.is_about_calls() {
            let mut query = QueryBuilder::new(format!(
                "select count(distinct m.conversation_id) from {g}.messages m where true"
            ));
            scope.push_calls(&mut query);
            query
        } else {
            let mut query = QueryBuilder::new(format!("select count(*) from {g}.conversations c where true"));
            scope.push_conversations(&mut query);
            query
        };
        query.build_query_scalar().persistent(false).fetch_one(&mut *self.tx).await
    }
}
