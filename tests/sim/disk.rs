//! The simulated disk around a store: how it fails, and what may lie on it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use aquifer_node::bucket::ledger;
use aquifer_node::bucket::manifest::State;
use aquifer_node::io::sim::Faults;
use aquifer_node::io::{Driver, Pool};
use aquifer_node::store::Store;

use crate::history::{DIR, History};
use crate::oracle::Finding;
use crate::random::Random;

/// A disk that fails in one or several ways.
pub(crate) fn failing(random: &mut Random, healthy: Faults) -> Faults {
    let mut one_in = |most: u64| if random.one_in(2) { random.between(3, most) } else { 0 };
    Faults {
        read_error_one_in: one_in(100),
        write_error_one_in: one_in(30),
        sync_error_one_in: one_in(20),
        create_error_one_in: one_in(10),
        ..healthy
    }
}

/// A disk that is full or soon will be.
pub(crate) fn tight(random: &mut Random, healthy: Faults) -> Faults {
    Faults { capacity_bytes: Some(random.between(4 << 20, 12 << 20)), ..healthy }
}

/// Every file belongs to something.
pub(crate) fn no_orphans(history: &mut History, store: &Store) -> Finding {
    let dir = Path::new(DIR);
    let ids: BTreeSet<String> =
        store.tables().map_err(|error| format!("tables: {error}"))?.into_iter().map(|summary| summary.id.to_string()).collect();
    for file in files(history, dir)? {
        let below = file.strip_prefix(dir).expect("it was found there");
        let parts: Vec<&str> = below.iter().filter_map(|part| part.to_str()).collect();
        let is_known = match parts[..] {
            ["LOCK" | "commit.page" | "catalog"] | ["spare" | "removed", _] => true,
            ["tables", table, _, _, _] if ids.contains(table) => is_named(history, &file)?,
            _ => false,
        };
        if !is_known {
            return Err(format!("{} belongs to nothing", file.display()));
        }
    }
    Ok(())
}

/// Whether the manifest beside it knows the file.
fn is_named(history: &History, file: &Path) -> Finding<bool> {
    let (Some(dir), Some(name)) = (file.parent(), file.file_name().and_then(|name| name.to_str())) else { return Ok(false) };
    if name == "manifest" {
        return Ok(true);
    }
    let folded =
        ledger::read::<State>(&*history.sim, &Pool::new(0), &dir.join("manifest")).map_err(|error| format!("manifest: {error}"))?;
    let Some(state) = folded.map(|folded| folded.state) else { return Ok(false) };
    let (stem, extension) = name.rsplit_once('.').unwrap_or((name, ""));
    let Ok(id) = u64::from_str_radix(stem, 16) else { return Ok(false) };
    let is_sealed = state.sealed.iter().any(|segment| segment.segment_id == id);
    Ok(match extension {
        "log" => is_sealed || state.open.contains_key(&id),
        "index" => state.keeps_index(id),
        _ => false,
    })
}

fn files(history: &History, dir: &Path) -> Finding<Vec<PathBuf>> {
    let mut found = Vec::new();
    let entries = history.sim.list(dir).map_err(|error| format!("list {}: {error}", dir.display()))?;
    for entry in entries {
        let path = dir.join(&entry.name);
        if entry.is_dir { found.extend(files(history, &path)?) } else { found.push(path) }
    }
    Ok(found)
}
