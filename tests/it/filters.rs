//! Filters keep exactly the rows that a plain loop over them keeps, whatever statistics, projections and batch sizes do on the way.

use std::sync::Arc;

use aquifer_node::Kind;
use aquifer_node::store::{CreateTable, Table};
use arrow::array::{Array, AsArray, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{Float64Type, Int32Type};

use crate::any_rows::Dice;
use crate::{rows, scratch};

/// One row as plain values.
#[derive(Clone, Debug)]
struct Row {
    number: i64,
    a: Option<i32>,
    b: Option<f64>,
    c: Option<String>,
}

fn random_row(number: i64, dice: &mut Dice) -> Row {
    // Values drift with the number, so that statistics rule batches out.
    let drift = number as i32 / 100;
    Row {
        number,
        a: (dice.below(6) != 0).then(|| drift + dice.below(5) as i32),
        b: (dice.below(6) != 0).then(|| match dice.below(12) {
            0 => f64::NAN,
            1 => -0.0,
            2 => 0.0,
            _ => f64::from(drift) - dice.below(50) as f64 / 4.0,
        }),
        c: (dice.below(6) != 0).then(|| format!("{}{}", ["ab", "b", "", "zz", "a'b"][dice.below(5) as usize], dice.below(3))),
    }
}

fn batch(rows: &[Row]) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable([
        ("number", Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.number))) as Arc<dyn Array>, false),
        ("a", Arc::new(Int32Array::from_iter(rows.iter().map(|row| row.a))), true),
        ("b", Arc::new(Float64Array::from_iter(rows.iter().map(|row| row.b))), true),
        ("c", Arc::new(StringArray::from_iter(rows.iter().map(|row| row.c.clone()))), true),
    ])
    .unwrap()
}

/// What a condition says of a row; `None` is SQL's unknown.
type Holds = Box<dyn Fn(&Row) -> Option<bool>>;

/// A condition as text and as a plain function.
struct Condition {
    text: String,
    holds: Holds,
}

/// NaN above all numbers and equal to itself, both zeros equal.
fn order(a: f64, b: f64) -> std::cmp::Ordering {
    match (a.is_nan(), b.is_nan()) {
        (false, false) => a.partial_cmp(&b).expect("numbers"),
        (a, b) => a.cmp(&b),
    }
}

fn leaf(dice: &mut Dice) -> Condition {
    let operator = ["=", "!=", "<", "<=", ">", ">="][dice.below(6) as usize];
    let compared = move |order: std::cmp::Ordering| match operator {
        "=" => order.is_eq(),
        "!=" => order.is_ne(),
        "<" => order.is_lt(),
        "<=" => order.is_le(),
        ">" => order.is_gt(),
        _ => order.is_ge(),
    };
    match dice.below(6) {
        0 => {
            let value = dice.below(60) as i32;
            Condition { text: format!("a {operator} {value}"), holds: Box::new(move |row| row.a.map(|a| compared(a.cmp(&value)))) }
        }
        1 => {
            let value = [0.0, -1.25, 7.5, 30.0][dice.below(4) as usize];
            Condition { text: format!("b {operator} {value}"), holds: Box::new(move |row| row.b.map(|b| compared(order(b, value)))) }
        }
        2 => {
            let value = ["b1", "", "a'b0", "zz2", "ab"][dice.below(5) as usize];
            let text = format!("c {operator} '{}'", value.replace('\'', "''"));
            Condition { text, holds: Box::new(move |row| row.c.as_ref().map(|c| compared(c.as_str().cmp(value)))) }
        }
        3 => {
            let negated = dice.below(2) == 1;
            let text = format!("c is {}null", if negated { "not " } else { "" });
            Condition { text, holds: Box::new(move |row| Some(row.c.is_some() == negated)) }
        }
        4 => {
            let values = [dice.below(50) as i32, dice.below(50) as i32, dice.below(50) as i32];
            let text = format!("a in ({}, {}, {})", values[0], values[1], values[2]);
            Condition { text, holds: Box::new(move |row| row.a.map(|a| values.contains(&a))) }
        }
        _ => {
            let value = dice.below(5_000) as i64;
            Condition { text: format!("number {operator} {value}"), holds: Box::new(move |row| Some(compared(row.number.cmp(&value)))) }
        }
    }
}

