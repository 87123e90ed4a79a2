//! Makes a batch from outside fit the schema of a table, or says exactly why it does not.
//!
//! Columns are matched by name; a missing nullable column becomes nulls; values are never changed, only widened, and times put into a coarser
//! unit when they are whole in it; nulls stay out of non-null columns, nested ones too. Knows nothing of earlier schema versions: that is `mapping`.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, FixedSizeListArray, GenericListArray, ListArray, MapArray, OffsetSizeTrait, RecordBatch, RecordBatchOptions,
    StructArray, UInt32Array, new_null_array,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::kernels::cmp::distinct;
use arrow::compute::take;
use arrow::datatypes::{DataType, Field as ArrowField, Fields};
use arrow::error::ArrowError;

use super::adopt::kind_of;
use super::cast::{cast, coarsens, holds, plain_time};
use super::digits;
use super::literal::print_value;
use super::nearest::did_you_mean;
use super::scalar::ScalarRef;
use super::schema::TableSchema;
use crate::error::{Error, Result};

/// The rows of `batch` with exactly the Arrow schema of `schema`; a cheap clone when they have it already.
///
/// # Errors
/// Invalid, naming the column, and the first row (from 0) where one is to blame: an unknown or doubled column, a missing
/// non-null one, a type that does not hold the values, a time that is not whole in the unit of its column, a decimal of more digits than
/// its type has, a null in a non-null column.
pub fn conform(batch: &RecordBatch, schema: &TableSchema) -> Result<RecordBatch> {
    let target = schema.arrow();
    let source = batch.schema_ref();
    if Arc::ptr_eq(source, target) || source == target {
        digits::check(batch)?;
        return Ok(batch.clone());
    }
    let columns = fit_fields(source.fields(), batch.columns(), target.fields(), batch.num_rows(), None).map_err(Misfit::into_error)?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    let rows = RecordBatch::try_new_with_options(target.clone(), columns, &options)
        .map_err(|error| Error::internal("a conformed batch does not fit its schema").caused_by(error))?;
    digits::check(&rows)?;
    Ok(rows)
}

/// Why a batch does not fit: what, in which nested field, in which row of the array at hand.
struct Misfit {
    error: Error,
    path: Vec<String>,
    row: Option<usize>,
}

impl Misfit {
    fn new(error: Error) -> Self {
        Misfit { error, path: Vec::new(), row: None }
    }

    fn within(mut self, name: &str) -> Self {
        self.path.push(name.to_string());
        self
    }

    fn into_error(mut self) -> Error {
        self.path.reverse();
        let located = if self.path.is_empty() { self.error } else { self.error.at("column", self.path.join(".")) };
        match self.row {
            Some(row) => located.at("row", row),
            None => located,
        }
    }
}

impl From<ArrowError> for Misfit {
    fn from(error: ArrowError) -> Self {
        Misfit::new(Error::invalid(format!("the values do not fit: {error}")))
    }
}

type Fit<T> = std::result::Result<T, Misfit>;

/// Matches fields by name; `valid` are the rows that are not null in the enclosing struct.
fn fit_fields(from: &Fields, arrays: &[ArrayRef], to: &Fields, rows: usize, valid: Option<&NullBuffer>) -> Fit<Vec<ArrayRef>> {
    let places = places(from, to)?;
    let fit_one = |(place, target): (Option<usize>, &Arc<ArrowField>)| match place {
        Some(place) => fit(&arrays[place], target, valid).map_err(|misfit| misfit.within(target.name())),
        None if target.is_nullable() => Ok(new_null_array(target.data_type(), rows)),
        None => Err(Misfit::new(Error::invalid("the batch lacks a column that must not be null")).within(target.name())),
    };
    places.into_iter().zip(to).map(fit_one).collect()
}

