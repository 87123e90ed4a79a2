//! What a table is partitioned by: columns, or the year, month, day or hour of a time.
//!
//! Knows how `--partition-by` writes it and what fits a schema, nothing of values.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::table::names::{parse_list, quoted_name};
use crate::table::nearest::did_you_mean;
use crate::table::schema::TableSchema;
use crate::table::types::ColumnType;

/// Most partition fields of a table.
pub const PARTITION_FIELDS_MAX: usize = 8;

/// What is made of a column's value to get the partition's value. Times count in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transform {
    /// The value itself.
    Identity,
    /// Years since 1970.
    Year,
    /// Months since 1970-01.
    Month,
    /// Days since 1970-01-01.
    Day,
    /// Hours since 1970-01-01 00:00.
    Hour,
}

impl Transform {
    const ALL: [(&'static str, Transform); 5] = [
        ("identity", Transform::Identity),
        ("year", Transform::Year),
        ("month", Transform::Month),
        ("day", Transform::Day),
        ("hour", Transform::Hour),
    ];

    fn parse(text: &str) -> Result<Self> {
        let found = Transform::ALL.iter().find(|(name, _)| name.eq_ignore_ascii_case(text));
        found.map(|(_, transform)| *transform).ok_or_else(|| {
            let hint = did_you_mean(text, Transform::ALL.iter().map(|(name, _)| *name));
            Error::invalid(format!("unknown transform `{text}`")).hint(hint)
        })
    }

    /// Whether values of `kind` can be transformed.
    fn accepts(self, kind: &ColumnType) -> bool {
        match self {
            Transform::Identity => !kind.is_nested() && !matches!(kind, ColumnType::Float32 | ColumnType::Float64),
            Transform::Hour => matches!(kind, ColumnType::Timestamp { .. }),
            _ => matches!(kind, ColumnType::Timestamp { .. } | ColumnType::Date),
        }
    }
}

impl fmt::Display for Transform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Transform::ALL.iter().find(|(_, transform)| transform == self).map_or("", |(name, _)| name);
        f.write_str(name)
    }
}

/// One part of what names a partition.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartitionField {
    /// The field id of the column.
    pub source: i32,
    /// What is made of its value.
    pub transform: Transform,
    /// How the part is called in names of partitions: the column, or as in `ts_day`.
    pub name: String,
}

impl PartitionField {
    /// Parses `--partition-by`: `c,day(ts),"a,b",day("c,d")`.
    ///
    /// # Errors
    /// Invalid for unknown columns and transforms, with what was probably meant, and for types that cannot be used.
    pub fn parse_list(text: &str, schema: &TableSchema) -> Result<Vec<PartitionField>> {
        let fields = parse_list(text, |text| PartitionField::parse_first(text, schema))?;
        PartitionField::check(&fields, schema)?;
        Ok(fields)
    }

    /// The field that a text begins with, and what is behind it.
    fn parse_first<'a>(text: &'a str, schema: &TableSchema) -> Result<(PartitionField, &'a str)> {
        if let Some((column, behind)) = quoted_name(text)? {
            return Ok((PartitionField::of(Transform::Identity, &column, schema)?, behind));
        }
        let (plain, behind) = text.split_at(text.find(',').unwrap_or(text.len()));
        if let Some((transform, _)) = plain.split_once('(').filter(|_| schema.column(plain.trim()).is_err())
            && let Some((column, behind)) = quoted_name(text[transform.len() + 1..].trim_start())?
        {
            let open = || Error::invalid(format!("`)` is missing behind \"{column}\"")).hint("partition by as in day(\"a,b\")");
            let behind = behind.trim_start().strip_prefix(')').ok_or_else(open)?;
            return Ok((PartitionField::of(Transform::parse(transform.trim())?, &column, schema)?, behind));
        }
        Ok((PartitionField::parse(plain.trim(), schema)?, behind))
    }

    fn parse(text: &str, schema: &TableSchema) -> Result<PartitionField> {
        let call = text.strip_suffix(')').and_then(|text| text.split_once('('));
        // A column may be called `day(ts)`, as files from elsewhere do.
        let Some((transform, column)) = call.filter(|_| schema.column(text).is_err()) else {
            return PartitionField::of(Transform::Identity, text, schema);
        };
        PartitionField::of(Transform::parse(transform.trim())?, column.trim(), schema)
    }

    fn of(transform: Transform, column: &str, schema: &TableSchema) -> Result<PartitionField> {
        let source = schema.column(column)?.id;
        let name = if transform == Transform::Identity { column.to_string() } else { format!("{column}_{transform}") };
        Ok(PartitionField { source, transform, name })
    }

    /// Checks the partition fields of a table against its schema.
    ///
    /// # Errors
    /// Invalid when a column is missing or of a type that cannot be used, and when two fields are the same.
    pub fn check(fields: &[PartitionField], schema: &TableSchema) -> Result<()> {
        if fields.len() > PARTITION_FIELDS_MAX {
            return Err(Error::invalid(format!("more than {PARTITION_FIELDS_MAX} partition fields")));
        }
        for (index, field) in fields.iter().enumerate() {
            let Some(column) = schema.field(field.source) else {
                return Err(Error::invalid(format!("partition field `{}` has no column", field.name)).at("field id", field.source));
            };
            if !field.transform.accepts(&column.kind) {
                let message = format!("cannot partition by {} of `{}`, which is {}", field.transform, column.name, column.kind);
                return Err(Error::invalid(message).hint("use a plain column, or year, month, day, hour of a date or timestamp"));
            }
            let same =
                |other: &PartitionField| other.name == field.name || (other.source, other.transform) == (field.source, field.transform);
            if fields[..index].iter().any(same) {
                return Err(Error::invalid(format!("partition field `{}` is given twice", field.name)));
            }
        }
        Ok(())
    }
}
