//! One seed, one history: a store on one simulated disk, opened, used, crashed in the middle of something, opened again and held against the oracle.
//!
//! Invariant: everything random comes from the seed, so the same seed gives the same history, step by step.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use aquifer_node::io::Driver;
use aquifer_node::io::sim::{Faults, Sim};
use aquifer_node::store::{Durability, Options, Store};
use aquifer_node::{Error, Kind};

use crate::disk;
use crate::opening::Ends;
use crate::oracle::{Existence, Finding, Oracle, Place};
use crate::random::Random;
use crate::reading::{Reader, read_everything};
use crate::writing::{Numbered, Sender};

/// Where the store lies on the simulated disk.
pub(crate) const DIR: &str = "/store";

/// Tries to open a store before the disk must be healthy.
const OPENS_MAX: u32 = 3;

/// More buckets than any history has.
const BUCKETS: usize = 4096;

/// Steps after which no history comes.
const NEVER: u64 = 1 << 60;

/// A defect that is made on purpose, to see that it is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Planted {
    /// None.
    Nothing,
    /// Durable writes are acknowledged before they are durable.
    AcknowledgedTooEarly,
    /// Writers take a new identity after a crash, so that what they send again is written again.
    ForgottenIdentity,
}

/// What a history was like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Summary {
    /// Over everything that happened.
    pub(crate) trace: u64,
    /// Calls and events.
    pub(crate) steps: u64,
    /// Crashes.
    pub(crate) crashes: u64,
    /// Rows acknowledged or seen.
    pub(crate) rows: u64,
}

/// What can go wrong now, besides a crash.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Weather {
    /// The device fails now and then, or did since the store was opened: logs may be poisoned until it is opened again.
    pub(crate) has_failed: bool,
    /// It fails now.
    pub(crate) fails_now: bool,
    /// The disk is small.
    pub(crate) is_tight: bool,
}

/// See the head of this module.
pub(crate) struct History {
    pub(crate) random: Random,
    pub(crate) planted: Planted,
    pub(crate) sim: Arc<Sim>,
    pub(crate) store: Option<Store>,
    pub(crate) follower: Option<Store>,
    pub(crate) oracle: Oracle,
    pub(crate) senders: Vec<Sender>,
    pub(crate) numbered: Vec<Numbered>,
    pub(crate) readers: Vec<Reader>,
    pub(crate) weather: Weather,
    buckets_open_max: usize,
    /// Draws what was thought of later, so that old seeds still mean what they meant.
    pub(crate) aside: Random,
    /// Draws what becomes of the commit page, and who looks at it, between two writers.
    pub(crate) between: Random,
    /// Nobody has opened the store since the machine, or the process, started.
    pub(crate) is_just_started: bool,
    /// It was the power that the last writer lost, not only its life.
    pub(crate) is_power_cut: bool,
    /// What was seen then.
    pub(crate) seen_between: Option<Ends>,
    /// It was opened on a device that fails since the machine started or a good opening: the page tells of what could be read then.
    pub(crate) was_opened_badly: bool,
    /// Some openings acknowledge rows in the page cache.
    has_os: bool,
    /// One since the last settlement did.
    is_os: bool,
    /// The last one does.
    opened_as_os: bool,
    summary: Summary,
    verbose: bool,
}

impl History {
    /// Runs the history of `seed`.
    pub(crate) fn run(seed: u64, planted: Planted, verbose: bool) -> Finding<Summary> {
        let faults = Faults { lie_about_durability: planted == Planted::AcknowledgedTooEarly, ..Faults::default() };
        let mut aside = Random::new(!seed);
        let has_os = planted == Planted::Nothing && aside.one_in(3);
        let mut history = History {
            random: Random::new(seed),
            aside,
            between: Random::new(seed.rotate_left(32)),
            is_just_started: false,
            is_power_cut: false,
            seen_between: None,
            was_opened_badly: false,
            has_os,
            is_os: false,
            opened_as_os: false,
            planted,
            sim: Sim::new(seed, faults),
            store: None,
            follower: None,
            oracle: Oracle::default(),
            senders: Vec::new(),
            numbered: Vec::new(),
            readers: Vec::new(),
            weather: Weather::default(),
            buckets_open_max: BUCKETS,
            summary: Summary::default(),
            verbose,
        };
        let crashes = history.random.between(3, 6);
        for _ in 0..crashes {
            history.open()?;
            history.settle()?;
            history.act()?;
            history.crash();
        }
        history.open()?;
        history.settle()?;
        history.end_well()?;
        history.note_run();
        Ok(history.summary)
    }

