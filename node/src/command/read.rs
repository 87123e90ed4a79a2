//! `tail` and `scan`: rows of a table to the output.
//!
//! Invariant: with `--follow`, rows are visible as soon as the scanner has them. Knows nothing of formats.

use std::collections::HashSet;
use std::sync::Arc;

use aquifer_node::Error;

use super::arguments::{From, Scan, Select, Tail};
use super::interrupt;
use super::outcome::{Failure, Outcome};
use super::output::{Format, Output, Purpose, Reader};
use super::progress::Progress;
use super::quote::quote;
use super::report::Report;
use super::session::Session;
use super::store::{Next, ScanBuilder, Scanner, Split, Start, Table};

pub(crate) fn tail(session: &Session, tail: &Tail) -> Outcome {
    let table = session.store_to_read()?.table(&tail.table)?;
    let scan = match (has_key(&table)?, tail.changelog) {
        (true, _) => table.changes(),
        (false, false) => table.scan(),
        (false, true) => {
            let keyless = Error::invalid("a log table has no changelog: its rows are never changed").at("table", &tail.table);
            return Err(keyless.hint("leave out --changelog, or create a table with a --primary-key").into());
        }
    };
    let is_at_snapshot = matches!(tail.from, From::Snapshot(_) | From::Full(_)) || tail.to.is_some();
    if is_at_snapshot && !has_key(&table)? {
        let keyless = Error::invalid("a table without a primary key has no snapshots").at("table", &tail.table);
        return Err(keyless.hint("its log has all rows: tail it from earliest, an offset or a time").into());
    }
    if matches!(tail.from, From::Full(_)) && tail.select.meta {
        let merged = Error::invalid(
            "--meta tells where a change is in the log, and the rows that --from full begins with are merged: they have no place there",
        );
        return Err(merged
            .at("table", &tail.table)
            .hint("leave out --meta (each row has its _op anyway), or start with --from earliest")
            .into());
    }
    let scan = match tail.from.clone() {
        From::Earliest => scan,
        From::Latest => scan.start(Start::Latest),
        From::Offset(offset) => scan.start(Start::Offset(offset)),
        From::TimestampMs(timestamp_ms) => scan.start(Start::Timestamp(timestamp_ms)),
        From::Snapshot(version) => scan.from_snapshot(version),
        From::Full(None) => scan.rows_first(),
        From::Full(Some(version)) => scan.rows_first().from_snapshot(version),
    };
    let scan = match tail.to.clone() {
        Some(version) => scan.to_snapshot(version),
        None => scan,
    };
    read(session, &tail.table, &tail.select, scan, tail.follow)
}

pub(crate) fn scan(session: &Session, scan: &Scan) -> Outcome {
    let table = session.store_to_read()?.table(&scan.table)?;
    if scan.select.meta && has_key(&table)? {
        let merged = Error::invalid("rows of a table with a primary key are merged: they lie at no offset").at("table", &scan.table);
        return Err(merged.hint("leave out --meta, or see its changes with aquifer tail --meta").into());
    }
    let whole = match scan.at.version() {
        Some(version) => table.scan().at(version),
        None => table.scan(),
    };
    if let Some(count) = scan.splits {
        check_whole(&scan.select)?;
        return print_splits(session, &select(whole, &scan.select)?.splits(count as usize)?);
    }
    let part = match &scan.split {
        None => whole,
        Some(line) => whole.split(&Split::from_json(line)?),
    };
    read(session, &scan.table, &scan.select, part, false)
}

/// Refuses what a split does not carry: whoever reads it would not hear of it.
fn check_whole(select: &Select) -> Outcome {
    let options = [
        ("--columns", select.columns.is_some()),
        ("--where", select.filter.is_some()),
        ("--limit", select.limit.is_some()),
        ("--meta", select.meta),
    ];
    match options.into_iter().find(|(_, is_given)| *is_given) {
        None => Ok(()),
        Some((option, _)) => {
            let lost = Error::invalid(format!("a split does not say {option}: it is a part of all rows, with all columns"));
            Err(lost.hint(format!("leave out {option} with --splits, and give it to each aquifer scan --split")).into())
        }
    }
}

