//! `verify`, `flush`, `compact` and `expire`: the store looks after itself, on request.
//!
//! Invariant: damage is found, told and counted; it is never mended silently. Knows nothing of checksums.

use std::path::Path;

use super::outcome::{Failure, Outcome};
use super::output::Format;
use super::progress::Progress;
use super::report::Report;
use super::session::Session;
use super::store::{Note, Problem, Store, VerifyReport};

pub(crate) fn verify(session: &Session, table: Option<&str>) -> Outcome {
    let store = session.store_to_read()?;
    let mut bar = Progress::new("verify", None, session.config.quiet);
    let (mut rows, mut bytes) = (0, 0);
    let found = store.verify(table, &mut |progress| {
        bar.add(progress.rows - rows, progress.bytes - bytes);
        (rows, bytes) = (progress.rows, progress.bytes);
    });
    bar.finish();
    let found = found?;
    tell(session, &found)?;
    found.notes.iter().for_each(|note| session.say(&note_line(note)));
    if found.problems.is_empty() { Ok(()) } else { Err(Failure::found_corrupt()) }
}

fn note_line(note: &Note) -> String {
    let Note { table, partition, bucket, file, bytes, what, stays } = note;
    let mut place = String::new();
    let bucket = bucket.map(|bucket| bucket.to_string()).unwrap_or_default();
    for (name, value) in [("table", table), ("partition", partition), ("bucket", &bucket)] {
        if !value.is_empty() {
            place.push_str(&format!(", {name} {value}"));
        }
    }
    let fate = match stays {
        true => "it is left as it is",
        false => "it is left for the next writer, who removes it or writes over it",
    };
    format!("note: {what}{place}, file {file}, bytes {bytes}; no damage: {fate}")
}

fn tell(session: &Session, found: &VerifyReport) -> Outcome {
    if session.format() == Format::Json {
        return session.print_json(found);
    }
    if found.problems.is_empty() {
        return session.print(&figures(found));
    }
    session.print(&problems(session, found))?;
    let VerifyReport { buckets, rows, changes, run_rows, damaged, .. } = found;
    let changes = if *changes > 0 { format!(", {changes} changes") } else { String::new() };
    let run_rows = if *run_rows > 0 { format!(", {run_rows} rows in runs") } else { String::new() };
    session.say(&format!("{damaged} problems beside {rows} good rows{changes}{run_rows} in {buckets} buckets"));
    Ok(())
}

fn figures(found: &VerifyReport) -> Report {
    Report::one([
        ("tables", found.tables.into()),
        ("buckets", found.buckets.into()),
        ("segments", found.segments.into()),
        ("batches", found.batches.into()),
        ("rows", found.rows.into()),
        ("changes", found.changes.into()),
        ("runs", found.runs.into()),
        ("run_rows", found.run_rows.into()),
        ("bytes", found.bytes.into()),
        ("problems", 0_u64.into()),
    ])
}

/// A line for each. Files are named from the data directory on: a name that is cut is of no use.
fn problems(session: &Session, found: &VerifyReport) -> Report {
    let mut report = Report::new(["table", "partition", "bucket", "file", "position", "offset", "next_offset", "what"]);
    for problem in &found.problems {
        let Problem { table, partition, bucket, file, position, offset, next_offset, what } = problem;
        let file = file
            .as_ref()
            .map(|file| Path::new(file).strip_prefix(&session.config.dir).map_or(file.clone(), |file| file.display().to_string()));
        report.row([
            table.as_str().into(),
            partition.as_str().into(),
            bucket.map(u64::from).into(),
            file.into(),
            (*position).into(),
            (*offset).into(),
            (*next_offset).into(),
            what.as_str().into(),
        ]);
    }
    report
}

pub(crate) fn flush(session: &Session, table: &str) -> Outcome {
    let store = session.store_to_change()?;
    store.flush(table)?;
    session.close(store)?;
    session.say(&format!("flushed {table}"));
    Ok(())
}

pub(crate) fn compact(session: &Session, table: &str, full: bool) -> Outcome {
    let store = session.store_to_change()?;
    let before = runs_of(&store, table)?;
    store.compact(table, full)?;
    let after = runs_of(&store, table)?;
    session.close(store)?;
    session.say(&match before == after {
        false => format!("compacted {table}"),
        true if after.iter().all(|(runs, ..)| *runs < 2) => format!("nothing to compact in {table}: no bucket has more than one run"),
        true => format!("nothing to compact in {table} that pays; --full merges all runs"),
    });
    Ok(())
}

/// Runs of each bucket, with their rows and bytes.
fn runs_of(store: &Store, table: &str) -> Outcome<Vec<(usize, u64, u64)>> {
    let trees = store.stats(Some(table))?.into_iter().filter_map(|bucket| bucket.tree);
    Ok(trees.map(|tree| (tree.runs, tree.run_rows, tree.run_bytes)).collect())
}

pub(crate) fn expire(session: &Session, table: &str) -> Outcome {
    let store = session.store_to_change()?;
    let dropped = store.expire(table)?;
    session.close(store)?;
    session.print(&Report::one([
        ("table", table.into()),
        ("rows", dropped.rows.into()),
        ("bytes", dropped.bytes.into()),
        ("partitions", dropped.partitions.into()),
        ("snapshots", dropped.snapshots.into()),
    ]))
}
