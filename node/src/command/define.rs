//! `init`, `create`, `alter`, `drop` and `rescale`.
//!
//! Invariant: a request that is wrong changes nothing. Knows nothing of rows.

use aquifer_node::Error;

use super::arguments::{Alter, Create, Drop, Rescale};
use super::outcome::{Failure, Outcome};
use super::progress::Progress;
use super::report::Report;
use super::session::Session;
use super::store::{Change, CreateTable};
use super::{input, schema_file};

/// The option behind `--merge`.
const MERGE_ENGINE: &str = "merge-engine";

/// The option behind `--changelog`.
const CHANGELOG_PRODUCER: &str = "changelog-producer";

pub(crate) fn init(session: &Session) -> Outcome {
    if session.has_store()? {
        session.say(&format!("{} is there already", session.config.dir.display()));
        return Ok(());
    }
    session.close(session.store()?)?;
    session.say(&format!("made {}", session.config.dir.display()));
    Ok(())
}

pub(crate) fn create(session: &Session, create: Create) -> Outcome {
    // The files are read before a directory is made.
    let schema = match (&create.schema, &create.like) {
        (Some(path), _) => schema_file::read(path)?,
        (None, Some(path)) if path.extension().is_some_and(|extension| extension == "toml") => {
            let error = Error::invalid("--like takes a file with rows, not TOML").at("file", path.display());
            return Err(error.hint("describe the columns in TOML with --schema").into());
        }
        (None, Some(path)) => input::infer(path, create.format).map_err(Failure::of_data)?,
        (None, None) => unreachable!("one of them is required"),
    };
    let Create { table, partition_by, buckets, bucket_key, primary_key, merge, changelog, set, .. } = create;
    let (bucket_key, primary_key) = (bucket_key.0, primary_key.unwrap_or_default().0);
    let named = [(MERGE_ENGINE, merge), (CHANGELOG_PRODUCER, changelog)];
    let named = named.into_iter().filter_map(|(name, value)| Some((name.to_string(), value?)));
    let options = named.chain(set).collect();
    let store = session.store()?;
    store.create_table(&table, CreateTable { schema, partition_by, buckets, bucket_key, primary_key, options })?;
    session.close(store)?;
    session.say(&format!("created {table}"));
    Ok(())
}

/// Columns go before others take their names, and are renamed before they are widened.
pub(crate) fn alter(session: &Session, alter: &Alter) -> Outcome {
    let mut changes: Vec<_> = alter.drop_column.iter().map(|name| Change::drop_column(name)).collect();
    for text in &alter.rename {
        changes.push(Change::rename_column(text)?);
    }
    for text in &alter.widen {
        changes.push(Change::widen_column(text)?);
    }
    for text in &alter.add_column {
        changes.push(Change::add_column(text)?);
    }
    changes.extend(alter.reset.iter().map(|name| Change::reset_option(name)));
    changes.extend(alter.merge.iter().map(|engine| Change::set_option(MERGE_ENGINE, engine)));
    changes.extend(alter.set.iter().map(|(name, value)| Change::set_option(name, value)));
    let store = session.store_to_change()?;
    store.alter_table(&alter.table, &changes)?;
    session.close(store)?;
    session.say(&format!("altered {}", alter.table));
    Ok(())
}

pub(crate) fn drop(session: &Session, drop: &Drop) -> Outcome {
    let store = session.store_to_change()?;
    let what = match &drop.partition {
        None => store.drop_table(&drop.table).map(|()| drop.table.clone())?,
        Some(name) => store.drop_partition(&drop.table, name).map(|()| format!("partition {name} of {}", drop.table))?,
    };
    session.close(store)?;
    session.say(&format!("dropped {what}"));
    Ok(())
}

pub(crate) fn rescale(session: &Session, rescale: &Rescale) -> Outcome {
    let store = session.store_to_change()?;
    let mut bar = Progress::new("rescale", None, session.config.quiet);
    let (mut rows, mut bytes) = (0, 0);
    let done = store.rescale_table(&rescale.table, rescale.buckets, &mut |progress| {
        bar.add(progress.rows - rows, progress.bytes - bytes);
        (rows, bytes) = (progress.rows, progress.bytes);
    });
    bar.finish();
    let done = done?;
    session.close(store)?;
    session.print(&Report::one([
        ("table", rescale.table.as_str().into()),
        ("buckets_before", u64::from(done.buckets_before).into()),
        ("buckets", u64::from(done.buckets).into()),
        ("rows", done.rows.into()),
    ]))
}
