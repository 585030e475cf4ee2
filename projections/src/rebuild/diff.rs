//! How two builds differ, row by row, inside one snapshot.

use serde_json::Value;
use sqlx::PgConnection;

use crate::conversations::rows::{Row, Table};
use crate::conversations::{Contact, Conversation, Entered, Leg, Message};
use crate::generation::Generation;
use crate::quarantine;

/// Rows of a difference that are kept to be shown.
const SAMPLES: i64 = 20;

/// How the rebuilt rows differ from those that serve, both at one position.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Diff {
    pub position: i64,
    pub tables: Vec<TableDiff>,
    /// Calls that are quarantined on either side, and parties about whom somebody entered what cannot be read; their
    /// families and threads are left out.
    pub quarantined: Vec<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct TableDiff {
    pub table: &'static str,
    /// Rows that only the rebuild has.
    pub added: i64,
    /// Rows that only live has.
    pub removed: i64,
    pub changed: i64,
    /// In how many of the changed rows each column differs, by name; columns that differ nowhere are left out.
    pub columns: Vec<(String, i64)>,
    /// Columns that only one of the two builds has.
    pub unshared: Vec<String>,
    /// The first rows that differ, by key.
    pub samples: Vec<RowDiff>,
}

/// One row that differs. A side is missing where it has no such row.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct RowDiff {
    pub key: String,
    pub live: Option<Value>,
    pub rebuilt: Option<Value>,
}

impl RowDiff {
    /// The columns whose values differ, by name.
    pub fn columns(&self) -> Vec<&str> {
        let (Some(Value::Object(live)), Some(Value::Object(rebuilt))) = (&self.live, &self.rebuilt) else {
            return Vec::new();
        };
        live.iter()
            .filter(|(name, value)| rebuilt.get(*name).is_some_and(|rebuilt| rebuilt != *value))
            .map(|(name, _)| name.as_str())
            .collect()
    }
}

impl TableDiff {
    fn rows(&self) -> i64 {
        self.added + self.removed + self.changed
    }
}

impl Diff {
    pub fn is_empty(&self) -> bool {
        self.rows() == 0
    }

    /// How many rows differ, in all tables.
    pub fn rows(&self) -> i64 {
        self.tables.iter().map(TableDiff::rows).sum()
    }
}

/// Compares all tables. `snapshot` is a repeatable-read transaction in which both builds are at `position`.
pub(super) async fn compare(
    snapshot: &mut PgConnection,
    live: Generation,
    rebuilt: Generation,
    position: i64,
) -> sqlx::Result<Diff> {
    let builds = Builds { live, rebuilt };
    let left_out = builds.left_out(snapshot).await?;
    let mut tables = vec![
        builds.table(snapshot, &Leg::TABLE, "call_sid", &left_out.calls).await?,
        builds.table(snapshot, &Message::TABLE, "twilio_sid", &left_out.calls).await?,
        builds.table(snapshot, &Conversation::TABLE, "external_id", &left_out.threads).await?,
        builds.table(snapshot, &Contact::TABLE, "phone_number", &left_out.threads).await?,
        builds.table(snapshot, &Entered::TABLE, "party_key", &left_out.threads).await?,
    ];
    if left_out.calls.is_empty() {
        let totals = Table { name: "totals", key: "name", columns: &["name", "rows"] };
        tables.push(builds.table(snapshot, &totals, "name", &[]).await?);
    }
    let quarantined = [left_out.calls, left_out.parties].concat();
    Ok(Diff { position, tables, quarantined })
}

#[derive(Clone, Copy)]
struct Builds {
    live: Generation,
    rebuilt: Generation,
}

struct LeftOut {
    calls: Vec<String>,
    /// By their natural keys.
    parties: Vec<String>,
    /// By the natural key of the party.
    threads: Vec<String>,
}

