//! What edits add up to, their JSON, and those that cannot be.

use super::*;
use crate::table::{ColumnType, Field, TableSchema};

fn create(catalog: &mut Catalog, name: &str, buckets: u32) -> u32 {
    let schema = TableSchema::new(vec![Field::new("a", ColumnType::Int64, true)]).unwrap();
    let mut spec = TableSpec::new(name.parse().unwrap(), catalog.next_table_id, schema, 0);
    spec.buckets = buckets;
    let id = spec.id;
    for edit in catalog.new_table(spec, None).unwrap() {
        catalog.apply(edit).unwrap();
    }
    id
}

#[test]
fn slots_never_overlap_and_are_used_again() {
    let mut catalog = Catalog::default();
    create(&mut catalog, "a", 3);
    let b = create(&mut catalog, "b", 5);
    create(&mut catalog, "c", 2);
    catalog.apply(Edit::TableDropped { table_id: b }).unwrap();
    create(&mut catalog, "d", 4);
    create(&mut catalog, "e", 9);
    let mut used: Vec<usize> = catalog.tables.values().flat_map(|entry| entry.slots()).flatten().collect();
    let count = used.len();
    used.sort();
    used.dedup();
    assert_eq!(used.len(), count, "a slot is used twice: {used:?}");
    assert!(!used.contains(&STORE_SLOT));
    assert_eq!(catalog.find(&"d".parse().unwrap()).unwrap().slot, 5, "the gap that b left");
}

#[test]
fn a_full_page_is_a_limit() {
    let mut catalog = Catalog::default();
    create(&mut catalog, "a", 65_000);
    assert_eq!(catalog.free_slots(600).unwrap_err().kind(), crate::Kind::Exhausted);
}

#[test]
fn ids_of_partitions_are_never_used_twice() {
    let mut catalog = Catalog::default();
    let table_id = create(&mut catalog, "a", 2);
    let mut made = Vec::new();
    for name in ["x", "y", "x", "x"] {
        let (partition_id, edit) = catalog.new_partition(&catalog.tables[&table_id], name).unwrap();
        catalog.apply(edit).unwrap();
        made.push(partition_id);
        catalog.apply(Edit::PartitionDropped { table_id, partition_id }).unwrap();
    }
    assert_eq!(made, [1, 2, 3, 4]);
    let (id, _) = catalog.new_partition(&catalog.tables[&table_id], "z").unwrap();
    assert_eq!((id, catalog.serial), (5, 5));
}

#[test]
fn a_table_is_not_found_before_it_has_taken_the_place_of_another() {
    let mut catalog = Catalog::default();
    let old = create(&mut catalog, "a", 2);
    let spec = TableSpec { id: catalog.next_table_id, buckets: 5, ..catalog.tables[&old].spec.clone() };
    let new = spec.id;
    for edit in catalog.new_table(spec, Some(old)).unwrap() {
        catalog.apply(edit).unwrap();
    }
    let name: TableName = "a".parse().unwrap();
    assert_eq!((catalog.find(&name).unwrap().spec.id, catalog.shown().count()), (old, 1));
    catalog.apply(Edit::TableReplaced { table_id: old, by: new }).unwrap();
    assert_eq!((catalog.find(&name).unwrap().spec.buckets, catalog.tables.len()), (5, 1));
}

const SPEC: &str = r#"{"name":"default.t","id":0,"schemas":[{"version":0,"fields":[{"id":1,"name":"a","type":"int64","nullable":true}],"highest_field_id":1}],"primary_key":[],"partition_by":[],"buckets":2,"bucket_key":[],"options":{},"created_ms":0}"#;

fn fold(edits: &[String]) -> Catalog {
    let mut catalog = Catalog::default();
    edits.iter().for_each(|edit| catalog.apply(serde_json::from_str(edit).expect(edit)).expect(edit));
    catalog
}

