//! What people may enter about a party, parsed once, at the edge.
//!
//! Limits are judged when something is entered. What stands in the log is read whatever the limits are by then.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

/// What people call a party: one line of at most 200 characters.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Name(String);

/// What people note about a party: at most 10,000 characters, on as many lines as they like.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Notes(String);

/// A word that parties are sorted by: one line of at most 50 characters.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Tag(String);

/// At most 50 tags in the order in which they were entered, each once, whatever its capitals.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Tags(Vec<Tag>);

/// Why text cannot be entered. Says nothing of what it holds: it is personal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    #[error("it is blank")]
    Blank,
    #[error("it has {length} characters, and {longest} are allowed")]
    TooLong { length: usize, longest: usize },
    #[error("its character {place} is a control character")]
    Control { place: usize },
}

/// Why a list of tags cannot be entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TagsError {
    #[error("there are {given} tags, and {most} are allowed")]
    TooMany { given: usize, most: usize },
    /// Counted from 0.
    #[error("tag {nth} cannot be used")]
    Tag { nth: usize, source: TextError },
}

impl Name {
    pub const LONGEST: usize = 200;

    /// White space around it is dropped.
    pub fn try_new(text: &str) -> Result<Self, TextError> {
        parse(text, Self::LONGEST, |_| false).map(Self)
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Notes {
    pub const LONGEST: usize = 10_000;

    /// White space around them is dropped. Lines end with a line feed, in whatever way they were ended.
    pub fn try_new(text: &str) -> Result<Self, TextError> {
        let lines = text.replace("\r\n", "\n").replace('\r', "\n");
        parse(&lines, Self::LONGEST, |character| character == '\n').map(Self)
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Tag {
    pub const LONGEST: usize = 50;

    /// White space around it is dropped.
    pub fn try_new(text: &str) -> Result<Self, TextError> {
        parse(text, Self::LONGEST, |_| false).map(Self)
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Tags {
    pub const MOST: usize = 50;

    /// A tag that was given before is dropped.
    pub fn try_new<'t>(texts: impl IntoIterator<Item = &'t str>) -> Result<Self, TagsError> {
        let (mut tags, mut seen) = (Vec::new(), HashSet::new());
        for (nth, text) in texts.into_iter().enumerate() {
            let tag = Tag::try_new(text).map_err(|source| TagsError::Tag { nth, source })?;
            if seen.insert(tag.0.to_lowercase()) {
                tags.push(tag);
            }
        }
        if tags.len() > Self::MOST {
            return Err(TagsError::TooMany { given: tags.len(), most: Self::MOST });
        }
        Ok(Self(tags))
    }

    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(Tag::as_str)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn parse(text: &str, longest: usize, is_allowed: impl Fn(char) -> bool) -> Result<String, TextError> {
    let text = text.trim();
    if text.is_empty() {
        return Err(TextError::Blank);
    }
    let control = |character: char| character.is_control() && !is_allowed(character);
    if let Some(at) = text.chars().position(control) {
        return Err(TextError::Control { place: at + 1 });
    }
    match text.chars().count() {
        length if length > longest => Err(TextError::TooLong { length, longest }),
        _ => Ok(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn text_is_trimmed_and_measured_in_characters() {
        assert_eq!(Name::try_new("  Zoë O’Hara \n").unwrap().as_str(), "Zoë O’Hara");
        assert!(Name::try_new(&"ë".repeat(200)).is_ok());
        assert_eq!(
            Name::try_new(&"ë".repeat(201)),
            Err(TextError::TooLong { length: 201, longest: Name::LONGEST })
        );
        assert_eq!(Tag::try_new(" \t"), Err(TextError::Blank));
        assert!(Notes::try_new(&"x".repeat(10_000)).is_ok());
        assert!(Notes::try_new(&"x".repeat(10_001)).is_err());
    }

    #[test]
    fn only_notes_have_lines() {
        assert_eq!(Notes::try_new("one\r\ntwo\rthree\n").unwrap().as_str(), "one\ntwo\nthree");
        assert_eq!(Name::try_new("one\ntwo"), Err(TextError::Control { place: 4 }));
        for text in ["a\0b", "a\tb", "a\u{7f}b", "a\u{85}b"] {
            assert_eq!(Notes::try_new(text), Err(TextError::Control { place: 2 }), "{text:?}");
        }
    }

    #[test]
    fn a_tag_counts_once_whatever_its_capitals() {
        let tags = Tags::try_new(["VIP", "late payer", "vip", " VIP "]).unwrap();
        assert_eq!(tags.iter().collect::<Vec<_>>(), ["VIP", "late payer"]);
        let many: Vec<String> = (0..=50).map(|n| n.to_string()).collect();
        assert_eq!(
            Tags::try_new(many.iter().map(String::as_str)),
            Err(TagsError::TooMany { given: 51, most: 50 })
        );
        let twice: Vec<String> = (0..100).map(|n| (n % 50).to_string()).collect();
        assert!(Tags::try_new(twice.iter().map(String::as_str)).is_ok());
        assert_eq!(Tags::try_new(["good", ""]), Err(TagsError::Tag { nth: 1, source: TextError::Blank }));
    }

    proptest! {
        #[test]
        fn what_was_accepted_is_accepted_as_it_is(text in "\\PC{0,60}|.{0,60}") {
            if let Ok(name) = Name::try_new(&text) {
                prop_assert_eq!(Name::try_new(name.as_str()), Ok(name.clone()));
                prop_assert!(!name.as_str().contains(char::is_control));
            }
            if let Ok(notes) = Notes::try_new(&text) {
                prop_assert_eq!(Notes::try_new(notes.as_str()), Ok(notes));
            }
        }
    }
}
