//! `metrics`: the figures of every bucket in the text format of Prometheus.
//!
//! Invariant: names end in their base unit, counters in `_total`. Knows nothing of how the figures come about.

use std::fmt::Write;

use super::outcome::Outcome;
use super::session::Session;
use super::store::{BucketStats, WriterStats};

/// `None` where a bucket has no such figure.
type Value = fn(&BucketStats) -> Option<f64>;

const METRICS: [(&str, &str, &str, Value); 15] = [
    ("aquifer_appended_rows_total", "counter", "Rows, or changes of a table with a primary key, ever written.", |bucket| {
        Some(bucket.end_offset as f64)
    }),
    (
        "aquifer_dropped_rows_total",
        "counter",
        "Rows, or changes of a table with a primary key, that retention dropped from the log.",
        |bucket| Some(bucket.start_offset as f64),
    ),
    ("aquifer_rows", "gauge", "Rows of a log table that can be read.", |bucket| bucket.tree.is_none().then_some(bucket.rows as f64)),
    ("aquifer_changes", "gauge", "Changes of a table with a primary key that can be read from its log.", |bucket| {
        bucket.tree.map(|_| bucket.rows as f64)
    }),
    (
        "aquifer_damaged",
        "gauge",
        "Frames of the log and blocks of runs that were found damaged by who writes, in its reads, compactions and checks since it opened the store, \
         or now; 0 says that none was met, `aquifer verify` looks at all.",
        |bucket| Some(bucket.damaged as f64),
    ),
    ("aquifer_segments", "gauge", "Segments of the log with rows.", |bucket| Some(bucket.segments as f64)),
    ("aquifer_stored_bytes", "gauge", "Bytes of the log on the device.", |bucket| Some(bucket.bytes as f64)),
    ("aquifer_runs", "gauge", "Files of sorted rows.", |bucket| bucket.tree.map(|tree| tree.runs as f64)),
    ("aquifer_run_rows", "gauge", "Rows in sorted runs; a key may have one in each.", |bucket| {
        bucket.tree.map(|tree| tree.run_rows as f64)
    }),
    ("aquifer_run_bytes", "gauge", "Bytes of sorted runs on the device.", |bucket| bucket.tree.map(|tree| tree.run_bytes as f64)),
    ("aquifer_unflushed_changes", "gauge", "Changes that are in no run yet.", |bucket| {
        bucket.tree.map(|tree| bucket.end_offset.saturating_sub(tree.flushed_to) as f64)
    }),
    ("aquifer_compaction_due", "gauge", "Whether runs should be merged: 1 or 0.", |bucket| {
        bucket.tree.map(|tree| f64::from(u8::from(tree.compaction_due)))
    }),
    ("aquifer_memtable_bytes", "gauge", "Bytes of changes in the writer's memory that are in no run yet.", |bucket| {
        writer(bucket).map(|writer| writer.memtable_bytes as f64)
    }),
    ("aquifer_flushes_waiting", "gauge", "Memtables of the writer that wait to be flushed.", |bucket| {
        writer(bucket).map(|writer| f64::from(writer.flushes_waiting))
    }),
    (
        "aquifer_write_stall_seconds_total",
        "counter",
        "How long writers were held back because flushes or compactions were behind, since the writer opened the store.",
        |bucket| writer(bucket).map(|writer| writer.stalled_ms as f64 / 1e3),
    ),
];

/// What the process says that writes, if there is one.
fn writer(bucket: &BucketStats) -> Option<WriterStats> {
    bucket.tree.and_then(|tree| tree.writer)
}

pub(crate) fn metrics(session: &Session) -> Outcome {
    let buckets = session.store_to_read()?.stats(None)?;
    session.print_text(text(&buckets).trim_end())
}

fn text(buckets: &[BucketStats]) -> String {
    let mut text = String::new();
    for (name, kind, help, value) in METRICS {
        writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}").expect("writing to memory does not fail");
        for bucket in buckets {
            let Some(value) = value(bucket) else { continue };
            let labels = [("table", bucket.table.clone()), ("partition", bucket.partition.clone()), ("bucket", bucket.bucket.to_string())];
            let labels = labels.map(|(label, value)| format!("{label}=\"{}\"", escaped(&value))).join(",");
            writeln!(text, "{name}{{{labels}}} {value}").expect("writing to memory does not fail");
        }
    }
    text
}

fn escaped(label: &str) -> String {
    label.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::store::TreeStats;

    #[test]
    fn each_bucket_has_a_line_of_each_metric() {
        let bucket = BucketStats {
            table: "shop.clicks".into(),
            partition: "country=\"X\"".into(),
            bucket: 3,
            start_offset: 5,
            end_offset: 12,
            rows: 7,
            segments: 1,
            bytes: 4096,
            recent_bytes: 0,
            tree: None,
            damage: None,
            damaged: 0,
        };
        let writer = WriterStats { memtable_bytes: 9, flushes_waiting: 1, stalled_ms: 1_500 };
        let tree = TreeStats { runs: 2, run_rows: 30, run_bytes: 8192, flushed_to: 10, compaction_due: true, writer: Some(writer) };
        let keyed = BucketStats { table: "users".into(), tree: Some(tree), ..bucket.clone() };
        let text = text(&[bucket, keyed]);
        assert!(text.contains("# TYPE aquifer_appended_rows_total counter\n"));
        assert!(text.contains("aquifer_rows{table=\"shop.clicks\",partition=\"country=\\\"X\\\"\",bucket=\"3\"} 7\n"));
        assert!(!text.contains("aquifer_rows{table=\"users\"") && text.contains("aquifer_changes{table=\"users\""), "changes are no rows");
        assert!(text.contains("aquifer_unflushed_changes{table=\"users\",partition=\"country=\\\"X\\\"\",bucket=\"3\"} 2\n"));
        let stall = text.lines().find(|line| line.starts_with("aquifer_write_stall_seconds_total{")).unwrap();
        assert!(stall.ends_with(" 1.5"), "{stall}");
        let of = |table: &str| text.lines().filter(|line| line.contains(&format!("{{table=\"{table}\""))).count();
        assert_eq!((of("shop.clicks"), of("users")), (6, METRICS.len() - 1));
    }
}
