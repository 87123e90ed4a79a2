//! Columns of lists, maps and structs, from JSON; a csv cell holds the same JSON as text.

use std::sync::Arc;

use arrow::array::{ArrayRef, ListArray, MapArray, NullBufferBuilder, StructArray};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, FieldRef, Fields};

use super::super::json_text::{Json, Token};
use super::{Column, Fault, Named};
use crate::command::input::way_out;
use crate::command::quote::quote;

/// The value of a csv cell that holds JSON.
fn from_text(column: &mut dyn Column, text: &str) -> Result<(), Fault> {
    let mut json = Json::new(text);
    column.json(&mut json)?;
    json.end().map_err(Fault::from)
}

/// The lengths of the values of a list or map.
struct Ranges {
    lengths: Vec<usize>,
    nulls: NullBufferBuilder,
    /// Values of the child that belong to ranges.
    taken: usize,
}

impl Ranges {
    fn new() -> Self {
        Ranges { lengths: Vec::new(), nulls: NullBufferBuilder::new(0), taken: 0 }
    }

    fn close(&mut self, child_len: usize, valid: bool) {
        self.lengths.push(child_len - self.taken);
        self.taken = child_len;
        self.nulls.append(valid);
    }

    /// The first `len` ranges, and how many values of the child they take.
    fn finish(&mut self, len: usize) -> (OffsetBuffer<i32>, Option<NullBuffer>, usize) {
        let mut done = std::mem::replace(self, Ranges::new());
        done.lengths.truncate(len);
        let taken = done.lengths.iter().sum();
        (OffsetBuffer::from_lengths(done.lengths), done.nulls.finish().map(|nulls| nulls.slice(0, len)), taken)
    }
}

pub(super) struct List {
    field: FieldRef,
    item: Named,
    ranges: Ranges,
}

impl List {
    pub(super) fn new(field: FieldRef) -> Result<Self, String> {
        Ok(List { item: Named::new(&field)?, field, ranges: Ranges::new() })
    }
}

impl Column for List {
    fn len(&self) -> usize {
        self.ranges.lengths.len()
    }

    fn null(&mut self) {
        self.ranges.close(self.item.column.len(), false);
    }

    fn text(&mut self, text: &str) -> Result<(), Fault> {
        from_text(self, text)
    }

    fn json(&mut self, json: &mut Json<'_>) -> Result<(), Fault> {
        expect(json, Token::List, "a list")?;
        json.expect(b'[')?;
        if !json.skip(b']') {
            loop {
                self.item.json(json).map_err(|fault| fault.within("[]"))?;
                if !json.skip(b',') {
                    break;
                }
            }
            json.expect(b']')?;
        }
        self.ranges.close(self.item.column.len(), true);
        Ok(())
    }

    fn finish(&mut self, len: usize) -> ArrayRef {
        let (offsets, nulls, taken) = self.ranges.finish(len);
        Arc::new(ListArray::new(self.field.clone(), offsets, self.item.column.finish(taken), nulls))
    }
}

pub(super) struct Structure {
    fields: Fields,
    columns: Vec<Named>,
    nulls: NullBufferBuilder,
}

impl Structure {
    pub(super) fn new(fields: Fields) -> Result<Self, String> {
        if fields.is_empty() {
            return Err("a struct has at least one field".into());
        }
        let columns = fields.iter().map(|field| Named::new(field)).collect::<Result<_, _>>()?;
        Ok(Structure { fields, columns, nulls: NullBufferBuilder::new(0) })
    }
}

impl Column for Structure {
    fn len(&self) -> usize {
        self.nulls.len()
    }

    fn null(&mut self) {
        self.nulls.append(false);
        self.columns.iter_mut().for_each(|column| column.column.null());
    }

    fn text(&mut self, text: &str) -> Result<(), Fault> {
        from_text(self, text)
    }

    fn json(&mut self, json: &mut Json<'_>) -> Result<(), Fault> {
        let row = self.len();
        object(json, &mut self.columns, row)?;
        self.nulls.append(true);
        Ok(())
    }

    fn finish(&mut self, len: usize) -> ArrayRef {
        let arrays = self.columns.iter_mut().map(|column| column.column.finish(len)).collect();
        let nulls = std::mem::replace(&mut self.nulls, NullBufferBuilder::new(0)).finish().map(|nulls| nulls.slice(0, len));
        Arc::new(StructArray::new(self.fields.clone(), arrays, nulls))
    }
}