#[test]
fn edits_of_the_first_program_are_read() {
    let edits = [
        r#"{"opened":{"epoch":3}}"#.to_string(),
        format!(r#"{{"table_created":{{"spec":{SPEC},"slot":1}}}}"#),
        r#"{"partition_created":{"table_id":0,"partition_id":0,"name":"","slot":2}}"#.to_string(),
    ];
    let folded = format!(
        r#"{{"folded":{{"epoch":3,"next_table_id":1,"tables":{{"0":{{"spec":{SPEC},"slot":1,"partitions":{{"0":{{"name":"","slot":2}}}}}}}}}}}}"#
    );
    for catalog in [fold(&edits), fold(std::slice::from_ref(&folded))] {
        assert_eq!(serde_json::to_string(&catalog.folded()).unwrap(), folded);
        assert_eq!((catalog.tables[&0].next_partition_id(), catalog.serial), (1, 0));
    }
}

#[test]
fn the_edits_of_today_are_golden() {
    let edits = [
        format!(r#"{{"table_created":{{"spec":{SPEC},"slot":1}}}}"#),
        r#"{"partition_created":{"table_id":0,"partition_id":1,"name":"a=1","slot":2,"serial":7}}"#.to_string(),
        r#"{"partition_dropped":{"table_id":0,"partition_id":1}}"#.to_string(),
        format!(r#"{{"table_created":{{"spec":{},"slot":4,"replaces":0}}}}"#, SPEC.replace(r#""id":0"#, r#""id":1"#)),
        r#"{"table_replaced":{"table_id":0,"by":1}}"#.to_string(),
    ];
    for edit in &edits {
        assert_eq!(&serde_json::to_string(&serde_json::from_str::<Edit>(edit).unwrap()).unwrap(), edit);
    }
    let dropped = fold(&edits[..3]);
    let folded = format!(
        r#"{{"folded":{{"epoch":0,"next_table_id":1,"tables":{{"0":{{"spec":{SPEC},"slot":1,"partitions":{{}},"partitions_end":2}}}},"serial":7}}}}"#
    );
    assert_eq!(serde_json::to_string(&dropped.folded()).unwrap(), folded);
    assert_eq!(fold(&[folded]).tables[&0].next_partition_id(), 2);
    let replaced = fold(&edits);
    assert_eq!((replaced.tables.len(), replaced.find(&"t".parse().unwrap()).unwrap().spec.id), (1, 1));
}

#[test]
fn folded_makes_the_same_catalog() {
    let mut catalog = Catalog::default();
    create(&mut catalog, "a", 3);
    let json = serde_json::to_string(&catalog.folded()).unwrap();
    let mut again = Catalog::default();
    again.apply(serde_json::from_str(&json).unwrap()).unwrap();
    assert_eq!(serde_json::to_string(&again).unwrap(), serde_json::to_string(&catalog).unwrap());
}

/// Table 0 with two buckets at slots 2 and 3, and its own slot, 1.
fn begun() -> Catalog {
    let created = format!(r#"{{"table_created":{{"spec":{SPEC},"slot":1}}}}"#);
    fold(&[created, r#"{"partition_created":{"table_id":0,"partition_id":1,"name":"a=1","slot":2,"serial":1}}"#.to_string()])
}

fn spec(id: u32, name: &str) -> String {
    SPEC.replace(r#""id":0"#, &format!(r#""id":{id}"#)).replace("default.t", name)
}

fn created(spec: &str, slot: usize, rest: &str) -> String {
    format!(r#"{{"table_created":{{"spec":{spec},"slot":{slot}{rest}}}}}"#)
}

fn partition(table_id: u32, partition_id: u32, name: &str, slot: usize, serial: u64) -> String {
    format!(
        r#"{{"partition_created":{{"table_id":{table_id},"partition_id":{partition_id},"name":"{name}","slot":{slot},"serial":{serial}}}}}"#
    )
}

#[test]
fn edits_that_cannot_be_are_refused() {
    let altered = |spec: String| format!(r#"{{"table_altered":{{"spec":{spec}}}}}"#);
    let wrong = [
        format!(r#"{{"opened":{{"epoch":{}}}}}"#, u32::MAX),
        created(&spec(0, "default.u"), 4, ""),
        created(&spec(u32::MAX, "default.u"), 4, ""),
        created(&spec(1, "default.t"), 4, ""),
        created(&spec(1, "default.u"), 0, ""),
        created(&spec(1, "default.u"), 3, ""),
        created(&spec(1, "default.u"), SLOTS_MAX, ""),
        created(&spec(1, "default.u"), usize::MAX, ""),
        created(&spec(1, "default.t"), 4, r#","replaces":7"#),
        created(&spec(1, "default.u").replace(r#""buckets":2"#, r#""buckets":0"#), 4, ""),
        created(&spec(1, "default.u").replace(r#""bucket_key":[]"#, r#""bucket_key":[9]"#), 4, ""),
        partition(7, 2, "a=2", 4, 2),
        partition(0, 1, "a=2", 4, 2),
        partition(0, u32::MAX, "a=2", 4, 2),
        partition(0, 2, "a=1", 4, 2),
        partition(0, 2, "a=2", 70_000, 2),
        partition(0, 2, "a=2", SLOTS_MAX - 1, 2),
        partition(0, 2, "a=2", usize::MAX, 2),
        partition(0, 2, "a=2", 0, 2),
        partition(0, 2, "a=2", 3, 2),
        partition(0, 2, "a=2", 4, u64::MAX),
        r#"{"partition_dropped":{"table_id":0,"partition_id":2}}"#.to_string(),
        r#"{"table_dropped":{"table_id":1}}"#.to_string(),
        r#"{"table_replaced":{"table_id":0,"by":0}}"#.to_string(),
        r#"{"table_replaced":{"table_id":0,"by":1}}"#.to_string(),
        altered(spec(1, "default.t")),
        altered(SPEC.replace(r#""buckets":2"#, r#""buckets":3"#)),
        altered(SPEC.replace(r#""created_ms":0"#, r#""created_ms":0,"merge_changes":4294967295"#)),
    ];
    for edit in wrong {
        let refused = begun().apply(serde_json::from_str(&edit).expect(&edit)).map_err(|error| error.kind());
        assert_eq!(refused, Err(crate::Kind::Corrupt), "{edit}");
    }
    let fine = [
        created(&spec(1, "default.u"), 4, ""),
        created(&spec(9, "default.t"), SLOTS_MAX - 1, r#","replaces":0"#),
        partition(0, 2, "a=2", SLOTS_MAX - 2, 2),
        altered(SPEC.replace(r#""created_ms":0"#, r#""created_ms":0,"merge_changes":1"#)),
    ];
    for edit in fine {
        begun().apply(serde_json::from_str(&edit).expect(&edit)).unwrap_or_else(|error| panic!("{edit}: {error}"));
    }
}

#[test]
fn catalogs_that_no_edits_make_are_refused() {
    let entry = |catalog: &mut Catalog, change: fn(&mut TableEntry)| change(Arc::make_mut(catalog.tables.get_mut(&0).unwrap()));
    type Change<'a> = &'a dyn Fn(&mut Catalog);
    let wrong: [(&str, Change); 9] = [
        ("opened too often", &|catalog| catalog.epoch = u32::MAX),
        ("an id to be given again", &|catalog| catalog.next_table_id = 0),
        ("under the id of another", &|catalog| entry(catalog, |entry| entry.spec.id = 1)),
        ("without buckets", &|catalog| entry(catalog, |entry| entry.spec.buckets = 0)),
        ("behind the page", &|catalog| entry(catalog, |entry| entry.slot = SLOTS_MAX)),
        ("the store's slot", &|catalog| entry(catalog, |entry| entry.slot = STORE_SLOT)),
        ("a slot of two", &|catalog| entry(catalog, |entry| entry.slot = 3)),
        ("partly behind the page", &|catalog| entry(catalog, |entry| entry.partitions.get_mut(&1).unwrap().slot = SLOTS_MAX - 1)),
        ("not counted", &|catalog| catalog.serial = 0),
    ];
    for (what, change) in wrong {
        let mut catalog = begun();
        change(&mut catalog);
        let refused = Catalog::default().apply(Edit::Folded(catalog)).map_err(|error| error.kind());
        assert_eq!(refused, Err(crate::Kind::Corrupt), "{what}");
    }
    Catalog::default().apply(begun().folded()).unwrap();
}
