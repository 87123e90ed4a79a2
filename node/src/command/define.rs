//! `init`, `create`, `alter` and `drop`.
//!
//! Invariant: a request that is wrong changes nothing. Knows nothing of rows.

use super::arguments::Create;
use super::outcome::Outcome;
use super::session::Session;
use super::store::CreateTable;
use super::{input, schema_file};

pub(crate) fn init(session: &Session) -> Outcome {
    session.store()?.close()?;
    session.say(&format!("made {}", session.config.dir.display()));
    Ok(())
}

pub(crate) fn create(session: &Session, create: Create) -> Outcome {
    // The files are read before a directory is made.
    let schema = match (&create.schema, &create.like) {
        (Some(path), _) => schema_file::read(path)?,
        (None, Some(path)) => input::infer(path)?,
        (None, None) => unreachable!("one of them is required"),
    };
    let Create { table, partition_by, buckets, bucket_key, set, .. } = create;
    let store = session.store()?;
    store.create_table(&table, CreateTable { schema, partition_by, buckets, bucket_key, options: set })?;
    store.close()?;
    session.say(&format!("created {table}"));
    Ok(())
}

pub(crate) fn drop(session: &Session, table: &str) -> Outcome {
    let store = session.store_to_change()?;
    store.drop_table(table)?;
    store.close()?;
    session.say(&format!("dropped {table}"));
    Ok(())
}
