//! Columns of booleans, texts and bytes.

use std::sync::Arc;

use arrow::array::{ArrayBuilder, ArrayRef, BinaryBuilder, BooleanBuilder, FixedSizeBinaryBuilder, StringBuilder};

use super::super::json_text::{Json, Token};
use super::super::scalar;
use super::{Column, Fault};

#[derive(Default)]
pub(super) struct Booleans(BooleanBuilder);

impl Column for Booleans {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn null(&mut self) {
        self.0.append_null();
    }

    fn text(&mut self, text: &str) -> Result<(), Fault> {
        self.0.append_value(scalar::boolean(text)?);
        Ok(())
    }

    fn json(&mut self, json: &mut Json<'_>) -> Result<(), Fault> {
        let text = super::scalar(json, "true or false")?;
        self.text(&text)
    }

    fn finish(&mut self, len: usize) -> ArrayRef {
        Arc::new(self.0.finish().slice(0, len))
    }
}

#[derive(Default)]
pub(super) struct Texts(StringBuilder);

impl Column for Texts {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn null(&mut self) {
        self.0.append_null();
    }

    fn text(&mut self, text: &str) -> Result<(), Fault> {
        self.0.append_value(text);
        Ok(())
    }

    fn json(&mut self, json: &mut Json<'_>) -> Result<(), Fault> {
        match json.peek()? {
            Token::Text => {
                self.0.append_value(json.text()?);
                Ok(())
            }
            found => Err(format!("{} where a text belongs", found.name()).into()),
        }
    }

    fn finish(&mut self, len: usize) -> ArrayRef {
        Arc::new(self.0.finish().slice(0, len))
    }
}

#[derive(Default)]
pub(super) struct Bytes {
    values: BinaryBuilder,
    scratch: Vec<u8>,
}

impl Column for Bytes {
    fn len(&self) -> usize {
        self.values.len()
    }

    fn null(&mut self) {
        self.values.append_null();
    }

    fn text(&mut self, text: &str) -> Result<(), Fault> {
        self.scratch.clear();
        scalar::hex(text, &mut self.scratch)?;
        self.values.append_value(&self.scratch);
        Ok(())
    }

    fn json(&mut self, json: &mut Json<'_>) -> Result<(), Fault> {
        let text = super::scalar(json, "bytes as hex")?;
        self.text(&text)
    }

    fn finish(&mut self, len: usize) -> ArrayRef {
        Arc::new(self.values.finish().slice(0, len))
    }
}

pub(super) struct FixedBytes {
    values: FixedSizeBinaryBuilder,
    size: i32,
    scratch: Vec<u8>,
}

impl FixedBytes {
    pub(super) fn new(size: i32) -> Self {
        FixedBytes { values: FixedSizeBinaryBuilder::new(size), size, scratch: Vec::new() }
    }
}

impl Column for FixedBytes {
    fn len(&self) -> usize {
        self.values.len()
    }

    fn null(&mut self) {
        self.values.append_null();
    }

    fn text(&mut self, text: &str) -> Result<(), Fault> {
        self.scratch.clear();
        scalar::hex(text, &mut self.scratch)?;
        self.values.append_value(&self.scratch).map_err(|_| format!("{} bytes where {} belong", self.scratch.len(), self.size))?;
        Ok(())
    }

    fn json(&mut self, json: &mut Json<'_>) -> Result<(), Fault> {
        let text = super::scalar(json, "bytes as hex")?;
        self.text(&text)
    }

    fn finish(&mut self, len: usize) -> ArrayRef {
        Arc::new(self.values.finish().slice(0, len))
    }
}
