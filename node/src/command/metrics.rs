//! `metrics`: the figures of every bucket in the text format of Prometheus.
//!
//! Invariant: names end in their base unit, counters in `_total`. Knows nothing of how the figures come about.

use std::fmt::Write;

use super::outcome::Outcome;
use super::session::Session;
use super::store::BucketStats;

type Value = fn(&BucketStats) -> u64;

const METRICS: [(&str, &str, &str, Value); 5] = [
    ("aquifer_appended_rows_total", "counter", "Rows ever appended.", |bucket| bucket.end_offset),
    ("aquifer_dropped_rows_total", "counter", "Rows that retention dropped.", |bucket| bucket.start_offset),
    ("aquifer_rows", "gauge", "Rows that can be read.", |bucket| bucket.rows),
    ("aquifer_segments", "gauge", "Segments with rows.", |bucket| bucket.segments as u64),
    ("aquifer_stored_bytes", "gauge", "Bytes on the device.", |bucket| bucket.bytes),
];

pub(crate) fn metrics(session: &Session) -> Outcome {
    let buckets = session.store_to_read()?.stats(None)?;
    session.print_text(text(&buckets).trim_end())
}

fn text(buckets: &[BucketStats]) -> String {
    let mut text = String::new();
    for (name, kind, help, value) in METRICS {
        writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}").expect("writing to memory does not fail");
        for bucket in buckets {
            let labels = [("table", bucket.table.clone()), ("partition", bucket.partition.clone()), ("bucket", bucket.bucket.to_string())];
            let labels = labels.map(|(label, value)| format!("{label}=\"{}\"", escaped(&value))).join(",");
            writeln!(text, "{name}{{{labels}}} {}", value(bucket)).expect("writing to memory does not fail");
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
        };
        let text = text(&[bucket]);
        assert!(text.contains("# TYPE aquifer_appended_rows_total counter\n"));
        assert!(text.contains("aquifer_rows{table=\"shop.clicks\",partition=\"country=\\\"X\\\"\",bucket=\"3\"} 7\n"));
        assert_eq!(text.lines().filter(|line| !line.starts_with('#')).count(), METRICS.len());
    }
}
