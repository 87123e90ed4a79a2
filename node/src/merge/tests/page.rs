//! The page for users says what the code does.

use super::super::aggregate::Function;
use super::super::engine::{ENGINES, FIELD_OPTIONS, OPTIONS};
use super::*;
use crate::table::types::parse_type;

const PAGE: &str = include_str!("../../../docs/merge-engines.md");

fn functions() -> Vec<Function> {
    use Function::*;
    let listagg = ListAgg { delimiter: ",".to_string(), distinct: false };
    let plain = [Sum, Product, Count, Max, Min, LastValue, LastNonNullValue, FirstValue, FirstNonNullValue, listagg, BoolAnd, BoolOr];
    let nested = [Collect { distinct: false }, MergeMap, NestedUpdate { key: Vec::new() }, Bitmap32, Bitmap64];
    plain.into_iter().chain(nested).collect()
}

/// Whether the page's word for columns means this type.
fn means(word: &str, kind: &ColumnType) -> bool {
    use ColumnType::*;
    match word {
        "all" => true,
        "all but nested" => !kind.is_nested(),
        "whole numbers" => matches!(kind, Int8 | Int16 | Int32 | Int64),
        "floats" => matches!(kind, Float32 | Float64),
        "decimals" => matches!(kind, Decimal { .. }),
        "decimals without scale" => matches!(kind, Decimal { scale: 0, .. }),
        "utf8" => *kind == Utf8,
        "bool" => *kind == Boolean,
        "binary" => *kind == Binary,
        "lists" => matches!(kind, List(_)),
        "lists of structs" => matches!(kind, List(element) if matches!(element.kind, Struct(_))),
        "maps" => matches!(kind, Map { .. }),
        other => panic!("the page says {other}"),
    }
}

#[test]
fn names_everything() {
    let field_options = FIELD_OPTIONS.map(|option| format!(".{option}"));
    let names = ENGINES.iter().chain(&OPTIONS).chain(&Function::NAMES).copied();
    for name in names {
        assert!(PAGE.contains(&format!("`{name}`")), "{name}");
    }
    for option in field_options {
        assert!(PAGE.contains(&format!("`fields.X{option}`")) || PAGE.contains(&format!("`fields.X,Y{option}`")), "{option}");
    }
    for part in Function::NAMES[9..].iter().filter(|name| !name.starts_with("bool")) {
        assert!(PAGE.lines().any(|line| line.starts_with("###") && line.contains(part)), "{part}");
    }
}

#[test]
fn the_table_of_functions_is_true() {
    let functions = functions();
    assert_eq!(functions.iter().map(Function::name).collect::<Vec<_>>(), Function::NAMES);
    let kinds = [
        "int8",
        "int16",
        "int32",
        "int64",
        "float32",
        "float64",
        "decimal128(9,0)",
        "decimal128(9,2)",
        "date",
        "time(ms)",
        "timestamp(us)",
        "bool",
        "utf8",
        "binary",
        "fixed_binary(4)",
        "list<int64>",
        "list<struct<a: int64>>",
        "map<utf8, int64>",
        "struct<a: int64>",
    ];
    for function in functions {
        let row = PAGE.lines().find(|line| line.starts_with(&format!("| `{}` |", function.name())) && line.matches('|').count() == 6);
        let cells: Vec<&str> = row.unwrap_or_else(|| panic!("{}", function.name())).split('|').map(str::trim).collect();
        assert_eq!(cells[4] != "no", function.has_retraction(), "{}", function.name());
        assert_eq!(cells[5] == "yes", function.takes_sequence(), "{}", function.name());
        for kind in kinds.map(|kind| parse_type(kind).unwrap()) {
            let said = cells[2].split(", ").any(|word| means(word, &kind));
            assert_eq!(said, function.takes_type(&kind), "{} of {kind}", function.name());
        }
    }
}
