//! The traffic of a shop from a seed: visits, late, repeated and corrected events, fraudsters, and shoppers who are only eager.
//!
//! Invariant: events come in the order in which they are sent, and the same seed and rate make the same events. A fraudster makes
//! more than [`CLICKS_MAX`] clicks within [`WINDOW_US`], nobody else ever does. Knows nothing of clocks and tables.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};

use super::event::{Deed, Event, Item};
use super::random::Random;
use super::zipf::Zipf;

/// Clicks of one user within [`WINDOW_US`] that are still no fraud.
pub(super) const CLICKS_MAX: usize = 20;
/// The span in which clicks are counted, in microseconds of event time.
pub(super) const WINDOW_US: u64 = 1_000_000;
/// No event is sent later than so many microseconds after it happened.
pub(super) const LATENESS_US: u64 = 3_000_000;

/// Between two steps of a visit: at least, and on average beyond that, in seconds. Nobody clicks fast enough to be a fraudster.
const PAUSE_MIN_S: f64 = 0.2;
const PAUSE_MEAN_S: f64 = 1.3;
/// Share of events that are sent late, and that are sent twice.
const LATE: f64 = 0.02;
const TWICE: f64 = 0.01;
/// Share of purchases that turn out to be none, because nobody paid.
const UNPAID: f64 = 0.1;
/// Different things on sale.
const ITEMS: u64 = 50_000;
/// Users for each visit that goes on at a time.
const USERS_PER_VISIT: u64 = 20;
/// How unequal users and items are.
const EXPONENT: f64 = 1.0;

const CATEGORIES: [&str; 12] =
    ["books", "music", "games", "garden", "kitchen", "sports", "toys", "shoes", "phones", "bags", "lamps", "chairs"];
const REFERRERS: [Option<&str>; 6] = [
    None,
    None,
    Some("https://search.example/?q=shop"),
    Some("https://news.example/today/best-offers-of-the-week"),
    Some("https://social.example/feed"),
    Some("https://mail.example/letter/42"),
];
const AGENTS: [&str; 5] = [
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.1 Mobile/15E148",
    "Mozilla/5.0 (Linux; Android 15; Pixel 9) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Mobile Safari/537.36",
    "Mozilla/5.0 (X11; Linux x86_64; rv:144.0) Gecko/20100101 Firefox/144.0",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 15_1) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.1 Safari/605.1.15",
];
const COUNTRIES: [&str; 10] = ["DE", "DE", "NL", "FR", "IT", "ES", "PL", "US", "GB", "JP"];

/// Somebody in the shop.
struct Visit {
    user_id: u64,
    session_id: u64,
    step: u32,
    deed: Deed,
    item: Option<Item>,
    user_agent: &'static str,
    country: &'static str,
}

/// Somebody who clicks fast: a fraudster, or an eager shopper who stops in time.
struct Burst {
    visit: Visit,
    clicks_left: u64,
    gap_min_us: u64,
    gap_max_us: u64,
}

/// What happens next.
enum Action {
    Step(Visit),
    Click(Burst),
    Send(Box<Event>),
    /// Somebody begins to click fast.
    Begin {
        is_fraud: bool,
    },
}

pub(super) struct Visits {
    random: Random,
    users: Zipf,
    items: Zipf,
    /// Due time, a number that keeps equal times in order, and a place in `actions`.
    due: BinaryHeap<Reverse<(u64, u64, usize)>>,
    actions: Vec<Option<Action>>,
    free: Vec<usize>,
    scheduled: u64,
    /// Users who are in the shop: each of them once.
    present: HashSet<u64>,
    next_event_id: u64,
    next_session_id: u64,
    next_burst_user: u64,
    burst_every_us: f64,
    sequence: u64,
    /// Distinct clicks of each fraudster that were sent.
    fraud_clicks: HashMap<u64, usize>,
}

