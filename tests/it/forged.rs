//! Edits with good checksums that make no sense: every verb refuses them by name, and none of them brings the program down.

use std::path::{Path, PathBuf};

use aquifer_node::format::manifest;
use serde_json::{Value, json};

use crate::program::Place;
use crate::scratch;

/// Numbers of kinds of files, as docs/format/manifest.md has them.
const BUCKET: u16 = 1;
const CATALOG: u16 = 2;
const SNAPSHOTS: u16 = 3;

/// Two tables, `t` and the keyed `k`, with rows, and a snapshot of `k`; the file `rows.csv` beside the store.
fn write(dir: &Path) -> PathBuf {
    let store = dir.join("store");
    std::fs::write(dir.join("rows.csv"), "number,name\n1,a\n2,b\n").unwrap();
    let place = Place::new(&store);
    place.done("init");
    place.done("create t --like rows.csv");
    place.done("append t --from rows.csv");
    place.done("create k --like rows.csv --primary-key number");
    place.done("upsert k --from rows.csv");
    place.done("snapshots k --create");
    store
}

/// Puts edits behind those that a file has.
fn forge(path: &Path, kind: u16, edits: &[Value]) {
    let mut bytes = std::fs::read(path).unwrap();
    let end = manifest::fold::<Value>(kind, &bytes).unwrap().valid_length;
    bytes.truncate(end);
    bytes.extend(manifest::record(kind, edits).unwrap());
    std::fs::write(path, bytes).unwrap();
}

/// The verbs end with a Corrupt error that names the file and the edit. A panic would be another code and another text.
fn refused(store: &Path, file: &str, verbs: &[&str], what: &Value) {
    for verb in verbs {
        let error = Place::new(store).fails(5, verb);
        assert!(error.contains("CORRUPT: ") && error.contains(file) && error.contains(", edit "), "{verb} after {what}: {error}");
    }
}

#[test]
fn edits_of_the_catalog() {
    for edit in [
        json!({"partition_created": {"table_id": 0, "partition_id": 7, "name": "x", "slot": 70000}}),
        json!({"partition_created": {"table_id": 0, "partition_id": 7, "name": "x", "slot": 1}}),
        json!({"partition_created": {"table_id": 0, "partition_id": u32::MAX, "name": "x", "slot": 100}}),
        json!({"partition_created": {"table_id": 0, "partition_id": 7, "name": "x", "slot": u64::MAX}}),
        json!({"opened": {"epoch": u32::MAX}}),
    ] {
        let dir = scratch::directory();
        let store = write(dir.path());
        forge(&store.join("catalog"), CATALOG, std::slice::from_ref(&edit));
        refused(&store, "/catalog", &["scan t", "tail t", "verify", "append t --from rows.csv", "list"], &edit);
    }
}

#[test]
fn edits_of_a_bucket() {
    for edits in [
        json!([{"trimmed": {"start_offset": u64::MAX, "segment_ids": []}}]),
        json!([{"flushed": {"run": null, "flushed_to": u64::MAX}}]),
        json!([{"prepared": {"segment_id": 99, "bytes": 4096}}, {"sealed": {"segment_id": 99, "base_offset": 0, "end_offset": u64::MAX, "bytes": 4096, "timestamps_ms": [1, 2]}}]),
        json!([{"prepared": {"segment_id": 99, "bytes": u64::MAX}}]),
    ] {
        let dir = scratch::directory();
        let store = write(dir.path());
        let bucket = scratch::files(&store.join("tables"), "manifest").into_iter().min().unwrap();
        forge(&bucket, BUCKET, edits.as_array().unwrap());
        refused(&store, "/manifest", &["scan t", "tail t", "append t --from rows.csv"], &edits);
        let report = Place::new(&store).run("verify");
        let text = String::from_utf8_lossy(&report.stdout).into_owned() + &String::from_utf8_lossy(&report.stderr);
        assert!(report.status.code() == Some(5) && text.contains("/manifest") && text.contains("edit "), "{edits}: {text}");
    }
}

#[test]
fn edits_of_a_list_of_snapshots() {
    let dir = scratch::directory();
    let record = json!({"id": u64::MAX, "time_ms": i64::MAX, "schema_version": 0, "rows": 1, "runs": 1, "bytes": 1, "ends": {}});
    let store = write(dir.path());
    let list = scratch::files(&store.join("tables"), "snapshots").remove(0);
    forge(&list, SNAPSHOTS, &[json!({"created": record})]);
    refused(&store, "/snapshots", &["snapshots k", "snapshots k --create", "scan k --snapshot 1"], &record);
}
