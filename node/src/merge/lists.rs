//! Aggregates of columns of lists and maps: `collect`, `nested_update` and `merge_map`.
//!
//! Elements are told apart by what identifies them: the whole element, the nested key of a struct, the key of an entry. Null lists say nothing; a list whose
//! elements were all taken back is empty.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, MapArray};
use arrow::buffer::{NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{DataType, Field};
use arrow::row::{Row, RowConverter, Rows, SortField};

use super::aggregate::Function;
use super::elements::{Adding, Elements, Place};
use super::function::Groups;
use super::reference::Ref;
use crate::error::{Error, Result};

/// The list or map of each key, null where all are.
///
/// # Errors
/// Exhausted when the elements are too many or too long for one array; Internal when the column has no lists, or the function is not one of these.
pub(super) fn put_together(groups: Groups<'_>, column: usize, function: &Function) -> Result<ArrayRef> {
    let rule = Rule::of(function)?;
    let columns: Vec<&ArrayRef> = groups.slots.iter().map(|slot| slot.column(column)).collect();
    let mut sources = columns.iter().map(|column| Source::of(column)).collect::<Result<Vec<_>>>()?;
    if rule.adding != Adding::Both || groups.slots.iter().any(|slot| slot.kinds.is_some()) {
        identify(&mut sources, function)?;
    }
    let (mut places, mut offsets, mut valid) = (Vec::new(), vec![0_i32], Vec::with_capacity(groups.ends.len()));
    let mut elements = Elements::new(rule.adding);
    for group in groups.iter() {
        let mut is_valid = false;
        if groups.is_done(group) {
            let (source, row) = (&sources[group[0].slot()], group[0].row());
            is_valid = source.is_valid(row);
            places.extend(source.elements(row).filter(|_| is_valid).map(|element| (group[0].slot(), element)));
            offsets.push(end_of(&places)?);
            valid.push(is_valid);
            continue;
        }
        for row in group.iter().filter(|row| sources[row.slot()].is_valid(row.row())) {
            let is_back = groups.slots[row.slot()].is_retraction(row.row());
            is_valid |= !is_back;
            rule.apply(&mut elements, &sources, *row, is_back);
        }
        elements.drain_into(&mut places);
        offsets.push(end_of(&places)?);
        valid.push(is_valid);
    }
    build(columns[0].data_type(), &sources, &places, offsets, NullBuffer::from(valid))
}

fn end_of(places: &[Place]) -> Result<i32> {
    i32::try_from(places.len()).map_err(|_| too_large(format!("{} elements", places.len())))
}

/// What the functions differ in.
struct Rule {
    adding: Adding,
    /// Whether a retraction removes all equal elements, or one for each that it has.
    removes_all: bool,
    skips_nulls: bool,
}

impl Rule {
    fn of(function: &Function) -> Result<Self> {
        Ok(match function {
            Function::Collect { distinct: false } => Rule { adding: Adding::Both, removes_all: false, skips_nulls: false },
            Function::Collect { distinct: true } => Rule { adding: Adding::Old, removes_all: true, skips_nulls: false },
            Function::MergeMap => Rule { adding: Adding::New, removes_all: true, skips_nulls: false },
            Function::NestedUpdate { key } => {
                Rule { adding: if key.is_empty() { Adding::Both } else { Adding::New }, removes_all: true, skips_nulls: true }
            }
            other => return Err(Error::internal(format!("`{}` is not of lists", other.name()))),
        })
    }

    fn apply<'a>(&self, elements: &mut Elements<'a>, sources: &'a [Source<'_>], row: Ref, is_back: bool) {
        let source = &sources[row.slot()];
        for element in source.elements(row.row()).filter(|element| !self.skips_nulls || source.values.is_valid(*element)) {
            match (is_back, source.identity(element)) {
                (false, identity) => elements.add((row.slot(), element), identity),
                (true, Some(identity)) if self.removes_all => elements.remove_all(identity),
                (true, Some(identity)) => elements.remove_one(identity),
                (true, None) => unreachable!("elements are identified where there are retractions"),
            }
        }
    }
}

/// The lists of one slot.
struct Source<'a> {
    nulls: Option<&'a NullBuffer>,
    offsets: &'a [i32],
    values: &'a dyn Array,
    /// Of the elements that lists have, in their order.
    identities: Option<Rows>,
}

impl<'a> Source<'a> {
    fn of(column: &'a ArrayRef) -> Result<Self> {
        let nulls = column.nulls();
        Ok(match column.data_type() {
            DataType::List(_) => {
                let lists = column.as_list::<i32>();
                Source { nulls, offsets: lists.value_offsets(), values: lists.values(), identities: None }
            }
            DataType::Map(..) => {
                let maps = column.as_map();
                Source { nulls, offsets: maps.value_offsets(), values: maps.entries(), identities: None }
            }
            other => return Err(Error::internal(format!("{other} is no list"))),
        })
    }

    fn is_valid(&self, row: usize) -> bool {
        self.nulls.is_none_or(|nulls| nulls.is_valid(row))
    }

    fn elements(&self, row: usize) -> Range<usize> {
        self.offsets[row] as usize..self.offsets[row + 1] as usize
    }

    fn identity(&self, element: usize) -> Option<Row<'_>> {
        self.identities.as_ref().map(|rows| rows.row(element - self.offsets[0] as usize))
    }
}

/// Adds the identities of all elements.
fn identify(sources: &mut [Source<'_>], function: &Function) -> Result<()> {
    let failed = |error| Error::internal("cannot tell elements apart").caused_by(error);
    let columns = |source: &Source<'_>| -> Vec<ArrayRef> {
        let (first, last) = (source.offsets[0] as usize, *source.offsets.last().expect("there is one more than lists") as usize);
        let used = source.values.slice(first, last - first);
        match function {
            Function::NestedUpdate { key } if !key.is_empty() => key.iter().map(|field| used.as_struct().column(*field).clone()).collect(),
            Function::MergeMap => vec![used.as_struct().column(0).clone()],
            _ => vec![used],
        }
    };
    let fields = columns(&sources[0]).iter().map(|column| SortField::new(column.data_type().clone())).collect();
    let converter = RowConverter::new(fields).map_err(failed)?;
    for source in sources {
        source.identities = Some(converter.convert_columns(&columns(source)).map_err(failed)?);
    }
    Ok(())
}

fn build(data_type: &DataType, sources: &[Source<'_>], places: &[Place], offsets: Vec<i32>, nulls: NullBuffer) -> Result<ArrayRef> {
    let values: Vec<&dyn Array> = sources.iter().map(|source| source.values).collect();
    let values = arrow::compute::interleave(&values, places).map_err(|error| too_large("the elements".to_string()).caused_by(error))?;
    let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
    let array = |element: &Arc<Field>| -> std::result::Result<ArrayRef, arrow::error::ArrowError> {
        Ok(match data_type {
            DataType::Map(..) => Arc::new(MapArray::try_new(element.clone(), offsets, values.as_struct().clone(), Some(nulls), false)?),
            _ => Arc::new(ListArray::try_new(element.clone(), offsets, values, Some(nulls))?),
        })
    };
    match data_type {
        DataType::List(element) | DataType::Map(element, _) => {
            array(element).map_err(|error| Error::internal("merged elements are no list").caused_by(error))
        }
        other => Err(Error::internal(format!("{other} is no list"))),
    }
}

fn too_large(what: String) -> Error {
    Error::exhausted(format!("{what} of one column of a merge are too large for one array"))
        .hint("smaller lists, or fewer versions of a row")
}
