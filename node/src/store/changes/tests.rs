//! Tables whose log says what became of rows, held against a model that goes change by change: whatever the merge engine, however writes overlap.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::Int64Type;
use proptest::prelude::*;

use crate::error::Kind;
use crate::io::sim::{Faults, Sim};
use crate::store::{Change, ChangeType, CreateTable, Options, Store, Table, Writer};

mod filtered;
mod pairs;

const DIR: &str = "/store";

/// A row but for its key.
type Row = (Option<i64>, Option<String>);

/// A row that is written: `None` takes the key away.
type Write = (i64, Option<Row>);

/// What a key was and became.
type Step = (Option<Row>, Option<Row>);

#[derive(Clone, Copy, Debug, PartialEq)]
enum Engine {
    Deduplicate,
    /// By the first column, without deletes.
    Sequence,
    /// Without deletes.
    FirstRow,
    PartialUpdate,
    /// The sum of the first column, the newest text.
    Aggregation,
}

impl Engine {
    const ALL: [Engine; 5] = [Engine::Deduplicate, Engine::Sequence, Engine::FirstRow, Engine::PartialUpdate, Engine::Aggregation];

    fn options(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Engine::Deduplicate => &[],
            Engine::Sequence => &[("sequence.field", "number"), ("ignore-delete", "true")],
            Engine::FirstRow => &[("merge-engine", "first-row"), ("ignore-delete", "true")],
            Engine::PartialUpdate => &[("merge-engine", "partial-update"), ("partial-update.remove-record-on-delete", "true")],
            Engine::Aggregation => &[
                ("merge-engine", "aggregation"),
                ("aggregation.remove-record-on-delete", "true"),
                ("fields.number.aggregate-function", "sum"),
            ],
        }
    }

    fn step(self, before: Option<&Row>, written: Option<&Row>) -> Option<Row> {
        let Some((number, text)) = written.cloned() else {
            return before.cloned().filter(|_| matches!(self, Engine::Sequence | Engine::FirstRow));
        };
        let Some((old_number, old_text)) = before.cloned() else { return Some((number, text)) };
        Some(match self {
            Engine::Deduplicate => (number, text),
            Engine::Sequence if number >= old_number => (number, text),
            Engine::Sequence | Engine::FirstRow => (old_number, old_text),
            Engine::PartialUpdate => (number.or(old_number), text.or(old_text)),
            Engine::Aggregation => {
                let sum = number.map_or(old_number, |number| Some(old_number.unwrap_or(0) + number));
                (sum, text.or(old_text))
            }
        })
    }
}

fn rows(writes: &[Write]) -> RecordBatch {
    let row = |write: &Write| write.1.clone().unwrap_or_default();
    let keys: ArrayRef = Arc::new(Int64Array::from_iter_values(writes.iter().map(|(key, _)| *key)));
    let numbers: ArrayRef = Arc::new(writes.iter().map(|write| row(write).0).collect::<Int64Array>());
    let texts: ArrayRef = Arc::new(writes.iter().map(|write| row(write).1).collect::<StringArray>());
    RecordBatch::try_from_iter_with_nullable([("key", keys, false), ("number", numbers, true), ("text", texts, true)]).unwrap()
}

fn kinds(writes: &[Write]) -> Vec<ChangeType> {
    writes.iter().map(|(_, row)| if row.is_some() { ChangeType::UpdateAfter } else { ChangeType::Delete }).collect()
}

fn create(engine: Engine, image: &str, buckets: u32) -> CreateTable {
    let create = CreateTable::like(rows(&[]).schema()).primary_key(&["key"]).buckets(buckets);
    let create = create.option("changelog-producer", "lookup").option("changelog.image", image);
    engine.options().iter().fold(create, |create, (name, value)| create.option(name, value))
}

/// Keys, rows and perhaps what they are, of a batch of the table.
fn read(batch: &RecordBatch) -> Vec<(i64, Row, String)> {
    let (keys, numbers) = (batch.column(0).as_primitive::<Int64Type>(), batch.column(1).as_primitive::<Int64Type>());
    let texts = batch.column(2).as_string::<i32>();
    let ops = batch.columns().get(3).map(|ops| ops.as_string::<i32>());
    let row = |row: usize| {
        let number = numbers.is_valid(row).then(|| numbers.value(row));
        let text = texts.is_valid(row).then(|| texts.value(row).to_string());
        (keys.value(row), (number, text), ops.map_or(String::new(), |ops| ops.value(row).to_string()))
    };
    (0..batch.num_rows()).map(row).collect()
}

