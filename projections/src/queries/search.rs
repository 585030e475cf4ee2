//! Finding people by a part of their name or number.
//!
//! Searched are the name and the number of the contact, and the names that the network gave for a caller. With
//! `pg_trgm` these are lookups in an index; without it, PostgreSQL reads all of them, and finds the same.

use std::collections::BTreeSet;

use sqlx::Postgres;
use sqlx::QueryBuilder;

use crate::generation::{Generation, Snapshot};

/// A part of a name or of a number, without blanks around it. U+0000, which PostgreSQL cannot store, is U+FFFD, as in
/// what is searched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Search(String);

/// Why text cannot be searched for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SearchError {
    #[error("there is nothing to search for in blanks")]
    Blank,
    #[error("what is searched for is longer than {} characters", Search::LONGEST)]
    TooLong,
}

impl Search {
    /// In characters.
    pub const LONGEST: usize = 100;

    pub fn try_new(text: &str) -> Result<Self, SearchError> {
        if text.chars().count() > Self::LONGEST {
            return Err(SearchError::TooLong);
        }
        let text = text.trim();
        if text.is_empty() {
            return Err(SearchError::Blank);
        }
        Ok(Self(text.replace('\0', "\u{FFFD}")))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// For `ilike`: the text itself, anywhere.
    fn anywhere(&self) -> String {
        let mut pattern = String::with_capacity(self.0.len() + 2);
        pattern.push('%');
        for character in self.0.chars() {
            if matches!(character, '%' | '_' | '\\') {
                pattern.push('\\');
            }
            pattern.push(character);
        }
        pattern.push('%');
        pattern
    }

    /// The digits, where this is a part of a number in any of its spellings.
    pub fn digits(&self) -> Option<String> {
        let is_number = self.0.chars().all(|character| {
            character.is_ascii_digit() || matches!(character, ' ' | '-' | '.' | '(' | ')' | '+' | '/')
        });
        let digits: String = self.0.chars().filter(char::is_ascii_digit).collect();
        (is_number && !digits.is_empty()).then_some(digits)
    }

    /// A query for the conversations in which this is found, some of them more than once.
    pub(super) fn push_conversations(&self, query: &mut QueryBuilder<'_, Postgres>, g: Generation) {
        query.push(format!(
            "select c.id from {g}.contacts t join {g}.conversations c on c.contact_id = t.id where ("
        ));
        // The expression is the index's.
        let words = "(coalesce(t.display_name, '') || ' ' || coalesce(t.formatted_number, '') || ' ' || t.phone_number)";
        self.push_found(query, words);
        // Nobody's thread has a name all the same, such as "Calls with Withheld number".
        query.push(format!(
            ") union all select c.id from {g}.conversations c where c.contact_id is null and ("
        ));
        self.push_found(query, "coalesce(c.subject, '')");
        query.push(format!(
            ") union all
             select m.conversation_id from {g}.messages m
              where m.entry and m.conversation_id is not null and m.caller_name is not null and ("
        ));
        self.push_found(query, "m.caller_name");
        query.push(")");
    }

    fn push_found(&self, query: &mut QueryBuilder<'_, Postgres>, words: &str) {
        query.push(words).push(" ilike ").push_bind(self.anywhere());
        if let Some(digits) = self.digits() {
            query.push(format!(" or {words} ilike ")).push_bind(format!("%{digits}%"));
        }
    }
}

impl Snapshot {
    /// The conversations in which this is found, unless they are more than `most`.
    pub(super) async fn found(&mut self, search: &Search, most: usize) -> sqlx::Result<Option<Vec<i64>>> {
        let mut query = QueryBuilder::new("select id from (");
        search.push_conversations(&mut query, self.generation);
        query.push(") found limit ").push_bind(i64::try_from(most).unwrap_or(i64::MAX - 1) + 1);
        // Planned for these words.
        let ids: Vec<i64> = query.build_query_scalar().persistent(false).fetch_all(&mut *self.tx).await?;
        let more = ids.len() > most;
        let ids: BTreeSet<i64> = ids.into_iter().collect();
        Ok((!more).then(|| ids.into_iter().collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_is_a_line_of_text() {
        assert_eq!(Search::try_new("  Jane Doe ").unwrap().as_str(), "Jane Doe");
        assert_eq!(Search::try_new(" \t"), Err(SearchError::Blank));
        assert_eq!(Search::try_new("a\0b").unwrap().as_str(), "a\u{FFFD}b");
        assert!(Search::try_new(&"ä".repeat(100)).is_ok());
        assert_eq!(Search::try_new(&"ä".repeat(101)), Err(SearchError::TooLong));
    }

    #[test]
    fn what_means_something_to_like_is_searched_for_as_it_is() {
        let search = |text| Search::try_new(text).unwrap();
        assert_eq!(search("100%").anywhere(), r"%100\%%");
        assert_eq!(search(r"a_b\c").anywhere(), r"%a\_b\\c%");
    }

    #[test]
    fn a_number_is_found_in_any_spelling() {
        let digits = |text| Search::try_new(text).unwrap().digits();
        for text in ["508 514", "(508) 514", "508-514", "508.514", "508/514", "+508514"] {
            assert_eq!(digits(text).as_deref(), Some("508514"), "{text}");
        }
        for text in ["Jane 508", "+", "()"] {
            assert_eq!(digits(text), None, "{text}");
        }
    }
}
