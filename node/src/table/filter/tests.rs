//! The language by example, and a plain model: filters as text beside what they say of one row.

use std::cmp::Ordering;
use std::sync::Arc;

use super::*;
use crate::table::ColumnType;
use crate::table::key::KeyEncoder;
use crate::table::types::parse_type;
use arrow::array::*;
use proptest::prelude::*;

const COLUMNS: [(&str, &str); 9] = [
    ("i", "int32"),
    ("j", "int32"),
    ("y", "int8"),
    ("s", "utf8"),
    ("f", "float64"),
    ("b", "bool"),
    ("d", "decimal128(6,2)"),
    ("t", "timestamp(ms)"),
    ("l", "list<int32>"),
];

fn schema() -> TableSchema {
    let field = |(name, kind): &(&str, &str)| Field::new(*name, parse_type(kind).expect("type"), true);
    TableSchema::new(COLUMNS.iter().map(field).collect()).expect("schema")
}

/// A row of the model: i, j, y, s, f, b, d (hundredths), t (ms).
type Row = (Option<i32>, Option<i32>, Option<i8>, Option<String>, Option<f64>, Option<bool>, Option<i32>, Option<i64>);

fn batch(rows: &[Row]) -> RecordBatch {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(rows.iter().map(|row| row.0).collect::<Int32Array>()),
        Arc::new(rows.iter().map(|row| row.1).collect::<Int32Array>()),
        Arc::new(rows.iter().map(|row| row.2).collect::<Int8Array>()),
        Arc::new(rows.iter().map(|row| row.3.clone()).collect::<StringArray>()),
        Arc::new(rows.iter().map(|row| row.4).collect::<Float64Array>()),
        Arc::new(rows.iter().map(|row| row.5).collect::<BooleanArray>()),
        Arc::new(
            rows.iter().map(|row| row.6.map(i128::from)).collect::<Decimal128Array>().with_precision_and_scale(6, 2).expect("decimal"),
        ),
        Arc::new(rows.iter().map(|row| row.7).collect::<TimestampMillisecondArray>()),
        new_null_array(schema().arrow().field(8).data_type(), rows.len()),
    ];
    RecordBatch::try_new(schema().arrow().clone(), columns).expect("batch")
}

fn bound(text: &str) -> Result<Bound> {
    text.parse::<Filter>()?.bind(&schema())
}

/// The rows that pass.
fn passing(text: &str, rows: &[Row]) -> Vec<usize> {
    let mask = bound(text).and_then(|bound| bound.evaluate(&batch(rows))).unwrap_or_else(|error| panic!("{text}: {error}"));
    (0..rows.len()).filter(|&row| mask.is_valid(row) && mask.value(row)).collect()
}

/// Three rows: small values, greater values, nulls.
fn three() -> Vec<Row> {
    vec![
        (Some(1), Some(2), Some(-128), Some("abc".into()), Some(-0.0), Some(true), Some(150), Some(0)),
        (Some(7), Some(7), Some(127), Some("abd'e".into()), Some(f64::NAN), Some(false), Some(-1), Some(1_500)),
        (None, None, None, None, None, None, None, None),
    ]
}

