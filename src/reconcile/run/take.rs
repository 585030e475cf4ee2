//! What was read, on its way into the inbox.

use domain::sid::CallSid;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{MAY_BE_NEW, ReconcileError, Run, number};
use crate::ingest::inbox::{self, Reading, Resource};
use crate::reconcile::Outcome;
use crate::reconcile::tally::{Stored, Tally};
use crate::twilio::resource;

impl<T: Fn(&Outcome)> Run<'_, T> {
    /// Stores those that this run has not read before.
    pub(super) async fn store_calls(&mut self, calls: Vec<Value>) -> Result<Stored, ReconcileError> {
        let (mut readings, mut sids) = (Vec::with_capacity(calls.len()), Vec::with_capacity(calls.len()));
        for payload in calls {
            let read = resource::Call::try_from(&payload);
            let (sid, digest) = match &read {
                Ok(call) => (call.sid.as_str().to_owned(), call.digest()),
                // The worker reads it again and says what is wrong with it, for people to see.
                Err(_) => (text(&payload, "sid"), digest(&payload)),
            };
            if let Ok(sid) = CallSid::try_new(&sid)
                && !self.seen.insert(number(&sid))
            {
                continue;
            }
            self.outcome.total += 1;
            if let Ok(call) = read {
                self.note(call);
            }
            sids.push(sid.clone());
            readings.push(Reading {
                job: self.job.name(),
                resource: Resource::Call,
                call_sid: Some(sid),
                recording_sid: None,
                digest,
                payload,
                read_at: self.now,
            });
        }
        self.store(readings, sids).await
    }

    /// What a call says of the cursor and of its parent.
    fn note(&mut self, call: resource::Call) {
        self.cursor.last_updated_at = self.cursor.last_updated_at.max(call.date_updated);
        if call.start_time > self.newest {
            self.newest = call.start_time;
            self.cursor.last_call_sid = Some(call.sid.as_str().to_owned());
        }
        if let Some(parent) = call.parent_call_sid.filter(|parent| !self.seen.contains(&number(parent))) {
            let age = call.start_time.or(call.date_created).map(|at| self.now - at);
            *self.parents.entry(parent).or_default() |= age.is_some_and(|age| age >= MAY_BE_NEW);
        }
    }

    pub(super) fn recording(&self, payload: Value) -> Reading {
        let (sid, digest) = match resource::Recording::try_from(&payload) {
            Ok(recording) => (recording.sid.as_str().to_owned(), recording.digest()),
            Err(_) => (text(&payload, "sid"), digest(&payload)),
        };
        Reading {
            job: self.job.name(),
            resource: Resource::Recording,
            call_sid: Some(text(&payload, "call_sid")).filter(|sid| !sid.is_empty()),
            recording_sid: Some(sid),
            digest,
            payload,
            read_at: self.now,
        }
    }

    pub(super) fn missing(&self, sid: &CallSid) -> Reading {
        Reading {
            job: self.job.name(),
            resource: Resource::MissingCall,
            call_sid: Some(sid.as_str().to_owned()),
            recording_sid: None,
            digest: "20404".to_owned(),
            payload: json!({ "sid": sid, "status": 404, "code": 20404 }),
            read_at: self.now,
        }
    }

    pub(super) async fn store(
        &self,
        readings: Vec<Reading>,
        calls: Vec<String>,
    ) -> Result<Stored, ReconcileError> {
        let rows = inbox::store(&self.reconciler.pool, readings).await?;
        if !rows.is_empty() {
            (self.reconciler.stored)();
        }
        Ok(Stored { rows, calls })
    }

    /// Waits until what was stored is decided: so live webhooks never wait behind more than one page.
    pub(super) fn tally(
        &self,
        stored: Stored,
    ) -> impl Future<Output = Result<Tally, ReconcileError>> + use<T> {
        let (reconciler, shown) = (self.reconciler.clone(), self.job.tells_what_is_hidden());
        async move { reconciler.tally(stored, shown).await }
    }

    pub(super) fn count(&mut self, tally: Tally) {
        tally.add_to(&mut self.outcome);
        (self.tell)(&self.outcome);
    }
}

/// Of what cannot be read: all of it.
fn digest(payload: &Value) -> String {
    format!("{:x}", Sha256::digest(payload.to_string()))
}

fn text(resource: &Value, name: &str) -> String {
    resource.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
}