fn scanned(table: &Table) -> BTreeMap<i64, Row> {
    table.scan().build().unwrap().flat_map(|found| read(&found.unwrap().batch)).map(|(key, row, _)| (key, row)).collect()
}

fn looked_up(table: &Table, keys: std::ops::Range<i64>) -> BTreeMap<i64, Row> {
    let wanted: Vec<Write> = keys.map(|key| (key, None)).collect();
    let found = table.lookup(&rows(&wanted).project(&[0]).unwrap()).unwrap();
    read(&found.rows).into_iter().map(|(key, row, _)| (key, row)).collect()
}

/// What the log says became of each key, change by change: checked to fit together.
fn logged(table: &Table, image: &str) -> HashMap<i64, Vec<Step>> {
    let mut steps: HashMap<i64, Vec<Step>> = HashMap::new();
    let mut half: Option<(i64, Row)> = None;
    for (key, row, op) in table.changes().build().unwrap().flat_map(|found| read(&found.unwrap().batch)) {
        let of_key = steps.entry(key).or_default();
        let before = of_key.last().and_then(|step| step.1.clone());
        match op.as_str() {
            "+I" => of_key.push((None, Some(row))),
            "-D" => of_key.push((Some(row), None)),
            "-U" => half = Some((key, row)),
            "+U" if image == "wal" => of_key.push((before.clone(), Some(row))),
            "+U" => {
                let (half_key, old) = half.take().expect("-U comes before +U");
                assert_eq!(half_key, key, "right before");
                of_key.push((Some(old), Some(row)));
            }
            other => panic!("{other}"),
        }
        if let Some((told, _)) = of_key.last()
            && half.is_none()
        {
            assert_eq!(*told, before, "the row before the change of key {key}");
        }
    }
    assert!(half.is_none());
    steps
}

#[derive(Clone, Debug)]
enum Deed {
    /// By one of the writers, without waiting.
    Send(usize, Vec<Write>),
    Apply(usize, Vec<Write>),
    Flush,
    Compact,
    Pump,
    Reopen,
    Check,
}

const KEYS: i64 = 12;

fn deeds() -> impl Strategy<Value = Vec<Deed>> {
    let row = (proptest::option::of(-3_i64..4), proptest::option::of("[ab]"));
    let writes = || proptest::collection::vec((0..KEYS, proptest::option::weighted(0.8, row.clone())), 1..25);
    let deed = prop_oneof![
        6 => (0_usize..2, writes()).prop_map(|(writer, writes)| Deed::Send(writer, writes)),
        3 => (0_usize..2, writes()).prop_map(|(writer, writes)| Deed::Apply(writer, writes)),
        2 => Just(Deed::Flush),
        1 => Just(Deed::Compact),
        2 => Just(Deed::Pump),
        1 => Just(Deed::Reopen),
        1 => Just(Deed::Check),
    ];
    proptest::collection::vec(deed, 1..30)
}

fn options() -> Options {
    Options { memtable_bytes_max: 64 << 10, run_bytes_max: 16 << 10, ..Options::default() }
}

struct World {
    sim: Arc<Sim>,
    store: Store,
    writers: Vec<Writer>,
    engine: Engine,
    image: &'static str,
    model: BTreeMap<i64, Row>,
    steps: HashMap<i64, Vec<Step>>,
    sent: u64,
    acked: u64,
}

impl World {
    fn new(engine: Engine, image: &'static str, buckets: u32) -> World {
        let sim = Sim::new(1, Faults::default());
        let store = Store::open_with(sim.clone(), DIR, options()).unwrap();
        store.create_table("t", create(engine, image, buckets)).unwrap();
        let (model, steps) = (BTreeMap::new(), HashMap::new());
        let mut world = World { sim, store, writers: Vec::new(), engine, image, model, steps, sent: 0, acked: 0 };
        world.make_writers();
        world
    }

    fn make_writers(&mut self) {
        let table = self.store.table("t").unwrap();
        self.writers = (0..2).map(|_| table.writer().unwrap()).collect();
    }

