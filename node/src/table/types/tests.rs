//! Names of types, there and back; other tests of this floor take their random types from here.

use super::*;
use proptest::prelude::*;

fn parsed(text: &str) -> ColumnType {
    parse_type(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn prints_as_documented() {
    let names = [
        "bool",
        "int8",
        "int64",
        "float32",
        "decimal128(10,2)",
        "date",
        "time(s)",
        "time(ns)",
        "timestamp(ms)",
        "timestamp(us, UTC)",
        "timestamp(ns, +02:00)",
        "timestamp(s, Europe/Berlin)",
        "utf8",
        "binary",
        "fixed_binary(16)",
        "list<utf8>",
        "list<utf8 not null>",
        "map<utf8, int64>",
        "map<utf8, int64 not null>",
        "struct<a: int32, b: utf8 not null>",
        "struct<\"a b\": list<struct<c: bool>>>",
    ];
    for name in names {
        assert_eq!(parsed(name).to_string(), name);
    }
}

#[test]
fn accepts_aliases() {
    let aliases = [
        ("STRING", "utf8"),
        ("bigint", "int64"),
        ("Int", "int32"),
        ("long", "int64"),
        ("double", "float64"),
        ("boolean", "bool"),
        ("decimal( 5 , 1 )", "decimal128(5,1)"),
        ("numeric(7)", "decimal128(7,0)"),
        ("timestamp", "timestamp(us)"),
        ("timestamp(3)", "timestamp(ms)"),
        ("timestamp_ltz(6)", "timestamp(us, UTC)"),
        ("array<int>", "list<int32>"),
        ("row<a:int,b:string not  null>", "struct<a: int32, b: utf8 not null>"),
        ("time", "time(us)"),
        ("bytes", "binary"),
    ];
    for (alias, name) in aliases {
        assert_eq!(parsed(alias).to_string(), name, "{alias}");
    }
}

#[test]
fn refuses_with_advice() {
    let cases = [
        ("strng", "did you mean `string`?"),
        ("uint32", "use int64"),
        ("decimal128", "as in decimal128(10,2)"),
        ("decimal(39,2)", "precision is 1 to 38"),
        ("decimal(3,4)", "the scale 0 to the precision"),
        ("fixed_binary(0)", "fixed_binary(BYTES)"),
        ("timestamp(days)", "units are s, ms, us, ns"),
        ("list<utf8", "expected `>`, found the end"),
        ("list<utf8> x", "expected `not null` or nothing"),
        ("int32 not null", "where only a type belongs"),
        ("map<utf8 null, int32>", "never null"),
        ("struct<>", "expected a field name"),
        ("", "expected a type name"),
        ("struct<\"a: int32>", "closing quote"),
    ];
    for (text, expected) in cases {
        let error = parse_type(text).expect_err(text).to_string();
        assert!(error.contains(expected), "{text}: {error}");
    }
}

#[test]
fn deep_nesting_is_refused_not_followed() {
    let text = "list<".repeat(10_000);
    assert!(parse_type(&text).expect_err("deep").to_string().contains("deeper than 32"));
}

#[test]
fn json_of_nested_types_keeps_ids() {
    let kind = parsed("struct<a: int32, b: list<utf8 not null>>");
    let json = serde_json::to_string(&kind).expect("json");
    let expected = r#"{"struct":[{"id":0,"name":"a","type":"int32","nullable":true},{"id":0,"name":"b","type":{"list":{"id":0,"name":"element","type":"utf8","nullable":false}},"nullable":true}]}"#;
    assert_eq!(json, expected);
    assert_eq!(serde_json::from_str::<ColumnType>(&json).expect("parse"), kind);
    assert!(serde_json::from_str::<ColumnType>("\"nope\"").is_err());
}

/// Any type, for the property tests of this module and of others.
pub(in crate::table) fn any_type() -> impl Strategy<Value = ColumnType> {
    let units =
        || prop_oneof![Just(TimeUnit::Second), Just(TimeUnit::Millisecond), Just(TimeUnit::Microsecond), Just(TimeUnit::Nanosecond)];
    let plain = prop_oneof![
        Just(ColumnType::Boolean),
        Just(ColumnType::Int8),
        Just(ColumnType::Int16),
        Just(ColumnType::Int32),
        Just(ColumnType::Int64),
        Just(ColumnType::Float32),
        Just(ColumnType::Float64),
        (1u8..=38)
            .prop_flat_map(|precision| (Just(precision), 0..=precision))
            .prop_map(|(precision, scale)| ColumnType::Decimal { precision, scale }),
        Just(ColumnType::Date),
        units().prop_map(ColumnType::Time),
        (units(), prop::option::of(Just(Arc::from("UTC")))).prop_map(|(unit, zone)| ColumnType::Timestamp { unit, zone }),
        Just(ColumnType::Utf8),
        Just(ColumnType::Binary),
        (1..20i32).prop_map(ColumnType::FixedBinary),
    ];
    plain.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            (inner.clone(), any::<bool>()).prop_map(|(kind, nullable)| ColumnType::list(kind, nullable)),
            (inner.clone(), inner.clone(), any::<bool>()).prop_map(|(key, value, nullable)| ColumnType::map(key, value, nullable)),
            prop::collection::vec((inner, any::<bool>()), 1..3).prop_map(|fields| {
                let named = |(index, (kind, nullable)): (usize, _)| Field::new(format!("f{index}"), kind, nullable);
                ColumnType::Struct(fields.into_iter().enumerate().map(named).collect())
            }),
        ]
    })
}

proptest! {
    #[test]
    fn printing_then_parsing_gives_the_type_back(kind in any_type()) {
        prop_assert_eq!(&parsed(&kind.to_string()), &kind);
        let json = serde_json::to_string(&kind).expect("json");
        prop_assert_eq!(&serde_json::from_str::<ColumnType>(&json).expect("parse"), &kind);
    }

    #[test]
    fn any_text_is_parsed_or_refused(text in "[a-z0-9<>(), :\"_]{0,40}") {
        let _ = parse_type(&text);
    }
}
