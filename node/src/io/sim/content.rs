//! The bytes of one simulated file: what the program sees, what the device has, and what lies between.
//!
//! A sector of 512 bytes is written whole or not at all. Every unsynced version of a sector is kept, so that after a power cut any of
//! them may be what the device has. Lengths change in order, as journals of file systems keep them.
//! Invariant: what is durable survives every crash; what is live is what reads return.

use super::random::Random;
use crate::io::BLOCK_BYTES;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What a device writes whole or not at all.
const SECTOR_BYTES: usize = 512;

type Sector = [u8; SECTOR_BYTES];

const ZEROS: Sector = [0; SECTOR_BYTES];

/// Bytes by block; absent blocks are zeros.
#[derive(Clone, Default)]
struct Blocks(BTreeMap<u64, Arc<[u8; BLOCK_BYTES]>>);

const SECTORS: u64 = (BLOCK_BYTES / SECTOR_BYTES) as u64;

impl Blocks {
    fn sector(&self, sector: u64) -> &[u8] {
        match self.0.get(&(sector / SECTORS)) {
            Some(block) => &block[place(sector)..][..SECTOR_BYTES],
            None => &ZEROS,
        }
    }

    fn set(&mut self, sector: u64, bytes: &Sector) {
        let block = self.0.entry(sector / SECTORS).or_insert_with(|| Arc::new([0; BLOCK_BYTES]));
        Arc::make_mut(block)[place(sector)..][..SECTOR_BYTES].copy_from_slice(bytes);
    }

    /// Forgets everything from `bytes` on.
    fn cut(&mut self, bytes: u64) {
        self.0.split_off(&bytes.div_ceil(BLOCK_BYTES as u64));
        if let Some(last) = self.0.get_mut(&(bytes / BLOCK_BYTES as u64)) {
            Arc::make_mut(last)[(bytes % BLOCK_BYTES as u64) as usize..].fill(0);
        }
    }
}

fn place(sector: u64) -> usize {
    (sector % SECTORS) as usize * SECTOR_BYTES
}

/// A state of a sector that the device may or may not have.
#[derive(Clone)]
struct Version {
    change: u64,
    /// It is zeros because the file was cut: the device has it exactly when it has the cut.
    is_cut: bool,
    bytes: Sector,
}

/// A length that the device may or may not know.
#[derive(Clone)]
struct Length {
    change: u64,
    bytes: u64,
}

/// One file.
#[derive(Clone, Default)]
pub(super) struct Content {
    live: Blocks,
    live_bytes: u64,
    durable: Blocks,
    durable_bytes: u64,
    versions: BTreeMap<u64, Vec<Version>>,
    lengths: Vec<Length>,
    reserved_bytes: u64,
    changes: u64,
}

impl Content {
    pub(super) fn bytes(&self) -> u64 {
        self.live_bytes
    }

    /// Space that it takes on the device.
    pub(super) fn allocated_bytes(&self) -> u64 {
        self.reserved_bytes.max((self.live.0.len() * BLOCK_BYTES) as u64)
    }

    /// Space that a write would take in addition.
    pub(super) fn growth_bytes(&self, offset: u64, len: usize) -> u64 {
        let blocks = offset / BLOCK_BYTES as u64..(offset + len as u64).div_ceil(BLOCK_BYTES as u64);
        let is_new = |block: &u64| block * BLOCK_BYTES as u64 >= self.reserved_bytes && !self.live.0.contains_key(block);
        blocks.filter(is_new).count() as u64 * BLOCK_BYTES as u64
    }

    /// Reads up to the end of the file; how many bytes.
    pub(super) fn read(&self, offset: u64, into: &mut [u8]) -> usize {
        let len = (into.len() as u64).min(self.live_bytes.saturating_sub(offset)) as usize;
        let mut done = 0;
        while done < len {
            let at = offset + done as u64;
            let from = (at % SECTOR_BYTES as u64) as usize;
            let part = (SECTOR_BYTES - from).min(len - done);
            into[done..done + part].copy_from_slice(&self.live.sector(at / SECTOR_BYTES as u64)[from..from + part]);
            done += part;
        }
        len
    }

