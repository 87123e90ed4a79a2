//! The columns of a file: what its head says (parquet, arrow), or what its first rows look like (csv, ndjson).
//!
//! Invariant: what a head says is told as it is; the store says what becomes of types that tables do not have.

use std::io::{BufRead, Cursor};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use aquifer_node::{Error, Result};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::ipc::reader::FileReader;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::chunks::{Chunk, Chunks};
use super::columnar::{Columnar, broken, decoded};
use super::csv_record::{Record, Taken};
use super::{ARROW_FILE, Format, NAME_FORMAT, guess, refuse_binary, shown};
use crate::command::time_text::parse_timestamp;

/// Bytes of text that are looked at.
const SAMPLE_BYTES: usize = 4 << 20;

/// Reads the columns of a file, by its name and first bytes if no format is given.
pub(crate) fn infer(path: &Path, format: Option<Format>) -> Result<SchemaRef> {
    let mut chunks = Chunks::open(path)?;
    let (format, is_assumed) = format.map_or_else(|| guess(path, &mut chunks), |format| Ok((format, false)))?;
    if is_assumed {
        // Nothing would tell that the columns are not what was meant.
        let untold = Error::invalid("neither its name nor its first bytes tell the format of the file").at("file", shown(path));
        return Err(untold.hint(format!("name it with {NAME_FORMAT}, or describe the columns with --schema")));
    }
    let found = match format {
        Format::Parquet => {
            let file = chunks.into_file()?;
            ParquetRecordBatchReaderBuilder::try_new(file)
                .map(|builder| builder.schema().clone())
                .map_err(|error| broken("parquet", &error))
        }
        Format::Arrow if chunks.peek(ARROW_FILE.len())?.starts_with(ARROW_FILE) => {
            let file = chunks.into_file()?;
            decoded("arrow", || FileReader::try_new_buffered(file, None).map(|reader| reader.schema()))
        }
        Format::Arrow => match Columnar::arrow_stream(chunks) {
            Columnar::ArrowStream(stream) => stream.schema(),
            _ => Err(Error::internal("a stream is no stream")),
        },
        Format::Csv => sample(chunks).and_then(csv),
        Format::Ndjson => sample(chunks).and_then(ndjson),
    };
    found.map_err(|error| {
        let names_option = error.advice().is_some_and(|advice| advice.contains("--format"));
        let error = error.at("file", shown(path));
        match names_option {
            true => error.hint("write the file anew, name its format with --format, or describe the columns with --schema"),
            false => error,
        }
    })
}

/// The first lines; a line that the sample cuts is left out.
fn sample(mut chunks: Chunks) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    loop {
        match chunks.next(Duration::from_secs(1))? {
            Chunk::Bytes(more) => {
                bytes.extend(more);
                refuse_binary(&bytes)?;
            }
            Chunk::Idle => continue,
            Chunk::End => return Ok(bytes),
        }
        if bytes.len() >= SAMPLE_BYTES {
            let end = bytes.iter().rposition(|byte| *byte == b'\n').unwrap_or(bytes.len());
            bytes.truncate(end);
            return Ok(bytes);
        }
    }
}

fn csv(bytes: Vec<u8>) -> Result<SchemaRef> {
    let format = arrow::csv::reader::Format::default().with_header(true);
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    let (schema, _) = format.infer_schema(Cursor::new(bytes), None).map_err(|error| broken("csv", &error))?;
    if schema.fields().is_empty() {
        return Err(broken("csv", &"it has no header"));
    }
    let fields = schema.fields().iter().enumerate();
    let fields = fields.map(|(place, field)| Field::new(field.name(), seen_type(field.data_type(), || has_offset(bytes, place)), true));
    Ok(Arc::new(Schema::new(fields.collect::<Vec<_>>())))
}

/// Whether the first time in a column of csv has an offset.
fn has_offset(mut bytes: &[u8], place: usize) -> bool {
    let (mut record, mut row) = (Record::default(), 0);
    loop {
        match record.take(bytes, true) {
            Taken::Record(len) => bytes = &bytes[len..],
            Taken::Blank(len) => {
                bytes = &bytes[len..];
                continue;
            }
            _ => return false,
        }
        let cell = record.cells().nth(place).map(|(cell, _)| String::from_utf8_lossy(cell).into_owned());
        if let Some(cell) = cell.filter(|cell| row > 0 && !cell.is_empty()) {
            return parse_timestamp(&cell, 9, true).is_ok() && parse_timestamp(&cell, 9, false).is_err();
        }
        row += 1;
    }
}

fn ndjson(bytes: Vec<u8>) -> Result<SchemaRef> {
    let lines = bytes.lines().filter(|line| line.as_ref().is_ok_and(|line| !line.trim().is_empty()));
    let wrong = |what: String| arrow::error::ArrowError::JsonError(what);
    let values = lines.map(|line| match serde_json::from_str::<serde_json::Value>(&line.unwrap_or_default()) {
        Ok(value) if value.is_object() => Ok(value),
        // Its text may be all of the file.
        Ok(_) => Err(wrong("a line is one object, and one is something else".into())),
        Err(error) => Err(wrong(error.to_string())),
    });
    let schema = arrow::json::reader::infer_json_schema_from_iterator(values).map_err(|error| broken("ndjson", &error))?;
    match schema.fields().is_empty() {
        true => Err(broken("ndjson", &"it has no row")),
        false => Ok(Arc::new(schema)),
    }
}

/// What a column of such texts is best stored as.
fn seen_type(seen: &DataType, has_offset: impl Fn() -> bool) -> DataType {
    match seen {
        DataType::Null => DataType::Utf8,
        DataType::Timestamp(unit, _) => {
            let unit = if *unit == TimeUnit::Nanosecond { TimeUnit::Nanosecond } else { TimeUnit::Microsecond };
            DataType::Timestamp(unit, has_offset().then(|| "UTC".into()))
        }
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::type_text::print_type;

    fn types(schema: &Schema) -> Vec<String> {
        schema.fields().iter().map(|field| format!("{} {}", field.name(), print_type(field.data_type()))).collect()
    }

    #[test]
    fn csv_is_judged_by_its_first_rows() {
        let text = "a,b,c,d,e,f\n1,1.5,true,2026-01-31,2026-01-31T12:00:00Z,\n2,,false,2026-02-01,2026-01-31T12:00:00.5Z,\"x,\"\n";
        let expected = ["a int64", "b float64", "c bool", "d date", "e timestamp(us, UTC)", "f utf8"];
        assert_eq!(types(&csv(text.into()).unwrap()), expected);
        assert!(csv(Vec::new()).is_err());
    }

    #[test]
    fn ndjson_is_judged_by_its_first_rows() {
        let schema = ndjson(b"{\"a\":1,\"b\":{\"c\":[1.5]}}\n\n{\"a\":2,\"d\":\"x\"}\n".to_vec()).unwrap();
        let mut found = types(&schema);
        found.sort();
        assert_eq!(found, ["a int64", "b struct<c: list<float64>>", "d utf8"]);
        assert!(ndjson(b"{broken".to_vec()).is_err());
        let list = ndjson(b"[{\"a\":1},{\"a\":2}]".to_vec()).unwrap_err().to_string();
        assert!(list.contains("a line is one object") && !list.contains("Array"), "{list}");
    }
}