impl Builds {
    async fn left_out(self, snapshot: &mut PgConnection) -> sqlx::Result<LeftOut> {
        let mut left_out = LeftOut { calls: Vec::new(), parties: Vec::new(), threads: Vec::new() };
        for generation in [self.live, self.rebuilt] {
            for held in quarantine::list_in(snapshot, generation).await? {
                match held.aggregate_type.as_str() {
                    "call" => left_out.calls.extend([held.call_sid, held.root_call_sid]),
                    _ => left_out.parties.push(held.call_sid),
                }
            }
        }
        left_out.calls.sort_unstable();
        left_out.calls.dedup();
        left_out.parties.sort_unstable();
        left_out.parties.dedup();
        left_out.threads.clone_from(&left_out.parties);
        if !left_out.calls.is_empty() {
            let Self { live, rebuilt } = self;
            let threads_of = |generation: Generation| {
                format!(
                    "select c.external_id from {generation}.messages m
                       join {generation}.conversations c on c.id = m.conversation_id
                      where m.twilio_sid = any($1) or m.root_call_sid = any($1)"
                )
            };
            let query = format!("{} union {}", threads_of(live), threads_of(rebuilt));
            let threads: Vec<String> =
                sqlx::query_scalar(&query).bind(&left_out.calls).fetch_all(snapshot).await?;
            left_out.threads.extend(threads);
        }
        Ok(left_out)
    }

    /// Compares one table, without the rows whose `name` is in `left_out`.
    async fn table(
        self,
        snapshot: &mut PgConnection,
        table: &Table,
        name: &str,
        left_out: &[String],
    ) -> sqlx::Result<TableDiff> {
        let Self { live, rebuilt } = self;
        let (shared, unshared) = self.columns(snapshot, table).await?;
        let Table { name: table, key, .. } = *table;
        let side = |alias: &str| {
            let columns: Vec<String> = shared.iter().map(|column| format!("{alias}.{column}")).collect();
            columns.join(", ")
        };
        let differing = format!(
            "{live}.{table} as served full join {rebuilt}.{table} as built using ({key})
              where ({}) is distinct from ({})
                and coalesce(served.{name}, built.{name}) <> all($1)",
            side("served"),
            side("built")
        );
        let (added, removed, changed): (i64, i64, i64) = sqlx::query_as(&format!(
            "select count(*) filter (where served.{key} is null), count(*) filter (where built.{key} is null),
                    count(*) filter (where served.{key} = built.{key})
               from {differing}"
        ))
        .bind(left_out)
        .fetch_one(&mut *snapshot)
        .await?;
        let mut diff =
            TableDiff { table, added, removed, changed, columns: Vec::new(), unshared, samples: Vec::new() };
        if diff.rows() == 0 {
            return Ok(diff);
        }
        diff.samples = sqlx::query_as(&format!(
            "select {key}::text as key, to_jsonb(served) as live, to_jsonb(built) as rebuilt
               from {differing} order by {key} limit $2"
        ))
        .bind(left_out)
        .bind(SAMPLES)
        .fetch_all(&mut *snapshot)
        .await?;
        if changed > 0 {
            let counts: Vec<String> = shared
                .iter()
                .map(|column| {
                    format!("count(*) filter (where served.{column} is distinct from built.{column})")
                })
                .collect();
            let counts: Vec<i64> = sqlx::query_scalar(&format!(
                "select array[{}] from {differing} and served.{key} = built.{key}",
                counts.join(", ")
            ))
            .bind(left_out)
            .fetch_one(&mut *snapshot)
            .await?;
            diff.columns = shared.into_iter().zip(counts).filter(|(_, count)| *count > 0).collect();
        }
        Ok(diff)
    }

    /// The columns that both builds have, and those that one has: another fold may have another shape.
    async fn columns(
        self,
        snapshot: &mut PgConnection,
        table: &Table,
    ) -> sqlx::Result<(Vec<String>, Vec<String>)> {
        let columns: Vec<(String, i64)> = sqlx::query_as(
            "select column_name::text, count(*) from information_schema.columns
              where table_schema in ($1, $2) and table_name = $3
              group by column_name order by min(ordinal_position)",
        )
        .bind(self.live.to_string())
        .bind(self.rebuilt.to_string())
        .bind(table.name)
        .fetch_all(snapshot)
        .await?;
        let (shared, unshared): (Vec<_>, Vec<_>) = columns.into_iter().partition(|(_, builds)| *builds == 2);
        let names = |columns: Vec<(String, i64)>| columns.into_iter().map(|(name, _)| name).collect();
        Ok((names(shared), names(unshared)))
    }
}
