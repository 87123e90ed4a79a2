//! The figures in the README are those that were kept, made into tables by the program.

use std::path::Path;

use crate::program::Place;
use crate::scratch;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

#[test]
fn the_readme_shows_what_was_kept() {
    let dir = scratch::directory();
    let kept = scratch::files(&Path::new(ROOT).join("benches/results"), ".json");
    let mut line = vec!["bench", "table"];
    line.extend(kept.iter().map(|path| path.to_str().unwrap()));
    let tables = Place::new(dir.path()).done_of(&line);
    let readme = std::fs::read_to_string(Path::new(ROOT).join("README.md")).unwrap();
    let (_, behind) = readme.split_once("<!-- figures").expect("a mark where figures begin");
    let (_, behind) = behind.split_once("-->\n").expect("its end");
    let (shown, _) = behind.split_once("<!-- end of figures -->").expect("a mark where they end");
    assert_eq!(shown, tables, "make the README's tables anew, as benches/results/README.md says");
}

#[test]
fn a_case_prints_what_makes_a_table() {
    let dir = scratch::directory();
    let store = dir.path().join("store");
    let place = Place::new(&store);
    let lines = place.done("bench append --size 4KiB --producers 1,2 --rounds 1 --seconds 0.05 --json");
    std::fs::write(dir.path().join("append.json"), &lines).unwrap();
    let table = place.done("bench table append.json");
    assert!(
        table.contains("| 1 | 2 |\n|---|---|---|\n| aquifer, 4 KiB | ") && table.contains("`append.json`: one round, commit "),
        "{table}"
    );
    let lines = place.done("bench upsert --rows 20k --rounds 1 --only uniform --json");
    std::fs::write(dir.path().join("upsert.json"), &lines).unwrap();
    let table = place.done("bench table upsert.json");
    assert!(table.contains("| 100 B uniform | 11 columns uniform |\n") && table.contains("\n| aquifer, CPU | "), "{table}");
    for (line, expected) in [
        ("scan --rows 3k --rounds 1", "| aquifer, 11 columns: all | "),
        ("lookup --rows 5k --rounds 1 --seconds 0.01", "| aquifer, cold absent | "),
        ("mixed --rows 20k --rounds 1 --seconds 0.05", "| aquifer, 20 rows / 2 ms | "),
        ("open --rows 30k --rounds 2", "| aquifer, 30000 rows | "),
        ("soak --rows 2k --seconds 0.3", "| aquifer, 2000 keys, seed 1 | "),
    ] {
        std::fs::write(dir.path().join("case.json"), place.done(&format!("bench {line} --json"))).unwrap();
        let table = place.done("bench table case.json");
        assert!(table.contains(expected), "{line}: {table}");
    }
    place.fails(2, "bench table");
    place.fails(2, "bench append append.json");
    place.fails(3, "bench table nothing.json");
    std::fs::write(dir.path().join("bad.json"), "{}\n").unwrap();
    assert!(place.fails(2, "bench table bad.json").contains("file bad.json"));
}
