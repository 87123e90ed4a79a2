//! Reading less than everything: some columns, some keys; and runs that are alone.

use super::super::builder::RunBuilder;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::lsm::tile::Tile;
use crate::merge::{Groups, Merged};
use crate::table::key_range::{KeyRange, KeyRanges};

/// Stretches of keys, each from one on and before another.
pub(super) fn parts() -> impl Strategy<Value = Vec<(u8, u8)>> {
    proptest::collection::vec((any::<u8>(), any::<u8>()), 0..4)
}

/// Places of columns.
pub(super) fn columns() -> impl Strategy<Value = Vec<usize>> {
    proptest::sample::subsequence(vec![0, 1, 2], 0..=3)
}

impl Tree {
    fn key(&self, key: u8, as_text: bool) -> Vec<u8> {
        let columns: Vec<ArrayRef> = vec![
            key_column(&[key], as_text),
            Arc::new(Int64Array::from(vec![None::<i64>])),
            Arc::new(StringArray::from(vec![None::<&str>])),
        ];
        let keys = self.reader.keys().encode(&RecordBatch::try_new(self.encoder.schema().clone(), columns).unwrap()).unwrap();
        super::super::run::key_bytes(keys.get(0), &mut [0; 8]).to_vec()
    }

    /// The rows of some keys, with some columns: those of the key are always there.
    fn part(&self, columns: &[usize], ranges: &KeyRanges, end: u64) -> Sorted {
        let mut columns = [columns, &[0]].concat();
        columns.sort_unstable();
        columns.dedup();
        let memtables: Vec<_> = self.levels.memtables.iter().map(|memtable| (memtable.clone(), end)).collect();
        let reader = self.reader.projected(&columns).unwrap();
        Sorted::within(reader, self.function.over(&columns), (self.levels.levels(), &memtables), ranges, true).unwrap()
    }

    pub(super) fn check_part(&self, model: &BTreeMap<u8, i64>, end: u64, as_text: bool, parts: &[(u8, u8)], columns: &[usize]) {
        let range = |(from, to): &(u8, u8)| KeyRange { from: self.key(*from, as_text), to: Some(self.key(*to, as_text)) };
        let ranges = KeyRanges::of(parts.iter().map(range).collect());
        let mut sorted = self.part(columns, &ranges, end).limited(32);
        let mut expected = model.iter().filter(|(key, _)| parts.iter().any(|(from, to)| (from..to).contains(key)));
        while let Some(tile) = sorted.next_tile().unwrap() {
            let batch = tile.batch().unwrap();
            assert_eq!(batch.schema_ref(), sorted.schema());
            for row in 0..batch.num_rows() {
                let (key, value) = expected.next().expect("a row too many");
                assert_eq!(&batch.column(0).slice(row, 1), &key_column(&[*key], as_text));
                if columns.contains(&1) {
                    assert_eq!(batch.column_by_name("value").unwrap().as_primitive::<Int64Type>().value(row), *value);
                }
                if columns.contains(&2) {
                    assert_eq!(batch.column_by_name("note").unwrap().as_string::<i32>().value(row), note(*value));
                }
            }
        }
        assert_eq!(expected.next(), None, "a row too few");
    }

    fn add_numbers(&mut self, keys: std::ops::Range<i64>) {
        let keys: Vec<i64> = keys.collect();
        self.add(Arc::new(Int64Array::from(keys.clone())), &keys.iter().map(|key| Some(*key)).collect::<Vec<_>>());
    }

    fn damage(&self, run: usize, block: usize) {
        let run = &self.levels.runs()[run];
        let file = self.reach.driver.open(run.path(), Mode::Write, false).unwrap();
        let bytes = self.reach.pool.copy_of(&[0xAA; 8]).freeze();
        self.reach.driver.write_at(&file, &[bytes], run.index().blocks()[block].position + 1000, true).unwrap();
    }
}

fn count(mut sorted: Sorted) -> crate::error::Result<usize> {
    let mut rows = 0;
    while let Some(tile) = sorted.next_tile()? {
        rows += tile.rows();
    }
    Ok(rows)
}

fn numbers(from: i64, to: i64) -> KeyRanges {
    let bytes = |number: i64| (number as u64 ^ 1 << 63).to_be_bytes().to_vec();
    KeyRanges::of(vec![KeyRange { from: bytes(from), to: Some(bytes(to)) }])
}

