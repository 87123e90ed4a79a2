//! Stand-in.
#![allow(missing_docs)]
use crate::error::{Error, Result};
use serde::{Serialize, de::DeserializeOwned};
pub struct Folded<E> { pub edits: Vec<E>, pub valid_bytes: usize }
pub fn encode<E: Serialize>(edit: &E) -> Result<Vec<u8>> {
    let body = serde_json::to_vec(edit).map_err(|e| Error::internal(e.to_string()))?;
    let mut out = (body.len() as u32).to_le_bytes().to_vec();
    out.extend(crc_fast::crc32_iscsi(&body).to_le_bytes());
    out.extend(body);
    Ok(out)
}
pub fn fold<E: DeserializeOwned>(bytes: &[u8]) -> Result<Folded<E>> {
    let mut edits = vec![]; let mut p = 0;
    while bytes.len() >= p + 8 {
        let l = u32::from_le_bytes(bytes[p..p+4].try_into().unwrap()) as usize;
        let c = u32::from_le_bytes(bytes[p+4..p+8].try_into().unwrap());
        let Some(b) = bytes.get(p+8..p+8+l) else { break };
        if crc_fast::crc32_iscsi(b) != c || l == 0 { break }
        edits.push(serde_json::from_slice(b).map_err(|e| Error::corrupt(e.to_string()))?);
        p += 8 + l;
    }
    Ok(Folded { edits, valid_bytes: p })
}