    /// Says what happens, when somebody wants to know.
    pub(crate) fn say(&self, what: impl FnOnce() -> String) {
        if self.verbose {
            println!("{:>7} {:>10.3?} {}", self.sim.steps(), self.sim.clock().monotonic(), what());
        }
    }

    /// The disk as it should be, apart from the planted defect.
    pub(crate) fn healthy(&self) -> Faults {
        Faults { lie_about_durability: self.planted == Planted::AcknowledgedTooEarly, ..Faults::default() }
    }

    /// An error is fine when the machine is off, or the weather explains it; else it is a finding.
    pub(crate) fn excuse(&mut self, what: &str, error: &Error) -> Finding {
        self.say(|| format!("{what}: {error}"));
        let explained = self.weather.has_failed || self.weather.is_tight;
        if self.sim.is_crashed() {
            return Ok(());
        }
        self.oracle.had_errors = true;
        if explained { Ok(()) } else { Err(format!("{what} failed on a healthy disk: {error}")) }
    }

    /// As [`History::excuse`], for a call to this table: one whose creation failed need not be there.
    pub(crate) fn excuse_at(&mut self, table: u64, what: &str, error: &Error) -> Finding {
        let is_doubtful = self.oracle.tables.get(&table).is_some_and(|table| table.existence == Existence::Doubtful);
        if is_doubtful && error.kind() == Kind::NotFound { Ok(()) } else { self.excuse(what, error) }
    }

    /// As [`History::excuse_at`], for a scan: once the device is well again, rows that are there can be read, whatever has become of their log.
    pub(crate) fn excuse_scan(&mut self, table: u64, error: &Error) -> Finding {
        let is_well = !self.weather.fails_now && !self.weather.is_tight && !self.sim.is_crashed();
        match is_well && error.kind() != Kind::NotFound {
            true => Err(format!("a scan failed on a disk that is well again: {error}")),
            false => self.excuse_at(table, "scan", error),
        }
    }

    fn options(&mut self) -> Options {
        let durability = if self.has_os && !self.aside.one_in(3) { Durability::Os } else { Durability::Sync };
        self.opened_as_os = durability == Durability::Os;
        self.is_os |= self.opened_as_os;
        let random = &mut self.random;
        self.buckets_open_max = *random.pick(&[1, 3, BUCKETS]);
        Options {
            durability,
            files_open_max: *random.pick(&[16, 512]),
            buckets_open_max: self.buckets_open_max,
            recent_bytes_max: *random.pick(&[0, 64 << 10, 32 << 20]),
            writer_bytes_max: *random.pick(&[32 << 10, 1 << 20, 16 << 20]),
            scan_bytes_max: *random.pick(&[64 << 10, 16 << 20]),
            spare_bytes_max: *random.pick(&[0, 2 << 20, 256 << 20]),
            ..Options::default()
        }
    }

