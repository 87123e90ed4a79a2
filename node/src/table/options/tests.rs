//! What `--set` takes, refuses, and leaves in the catalog.

use super::*;

fn set(assignments: &[&str]) -> Result<TableOptions> {
    let mut options = TableOptions::default();
    for assignment in assignments {
        let (name, value) = assignment.split_once('=').expect("name=value");
        options.set(name, value)?;
    }
    Ok(options)
}

#[test]
fn values_are_parsed_and_printed() {
    let cases = [
        ("compression=zstd", "zstd:1"),
        ("compression=zstd:22", "zstd:22"),
        ("compression=lz4", "lz4"),
        ("statistics.columns=a, b", "a,b"),
        ("statistics.columns=\"a,b\",c", "\"a,b\",c"),
        ("statistics.columns=\"none\"", "\"none\""),
        ("statistics.columns=none", "none"),
        ("record-level.time-field=a, b", "a, b"),
        ("record-level.time-field=\"none\"", "\"none\""),
        ("record-level.time-field=\" a\"", "\" a\""),
        ("record-level.time-field=none", "none"),
        ("retention.ms=7d", "7d"),
        ("retention.ms=none", "none"),
        ("retention.bytes=10GiB", "10GiB"),
        ("segment.bytes=134217728", "128MiB"),
        ("batch.bytes.max=4KiB", "4KiB"),
        ("bucket.assign=round-robin", "round-robin"),
        ("write-only=true", "true"),
        ("snapshot.interval.ms=5min", "5min"),
        ("snapshot.num-retained.min=3", "3"),
        ("snapshot.num-retained.max=none", "none"),
        ("snapshot.time-retained=1d", "1d"),
    ];
    for (assignment, printed) in cases {
        let name = assignment.split('=').next().expect("name");
        assert_eq!(set(&[assignment]).expect(assignment).get(name).as_deref(), Some(printed));
    }
}

#[test]
fn bad_values_and_names_are_refused_with_advice() {
    let cases = [
        ("compresion=lz4", "did you mean `compression`?"),
        ("record-level.time-field=\"a\"b", "behind a name in double quotes"),
        ("record-level.time-field=\"a", "does not end"),
        ("compression=snappy", "one of none, lz4"),
        ("compression=zstd:23", "zstd:22"),
        ("segment.bytes=1KiB", "1MiB to 1GiB"),
        ("retention.ms=soon", "option retention.ms; as in 500ms"),
        ("bucket.assign=hash", "sticky, round-robin"),
        ("write-only=maybe", "one of true, false"),
    ];
    for (assignment, expected) in cases {
        let error = set(&[assignment]).expect_err(assignment).to_string();
        assert!(error.contains(expected), "{assignment}: {error}");
    }
}

#[test]
fn the_catalog_keeps_what_differs_and_what_it_does_not_know() {
    let options = set(&["compression=zstd:3", "retention.ms=36h", "segment.bytes=64MiB"]).expect("options");
    let json = r#"{"compression":"zstd:3","retention.ms":"36h"}"#;
    assert_eq!(serde_json::to_string(&options).expect("json"), json);
    let newer = r#"{"compression":"zstd:3","quantum.mode":"on","retention.ms":"36h"}"#;
    let read: TableOptions = serde_json::from_str(newer).expect("parse");
    assert_eq!(serde_json::to_string(&read).expect("json"), newer);
    let error = read.check_known().expect_err("newer").to_string();
    assert!(error.contains("newer program") && error.contains("quantum.mode") && options.check_known().is_ok(), "{error}");
}

#[test]
fn describe_lists_every_option() {
    let described = set(&["compression=lz4"]).expect("options").describe();
    assert_eq!(described.len(), OPTIONS.len());
    assert_eq!((described[0].1.as_str(), described[0].2), ("lz4", false));
    assert!(described[1..].iter().all(|(_, _, is_default)| *is_default));
}

#[test]
fn at_most_is_not_less_than_at_least() {
    let checked = |pairs: &[(&str, &str)]| {
        let mut options = TableOptions::default();
        pairs.iter().for_each(|(name, value)| options.set(name, value).unwrap());
        options.check_retained()
    };
    let (min, max) = ("snapshot.num-retained.min", "snapshot.num-retained.max");
    let error = checked(&[(min, "5"), (max, "4")]).unwrap_err().to_string();
    assert!(error.contains("at least 5") && error.contains("at most 4"), "{error}");
    assert!(checked(&[(min, "5"), (max, "5")]).is_ok() && checked(&[(max, "1")]).is_ok() && checked(&[(min, "20")]).is_ok());
}
