//! Rows on their way in: inline, sent without waiting, and numbered so that they may be sent again.

use std::collections::VecDeque;

use aquifer_node::store::{Ack, Store, Writer, WriterOptions};

use arrow::array::RecordBatch;

use crate::history::{History, Planted};
use crate::oracle::{Finding, Table};
use crate::rows::{self, batch};

/// Batches of a numbered writer that are remembered, here and there.
const REMEMBERED: usize = 5;

/// Rows that were sent to one place and are not all acknowledged.
struct Unacknowledged {
    partition: String,
    /// Known from the key, or from the first answer.
    bucket: Option<u32>,
    rows: VecDeque<u64>,
}

/// A writer and what it has sent.
pub(crate) struct Sender {
    table: u64,
    number: u64,
    writer: Writer,
    waiting: VecDeque<Unacknowledged>,
    /// What waits was sent in worse weather, and may have failed then.
    may_have_failed: bool,
}

impl Sender {
    /// The weather changes.
    pub(crate) fn weather_changes(&mut self) {
        self.may_have_failed |= !self.waiting.is_empty();
    }

    /// Whether what waits may have been refused, in this weather or before.
    pub(crate) fn may_have_lost(&self, is_bad: bool) -> bool {
        !self.waiting.is_empty() && (is_bad || self.may_have_failed)
    }

    /// The table that it writes to.
    pub(crate) fn table(&self) -> u64 {
        self.table
    }
}

/// One batch of a numbered writer.
struct Batch {
    sequence: i32,
    rows: Vec<u64>,
    is_acknowledged: bool,
}

/// An application that numbers its batches and sends them again after a crash.
pub(crate) struct Numbered {
    pub(crate) table: u64,
    id: i64,
    number: u64,
    part: u64,
    key: u64,
    next: i32,
    batches: VecDeque<Batch>,
}

impl Numbered {
    /// After a crash of the store it knows only what was acknowledged.
    pub(crate) fn was_cut_off(&mut self, planted: Planted) {
        if planted == Planted::ForgottenIdentity {
            self.id += 1_000_000;
        }
    }
}

/// The rows by where they go, in order.
fn split(table: &Table, rows: &[u64]) -> VecDeque<Unacknowledged> {
    let mut split: VecDeque<Unacknowledged> = VecDeque::new();
    for row in rows {
        let (partition, bucket) = (table.partition_of(*row), table.bucket_of(*row));
        match split.iter_mut().find(|known| known.partition == partition && known.bucket == bucket) {
            Some(known) => known.rows.push_back(*row),
            None => split.push_back(Unacknowledged { partition, bucket, rows: VecDeque::from([*row]) }),
        }
    }
    split
}

impl History {
    fn any_table(&mut self) -> Option<u64> {
        let numbers: Vec<u64> = self.oracle.tables.keys().copied().collect();
        (!numbers.is_empty()).then(|| *self.random.pick(&numbers))
    }

    /// Fills a segment or two of one log.
    pub(crate) fn flood(&mut self) -> Finding {
        let Some(table) = self.any_table() else { return Ok(()) };
        let Some(index) = self.sender_of(table)? else { return Ok(()) };
        let (part, key) = (self.random.below(rows::PARTS.len() as u64), self.random.below(rows::KEYS));
        let count = self.random.between(2, 8);
        self.say(|| format!("flood table {table} with {count} large rows"));
        for _ in 0..count {
            let rows = [rows::number(self.oracle.number(), 4, part, key)];
            self.note_sent(index, &rows);
            let made = batch(&rows, &self.oracle.tables[&table].columns);
            if let Err(error) = self.senders[index].writer.send(&made) {
                return self.lose_sender(index, "send", &error);
            }
        }
        Ok(())
    }