#[test]
fn the_language() {
    let cases: &[(&str, &[usize])] = &[
        ("i = 1", &[0]),
        ("i == 1 OR i != 1", &[0, 1]),
        ("5 < i", &[1]),
        ("i > 0 and (s = 'abc' or not b)", &[0, 1]),
        ("not i = 1", &[1]),
        ("not (i = 1 or s is null)", &[1]),
        ("i is null", &[2]),
        ("not i is null", &[0, 1]),
        ("i is not null and l is null", &[0, 1]),
        ("i in (1, 2, null)", &[0]),
        ("i not in (1, 2)", &[1]),
        ("i not in (1, null)", &[]),
        ("i between 1 and 6", &[0]),
        ("i not between 1 and 6", &[1]),
        ("not (i between 1 and 6)", &[1]),
        ("s like 'ab%'", &[0, 1]),
        ("s like 'ab_'", &[0]),
        ("s not like '%c'", &[1]),
        ("s ilike 'ABC'", &[0]),
        ("s = 'abd''e'", &[1]),
        ("b", &[0]),
        ("not b", &[1]),
        ("b = false", &[1]),
        ("true", &[0, 1, 2]),
        ("false or null", &[]),
        ("not null", &[]),
        ("i = null", &[]),
        ("i = j", &[1]),
        ("i < j", &[0]),
        ("i <> j", &[0]),
        ("\"i\" = 1 and `s` > 'abb'", &[0]),
        ("f = 0 and f = -0.0", &[0]),
        ("f < 0 or f > 1e308", &[1]),
        ("d = 1.5", &[0]),
        ("d > 1.499", &[0]),
        ("d <= -0.01", &[1]),
        ("y < 1000", &[0, 1]),
        ("y <> 127.5", &[0, 1]),
        ("y >= 1000 or y <= -1000 or y = 1000", &[]),
        ("i < 1.5", &[0]),
        ("t = '1970-01-01'", &[0]),
        ("t > timestamp '1970-01-01T00:00:01.4999'", &[1]),
        ("t between '1970-01-01 00:00:01' and '2000-01-01'", &[1]),
    ];
    for (text, expected) in cases {
        assert_eq!(passing(text, &three()), *expected, "{text}");
    }
}

#[test]
fn mistakes_are_shown() {
    let cases = [
        ("", "expected a column or a value, found the end, position 1"),
        ("i = ", "found the end, position 5; look at ^ in: i = ^"),
        ("i > ) and b", "found `)`, position 5; look at ^ in: i > ^) and b"),
        ("i > 5 b", "expected `and`, `or` or the end, found `b`, position 7"),
        ("(i > 5", "expected `and`, `or` or `)`, found the end"),
        ("i + 1 > 2", "does not compute: compare a column with a value that is worked out before, as in a > 1, position 3"),
        ("i+1 > 2", "does not compute"),
        ("i -1 > 2", "does not compute"),
        ("(i*2) > 2", "does not compute"),
        ("i > j-i", "does not compute"),
        ("i = +x", "this is not a number"),
        ("(i) + 1 > 2", "does not compute"),
        ("i = -5x", "this is not a number"),
        ("lower(s) = 'x'", "no functions"),
        ("1 < i < 5", "write `and` between two comparisons"),
        ("i = 1 && b", "write `and`, not `&`"),
        ("s = \"x'y\"", "unknown column `x'y`; known are"),
        ("s = \"x'y\"", "; a text stands in single quotes: 'x''y'"),
        ("s in (\"x\")", "expected a value (texts stand in single quotes, names of columns in double quotes), found \"x\""),
        ("s like \"x\"", "single quotes"),
        ("i in ()", "expected a value, found `)`"),
        ("i in (1, j)", "expected a value, found `j`"),
        ("i between 1 or 2", "expected `and`, found `or`"),
        ("i is 5", "expected `null`, found 5"),
        ("i not 5", "expected `in`, `between` or `like`, found 5"),
        ("s like 5", "expected a pattern in quotes, found 5"),
        ("s = 'x", "this quote is never closed, position 5"),
        ("\u{e4}\u{f6} = ;", "nothing starts with `;`, position 6; look at ^ in: \u{e4}\u{f6} = ^;"),
        ("i = 5x", "this is not a number"),
        ("i = 1e", "this is not a number"),
        ("s = x'0'", "hexadecimal"),
        ("and", "found `and`"),
        ("ii = 1", "unknown column `ii`; did you mean `i`?"),
        ("i = 'x'", "'x' is not a value of type int32, column i; write a number"),
        ("i = '5'", "is not a value of type int32"),
        ("s = 5", "5 is not a value of type utf8, column s; write 'text'"),
        ("t = 'soon'", "type timestamp(ms), column t; write '2026"),
        ("i = s", "cannot compare `i`, int32, with `s`, utf8"),
        ("l = l", "cannot compare"),
        ("l = 1", "nested columns can only be compared with null"),
        ("1 = 1", "tests columns, not values alone"),
        ("i", "`i` is int32, not true or false; compare it, as in: i is not null"),
        ("i like 'x'", "like is for utf8"),
    ];
    for (text, expected) in cases {
        let error = bound(text).expect_err(text).to_string();
        assert!(error.contains(expected), "{text}: {error}");
    }
}

