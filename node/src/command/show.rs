//! `list`, `describe`, `stats` and `config`: what there is, without a row of it.
//!
//! Invariant: changes nothing. Knows nothing of how rows are stored.

use super::outcome::{Outcome, tell};
use super::output::{Format, print_utc_ms};
use super::report::{Cell, Report};
use super::session::Session;
use super::store::BucketStats;

pub(crate) fn list(session: &Session) -> Outcome {
    let mut report = Report::new(["name", "columns", "partitions", "buckets"]);
    for table in session.store_to_read()?.tables()? {
        let [columns, partitions] = [table.columns, table.partitions].map(|count| (count as u64).into());
        report.row([table.name.into(), columns, partitions, u64::from(table.buckets).into()]);
    }
    session.print(&report)
}

pub(crate) fn describe(session: &Session, table: &str) -> Outcome {
    let found = session.store_to_read()?.table(table)?.describe()?;
    if session.format() == Format::Json {
        return session.print_json(&found);
    }
    let mut report = Report::new(["what", "name", "value", "note"]);
    let id = Cell::from(format!("id {}", found.id));
    report.row(["table".into(), found.name.into(), Cell::None, id]);
    report.row(["created".into(), Cell::None, print_utc_ms(found.created_ms as i64).into(), Cell::None]);
    report.row(["schema".into(), Cell::None, format!("version {}", found.schema_version).into(), Cell::None]);
    for column in found.columns {
        let kind = if column.nullable { column.kind } else { format!("{} not null", column.kind) };
        report.row(["column".into(), column.name.into(), kind.into(), format!("field id {}", column.id).into()]);
    }
    for column in found.primary_key {
        report.row(["primary key".into(), column.into(), Cell::None, Cell::None]);
    }
    for (name, value) in found.merge {
        report.row(["merge".into(), name.into(), value.into(), Cell::None]);
    }
    if let Some(mode) = found.changelog {
        let note = match mode.as_str() {
            "input" => "the log holds rows as they were written",
            _ => "the log holds what became of each key",
        };
        report.row(["changelog".into(), Cell::None, mode.into(), note.into()]);
    }
    for field in found.partition_by {
        report.row(["partition by".into(), field.into(), Cell::None, Cell::None]);
    }
    for partition in found.partitions {
        report.row(["partition".into(), partition.into(), Cell::None, Cell::None]);
    }
    let key = if found.bucket_key.is_empty() { Cell::None } else { format!("by {}", found.bucket_key.join(",")).into() };
    report.row(["buckets".into(), Cell::None, found.buckets.to_string().into(), key]);
    for option in found.options {
        let value = if option.is_default { format!("{} (default)", option.value) } else { option.value };
        report.row(["option".into(), option.name.into(), value.into(), option.description.into()]);
    }
    session.print(&report)
}

/// Columns of trees come with the first table that has some, so that a log table keeps the few that it has use for.
pub(crate) fn stats(session: &Session, table: Option<&str>) -> Outcome {
    let all = session.store_to_read()?.stats(table)?;
    for BucketStats { table, partition, bucket, damage, damaged, .. } in &all {
        let what = match damage {
            Some(damage) => damage.clone(),
            None if *damaged > 0 => format!("{damaged} places; `aquifer verify` lists them"),
            None => continue,
        };
        let partition = if partition.is_empty() { String::new() } else { format!(", partition {partition}") };
        tell(format_args!("aquifer: damaged: table {table}{partition}, bucket {bucket}: {what}"));
    }
    let report = if all.iter().any(|found| found.tree.is_some()) { with_trees(all) } else { of_logs(all) };
    session.print(&report)
}

fn of_logs(all: Vec<BucketStats>) -> Report {
    let mut report = Report::new(["table", "partition", "bucket", "rows", "start_offset", "end_offset", "segments", "bytes"]);
    for found in all {
        let [table, partition, bucket, start, end, segments, bytes] = log_cells(&found);
        report.row([table, partition, bucket, found.rows.into(), start, end, segments, bytes]);
    }
    report
}

fn with_trees(all: Vec<BucketStats>) -> Report {
    let mut report = Report::new([
        "table",
        "partition",
        "bucket",
        "rows",
        "changes",
        "start_offset",
        "end_offset",
        "segments",
        "bytes",
        "runs",
        "run_rows",
        "run_bytes",
        "flushed_to",
        "compaction_due",
        "memtable_bytes",
        "flushes_waiting",
        "stalled_s",
    ]);
    for found in all {
        let [table, partition, bucket, start, end, segments, bytes] = log_cells(&found);
        let (tree, writer) = (found.tree, found.tree.and_then(|tree| tree.writer));
        report.row([
            table,
            partition,
            bucket,
            // How many keys have a row is not known without merging all of them.
            tree.is_none().then_some(found.rows).into(),
            tree.map(|_| found.rows).into(),
            start,
            end,
            segments,
            bytes,
            tree.map(|tree| tree.runs as u64).into(),
            tree.map(|tree| tree.run_rows).into(),
            tree.map(|tree| tree.run_bytes).into(),
            tree.map(|tree| tree.flushed_to).into(),
            tree.map(|tree| tree.compaction_due).into(),
            writer.map(|writer| writer.memtable_bytes).into(),
            writer.map(|writer| u64::from(writer.flushes_waiting)).into(),
            writer.map(|writer| writer.stalled_ms as f64 / 1e3).into(),
        ]);
    }
    report
}

fn log_cells(found: &BucketStats) -> [Cell; 7] {
    let [bucket, segments] = [u64::from(found.bucket), found.segments as u64].map(Cell::from);
    let [start, end, bytes] = [found.start_offset, found.end_offset, found.bytes].map(Cell::from);
    [found.table.as_str().into(), found.partition.as_str().into(), bucket, start, end, segments, bytes]
}

pub(crate) fn config(session: &Session) -> Outcome {
    let mut report = Report::new(["setting", "value", "source", "meaning"]);
    for setting in &session.config.settings {
        report.row([&setting.name, &setting.value, &setting.source, &setting.meaning].map(|text| text.as_str().into()));
    }
    session.print(&report)
}