    /// Some new rows, all of one size.
    fn new_rows(&mut self, table: u64) -> Vec<u64> {
        let mut size = *self.random.pick(&[0, 0, 1, 1, 1, 2, 2, 3, 3, 4]);
        if self.oracle.tables[&table].is_large && self.random.one_in(8) {
            size = rows::LARGEST;
        }
        let most = [40, 20, 8, 3, 2, 1][size as usize];
        let same = self.random.one_in(2);
        let (part, key) = (self.random.below(rows::PARTS.len() as u64), self.random.below(rows::KEYS));
        let count = self.random.between(1, most);
        (0..count)
            .map(|_| {
                let part = if same { part } else { self.random.below(rows::PARTS.len() as u64) };
                let key = if same { key } else { self.random.below(rows::KEYS) };
                rows::number(self.oracle.number(), size, part, key)
            })
            .collect()
    }

    fn store(&self) -> Store {
        self.store.clone().expect("open")
    }

    /// A writer of the table: an old one or a new one.
    fn sender_of(&mut self, table: u64) -> Finding<Option<usize>> {
        let known: Vec<usize> = (0..self.senders.len()).filter(|index| self.senders[*index].table == table).collect();
        if !known.is_empty() && (known.len() > 3 || !self.random.one_in(3)) {
            return Ok(Some(*self.random.pick(&known)));
        }
        let name = self.oracle.tables[&table].name.clone();
        match self.store().table(&name).and_then(|table| table.writer()) {
            Ok(writer) => {
                let number = self.oracle.number();
                self.senders.push(Sender { table, number, writer, waiting: VecDeque::new(), may_have_failed: false });
                Ok(Some(self.senders.len() - 1))
            }
            Err(error) => self.excuse_at(table, "writer", &error).map(|()| None),
        }
    }

    /// Appends and waits.
    pub(crate) fn append(&mut self) -> Finding {
        let Some(table) = self.any_table() else { return Ok(()) };
        self.append_to(table)
    }

    /// Appends some rows to this table and waits.
    pub(crate) fn append_to(&mut self, table: u64) -> Finding {
        let Some(index) = self.sender_of(table)? else { return Ok(()) };
        let rows = self.new_rows(table);
        let sent_earlier = !self.senders[index].waiting.is_empty();
        self.note_sent(index, &rows);
        self.append_noted(index, &rows, sent_earlier)
    }

    fn append_noted(&mut self, index: usize, rows: &[u64], sent_earlier: bool) -> Finding {
        let table = self.senders[index].table;
        self.say(|| format!("append {} rows to table {table}", rows.len()));
        let made = batch(rows, &self.oracle.tables[&table].columns);
        let appended = self.senders[index].writer.append(&made);
        let appended = appended.and_then(|acks| Ok([self.senders[index].writer.acks()?, acks].concat()));
        match appended {
            Ok(acks) => {
                self.take_acks(index, acks)?;
                match self.senders[index].waiting.is_empty() {
                    true => Ok(()),
                    false => Err(format!("an append to table {table} returned without an answer for all rows")),
                }
            }
            Err(error) if sent_earlier || self.sim.is_crashed() => self.lose_sender(index, "append", &error),
            Err(error) => self.outlive(index, &error),
        }
    }

    /// An append failed, and nothing else was under way: the answers tell which rows are in the log, the writer goes on, and perhaps the others
    /// are sent again.
    fn outlive(&mut self, index: usize, error: &aquifer_node::Error) -> Finding {
        self.excuse("append", error)?;
        let sender = &mut self.senders[index];
        let waiting = std::mem::take(&mut sender.waiting);
        let acks = sender.writer.acks().map_err(|again| format!("one failure was told twice: {error}, then {again}"))?;
        if sender.writer.unacknowledged_bytes() > 0 {
            return Err(format!("rows are under way after an append failed: {error}"));
        }
        let mut failed = Vec::new();
        for place in waiting {
            let is_here = |ack: &&Ack| place.partition == *ack.partition && place.bucket.is_none_or(|bucket| bucket == ack.bucket);
            let acks: Vec<Ack> = acks.iter().filter(is_here).cloned().collect();
            match acks.iter().map(|ack| ack.rows).sum::<u64>() {
                0 => failed.extend(place.rows),
                rows if rows == place.rows.len() as u64 => {
                    self.senders[index].waiting.push_back(place);
                    self.take_acks(index, acks)?;
                }
                // They were cut into several batches, and nobody knows which failed.
                _ => {}
            }
        }
        let told = error.context().find(|(name, _)| *name == "rows_failed").and_then(|(_, rows)| rows.parse::<usize>().ok());
        let is_told = told.map_or(acks.is_empty(), |rows| rows >= failed.len());
        if !is_told {
            return Err(format!("{} rows of an append failed: {error}", failed.len()));
        }
        // A write that failed may be found in the log when its bucket is opened again: then what is sent again is there twice.
        if failed.is_empty() || self.weather.has_failed || self.random.one_in(2) {
            return Ok(());
        }
        let number = self.oracle.number();
        self.senders[index].number = number;
        failed.iter().for_each(|row| self.oracle.send_again(number, *row));
        let waiting = split(&self.oracle.tables[&self.senders[index].table], &failed);
        self.senders[index].waiting.extend(waiting);
        self.append_noted(index, &failed, false)
    }

