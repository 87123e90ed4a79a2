//! Reads rows written under one version of a schema as rows of another: by field id, whatever the names and places.
//!
//! Invariant: a column is the same column if its id is; what was not there yet is null, what has widened is cast, what was
//! dropped is not read. When nothing differs, nothing is copied. Knows nothing of how the written columns are stored.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, MapArray, RecordBatch, RecordBatchOptions, StructArray, new_null_array};
use arrow::datatypes::{DataType, FieldRef, Fields, SchemaRef};

use super::cast::cast;
use super::evolution::widens;
use super::schema::TableSchema;
use super::types::{ColumnType, Field};
use crate::error::{Error, Result};

/// How to turn rows of one schema version into rows of another, or of some of its columns.
#[derive(Clone, Debug)]
pub struct Mapping {
    /// Which columns of the written schema are needed.
    read: Vec<usize>,
    /// Their Arrow types.
    read_types: Vec<DataType>,
    /// The wanted columns.
    schema: SchemaRef,
    sources: Vec<Source>,
    is_identity: bool,
}

/// Where a wanted field comes from.
#[derive(Clone, Debug, PartialEq)]
enum Source {
    /// It was not there yet.
    Null(DataType),
    /// From the field at this position, among the columns read or in the written struct.
    Field(usize, Step),
}

/// What is done with an array.
#[derive(Clone, Debug, PartialEq)]
enum Step {
    Keep,
    Cast(DataType),
    Struct(Fields, Vec<Source>),
    List(FieldRef, Box<Step>),
    Map { entries: FieldRef, fields: Fields, key: Box<Step>, value: Box<Step> },
}

impl Mapping {
    /// From rows `written` under one version to rows `wanted` under another of the same table; of these only `columns`, in that
    /// order, unless that is `None`.
    ///
    /// # Errors
    /// Invalid for a column that `wanted` does not have, with the name that was probably meant, or that is named twice.
    /// Conflict when `written` is the newer one and its rows cannot be read as older ones.
    pub fn new<S: AsRef<str>>(written: &TableSchema, wanted: &TableSchema, columns: Option<&[S]>) -> Result<Mapping> {
        let indices: Vec<usize> = match columns {
            None => (0..wanted.fields().len()).collect(),
            Some(names) => wanted.ids_of(names)?.iter().filter_map(|id| wanted.index_of_id(*id)).collect(),
        };
        let schema = match columns {
            None => wanted.arrow().clone(),
            Some(_) => {
                Arc::new(wanted.arrow().project(&indices).map_err(|error| Error::internal("cannot project a schema").caused_by(error))?)
            }
        };
        let mut read: Vec<usize> = indices.iter().filter_map(|&index| written.index_of_id(wanted.fields()[index].id)).collect();
        // Written order, so that a decoder goes forward.
        read.sort_unstable();
        let available: Vec<&Field> = read.iter().map(|&index| &written.fields()[index]).collect();
        let source = |&index: &usize| source(&available, &wanted.fields()[index]);
        let sources = indices.iter().map(source).collect::<Result<Vec<_>>>()?;
        let in_place = |(place, source): (usize, &Source)| *source == Source::Field(place, Step::Keep);
        let is_identity = sources.len() == read.len() && sources.iter().enumerate().all(in_place);
        let read_types = available.iter().map(|field| field.kind.to_arrow()).collect();
        Ok(Mapping { read, read_types, schema, sources, is_identity })
    }

    /// The columns of the written schema to read, ascending; [`Mapping::apply`] takes them in this order.
    pub fn read_columns(&self) -> &[usize] {
        &self.read
    }

    /// The Arrow schema of what [`Mapping::apply`] gives.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Whether the columns read are the columns wanted, so that [`Mapping::apply`] only names them.
    pub fn is_identity(&self) -> bool {
        self.is_identity
    }

    /// The wanted rows from the columns that were read.
    ///
    /// # Errors
    /// Corrupt when the columns are not those of the written schema. Conflict when they have nulls where the wanted schema has
    /// none: it is older than the rows.
    pub fn apply(&self, read: &RecordBatch) -> Result<RecordBatch> {
        let types = read.columns().iter().map(|array| array.data_type());
        if read.num_columns() != self.read.len() || !types.eq(self.read_types.iter()) {
            return Err(Error::corrupt("the columns of a batch are not those of its schema version"));
        }
        if self.is_identity && Arc::ptr_eq(read.schema_ref(), &self.schema) {
            return Ok(read.clone());
        }
        let rows = read.num_rows();
        let columns = self.sources.iter().map(|source| source.take(read.columns(), rows)).collect::<Result<Vec<_>>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(self.schema.clone(), columns, &options).map_err(misfit)
    }
}

