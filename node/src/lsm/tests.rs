//! Random upserts and deletes, flushes, merges and reopenings, held against a map.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::Int64Type;
use proptest::prelude::*;

use super::build::{Build, Built, Site, Source, sources};
use super::level::Level;
use super::levels::Levels;
use super::lookup::{lookup, lookup_holding};
use super::memtable::Memtable;
use super::pick::Rules;
use super::rows::{Chunk, Reader};
use super::run::{Blocks, Reach, Run};
use super::sorted::Sorted;
use crate::format::{BatchMeta, Compression, Encoder, Layout};
use crate::io::sim::{Faults, Sim};
use crate::io::{BLOCK_BYTES, Driver, FileCache, Mode, Pool};
use crate::merge::MergeFunction;
use crate::merge::deduplicate::Deduplicate;
use crate::merge::reference::SLOT_ROWS_MAX;
use crate::table::key::Keys;
use crate::table::types::Field;
use crate::table::{ChangeType, ColumnType, TableName, TableSchema, TableSpec};

mod parts;

const DIR: &str = "/bucket";

/// Merged often, to many small files.
const RULES: Rules = Rules { trigger: 3, ratio: 2, amplification: 2, deleted_part: 2, file_bytes: 2048 };

/// A tree in a simulated directory.
struct Tree {
    reader: Arc<Reader>,
    function: Arc<dyn MergeFunction>,
    reach: Reach,
    levels: Levels,
    encoder: Encoder,
    next_run: Arc<AtomicU64>,
    next_offset: u64,
}

/// What a key is: text, when the keys of the tree are bytes.
fn key_column(keys: &[u8], as_text: bool) -> ArrayRef {
    match as_text {
        true => Arc::new(StringArray::from_iter_values(keys.iter().map(|key| format!("customer-{key:03}")))),
        false => Arc::new(Int64Array::from_iter_values(keys.iter().map(|key| i64::from(*key) - 100))),
    }
}

fn note(value: i64) -> String {
    format!("note {value}")
}

impl Tree {
    fn new(as_text: bool) -> Tree {
        let driver = Sim::new(1, Faults::default());
        driver.create_dir_all(Path::new(DIR)).unwrap();
        let key = if as_text { ColumnType::Utf8 } else { ColumnType::Int64 };
        let note = Field::new("note", ColumnType::Utf8, true);
        let fields = vec![Field::new("key", key, false), Field::new("value", ColumnType::Int64, true), note];
        let mut spec = TableSpec::new(TableName::new("default", "t").unwrap(), 1, TableSchema::new(fields).unwrap(), 0);
        spec.primary_key = vec![1];
        let encoder = Encoder::new(spec.schema().arrow(), Layout::Native, Compression::None).unwrap();
        let files = Arc::new(FileCache::new(8, Mode::Read));
        Tree {
            reader: Arc::new(Reader::new(Arc::new(spec)).unwrap()),
            function: Arc::new(Deduplicate::default()),
            reach: Reach { driver, files, pool: Pool::new(1 << 20), blocks: Blocks::new(1 << 20) },
            levels: Levels::new(Vec::new(), 0, RULES),
            encoder,
            next_run: Arc::new(AtomicU64::new(1)),
            next_offset: 0,
        }
    }

    /// Puts rows through the form of a log batch into the memtable.
    fn add(&mut self, keys: ArrayRef, values: &[Option<i64>]) {
        let notes: StringArray = values.iter().map(|value| value.map(note)).collect();
        self.add_columns(vec![keys, Arc::new(Int64Array::from(values.to_vec())), Arc::new(notes)], values);
    }

    /// As [`Tree::add`], of any columns; what has no value is a delete.
    fn add_columns(&mut self, columns: Vec<ArrayRef>, values: &[Option<i64>]) {
        let batch = RecordBatch::try_new(self.encoder.schema().clone(), columns).unwrap();
        let kind = |value: &Option<i64>| if value.is_none() { ChangeType::Delete } else { ChangeType::Insert };
        let kinds: Vec<i8> = values.iter().map(|value| kind(value).to_byte() as i8).collect();
        let meta = BatchMeta { change_types: Some(&kinds), ..BatchMeta::append(self.reader.schema().version()) };
        let mut bytes = vec![0; self.encoder.size_bound(&batch, &meta)];
        let length = self.encoder.encode(&batch, &meta, &mut bytes).unwrap();
        bytes.truncate(length);
        let chunk = self.reader.chunk(&self.reach.pool.copy_of(&bytes).freeze().arrow()).unwrap();
        self.levels.active().add(self.next_offset, chunk, length.next_multiple_of(BLOCK_BYTES)).unwrap();
        self.next_offset += values.len() as u64;
    }

