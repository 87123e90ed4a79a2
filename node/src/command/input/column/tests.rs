//! Nested values, and what a refused one leaves behind.

use std::sync::Arc;

use arrow::array::{Array, AsArray};
use arrow::datatypes::{DataType, Field, Fields, Int32Type};

use super::*;
use crate::command::store::parse_type;

fn column(type_text: &str) -> Named {
    Named::new(&Field::new("a", parse_type(type_text).unwrap(), true)).unwrap()
}

fn json(column: &mut Named, text: &str) -> Result<(), Fault> {
    let mut json = Json::new(text);
    column.json(&mut json)?;
    json.end().map_err(Fault::from)
}

#[test]
fn lists_maps_and_structs_nest() {
    let mut column = column("list<struct<k: int32 not null, m: map<utf8, list<date>>>>");
    json(&mut column, r#"[{"m":{"x":["2026-01-31",null],"y":null},"k":1},null]"#).unwrap();
    json(&mut column, "null").unwrap();
    json(&mut column, "[]").unwrap();
    let array = column.column.finish(3);
    let list = array.as_list::<i32>();
    assert_eq!(list.value_offsets(), [0, 2, 2, 2]);
    assert!(list.is_null(1) && list.is_valid(2));
    let items = list.values().as_struct();
    assert_eq!(items.column(0).as_primitive::<Int32Type>().value(0), 1);
    assert!(items.is_null(1));
    assert_eq!(items.column(1).as_map().value_length(0), 2);
}

#[test]
fn a_map_is_an_object_or_a_list_of_pairs() {
    let mut column = column("map<int32, bool>");
    json(&mut column, r#"{"7":true,"8":null}"#).unwrap();
    json(&mut column, r#"[{"value":false,"key":9}]"#).unwrap();
    let array = column.column.finish(2);
    assert_eq!(array.as_map().keys().as_primitive::<Int32Type>().values(), &[7, 8, 9]);
    assert!(json(&mut column, r#"[{"value":false}]"#).is_err(), "a key is missing");
}

#[test]
fn faults_name_the_path_of_the_field() {
    let mut column = column("struct<a: list<int32 not null>, b: utf8 not null>");
    let path = |column: &mut Named, text: &str| json(column, text).unwrap_err().path.join(".");
    assert_eq!(path(&mut column, r#"{"a":[1,"x"],"b":""}"#), "a.[]");
    column.column.finish(0);
    assert_eq!(path(&mut column, r#"{"a":[null],"b":""}"#), "a.[]");
    column.column.finish(0);
    assert_eq!(path(&mut column, r#"{"a":[]}"#), "b");
    column.column.finish(0);
    assert!(json(&mut column, r#"{"a":[],"b":"","c":1}"#).unwrap_err().what.contains("unknown field 'c'"));
    column.column.finish(0);
    assert!(json(&mut column, r#"{"b":"","b":""}"#).unwrap_err().what.contains("twice"));
}

#[test]
fn what_a_refused_value_left_behind_is_cut_off() {
    let mut column = column("struct<a: list<map<utf8, int32>>, b: int32 not null>");
    json(&mut column, r#"{"a":[{"x":1}],"b":1}"#).unwrap();
    assert!(json(&mut column, r#"{"a":[{"x":1,"y":"bad"}],"b":2}"#).is_err());
    let array = column.column.finish(1);
    assert_eq!(array.len(), 1);
    assert_eq!(array.as_struct().column(0).as_list::<i32>().values().len(), 1);
    json(&mut column, r#"{"a":null,"b":3}"#).unwrap();
    assert_eq!(column.column.finish(1).as_struct().column(1).as_primitive::<Int32Type>().values(), &[3]);
}

#[test]
fn a_null_struct_may_hold_fields_that_may_not_be_null() {
    let mut column = column("struct<a: struct<b: int32 not null> not null>");
    json(&mut column, "null").unwrap();
    assert!(column.column.finish(1).is_null(0));
}

#[test]
fn values_of_the_wrong_kind_are_refused() {
    for (type_text, value) in [
        ("int32", "1.5"),
        ("int32", "2147483648"),
        ("int32", "{}"),
        ("utf8", "1"),
        ("bool", "1"),
        ("binary", "\"abc\""),
        ("fixed_size_binary(2)", "\"00\""),
        ("date", "1"),
        ("timestamp(ms)", "\"2026-01-31T00:00:00.0001\""),
        ("decimal128(4,2)", "123.4"),
        ("list<int32>", "{}"),
        ("struct<a: int32>", "[]"),
        ("map<utf8, int32>", "1"),
    ] {
        assert!(json(&mut column(type_text), value).is_err(), "{type_text} took {value}");
    }
}

#[test]
fn a_struct_without_fields_is_no_column() {
    let field = Field::new("a", DataType::Struct(Fields::empty()), true);
    assert!(Named::new(&field).is_err());
    let list = DataType::List(Arc::new(Field::new("item", DataType::Duration(arrow::datatypes::TimeUnit::Second), true)));
    assert!(Named::new(&Field::new("a", list, true)).is_err());
}
