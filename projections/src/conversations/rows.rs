//! Loading and storing rows of the read model, many at a time.
//!
//! A row type names its columns once; one statement loads all rows of a set of keys, and one stores all rows
//! of a batch.

use serde::Serialize;
use sqlx::postgres::PgRow;
use sqlx::{FromRow, PgConnection};

use crate::generation::Generation;

/// A table of the read model, as its row type has it.
pub(crate) struct Table {
    pub name: &'static str,
    pub key: &'static str,
    pub columns: &'static [&'static str],
}

impl Table {
    /// The columns, for a select from this table under an alias.
    pub fn columns_of(&self, alias: &str) -> String {
        let columns: Vec<String> = self.columns.iter().map(|column| format!("{alias}.{column}")).collect();
        columns.join(", ")
    }
}

/// All rows whose `column` is one of `keys`.
pub(super) async fn load<R, K>(
    connection: &mut PgConnection,
    generation: Generation,
    table: &Table,
    column: &str,
    keys: &[K],
) -> sqlx::Result<Vec<R>>
where
    R: for<'r> FromRow<'r, PgRow> + Send + Unpin,
    for<'q> &'q [K]: sqlx::Encode<'q, sqlx::Postgres> + sqlx::Type<sqlx::Postgres>,
{
    let columns = table.columns.join(", ");
    let query = format!("select {columns} from {generation}.{} where {column} = any($1)", table.name);
    sqlx::query_as(&query).bind(keys).fetch_all(connection).await
}

/// Inserts the rows, or replaces those whose key is there already.
pub(super) async fn upsert<R: Serialize + Sync>(
    connection: &mut PgConnection,
    generation: Generation,
    table: &Table,
    rows: &[R],
) -> sqlx::Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    let Table { name, key, columns } = table;
    let updates: Vec<String> = columns
        .iter()
        .filter(|column| *column != key)
        .map(|column| format!("{column} = excluded.{column}"))
        .collect();
    let columns = columns.join(", ");
    // Keys are sorted, so that two writers could only wait for each other, not deadlock.
    let query = format!(
        "insert into {generation}.{name} ({columns})
         select {columns} from jsonb_populate_recordset(null::{generation}.{name}, $1) order by {key}
         on conflict ({key}) do update set {}",
        updates.join(", ")
    );
    sqlx::query(&query).bind(sqlx::types::Json(rows)).execute(connection).await.map(drop)
}