/// Where in `from` each field of `to` stands; every field of `from` must be wanted, once.
fn places(from: &Fields, to: &Fields) -> Fit<Vec<Option<usize>>> {
    if from.len() == to.len() && from.iter().zip(to).all(|(field, target)| field.name() == target.name()) {
        return Ok((0..to.len()).map(Some).collect());
    }
    let wanted: HashMap<&str, usize> = to.iter().enumerate().map(|(place, target)| (target.name().as_str(), place)).collect();
    let mut places = vec![None; to.len()];
    for (index, field) in from.iter().enumerate() {
        let name = field.name();
        let Some(&place) = wanted.get(name.as_str()) else {
            let error = Error::invalid(format!("the table has no column `{name}`"));
            let hint = did_you_mean(name, to.iter().map(|target| target.name().as_str()));
            return Err(Misfit::new(if hint.is_empty() { error } else { error.hint(hint) }));
        };
        if places[place].replace(index).is_some() {
            return Err(Misfit::new(Error::invalid(format!("two columns of the batch are called `{name}`"))));
        }
    }
    Ok(places)
}

fn fit(array: &ArrayRef, to: &ArrowField, valid: Option<&NullBuffer>) -> Fit<ArrayRef> {
    let fitted = fit_type(array, to.data_type(), valid)?;
    if !to.is_nullable()
        && let Some(row) = first_null(fitted.as_ref(), valid)
    {
        let error = Error::invalid("null in a column that must not be null");
        return Err(Misfit { error, path: Vec::new(), row: Some(row) });
    }
    Ok(fitted)
}

/// The first row that is null although the enclosing struct is not.
fn first_null(array: &dyn Array, valid: Option<&NullBuffer>) -> Option<usize> {
    let nulls = array.logical_nulls().filter(|nulls| nulls.null_count() > 0)?;
    (0..array.len()).find(|&row| nulls.is_null(row) && valid.is_none_or(|valid| valid.is_valid(row)))
}

fn fit_type(array: &ArrayRef, to: &DataType, valid: Option<&NullBuffer>) -> Fit<ArrayRef> {
    let from = array.data_type();
    match (from, to) {
        _ if from == to => Ok(array.clone()),
        (DataType::Struct(fields), DataType::Struct(targets)) => {
            let source = array.as_struct();
            let columns = fit_fields(fields, source.columns(), targets, source.len(), source.nulls())?;
            Ok(Arc::new(StructArray::try_new_with_length(targets.clone(), columns, source.nulls().cloned(), source.len())?))
        }
        (DataType::List(_), DataType::List(element)) => fit_list(Lists::new(array.as_list::<i32>())?, element),
        (DataType::LargeList(_), DataType::List(element)) => fit_list(Lists::new(array.as_list::<i64>())?, element),
        (DataType::FixedSizeList(_, _), DataType::List(element)) => fit_list(Lists::fixed(array.as_fixed_size_list())?, element),
        (DataType::Map(_, _), DataType::Map(entries, _)) => fit_map(array.as_map(), entries),
        (DataType::Dictionary(_, values), _) if values.is_nested() => fit_type(&cast(array, values).map_err(Misfit::new)?, to, valid),
        _ if holds(from, to) => fit_range(array, to),
        _ if coarsens(from, to) => fit_coarser(array, to, valid),
        _ => {
            let error = Error::invalid(format!("{from} does not fit {to} without loss"));
            Err(Misfit::new(error.hint("convert the data, or widen the column with `alter`")))
        }
    }
}

/// The same values in another type, if all are in its range.
fn fit_range(array: &ArrayRef, to: &DataType) -> Fit<ArrayRef> {
    cast(array, to).map_err(|error| {
        let row = (0..array.len()).find(|&row| cast(&array.slice(row, 1), to).is_err());
        Misfit { row, ..Misfit::new(error) }
    })
}

/// Times in a coarser unit, if each is whole in it; what stands behind a null is not looked at.
fn fit_coarser(array: &ArrayRef, to: &DataType, valid: Option<&NullBuffer>) -> Fit<ArrayRef> {
    let fine = cast(array, &plain_time(array.data_type())).map_err(Misfit::new)?;
    let coarse = fit_range(&fine, to)?;
    let back = cast(&coarse, fine.data_type()).map_err(Misfit::new)?;
    let changed = distinct(&fine, &back)?;
    let first = changed.values().set_indices().find(|&row| valid.is_none_or(|valid| valid.is_valid(row)));
    let Some(row) = first else { return Ok(coarse) };
    let kind = |data_type| kind_of(data_type).map_err(Misfit::new);
    let value = match ScalarRef::at(&fine, row) {
        Some(value) => print_value(value, &kind(fine.data_type())?),
        None => "a value".to_string(),
    };
    let error = Error::invalid(format!("{value} is not whole in {}", kind(to)?)).hint("round it, or create the table with a finer unit");
    Err(Misfit { row: Some(row), ..Misfit::new(error) })
}

