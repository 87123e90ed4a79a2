//! Options of tables, of merging and of stores, and what else is given by name: snapshots, columns, splits.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use aquifer_node::merge::{follow_columns, merge_function};
use aquifer_node::store::{Options, Split, Version};
use aquifer_node::table::{Changelog, TableOptions, TableSchema, TableSpec, parse_names, quoted_name, supported};

use crate::sample::SCHEMA;

static TABLE: LazyLock<TableSchema> = LazyLock::new(|| supported(&SCHEMA).expect("types that tables have"));

/// Longer texts only take longer: each wrong option is held against all names.
const BYTES_MAX: usize = 1 << 10;

/// The column `n_int`.
const KEY: [i32; 1] = [28];

/// Takes each line as an option, all of them together as those of a table, and the text as a name of each kind; whether it is one of all.
pub fn run(data: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(&data[..data.len().min(BYTES_MAX)]) else { return false };
    let mut accepted = split(text);
    if let Ok(names) = parse_names(text) {
        let quoted: Vec<String> = names.iter().map(|name| format!("\"{}\"", name.replace('"', "\"\""))).collect();
        assert_eq!(parse_names(&quoted.join(",")).expect("all of them are quoted"), names);
    }
    let _ = quoted_name(text);
    let _ = text.parse::<Version>();
    let pairs = || text.lines().filter_map(|line| line.split_once('='));
    let mut options = TableOptions::default();
    let mut of_store = Options::default();
    for (name, value) in pairs() {
        if options.set(name, value).is_ok() {
            let shown = options.get(name).expect("it was just set");
            let before = options.clone();
            options.set(name, &shown).expect("as shown");
            assert_eq!(options, before, "an option survives being shown");
            accepted = true;
        }
        accepted |= of_store.set(name, value).is_ok();
    }
    accepted |= merge(pairs().map(|(name, value)| (name.to_string(), value.to_string())).collect());
    let mut spec = TableSpec::new("a.b".parse().expect("a name"), 1, TABLE.clone(), 2);
    spec.options = options;
    if spec.check().is_ok() {
        let again = TableSpec::from_json(&spec.to_json().expect("it is JSON")).expect("just written");
        assert!(again == spec, "a table survives its JSON");
    }
    accepted
}

fn merge(options: BTreeMap<String, String>) -> bool {
    let _ = Changelog::of(&options);
    let Ok(function) = merge_function(&options, &TABLE, &KEY) else { return false };
    let followed = follow_columns(&options, &TABLE, &TABLE);
    assert!(followed.options == options && followed.orphans.is_empty(), "no column has another name");
    let columns = [0, 3, 19, 27];
    let needed = function.needs(&columns);
    let _ = function
        .over(&[&columns[..], &needed].concat().into_iter().collect::<std::collections::BTreeSet<_>>().into_iter().collect::<Vec<_>>());
    !options.is_empty()
}

fn split(text: &str) -> bool {
    let Ok(split) = Split::from_json(text) else { return false };
    let json = split.to_json().expect("it was JSON");
    assert_eq!(Split::from_json(&json).expect("just written").to_json().expect("it was JSON"), json, "a split survives its JSON");
    true
}