    fn build(&self, file_bytes: u64, sources: Vec<Source>) -> Built {
        let next_run = self.next_run.clone();
        let ids = Box::new(move || next_run.fetch_add(1, Ordering::Relaxed));
        let mut build =
            Build::new(Site { reach: self.reach.clone(), dir: Path::new(DIR), ids, schema: self.reader.schema(), file_bytes }, sources);
        while build.step().unwrap() {}
        build.finish()
    }

    fn sorted(&self, levels: &[Level], memtables: &[(Arc<Memtable>, u64)], drop_deletes: bool) -> Sorted {
        Sorted::new(self.reader.clone(), self.function.clone(), levels, memtables, drop_deletes)
    }

    fn flush(&mut self) {
        self.levels = self.levels.rotated();
        let oldest = self.levels.memtables[0].clone();
        let end = oldest.end_offset();
        let sorted = self.sorted(&[], &[(oldest, end)], self.levels.runs().is_empty());
        let run = self.build(u64::MAX, vec![Source::Rows(Box::new(sorted))]).made.pop();
        self.levels = self.levels.flushed(run);
    }

    fn compact(&mut self) {
        let Some(picked) = self.levels.picked(false) else { return };
        let before = self.levels.levels().len();
        let runs = self.levels.runs()[picked.clone()].to_vec();
        let ids: Vec<u64> = runs.iter().map(|run| run.meta().id).collect();
        let (is_oldest, file_bytes) = (picked.start == 0, self.levels.rules().file_bytes);
        let may_move = |run: &Run| !(is_oldest && run.meta().deletes > 0);
        let sources = sources(&runs, may_move, file_bytes, |levels| Ok(self.sorted(levels, &[], is_oldest))).unwrap();
        let built = self.build(file_bytes, sources);
        self.levels = self.levels.compacted(&ids, &built.runs);
        assert!(self.levels.levels().len() < before, "a compaction leaves fewer levels");
    }

    /// Opens every run from its file again.
    fn reopen(&mut self) {
        let open = |run: &Arc<Run>| Arc::new(Run::open(self.reach.clone(), Path::new(DIR), run.meta(), false).unwrap());
        let runs: Vec<Arc<Run>> = self.levels.runs().iter().map(open).collect();
        let ids: Vec<u64> = runs.iter().map(|run| run.meta().id).collect();
        if !ids.is_empty() {
            self.levels = self.levels.compacted(&ids, &runs);
        }
    }

    fn scan(&self, end: u64) -> Vec<(ArrayRef, i64)> {
        let memtables: Vec<_> = self.levels.memtables.iter().map(|memtable| (memtable.clone(), end)).collect();
        let mut sorted = self.sorted(self.levels.levels(), &memtables, true);
        let mut rows = Vec::new();
        while let Some(tile) = sorted.next_tile().unwrap() {
            assert_eq!(tile.kinds(), None);
            let batch = tile.batch().unwrap();
            for row in 0..batch.num_rows() {
                rows.push((batch.column(0).slice(row, 1), batch.column(1).as_primitive::<Int64Type>().value(row)));
            }
        }
        rows
    }

    fn check(&self, model: &BTreeMap<u8, i64>, end: u64, as_text: bool) {
        let found = self.scan(end);
        let expected: Vec<(ArrayRef, i64)> = model.iter().map(|(key, value)| (key_column(&[*key], as_text), *value)).collect();
        assert_eq!(found, expected);
        let asked: Vec<u8> = (0..=255).step_by(3).chain([7, 7]).collect();
        let batch = RecordBatch::try_new(
            self.encoder.schema().clone(),
            vec![
                key_column(&asked, as_text),
                Arc::new(Int64Array::from(vec![None; asked.len()])),
                Arc::new(StringArray::from(vec![None::<&str>; asked.len()])),
            ],
        );
        let keys = self.reader.keys().encode(&batch.unwrap()).unwrap();
        let found = lookup(&self.reader, &*self.function, &self.levels, end, &keys).unwrap();
        let copied = lookup_holding(&self.reader, &*self.function, &self.levels, end, &keys, 0).unwrap();
        assert_eq!((&copied.rows, &copied.places), (&found.rows, &found.places), "whether blocks are held or not");
        for (key, place) in asked.iter().zip(&found.places) {
            let value = place.map(|row| found.rows.column(1).as_primitive::<Int64Type>().value(row as usize));
            assert_eq!(value, model.get(key).copied(), "key {key}");
        }
    }
}