#[test]
fn a_nan_is_greater_than_all_numbers_and_equal_to_itself() {
    let row = |value| (None, None, None, None, Some(value), None, None, None);
    let rows: Vec<Row> = [-f64::INFINITY, 1.0, f64::INFINITY, f64::NAN, -f64::NAN].map(row).into();
    let cases: &[(&str, &[usize])] = &[
        ("f > 5", &[2, 3, 4]),
        ("f > Infinity", &[3, 4]),
        ("f = infinity", &[2]),
        ("f = -Infinity", &[0]),
        ("f < +INFINITY", &[0, 1]),
        ("f = NaN", &[3, 4]),
        ("f <> nan", &[0, 1, 2]),
        ("f > NaN", &[]),
        ("f < NaN", &[0, 1, 2]),
        ("f in (1, NaN)", &[1, 3, 4]),
        ("f not in (NaN, -Infinity)", &[1, 2]),
        ("f between 1 and Infinity", &[1, 2]),
        ("f > 5 and f < NaN", &[2]),
    ];
    for (text, expected) in cases {
        assert_eq!(passing(text, &rows), *expected, "{text}");
        let batch = batch(&rows);
        let may = bound(text).expect(text).may_match(&|id| ColumnStatistics::of(batch.column(id as usize - 1)));
        assert!(may || expected.is_empty(), "{text}");
        let ranges = bound(text).expect(text).key_ranges(&[5]).expect(text);
        let keys = KeyEncoder::new(&schema(), &[5]).expect("key").encode(&batch).expect("rows");
        assert!(expected.iter().all(|row| ranges.contains(keys.get(*row))), "{text}");
    }
    for (wrong, what) in [
        ("f > 1e400", "1e400 is not a value of type float64"),
        ("i = NaN", "nan is not a value of type int32"),
        ("f = -NaN", "not a number"),
    ] {
        let error = bound(wrong).expect_err(wrong).to_string();
        assert!(error.contains(what), "{wrong}: {error}");
    }
    assert!(bound("\"NaN\" = 1").expect_err("no such column").to_string().contains("unknown column `NaN`"));
}

#[test]
fn limits_hold() {
    let deep = format!("{}i = 1{}", "(".repeat(FILTER_DEPTH_MAX), ")".repeat(FILTER_DEPTH_MAX));
    assert!(bound(&deep).expect_err("deep").to_string().contains("nests deeper than 64"));
    assert!(bound(&"not ".repeat(100_000)).is_err());
    let many = format!("i in ({}0)", "0,".repeat(IN_LIST_MAX));
    assert!(bound(&many).expect_err("many").to_string().contains("at most 1000 values"));
    assert!(bound(&many.replacen("0,", "", 1)).is_ok());
    let long = vec!["i = 1"; 5_000].join(" or ");
    assert_eq!(passing(&long, &three()), [0]);
    assert!(bound(&long.repeat(3)).expect_err("long").to_string().contains("too long"));
    let excerpt = bound(&format!("{} ) {}", vec!["i = 1"; 50].join(" and "), "x".repeat(100))).expect_err("excerpt").to_string();
    assert!(excerpt.contains("in: ...") && excerpt.ends_with("..."), "{excerpt}");
}

#[test]
fn only_the_columns_of_the_filter_are_needed() {
    let bound = bound("s like 'a%' and (i > 0 or i is null)").expect("bound");
    assert_eq!(bound.columns().iter().map(|field| field.name.as_str()).collect::<Vec<_>>(), ["s", "i"]);
    let whole = batch(&three());
    let some = whole.project(&[8, 0, 3]).expect("project");
    assert_eq!(bound.evaluate(&some).expect("some"), bound.evaluate(&whole).expect("whole"));
    assert!(bound.evaluate(&whole.project(&[0]).expect("project")).expect_err("lacks").to_string().contains("column s"));
    let foreign = RecordBatch::try_from_iter([("s", whole.column(0).clone()), ("i", whole.column(0).clone())]).expect("batch");
    assert!(bound.evaluate(&foreign).expect_err("foreign").to_string().contains("Int32 where the filter knows utf8"));
}

