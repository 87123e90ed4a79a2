//! `list`, `describe`, `stats`, `metrics` and `config`: what there is, without a row of it.
//!
//! Invariant: changes nothing. Knows nothing of how rows are stored.

use super::outcome::Outcome;
use super::report::Report;
use super::session::Session;

pub(crate) fn list(session: &Session) -> Outcome {
    let mut tables = session.store_to_read()?.tables()?;
    tables.sort_by(|a, b| a.name.cmp(&b.name));
    let mut report = Report::new(["name", "columns", "partitions", "buckets"]);
    for table in tables {
        let [columns, partitions] = [table.columns, table.partitions].map(|count| (count as u64).into());
        report.row([table.name.into(), columns, partitions, u64::from(table.buckets).into()]);
    }
    session.print(&report)
}

pub(crate) fn config(session: &Session) -> Outcome {
    let mut report = Report::new(["setting", "value", "source", "meaning"]);
    for setting in &session.config.settings {
        report.row([&setting.name, &setting.value, &setting.source, &setting.meaning].map(|text| text.as_str().into()));
    }
    session.print(&report)
}
