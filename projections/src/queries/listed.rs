//! Lists of conversations: all of them, or those that have a call that is looked for, or with which people have done
//! something.

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

/// Which conversations by what people have done with them, whatever calls they have. Nothing given is all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct State {
    pub archived: Option<bool>,
    /// Whether a missed call of it is unread.
    pub unread: Option<bool>,
}

impl State {
    fn is_any(self) -> bool {
        self == Self::default()
    }

    /// Conditions on a conversation `c`, each after an `and`.
    fn push(self, query: &mut QueryBuilder<'_, Postgres>) {
        match self.archived {
            None => {}
            Some(true) => {
                query.push(" and c.status = 'archived'");
            }
            Some(false) => {
                query.push(" and c.status <> 'archived'");
            }
        }
        match self.unread {
            None => {}
            Some(true) => {
                query.push(" and c.unread_count > 0");
            }
            Some(false) => {
                query.push(" and c.unread_count = 0");
            }
        }
    }
}

impl Snapshot {
    /// Such conversations that have such a call, the one with the newest call first, whichever call that is.
    pub async fn conversations(
        &mut self,
        scope: &Scope,
        state: State,
        window: Window,
    ) -> sqlx::Result<Threads> {
        let all = self.all_conversations().await?;
        let is_everything = scope.is_everything() && state.is_any();
        let total = if is_everything { all } else { self.total_conversations(scope, state).await? };
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
        state.push(&mut query);
        window.push(&mut query, "c.last_message_at", "c.id");
        let rows: Vec<Conversation> =
            query.build_query_as().persistent(is_everything).fetch_all(&mut *self.tx).await?;
        Ok(Threads { total, threads: self.threads(rows).await? })
    }

    /// A counter, not a count.
    async fn all_conversations(&mut self) -> sqlx::Result<i64> {
        let query = format!("select rows from {}.totals where name = 'conversations'", self.generation);
        sqlx::query_scalar(&query).fetch_one(&mut *self.tx).await
    }

    async fn total_conversations(&mut self, scope: &Scope, state: State) -> sqlx::Result<i64> {
        let g = self.generation;
        let mut query = if scope.is_about_calls() {
            let mut query = QueryBuilder::new(format!(
                "select count(distinct m.conversation_id) from {g}.messages m where true"
            ));
            scope.push_calls(&mut query);
            if !state.is_any() {
                query.push(format!(
                    " and m.conversation_id in (select c.id from {g}.conversations c where true"
                ));
                state.push(&mut query);
                query.push(")");
            }
            query
        } else {
            let mut query = QueryBuilder::new(format!("select count(*) from {g}.conversations c where true"));
            scope.push_conversations(&mut query);
            state.push(&mut query);
            query
        };
        query.build_query_scalar().persistent(false).fetch_one(&mut *self.tx).await
    }
}
