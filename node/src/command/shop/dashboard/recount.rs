//! What the tables of the dashboard must hold, counted in plain maps: from the log of events, and from the changes of the tables.
//!
//! Invariant: shares no way of counting with the tables. Events are put in order of time first and counted once each, as they stand
//! after all corrections; nothing is ever taken back. Knows nothing of merge engines.

use std::collections::{BTreeMap, HashMap, VecDeque};

use aquifer_node::{Error, Result};

use super::super::event::Deed;
use super::super::visits::{CLICKS_MAX, LATENESS_US, WINDOW_US};
use super::happened::Happened;
use super::rows::{ItemTotals, LastDeed, UserState};

/// Items by their number.
pub(super) type Items = BTreeMap<i64, ItemTotals>;
/// Users by their number.
pub(super) type Users = BTreeMap<i64, UserState>;

/// Counts the events of a log.
#[derive(Default)]
pub(super) struct Recount {
    /// Of each bucket the events that may still be repeated or corrected, by time and number.
    open: HashMap<u32, BTreeMap<(i64, i64), Happened>>,
    items: Items,
    users: Users,
    /// Times of each user's clicks within one window.
    clicks: HashMap<i64, VecDeque<i64>>,
}

impl Recount {
    /// Takes the events of a bucket in the order of its log; a user's are all in one bucket.
    pub(super) fn take(&mut self, bucket: u32, events: Vec<Happened>) {
        let mut open = self.open.remove(&bucket).unwrap_or_default();
        for event in events {
            open.insert((event.time_us, event.event_id), event);
            let newest_us = open.last_key_value().map_or(0, |((time_us, _), _)| *time_us);
            while let Some(first) = open.first_entry().filter(|first| first.key().0 < newest_us - LATENESS_US as i64) {
                self.count(first.remove());
            }
        }
        self.open.insert(bucket, open);
    }

    /// The tables as they must be.
    pub(super) fn finish(mut self) -> (Items, Users) {
        for event in std::mem::take(&mut self.open).into_values().flat_map(BTreeMap::into_values) {
            self.count(event);
        }
        (self.items, self.users)
    }

    /// Counts the next event of its user.
    fn count(&mut self, event: Happened) {
        if let Some(item_id) = event.item_id {
            let item = self.items.entry(item_id).or_default();
            item.deeds[event.deed as usize] += 1;
            item.revenue_cents += event.cents;
            item.last_us = item.last_us.max(event.time_us);
        }
        let user = self.users.entry(event.user_id).or_default();
        user.events += 1;
        if event.deed == Deed::Click {
            let clicks = self.clicks.entry(event.user_id).or_default();
            clicks.push_back(event.time_us);
            while clicks.front().is_some_and(|time_us| event.time_us - time_us >= WINDOW_US as i64) {
                clicks.pop_front();
            }
            user.is_fraudster |= clicks.len() > CLICKS_MAX;
        }
        user.last = Some(LastDeed::of(&event));
    }
}

/// Adds a change of `items`, which is as `_op` says.
///
/// Errors: Internal for an `op` that there is not.
pub(super) fn fold_item(items: &mut Items, op: &str, item_id: i64, change: &ItemTotals) -> Result<()> {
    let sign = match op {
        "+I" | "+U" => 1,
        "-U" | "-D" => -1,
        _ => return Err(Error::internal("no such change").at("op", op)),
    };
    let item = items.entry(item_id).or_default();
    item.deeds.iter_mut().zip(change.deeds).for_each(|(all, deeds)| *all += sign * deeds);
    item.revenue_cents += i128::from(sign) * change.revenue_cents;
    if sign > 0 {
        item.last_us = item.last_us.max(change.last_us);
    }
    Ok(())
}

/// Adds a change of `users`.
pub(super) fn fold_user(users: &mut Users, user_id: i64, change: UserState) {
    let user = users.entry(user_id).or_default();
    user.events += change.events;
    user.is_fraudster |= change.is_fraudster;
    if let Some(last) = change.last
        && user.last.as_ref().is_none_or(|before| before.at <= last.at)
    {
        user.last = Some(last);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn click(event_id: i64, time_us: i64) -> Happened {
        Happened { event_id, time_us, deed: Deed::Click, user_id: 1, item_id: Some(2), cents: 0, page: "/".to_string() }
    }

    #[test]
    fn copies_count_once_and_corrections_as_they_stand_at_last() {
        let paid = Happened { deed: Deed::Purchase, cents: 250, ..click(2, 20) };
        let unpaid = Happened { deed: Deed::Cart, cents: 0, ..paid.clone() };
        let mut recount = Recount::default();
        recount.take(0, vec![click(3, 30), paid, click(1, 10), click(3, 30), unpaid]);
        let (items, users) = recount.finish();
        assert_eq!(items[&2], ItemTotals { deeds: [0, 2, 1, 0], revenue_cents: 0, last_us: 30 });
        assert_eq!(users[&1], UserState { last: Some(LastDeed::of(&click(3, 30))), events: 3, is_fraudster: false });
    }

    #[test]
    fn one_click_too_many_within_a_window_is_fraud() {
        let clicks = |count: i64, gap_us: i64| {
            let mut recount = Recount::default();
            (0..count).for_each(|click_id| recount.take(0, vec![click(click_id, click_id * gap_us)]));
            recount.finish().1[&1].is_fraudster
        };
        let most = CLICKS_MAX as i64;
        assert!(clicks(most + 1, 1));
        assert!(!clicks(most, 1));
        assert!(!clicks(1000, WINDOW_US as i64 / most));
    }

    #[test]
    fn changes_are_added_and_taken_back() {
        let (mut items, paid) = (Items::new(), ItemTotals { deeds: [0, 0, 0, 1], revenue_cents: 99, last_us: 7 });
        fold_item(&mut items, "+I", 1, &paid).unwrap();
        fold_item(&mut items, "-U", 1, &paid).unwrap();
        assert_eq!(items[&1], ItemTotals { last_us: 7, ..ItemTotals::default() });
        assert!(fold_item(&mut items, "+A", 1, &paid).is_err());
    }
}
