//! The read model of a book that came back, made in two ways that must agree: folded batch by batch as the live one
//! is, and built at once as a rebuild is.

use projections::ids::IdKey;
use projections::log;
use projections::rebuild::{self, BuildProgress, Diff};
use projections::runner::Runner;
use sqlx::PgPool;

use super::BackupError;

/// The read model that serves from now on.
#[derive(Debug)]
pub struct ReadModel {
    /// That of the log's last event.
    pub position: i64,
    /// From what a rebuild makes of the log up to there: empty, or something is wrong.
    pub diff: Diff,
}

/// Brings the empty read model to the end of the log and compares it there with a rebuild. A comparison that was made
/// anywhere else is an error: two empty read models are equal too.
pub async fn make_read_model(
    pool: &PgPool,
    ids: &IdKey,
    progress: impl Fn(BuildProgress),
) -> Result<ReadModel, BackupError> {
    let head = log::last_position(&mut *pool.acquire().await?).await?;
    Runner::init(pool.clone(), ids).await?.catch_up(None).await?;
    let diff = rebuild::dry_run(pool, ids, progress).await?;
    if diff.position < head {
        return Err(BackupError::Behind { position: diff.position, head });
    }
    Ok(ReadModel { position: diff.position, diff })
}