    /// Writes; with `durable` the device has it, and earlier versions of the same sectors are history.
    pub(super) fn write(&mut self, offset: u64, bytes: &[u8], durable: bool) {
        self.changes += 1;
        let mut done = 0;
        while done < bytes.len() {
            let at = offset + done as u64;
            let from = (at % SECTOR_BYTES as u64) as usize;
            let part = (SECTOR_BYTES - from).min(bytes.len() - done);
            let number = at / SECTOR_BYTES as u64;
            let mut sector = ZEROS;
            sector.copy_from_slice(self.live.sector(number));
            sector[from..from + part].copy_from_slice(&bytes[done..done + part]);
            self.put(number, sector, durable);
            done += part;
        }
        let end = offset + bytes.len() as u64;
        if end > self.live_bytes {
            self.live_bytes = end;
            if !durable {
                self.lengths.push(Length { change: self.changes, bytes: end });
            }
        }
        if durable {
            self.durable_bytes = self.durable_bytes.max(end);
            self.lengths.iter_mut().for_each(|length| length.bytes = length.bytes.max(end));
        }
    }

    fn put(&mut self, number: u64, sector: Sector, durable: bool) {
        self.live.set(number, &sector);
        if durable {
            self.durable.set(number, &sector);
            self.versions.remove(&number);
        } else {
            let version = Version { change: self.changes, is_cut: false, bytes: sector };
            self.versions.entry(number).or_default().push(version);
        }
    }

    /// Writes some of the sectors only, as a write that failed may have.
    pub(super) fn write_torn(&mut self, offset: u64, bytes: &[u8], random: &mut Random) {
        let mut done = 0;
        while done < bytes.len() {
            let at = offset + done as u64;
            let part = (SECTOR_BYTES - (at % SECTOR_BYTES as u64) as usize).min(bytes.len() - done);
            if random.one_in(2) {
                self.write(at, &bytes[done..done + part], false);
            }
            done += part;
        }
    }

    pub(super) fn set_len(&mut self, bytes: u64) {
        self.changes += 1;
        if bytes < self.live_bytes {
            self.cut(bytes);
        }
        self.live_bytes = bytes;
        self.lengths.push(Length { change: self.changes, bytes });
    }

    fn cut(&mut self, bytes: u64) {
        let first = bytes / SECTOR_BYTES as u64;
        let before = self.live.clone();
        self.live.cut(bytes);
        self.reserved_bytes = self.reserved_bytes.min(bytes.next_multiple_of(BLOCK_BYTES as u64));
        for (block, _) in before.0.range(first / SECTORS..) {
            for number in (block * SECTORS).max(first)..(block + 1) * SECTORS {
                let mut sector = ZEROS;
                sector.copy_from_slice(self.live.sector(number));
                let version = Version { change: self.changes, is_cut: true, bytes: sector };
                self.versions.entry(number).or_default().push(version);
            }
        }
    }

    pub(super) fn allocate(&mut self, bytes: u64) {
        self.reserved_bytes = self.reserved_bytes.max(bytes.next_multiple_of(BLOCK_BYTES as u64));
        if bytes > self.live_bytes {
            self.set_len(bytes);
        }
    }

    /// The device has it all.
    pub(super) fn sync(&mut self) {
        for (number, versions) in std::mem::take(&mut self.versions) {
            if let Some(last) = versions.last() {
                self.durable.set(number, &last.bytes);
            }
        }
        self.lengths.clear();
        self.durable_bytes = self.live_bytes;
        self.durable.cut(self.durable_bytes);
    }

    /// A sync that failed: the kernel believes everything clean afterwards, the device has any part of it.
    pub(super) fn lose(&mut self, random: &mut Random) {
        self.settle(random);
    }

    /// What the device has after a power cut.
    pub(super) fn crash(mut self, random: &mut Random) -> Content {
        self.settle(random);
        let reserved_bytes = self.reserved_bytes.min(self.durable_bytes);
        Content {
            live: self.durable.clone(),
            live_bytes: self.durable_bytes,
            durable: self.durable,
            durable_bytes: self.durable_bytes,
            reserved_bytes,
            ..Content::default()
        }
    }

