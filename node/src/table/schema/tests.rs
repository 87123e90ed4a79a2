//! Field ids, the JSON of schemas, and what foreign Arrow schemas become.

use super::*;
use crate::table::types::parse_type;
use arrow::datatypes::{DataType, Field as ArrowField, TimeUnit};

fn field(name: &str, kind: &str, nullable: bool) -> Field {
    Field::new(name, parse_type(kind).expect("type"), nullable)
}

fn shop() -> TableSchema {
    let fields = vec![field("id", "int64", false), field("item", "struct<sku: utf8, tags: list<utf8>>", true), field("n", "int32", true)];
    TableSchema::new(fields).expect("schema")
}

#[test]
fn ids_go_level_by_level() {
    let schema = shop();
    assert_eq!(schema.fields().iter().map(|field| field.id).collect::<Vec<_>>(), [1, 2, 3]);
    let item = schema.fields()[1].kind.children();
    assert_eq!((item[0].id, item[1].id, item[1].kind.children()[0].id), (4, 5, 6));
    assert_eq!(schema.highest_field_id(), 6);
}

#[test]
fn json_is_as_documented() {
    let schema = TableSchema::new(vec![field("id", "int64", false), field("tags", "list<utf8>", true)]).expect("schema");
    let golden = r#"{"version":0,"fields":[{"id":1,"name":"id","type":"int64","nullable":false},{"id":2,"name":"tags","type":{"list":{"id":3,"name":"element","type":"utf8","nullable":true}},"nullable":true}],"highest_field_id":3}"#;
    assert_eq!(serde_json::to_string(&schema).expect("json"), golden);
    let with_more = golden.replacen('{', "{\"comment\":[1],", 1);
    assert!(serde_json::from_str::<TableSchema>(&with_more).expect_err("of a newer program").to_string().contains("comment"));
    assert_eq!(serde_json::from_str::<TableSchema>(golden).expect("parse"), schema);
}

#[test]
fn stored_schemas_are_checked() {
    let golden = serde_json::to_string(&shop()).expect("json");
    for (from, to) in [
        ("\"id\":2", "\"id\":1"),
        ("\"highest_field_id\":6", "\"highest_field_id\":5"),
        ("\"name\":\"n\"", "\"name\":\"id\""),
        ("\"version\":0", "\"version\":-1"),
        ("\"int32\"", "\"int33\""),
    ] {
        assert!(golden.contains(from), "{from}");
        assert!(serde_json::from_str::<TableSchema>(&golden.replace(from, to)).is_err(), "{to}");
    }
}

#[test]
fn arrow_carries_the_ids_there_and_back() {
    let schema = shop();
    let arrow = schema.arrow();
    assert_eq!(arrow.field(1).metadata()["PARQUET:field_id"], "2");
    assert_eq!(TableSchema::from_arrow(0, arrow).expect("back"), schema);
    let plain = Schema::new(vec![ArrowField::new("a", DataType::Int64, true)]);
    assert!(TableSchema::from_arrow(0, &plain).is_err());
}

#[test]
fn foreign_types_become_the_nearest_of_ours() {
    let element = Arc::new(ArrowField::new("item", DataType::LargeUtf8, false));
    let cases = [
        (DataType::UInt8, "int16"),
        (DataType::UInt16, "int32"),
        (DataType::UInt32, "int64"),
        (DataType::Float16, "float32"),
        (DataType::Date64, "timestamp(ms)"),
        (DataType::Utf8View, "utf8"),
        (DataType::LargeBinary, "binary"),
        (DataType::Dictionary(Box::new(DataType::Int8), Box::new(DataType::Utf8)), "utf8"),
        (DataType::LargeList(element.clone()), "list<utf8 not null>"),
        (DataType::FixedSizeList(element, 3), "list<utf8 not null>"),
        (DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into())), "timestamp(ns, UTC)"),
        (DataType::Decimal256(38, 3), "decimal128(38,3)"),
    ];
    for (arrow, expected) in cases {
        let schema = super::super::supported(&Schema::new(vec![ArrowField::new("a", arrow, true)])).expect(expected);
        assert_eq!(schema.fields()[0].kind.to_string(), expected);
    }
}

#[test]
fn refusals_name_the_column_and_the_way_out() {
    let cases = [
        (DataType::UInt64, "decimal128(20,0)"),
        (DataType::Null, "schema file"),
        (DataType::Duration(TimeUnit::Second), "int64"),
        (DataType::Decimal256(50, 3), "1 to 38"),
        (DataType::Decimal128(5, -2), "negative scale"),
    ];
    for (arrow, expected) in cases {
        let nested = DataType::Struct(vec![ArrowField::new("b", arrow, true)].into());
        let error = super::super::supported(&Schema::new(vec![ArrowField::new("a", nested, true)])).expect_err(expected).to_string();
        assert!(error.contains(expected) && error.contains("field b, column a"), "{error}");
    }
}

#[test]
fn bad_schemas_are_refused() {
    let cases = [
        (vec![], "at least one column"),
        (vec![field("a", "int32", true), field("a", "int64", true)], "two columns are called `a`"),
        (vec![field("", "int32", true)], "name of a column"),
        (vec![field("a\n", "int32", true)], "name of a column"),
        (vec![field("a", "struct<b: int8, b: int8>", true)], "two columns are called `b`, column a"),
        (vec![Field::new("a", ColumnType::Struct(vec![]), true)], "at least one field"),
        (vec![Field::new("a", ColumnType::FixedBinary(0), true)], "out of range"),
    ];
    for (fields, expected) in cases {
        let error = TableSchema::new(fields).expect_err(expected).to_string();
        assert!(error.contains(expected), "{expected}: {error}");
    }
}

#[test]
fn unknown_columns_get_the_nearest_name() {
    let error = shop().index_of("itm").expect_err("unknown").to_string();
    assert_eq!(error, "unknown column `itm`; did you mean `item`? known are id, item, n");
    assert!(shop().ids_of(&["id", "id"]).expect_err("twice").to_string().contains("named twice"));
    assert_eq!(shop().ids_of(&["n", "id"]).expect("ids"), [3, 1]);
}
