//! The end of a run: nothing more is asked about what is settled.

use domain::call::{Call, CallCommand};
use futures::future::join_all;
use projections::generation::Snapshot;
use serde_json::json;
use time::Duration;

use super::{Reach, ReconcileError, Run, chunk_after};
use crate::event_store::{CommitError, Unit, load_streams};
use crate::lease::Epoch;
use crate::reconcile::Outcome;

impl<T: Fn(&Outcome)> Run<'_, T> {
    /// Leaves alone what is settled, under the epoch that this was found out in.
    pub(super) async fn freeze(&mut self, epoch: Epoch) -> Result<(), ReconcileError> {
        if self.job.reach() <= Reach::Unfinished {
            return Ok(());
        }
        let bound = |span: std::time::Duration| Duration::try_from(span).unwrap_or(Duration::MAX);
        let settled_after = bound(self.reconciler.settings.settled_after);
        let given_up_after = bound(self.reconciler.settings.cold_window);
        let metadata = json!({ "source": self.job.name() }).to_string();
        let mut after = String::new();
        loop {
            let mut snapshot = Snapshot::open(&self.reconciler.pool).await?;
            let aged = snapshot.ended_by(chunk_after(&after), self.now - settled_after).await?;
            drop(snapshot);
            let Some(last) = aged.last() else { return Ok(()) };
            after.clone_from(last);
            let aged: Vec<&str> = aged.iter().map(String::as_str).collect();
            let mut connection = self.reconciler.pool.acquire().await?;
            let streams = load_streams::<Call>(&mut connection, &aged).await?;
            drop(connection);
            let commits = streams.into_iter().filter_map(|(sid, mut state)| {
                let call: &Call = &state.aggregate;
                if call.frozen || !call.is_settled(self.now, settled_after, given_up_after) {
                    return None;
                }
                let events = call.decide(CallCommand::Freeze { at: self.now }).ok()?;
                let events = state.extend(&sid, events, &metadata);
                let unit = Unit { epoch: Some(epoch), events, ..Unit::default() };
                Some(self.reconciler.committer.commit(unit))
            });
            for committed in join_all(commits).await {
                match committed {
                    Ok(()) => self.outcome.frozen += 1,
                    // Something was told of it just now; the next run looks again.
                    Err(CommitError::Conflict) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
    }
}
