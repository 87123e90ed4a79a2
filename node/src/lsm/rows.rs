//! From stored batches to rows of the table as it is now, or some of their columns, with their keys and kinds.
//!
//! Invariant: whatever schema a batch was written with, its rows come out in the schema this was made for. Knows nothing of where batches come from.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::buffer::Buffer;
use parking_lot::Mutex;

use crate::error::{Error, Result};
use crate::format::Decoder;
use crate::format::log_batch::BatchHeader;
use crate::merge::function::is_telling;
use crate::merge::{Merged, Ref, Slot};
use crate::table::key::{KeyEncoder, Keys};
use crate::table::mapping::Mapping;
use crate::table::stored::Columns;
use crate::table::{ChangeType, TableSchema, TableSpec};

/// Rows with what a merge needs of them.
#[derive(Clone, Debug)]
pub struct Chunk {
    /// The rows.
    pub columns: Columns,
    /// What each row says; `None` when each is an insert or an upsert.
    pub kinds: Option<Buffer>,
    /// Their keys.
    pub keys: Keys,
    /// Each row is what its key became: the row before an update says nothing that the row behind it does not.
    pub has_images: bool,
    /// Whether the rows are results of merging: those of runs are.
    pub is_merged: bool,
}

impl Chunk {
    /// Whether a row has a place in the tree.
    #[inline]
    pub fn counts(&self, row: usize) -> bool {
        !self.has_images || self.kinds.as_ref().is_none_or(|kinds| kinds[row] != ChangeType::UpdateBefore.to_byte())
    }

    /// For a merge.
    pub fn slot(&self) -> Slot<'_> {
        Slot { columns: self.columns.view(), kinds: self.kinds.as_deref(), is_merged: self.is_merged }
    }

    /// How many rows.
    pub fn rows(&self) -> usize {
        self.columns.view().rows()
    }

    /// Rows of several chunks in one: for each some chunk, from which of its rows on, and how many.
    ///
    /// # Errors
    /// Exhausted when they do not fit into one.
    pub fn gather<'a>(parts: impl Iterator<Item = ((&'a Arc<Chunk>, usize), usize)>) -> Result<Chunk> {
        let (mut chunks, mut rows): (Vec<&Arc<Chunk>>, Vec<Ref>) = Default::default();
        for ((chunk, first), count) in parts {
            if chunks.last().is_none_or(|last| !Arc::ptr_eq(last, chunk)) {
                chunks.push(chunk);
            }
            rows.extend((first..first + count).map(|row| Ref::new(chunks.len() - 1, row)));
        }
        let slots: Vec<Slot<'_>> = chunks.iter().map(|chunk| chunk.slot()).collect();
        let kind = |row: &Ref| slots[row.slot()].kind(row.row());
        let kinds = slots.iter().any(|slot| slot.kinds.is_some()).then(|| rows.iter().map(kind).collect::<Vec<u8>>().into());
        let mut keys = chunks[0].keys.empty();
        rows.iter().for_each(|row| keys.push(chunks[row.slot()].keys.get(row.row())));
        let Chunk { has_images, is_merged, .. } = **chunks[0];
        let (batch, _) = Merged::of_rows(rows).batch(&slots, false)?;
        Ok(Chunk { columns: batch.into(), kinds, keys, has_images, is_merged })
    }

    /// With the columns that a reader of some columns reads.
    ///
    /// # Errors
    /// Internal; the columns are the table's.
    pub fn chosen(&self, reader: &Reader) -> Result<Chunk> {
        Ok(Chunk { columns: reader.choose(&self.columns)?, ..self.clone() })
    }

    /// Some of the rows.
    pub fn slice(&self, start: usize, rows: usize) -> Chunk {
        let keys = self.keys.pick(start..start + rows);
        let kinds = self.kinds.as_ref().map(|kinds| kinds.slice_with_length(start, rows));
        Chunk { columns: self.columns.view().batch().slice(start, rows).into(), kinds, keys, ..*self }
    }
}

/// How rows of one version of the schema are read.
struct Version {
    decoder: Decoder,
    mapping: Mapping,
}

/// See the head of this module.
pub struct Reader {
    spec: Arc<TableSpec>,
    /// What comes out: the columns of the table as it is now, or some of them.
    schema: TableSchema,
    /// Without those that do not come out.
    part: Option<Part>,
    keys: KeyEncoder,
    has_images: bool,
    versions: Mutex<HashMap<i16, Arc<Version>>>,
    empty: RecordBatch,
}

/// What a reader of some columns is a part of.
struct Part {
    whole: Arc<Reader>,
    /// The places of the columns in the table, ascending.
    columns: Vec<usize>,
}

