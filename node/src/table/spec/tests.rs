//! The golden JSON of the catalog, damaged and newer ones, and specs that do not fit together.

use super::*;
use crate::table::types::parse_column;

/// `id int64 not null, user utf8, ts timestamp(us), tags list<utf8>`, partitioned by day, hashed by user.
fn clicks() -> TableSpec {
    let columns = [("id", "int64 not null"), ("user", "utf8"), ("ts", "timestamp(us)"), ("tags", "list<utf8>")];
    let field = |(name, text): (&str, &str)| {
        let (kind, nullable) = parse_column(text).expect("type");
        Field::new(name, kind, nullable.unwrap_or(true))
    };
    let schema = TableSchema::new(columns.into_iter().map(field).collect()).expect("schema");
    let mut spec = TableSpec::new("shop.clicks".parse().expect("name"), 7, schema, 1_767_225_600_000);
    spec.partition_by = PartitionField::parse_list("user,day(ts)", spec.schema()).expect("partition");
    spec.bucket_key = spec.schema().ids_of(&["id"]).expect("ids");
    spec.buckets = 4;
    spec.options.set("retention.ms", "7d").expect("option");
    spec.check().expect("valid");
    spec
}

const GOLDEN: &str = concat!(
    r#"{"name":"shop.clicks","id":7,"schemas":[{"version":0,"fields":["#,
    r#"{"id":1,"name":"id","type":"int64","nullable":false},{"id":2,"name":"user","type":"utf8","nullable":true},"#,
    r#"{"id":3,"name":"ts","type":"timestamp(us)","nullable":true},{"id":4,"name":"tags","type":"#,
    r#"{"list":{"id":5,"name":"element","type":"utf8","nullable":true}},"nullable":true}],"highest_field_id":5}],"#,
    r#""primary_key":[],"partition_by":[{"source":2,"transform":"identity","name":"user"},"#,
    r#"{"source":3,"transform":"day","name":"ts_day"}],"buckets":4,"bucket_key":[1],"#,
    r#""options":{"retention.ms":"7d"},"created_ms":1767225600000}"#,
);

#[test]
fn the_json_of_the_catalog_is_golden() {
    assert_eq!(clicks().to_json().expect("json"), GOLDEN);
    assert_eq!(TableSpec::from_json(GOLDEN).expect("spec"), clicks());
}

#[test]
fn unknown_fields_are_refused_and_new_ones_may_be_missing() {
    for (known, newer) in [
        (r#"{"name":"shop"#, r#"{"quantum":{"a":[1]},"name":"shop"#),
        (r#""version":0"#, r#""version":0,"order":"id""#),
        (r#""id":1,"#, r#""id":1,"default":3,"#),
        (r#""id":5,"#, r#""id":5,"default":3,"#),
        (r#""source":2,"#, r#""source":2,"width":3,"#),
    ] {
        assert!(GOLDEN.contains(known));
        let error = TableSpec::from_json(&GOLDEN.replacen(known, newer, 1)).expect_err(newer).to_string();
        assert!(error.contains("unknown field") || error.contains("did not match any variant"), "{error}");
    }
    let sparse = GOLDEN.replace(r#""primary_key":[],"#, "");
    assert_eq!(TableSpec::from_json(&sparse).expect("spec"), clicks());
}

#[test]
fn damaged_json_is_corrupt() {
    let cases = [
        (r#""version":0"#, r#""version":1"#),
        (r#""bucket_key":[1]"#, r#""bucket_key":[9]"#),
        (r#""buckets":4"#, r#""buckets":0"#),
        (r#""source":3"#, r#""source":4"#),
        (r#"{"name":"shop.clicks""#, r#"{"name":"../clicks""#),
    ];
    for (from, to) in cases {
        assert!(GOLDEN.contains(from), "{from}");
        let error = TableSpec::from_json(&GOLDEN.replace(from, to)).expect_err(to);
        assert_eq!(error.kind(), crate::error::Kind::Corrupt, "{error}");
    }
    assert!(TableSpec::from_json(&GOLDEN[..200]).is_err());
}

#[test]
fn wrong_parts_are_refused() {
    type Break = fn(&mut TableSpec);
    let cases: [(Break, &str); 6] = [
        (|spec| spec.buckets = BUCKETS_MAX + 1, "1 to 65534"),
        (|spec| spec.bucket_key = vec![4], "list<utf8> cannot be in the bucket key"),
        (|spec| spec.bucket_key = vec![1, 1], "twice"),
        (|spec| spec.primary_key = vec![2], "nullable"),
        (|spec| spec.options.statistics = Statistics::Columns(vec!["usr".into()]), "did you mean `user`?"),
        (|spec| spec.options.statistics = Statistics::Columns(vec!["tags".into()]), "no statistics"),
    ];
    for (broken, expected) in cases {
        let mut spec = clicks();
        broken(&mut spec);
        let error = spec.check().expect_err(expected).to_string();
        assert!(error.contains(expected) && error.contains("table shop.clicks"), "{error}");
    }
}

#[test]
fn statistics_are_kept_of_plain_columns() {
    let mut spec = clicks();
    for (columns, expected) in [("times", vec![2]), ("*", vec![0, 1, 2]), ("ts", vec![2]), ("none", vec![])] {
        spec.options.set("statistics.columns", columns).expect("option");
        assert_eq!(spec.statistics_columns(spec.schema()), expected, "{columns}");
    }
}

#[test]
fn all_rows_of_a_key_go_to_one_place() {
    let mut spec = clicks();
    spec.primary_key = vec![1];
    spec.bucket_key = vec![2];
    let error = spec.check().expect_err("a bucket key outside of the primary key").to_string();
    assert!(error.contains("outside of it") && error.contains("shop.clicks"), "{error}");
    spec.bucket_key = vec![1];
    spec.partition_by.clear();
    spec.check().expect("within it");
}

#[test]
fn the_primary_key_is_hashed_without_what_partitions() {
    let mut spec = clicks();
    spec.primary_key = vec![1, 2];
    spec.bucket_key.clear();
    assert_eq!(spec.hashed_columns(), [1]);
}
