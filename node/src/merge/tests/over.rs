//! A function over some columns gives of them what it gives over all.

use super::*;

/// The same rows with some columns only.
fn project((batch, kinds): &Stretch, columns: &[usize]) -> Stretch {
    (batch.project(columns).unwrap(), kinds.clone())
}

/// Holds the result for each column, and for each pair of them, against `visible`: what came of `stretches` with all columns.
pub(super) fn check_over(function: &dyn MergeFunction, stretches: &[&Stretch], visible: &Stretch) {
    let count = visible.0.num_columns();
    for wanted in (0..count).flat_map(|one| (one..count).map(move |other| [one, other])) {
        let mut columns = [&wanted[..], &function.needs(&wanted), &[0]].concat();
        columns.sort_unstable();
        columns.dedup();
        let some: Vec<Stretch> = stretches.iter().map(|stretch| project(stretch, &columns)).collect();
        let found = merge(&*function.over(&columns), &some.iter().collect::<Vec<_>>(), true);
        for column in wanted {
            let place = columns.binary_search(&column).unwrap();
            assert_eq!(found.0.column(place), visible.0.column(column), "column {column} of {wanted:?}");
        }
    }
}

#[test]
fn only_what_decides_is_needed() {
    let aggregation = [("merge-engine", "aggregation"), ("sequence.field", "first"), ("fields.default-aggregate-function", "last_value")];
    let with_sum = [&aggregation[..], &[("fields.number.aggregate-function", "sum")]].concat();
    let groups = [SUM_GROUP, &[("fields.flag.sequence-group", "number")]].concat();
    // Of the columns 1 number, 2 text, 3 flag, 4 first, 5 second: what is asked for, and what that needs.
    let cases: &[(&[kinds::Pair], &[usize], &[usize])] = &[
        (&[], &[1, 2], &[]),
        (&[("sequence.field", "second,first")], &[1], &[5, 4]),
        (&[("merge-engine", "first-row")], &[1], &[]),
        (&aggregation, &[2], &[4]),
        (&with_sum, &[1], &[]),
        (&with_sum, &[1, 4], &[4]),
        (SUM_GROUP, &[1, 3], &[]),
        (SUM_GROUP, &[5], &[4]),
        (&groups, &[1, 2], &[3, 4]),
    ];
    for (pairs, asked, needed) in cases {
        let mut found = engine(pairs).needs(asked);
        found.sort_unstable();
        let mut needed = needed.to_vec();
        needed.sort_unstable();
        assert_eq!(found, needed, "{pairs:?} {asked:?}");
    }
}
