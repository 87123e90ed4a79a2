//! Who writes to a table, and who changes it in a way that no row may meet half-way.
//!
//! Invariant: while somebody has a gate closed, no row is on its way between the look at the catalog and the log. Waiting for rows to become durable is done
//! outside. This module knows nothing of rows.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// The gate of one table.
#[derive(Default)]
pub(super) struct Gate(RwLock<()>);

impl Gate {
    /// For a writer, from its look at the catalog until its rows are handed to the log.
    pub(super) fn enter(&self) -> RwLockReadGuard<'_, ()> {
        self.0.read()
    }

    /// Keeps writers out once those within have left.
    pub(super) fn close(&self) -> RwLockWriteGuard<'_, ()> {
        self.0.write()
    }

    /// As [`Gate::close`], unless somebody is within.
    pub(super) fn try_close(&self) -> Option<RwLockWriteGuard<'_, ()>> {
        self.0.try_write()
    }
}

/// The gates of a store's tables.
#[derive(Default)]
pub(super) struct Gates(Mutex<HashMap<u32, Arc<Gate>>>);

impl Gates {
    /// The gate of a table.
    pub(super) fn of(&self, table_id: u32) -> Arc<Gate> {
        self.0.lock().entry(table_id).or_default().clone()
    }

    /// The table is gone.
    pub(super) fn forget(&self, table_id: u32) {
        self.0.lock().remove(&table_id);
    }
}
