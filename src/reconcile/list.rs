//! One of Twilio's lists, page by page, each resource once: new calls push what was read on to the next page.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};

use serde_json::Value;

use super::ReconcileError;
use crate::twilio::client::{Client, Page, Pages};

/// Pages in a row that may hold nothing new.
const STALE_PAGES: u32 = 3;

pub(super) struct List<'a> {
    pages: Pages<'a>,
    what: &'static str,
    /// Of the SIDs that it has given.
    seen: HashSet<u64>,
    hasher: RandomState,
    stale: u32,
}

impl<'a> List<'a> {
    /// Of calls, say, from its first page on.
    pub fn of(what: &'static str, client: &'a Client, first: Page) -> Self {
        Self { pages: client.pages(first), what, seen: HashSet::new(), hasher: RandomState::new(), stale: 0 }
    }

    /// The resources of the next page that no page before had; nothing at the end.
    pub async fn next(&mut self) -> Result<Option<Vec<Value>>, ReconcileError> {
        let Some(Page { mut resources, .. }) = self.pages.next().await? else { return Ok(None) };
        resources.retain(|resource| {
            // What has no SID cannot be told apart, and is read each time.
            let sid = resource.get("sid").and_then(Value::as_str);
            sid.is_none_or(|sid| self.seen.insert(self.hasher.hash_one(sid)))
        });
        self.stale = if resources.is_empty() { self.stale + 1 } else { 0 };
        if self.stale > STALE_PAGES {
            return Err(ReconcileError::PagesRepeat { what: self.what });
        }
        Ok(Some(resources))
    }
}