impl Visits {
    /// A shop with about `rate` events per second.
    pub(super) fn new(seed: u64, rate: f64) -> Self {
        let visits = (rate * (PAUSE_MIN_S + PAUSE_MEAN_S)).ceil().max(1.0) as u64;
        let users = (visits * USERS_PER_VISIT).max(1000);
        let bursts_per_second = (rate / 5000.0).clamp(0.2, 5.0);
        let mut shop = Visits {
            random: Random::new(seed),
            users: Zipf::new(users, EXPONENT),
            items: Zipf::new(ITEMS, EXPONENT),
            due: BinaryHeap::new(),
            actions: Vec::new(),
            free: Vec::new(),
            scheduled: 0,
            present: HashSet::new(),
            next_event_id: 1,
            next_session_id: 1,
            next_burst_user: users + 1,
            burst_every_us: 1e6 / bursts_per_second,
            sequence: 0,
            fraud_clicks: HashMap::new(),
        };
        for _ in 0..visits {
            let visit = shop.visit();
            let first_us = shop.random.wait((PAUSE_MIN_S + PAUSE_MEAN_S) * 1e6) as u64;
            shop.schedule(first_us, Action::Step(visit));
        }
        for is_fraud in [true, false] {
            // Early enough that the shortest demo has one of each.
            let first_us = shop.random.between(100_000, 400_000);
            shop.schedule(first_us, Action::Begin { is_fraud });
        }
        shop
    }

    /// The next event, if it is sent before `end_us`.
    pub(super) fn next_before(&mut self, end_us: u64) -> Option<Event> {
        loop {
            let Reverse((now_us, _, place)) = *self.due.peek()?;
            if now_us >= end_us {
                return None;
            }
            self.due.pop();
            self.free.push(place);
            let action = self.actions[place].take().expect("each scheduled place holds an action");
            if let Some(event) = self.act(now_us, action) {
                return Some(event);
            }
        }
    }

    /// Users of whom so many clicks were sent that they must be found.
    pub(super) fn frauds(&self) -> HashSet<u64> {
        self.fraud_clicks.iter().filter(|(_, clicks)| **clicks > CLICKS_MAX).map(|(user_id, _)| *user_id).collect()
    }

    fn schedule(&mut self, due_us: u64, action: Action) {
        let place = self.free.pop().unwrap_or_else(|| {
            self.actions.push(None);
            self.actions.len() - 1
        });
        self.actions[place] = Some(action);
        self.due.push(Reverse((due_us, self.scheduled, place)));
        self.scheduled += 1;
    }

    fn act(&mut self, now_us: u64, action: Action) -> Option<Event> {
        match action {
            Action::Send(event) => Some(self.sent(now_us, *event)),
            Action::Step(visit) => {
                let event = self.event(now_us, &visit);
                self.go_on(now_us, visit);
                self.send(now_us, event)
            }
            Action::Click(mut burst) => {
                let event = self.event(now_us, &burst.visit);
                burst.visit.step += 1;
                burst.clicks_left -= 1;
                if burst.clicks_left > 0 {
                    let gap_us = self.random.between(burst.gap_min_us, burst.gap_max_us);
                    self.schedule(now_us + gap_us, Action::Click(burst));
                }
                self.send(now_us, event)
            }
            Action::Begin { is_fraud } => {
                self.begin(now_us, is_fraud);
                None
            }
        }
    }

    /// A fraudster makes 30 to 50 clicks within a window; an eager shopper exactly as many as are allowed.
    fn begin(&mut self, now_us: u64, is_fraud: bool) {
        let mut visit = self.visit_of(self.next_burst_user);
        self.next_burst_user += 1;
        (visit.deed, visit.item) = (Deed::Click, Some(self.item()));
        let burst = match is_fraud {
            true => {
                self.fraud_clicks.insert(visit.user_id, 0);
                Burst { visit, clicks_left: self.random.between(30, 51), gap_min_us: 5_000, gap_max_us: 19_000 }
            }
            false => Burst { visit, clicks_left: CLICKS_MAX as u64, gap_min_us: 20_000, gap_max_us: 49_000 },
        };
        self.schedule(now_us, Action::Click(burst));
        let wait_us = self.random.wait(self.burst_every_us) as u64;
        self.schedule(now_us + wait_us, Action::Begin { is_fraud });
    }