fn source(written: &[&Field], wanted: &Field) -> Result<Source> {
    match written.iter().position(|field| field.id == wanted.id) {
        Some(position) => Ok(Source::Field(position, step(written[position], wanted)?)),
        None if wanted.nullable => Ok(Source::Null(wanted.kind.to_arrow())),
        None => Err(newer(&wanted.name)),
    }
}

fn step(written: &Field, wanted: &Field) -> Result<Step> {
    if written.kind == wanted.kind {
        return Ok(Step::Keep);
    }
    let target = wanted.kind.to_arrow();
    Ok(match (&written.kind, &wanted.kind, target) {
        (ColumnType::Struct(from), ColumnType::Struct(to), DataType::Struct(fields)) => {
            let from: Vec<&Field> = from.iter().collect();
            Step::Struct(fields, to.iter().map(|field| source(&from, field)).collect::<Result<_>>()?)
        }
        (ColumnType::List(from), ColumnType::List(to), DataType::List(element)) if from.id == to.id => {
            Step::List(element, Box::new(step(from, to)?))
        }
        (ColumnType::Map { key, value }, ColumnType::Map { key: to_key, value: to_value }, DataType::Map(entries, _)) => {
            let DataType::Struct(fields) = entries.data_type().clone() else { return Err(newer(&wanted.name)) };
            let (key, value) = (Box::new(step(key, to_key)?), Box::new(step(value, to_value)?));
            Step::Map { entries, fields, key, value }
        }
        (from, to, target) if widens(from, to) => Step::Cast(target),
        _ => return Err(newer(&wanted.name)),
    })
}

/// What to do when rows are newer than the columns that they are read in.
const AGAIN: &str = "start the scan again: it has the columns that the table has now";

fn newer(column: &str) -> Error {
    let error = Error::conflict("rows written under a newer schema cannot be read under this one").at("column", column);
    error.hint(AGAIN)
}

fn misfit(error: arrow::error::ArrowError) -> Error {
    Error::conflict("rows have nulls where the schema that was asked for has none").hint(AGAIN).caused_by(error)
}

impl Source {
    fn take(&self, arrays: &[ArrayRef], rows: usize) -> Result<ArrayRef> {
        match self {
            Source::Null(data_type) => Ok(new_null_array(data_type, rows)),
            Source::Field(position, step) => step.apply(&arrays[*position]),
        }
    }
}

impl Step {
    /// The array has the written type: [`Mapping::apply`] has checked it.
    fn apply(&self, array: &ArrayRef) -> Result<ArrayRef> {
        match self {
            Step::Keep => Ok(array.clone()),
            Step::Cast(to) => cast(array, to),
            Step::Struct(fields, sources) => {
                let written = array.as_struct();
                let columns = sources.iter().map(|source| source.take(written.columns(), array.len())).collect::<Result<Vec<_>>>()?;
                let made = StructArray::try_new_with_length(fields.clone(), columns, written.nulls().cloned(), array.len());
                Ok(Arc::new(made.map_err(misfit)?))
            }
            Step::List(element, step) => {
                let written = array.as_list::<i32>();
                let elements = step.apply(written.values())?;
                let made = ListArray::try_new(element.clone(), written.offsets().clone(), elements, written.nulls().cloned());
                Ok(Arc::new(made.map_err(misfit)?))
            }
            Step::Map { entries, fields, key, value } => {
                let written = array.as_map();
                let columns = vec![key.apply(written.keys())?, value.apply(written.values())?];
                let pairs = StructArray::try_new(fields.clone(), columns, None).map_err(misfit)?;
                let made = MapArray::try_new(entries.clone(), written.offsets().clone(), pairs, written.nulls().cloned(), false);
                Ok(Arc::new(made.map_err(misfit)?))
            }
        }
    }
}

#[cfg(test)]
pub(in crate::table) mod tests;
