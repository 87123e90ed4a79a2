//! Files of other people in the directory of a store are left as they are.

use std::path::Path;

use crate::program::Place;
use crate::scratch;

fn put(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

#[test]
fn what_only_has_a_name_of_ours_stays() {
    let dir = scratch::directory();
    let store = dir.path().join("project");
    let place = Place::new(&store);
    let foreign = ["tables/customers/data.csv", "tables/007/data.csv", "spare/photo.jpg", "notes.txt"].map(|name| store.join(name));
    // A segment that is made takes the largest file that there is.
    foreign.iter().for_each(|path| put(path, &"x".repeat(1 << 20)));
    std::fs::write(dir.path().join("t.toml"), "[[field]]\nname = \"number\"\ntype = \"int64\"\n").unwrap();
    place.done("create t --schema t.toml");
    std::fs::write(dir.path().join("rows.csv"), "number\n1\n").unwrap();
    place.done("append t --from rows.csv --quiet");
    place.done("drop t");
    place.done("init");
    let told = String::from_utf8(place.run("verify").stderr).unwrap();
    assert_eq!(told.matches("no damage: it is left as it is").count(), 2, "{told}");
    for path in foreign {
        assert_eq!(std::fs::metadata(&path).map(|known| known.len()).ok(), Some(1 << 20), "{}", path.display());
    }
}

#[test]
fn a_catalog_that_is_none_is_not_written_over() {
    let dir = scratch::directory();
    let store = dir.path().join("project");
    put(&store.join("catalog"), "shoes: 3\nhats: 4\n");
    let place = Place::new(&store);
    let error = place.fails(5, "init");
    assert!(error.contains("catalog") && error.contains("another directory"), "{error}");
    assert_eq!(std::fs::read_to_string(store.join("catalog")).unwrap(), "shoes: 3\nhats: 4\n");
}

#[test]
fn numbered_directories_of_a_store_without_a_catalog_stay() {
    let dir = scratch::directory();
    let store = dir.path().join("project");
    put(&store.join("tables/0/data.csv"), "1,2\n");
    put(&store.join("tables/12/data.csv"), "1,2\n");
    let place = Place::new(&store);
    place.fails(5, "init");
    assert!(store.join("tables/0/data.csv").exists() && store.join("tables/12/data.csv").exists());
}