/// Lists of any kind: offsets that start at 0, the elements between the first and the last, which lists are null.
struct Lists {
    offsets: OffsetBuffer<i32>,
    elements: ArrayRef,
    nulls: Option<NullBuffer>,
}

impl Lists {
    fn new<O: OffsetSizeTrait>(list: &GenericListArray<O>) -> Fit<Self> {
        Lists::from_parts(list.offsets(), list.values(), list.nulls())
    }

    fn from_parts<O: OffsetSizeTrait>(offsets: &OffsetBuffer<O>, elements: &ArrayRef, nulls: Option<&NullBuffer>) -> Fit<Self> {
        let (first, last) = (offsets[0].as_usize(), offsets[offsets.len() - 1].as_usize());
        if i32::try_from(last - first).is_err() {
            return Err(Misfit::new(Error::invalid("the lists of one batch have more than 2^31 elements")));
        }
        let rebased: Vec<i32> = offsets.iter().map(|offset| (offset.as_usize() - first) as i32).collect();
        let elements = elements.slice(first, last - first);
        Ok(Lists { offsets: OffsetBuffer::new(rebased.into()), elements, nulls: nulls.cloned() })
    }

    fn fixed(list: &FixedSizeListArray) -> Fit<Self> {
        let width = list.value_length();
        let end = list.len().checked_mul(width as usize).filter(|end| i32::try_from(*end).is_ok());
        if end.is_none() {
            return Err(Misfit::new(Error::invalid("the lists of one batch have more than 2^31 elements")));
        }
        let offsets: Vec<i32> = (0..=list.len()).map(|row| row as i32 * width).collect();
        Ok(Lists { offsets: OffsetBuffer::new(offsets.into()), elements: list.values().clone(), nulls: list.nulls().cloned() })
    }

    /// Says in which list the element that does not fit stands.
    fn locate(&self, mut misfit: Misfit) -> Misfit {
        misfit.row = misfit.row.map(|element| self.offsets.partition_point(|&offset| offset as usize <= element) - 1);
        misfit
    }

    /// The same lists, null ones emptied: what stands behind a null is not data and must not be judged.
    fn without_hidden(self, element: &Arc<ArrowField>) -> Fit<Self> {
        if self.nulls.as_ref().is_none_or(|nulls| nulls.null_count() == 0) {
            return Ok(self);
        }
        let field = Arc::new(ArrowField::new(element.name(), self.elements.data_type().clone(), true));
        let list = ListArray::try_new(field, self.offsets, self.elements, self.nulls)?;
        let every_row = UInt32Array::from_iter_values(0..list.len() as u32);
        Lists::new(take(&list, &every_row, None)?.as_list::<i32>())
    }
}

fn fit_list(lists: Lists, element: &Arc<ArrowField>) -> Fit<ArrayRef> {
    let lists = lists.without_hidden(element)?;
    let elements = fit(&lists.elements, element, None).map_err(|misfit| lists.locate(misfit))?;
    Ok(Arc::new(ListArray::try_new(element.clone(), lists.offsets, elements, lists.nulls)?))
}

fn fit_map(map: &MapArray, to: &Arc<ArrowField>) -> Fit<ArrayRef> {
    let entries: ArrayRef = Arc::new(map.entries().clone());
    let lists = Lists::from_parts(map.offsets(), &entries, map.nulls())?.without_hidden(to)?;
    let DataType::Struct(targets) = to.data_type() else {
        return Err(Misfit::new(Error::internal("the entries of a map are no struct")));
    };
    let source = lists.elements.as_struct();
    let columns = source
        .columns()
        .iter()
        .zip(targets)
        .map(|(array, target)| fit(array, target, None).map_err(|misfit| lists.locate(misfit.within(target.name()))));
    let columns = columns.collect::<Fit<Vec<_>>>()?;
    let entries = StructArray::try_new_with_length(targets.clone(), columns, None, source.len())?;
    Ok(Arc::new(MapArray::try_new(to.clone(), lists.offsets, entries, lists.nulls, false)?))
}

#[cfg(test)]
mod tests;
