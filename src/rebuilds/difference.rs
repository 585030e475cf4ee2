//! What a dry run found, as it is kept and shown.

use std::collections::BTreeMap;

use projections::rebuild::{Diff, RowDiff, TableDiff};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::explain::without_media;

/// How the rebuilt rows differ from those that serve, both at one position.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Difference {
    pub position: i64,
    /// Rows that differ, in all tables; 0: live equals rebuilt.
    pub rows: i64,
    pub tables: Vec<TableDifference>,
    /// Calls that are quarantined on either side; their families and threads are left out.
    pub quarantined: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TableDifference {
    pub table: String,
    /// Rows that only the rebuild has.
    pub added: i64,
    /// Rows that only live has.
    pub removed: i64,
    pub changed: i64,
    /// In how many of the changed rows each column differs.
    pub columns: BTreeMap<String, i64>,
    /// Columns that only one of the two has.
    pub unshared: Vec<String>,
    /// The first rows that differ, by key.
    pub samples: Vec<RowDifference>,
}

/// One row that differs. A side is null where it has no such row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RowDifference {
    pub key: String,
    /// The columns whose values differ.
    pub columns: Vec<String>,
    #[schema(value_type = Option<Object>)]
    pub live: Option<Value>,
    #[schema(value_type = Option<Object>)]
    pub rebuilt: Option<Value>,
}

impl From<Diff> for Difference {
    fn from(diff: Diff) -> Self {
        let rows = diff.rows();
        let Diff { position, tables, quarantined } = diff;
        Self { position, rows, tables: tables.into_iter().map(TableDifference::from).collect(), quarantined }
    }
}

impl From<TableDiff> for TableDifference {
    fn from(diff: TableDiff) -> Self {
        let TableDiff { table, added, removed, changed, columns, unshared, samples } = diff;
        let samples = samples.into_iter().map(RowDifference::from).collect();
        let columns = columns.into_iter().collect();
        Self { table: table.to_owned(), added, removed, changed, columns, unshared, samples }
    }
}

impl From<RowDiff> for RowDifference {
    fn from(row: RowDiff) -> Self {
        let columns = row.columns().into_iter().map(str::to_owned).collect();
        let RowDiff { key, live, rebuilt } = row;
        Self { key, columns, live: live.map(without_media), rebuilt: rebuilt.map(without_media) }
    }
}