    /// Opens the store; crashes and failures may come in between, and in the end it must open.
    fn open(&mut self) -> Finding {
        for attempt in 0..=OPENS_MAX {
            self.weather = Weather::default();
            self.sim.set_faults(self.healthy());
            self.sim.crash_after(NEVER);
            self.look_between()?;
            if attempt < OPENS_MAX && self.random.one_in(4) {
                let healthy = self.healthy();
                self.sim.set_faults(disk::failing(&mut self.random, healthy));
                (self.weather.has_failed, self.weather.fails_now) = (true, true);
                self.was_opened_badly = true;
            }
            if attempt < OPENS_MAX && self.random.one_in(4) {
                let steps = self.random.below(60);
                self.sim.crash_after(steps);
            }
            let options = self.options();
            let is_pumped = self.random.one_in(2);
            self.say(|| format!("open {:?} {options:?}", self.weather));
            let opened = Store::open_with(self.sim.clone(), DIR, options).and_then(|store| {
                // Buckets are opened by their first use, and that is where most of the recovery is; the rest is done before they are changed.
                store.stats(None)?;
                if is_pumped { store.pump().map(|()| store) } else { Ok(store) }
            });
            match opened {
                Ok(store) => {
                    self.sim.set_faults(self.healthy());
                    if self.sim.is_crashed() {
                        drop(store);
                    } else if self.weather.has_failed {
                        // What was half repaired must not stay so: it is opened once more.
                        drop(store);
                        self.say(|| "opened under faults; again".to_string());
                        self.weather = Weather::default();
                        continue;
                    } else {
                        self.sim.crash_after(NEVER);
                        self.store = Some(store);
                        self.was_opened_badly = false;
                        return Ok(());
                    }
                }
                Err(error) => self.excuse("open", &error)?,
            }
            if self.sim.is_crashed() {
                self.restart();
            }
        }
        Err("the store did not open on a healthy disk".to_string())
    }

    /// The machine, or only the process, starts again.
    fn restart(&mut self) {
        let seed = self.random.next();
        let power_cut = self.planted == Planted::AcknowledgedTooEarly || !self.random.one_in(3);
        self.say(|| if power_cut { "power cut".to_string() } else { "process killed".to_string() });
        self.note_run();
        self.summary.crashes += 1;
        (self.is_power_cut, self.is_just_started) = (power_cut, true);
        self.was_opened_badly &= !power_cut;
        self.oracle.may_have_lost |= power_cut && self.is_os;
        let next = if power_cut { self.sim.reboot(seed) } else { self.sim.kill(seed) };
        self.sim = next;
    }

    fn note_run(&mut self) {
        self.summary.trace = self.summary.trace.rotate_left(7) ^ self.sim.trace();
        self.summary.steps += self.sim.steps();
    }

    /// Drops all writers. What was refused and not asked for yet is told to nobody.
    fn drop_senders(&mut self) {
        let is_bad = self.weather.has_failed || self.weather.is_tight;
        self.oracle.had_errors |= self.senders.iter().any(|sender| sender.may_have_lost(is_bad));
        self.senders.clear();
    }

    /// Cuts it off where it is and lets go of everything that was open.
    fn crash(&mut self) {
        self.drop_senders();
        self.restart();
        self.readers.clear();
        self.follower = None;
        self.store = None;
        for numbered in &mut self.numbered {
            numbered.was_cut_off(self.planted);
        }
    }

    /// Reads everything back and holds it against the oracle.
    fn settle(&mut self) -> Finding {
        let store = self.store.clone().expect("it was just opened");
        self.settle_between(&store)?;
        self.settle_tables(&store)?;
        let ends = read_everything(self, &store, "after recovery")?;
        self.settle_logs(&ends)?;
        self.is_os = self.opened_as_os;
        let verified = store.verify(None, &mut |_| {}).map_err(|error| format!("verify: {error}"))?;
        if let Some(problem) = verified.problems.first() {
            return Err(format!("verify finds damage after recovery: {problem:?}"));
        }
        // A bucket is cleared of what belongs to nothing before its first change. With few open at a time, most are left as they are for later.
        if self.buckets_open_max < BUCKETS {
            return Ok(());
        }
        store.settle().map_err(|error| format!("settle: {error}"))?;
        disk::no_orphans(self, &store)
    }

