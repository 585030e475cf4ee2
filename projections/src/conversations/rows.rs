//! Loading and storing rows of the read model, many at a time.
//!
//! A row type names its columns once; one statement loads all rows of a set of keys, and one binary copy
//! stores all rows of a batch, live and in a rebuild alike.

use sqlx::error::BoxDynError;
use sqlx::postgres::PgRow;
use sqlx::{FromRow, PgConnection};

use crate::copy::Tuples;
use crate::generation::Generation;

/// A table of the read model, as its row type has it.
#[derive(Clone, Copy, Debug)]
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

    /// The statement that takes [`Tuples`] of this table.
    pub fn copy_in(&self, generation: Generation) -> String {
        let Self { name, columns, .. } = self;
        format!("copy {generation}.{name} ({}) from stdin (format binary)", columns.join(", "))
    }
}

/// What a table holds.
pub(crate) trait Row {
    const TABLE: Table;

    /// Writes the columns in the order of the table's.
    fn put(&self, tuples: &mut Tuples) -> Result<(), BoxDynError>;
}

/// Says which fields of a type are the columns of which table.
macro_rules! row {
    ($row:ty, $name:literal, $key:ident, [$($column:ident),+ $(,)?]) => {
        impl $crate::conversations::rows::Row for $row {
            const TABLE: $crate::conversations::rows::Table = $crate::conversations::rows::Table {
                name: $name,
                key: stringify!($key),
                columns: &[$(stringify!($column)),+],
            };

            fn put(&self, tuples: &mut $crate::copy::Tuples) -> Result<(), sqlx::error::BoxDynError> {
                tuples.row(Self::TABLE.columns.len());
                $(tuples.put(&self.$column)?;)+
                Ok(())
            }
        }
    };
}
pub(crate) use row;

/// All rows whose `column` is one of `keys`.
pub(super) async fn load<R, K>(
    connection: &mut PgConnection,
    generation: Generation,
    column: &str,
    keys: &[K],
) -> sqlx::Result<Vec<R>>
where
    R: Row + for<'r> FromRow<'r, PgRow> + Send + Unpin,
    for<'q> &'q [K]: sqlx::Encode<'q, sqlx::Postgres> + sqlx::Type<sqlx::Postgres>,
{
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    let Table { name, columns, .. } = R::TABLE;
    let columns = columns.join(", ");
    let query = format!("select {columns} from {generation}.{name} where {column} = any($1)");
    sqlx::query_as(&query).bind(keys).fetch_all(connection).await
}

/// Stores rows in the place of those that are there under the keys `old`. Whoever calls holds the lock of the
/// generation, so nobody else can have stored a row in between.
pub(super) async fn replace<R, K>(
    connection: &mut PgConnection,
    generation: Generation,
    old: &[K],
    rows: &[R],
) -> sqlx::Result<()>
where
    R: Row,
    for<'q> &'q [K]: sqlx::Encode<'q, sqlx::Postgres> + sqlx::Type<sqlx::Postgres>,
{
    let Table { name, key, .. } = R::TABLE;
    if !old.is_empty() {
        let query = format!("delete from {generation}.{name} where {key} = any($1)");
        sqlx::query(&query).bind(old).execute(&mut *connection).await?;
    }
    insert(connection, generation, rows).await
}

/// Stores rows under keys that are not there yet.
pub(crate) async fn insert<R: Row>(
    connection: &mut PgConnection,
    generation: Generation,
    rows: &[R],
) -> sqlx::Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    let mut tuples = Tuples::first();
    for row in rows {
        row.put(&mut tuples).map_err(sqlx::Error::Encode)?;
    }
    tuples.end();
    let mut copy = connection.copy_in_raw(&R::TABLE.copy_in(generation)).await?;
    copy.send(tuples.bytes()).await?;
    copy.finish().await.map(drop)
}
