//! Tables that come, change and go.

use std::collections::BTreeMap;

use aquifer_node::Kind;
use aquifer_node::store::{Change, CreateTable};
use aquifer_node::table::{BucketFunction, supported};

use crate::history::History;
use crate::oracle::{Existence, Finding, Table};
use crate::rows::{self, Column, batch};

/// Tables at a time.
const TABLES_MAX: usize = 3;

/// Columns behind the four.
const COLUMNS_MAX: usize = 4;

impl History {
    /// A new table of a random shape.
    pub(crate) fn create_table(&mut self) -> Finding {
        if self.oracle.tables.len() >= TABLES_MAX {
            return Ok(());
        }
        let number = self.oracle.number();
        let name = format!("t{}", self.random.below(TABLES_MAX as u64));
        let buckets = *self.random.pick(&[1, 1, 2, 4]);
        let (is_keyed, is_parted, has_retention) = (self.random.one_in(2), self.random.one_in(3), self.random.one_in(2));
        let mut create = CreateTable::like(rows::schema(&[])).buckets(buckets);
        let is_large = self.random.one_in(4);
        let (segment, batch) = if is_large { ("6MiB", "3MiB") } else { ("1MiB", *self.random.pick(&["512KiB", "1000KiB"])) };
        create = create.option("segment.bytes", segment).option("batch.bytes.max", batch);
        if is_keyed {
            create = create.bucket_key(&["key"]);
        } else if self.random.one_in(2) {
            create = create.option("bucket.assign", "round-robin");
        }
        if is_parted {
            create = create.partition_by("part");
        }
        if has_retention {
            create = match self.random.one_in(2) {
                true => create.option("retention.bytes", self.random.pick::<&str>(&["0B", "1500KiB"])),
                // Whole partitions would go by age, and offsets begin anew in the next one of the name: `reshaping` and others look at that.
                false if is_parted => create.option("retention.bytes", "1500KiB"),
                false => create.option("retention.ms", "1h"),
            };
        }
        // Seldom: equal bytes compress so well that segments would hardly fill.
        if self.random.one_in(8) {
            create = create.option("compression", self.random.pick::<&str>(&["lz4", "zstd"]));
        }
        self.say(|| format!("create table {number} {name}: {create:?}"));
        let table = Table {
            number,
            name: name.clone(),
            buckets,
            bucket_of_key: is_keyed.then(|| buckets_of_keys(buckets)),
            is_parted,
            is_large,
            has_retention,
            columns: Vec::new(),
            columns_perhaps: None,
            dropped: Vec::new(),
            widened: Vec::new(),
            existence: Existence::Certain,
            logs: BTreeMap::new(),
        };
        let known = self.oracle.tables.values().find(|table| table.name == name).map(|table| (table.number, table.existence));
        let exists = known.is_some();
        match self.store.as_ref().expect("open").create_table(&name, create) {
            Ok(_) if known.is_some_and(|(_, existence)| existence == Existence::Certain) => Err(format!("table {name} was created twice")),
            Ok(_) => {
                if let Some((doubtful, _)) = known {
                    self.forget_table(doubtful);
                }
                self.oracle.tables.insert(number, table);
                Ok(())
            }
            Err(error) if exists && error.kind() == Kind::Conflict => Ok(()),
            Err(error) => {
                self.excuse("create", &error)?;
                if !exists {
                    self.oracle.tables.insert(number, Table { existence: Existence::Doubtful, ..table });
                }
                Ok(())
            }
        }
    }

    /// Drops a table, with everything that is going on in it.
    pub(crate) fn drop_table(&mut self) -> Finding {
        let Some(number) = self.certain_table() else { return Ok(()) };
        let name = self.oracle.tables[&number].name.clone();
        self.say(|| format!("drop table {number} {name}"));
        let store = self.store.clone().expect("open");
        match store.drop_table(&name) {
            Ok(()) => self.forget_table(number),
            Err(error) => {
                self.excuse("drop", &error)?;
                match store.table(&name) {
                    Err(gone) if gone.kind() == Kind::NotFound => self.forget_table(number),
                    _ => self.oracle.tables.get_mut(&number).expect("it exists").existence = Existence::Doubtful,
                }
            }
        }
        Ok(())
    }