#[test]
fn only_blocks_that_may_hold_a_wanted_key_are_read() {
    let mut tree = Tree::new(false);
    tree.add_numbers(0..40_000);
    tree.flush();
    let run = tree.levels.runs()[0].clone();
    let blocks = run.index().blocks();
    let rows = |count: usize| blocks[..count].iter().map(|block| block.rows as usize).sum::<usize>();
    assert!(blocks.len() > 20);
    // All but the blocks 2 and 15.
    (0..blocks.len()).filter(|block| ![2, 15].contains(block)).for_each(|block| tree.damage(0, block));
    let wanted = |block: usize| numbers(rows(block) as i64, rows(block + 1) as i64);
    let end = tree.next_offset;
    assert_eq!(count(tree.part(&[1], &wanted(2), end)).unwrap(), rows(3) - rows(2));
    assert_eq!(count(tree.part(&[1], &wanted(2).unite(&wanted(15)), end)).unwrap(), rows(3) - rows(2) + rows(16) - rows(15));
    assert_eq!(count(tree.part(&[1], &numbers(50_000, 60_000), end)).unwrap(), 0);
    let error = count(tree.part(&[1], &numbers(0, rows(2) as i64 + 1), end)).unwrap_err();
    assert!(error.to_string().contains("block 0"), "{error}");
}

#[test]
fn columns_that_are_not_asked_for_are_not_looked_at() {
    let tree = Tree::new(false);
    // Notes that are no text, which only who reads them can find out.
    let fields = tree.reader.schema().fields().iter().cloned();
    let fields = fields.map(|field| if field.name == "note" { Field { kind: ColumnType::Binary, ..field } } else { field }).collect();
    let schema = TableSchema::from_parts(tree.reader.schema().version(), fields, 3).unwrap();
    let mut builder = RunBuilder::new(&tree.reach, Path::new(DIR), 1, &schema).unwrap();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(0..100)),
        Arc::new(Int64Array::from_iter_values(0..100)),
        Arc::new(arrow::array::BinaryArray::from_iter_values((0..100).map(|_| [0xFF]))),
    ];
    let keys =
        tree.reader.projected(&[0]).unwrap().keys().encode(&RecordBatch::try_from_iter([("key", columns[0].clone())]).unwrap()).unwrap();
    let batch = RecordBatch::try_new(schema.arrow().clone(), columns).unwrap();
    let chunk = Chunk { columns: batch.into(), kinds: None, keys, has_images: false, is_merged: false };
    builder.push(&Tile::of_merged(vec![Arc::new(chunk)], std::iter::once(0..100).collect(), false)).unwrap();
    let run = Arc::new(builder.finish().unwrap());
    let scan = |columns: &[usize]| {
        let reader = tree.reader.projected(columns).unwrap();
        count(Sorted::new(reader, tree.function.over(columns), &[Level::one(&run)], &[], true))
    };
    assert_eq!(scan(&[0, 1]).unwrap(), 100);
    assert_eq!(scan(&[0, 2]).unwrap_err().kind(), crate::error::Kind::Corrupt);
}

/// Counts the rows that are merged.
struct Counting(Deduplicate, Arc<AtomicUsize>);

impl MergeFunction for Counting {
    fn check_kinds(&self, kinds: &[u8]) -> crate::error::Result<()> {
        self.0.check_kinds(kinds)
    }

    fn needs(&self, columns: &[usize]) -> Vec<usize> {
        self.0.needs(columns)
    }

    fn over(&self, _columns: &[usize]) -> Arc<dyn MergeFunction> {
        unreachable!("it is not projected")
    }

    fn merge(&self, groups: Groups<'_>) -> crate::error::Result<Merged> {
        self.1.fetch_add(groups.order.len(), Ordering::Relaxed);
        self.0.merge(groups)
    }
}

#[test]
fn stretches_of_one_run_alone_are_not_merged() {
    let mut tree = Tree::new(false);
    let merged = Arc::new(AtomicUsize::new(0));
    tree.function = Arc::new(Counting(Deduplicate::default(), merged.clone()));
    for keys in [0..5_000, 5_000..10_000, 2_000..2_100] {
        tree.add_numbers(keys);
        tree.flush();
    }
    merged.store(0, Ordering::Relaxed);
    let found: Vec<i64> = tree.scan(tree.next_offset).iter().map(|(_, value)| *value).collect();
    assert!(found.into_iter().eq(0..10_000));
    let count = merged.load(Ordering::Relaxed);
    assert!((200..1_500).contains(&count), "{count} rows were merged");
    // What says that keys are gone is left out here as elsewhere, and kept where older rows must hear of it.
    let keys: Vec<i64> = (20_000..21_000).collect();
    tree.add(Arc::new(Int64Array::from(keys.clone())), &keys.iter().map(|key| (key % 2 == 0).then_some(*key)).collect::<Vec<_>>());
    tree.levels = tree.levels.rotated();
    let memtable = tree.levels.memtables[0].clone();
    let sorted = tree.sorted(&[], &[(memtable, tree.next_offset)], false);
    let kept = Level::one(&tree.build(u64::MAX, vec![Source::Rows(Box::new(sorted))]).made[0]);
    merged.store(0, Ordering::Relaxed);
    assert_eq!(count_kinds(tree.sorted(std::slice::from_ref(&kept), &[], false)), (1_000, 500));
    assert_eq!(count_kinds(tree.sorted(&[kept], &[], true)), (500, 0));
    assert_eq!(merged.load(Ordering::Relaxed), 0);
}