    fn note(&mut self, writes: &[Write]) {
        self.sent += writes.len() as u64;
        for (key, written) in writes {
            let before = self.model.get(key).cloned();
            let after = self.engine.step(before.as_ref(), written.as_ref());
            match &after {
                Some(row) => drop(self.model.insert(*key, row.clone())),
                None => drop(self.model.remove(key)),
            }
            if before != after {
                self.steps.entry(*key).or_default().push((before, after));
            }
        }
    }

    fn flush(&mut self) {
        for writer in &mut self.writers {
            self.acked += writer.flush().unwrap().iter().map(|ack| ack.rows).sum::<u64>();
        }
        assert_eq!(self.acked, self.sent, "each row is acknowledged, whatever it changed");
    }

    fn take(&mut self, deed: &Deed) {
        match deed {
            Deed::Send(writer, writes) => {
                self.writers[*writer].send_changes(&rows(writes), &kinds(writes)).unwrap();
                self.note(writes);
            }
            Deed::Apply(writer, writes) => {
                self.acked += self.writers[*writer].apply(&rows(writes), &kinds(writes)).unwrap().iter().map(|ack| ack.rows).sum::<u64>();
                self.note(writes);
            }
            Deed::Flush => self.store.flush("t").unwrap(),
            Deed::Compact => self.store.compact("t", true).unwrap(),
            Deed::Pump => self.store.pump().unwrap(),
            Deed::Reopen => {
                self.flush();
                self.writers.clear();
                let closed = std::mem::replace(&mut self.store, Store::open_read_only_with(self.sim.clone(), DIR, options()).unwrap());
                closed.close().unwrap();
                self.store = Store::open_with(self.sim.clone(), DIR, options()).unwrap();
                self.make_writers();
            }
            Deed::Check => self.check(),
        }
    }