    /// Sends and does not wait.
    pub(crate) fn send(&mut self) -> Finding {
        let Some(table) = self.any_table() else { return Ok(()) };
        let Some(index) = self.sender_of(table)? else { return Ok(()) };
        for _ in 0..self.random.between(1, 6) {
            let rows = self.new_rows(table);
            self.note_sent(index, &rows);
            self.say(|| format!("send {} rows to table {table}", rows.len()));
            let made = batch(&rows, &self.oracle.tables[&table].columns);
            if let Err(error) = self.senders[index].writer.send(&made) {
                return self.lose_sender(index, "send", &error);
            }
        }
        Ok(())
    }

    fn note_sent(&mut self, index: usize, rows: &[u64]) {
        let Sender { table, number, .. } = self.senders[index];
        rows.iter().for_each(|row| self.oracle.send(table, number, *row));
        let waiting = split(&self.oracle.tables[&table], rows);
        self.senders[index].waiting.extend(waiting);
    }

    /// Takes the answers of one or all writers.
    pub(crate) fn collect(&mut self) -> Finding {
        let mut index = 0;
        while index < self.senders.len() {
            let flush = self.random.one_in(2);
            let writer = &mut self.senders[index].writer;
            let answered = if flush { writer.flush() } else { writer.acks() };
            match answered {
                Ok(acks) => {
                    self.take_acks(index, acks)?;
                    if flush && !self.senders[index].waiting.is_empty() {
                        return Err("a flush returned without an answer for all rows".to_string());
                    }
                    index += 1;
                }
                Err(error) => self.lose_sender(index, "flush", &error)?,
            }
        }
        Ok(())
    }

    /// After an error nobody knows which of the rows of several calls are in the log: it is given up.
    fn lose_sender(&mut self, index: usize, what: &str, error: &aquifer_node::Error) -> Finding {
        if self.senders.swap_remove(index).may_have_failed {
            self.oracle.had_errors = true;
            return Ok(());
        }
        self.excuse(what, error)
    }

    fn take_acks(&mut self, index: usize, acks: Vec<Ack>) -> Finding {
        let table = self.senders[index].table;
        for ack in acks {
            let sender = &mut self.senders[index];
            let fits = |waiting: &&mut Unacknowledged| {
                waiting.partition == *ack.partition && waiting.bucket.is_none_or(|bucket| bucket == ack.bucket) && !waiting.rows.is_empty()
            };
            let found = sender.waiting.iter_mut().find(fits).filter(|waiting| waiting.rows.len() as u64 >= ack.rows);
            let Some(waiting) = found else { return Err(format!("an answer for rows that nobody sent: {ack:?}")) };
            waiting.bucket = Some(ack.bucket);
            let rows: Vec<u64> = waiting.rows.drain(..ack.rows as usize).collect();
            sender.waiting.retain(|waiting| !waiting.rows.is_empty());
            sender.may_have_failed &= !sender.waiting.is_empty();
            if ack.duplicate {
                return Err(format!("new rows were taken for a repeat: {ack:?}"));
            }
            let place = (ack.partition.to_string(), ack.bucket);
            for (row, offset) in rows.into_iter().zip(ack.first_offset..) {
                self.oracle.is_at(table, &place, offset, row, Some(0), "acknowledged")?;
            }
        }
        Ok(())
    }
}