#[derive(Clone, Debug)]
enum Act {
    Add(Vec<(u8, Option<i64>)>),
    Flush,
    Compact,
    Reopen,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let rows = proptest::collection::vec((any::<u8>(), proptest::option::weighted(0.8, any::<i64>())), 1..200);
    proptest::collection::vec(
        prop_oneof![6 => rows.prop_map(Act::Add), 3 => Just(Act::Flush), 1 => Just(Act::Compact), 1 => Just(Act::Reopen)],
        1..40,
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_tree_is_a_map(acts in acts(), as_text in any::<bool>(), parts in parts::parts(), columns in parts::columns()) {
        let mut tree = Tree::new(as_text);
        let (mut model, mut earlier) = (BTreeMap::new(), (0, BTreeMap::new()));
        for act in acts {
            match act {
                Act::Add(rows) => {
                    let keys: Vec<u8> = rows.iter().map(|row| row.0).collect();
                    tree.add(key_column(&keys, as_text), &rows.iter().map(|row| row.1).collect::<Vec<_>>());
                    for (key, value) in rows {
                        match value {
                            Some(value) => drop(model.insert(key, value)),
                            None => drop(model.remove(&key)),
                        }
                    }
                }
                Act::Flush => tree.flush(),
                Act::Compact => tree.compact(),
                Act::Reopen => tree.reopen(),
            }
            tree.check(&model, tree.next_offset, as_text);
            tree.check_part(&model, tree.next_offset, as_text, &parts, &columns);
            // What was there before rows that are still in memory is there for who asks for it.
            if tree.levels.flushed_to <= earlier.0 {
                tree.check(&earlier.1, earlier.0, as_text);
                tree.check_part(&earlier.1, earlier.0, as_text, &parts, &columns);
            }
            earlier = (tree.next_offset, model.clone());
        }
    }
}

#[test]
fn many_rows_go_through_many_blocks_and_tiles() {
    let mut tree = Tree::new(false);
    let mut model = BTreeMap::new();
    for round in 0..6_i64 {
        let keys: Vec<i64> = (0..20_000).map(|row| (row * 7_919 + round * 31) % 50_000).collect();
        let values: Vec<Option<i64>> = keys.iter().map(|key| (key % 11 != round).then_some(key * 10 + round)).collect();
        tree.add(Arc::new(Int64Array::from(keys.clone())), &values);
        for (key, value) in keys.iter().zip(values) {
            match value {
                Some(value) => drop(model.insert(*key, value)),
                None => drop(model.remove(key)),
            }
        }
        if round % 2 == 1 {
            tree.flush();
        }
    }
    let found = tree.scan(tree.next_offset);
    let found: Vec<(i64, i64)> = found.iter().map(|(key, value)| (key.as_primitive::<Int64Type>().value(0), *value)).collect();
    assert!(found.iter().copied().eq(model), "{} rows", found.len());
    assert!(tree.levels.runs().iter().all(|run| run.index().blocks().len() > 10));
}

#[test]
fn a_cache_holds_blocks_of_about_as_many_bytes_as_it_may() {
    let mut tree = Tree::new(false);
    let keys: Vec<i64> = (0..20_000).collect();
    tree.add(Arc::new(Int64Array::from(keys.clone())), &keys.iter().map(|key| Some(*key)).collect::<Vec<_>>());
    tree.flush();
    let run = tree.levels.runs()[0].clone();
    assert!((500 << 10..800 << 10).contains(&run.meta().bytes()), "{} bytes for a cache of 1 MiB", run.meta().bytes());
    let blocks = run.index().blocks().len();
    (0..blocks).for_each(|block| _ = run.block(&tree.reader, block).unwrap());
    let kept = (0..blocks).filter(|block| run.cached(&tree.reader, *block).is_some()).count();
    assert!(kept * 10 >= blocks * 8, "{kept} of {blocks} blocks");
}

#[test]
fn more_blocks_than_the_cache_holds_are_found_all_the_same() {
    let mut tree = Tree::new(false);
    let all: Vec<i64> = (0..80_000).collect();
    tree.add(Arc::new(Int64Array::from(all.clone())), &all.iter().map(|key| Some(key * 3)).collect::<Vec<_>>());
    tree.flush();
    let run = tree.levels.runs()[0].clone();
    let blocks = run.index().blocks().len();
    // Neighbours in stretches, and alone; a full cache by the second time.
    for step in [1, 1, 700, 1_300] {
        let asked: Vec<i64> = all.iter().copied().step_by(step).filter(|key| key / 900 % 3 != 1).collect();
        let found = lookup(&tree.reader, &*tree.function, &tree.levels, tree.next_offset, &Keys::Numbers(numbers(&tree, &asked))).unwrap();
        let values = found.rows.column(1).as_primitive::<Int64Type>().values();
        assert!(values.iter().copied().eq(asked.iter().map(|key| key * 3)), "every {step}th");
    }
    assert!(tree.reach.blocks.is_full());
    let kept = (0..blocks).filter(|block| run.cached(&tree.reader, *block).is_some()).count();
    assert!((blocks / 4..blocks * 3 / 4).contains(&kept), "{kept} of {blocks} blocks in a cache for about half of them");
}

/// Keys as the tree has them.
fn numbers(tree: &Tree, keys: &[i64]) -> Vec<u64> {
    let rest = |_| -> ArrayRef { Arc::new(Int64Array::from(vec![None; keys.len()])) };
    let notes = Arc::new(StringArray::from(vec![None::<&str>; keys.len()]));
    let columns = vec![Arc::new(Int64Array::from(keys.to_vec())) as ArrayRef, rest(()), notes];
    let batch = RecordBatch::try_new(tree.encoder.schema().clone(), columns).unwrap();
    tree.reader.keys().encode(&batch).unwrap().as_numbers().unwrap().to_vec()
}

#[test]
fn damage_in_a_block_is_named_and_spares_other_keys() {
    let mut tree = Tree::new(false);
    let keys: Vec<i64> = (0..5_000).collect();
    tree.add(Arc::new(Int64Array::from(keys.clone())), &keys.iter().map(|key| Some(*key)).collect::<Vec<_>>());
    tree.flush();
    let run = tree.levels.runs()[0].clone();
    let block = run.index().blocks()[1];
    let file = tree.reach.driver.open(run.path(), Mode::Write, false).unwrap();
    tree.reach.driver.write_at(&file, &[tree.reach.pool.copy_of(&[0xAA; 8]).freeze()], block.position + 1000, true).unwrap();
    let error = run.block(&tree.reader, 1).unwrap_err();
    assert!(error.to_string().contains(".run") && error.to_string().contains("block 1"), "{error}");
    let intact: Arc<Chunk> = run.block(&tree.reader, 0).unwrap();
    assert_eq!(intact.rows(), block.rows as usize);
}

#[test]
fn small_batches_do_not_keep_the_memory_of_their_frames() {
    const BATCHES: i64 = 3000;
    for as_text in [false, true] {
        let mut tree = Tree::new(as_text);
        let mut model = BTreeMap::new();
        for batch in 0..BATCHES {
            let key = (batch * 7 % 251) as u8;
            tree.add(key_column(&[key], as_text), &[Some(batch)]);
            model.insert(key, batch);
            if batch % 500 == 3 {
                tree.check(&model, tree.next_offset, as_text);
            }
        }
        tree.check(&model, tree.next_offset, as_text);
        let bytes = tree.levels.active().bytes() as i64;
        assert!(bytes < BATCHES * 320, "{} bytes a row", bytes / BATCHES);
        tree.flush();
        tree.check(&model, tree.next_offset, as_text);
    }
}

#[test]
fn small_batches_of_all_sizes_are_copied_together_within_what_a_chunk_holds() {
    // What was copied together first stays small for long, beside much that is small no more: altogether that is more rows than one chunk can number.
    let batches = || std::iter::repeat_n(1_i64, 8).chain(std::iter::repeat_n(100, 721)).chain([300]);
    assert!(batches().sum::<i64>() > SLOT_ROWS_MAX as i64);
    let mut tree = Tree::new(false);
    let mut next = 0;
    for rows in batches() {
        let keys: Vec<i64> = (next..next + rows).collect();
        tree.add(Arc::new(Int64Array::from(keys.clone())), &keys.iter().map(|key| Some(*key)).collect::<Vec<_>>());
        next += rows;
    }
    for _ in 0..2 {
        let found = tree.scan(tree.next_offset);
        assert!(found.iter().map(|(_, value)| *value).eq(0..next), "{} rows", found.len());
        tree.flush();
    }
}
