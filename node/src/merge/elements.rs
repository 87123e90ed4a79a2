//! The elements of a key's lists, put together: which of them are left, and in what order.
//!
//! Invariant: an element stands where its identity was first added; therefore putting adjacent stretches together and then their results gives the same.
//! Removals see only what was added before them: what stands elsewhere is not taken back.

use std::collections::{HashMap, VecDeque};

use arrow::row::Row;

/// Where an element is: the slot, and its place among the slot's elements.
pub(super) type Place = (usize, usize);

/// What becomes of an element whose identity is there already.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Adding {
    /// Both stay.
    Both,
    /// The one that was there stays.
    Old,
    /// The new one stands where the old one stood.
    New,
}

/// The elements of one key.
pub(super) struct Elements<'a> {
    adding: Adding,
    /// `None` where one was removed.
    places: Vec<Option<Place>>,
    /// Where in `places` the elements of an identity stand, oldest first.
    known: HashMap<Row<'a>, VecDeque<usize>>,
}

impl<'a> Elements<'a> {
    /// None yet.
    pub(super) fn new(adding: Adding) -> Self {
        Elements { adding, places: Vec::new(), known: HashMap::new() }
    }

    /// Adds one. Without an identity it can be neither found nor removed.
    pub(super) fn add(&mut self, place: Place, identity: Option<Row<'a>>) {
        let Some(identity) = identity else { return self.places.push(Some(place)) };
        let known = self.known.entry(identity).or_default();
        match (self.adding, known.front()) {
            (Adding::Old, Some(_)) => {}
            (Adding::New, Some(old)) => self.places[*old] = Some(place),
            _ => {
                known.push_back(self.places.len());
                self.places.push(Some(place));
            }
        }
    }

    /// Removes the oldest element of an identity, if there is one.
    pub(super) fn remove_one(&mut self, identity: Row<'a>) {
        if let Some(place) = self.known.get_mut(&identity).and_then(VecDeque::pop_front) {
            self.places[place] = None;
        }
    }

    /// Removes all elements of an identity.
    pub(super) fn remove_all(&mut self, identity: Row<'a>) {
        for place in self.known.remove(&identity).into_iter().flatten() {
            self.places[place] = None;
        }
    }

    /// Moves what is left to the end of `out`, and is empty again.
    pub(super) fn drain_into(&mut self, out: &mut Vec<Place>) {
        out.extend(self.places.drain(..).flatten());
        self.known.clear();
    }
}