    /// A visit of a user who is not in the shop.
    fn visit(&mut self) -> Visit {
        let user_id = loop {
            let user_id = self.users.sample(&mut self.random);
            if self.present.insert(user_id) {
                break user_id;
            }
        };
        self.visit_of(user_id)
    }

    fn visit_of(&mut self, user_id: u64) -> Visit {
        self.next_session_id += 1;
        // A user has one browser and one country.
        let mut own = Random::new(user_id);
        let (user_agent, country) = (own.pick(&AGENTS), own.pick(&COUNTRIES));
        Visit { user_id, session_id: self.next_session_id - 1, step: 0, deed: Deed::View, item: None, user_agent, country }
    }

    fn item(&mut self) -> Item {
        let id = self.items.sample(&mut self.random);
        let mut own = Random::new(id);
        let price_cents = (100.0 + own.wait(4000.0)).min(9_999_999.0) as i128;
        Item { id, category: CATEGORIES[(id % CATEGORIES.len() as u64) as usize], price_cents }
    }

    /// The next step of a visit, or the next visitor.
    fn go_on(&mut self, now_us: u64, mut visit: Visit) {
        let chance = self.random.unit();
        let next = match visit.deed {
            Deed::View if chance < 0.45 => Some(Deed::View),
            Deed::View if chance < 0.85 && visit.item.is_some() => Some(Deed::Click),
            Deed::View if chance < 0.85 => Some(Deed::View),
            Deed::Click if chance < 0.5 => Some(Deed::View),
            Deed::Click if chance < 0.7 => Some(Deed::Click),
            Deed::Click if chance < 0.9 => Some(Deed::Cart),
            Deed::Cart if chance < 0.4 => Some(Deed::Purchase),
            Deed::Cart if chance < 0.8 => Some(Deed::View),
            Deed::Purchase if chance < 0.3 => Some(Deed::View),
            _ => None,
        };
        match next {
            Some(deed) => {
                visit.step += 1;
                if deed == Deed::View {
                    visit.item = Some(self.item());
                }
                visit.deed = deed;
            }
            None => {
                let left = visit.user_id;
                visit = self.visit();
                self.present.remove(&left);
            }
        }
        let pause_us = (PAUSE_MIN_S + self.random.wait(PAUSE_MEAN_S)) * 1e6;
        self.schedule(now_us + pause_us as u64, Action::Step(visit));
    }

    fn event(&mut self, now_us: u64, visit: &Visit) -> Event {
        let buys = matches!(visit.deed, Deed::Cart | Deed::Purchase);
        self.next_event_id += 1;
        Event {
            sequence: 0,
            event_id: self.next_event_id - 1,
            event_us: now_us,
            sent_us: now_us,
            deed: visit.deed,
            user_id: visit.user_id,
            session_id: visit.session_id,
            step: visit.step,
            item: visit.item,
            quantity: if buys { Some(1 + self.random.wait(0.5) as i32) } else { None },
            referrer: if visit.step == 0 { self.random.pick(&REFERRERS) } else { None },
            user_agent: visit.user_agent,
            country: visit.country,
        }
    }

    /// Sends an event now, or later, or now and later, or now and later what it was instead.
    fn send(&mut self, now_us: u64, event: Event) -> Option<Event> {
        let delay_us = self.random.between(1, LATENESS_US);
        if event.deed == Deed::Purchase && self.random.chance(UNPAID) {
            let unpaid = Event { sequence: 1, deed: Deed::Cart, ..event.clone() };
            self.schedule(now_us + delay_us, Action::Send(Box::new(unpaid)));
            return Some(self.sent(now_us, event));
        }
        if self.random.chance(LATE) {
            self.schedule(now_us + delay_us, Action::Send(Box::new(event)));
            return None;
        }
        if self.random.chance(TWICE) {
            // The second one is no click that counts.
            self.schedule(now_us + delay_us, Action::Send(Box::new(Event { sequence: 1, ..event.clone() })));
        }
        Some(self.sent(now_us, event))
    }

