//! Resources in the order in which Twilio lists them.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;

use time::OffsetDateTime;

/// What has a SID and a creation time, neither of which ever changes.
pub trait Resource {
    fn sid(&self) -> &str;
    /// In call time, `date_created`.
    fn created_at(&self) -> OffsetDateTime;
}

/// Where a resource stands: by its creation, and those of one moment by SID.
pub type Place = (OffsetDateTime, String);

/// Resources by SID and by age, so that a page is found without looking at what is before it.
#[derive(Debug)]
pub struct Shelf<T> {
    rows: BTreeMap<Place, T>,
    created: HashMap<String, OffsetDateTime>,
}

impl<T> Default for Shelf<T> {
    fn default() -> Self {
        Shelf { rows: BTreeMap::new(), created: HashMap::new() }
    }
}

impl<T: Resource> Shelf<T> {
    /// A SID that is there already stays what it is.
    pub fn insert(&mut self, resource: T) {
        let (sid, created) = (resource.sid().to_owned(), resource.created_at());
        if !self.created.contains_key(&sid) {
            self.created.insert(sid.clone(), created);
            self.rows.insert((created, sid), resource);
        }
    }

    pub fn place(&self, sid: &str) -> Option<Place> {
        self.created.get(sid).map(|created| (*created, sid.to_owned()))
    }

    pub fn get(&self, sid: &str) -> Option<&T> {
        self.rows.get(&self.place(sid)?)
    }

    pub fn get_mut(&mut self, sid: &str) -> Option<&mut T> {
        let place = self.place(sid)?;
        self.rows.get_mut(&place)
    }

    /// Those between two places, the oldest first.
    pub fn between(&self, from: Bound<Place>, to: Bound<Place>) -> impl DoubleEndedIterator<Item = &T> {
        // A range that ends before it begins is empty here, and a panic in the map.
        let is_empty = match (&from, &to) {
            (Bound::Included(from), Bound::Included(to)) => from > to,
            (Bound::Included(from) | Bound::Excluded(from), Bound::Included(to) | Bound::Excluded(to)) => {
                from >= to
            }
            _ => false,
        };
        (!is_empty).then(|| self.rows.range((from, to)).map(|(_, row)| row)).into_iter().flatten()
    }

    /// The oldest first.
    pub fn all(&self) -> impl DoubleEndedIterator<Item = &T> {
        self.rows.values()
    }

    pub fn all_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.rows.values_mut()
    }

    pub fn retain(&mut self, mut keep: impl FnMut(&T) -> bool) {
        let created = &mut self.created;
        self.rows.retain(|(_, sid), row| {
            let kept = keep(row);
            if !kept {
                created.remove(sid);
            }
            kept
        });
    }
}
