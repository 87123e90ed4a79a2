//! A merged row that is alone comes out as it is, whatever function merged it.

use super::*;

/// The rows, each alone as the result of merging, and beside deletes where those are passed over.
pub(super) fn check_done(pairs: &[(&str, &str)], function: &dyn MergeFunction, rows: &RecordBatch) {
    let keys = rows.num_rows();
    let done = Slot { columns: rows.into(), kinds: None, is_merged: true };
    let deletes = vec![ChangeType::Delete.to_byte(); keys];
    let passed_over = Slot { columns: rows.into(), kinds: Some(&deletes), is_merged: false };
    let ignores = pairs.contains(&("ignore-delete", "true"));
    for beside in 0..=usize::from(ignores) {
        let order: Vec<Ref> = (0..keys).flat_map(|row| (0..=beside).map(move |slot| Ref::new(slot, row))).collect();
        let ends: Vec<u32> = (1..=keys).map(|key| (key * (1 + beside)) as u32).collect();
        let slots = [done, passed_over];
        let merged = function.merge(Groups { slots: &slots[..=beside], order: &order, ends: &ends }).unwrap();
        let (batch, kinds) = merged.batch(&slots[..=beside], true).unwrap();
        assert_eq!((&batch, kinds), (rows, None), "{pairs:?} beside {beside}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn rows_of_any_engine(pairs in kinds::engines(), history in histories(UPSERTS)) {
        let mut rows = history;
        rows.iter_mut().zip(0..).for_each(|(row, key)| row.key = key);
        check_done(&pairs, &*engine(&pairs), &stretch(&rows).0);
    }
}