    fn settle_logs(&mut self, ends: &BTreeMap<(u64, Place), u64>) -> Finding {
        for ((table, place), end) in ends {
            self.oracle.settle(*table, place, *end)?;
        }
        // A log that does not exist yet must not have had rows.
        let known: Vec<(u64, Place)> =
            self.oracle.tables.values().flat_map(|table| table.logs.keys().map(|place| (table.number, place.clone()))).collect();
        for (table, place) in known {
            if !ends.contains_key(&(table, place.clone())) {
                self.oracle.settle(table, &place, 0)?;
            }
        }
        if self.oracle.may_have_lost {
            self.number_lost_batches_again();
        }
        self.oracle.settle_rest();
        Ok(())
    }

    /// Which tables there are, and with which columns.
    fn settle_tables(&mut self, store: &Store) -> Finding {
        let listed = store.tables().map_err(|error| format!("tables: {error}"))?;
        let mut names: Vec<String> = listed.into_iter().map(|summary| summary.name).collect();
        let numbers: Vec<u64> = self.oracle.tables.keys().copied().collect();
        for number in numbers {
            let table = self.oracle.tables.get_mut(&number).expect("listed above");
            let Some(found) = names.iter().position(|name| *name == table.name) else {
                if table.existence == Existence::Certain {
                    return Err(format!("table {} is lost", table.name));
                }
                self.oracle.drop_table(number);
                self.numbered.retain(|numbered| numbered.table != number);
                continue;
            };
            names.swap_remove(found);
            table.existence = Existence::Certain;
            self.settle_columns(store, number)?;
        }
        match names.first() {
            Some(name) => Err(format!("table {name} should not exist")),
            None => Ok(()),
        }
    }

    fn settle_columns(&mut self, store: &Store, number: u64) -> Finding {
        let rows_so_far = self.oracle.rows_so_far();
        let table = self.oracle.tables.get_mut(&number).expect("it exists");
        let handle = store.table(&table.name).map_err(|error| format!("table {}: {error}", table.name))?;
        let schema = handle.schema().map_err(|error| format!("schema of {}: {error}", table.name))?;
        let is = |columns: &[crate::rows::Column]| {
            let wanted = crate::rows::schema(columns);
            let fits = |(a, b): (&Arc<arrow::datatypes::Field>, &Arc<arrow::datatypes::Field>)| {
                a.name() == b.name() && a.data_type() == b.data_type() && a.is_nullable() == b.is_nullable()
            };
            wanted.fields().len() == schema.fields().len() && wanted.fields().iter().zip(schema.fields()).all(fits)
        };
        if let Some(mut perhaps) = table.columns_perhaps.take().filter(|perhaps| is(perhaps)) {
            for column in &mut perhaps {
                if !table.columns.iter().any(|known| known.number == column.number) {
                    column.since = rows_so_far;
                }
            }
            let gone = table.columns.iter().filter(|known| !perhaps.iter().any(|column| column.number == known.number));
            table.dropped.extend(gone.map(|column| column.number));
            table.columns = perhaps;
            return Ok(());
        }
        if is(&table.columns) { Ok(()) } else { Err(format!("table {} has another schema than it should: {schema:?}", table.name)) }
    }

    /// Does things until the crash, or until enough was done.
    fn act(&mut self) -> Finding {
        if !self.random.one_in(4) {
            let steps = *self.random.pick(&[20, 200, 800, 3000]);
            let steps = self.random.between(1, steps);
            self.sim.crash_after(steps);
        }
        for _ in 0..self.random.between(5, 60) {
            if self.sim.is_crashed() {
                break;
            }
            self.act_once()?;
            if self.between.one_in(32) {
                self.sim.write_pages_back();
            }
            if self.weather.fails_now && self.oracle.had_errors && self.random.one_in(2) {
                self.read_on()?;
            }
        }
        Ok(())
    }

    /// The device is well again. Logs whose writes it failed take no rows until the store is opened again, and all of their rows can be read.
    fn read_on(&mut self) -> Finding {
        self.say(|| "the device is well again".to_string());
        self.sim.set_faults(self.healthy());
        self.senders.iter_mut().for_each(Sender::weather_changes);
        self.weather.fails_now = false;
        for _ in 0..3 {
            self.scan()?;
        }
        Ok(())
    }