    /// Decides for everything between live and durable whether the device got it.
    fn settle(&mut self, random: &mut Random) {
        let known = random.below(self.lengths.len() as u64 + 1) as usize;
        let last_change = known.checked_sub(1).map_or(0, |last| self.lengths[last].change);
        if let Some(last) = known.checked_sub(1) {
            self.durable_bytes = self.lengths[last].bytes;
        }
        self.lengths.clear();
        // Mostly kept, mostly lost and evenly torn are all worth seeing.
        let kept_in_8 = [0, 1, 4, 7, 8][random.below(5) as usize];
        for (number, versions) in std::mem::take(&mut self.versions) {
            for version in versions {
                let kept = if version.is_cut { version.change <= last_change } else { random.below(8) < kept_in_8 };
                if kept {
                    self.durable.set(number, &version.bytes);
                }
            }
        }
        self.durable.cut(self.durable_bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(content: &Content) -> Vec<u8> {
        let mut bytes = vec![9; content.bytes() as usize + 10];
        let len = content.read(0, &mut bytes);
        bytes.truncate(len);
        bytes
    }

    #[test]
    fn durable_bytes_survive_and_others_tear_by_sector() {
        let mut torn = 0;
        for seed in 0..100 {
            let mut content = Content::default();
            content.write(0, &[1; 4096], true);
            content.write(0, &[2; 2048], false);
            content.write(4096, &[3; 4096], false);
            let after = all(&content.clone().crash(&mut Random::new(seed)));
            assert!(after.len() == 4096 || after.len() == 8192);
            assert!(after[2048..4096].iter().all(|byte| *byte == 1));
            for sector in after.chunks(512) {
                assert!(sector.iter().all(|byte| *byte == sector[0]), "sectors do not tear");
            }
            torn += usize::from(after[..2048].contains(&1) && after[..2048].contains(&2));
        }
        assert!(torn > 20, "{torn} of 100");
    }

    #[test]
    fn an_older_unsynced_write_does_not_come_back_over_a_durable_one() {
        for seed in 0..50 {
            let mut content = Content::default();
            content.write(0, &[1; 4096], false);
            content.write(0, &[2; 4096], true);
            assert_eq!(all(&content.crash(&mut Random::new(seed))), [2; 4096]);
        }
    }

    #[test]
    fn a_failed_sync_loses_data_that_reads_still_see() {
        let mut lost = 0;
        for seed in 0..50 {
            let mut content = Content::default();
            content.write(0, &[1; 4096], true);
            content.write(0, &[2; 4096], false);
            content.lose(&mut Random::new(seed));
            assert_eq!(all(&content), [2; 4096]);
            content.sync();
            lost += usize::from(all(&content.crash(&mut Random::new(seed))) != [2; 4096]);
        }
        assert!(lost > 10, "{lost} of 50");
    }

    #[test]
    fn a_cut_is_all_or_nothing() {
        for seed in 0..50 {
            let mut content = Content::default();
            content.write(0, &[1; 8192], true);
            content.set_len(1000);
            content.set_len(8192);
            let mut zeroed = vec![0; 8192];
            zeroed[..1000].fill(1);
            assert_eq!(all(&content), zeroed);
            let after = all(&content.crash(&mut Random::new(seed)));
            assert!(after == [1; 8192] || after == [1; 1000] || after == zeroed, "seed {seed}");
        }
    }

    #[derive(Clone, Debug)]
    enum Act {
        Write(u16, Vec<u8>, bool),
        SetLen(u16),
        Allocate(u16),
        Sync,
    }

    fn act() -> impl Strategy<Value = Act> {
        prop_oneof![
            (0u16..9000, proptest::collection::vec(any::<u8>(), 1..3000), any::<bool>())
                .prop_map(|(at, bytes, durable)| Act::Write(at, bytes, durable)),
            (0u16..12_000).prop_map(Act::SetLen),
            (0u16..12_000).prop_map(Act::Allocate),
            Just(Act::Sync),
        ]
    }

    proptest! {
        #[test]
        fn live_is_a_plain_vector_and_synced_survives(acts in proptest::collection::vec(act(), 1..30), seed in any::<u64>()) {
            let mut content = Content::default();
            let mut model: Vec<u8> = vec![];
            for act in acts {
                match act {
                    Act::Write(at, bytes, durable) => {
                        content.write(at.into(), &bytes, durable);
                        model.resize(model.len().max(usize::from(at) + bytes.len()), 0);
                        model[usize::from(at)..][..bytes.len()].copy_from_slice(&bytes);
                    }
                    Act::SetLen(bytes) => {
                        content.set_len(bytes.into());
                        model.resize(bytes.into(), 0);
                    }
                    Act::Allocate(bytes) => {
                        content.allocate(bytes.into());
                        model.resize(model.len().max(bytes.into()), 0);
                    }
                    Act::Sync => {
                        content.sync();
                        prop_assert_eq!(&all(&content.clone().crash(&mut Random::new(seed))), &model);
                    }
                }
                prop_assert_eq!(&all(&content), &model);
            }
        }
    }
}
