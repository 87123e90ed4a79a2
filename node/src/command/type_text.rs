//! Column types as text: `int64`, `decimal128(10,2)`, `timestamp(us, UTC)`, `list<utf8>`, `struct<a: int32 not null>`.
//!
//! Invariant: what is printed is what a schema file takes. Knows nothing of files or tables.

use arrow::datatypes::{DataType, Field, TimeUnit};

/// The type as `store::parse_type` takes it; a type that tables do not have as Arrow prints it.
pub(crate) fn print_type(data_type: &DataType) -> String {
    let inner = |field: &Field| {
        let null = if field.is_nullable() { "" } else { " not null" };
        format!("{}{null}", print_type(field.data_type()))
    };
    match data_type {
        DataType::Boolean => "bool".into(),
        DataType::Decimal128(precision, scale) => format!("decimal128({precision},{scale})"),
        DataType::Date32 => "date".into(),
        DataType::Time32(unit) | DataType::Time64(unit) => format!("time({})", print_unit(*unit)),
        DataType::Timestamp(unit, None) => format!("timestamp({})", print_unit(*unit)),
        DataType::Timestamp(unit, Some(zone)) => format!("timestamp({}, {zone})", print_unit(*unit)),
        DataType::FixedSizeBinary(bytes) => format!("fixed_binary({bytes})"),
        DataType::List(field) => format!("list<{}>", inner(field)),
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(pair) if pair.len() == 2 => format!("map<{}, {}>", print_type(pair[0].data_type()), inner(&pair[1])),
            other => other.to_string(),
        },
        DataType::Struct(fields) => {
            let fields: Vec<_> = fields.iter().map(|field| format!("{}: {}", field.name(), inner(field))).collect();
            format!("struct<{}>", fields.join(", "))
        }
        other => other.to_string().to_ascii_lowercase(),
    }
}

fn print_unit(unit: TimeUnit) -> &'static str {
    match unit {
        TimeUnit::Second => "s",
        TimeUnit::Millisecond => "ms",
        TimeUnit::Microsecond => "us",
        TimeUnit::Nanosecond => "ns",
    }
}

/// Digits behind the second that a unit holds.
pub(crate) fn unit_digits(unit: TimeUnit) -> u32 {
    match unit {
        TimeUnit::Second => 0,
        TimeUnit::Millisecond => 3,
        TimeUnit::Microsecond => 6,
        TimeUnit::Nanosecond => 9,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::store::parse_type;

    #[test]
    fn every_type_is_printed_as_it_is_parsed() {
        for text in [
            "bool",
            "int8",
            "decimal128(38,0)",
            "date",
            "time(ms)",
            "timestamp(s)",
            "timestamp(us, UTC)",
            "utf8",
            "binary",
            "fixed_binary(16)",
            "list<list<int32 not null>>",
            "map<utf8, decimal128(10,2)>",
            "struct<a: int32 not null, b: list<struct<c: date>>>",
        ] {
            assert_eq!(print_type(&parse_type(text).unwrap()), text);
        }
    }
}
