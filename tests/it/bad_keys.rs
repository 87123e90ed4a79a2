//! Keys that are none, and runs whose bytes are not as they were written: what is wrong is named, nothing is half done, and the rest goes on.

use std::path::Path;

use crate::program::Place;
use crate::scratch;

const TABLE: &str = "[[field]]\nname = \"key\"\ntype = \"utf8\"\n[[field]]\nname = \"number\"\ntype = \"int64\"\n";

fn create(place: Place<'_>, dir: &Path) {
    std::fs::write(dir.join("t.toml"), TABLE).unwrap();
    place.done("create t --schema t.toml --primary-key key");
}

fn refused(place: Place<'_>, line: &str, input: &str) -> String {
    let output = place.feed(line, input.as_bytes());
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{line}: {error}");
    error
}

#[test]
fn a_key_that_is_too_long_is_refused_before_it_is_in_the_log() {
    let dir = scratch::directory();
    let store = dir.path().join("store");
    let place = Place::new(&store);
    create(place, dir.path());
    // The last one fits: it is as long as a key may be, with the two bytes of its end.
    for (length, fits) in [(70_000, false), (64 << 10, false), (32 << 10, false), ((32 << 10) - 2, true)] {
        let input = format!("{{\"key\":\"a\",\"number\":1}}\n{{\"key\":\"{}\",\"number\":2}}\n", "k".repeat(length));
        let line = "upsert t --from - --format ndjson --batch-rows 1 --quiet";
        if fits {
            assert!(place.feed(line, input.as_bytes()).status.success());
            continue;
        }
        let error = refused(place, line, &input);
        assert!(error.contains("the most is 32768") && error.contains("rows_upserted 1"), "{length}: {error}");
        assert!(error.len() < 500, "the key itself is not printed");
    }
    place.done("flush t");
    let found = place.done("scan t --columns number --output csv");
    assert_eq!(found, "number\n1\n2\n");
    let error = refused(place, "delete t --keys - --format ndjson", &format!("{{\"key\":\"{}\"}}\n", "k".repeat(40_000)));
    assert!(error.contains("the most is 32768") && error.contains("rows_deleted 0"), "{error}");
    assert!(place.done("verify --output csv").ends_with(",0\n"));
}

#[test]
fn a_damaged_block_is_named_and_other_keys_are_read() {
    let dir = scratch::directory();
    let store = dir.path().join("store");
    let place = Place::new(&store);
    create(place, dir.path());
    let input: String = (0..20_000).map(|number| format!("{{\"key\":\"k{number:05}\",\"number\":{number}}}\n")).collect();
    assert!(place.feed("upsert t --from - --format ndjson --quiet", input.as_bytes()).status.success());
    place.done("flush t");
    let run = scratch::files(&store, ".run").pop().unwrap();
    let mut bytes = std::fs::read(&run).unwrap();
    let key = bytes.windows(6).rposition(|window| window == b"k10000").expect("its bytes");
    bytes[key + 5] ^= 1;
    std::fs::write(&run, bytes).unwrap();

    let name = run.file_name().unwrap().to_str().unwrap().to_string();
    let says_where = |error: &str| error.contains("CORRUPT") && error.contains(&name) && error.contains("block ");
    let error = place.fails(5, "lookup t --key key=k10000");
    assert!(says_where(&error) && error.contains("other keys can be read"), "{error}");
    assert_eq!(place.done("lookup t --key key=k00007 --key key=k19999 --output csv"), "key,number\nk00007,7\nk19999,19999\n");
    assert!(says_where(&place.fails(5, "scan t --output csv --out rows.csv")));
    let verified = place.run("verify --output csv");
    assert_eq!(verified.status.code(), Some(5));
    assert!(String::from_utf8(verified.stdout).unwrap().contains(&name));
    // Rows that are written now are found in front of it.
    assert!(place.feed("upsert t --from - --format ndjson --quiet", b"{\"key\":\"new\",\"number\":1}\n").status.success());
    assert_eq!(place.done("lookup t --key key=new --output csv"), "key,number\nnew,1\n");
    place.done("flush t");
    let error = place.fails(5, "compact t --full");
    assert!(says_where(&error), "{error}");
    assert_eq!(scratch::files(&store, ".run").len(), 2, "nothing is left of what came to nothing");
}