#[test]
fn statistics_rule_rows_out() {
    let rows = [three()[0].clone(), (Some(5), Some(9), Some(0), Some("abz".into()), Some(2.0), Some(true), Some(170), Some(900))];
    let batch = batch(&rows);
    let known = |id: i32| ColumnStatistics::of(batch.column(id as usize - 1));
    let ruled_out = [
        "i > 5",
        "i < 1",
        "i = 6",
        "i in (0, 6, 1000)",
        "i is null",
        "i <> 1 and i < 2 and i < 1",
        "s > 'abz'",
        "s like 'ac%'",
        "s like 'x'",
        "not b",
        "d > 1.7",
        "f > 2",
        "f < 0",
        "i > j and i > 5",
        "t > '1970-01-01 00:00:01'",
        "i between 6 and 10",
        "i = 6 or s like 'b%'",
        "false",
    ];
    for text in ruled_out {
        assert!(!bound(text).expect(text).may_match(&known), "{text}");
    }
    for text in
        ["i > 4", "i = 3", "s like 'abm%'", "s like '%x'", "i = 6 or b", "i < j", "i not in (1)", "f = 0.0", "l is null", "s not like 'a%'"]
    {
        assert!(bound(text).expect(text).may_match(&known), "{text}");
    }
    let nan = Float64Array::from(vec![-f64::NAN, 5.0]);
    assert!(bound("f > 100").expect("nan").may_match(&|_| ColumnStatistics::of(&nan)));
    let nothing = |_: i32| Some(ColumnStatistics::all_null(3));
    for text in ["i = i", "i <> 1", "i not in (1)", "s not like 'x'", "i is not null", "b", "y < 1000"] {
        assert!(!bound(text).expect(text).may_match(&nothing), "{text}");
    }
    assert!(bound("i is null").expect("null").may_match(&nothing));
}

/// A value of the model: a number for all that is ordered like one.
#[derive(Clone, Debug)]
enum Value {
    Number(f64),
    Text(String),
}

fn value(row: &Row, column: &str) -> Option<Value> {
    match column {
        "i" => row.0.map(|value| Value::Number(value.into())),
        "j" => row.1.map(|value| Value::Number(value.into())),
        "y" => row.2.map(|value| Value::Number(value.into())),
        "s" => row.3.clone().map(Value::Text),
        "f" => row.4.map(Value::Number),
        "b" => row.5.map(|value| Value::Number(value.into())),
        "d" => row.6.map(|value| Value::Number(f64::from(value) / 100.0)),
        _ => row.7.map(|value| Value::Number(value as f64)),
    }
}

fn order(a: &Value, b: &Value) -> Ordering {
    match (a, b) {
        (Value::Text(a), Value::Text(b)) => a.cmp(b),
        (Value::Number(a), Value::Number(b)) => a.partial_cmp(b).unwrap_or(a.is_nan().cmp(&b.is_nan())),
        _ => unreachable!("columns and literals have one kind"),
    }
}

/// A filter of the model: its text, and what it says of a row.
#[derive(Clone)]
struct Model {
    text: String,
    says: Arc<Says>,
}

type Says = dyn Fn(&Row) -> Option<bool>;

impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn model(text: String, says: impl Fn(&Row) -> Option<bool> + 'static) -> Model {
    Model { text, says: Arc::new(says) }
}