/// Rows, and deletes among them.
fn count_kinds(mut sorted: Sorted) -> (usize, usize) {
    let (mut rows, mut deletes) = (0, 0);
    while let Some(tile) = sorted.next_tile().unwrap() {
        rows += tile.rows();
        deletes += tile.kinds().iter().copied().flatten().filter(|kind| **kind == ChangeType::Delete.to_byte()).count();
        let batch = tile.batch().unwrap();
        (0..tile.rows()).for_each(|row| {
            let number = batch.column(0).as_primitive::<Int64Type>().value(row) as u64 ^ 1 << 63;
            assert_eq!(tile.key(row), crate::table::KeyRef::Number(number));
        });
    }
    (rows, deletes)
}

#[test]
fn keys_that_come_in_order_are_written_once_and_then_stay() {
    let mut tree = Tree::new(false);
    let all = |tree: &Tree| tree.levels.runs().iter().map(|run| run.meta().id).collect::<Vec<_>>();
    let (mut written, mut flushed) = (0, 0);
    for flush in 0..60_i64 {
        tree.add_numbers(flush * 100..(flush + 1) * 100);
        tree.flush();
        flushed += tree.levels.runs().last().unwrap().meta().bytes();
        while tree.levels.picked(false).is_some() {
            let before = all(&tree);
            tree.compact();
            let made = tree.levels.runs().iter().filter(|run| !before.contains(&run.meta().id));
            written += made.map(|run| run.meta().bytes()).sum::<u64>();
        }
        assert!(tree.levels.levels().len() <= RULES.trigger);
    }
    // Three flushes or so become a file of the right size; what is behind no compaction touches again.
    assert!(written < 2 * flushed, "{written} bytes written for {flushed}");
    let oldest = &tree.levels.levels()[0];
    assert!(
        oldest.runs().len() > 10 && tree.levels.levels().len() <= 3,
        "{} files, {} levels",
        oldest.runs().len(),
        tree.levels.levels().len()
    );
    assert!(tree.levels.runs().iter().all(|run| run.meta().bytes() < 3 * RULES.file_bytes), "files are cut");
    let found: Vec<i64> = tree.scan(tree.next_offset).iter().map(|(_, value)| *value).collect();
    assert!(found.into_iter().eq(0..6_000));
    // A change of old rows rewrites those that have its keys.
    let before = all(&tree);
    for _ in 0..RULES.trigger {
        tree.add_numbers(1_000..1_100);
        tree.flush();
    }
    while tree.levels.picked(false).is_some() {
        tree.compact();
    }
    let left = before.iter().filter(|id| all(&tree).contains(id)).count();
    assert!(left > before.len() / 2, "{left} of {} files are as they were", before.len());
    assert!(tree.scan(tree.next_offset).iter().map(|(_, value)| *value).eq(0..6_000));
}

#[test]
fn rows_of_very_different_size_come_in_tiles_and_blocks_of_a_size() {
    let mut tree = Tree::new(false);
    // Small rows first, by which the rows of a block are guessed; then some that are each as large as many blocks.
    let keys: Vec<i64> = (0..40_000).collect();
    tree.add(Arc::new(Int64Array::from(keys.clone())), &keys.iter().map(|key| Some(*key)).collect::<Vec<_>>());
    for key in 40_000..40_400 {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from(vec![key])),
            Arc::new(Int64Array::from(vec![key])),
            Arc::new(StringArray::from(vec!["x".repeat(100_000)])),
        ];
        tree.add_columns(columns, &[Some(key)]);
    }
    tree.flush();
    let run = tree.levels.runs()[0].clone();
    assert!(run.index().blocks().iter().all(|block| block.rows <= 16 || block.length <= 64 << 10), "blocks are cut by bytes");
    let mut sorted = tree.sorted(tree.levels.levels(), &[], true);
    let (mut rows, mut largest) = (0, 0);
    while let Some(tile) = sorted.next_tile().unwrap() {
        rows += tile.rows();
        largest = largest.max(crate::table::rows::value_bytes(&tile.batch().unwrap()));
    }
    assert!(rows == 40_400 && largest < 16 << 20, "{rows} rows, {largest} bytes in one tile");
}
