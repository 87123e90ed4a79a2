//! Every change, allowed or not, on one table with nested columns.

use super::*;
use crate::table::PartitionField;
use crate::table::types::parse_column;

/// `k` keys the buckets, `day` partitions.
fn table() -> TableSpec {
    let columns = [
        ("k", "int32 not null"),
        ("day", "date"),
        ("n", "int16"),
        ("s", "struct<x: int32 not null, y: float32>"),
        ("l", "list<struct<z: int8>>"),
        ("m", "map<utf8, int32>"),
        ("d", "decimal128(5,2)"),
    ];
    let field = |(name, text): (&str, &str)| {
        let (kind, nullable) = parse_column(text).expect("type");
        Field::new(name, kind, nullable.unwrap_or(true))
    };
    let schema = TableSchema::new(columns.into_iter().map(field).collect()).expect("schema");
    let mut spec = TableSpec::new("t".parse().expect("name"), 1, schema, 0);
    spec.bucket_key = vec![1];
    spec.partition_by = PartitionField::parse_list("day", spec.schema()).expect("partition");
    spec.check().expect("valid");
    spec
}

fn change(text: &str) -> Result<Change> {
    match text.split_once(' ').expect("verb") {
        ("add", rest) => Change::parse_add(rest),
        ("rename", rest) => Change::parse_rename(rest),
        ("widen", rest) => Change::parse_widen(rest),
        ("drop", rest) => Ok(Change::Drop { name: rest.into() }),
        ("relax", rest) => Ok(Change::MakeNullable { name: rest.into() }),
        (other, _) => panic!("{other}"),
    }
}

fn evolved(texts: &[&str]) -> Result<TableSpec> {
    table().evolve(&texts.iter().map(|text| change(text)).collect::<Result<Vec<_>>>()?)
}

/// `name:id` of the columns, nested types with theirs.
fn outline(spec: &TableSpec) -> String {
    fn of(fields: &[&Field]) -> String {
        let one = |field: &&Field| {
            let nested = of(&field.kind.children());
            let nested = if nested.is_empty() { nested } else { format!("<{nested}>") };
            format!("{}:{}{nested}", field.name, field.id)
        };
        fields.iter().map(one).collect::<Vec<_>>().join(" ")
    }
    of(&spec.schema().fields().iter().collect::<Vec<_>>())
}

#[test]
fn changes_keep_ids_and_give_new_ones() {
    assert_eq!(outline(&table()), "k:1 day:2 n:3 s:4<x:8 y:9> l:5<element:10<z:11>> m:6<key:12 value:13> d:7");
    let cases = [
        (vec!["add e utf8"], "k:1 day:2 n:3 s:4<x:8 y:9> l:5<element:10<z:11>> m:6<key:12 value:13> d:7 e:14"),
        (vec!["add e utf8 first", "drop n"], "e:14 k:1 day:2 s:4<x:8 y:9> l:5<element:10<z:11>> m:6<key:12 value:13> d:7"),
        (vec!["drop s", "drop l", "drop m", "drop d", "drop n", "add n int8 after k"], "k:1 n:14 day:2"),
        (vec!["drop l", "drop m", "drop d", "add s.w struct<a: int8> after x"], "k:1 day:2 n:3 s:4<x:8 w:14<a:15> y:9>"),
        (vec!["drop s", "drop m", "drop d", "add l.element.w date", "rename l.element.z=zz"], "k:1 day:2 n:3 l:5<element:10<zz:11 w:14>>"),
        (vec!["rename k=key", "rename s.x=s.xx", "drop l", "drop m", "drop d"], "key:1 day:2 n:3 s:4<xx:8 y:9>"),
    ];
    for (changes, expected) in cases {
        let next = evolved(&changes).unwrap_or_else(|error| panic!("{changes:?}: {error}"));
        assert_eq!(outline(&next), expected, "{changes:?}");
        assert_eq!((next.schema().version(), next.schemas.all().len()), (1, 2));
        assert_eq!(next.schema_at(0), Some(table().schema()));
    }
}

#[test]
fn widening() {
    let good = ["n int32", "n bigint", "s.x int64", "s.y double", "l.element.z int16", "m.value int64", "d decimal(9,2)"];
    for text in good {
        evolved(&[&format!("widen {text}")]).expect(text);
    }
    let bad = ["n int8", "n int16", "n float64", "d decimal(9,3)", "d decimal(4,2)", "s struct<x: int64>", "day timestamp", "s.y int64"];
    for text in bad {
        let error = evolved(&[&format!("widen {text}")]).expect_err(text).to_string();
        assert!(error.contains("cannot be wi"), "{text}: {error}");
    }
}

#[test]
fn what_is_not_allowed_says_why() {
    let cases = [
        ("drop k", "part of the bucket key cannot be dropped, column k, table t"),
        ("widen k int64", "part of the bucket key cannot be widened"),
        ("drop day", "partitions the table cannot be dropped"),
        ("drop nn", "unknown column `nn`, column nn, table t; did you mean `n`?"),
        ("drop s.z", "did you mean `s.x`?"),
        ("add n int8", "there is a column `n` already"),
        ("add s.x int8", "there is a column `x` already"),
        ("add n.x int8", "int16 has no fields"),
        ("add e int8 not null", "must be nullable"),
        ("add e int8 after q", "unknown column `q`"),
        ("add e", "does not say a name and a type"),
        ("add e itn8", "did you mean `int8`?"),
        ("rename n=s", "there is a column `s` already"),
        ("rename n", "from=to"),
        ("rename n=", "not the name of a column"),
        ("drop l.element", "list<struct<z: int8>> has no fields"),
        ("drop l.element.z", "last field"),
        ("relax m.key", "never null"),
        ("widen n int32 not null", "does not change whether"),
    ];
    for (text, expected) in cases {
        let error = evolved(&[text]).expect_err(text).to_string();
        assert!(error.contains(expected), "{text}: {error}");
    }
    assert!(table().evolve(&[]).is_err());
}

#[test]
fn nullability_and_statistics_follow() {
    assert!(evolved(&["relax k", "relax s.x"]).expect("relax").schema().fields()[0].nullable);
    let mut spec = table();
    spec.options.statistics = Statistics::Columns(vec!["n".into(), "d".into()]);
    let next = spec.evolve(&[change("rename n=nn").expect("change"), change("drop d").expect("change")]).expect("evolve");
    assert_eq!(next.options.statistics, Statistics::Columns(vec!["nn".into()]));
    // Another column has the name of the one that went.
    let other = spec.evolve(&["drop n", "add n int32"].map(|text| change(text).expect("change"))).expect("evolve");
    assert_eq!(other.options.statistics, Statistics::Columns(vec!["d".into()]));
    let last = next.evolve(&[change("drop nn").expect("change")]).expect("evolve");
    assert_eq!(last.options.statistics, Statistics::None);
}