    /// Numbers what is sent. A repeated or corrected event comes in with sequence 1, a new one with 0.
    fn sent(&mut self, now_us: u64, mut event: Event) -> Event {
        if event.sequence == 0
            && let Some(clicks) = self.fraud_clicks.get_mut(&event.user_id)
        {
            *clicks += 1;
        }
        (event.sequence, event.sent_us) = (self.sequence, now_us);
        self.sequence += 1;
        event
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(seed: u64, rate: f64, seconds: u64) -> (Vec<Event>, HashSet<u64>) {
        let mut visits = Visits::new(seed, rate);
        let events = std::iter::from_fn(|| visits.next_before(seconds * 1_000_000)).collect();
        (events, visits.frauds())
    }

    #[test]
    fn a_seed_repeats_itself_and_another_does_not() {
        let first = events(7, 2000.0, 3);
        assert_eq!(first, events(7, 2000.0, 3));
        assert_ne!(first.0, events(8, 2000.0, 3).0);
    }

    #[test]
    fn events_come_in_order_at_the_rate() {
        let (events, _) = events(1, 5000.0, 10);
        assert!((45_000..56_000).contains(&events.len()), "{}", events.len());
        assert!(events.windows(2).all(|pair| pair[0].sent_us <= pair[1].sent_us && pair[0].sequence + 1 == pair[1].sequence));
        assert!(events.iter().all(|event| event.sent_us - event.event_us <= LATENESS_US));
        assert!(events.iter().any(|event| event.sent_us > event.event_us));
    }

    #[test]
    fn some_events_come_twice_and_every_deed_happens() {
        let (events, _) = events(1, 5000.0, 10);
        let ids: HashSet<_> = events.iter().map(|event| event.event_id).collect();
        let twice = events.len() - ids.len();
        assert!((200..1000).contains(&twice), "{twice}");
        for deed in Deed::ALL {
            let count = events.iter().filter(|event| event.deed == deed).count();
            assert!(count > 300, "{deed:?}: {count}");
        }
    }

    #[test]
    fn some_purchases_are_corrected_and_nothing_else_is() {
        let (events, _) = events(1, 5000.0, 10);
        let (mut first, mut corrected) = (HashMap::new(), 0);
        for event in &events {
            let before = *first.entry(event.event_id).or_insert(event.deed);
            if before != event.deed {
                assert_eq!((before, event.deed), (Deed::Purchase, Deed::Cart));
                corrected += 1;
            }
        }
        assert!(corrected > 20, "{corrected}");
    }

    /// The truth, computed the slow way: whose distinct clicks ever stand too close.
    #[test]
    fn fraudsters_and_only_they_click_too_fast() {
        let (events, frauds) = events(3, 5000.0, 20);
        let mut clicks: HashMap<u64, HashMap<u64, u64>> = HashMap::new();
        for event in events.iter().filter(|event| event.deed == Deed::Click) {
            clicks.entry(event.user_id).or_default().insert(event.event_id, event.event_us);
        }
        let is_too_fast = |clicks: &HashMap<u64, u64>| {
            let mut times: Vec<_> = clicks.values().copied().collect();
            times.sort_unstable();
            times.windows(CLICKS_MAX + 1).any(|window| window[CLICKS_MAX] - window[0] < WINDOW_US)
        };
        let found: HashSet<_> = clicks.iter().filter(|(_, clicks)| is_too_fast(clicks)).map(|(user_id, _)| *user_id).collect();
        assert_eq!(found, frauds);
        assert!(frauds.len() > 5);
        assert!(clicks.values().filter(|clicks| clicks.len() == CLICKS_MAX).count() > 5, "nobody was only eager");
    }
}