    fn act_once(&mut self) -> Finding {
        match self.random.below(100) {
            0..5 => self.create_table(),
            5..6 => self.drop_table(),
            6..10 => self.alter_table(),
            10..24 => self.append(),
            24..38 => self.send(),
            38..48 => self.flood(),
            48..53 => self.collect(),
            53..63 => self.append_numbered(),
            63..68 => self.scan(),
            68..72 => self.start_reader(),
            72..82 => self.poll_readers(),
            82..88 => self.pump(),
            88..92 => self.expire(),
            92..94 => self.pass_time(),
            94..97 => self.change_weather(),
            _ => self.open_again(),
        }
    }

    fn pump(&mut self) -> Finding {
        self.say(|| "pump".to_string());
        let store = self.store.clone().expect("open");
        store.pump().or_else(|error| self.excuse("pump", &error))
    }

    fn pass_time(&mut self) -> Finding {
        let by = Duration::from_secs(*self.random.pick(&[0, 1, 60, 7200]));
        self.say(|| format!("{by:?} pass"));
        // After a crash time stands still, which is what the next call will notice.
        let _ = self.sim.advance(by);
        Ok(())
    }

    fn change_weather(&mut self) -> Finding {
        let kind = self.random.below(3);
        let healthy = self.healthy();
        let faults = match kind {
            0 => disk::failing(&mut self.random, healthy),
            1 => disk::tight(&mut self.random, healthy),
            _ => healthy,
        };
        self.say(|| format!("weather {kind}: {faults:?}"));
        self.sim.set_faults(faults);
        self.senders.iter_mut().for_each(Sender::weather_changes);
        self.weather = Weather { has_failed: kind == 0 || self.weather.has_failed, fails_now: kind == 0, is_tight: kind == 1 };
        Ok(())
    }

    /// Closes the store in order and opens it again; whoever follows it stays.
    fn open_again(&mut self) -> Finding {
        self.say(|| "close and open again".to_string());
        let careful = self.random.one_in(2);
        if careful {
            self.collect()?;
        }
        self.drop_senders();
        self.readers.retain(|reader| !reader.is_own);
        let store = self.store.take().expect("open");
        if let Err(error) = store.close() {
            self.excuse("close", &error)?;
        }
        for numbered in &mut self.numbered {
            numbered.was_cut_off(Planted::Nothing);
        }
        if self.sim.is_crashed() {
            return Ok(());
        }
        self.sim.set_faults(self.healthy());
        let options = self.options();
        match Store::open_with(self.sim.clone(), DIR, options) {
            Ok(store) => {
                self.store = Some(store.clone());
                if self.sim.is_crashed() {
                    return Ok(());
                }
                self.weather = Weather::default();
                match store.stats(None) {
                    Ok(_) => self.settle_unless_cut_off(),
                    Err(error) => self.excuse("stats", &error),
                }
            }
            Err(error) => {
                self.weather = Weather::default();
                self.excuse("open again", &error)
            }
        }
    }

    /// Settles while the power may still be cut: then nothing was proved, and the next opening settles.
    fn settle_unless_cut_off(&mut self) -> Finding {
        let settled = self.settle();
        if self.sim.is_crashed() { Ok(()) } else { settled }
    }

    /// The disk is healthy and large, nothing crashes: everything works, everywhere.
    fn end_well(&mut self) -> Finding {
        let tables: Vec<u64> = self.oracle.tables.keys().copied().collect();
        for table in tables {
            self.append_to(table)?;
        }
        for _ in 0..3 {
            self.append_numbered()?;
        }
        self.collect()?;
        self.pump()?;
        self.expire()?;
        let store = self.store.clone().expect("open");
        read_everything(self, &store, "at the end")?;
        let follower = self.follow()?;
        read_everything(self, &follower, "at the end, from outside")?;
        self.summary.rows = self.oracle.tables.values().flat_map(|table| table.logs.values()).map(|log| log.known.len() as u64).sum();
        Ok(())
    }
}