fn literal(column: &'static str) -> BoxedStrategy<(String, Option<Value>)> {
    let number = |text: String| {
        let value = text.parse().expect("number");
        (text, Some(Value::Number(value)))
    };
    let some = match column {
        "s" => "[ab]{0,2}".prop_map(|text| (format!("'{text}'"), Some(Value::Text(text)))).boxed(),
        "b" => any::<bool>().prop_map(|value| (value.to_string(), Some(Value::Number(value.into())))).boxed(),
        // Halves of seconds, and some times between the milliseconds of the column.
        "t" => (-1i64..4, prop_oneof![Just("0"), Just("5"), Just("4995")])
            .prop_map(|(second, fraction)| {
                let ms = (second * 1000) as f64 + format!("0.{fraction}").parse::<f64>().expect("fraction") * 1000.0;
                let day = if second < 0 { "1969-12-31T23:59:59" } else { "1970-01-01T00:00:0" };
                let digit = if second < 0 { String::new() } else { second.to_string() };
                (format!("'{day}{digit}.{fraction}'"), Some(Value::Number(ms)))
            })
            .boxed(),
        "y" => prop_oneof![-4i32..4, -129i32..=-127, 126i32..=128].prop_map(move |value| number(value.to_string())).boxed(),
        _ => (-4i32..4, prop_oneof![Just(""), Just("0"), Just("5"), Just("25"), Just("125")])
            .prop_map(move |(whole, fraction)| number(if fraction.is_empty() { whole.to_string() } else { format!("{whole}.{fraction}") }))
            .boxed(),
    };
    prop_oneof![9 => some, 1 => Just(("null".to_string(), None))].boxed()
}

fn comparison() -> impl Strategy<Value = (&'static str, fn(Ordering) -> bool)> {
    prop::sample::select(vec![
        ("=", Ordering::is_eq as fn(Ordering) -> bool),
        ("<>", Ordering::is_ne),
        ("<", Ordering::is_lt),
        ("<=", Ordering::is_le),
        (">", Ordering::is_gt),
        (">=", Ordering::is_ge),
    ])
}

fn matches_pattern(text: &[u8], pattern: &[u8]) -> bool {
    match pattern.split_first() {
        None => text.is_empty(),
        Some((b'%', rest)) => (0..=text.len()).any(|at| matches_pattern(&text[at..], rest)),
        Some((b'_', rest)) => !text.is_empty() && matches_pattern(&text[1..], rest),
        Some((byte, rest)) => text.first() == Some(byte) && matches_pattern(&text[1..], rest),
    }
}

fn any_test() -> BoxedStrategy<Model> {
    let column = || prop::sample::select(vec!["i", "y", "s", "f", "b", "d", "t"]);
    let with_literal = column().prop_flat_map(|column| {
        (literal(column), comparison()).prop_map(move |((text, literal), (sign, accept))| {
            model(format!("{column} {sign} {text}"), move |row| Some(accept(order(&value(row, column)?, literal.as_ref()?))))
        })
    });
    let with_column = comparison()
        .prop_map(|(sign, accept)| model(format!("i {sign} j"), move |row| Some(accept(order(&value(row, "i")?, &value(row, "j")?)))));
    let is_null = column().prop_map(|column| model(format!("{column} is null"), move |row| Some(value(row, column).is_none())));
    let within = column().prop_flat_map(|column| {
        prop::collection::vec(literal(column), 1..4).prop_map(move |list| {
            let texts: Vec<String> = list.iter().map(|(text, _)| text.clone()).collect();
            model(format!("{column} in ({})", texts.join(", ")), move |row| {
                let found = value(row, column)?;
                let equal = |(_, literal): &(String, Option<Value>)| literal.as_ref().is_some_and(|literal| order(&found, literal).is_eq());
                if list.iter().any(equal) { Some(true) } else { list.iter().all(|(_, literal)| literal.is_some()).then_some(false) }
            })
        })
    });
    let like = "[ab%_]{0,3}".prop_map(|pattern| {
        let text = format!("s like '{pattern}'");
        model(text, move |row| Some(matches_pattern(row.3.as_ref()?.as_bytes(), pattern.as_bytes())))
    });
    let alone = Just(model("b".into(), |row| row.5));
    prop_oneof![4 => with_literal, 1 => with_column, 1 => is_null, 1 => within, 1 => like, 1 => alone].boxed()
}

