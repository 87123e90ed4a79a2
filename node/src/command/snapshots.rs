//! `snapshots`: what a table looked like, listed, made and named.
//!
//! Invariant: one verb does one thing, and prints what there is afterwards. Knows nothing of runs.

use super::arguments::Snapshots;
use super::outcome::Outcome;
use super::output::{Format, print_utc_ms};
use super::report::Report;
use super::session::Session;
use super::store::{Snapshot, Version};

pub(crate) fn snapshots(session: &Session, arguments: &Snapshots) -> Outcome {
    let name = &arguments.table;
    if let Some(tag) = &arguments.delete_tag {
        let store = session.store_to_change()?;
        store.table(name)?.delete_tag(tag)?;
        session.close(store)?;
        session.say(&format!("deleted the tag {tag}"));
        return Ok(());
    }
    if !arguments.create && arguments.tag.is_none() {
        return print(session, session.store_to_read()?.table(name)?.snapshots()?);
    }
    let store = session.store_to_change()?;
    let table = store.table(name)?;
    let changed = match (&arguments.tag, &arguments.of) {
        (Some(tag), of) if !arguments.create => table.create_tag(tag, of.as_ref().unwrap_or(&Version::AsOf(i64::MAX)))?,
        (tag, _) => table.create_snapshot(tag.as_deref())?,
    };
    session.close(store)?;
    print(session, vec![changed])
}

fn print(session: &Session, found: Vec<Snapshot>) -> Outcome {
    if session.format() == Format::Json {
        return found.iter().try_for_each(|snapshot| session.print_json(snapshot));
    }
    let mut report = Report::new(["id", "tags", "time", "schema", "run_rows", "runs", "bytes", "ends"]);
    for snapshot in found {
        let Snapshot { id, tags, time_ms, schema_version, run_rows, runs, bytes, ends } = snapshot;
        let ends: Vec<String> = ends.iter().map(|end| format!("{}{}:{}", slash(&end.partition), end.bucket, end.offset)).collect();
        let time = print_utc_ms(time_ms);
        let schema = schema_version.max(0) as u64;
        report.row([
            id.into(),
            tags.join(",").into(),
            time.into(),
            schema.into(),
            run_rows.into(),
            runs.into(),
            bytes.into(),
            ends.join(" ").into(),
        ]);
    }
    session.print(&report)
}

/// What stands before the number of a bucket.
fn slash(partition: &str) -> String {
    if partition.is_empty() { String::new() } else { format!("{partition}/") }
}
