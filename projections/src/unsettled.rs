//! What reconcile asks of the read model: the calls of which more is expected, and which calls are hidden.

use std::collections::BTreeMap;

use domain::call::CallStatus;
use time::OffsetDateTime;

use crate::generation::Snapshot;

/// A call of which something is missing.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct Unsettled {
    pub call_sid: String,
    /// It has not ended by Twilio's word.
    pub unfinished: bool,
    /// It was completed, and what it costs is not known.
    pub unpriced: bool,
    /// Some recording of it is being made.
    pub recording: bool,
    /// The SID of its parent, where nothing is known of that call.
    pub missing_parent: Option<String>,
    pub ended_at: Option<OffsetDateTime>,
    /// The last time that Twilio stated of it, else when the last event about it was recorded.
    pub last_heard_at: OffsetDateTime,
}

/// A page of calls by SID.
#[derive(Clone, Copy, Debug)]
pub struct After<'a> {
    pub call_sid: &'a str,
    pub limit: i64,
}

impl Snapshot {
    /// Calls that have not ended, and those whose parent is not known; with `details` also those whose price or
    /// recordings are not there yet. Frozen calls are left alone.
    pub async fn unsettled(&mut self, after: After<'_>, details: bool) -> sqlx::Result<Vec<Unsettled>> {
        let query = format!(
            "select call.*
               from (select l.call_sid,
                            l.provisional or l.status is null or not l.status = any($3) as unfinished,
                            not l.provisional and l.price is null and coalesce(l.status = $4, false) as unpriced,
                            exists (select from jsonb_each(l.recordings) as made
                                     where made.value ->> 'status' in ('in-progress', 'processing')) as recording,
                            case when not exists (select from {g}.call_legs p
                                                   where p.call_sid = l.parent_call_sid
                                                     and (p.announced or p.frozen))
                                 then l.parent_call_sid end as missing_parent,
                            l.ended_at, coalesce(l.last_event_time, l.started_at, l.updated_at) as last_heard_at
                       from {g}.call_legs l
                      where not l.frozen and l.call_sid > $1) as call
              where unfinished or missing_parent is not null or $5 and (unpriced or recording)
              order by call_sid
              limit $2",
            g = self.generation
        );
        let ended: Vec<&str> =
            CallStatus::ALL.iter().filter(|status| status.is_final()).map(|status| status.as_str()).collect();
        sqlx::query_as(&query)
            .bind(after.call_sid)
            .bind(after.limit)
            .bind(ended)
            .bind(CallStatus::Completed.as_str())
            .bind(details)
            .fetch_all(&mut *self.tx)
            .await
    }

    /// The SIDs of calls that ended by then and are not frozen.
    pub async fn ended_by(&mut self, after: After<'_>, time: OffsetDateTime) -> sqlx::Result<Vec<String>> {
        let query = format!(
            "select call_sid from {}.call_legs
              where not frozen and call_sid > $1 and ended_at <= $3 order by call_sid limit $2",
            self.generation
        );
        sqlx::query_scalar(&query)
            .bind(after.call_sid)
            .bind(after.limit)
            .bind(time)
            .fetch_all(&mut *self.tx)
            .await
    }

    /// Why those of these calls that are hidden are so, by SID.
    pub async fn hidden(&mut self, call_sids: &[String]) -> sqlx::Result<BTreeMap<String, String>> {
        let query = format!(
            "select m.twilio_sid, m.hidden_reason from {}.messages m
              where m.twilio_sid = any($1) and m.hidden_reason is not null",
            self.generation
        );
        let rows: Vec<(String, String)> =
            sqlx::query_as(&query).bind(call_sids).fetch_all(&mut *self.tx).await?;
        Ok(rows.into_iter().collect())
    }
}
