//! The dashboard over a log that was written before: everything agrees, and what is wrong in a table is noticed.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64};

use super::super::event::{Batches, schema};
use super::super::visits::Visits;
use super::happened::{Known, News, happened};
use super::recount::{Items, Users};
use super::rows::{ItemTotals, UserState, item_batch, user_batch};
use super::*;
use crate::command::store::{ChangeType, CreateTable, Options};

/// Seconds of the shop: longer than anything is late.
const SECONDS: u64 = 8;

struct Shop {
    clicks: Table,
    dashboard: Dashboard,
    frauds: HashSet<u64>,
    /// Dropped last.
    _scratch: tempfile::TempDir,
}

impl Shop {
    fn trade(seed: u64) -> Self {
        let scratch = tempfile::tempdir_in(".").unwrap();
        let store = Store::open(scratch.path().join("store"), Options::default()).unwrap();
        let create = CreateTable::like(schema()).buckets(2).bucket_key(&["user_id"]);
        let clicks = store.create_table("clicks", create).unwrap();
        let dashboard = Dashboard::create(&store).unwrap();
        let (batches, mut visits) = (Batches::new(schema(), 1_700_000_000_000_000), Visits::new(seed, 1000.0));
        let (mut writer, mut rows) = (clicks.writer().unwrap(), 0);
        for step in 1..=SECONDS * 5 {
            let events: Vec<_> = std::iter::from_fn(|| visits.next_before(step * 200_000)).collect();
            rows += events.len() as u64;
            writer.append(&batches.batch(&events).unwrap()).unwrap();
        }
        let shared = Shared { rows: AtomicU64::new(rows), failed: AtomicBool::new(false) };
        dashboard.keep(&clicks, &shared).unwrap();
        Shop { clicks, dashboard, frauds: visits.frauds(), _scratch: scratch }
    }

    /// The names of the checks that do not hold.
    fn faults(&self) -> Vec<&'static str> {
        let audit = audit(&self.clicks, &self.dashboard).unwrap();
        assert!(audit.checks.iter().all(|(_, _, expected)| *expected > 500), "{:?}", audit.checks);
        audit.checks.into_iter().filter(|(_, found, expected)| found != expected).map(|(name, ..)| name).collect()
    }
}

#[test]
fn the_tables_are_as_the_log_says_and_what_is_wrong_in_them_is_noticed() {
    let shop = Shop::trade(5);
    assert_eq!(shop.faults(), [""; 0]);
    let mut items = shop.dashboard.items.writer().unwrap();
    let view = ItemTotals { deeds: [1, 0, 0, 0], revenue_cents: 0, last_us: 1 };
    items.apply(&item_batch(&[(7, view.clone())]).unwrap(), &[ChangeType::Insert]).unwrap();
    assert_eq!(shop.faults(), ["items as in the log"]);
    items.apply(&item_batch(&[(7, view)]).unwrap(), &[ChangeType::Delete]).unwrap();
    assert_eq!(shop.faults(), [""; 0]);
    let flag = UserState { is_fraudster: true, ..UserState::default() };
    shop.dashboard.users.writer().unwrap().upsert(&user_batch(&[(123_456_789, flag)]).unwrap()).unwrap();
    assert_eq!(shop.faults(), ["users as in the log"]);
}

#[test]
fn fraudsters_and_only_they_are_flagged() {
    let shop = Shop::trade(6);
    let mut flagged = HashSet::new();
    for found in shop.dashboard.users.scan().filter("is_fraudster = true").build().unwrap() {
        let users = rows::user_rows(&found.unwrap().batch).unwrap();
        flagged.extend(users.into_iter().map(|(user_id, _)| user_id as u64));
    }
    assert_eq!(flagged, shop.frauds);
    assert!(!flagged.is_empty());
}

#[test]
fn the_shop_repeats_and_corrects_itself_and_each_counts() {
    let (batches, mut visits) = (Batches::new(schema(), 0), Visits::new(2, 2000.0));
    let (mut known, mut recount) = (Known::default(), recount::Recount::default());
    let (mut items, mut users, mut again, mut corrected) = (Items::new(), Users::new(), 0, 0);
    while let Some(event) = visits.next_before(15_000_000) {
        let told = happened(&batches.batch(&[event]).unwrap()).unwrap();
        let event = &told[0];
        let mut tell = |op, event: &happened::Happened| {
            if let Some(item_id) = event.item_id {
                recount::fold_item(&mut items, op, item_id, &ItemTotals::of(event)).unwrap();
            }
        };
        let news = known.news(event);
        match &news {
            News::First => tell("+I", event),
            News::Again => again += 1,
            News::Corrects(before) => {
                corrected += 1;
                tell("-U", before);
                tell("+U", event);
            }
        }
        let events = i64::from(news == News::First);
        recount::fold_user(&mut users, event.user_id, UserState { last: Some(rows::LastDeed::of(event)), events, is_fraudster: false });
        recount.take(0, told);
    }
    let (counted_items, mut counted_users) = recount.finish();
    counted_users.values_mut().for_each(|user| user.is_fraudster = false);
    assert_eq!(items, counted_items);
    assert_eq!(users, counted_users);
    assert!(again > 100 && corrected > 20, "{again} {corrected}");
}
