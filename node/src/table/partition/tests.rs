//! Names of partitions, and splitting a batch against naming each row alone.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use super::*;
use crate::table::types::parse_type;
use crate::table::{Field, Scalar};
use arrow::array::*;
use proptest::prelude::*;

fn schema() -> TableSchema {
    let columns =
        [("c", "utf8"), ("ts", "timestamp(us)"), ("n", "int32"), ("d", "date"), ("x", "decimal128(6,2)"), ("b", "bool"), ("f", "float64")];
    let field = |(name, kind): (&str, &str)| Field::new(name, parse_type(kind).expect("type"), true);
    TableSchema::new(columns.into_iter().map(field).collect()).expect("schema")
}

fn partitioner(by: &str) -> Partitioner {
    let schema = schema();
    Partitioner::new(&schema, &PartitionField::parse_list(by, &schema).expect(by)).expect(by)
}

type Row = (Option<String>, Option<i64>, Option<i32>);

fn batch(rows: &[Row]) -> RecordBatch {
    let count = rows.len();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(rows.iter().map(|row| row.0.clone()).collect::<StringArray>()),
        Arc::new(rows.iter().map(|row| row.1).collect::<TimestampMicrosecondArray>()),
        Arc::new(rows.iter().map(|row| row.2).collect::<Int32Array>()),
        Arc::new(rows.iter().map(|row| row.2).collect::<Date32Array>()),
        Arc::new(
            rows.iter().map(|row| row.2.map(i128::from)).collect::<Decimal128Array>().with_precision_and_scale(6, 2).expect("decimal"),
        ),
        Arc::new(rows.iter().map(|row| row.2.map(|n| n > 0)).collect::<BooleanArray>()),
        new_null_array(&arrow::datatypes::DataType::Float64, count),
    ];
    RecordBatch::try_new(schema().arrow().clone(), columns).expect("batch")
}

fn names(by: &str, rows: &[Row]) -> Vec<(String, Vec<u32>)> {
    let split = partitioner(by).split(&batch(rows)).expect("split");
    let indices = |rows_of: Rows| match rows_of {
        Rows::All => (0..rows.len() as u32).collect(),
        Rows::Some(indices) => indices.values().to_vec(),
    };
    split.into_iter().map(|(key, rows)| (key.name().to_string(), indices(rows))).collect()
}

const DAY_US: i64 = 86_400_000_000;

#[test]
fn fields_are_parsed_and_refused() {
    let schema = schema();
    let parsed = PartitionField::parse_list("c, day(ts),year(ts),identity(n)", &schema).expect("fields");
    assert_eq!(parsed.iter().map(|field| field.name.as_str()).collect::<Vec<_>>(), ["c", "ts_day", "ts_year", "n"]);
    let cases = [
        ("c,", "unknown column ``"),
        ("\"c,n", "does not end"),
        ("\"c\"n", "expected a comma"),
        ("day(\"ts\"", "`)` is missing"),
        ("day(\"tz\")", "did you mean `ts`?"),
        ("d y(ts)", "unknown transform"),
        ("dya(ts)", "did you mean `day`?"),
        ("day(tz)", "did you mean `ts`?"),
        ("day(c)", "cannot partition by day of `c`"),
        ("hour(d)", "cannot partition by hour of `d`"),
        ("f", "cannot partition by identity of `f`"),
        ("c,c", "given twice"),
        ("day(ts", "unknown column"),
    ];
    for (text, expected) in cases {
        let error = PartitionField::parse_list(text, &schema).expect_err(text).to_string();
        assert!(error.contains(expected), "{text}: {error}");
    }
}

