//! `verify`, `flush`, `compact` and `expire`: the store looks after itself, on request.
//!
//! Invariant: damage is found, told and counted; it is never mended silently. Knows nothing of checksums.

use super::outcome::{Failure, Outcome};
use super::output::Format;
use super::progress::Progress;
use super::report::{Cell, Report};
use super::session::Session;
use super::store::VerifyReport;

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
    if found.problems.is_empty() { Ok(()) } else { Err(Failure::found_corrupt()) }
}

fn tell(session: &Session, found: &VerifyReport) -> Outcome {
    if session.format() == Format::Json {
        return session.print_json(found);
    }
    let VerifyReport { tables, buckets, segments, runs, batches, rows, bytes, problems } = found;
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
        let bucket = u64::from(problem.bucket).into();
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
    store.compact(table, full)?;
    session.close(store)?;
    session.say(&format!("compacted {table}"));
    Ok(())
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