/// A line each, to be read by programs, and so whole also where tables are printed; in another format that was asked for, a column of them.
fn print_splits(session: &Session, splits: &[Split]) -> Outcome {
    let lines = splits.iter().map(Split::to_json).collect::<aquifer_node::Result<Vec<_>>>()?;
    match session.format_asked_for() {
        None | Some(Format::Json | Format::Table) if lines.is_empty() => Ok(()),
        None | Some(Format::Json | Format::Table) => session.print_text(&lines.join("\n")),
        Some(_) => {
            let mut report = Report::new(["split"]);
            lines.into_iter().for_each(|line| report.row([line.into()]));
            session.print(&report)
        }
    }
}

fn has_key(table: &Table) -> Outcome<bool> {
    Ok(!table.describe()?.primary_key.is_empty())
}

/// The scan of the chosen rows and columns.
fn select(mut scan: ScanBuilder, select: &Select) -> Outcome<ScanBuilder> {
    if let Some(columns) = &select.columns {
        let columns: Vec<_> = columns.0.iter().map(String::as_str).collect();
        if let Some(twice) = twice(columns.iter().copied()) {
            return Err(Error::invalid(format!("column {} is named twice", quote(twice))).into());
        }
        scan = scan.columns(&columns);
    }
    if let Some(filter) = &select.filter {
        scan = scan.filter(filter);
    }
    if !select.bucket.is_empty() {
        scan = scan.buckets(&select.bucket);
    }
    if let Some(partition) = &select.partition {
        scan = scan.partition(partition);
    }
    if let Some(limit) = select.limit {
        scan = scan.limit(limit);
    }
    Ok(scan)
}

fn read(session: &Session, table: &str, chosen: &Select, scan: ScanBuilder, follow: bool) -> Outcome {
    // Each line says by itself which columns it has.
    let adapts = session.format() == Format::Json;
    let mut scanner = select(scan.follow(follow).adapt(adapts).meta(chosen.meta), chosen)?.build()?;
    let schema = scanner.schema();
    if let Some(twice) = twice(schema.fields().iter().map(|field| field.name().as_str())) {
        let clash = Error::invalid(format!("the table has a column {}, which is also what is told of each row", quote(twice)));
        return Err(clash.at("table", table).hint("read other --columns, leave out --meta, or rename it with aquifer alter").into());
    }
    let reader = session.reader();
    let mut output = session.output(schema, if follow { Purpose::Following } else { Purpose::Rows })?;
    interrupt::catch();
    let is_silent = session.config.quiet || follow || session.prints_to_terminal();
    let mut progress = Progress::new("scan", None, is_silent);
    let mut passing = Passing { session, output: &mut output, follow, progress: &mut progress, reader: reader.as_ref(), is_told: false };
    let ended = passing.on(&mut scanner);
    progress.finish();
    match ended {
        Ok(()) | Err(Failure::Interrupted(_)) => output.finish()?,
        Err(_) => 0,
    };
    ended
}

/// The first name that was there before.
fn twice<'a>(names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let mut seen = HashSet::new();
    names.into_iter().find(|name| !seen.insert(*name))
}

/// Rows on their way from a scan to the output.
struct Passing<'a> {
    session: &'a Session,
    output: &'a mut Output,
    follow: bool,
    progress: &'a mut Progress,
    reader: Option<&'a Reader>,
    /// It was said that the table has other columns now.
    is_told: bool,
}

impl Passing<'_> {
    fn on(&mut self, scanner: &mut Scanner) -> Outcome {
        let mut schema = scanner.schema();
        loop {
            interrupt::check()?;
            let next = scanner.next_within(Some(interrupt::LOOK_EVERY));
            self.tell_outdated(scanner);
            match next.map_err(Failure::of_data)? {
                Next::Batch(found) => {
                    let shown = scanner.schema();
                    if !Arc::ptr_eq(&shown, &schema) {
                        self.output.adopt(&shown);
                        schema = shown;
                    }
                    self.output.write(&found.batch)?;
                    self.progress.add(found.batch.num_rows() as u64, found.bytes());
                    if self.follow {
                        self.output.flush()?;
                    }
                }
                // Without a row to print, nothing else tells that nobody reads any more.
                Next::Waiting if self.reader.is_some_and(Reader::is_gone) => return Err(Failure::ClosedPipe),
                Next::Waiting => {}
                Next::End => return Ok(()),
            }
        }
    }

    /// Says once that the table has other columns than what is printed.
    fn tell_outdated(&mut self, scanner: &Scanner) {
        if self.follow && !self.is_told && scanner.is_outdated() {
            self.is_told = true;
            self.session
                .say("the table changed its columns; this tail goes on with those that it began with: start it again to see the others");
        }
    }
}