fn any_filter() -> impl Strategy<Value = Model> {
    any_test().prop_recursive(4, 16, 3, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(a, b)| {
                model(format!("({}) and ({})", a.text, b.text), move |row| match ((a.says)(row), (b.says)(row)) {
                    (Some(false), _) | (_, Some(false)) => Some(false),
                    (Some(true), Some(true)) => Some(true),
                    _ => None,
                })
            }),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| {
                model(format!("({}) or ({})", a.text, b.text), move |row| match ((a.says)(row), (b.says)(row)) {
                    (Some(true), _) | (_, Some(true)) => Some(true),
                    (Some(false), Some(false)) => Some(false),
                    _ => None,
                })
            }),
            inner.prop_map(|a| model(format!("not ({})", a.text), move |row| (a.says)(row).map(|says| !says))),
        ]
    })
}

fn any_row() -> impl Strategy<Value = Row> {
    // Few values, so that they often meet each other and the literals.
    let strange = prop::sample::select(vec![-0.0, f64::NAN, -f64::NAN, f64::INFINITY]);
    let float = prop_oneof![3 => (-12i32..12).prop_map(|value| f64::from(value) / 4.0), 1 => strange];
    (
        prop::option::of(-4i32..4),
        prop::option::of(-4i32..4),
        prop::option::of(prop_oneof![-4i8..4, Just(i8::MIN), Just(i8::MAX)]),
        prop::option::of("[ab]{0,2}"),
        prop::option::of(float),
        prop::option::of(any::<bool>()),
        prop::option::of((-16i32..16).prop_map(|quarters| quarters * 25)),
        prop::option::of(prop_oneof![(-2i64..8).prop_map(|halves| halves * 500), 498i64..502]),
    )
}

