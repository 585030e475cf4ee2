//! What people had entered about a party, as of any position.

use crate::conversations::Entered;
use crate::conversations::entered::Edit;
use crate::generation::Snapshot;
use crate::ids::IdKey;
use crate::log;

/// What was entered about one party, after each event of it; it ends before one that cannot be read, as live does.
#[derive(Clone, Debug, Default)]
pub(super) struct PastEntered(Vec<(i64, Entered)>);

impl PastEntered {
    pub fn as_of(&self, position: i64) -> Option<&Entered> {
        let after = self.0.partition_point(|(at, _)| *at <= position);
        self.0.get(after.checked_sub(1)?).map(|(_, entered)| entered)
    }
}

impl Snapshot {
    pub(super) async fn entered(&mut self, ids: &IdKey, party: &str) -> sqlx::Result<PastEntered> {
        let position = self.position();
        let events = log::read_entered(&mut self.tx, &[party.to_owned()], position).await?;
        let mut entered = Entered::nothing(ids, party);
        let mut past = Vec::with_capacity(events.len());
        for event in events {
            let Some(Ok(edit)) = Edit::read(&event) else { break };
            entered.apply(edit, event.sequence, event.recorded_at);
            past.push((event.position, entered.clone()));
        }
        Ok(PastEntered(past))
    }
}