/// Numbered writers.
impl History {
    /// A numbered writer goes on: with what it must send again, a repeat, or something new.
    pub(crate) fn append_numbered(&mut self) -> Finding {
        let Some(index) = self.any_numbered() else { return Ok(()) };
        // Retention may have moved on in the background.
        let table = self.numbered[index].table;
        if self.oracle.tables[&table].has_retention && !self.learn_starts(table)? {
            return Ok(());
        }
        self.forget_what_left(index);
        let Numbered { table, id, number, .. } = self.numbered[index];
        let name = self.oracle.tables[&table].name.clone();
        let options = WriterOptions { id: Some(id) };
        let mut writer = match self.store().table(&name).and_then(|table| table.writer_with(options)) {
            Ok(writer) => writer,
            Err(error) => return self.excuse_at(table, "numbered writer", &error),
        };
        let unanswered: Vec<usize> =
            (0..self.numbered[index].batches.len()).filter(|batch| !self.numbered[index].batches[*batch].is_acknowledged).collect();
        if !unanswered.is_empty() {
            if self.aside.one_in(2) {
                return self.send_several(index, &unanswered, &mut writer);
            }
            for batch in unanswered {
                if !self.send_numbered(index, batch, &mut writer)? {
                    return Ok(());
                }
            }
            return Ok(());
        }
        if !self.numbered[index].batches.is_empty() && self.random.one_in(3) {
            let again = self.random.below(self.numbered[index].batches.len() as u64) as usize;
            self.send_numbered(index, again, &mut writer)?;
            return Ok(());
        }
        let waits = self.aside.one_in(2);
        let mut several = Vec::new();
        for _ in 0..self.random.between(1, 4) {
            let size = *self.random.pick(&[0, 1, 2, 3]);
            let Numbered { part, key, .. } = self.numbered[index];
            let count = self.random.between(1, 3);
            let rows: Vec<u64> = (0..count).map(|_| rows::number(self.oracle.number(), size, part, key)).collect();
            rows.iter().for_each(|row| self.oracle.send(table, number, *row));
            let numbered = &mut self.numbered[index];
            numbered.batches.push_back(Batch { sequence: numbered.next, rows, is_acknowledged: false });
            numbered.next += 1;
            if numbered.batches.len() > REMEMBERED {
                numbered.batches.pop_front();
            }
            let last = numbered.batches.len() - 1;
            if !waits {
                several.push(numbered.batches[last].sequence);
            } else if !self.send_numbered(index, last, &mut writer)? {
                return Ok(());
            }
        }
        let batches = &self.numbered[index].batches;
        let several: Vec<usize> = (0..batches.len()).filter(|batch| several.contains(&batches[*batch].sequence)).collect();
        self.send_several(index, &several, &mut writer)
    }

    /// Sends batches that wait for each other's answers.
    fn send_several(&mut self, index: usize, which: &[usize], writer: &mut Writer) -> Finding {
        for &batch in which {
            let (made, sequence) = self.made(index, batch);
            if let Err(error) = writer.send_numbered(&made, sequence) {
                return self.excuse("numbered send", &error);
            }
        }
        let acks = match writer.flush() {
            Ok(acks) => acks,
            Err(error) => return self.excuse("numbered flush", &error),
        };
        if acks.len() != which.len() {
            return Err(format!("{} numbered batches were sent and {} answered", which.len(), acks.len()));
        }
        which.iter().zip(&acks).try_for_each(|(batch, ack)| self.answered(index, *batch, ack))
    }

    /// A power cut took the last rows of logs: their writers send what was lost again, unless they do not remember all of it.
    pub(crate) fn number_lost_batches_again(&mut self) {
        for numbered in &mut self.numbered {
            let oracle = &self.oracle;
            let is_lost = |batch: &Batch| oracle.offset_of(batch.rows[0]).is_none();
            if numbered.batches.front().is_some_and(|first| first.is_acknowledged && is_lost(first) && first.sequence > 0) {
                numbered.batches.clear();
                numbered.next = 0;
                numbered.id = self.oracle.number() as i64;
                numbered.number = self.oracle.number();
                continue;
            }
            for batch in numbered.batches.iter_mut().filter(|batch| is_lost(batch)) {
                batch.is_acknowledged = false;
            }
        }
    }

