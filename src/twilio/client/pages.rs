//! A list page by page, to its end.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};

use super::Client;
use super::error::ClientError;
use super::list::{NextPage, Page};
use super::transport::Ask;

/// More than any list has that is asked for: two million calls at 200 a page.
const MOST_PAGES: usize = 10_000;

/// The pages of a list, each once: see [`Client::pages`].
#[derive(Debug)]
pub struct Pages<'a> {
    client: &'a Client,
    first: Option<Page>,
    next: Option<NextPage>,
    /// Hashes of the addresses that were asked.
    asked: HashSet<u64>,
    hasher: RandomState,
    pub(super) most: usize,
}

impl Client {
    /// The page that is given, and those behind it as Twilio names them. New resources shift pages, so that one may
    /// come twice: whoever reads several tells them apart by SID.
    pub fn pages(&self, first: Page) -> Pages<'_> {
        let next = first.next.clone();
        let (asked, hasher) = (HashSet::new(), RandomState::new());
        Pages { client: self, first: Some(first), next, asked, hasher, most: MOST_PAGES }
    }
}

impl Pages<'_> {
    /// Nothing after the last page. A page that goes on at an address that was asked before is asked again, and is
    /// [`ClientError::PageRepeats`] if it stays so; no list has more than 10,000 pages
    /// ([`ClientError::PagesEndless`]). After another error the same page is asked for again.
    pub async fn next(&mut self) -> Result<Option<Page>, ClientError> {
        if let Some(first) = self.first.take() {
            return Ok(Some(first));
        }
        let Some(next) = self.next.clone() else { return Ok(None) };
        self.asked.insert(self.hasher.hash_one(&next.uri));
        if self.asked.len() >= self.most {
            let path = Ask::get(next.uri).path().to_owned();
            return Err(ClientError::PagesEndless { path, pages: self.most });
        }
        let was_asked = |further: &NextPage| self.asked.contains(&self.hasher.hash_one(&further.uri));
        let page = self.client.page(&next, was_asked).await?;
        self.next.clone_from(&page.next);
        Ok(Some(page))
    }
}