#[test]
fn tests_of_the_first_columns_of_a_key_bound_it() {
    // Columns i, s and t of rows.
    type Rows<'a> = &'a [(i32, &'a str, i64)];
    // The key, the filter, how many ranges, and rows that are outside.
    let cases: &[(&[i32], &str, usize, Rows)] = &[
        (&[1], "i = 4", 1, &[(3, "", 0), (5, "", 0)]),
        (&[1], "i > 4 and i <= 300", 1, &[(4, "", 0), (301, "", 0)]),
        (&[1], "i in (1, 2, 70000)", 3, &[(0, "", 0), (3, "", 0), (69_999, "", 0), (70_001, "", 0)]),
        (&[1, 4], "i in (1, 2) and s = 'b'", 2, &[(1, "a", 0), (1, "b\0", 0), (2, "a", 0), (3, "b", 0)]),
        (&[4, 1], "s like 'ab%' and i = 1", 1, &[(1, "aa", 0), (1, "b", 0)]),
        (&[4, 1], "s = 'b' and i >= 7", 1, &[(6, "b", 0), (7, "a", 0), (7, "c", 0)]),
        (&[1, 8], "i = 1 and t < '1970-01-01 00:00:01'", 1, &[(1, "", 1000), (2, "", 0)]),
        (&[1, 4], "(i = 1 and s = 'a') or (i = 3 and s > 'x')", 2, &[(1, "b", 0), (3, "x", 0), (2, "a", 0)]),
        (&[1], "i = 1 and i = 2", 0, &[(1, "", 0)]),
        (&[1], "i = 1 and false", 0, &[(1, "", 0)]),
        (&[1], "i = 1 or j = 2", 1, &[]),
        (&[4], "i = 1", 1, &[]),
    ];
    for (key, text, count, outside) in cases {
        let ranges = bound(text).expect(text).key_ranges(key).expect(text);
        assert_eq!(ranges.ranges().len(), *count, "{text}");
        for (number, name, time) in *outside {
            let row = (Some(*number), None, None, Some(name.to_string()), None, None, None, Some(*time));
            let of_row = KeyEncoder::new(&schema(), key).expect("key").encode(&batch(&[row])).expect("row");
            assert!(!ranges.contains(of_row.get(0)), "{text}: {number} {name:?} {time}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn evaluation_equals_the_plain_model_and_pruning_is_never_wrong(
        model in any_filter(),
        rows in prop::collection::vec(any_row(), 0..5),
        hidden in prop::collection::vec(any::<bool>(), COLUMNS.len()),
    ) {
        let expected: Vec<usize> = (0..rows.len()).filter(|&row| (model.says)(&rows[row]) == Some(true)).collect();
        prop_assert_eq!(passing(&model.text, &rows), expected.clone(), "{}", model.text);

        let batch = batch(&rows);
        let known = |id: i32| if hidden[id as usize - 1] { None } else { ColumnStatistics::of(batch.column(id as usize - 1)) };
        let may = bound(&model.text).expect("bound").may_match(&known);
        prop_assert!(may || expected.is_empty(), "{}", model.text);
    }

    /// Of rows as keys of some columns.
    #[test]
    fn the_keys_of_all_rows_that_pass_are_in_the_ranges(
        model in any_filter(),
        rows in prop::collection::vec(any_row(), 0..8),
        key in prop::sample::subsequence(vec![1, 3, 4, 5, 6, 7, 8], 1..4).prop_shuffle(),
    ) {
        let ranges = bound(&model.text).expect("bound").key_ranges(&key).expect("ranges");
        let batch = batch(&rows);
        let is_key = |row: &usize| key.iter().all(|id| batch.column(*id as usize - 1).is_valid(*row));
        let encoder = KeyEncoder::new(&schema(), &key).expect("key");
        for row in (0..rows.len()).filter(is_key).filter(|row| (model.says)(&rows[*row]) == Some(true)) {
            let of_row = encoder.encode(&batch.slice(row, 1)).expect("key");
            prop_assert!(ranges.contains(of_row.get(0)), "{} of {:?} misses {:?}", model.text, key, rows[row]);
        }
    }

    /// Of one row with all statistics known, pruning is nearly exact; this keeps it useful.
    #[test]
    fn a_single_row_is_judged_by_its_statistics(test in any_test(), row in any_row()) {
        prop_assume!(!test.text.contains("like") && row.4.is_none_or(|value| !value.is_nan()));
        let batch = batch(std::slice::from_ref(&row));
        let known = |id: i32| ColumnStatistics::of(batch.column(id as usize - 1));
        prop_assert_eq!(bound(&test.text).expect("bound").may_match(&known), (test.says)(&row) == Some(true), "{}", test.text);
    }

    #[test]
    fn any_text_is_parsed_or_refused(text in "[ijs0-9.'\"(),<>=!xe+-]{0,20}|(i|and|or|not|is|null|in|\\(|\\)|=|1|'x'| ){0,20}|\\PC{0,12}") {
        let _ = bound(&text);
    }
}

#[test]
fn a_number_that_no_float32_is_lies_between_two() {
    let schema = TableSchema::new(vec![Field::new("g", ColumnType::Float32, true)]).unwrap();
    let values = [0.1_f32, 16_777_216.0, f32::from_bits(0.1_f32.to_bits() - 1), -0.0];
    let rows = RecordBatch::try_from_iter([("g", Arc::new(Float32Array::from(values.to_vec())) as ArrayRef)]).unwrap();
    let passing = |text: &str| {
        let bound = text.parse::<Filter>().unwrap().bind(&schema).unwrap();
        let mask = bound.evaluate(&rows).unwrap();
        (0..values.len()).filter(|row| mask.is_valid(*row) && mask.value(*row)).collect::<Vec<_>>()
    };
    assert!(passing("g = 16777217").is_empty());
    assert_eq!((passing("g < 16777217"), passing("g > 16777217")), (vec![0, 1, 2, 3], vec![]));
    assert_eq!((passing("g > 0.1"), passing("g <= 0.1"), passing("g = 0.1")), (vec![0, 1], vec![2, 3], vec![]));
    assert_eq!((passing("g <> 0.1"), passing("g in (0.1, 16777216)")), (vec![0, 1, 2, 3], vec![1]));
    assert_eq!((passing("g = 0"), passing("g > -1e-60"), passing("g < 1e-60")), (vec![3], vec![0, 1, 2, 3], vec![3]));
}