    fn forget_table(&mut self, number: u64) {
        self.oracle.drop_table(number);
        self.senders.retain(|sender| sender.table() != number);
        self.numbered.retain(|numbered| numbered.table != number);
    }

    fn certain_table(&mut self) -> Option<u64> {
        let certain = |table: &&Table| table.existence == Existence::Certain && table.columns_perhaps.is_none();
        let numbers: Vec<u64> = self.oracle.tables.values().filter(certain).map(|table| table.number).collect();
        (!numbers.is_empty()).then(|| *self.random.pick(&numbers))
    }

    /// Adds, renames, widens or drops a column.
    pub(crate) fn alter_table(&mut self) -> Finding {
        let Some(number) = self.certain_table() else { return Ok(()) };
        let since = self.oracle.rows_so_far();
        let column_number = self.oracle.number();
        let table = &self.oracle.tables[&number];
        let (name, mut columns) = (table.name.clone(), table.columns.clone());
        let mut dropped = None;
        let which = self.random.below(columns.len().max(1) as u64) as usize;
        let change = match self.random.below(4) {
            0 if !columns.is_empty() => {
                let old = std::mem::replace(&mut columns[which].name, format!("c{column_number}"));
                Change::rename_column(&format!("{old}=c{column_number}"))
            }
            1 if !columns.is_empty() => {
                let gone = columns.remove(which);
                dropped = Some(gone.number);
                Ok(Change::drop_column(&gone.name))
            }
            2 if columns.get(which).is_some_and(|column| !column.is_wide) => {
                columns[which].is_wide = true;
                Change::widen_column(&format!("{} int64", columns[which].name))
            }
            _ if columns.len() < COLUMNS_MAX => {
                columns.push(Column { number: column_number, name: format!("c{column_number}"), is_wide: false, since });
                Change::add_column(&format!("c{column_number} int32"))
            }
            _ => return Ok(()),
        };
        let change = change.map_err(|error| format!("a change that should parse: {error}"))?;
        self.say(|| format!("alter table {number}: {change:?}"));
        let altered = self.store.as_ref().expect("open").alter_table(&name, &[change]);
        let table = self.oracle.tables.get_mut(&number).expect("it exists");
        table.widened.extend(columns.iter().filter(|column| column.is_wide).map(|column| column.number));
        match altered {
            Ok(()) => {
                table.columns = columns;
                table.dropped.extend(dropped);
                Ok(())
            }
            Err(error) => {
                table.columns_perhaps = Some(columns);
                self.excuse("alter", &error)
            }
        }
    }

    /// Drops what retention no longer keeps.
    pub(crate) fn expire(&mut self) -> Finding {
        let tables: Vec<(u64, String)> = self.oracle.tables.values().map(|table| (table.number, table.name.clone())).collect();
        let store = self.store.clone().expect("open");
        for (number, name) in tables {
            self.say(|| format!("expire table {number}"));
            match store.expire(&name) {
                Ok(_) => drop(self.learn_starts(number)?),
                Err(error) => self.excuse_at(number, "expire", &error)?,
            }
        }
        Ok(())
    }

    /// Asks where the logs of a table start now; whether that could be told.
    pub(crate) fn learn_starts(&mut self, table: u64) -> Finding<bool> {
        let store = self.store.clone().expect("open");
        match store.stats(Some(&self.oracle.tables[&table].name)) {
            Ok(stats) => {
                for stats in stats {
                    self.oracle.starts_at(table, &(stats.partition, stats.bucket), stats.start_offset)?;
                }
                Ok(true)
            }
            Err(error) => self.excuse_at(table, "stats", &error).map(|()| false),
        }
    }
}

/// The bucket of each key, by the function alone.
fn buckets_of_keys(buckets: u32) -> Vec<u32> {
    let schema = supported(&rows::schema(&[])).expect("columns that tables have");
    let key = schema.ids_of(&["key"]).expect("it has a key");
    let keys: Vec<u64> = (0..rows::KEYS).map(|key| rows::number(0, 0, 0, key)).collect();
    let function = BucketFunction::new(&schema, &key, buckets).expect("a key that can be hashed");
    function.buckets(&batch(&keys, &[])).expect("the schema fits")
}