    fn any_numbered(&mut self) -> Option<usize> {
        if self.numbered.is_empty() || self.random.one_in(4) {
            let table = self.any_table()?;
            let model = &self.oracle.tables[&table];
            // Only where the place of a batch is known beforehand.
            model.bucket_of(0)?;
            let (id, number) = (self.oracle.number() as i64, self.oracle.number());
            let (part, key) = (self.random.below(rows::PARTS.len() as u64), self.random.below(rows::KEYS));
            self.numbered.push(Numbered { table, id, number, part, key, next: 0, batches: VecDeque::new() });
        }
        Some(self.random.below(self.numbered.len() as u64) as usize)
    }

    /// What retention dropped cannot be recognised any more, nor can what may have been dropped before anybody saw it.
    fn forget_what_left(&mut self, index: usize) {
        let Numbered { table, part, key, .. } = self.numbered[index];
        let row = rows::number(0, 0, part, key);
        let model = &self.oracle.tables[&table];
        let place = (model.partition_of(row), model.bucket_of(row).expect("the place is known"));
        let start = model.logs.get(&place).map_or(0, |log| log.start);
        let oracle = &self.oracle;
        let is_kept = |batch: &Batch| oracle.offset_of(batch.rows[0]).is_none_or(|offset| offset >= start);
        let numbered = &mut self.numbered[index];
        let before = numbered.batches.len();
        numbered.batches.retain(is_kept);
        let unanswered = numbered.batches.iter().any(|batch| !batch.is_acknowledged);
        if start > 0 && (unanswered || numbered.batches.len() < before) {
            // A new application takes its place.
            numbered.batches.clear();
            numbered.next = 0;
            numbered.id = self.oracle.number() as i64;
            self.numbered[index].number = self.oracle.number();
        }
    }

    /// Sends one batch under its number; whether it was answered.
    fn send_numbered(&mut self, index: usize, which: usize, writer: &mut Writer) -> Finding<bool> {
        let (made, sequence) = self.made(index, which);
        match writer.append_numbered(&made, sequence) {
            Ok(ack) => self.answered(index, which, &ack).map(|()| true),
            Err(error) => self.excuse("numbered append", &error).map(|()| false),
        }
    }

    /// A batch that is about to be sent, and its number.
    fn made(&mut self, index: usize, which: usize) -> (RecordBatch, i32) {
        let Numbered { table, number, .. } = self.numbered[index];
        let Batch { sequence, rows, .. } = &self.numbered[index].batches[which];
        let (sequence, rows) = (*sequence, rows.clone());
        let before = self.oracle.offset_of(rows[0]);
        rows.iter().for_each(|row| self.oracle.send(table, number, *row));
        self.say(|| format!("batch {sequence} of writer {} to table {table}, known at {before:?}", self.numbered[index].id));
        (batch(&rows, &self.oracle.tables[&table].columns), sequence)
    }

    /// One batch was answered.
    fn answered(&mut self, index: usize, which: usize, ack: &Ack) -> Finding {
        let table = self.numbered[index].table;
        let Batch { sequence, rows, .. } = &self.numbered[index].batches[which];
        let (sequence, rows) = (*sequence, rows.clone());
        let before = self.oracle.offset_of(rows[0]);
        let place = (ack.partition.to_string(), ack.bucket);
        if let Some(before) = before
            && (!ack.duplicate || ack.first_offset != before)
        {
            return Err(format!("batch {sequence} of writer {} at {before} was sent again and answered {ack:?}", self.numbered[index].id));
        }
        for (row, offset) in rows.iter().zip(ack.first_offset..) {
            self.oracle.is_at(table, &place, offset, *row, Some(0), "acknowledged by number")?;
        }
        self.numbered[index].batches[which].is_acknowledged = true;
        Ok(())
    }
}