impl Reader {
    /// Reads rows of a table with a primary key.
    ///
    /// # Errors
    /// Invalid when the table has no key or one that has no order.
    pub fn new(spec: Arc<TableSpec>) -> Result<Self> {
        let keys = KeyEncoder::new(spec.schema(), &spec.primary_key)?;
        let schema = spec.schema().clone();
        let has_images = spec.changelog()?.has_images();
        let empty = RecordBatch::new_empty(schema.arrow().clone());
        Ok(Reader { spec, schema, part: None, keys, has_images, versions: Mutex::default(), empty })
    }

    /// Reads only these columns of the same table, ascending, and those of its key: what others hold is not looked at.
    ///
    /// # Errors
    /// Invalid for a column that the table does not have.
    pub fn projected(self: &Arc<Self>, columns: &[usize]) -> Result<Arc<Reader>> {
        let fields = self.schema.fields();
        let chosen = columns.iter().map(|column| fields.get(*column).cloned()).collect::<Option<Vec<_>>>();
        let chosen = chosen.ok_or_else(|| Error::invalid("no such column").at("columns", fields.len()))?;
        let schema = TableSchema::from_parts(self.schema.version(), chosen, self.schema.highest_field_id())?;
        let keys = KeyEncoder::new(&schema, &self.spec.primary_key)?;
        let part = Some(Part { whole: self.clone(), columns: columns.to_vec() });
        let (spec, has_images) = (self.spec.clone(), self.has_images);
        let empty = RecordBatch::new_empty(schema.arrow().clone());
        Ok(Arc::new(Reader { spec, schema, part, keys, has_images, versions: Mutex::default(), empty }))
    }

    /// The reader of all columns, if this one is not.
    pub fn whole(&self) -> Option<&Arc<Reader>> {
        self.part.as_ref().map(|part| &part.whole)
    }

    /// What comes out of rows that were read with all columns.
    ///
    /// # Errors
    /// Internal; the columns are the table's.
    fn choose(&self, rows: &Columns) -> Result<Columns> {
        match &self.part {
            None => Ok(rows.clone()),
            Some(part) => rows.project(self.schema.arrow(), &part.columns),
        }
    }

    /// No rows: made once, for who looks for keys that there are not.
    pub fn no_rows(&self) -> RecordBatch {
        self.empty.clone()
    }

    /// The columns that come out.
    pub fn schema(&self) -> &TableSchema {
        &self.schema
    }

    /// The columns of rows that were written with a version of the schema.
    ///
    /// # Errors
    /// Corrupt for an unknown version.
    pub fn schema_at(&self, schema_id: i16) -> Result<&TableSchema> {
        let unknown = || Error::corrupt(format!("rows of the unknown schema version {schema_id}")).at("table", &self.spec.name);
        self.spec.schema_at(schema_id).ok_or_else(unknown)
    }

    /// Makes keys of such rows.
    pub fn keys(&self) -> &KeyEncoder {
        &self.keys
    }

    /// The rows of a stored batch whose checksum is known to be good.
    ///
    /// # Errors
    /// Corrupt for damaged bytes or an unknown version of the schema.
    pub fn chunk(&self, batch: &Buffer) -> Result<Chunk> {
        let header = BatchHeader::read(batch)?;
        let version = self.version(header.schema_id)?;
        let is_current = header.schema_id == self.schema.version();
        let columns = match if is_current { version.decoder.locate(batch)? } else { None } {
            Some(stored) => Columns::Stored(Box::new(stored)),
            None => Columns::Arrays(version.mapping.apply(&version.decoder.decode(batch)?)?),
        };
        let kinds = match header.append_only {
            true => None,
            false => Some(batch.slice_with_length(header.change_types_range().start, header.change_types_range().len())),
        };
        let says_more = |kinds: &Buffer| kinds.iter().any(|kind| is_telling(*kind));
        let kinds = kinds.filter(says_more);
        let keys = self.keys.encode_columns(columns.view())?;
        Ok(Chunk { keys, kinds, columns, has_images: self.has_images, is_merged: false })
    }

    /// Rows of a version of the schema as the table is now.
    ///
    /// # Errors
    /// Corrupt for an unknown version of the schema.
    pub fn adopt(&self, schema_id: i16, rows: &RecordBatch) -> Result<RecordBatch> {
        if schema_id == self.schema().version() {
            return Ok(rows.clone());
        }
        let mapping = Mapping::new::<&str>(self.schema_at(schema_id)?, self.schema(), None)?;
        let read = rows.project(mapping.read_columns()).map_err(|error| Error::internal("cannot choose columns").caused_by(error))?;
        mapping.apply(&read)
    }

    fn version(&self, schema_id: i16) -> Result<Arc<Version>> {
        let mut versions = self.versions.lock();
        if let Some(known) = versions.get(&schema_id) {
            return Ok(known.clone());
        }
        let written = self.schema_at(schema_id)?;
        let mapping = Mapping::new::<&str>(written, &self.schema, None)?;
        let made = Arc::new(Version { decoder: Decoder::projected(written.arrow(), mapping.read_columns())?, mapping });
        versions.insert(schema_id, made.clone());
        Ok(made)
    }
}
