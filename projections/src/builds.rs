//! Which builds of the read side there are, and how far the one that serves has come, for operators.

use sqlx::PgPool;
use time::OffsetDateTime;

use crate::begin::{SNAPSHOT, begin};
use crate::lag::{self, Lag};

/// One build.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct BuildRow {
    pub generation: i32,
    /// The last position of the log that its rows reflect.
    pub position: i64,
    /// Of the worker lease under which it was folded last.
    pub epoch: i64,
    pub fold_version: i32,
    pub created_at: OffsetDateTime,
    /// When its successor took over; nothing for the one that serves, and for one that is not finished.
    pub retired_at: Option<OffsetDateTime>,
    /// Whether it is the one that serves.
    pub serves: bool,
}

/// All builds, and the lag of the one that serves.
#[derive(Clone, Debug)]
pub struct Builds {
    pub lag: Lag,
    /// The newest first.
    pub builds: Vec<BuildRow>,
    /// Calls that the one that serves has set aside.
    pub quarantined: i64,
}

/// All from one snapshot.
pub async fn builds(pool: &PgPool) -> sqlx::Result<Builds> {
    let mut snapshot = begin(pool, SNAPSHOT).await?;
    let builds = sqlx::query_as(
        "select g.generation, position, epoch, fold_version, created_at, retired_at,
                c.generation is not null as serves
           from read_model_generations g
           left join read_model_current c using (generation)
          order by g.generation desc",
    )
    .fetch_all(&mut *snapshot)
    .await?;
    let lag = lag::lag(&mut *snapshot).await?;
    let quarantined = crate::quarantine::count(&mut snapshot).await?;
    snapshot.rollback().await?;
    Ok(Builds { lag, builds, quarantined })
}