#[test]
fn columns_with_commas_stand_in_quotes() {
    let fields = [("a,b", "utf8"), ("c,d", "date"), ("day(e)", "date"), ("x \"y\"", "int32"), ("year(\"q\")", "int32")];
    let fields = fields.map(|(name, kind)| Field::new(name, parse_type(kind).expect(kind), true));
    let schema = TableSchema::new(fields.to_vec()).expect("schema");
    let list = r#""a,b", year( "c,d" ),"x ""y""",day("day(e)"),day(e),year("q")"#;
    let parsed = PartitionField::parse_list(list, &schema).expect("fields");
    let expected = ["a,b", "c,d_year", "x \"y\"", "day(e)_day", "day(e)", "year(\"q\")"];
    assert_eq!(parsed.iter().map(|field| field.name.as_str()).collect::<Vec<_>>(), expected);
}

#[test]
fn names_are_canonical() {
    let noon = 20_454 * DAY_US + 13 * DAY_US / 24;
    let row = (Some("x/y=z".to_string()), Some(noon), Some(-150));
    let cases = [
        ("c,day(ts)", "c=x%2Fy%3Dz/ts_day=2026-01-01"),
        ("year(ts),month(ts),hour(ts)", "ts_year=2026/ts_month=2026-01/ts_hour=2026-01-01-13"),
        ("n,x,b", "n=-150/x=-1.50/b=false"),
        ("d,month(d)", "d=1969-08-04/d_month=1969-08"),
        ("ts", "ts=2026-01-01T13%3A00%3A00.000000"),
    ];
    for (by, expected) in cases {
        assert_eq!(names(by, std::slice::from_ref(&row)), [(expected.to_string(), vec![0])]);
    }
    assert_eq!(names("c,day(ts)", &[(None, None, None)])[0].0, "c=__DEFAULT_PARTITION__/ts_day=__DEFAULT_PARTITION__");
}

#[test]
fn texts_that_could_be_mistaken_stay_apart() {
    let texts = [None, Some("__DEFAULT_PARTITION__"), Some(""), Some("%"), Some("%25"), Some("a/c=b"), Some("\u{7f}\n"), Some("\u{e4}")];
    let rows: Vec<Row> = texts.iter().map(|text| (text.map(str::to_string), None, None)).collect();
    let split = names("c", &rows);
    assert_eq!(split.len(), texts.len());
    assert_eq!(split.iter().map(|(name, _)| name).collect::<HashSet<_>>().len(), texts.len());
    assert_eq!(split[1].0, "c=%5F_DEFAULT_PARTITION__");
    for ((name, _), text) in split.iter().zip(texts) {
        let value = text.map(|text| Scalar::Text(text.to_string()));
        assert_eq!(partitioner("c").parse(name).expect(name).values(), [value]);
    }
}

#[test]
fn foreign_names_are_refused() {
    let names = [
        "",
        "c=x",
        "c=x/ts_day=2026-01-01/n=1",
        "ts_day=2026-01-01/c=x",
        "c=x/ts_day=soon",
        "c=x/ts_day=2026-1-1",
        "c=%zz/ts_day=2026-01-01",
        "c=%c3/ts_day=2026-01-01",
    ];
    for name in names {
        assert!(partitioner("c,day(ts)").parse(name).is_err(), "{name}");
    }
    assert_eq!(partitioner("c,day(ts)").parse("c=x/ts_day=2026-01-01").expect("name").values()[1], Some(Scalar::Integer(20_454)));
}

#[test]
fn one_partition_is_not_copied() {
    let row: Row = (Some("x".into()), Some(5), None);
    let split = partitioner("c,day(ts)").split(&batch(&[row.clone(), row])).expect("split");
    assert!(matches!(&split[..], [(_, Rows::All)]));
    assert!(partitioner("c").split(&batch(&[])).expect("empty").is_empty());
    let whole = Partitioner::new(&schema(), &[]).expect("none").split(&batch(&[(None, None, None)])).expect("split");
    assert_eq!(whole, [(PartitionKey::unpartitioned(), Rows::All)]);
}