/// Takes an object into columns, each of which gains value number `row`; fields in any order, those left out are null.
pub(in crate::command::input) fn object(json: &mut Json<'_>, columns: &mut [Named], row: usize) -> Result<(), Fault> {
    expect(json, Token::Object, "an object")?;
    json.expect(b'{')?;
    let mut expected = 0;
    if !json.skip(b'}') {
        loop {
            let name = json.text()?;
            json.expect(b':')?;
            // Fields mostly come in the order of the columns.
            if columns.get(expected).is_none_or(|column| column.name != *name) {
                let found = columns.iter().position(|column| column.name == *name);
                expected = found.ok_or_else(|| unknown(&name))?;
            }
            let column = &mut columns[expected];
            if column.column.len() > row {
                return Err(Fault::from(format!("field {} is there twice", quote(&name))));
            }
            column.json(json).map_err(|fault| fault.within(&column.name))?;
            expected += 1;
            if !json.skip(b',') {
                break;
            }
        }
        json.expect(b'}')?;
    }
    for column in columns.iter_mut().filter(|column| column.column.len() == row) {
        column.null().map_err(|_| Fault::from("missing, and may not be null".to_string()).within(&column.name))?;
    }
    Ok(())
}

fn unknown(name: &str) -> Fault {
    let way_out = way_out(name).map_or_else(String::new, |way_out| format!(" ({way_out})"));
    Fault::from(format!("unknown field {}{way_out}", quote(name)))
}

fn expect(json: &mut Json<'_>, wanted: Token, name: &str) -> Result<(), Fault> {
    match json.peek()? {
        found if found == wanted => Ok(()),
        found => Err(format!("{} where {name} belongs", found.name()).into()),
    }
}

/// Keys and values: an object when the keys are texts, else (and always accepted) a list of `{"key": .., "value": ..}`.
pub(super) struct Map {
    entries: FieldRef,
    sorted: bool,
    fields: Fields,
    pair: Vec<Named>,
    ranges: Ranges,
}

impl Map {
    pub(super) fn new(entries: FieldRef, sorted: bool) -> Result<Self, String> {
        let DataType::Struct(fields) = entries.data_type().clone() else {
            return Err("a map without key and value".into());
        };
        let pair: Vec<_> = fields.iter().map(|field| Named::new(field)).collect::<Result<_, _>>()?;
        match pair.len() {
            2 => Ok(Map { entries, sorted, fields, pair, ranges: Ranges::new() }),
            _ => Err("a map without key and value".into()),
        }
    }

    fn member(&mut self, json: &mut Json<'_>) -> Result<(), Fault> {
        let key = json.text()?;
        json.expect(b':')?;
        self.pair[0].column.text(&key)?;
        self.pair[1].json(json).map_err(|fault| fault.within(&key))
    }

    fn pair(&mut self, json: &mut Json<'_>) -> Result<(), Fault> {
        let row = self.pair[0].column.len();
        object(json, &mut self.pair, row)
    }
}

impl Column for Map {
    fn len(&self) -> usize {
        self.ranges.lengths.len()
    }

    fn null(&mut self) {
        self.ranges.close(self.pair[0].column.len(), false);
    }

    fn text(&mut self, text: &str) -> Result<(), Fault> {
        from_text(self, text)
    }

    fn json(&mut self, json: &mut Json<'_>) -> Result<(), Fault> {
        let in_object = json.peek()? == Token::Object;
        if !in_object {
            expect(json, Token::List, "a map")?;
        }
        let (open, close) = if in_object { (b'{', b'}') } else { (b'[', b']') };
        json.expect(open)?;
        if !json.skip(close) {
            loop {
                if in_object { self.member(json) } else { self.pair(json) }?;
                if !json.skip(b',') {
                    break;
                }
            }
            json.expect(close)?;
        }
        self.ranges.close(self.pair[0].column.len(), true);
        Ok(())
    }

    fn finish(&mut self, len: usize) -> ArrayRef {
        let (offsets, nulls, taken) = self.ranges.finish(len);
        let columns = self.pair.iter_mut().map(|column| column.column.finish(taken)).collect();
        let pairs = StructArray::new(self.fields.clone(), columns, None);
        Arc::new(MapArray::new(self.entries.clone(), offsets, pairs, nulls, self.sorted))
    }
}
