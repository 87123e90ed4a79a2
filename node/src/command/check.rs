//! `verify`, `flush`, `compact` and `expire`: the store looks after itself, on request.
//!
//! Invariant: damage is found, told and counted; it is never mended silently. Knows nothing of checksums.

use super::outcome::{Failure, Outcome};
use super::output::Format;
use super::progress::Progress;
use super::report::{Cell, Report};
use super::session::Session;
use super::store::{Note, Store, VerifyReport};

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
        false => "a crash left it, and whoever writes next removes it or writes over it",
    };
    format!("note: {what}{place}, file {file}, bytes {bytes}; no damage: {fate}")
}

fn tell(session: &Session, found: &VerifyReport) -> Outcome {
    if session.format() == Format::Json {
        return session.print_json(found);
    }
    let VerifyReport { tables, buckets, segments, runs, batches, rows, bytes, problems, .. } = found;
    if problems.is_empty() {
        return session.print(&Report::one([
            ("tables", (*tables).into()),
            ("buckets", (*buckets).into()),
            ("segments", (*segments).into()),
            ("runs", (*runs).into()),
            ("batches", (*batches).into()),
            ("rows", (*rows).into()),
            ("bytes", (*bytes).into()),
            ("problems", 0_u64.into()),
        ]));
    }
    let mut report = Report::new(["table", "partition", "bucket", "segment", "offset", "what"]);
    for problem in problems {
        let bucket = problem.bucket.map(u64::from).into();
        let (segment, offset) = (Cell::from(problem.segment.clone()), problem.offset.into());
        report.row([
            problem.table.as_str().into(),
            problem.partition.as_str().into(),
            bucket,
            segment,
            offset,
            problem.what.as_str().into(),
        ]);
    }
    session.print(&report)?;
    session.say(&format!("{} problems beside {rows} good rows in {buckets} buckets", problems.len()));
    Ok(())
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
