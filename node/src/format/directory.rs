//! Stand-in.
#![allow(missing_docs)]
use crate::error::Result;
use super::frame::{self, Parsed};
use super::log_batch::BatchHeader;
use super::BodyLayout;
#[derive(Clone, Debug)] pub struct Run { pub position: u64, pub bytes: u64, pub first_offset: u64, pub end_offset: u64, pub timestamps_ms: (i64, i64) }
#[derive(Clone, Debug)] pub struct LargeBatch { pub frame_position: u64, pub batch_start: u32, pub batch_bytes: u32, pub first_offset: u64, pub rows: u64, pub timestamp_ms: i64, pub schema_id: i16, pub layout: BodyLayout, pub statistics: Option<Vec<u8>> }
#[derive(Clone, Debug)] pub enum Entry { Run(Run), Large(LargeBatch) }
impl Entry { pub fn first_offset(&self) -> u64 { match self { Entry::Run(r) => r.first_offset, Entry::Large(l) => l.first_offset } } pub fn end_offset(&self) -> u64 { match self { Entry::Run(r) => r.end_offset, Entry::Large(l) => l.first_offset + l.rows } } }
#[derive(Clone, Debug)] pub struct WriterBatch { pub sequence: i32, pub first_offset: u64, pub rows: u32 }
#[derive(Clone, Debug)] pub struct WriterState { pub id: i64, pub timestamp_ms: i64, pub batches: Vec<WriterBatch> }
#[derive(Debug, Default)] pub struct DirectoryBuilder { id: u64, entries: Vec<Entry>, covered: u64 }
#[derive(Debug)] pub struct Directory { entries: Vec<Entry> }
impl DirectoryBuilder {
    pub fn new(id: u64) -> Self { DirectoryBuilder { id, ..Default::default() } }
    pub fn add_frame(&mut self, position: u64, bytes: &[u8]) {
        let Parsed::Frame(f) = frame::parse(bytes, self.id, 0) else { panic!("not a frame") };
        let h: Vec<_> = f.batches.iter().map(|b| BatchHeader::read(&bytes[b.range()]).unwrap()).collect();
        let (a, z) = (h[0], h[h.len()-1]);
        let end = z.next_offset() as u64;
        if let Some(Entry::Run(r)) = self.entries.last_mut() && r.bytes < 65536 { r.bytes += f.length as u64; r.end_offset = end; r.timestamps_ms.1 = z.commit_timestamp; }
        else { self.entries.push(Entry::Run(Run { position, bytes: f.length as u64, first_offset: a.base_offset as u64, end_offset: end, timestamps_ms: (a.commit_timestamp, z.commit_timestamp) })); }
        self.covered = position + f.length as u64;
    }
    pub fn entries_from(&self, offset: u64, max: usize) -> Vec<Entry> { let i = self.entries.partition_point(|e| e.end_offset() <= offset); self.entries[i..].iter().take(max).cloned().collect() }
    pub fn covered_bytes(&self) -> u64 { self.covered }
    pub fn end_offset(&self) -> Option<u64> { self.entries.last().map(|e| e.end_offset()) }
    pub fn finish(&self, _w: &[WriterState]) -> Result<Vec<u8>> { Ok(vec![]) }
}
impl Directory {
    pub fn decode(_b: &[u8], _id: u64) -> Result<Self> { Err(crate::Error::corrupt("stand-in")) }
    pub fn writers(&self) -> Vec<WriterState> { vec![] }
    pub fn bytes(&self) -> usize { self.entries.len() * 100 }
    pub fn entries_from(&self, offset: u64, max: usize) -> Vec<Entry> { let i = self.entries.partition_point(|e| e.end_offset() <= offset); self.entries[i..].iter().take(max).cloned().collect() }
}