    fn check(&mut self) {
        self.flush();
        let outside = Store::open_read_only_with(self.sim.clone(), DIR, options()).unwrap().table("t").unwrap();
        for table in [self.store.table("t").unwrap(), outside] {
            assert_eq!(scanned(&table), self.model);
            assert_eq!(looked_up(&table, 0..KEYS), self.model);
            assert_eq!(logged(&table, self.image), self.steps);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn the_log_says_what_became_of_each_row(
        deeds in deeds(),
        engine in proptest::sample::select(Engine::ALL.to_vec()),
        image in proptest::sample::select(vec!["full", "wal"]),
        buckets in 1_u32..3,
    ) {
        let mut world = World::new(engine, image, buckets);
        deeds.iter().for_each(|deed| world.take(deed));
        world.check();
        world.take(&Deed::Reopen);
        world.check();
    }
}

fn real(engine: Engine, image: &str) -> (tempfile::TempDir, Store, Table) {
    let dir = tempfile::tempdir_in(".").unwrap();
    let store = Store::open(dir.path(), Options { memtable_bytes_max: 256 << 10, ..Options::default() }).unwrap();
    let table = store.create_table("t", create(engine, image, 1)).unwrap();
    (dir, store, table)
}

fn number(key: i64, number: i64) -> Write {
    (key, Some((Some(number), None)))
}

#[test]
fn writers_that_meet_in_a_bucket_see_each_others_rows() {
    const WRITERS: i64 = 4;
    const BATCHES: i64 = 150;
    let (_dir, store, table) = real(Engine::Aggregation, "full");
    std::thread::scope(|scope| {
        for first in 0..WRITERS {
            let table = &table;
            scope.spawn(move || {
                let mut writer = table.writer().unwrap();
                for batch in 0..BATCHES {
                    let writes: Vec<Write> = (0..20).map(|row| number((first + batch * row) % 31, 1)).collect();
                    match batch % 10 {
                        0 => drop(writer.apply(&rows(&writes), &kinds(&writes)).unwrap()),
                        _ => writer.send_changes(&rows(&writes), &kinds(&writes)).unwrap(),
                    }
                }
                writer.flush().unwrap();
            });
        }
    });
    let found = scanned(&table);
    assert_eq!(found.values().map(|row| row.0.unwrap()).sum::<i64>(), WRITERS * BATCHES * 20, "no row is lost, none counted twice");
    let steps = logged(&table, "full");
    assert!(steps.iter().all(|(key, steps)| steps.last().unwrap().1.as_ref() == found.get(key)));
    store.compact("t", true).unwrap();
    assert_eq!(scanned(&table), found);
    assert!(store.take_background_failures().is_empty());
}

#[test]
fn what_changes_nothing_is_acknowledged_once_what_it_found_is_durable() {
    let (_dir, _store, table) = real(Engine::Deduplicate, "full");
    let mut writer = table.writer().unwrap();
    let first = writer.upsert(&rows(&[number(1, 5), number(2, 6)])).unwrap();
    assert_eq!((first[0].rows, first[0].changes, first[0].first_offset), (2, 2, 0));
    let same = writer.upsert(&rows(&[number(1, 5), number(2, 6)])).unwrap();
    assert_eq!((same[0].rows, same[0].changes, same[0].first_offset, same[0].bytes), (2, 0, 2, 0));
    let gone = writer.delete(&rows(&[(7, None)]).project(&[0]).unwrap()).unwrap();
    assert_eq!((gone[0].rows, gone[0].changes), (1, 0));
    let update = writer.upsert(&rows(&[number(1, 5), number(2, 7)])).unwrap();
    assert_eq!((update[0].rows, update[0].changes, update[0].first_offset), (2, 2, 2));
    let deleted = writer.delete(&rows(&[(2, None)]).project(&[0]).unwrap()).unwrap();
    assert_eq!((deleted[0].rows, deleted[0].changes), (1, 1));
    assert_eq!(logged(&table, "full")[&2].last().unwrap(), &(Some((Some(7), None)), None), "the whole row goes");
}

#[test]
fn a_batch_of_more_rows_than_one_step_takes_is_written_in_several() {
    let (_dir, store, table) = real(Engine::Aggregation, "full");
    let mut writer = table.writer().unwrap();
    let writes: Vec<Write> = (0..100_000).map(|row| number(row % 60_000, row)).collect();
    let acks = writer.upsert(&rows(&writes)).unwrap();
    assert!(acks.len() > 1);
    assert_eq!(acks.iter().map(|ack| ack.rows).sum::<u64>(), 100_000);
    assert_eq!(acks.iter().map(|ack| ack.changes).sum::<u64>(), 60_000 + 2 * 40_000);
    store.flush("t").unwrap();
    let found = scanned(&table);
    assert_eq!((found.len(), found[&7].0, found[&50_000].0), (60_000, Some(7 + 60_007), Some(50_000)));
    // Their rows are in many blocks, which are read several at a time.
    let again: Vec<Write> = (0..60_000).rev().map(|key| number(key, 1)).collect();
    let acks = writer.upsert(&rows(&again)).unwrap();
    assert_eq!(acks.iter().map(|ack| ack.changes).sum::<u64>(), 2 * 60_000);
    let one_more = |(key, row): (&i64, &Row)| (*key, (row.0.map(|number| number + 1), row.1.clone()));
    let expected: BTreeMap<i64, Row> = found.iter().map(one_more).collect();
    assert_eq!(looked_up(&table, 0..60_000), expected);
    store.compact("t", true).unwrap();
    assert_eq!(looked_up(&table, 0..60_000), expected);
}

#[test]
fn updates_of_two_rows_are_one_change() {
    let (_dir, _store, table) = real(Engine::Deduplicate, "full");
    let mut writer = table.writer().unwrap();
    use ChangeType::{Insert, UpdateAfter, UpdateBefore};
    writer.apply(&rows(&[number(1, 5), number(1, 5), number(1, 6)]), &[Insert, UpdateBefore, UpdateAfter]).unwrap();
    let row = |number| Some((Some(number), None));
    assert_eq!(logged(&table, "full")[&1], [(None, row(5)), (row(5), row(6))]);
}

#[test]
fn a_table_is_altered_between_changes_that_are_under_way() {
    let sim = Sim::new(3, Faults::default());
    let store = Store::open_with(sim, DIR, options()).unwrap();
    let table = store.create_table("t", create(Engine::Aggregation, "full", 1)).unwrap();
    let (mut before, mut after) = (table.writer().unwrap(), table.writer().unwrap());
    before.send_changes(&rows(&[number(1, 1)]), &[ChangeType::UpdateAfter]).unwrap();
    store.alter_table("t", &[Change::add_column("note utf8").unwrap(), Change::rename_column("text=label").unwrap()]).unwrap();
    after.send_changes(&rows(&[number(1, 2)]).project(&[0, 1]).unwrap(), &[ChangeType::UpdateAfter]).unwrap();
    after.flush().unwrap();
    before.flush().unwrap();
    let found: Vec<RecordBatch> = table.scan().build().unwrap().map(|found| found.unwrap().batch).collect();
    assert_eq!((found[0].num_columns(), found[0].column(1).as_primitive::<Int64Type>().value(0)), (4, 3));
}

#[test]
fn what_a_log_holds_is_fixed_and_what_makes_no_sense_is_refused() {
    let (_dir, store, table) = real(Engine::Deduplicate, "wal");
    assert_eq!(table.describe().unwrap().changelog.as_deref(), Some("lookup"));
    for option in ["changelog-producer", "changelog.image"] {
        let error = store.alter_table("t", &[Change::set_option(option, "input")]).unwrap_err();
        assert!(error.kind() == Kind::Invalid && error.to_string().contains("fixed"), "{error}");
    }
    let keyed = || CreateTable::like(rows(&[]).schema()).primary_key(&["key"]);
    let refused = [
        CreateTable::like(rows(&[]).schema()).option("changelog-producer", "lookup"),
        keyed().option("changelog-producer", "full-compaction"),
        keyed().option("changelog.image", "full"),
    ];
    for create in refused {
        assert_eq!(store.create_table("other", create).err().expect("refused").kind(), Kind::Invalid);
    }
    let numbered = table.writer_with(crate::store::WriterOptions { id: Some(3) }).unwrap().upsert(&rows(&[number(1, 1)])).unwrap_err();
    assert!(numbered.to_string().contains("takes no numbered batches"), "{numbered}");
    let input = store.create_table("other", keyed()).unwrap();
    assert_eq!(input.describe().unwrap().changelog.as_deref(), Some("input"));
}

/// Keys and what changes say of them, of those that pass a filter.
fn told(table: &Table, filter: &str) -> Vec<String> {
    let batches = table.changes().filter(filter).build().unwrap().map(|found| found.unwrap().batch);
    batches.flat_map(|batch| read(&batch)).map(|(key, _, op)| format!("{op} {key}")).collect()
}

#[test]
fn deletes_pass_a_filter_of_columns_that_they_do_not_have() {
    for changelog in ["input", "lookup"] {
        let sim = Sim::new(1, Faults::default());
        let store = Store::open_with(sim.clone(), DIR, options()).unwrap();
        let create = CreateTable::like(rows(&[]).schema()).primary_key(&["key"]).option("changelog-producer", changelog);
        let table = store.create_table("t", create.option("statistics.columns", "*")).unwrap();
        let mut writer = table.writer().unwrap();
        let row = |key, text: &str| (key, Some((Some(key), Some(text.to_string()))));
        writer.upsert(&rows(&[row(1, "x"), row(2, "y"), row(3, "x")])).unwrap();
        writer.delete(&rows(&[row(1, ""), row(2, "")]).project(&[0]).unwrap()).unwrap();
        let (of_text, of_both, of_key) = (told(&table, "text = 'x'"), told(&table, "key < 2 and text = 'x'"), told(&table, "key = 2"));
        match changelog {
            "input" => {
                assert_eq!(of_text, ["+U 1", "+U 3", "-D 1", "-D 2"]);
                assert_eq!((of_both, of_key), (vec!["+U 1".into(), "-D 1".into()], vec!["+U 2".to_string(), "-D 2".into()]));
                assert_eq!(told(&table, "key = 9 or not (text = 'x' or key > 0)"), [""; 0], "no text makes these pass");
                // A batch that is found by its statistics.
                let many: Vec<Write> = (100..20_100).map(|key| row(key, "")).collect();
                writer.delete(&rows(&many).project(&[0]).unwrap()).unwrap();
                drop(writer);
                store.close().unwrap();
                let store = Store::open_with(sim.clone(), DIR, options()).unwrap();
                assert_eq!(told(&store.table("t").unwrap(), "text = 'x'").len(), 4 + many.len());
            }
            _ => {
                assert_eq!(of_text, ["+I 1", "+I 3", "-D 1"], "whole rows are tested");
                assert_eq!((of_both, of_key), (vec!["+I 1".into(), "-D 1".into()], vec!["+I 2".to_string(), "-D 2".into()]));
            }
        }
    }
}