fn condition(depth: u32, dice: &mut Dice) -> Condition {
    if depth == 0 || dice.below(3) == 0 {
        return leaf(dice);
    }
    let (a, b) = (condition(depth - 1, dice), condition(depth - 1, dice));
    match dice.below(3) {
        0 => Condition {
            text: format!("({} and {})", a.text, b.text),
            holds: Box::new(move |row| match ((a.holds)(row), (b.holds)(row)) {
                (Some(false), _) | (_, Some(false)) => Some(false),
                (Some(true), Some(true)) => Some(true),
                _ => None,
            }),
        },
        1 => Condition {
            text: format!("({} or {})", a.text, b.text),
            holds: Box::new(move |row| match ((a.holds)(row), (b.holds)(row)) {
                (Some(true), _) | (_, Some(true)) => Some(true),
                (Some(false), Some(false)) => Some(false),
                _ => None,
            }),
        },
        _ => Condition { text: format!("not ({})", a.text), holds: Box::new(move |row| (a.holds)(row).map(|holds| !holds)) },
    }
}

fn check(table: &Table, all: &[Row], dice: &mut Dice) {
    for _ in 0..150 {
        let condition = condition(3, dice);
        let expected: Vec<i64> = all.iter().filter(|row| (condition.holds)(row) == Some(true)).map(|row| row.number).collect();
        let columns: &[&str] = [&["number"][..], &["number", "b"], &["c", "number", "a"]][dice.below(3) as usize];
        let found =
            table.scan().columns(columns).filter(&condition.text).build().unwrap_or_else(|error| panic!("{}: {error}", condition.text));
        let mut numbers = Vec::new();
        for piece in found {
            let piece = piece.unwrap();
            assert_eq!(piece.batch.num_columns(), columns.len());
            numbers.extend(rows::numbers_in(&piece.batch));
        }
        numbers.sort();
        assert_eq!(numbers, expected, "{}", condition.text);
    }
}

#[test]
fn keep_what_a_plain_loop_keeps() {
    let dir = scratch::directory();
    let store = scratch::open(dir.path());
    let mut dice = Dice(77);
    let all: Vec<Row> = (0..5_000).map(|number| random_row(number, &mut dice)).collect();
    for (name, buckets, compression) in [("one", 1, "none"), ("many", 4, "lz4")] {
        let create = CreateTable::like(batch(&all[..1]).schema()).buckets(buckets).option("compression", compression);
        let table = store.create_table(name, create).unwrap();
        let mut writer = table.writer().unwrap();
        let mut rest = &all[..];
        while !rest.is_empty() {
            let count = [1, 7, 200, 1_100, 1_500][dice.below(5) as usize].min(rest.len());
            writer.send(&batch(&rest[..count])).unwrap();
            rest = &rest[count..];
        }
        writer.flush().unwrap();
        check(&table, &all, &mut dice);
    }
    store.close().unwrap();
    let store = scratch::open(dir.path());
    for name in ["one", "many"] {
        check(&store.table(name).unwrap(), &all, &mut dice);
    }
}

#[test]
fn nulls_and_odd_numbers_in_the_answer_are_those_that_were_written() {
    let dir = scratch::directory();
    let store = scratch::open(dir.path());
    let mut dice = Dice(5);
    let all: Vec<Row> = (0..3_000).map(|number| random_row(number, &mut dice)).collect();
    let table = store.create_table("t", CreateTable::like(batch(&all[..1]).schema())).unwrap();
    table.writer().unwrap().append(&batch(&all)).unwrap();
    let found = rows::collect(table.scan().filter("a >= 10 and a < 20").build().unwrap());
    for (row, number) in rows::numbers_in(&found).into_iter().enumerate() {
        let expected = &all[number as usize];
        let (a, b) = (found.column(1).as_primitive::<Int32Type>(), found.column(2).as_primitive::<Float64Type>());
        assert_eq!(Some(a.value(row)), expected.a);
        assert_eq!((!b.is_null(row)).then(|| b.value(row).to_bits()), expected.b.map(f64::to_bits));
    }
}

#[test]
fn bad_filters_are_refused_with_the_place() {
    let dir = scratch::directory();
    let store = scratch::open(dir.path());
    let table = store.create_table("t", CreateTable::like(rows::schema())).unwrap();
    for (text, says) in [("number >", "number"), ("nummber = 1", "number"), ("number = 'x'", "x"), ("number = 1 name", "name"), ("", "")] {
        let error = table.scan().filter(text).build().map(|_| ()).unwrap_err();
        assert_eq!(error.kind(), Kind::Invalid, "{text}: {error}");
        assert!(error.to_string().contains(says), "{text}: {error}");
    }
}