#[test]
fn every_type_that_is_accepted_can_be_split() {
    let cases: [(&str, ArrayRef); 4] = [
        ("binary", Arc::new(BinaryArray::from(vec![Some(&b"a="[..]), None, Some(b"a=")]))),
        (
            "fixed_binary(2)",
            Arc::new(
                FixedSizeBinaryArray::try_from_sparse_iter_with_size([Some([1, 2]), None, Some([1, 2])].into_iter(), 2).expect("array"),
            ),
        ),
        ("time(us)", Arc::new(Time64MicrosecondArray::from(vec![Some(1_000_001), None, Some(1_000_001)]))),
        ("timestamp(ns, UTC)", Arc::new(TimestampNanosecondArray::from(vec![Some(-1), None, Some(-1)]).with_timezone("UTC"))),
    ];
    for (kind, array) in cases {
        let schema = TableSchema::new(vec![Field::new("k", parse_type(kind).expect(kind), true)]).expect(kind);
        let partitioner = Partitioner::new(&schema, &PartitionField::parse_list("k", &schema).expect(kind)).expect(kind);
        let split = partitioner.split(&RecordBatch::try_new(schema.arrow().clone(), vec![array]).expect(kind)).expect(kind);
        assert_eq!(split.iter().map(|(_, rows)| rows.count(3)).collect::<Vec<_>>(), [2, 1], "{kind}");
        for (key, _) in &split {
            assert_eq!(partitioner.parse(key.name()).expect(kind).values(), key.values(), "{kind}");
        }
    }
}

#[test]
fn too_many_partitions_are_refused() {
    let rows: Vec<Row> = (0..=PARTITIONS_PER_BATCH_MAX as i32).map(|n| (None, None, Some(n))).collect();
    assert_eq!(partitioner("n").split(&batch(&rows)).expect_err("many").kind(), crate::error::Kind::Exhausted);
    assert_eq!(partitioner("n").split(&batch(&rows[1..])).expect("just enough").len(), PARTITIONS_PER_BATCH_MAX);
}

fn any_rows() -> impl Strategy<Value = Vec<Row>> {
    let text = prop::option::of("[ab]{0,1}");
    let time = prop::option::of(prop_oneof![-3 * DAY_US..3 * DAY_US, any::<i64>()]);
    let number = prop::option::of(prop_oneof![-2i32..2, -999_999i32..999_999]);
    prop::collection::vec((text, time, number), 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn splitting_equals_naming_each_row(rows in any_rows()) {
        let whole = batch(&rows);
        for by in ["c,day(ts)", "n,b", "month(ts)", "hour(ts),x", "year(d),d"] {
            let partitioner = partitioner(by);
            let mut expected: BTreeMap<String, Vec<u32>> = BTreeMap::new();
            for row in 0..rows.len() {
                let alone = partitioner.split(&whole.slice(row, 1)).expect("split");
                expected.entry(alone[0].0.name().to_string()).or_default().push(row as u32);
            }
            prop_assert_eq!(names(by, &rows).into_iter().collect::<BTreeMap<_, _>>(), expected);
        }
    }

    #[test]
    fn names_parse_back_and_bounds_hold_every_row(rows in any_rows()) {
        let schema = schema();
        for by in ["c,n", "day(ts),d", "month(ts),x,b", "year(ts),month(d)", "hour(ts),ts", "year(d)"] {
            let partitioner = partitioner(by);
            let whole = batch(&rows);
            for (key, rows) in partitioner.split(&whole).expect("split") {
                let again = partitioner.parse(key.name()).expect("name");
                prop_assert_eq!(again.values(), key.values());
                let part = rows.of(&whole).expect("rows");
                for field in schema.fields() {
                    let Some(known) = partitioner.statistics(&key, field.id) else { continue };
                    let array = part.column(field.id as usize - 1);
                    for row in 0..part.num_rows() {
                        let value = ScalarRef::at(array, row);
                        prop_assert_eq!(value.is_none(), known.null_count == 1);
                        let (Some(value), Some(min), Some(max)) = (value, known.min, known.max) else { continue };
                        prop_assert!(value.compare(min).expect("same").is_ge() && value.compare(max).expect("same").is_le());
                    }
                }
            }
        }
    }
}
