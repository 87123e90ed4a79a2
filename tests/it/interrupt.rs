//! The user says stop: acknowledged rows stay, the exit code says so; a reader that goes away is no failure.

use std::io::Write;
use std::process::Stdio;

use crate::program::Place;
use crate::scratch;

const TABLE: &str = "[[field]]\nname = \"number\"\ntype = \"int64\"\n";

#[test]
fn an_interrupted_append_keeps_what_it_acknowledged() {
    for (signal, expected) in [("INT", 130), ("TERM", 143)] {
        let dir = scratch::directory();
        let store = dir.path().join("store");
        let place = Place::new(&store);
        std::fs::write(dir.path().join("t.toml"), TABLE).unwrap();
        place.done("create t --schema t.toml");
        let mut append = place.start("append t --from - --format ndjson --acks --batch-rows 50");
        let mut input = append.input.take().unwrap();
        let feeding = std::thread::spawn(move || (0_i64..).find(|number| writeln!(input, "{{\"number\":{number}}}").is_err()));
        for _ in 0..10 {
            append.line();
        }
        append.signal(signal);
        let mut acked = 0;
        for (_, line) in append.lines.iter() {
            let ack: serde_json::Value = serde_json::from_str(&line).unwrap();
            acked = ack["rows_total"].as_u64().unwrap();
        }
        let (code, said) = append.end();
        assert_eq!(code, Some(expected), "{signal}: {said}");
        assert!(said.contains("interrupted"), "{said}");
        feeding.join().unwrap();
        let found = place.done("scan t --output csv").lines().count() as u64 - 1;
        assert!(found >= acked && acked >= 500, "{found} rows, {acked} acknowledged");
        place.done("verify");
    }
}

#[test]
fn an_interrupted_tail_says_so_too() {
    let dir = scratch::directory();
    let store = dir.path().join("store");
    let place = Place::new(&store);
    std::fs::write(dir.path().join("t.toml"), TABLE).unwrap();
    place.done("create t --schema t.toml");
    assert!(place.feed("append t --from - --format ndjson", b"{\"number\":1}\n").status.success());
    let tail = place.start("tail t --follow --output json");
    tail.line();
    tail.signal("INT");
    assert_eq!(tail.end().0, Some(130));
}

#[test]
fn a_closed_pipe_ends_quietly() {
    let dir = scratch::directory();
    let store = dir.path().join("store");
    let place = Place::new(&store);
    std::fs::write(dir.path().join("t.toml"), TABLE).unwrap();
    place.done("create t --schema t.toml");
    let rows: String = (0..200_000).map(|number| format!("{{\"number\":{number}}}\n")).collect();
    assert!(place.feed("append t --from - --format ndjson", rows.as_bytes()).status.success());
    for line in
        ["scan t --output json", "scan t --output csv", "tail t --output json", "tail t --follow --output json", "scan t --output arrow"]
    {
        let mut child = place.command(line).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut first = [0; 10];
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut first).unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        assert!(output.stderr.is_empty(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn an_idle_tail_ends_when_nobody_reads_it_any_more() {
    let dir = scratch::directory();
    let store = dir.path().join("store");
    let place = Place::new(&store);
    std::fs::write(dir.path().join("t.toml"), TABLE).unwrap();
    place.done("create t --schema t.toml");
    assert!(place.feed("append t --from - --format ndjson", b"{\"number\":1}\n").status.success());
    let mut tail =
        place.command("tail t --follow --output json").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut first = [0; 10];
    std::io::Read::read_exact(tail.stdout.as_mut().unwrap(), &mut first).unwrap();
    drop(tail.stdout.take());
    let (send, ended) = std::sync::mpsc::channel();
    let id = tail.id();
    std::thread::spawn(move || send.send(tail.wait_with_output().unwrap()));
    let Ok(output) = ended.recv_timeout(crate::rows::PATIENCE) else {
        std::process::Command::new("kill").arg(id.to_string()).status().unwrap();
        panic!("it waits for a row");
    };
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_tail_into_a_file_needs_no_reader() {
    let dir = scratch::directory();
    let store = dir.path().join("store");
    let place = Place::new(&store);
    std::fs::write(dir.path().join("t.toml"), TABLE).unwrap();
    place.done("create t --schema t.toml");
    let out = dir.path().join("rows.json");
    let mut tail = place
        .command_of(["tail", "t", "--follow", "--limit", "1", "--out", "rows.json"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    drop(tail.stdout.take());
    // Longer than a tail waits before it looks around.
    let (_keep, pause) = std::sync::mpsc::channel::<()>();
    let _ = pause.recv_timeout(std::time::Duration::from_millis(700));
    assert!(place.feed("append t --from - --format ndjson", b"{\"number\":1}\n").status.success());
    assert!(tail.wait().unwrap().success());
    assert_eq!(std::fs::read_to_string(out).unwrap(), "{\"number\":1}\n");
}

/// A bench prints each line when it is measured.
const BENCH: &str = "bench append --size 4KiB --producers 1,2 --rounds 1 --seconds 0.01 --json";

#[test]
fn a_bench_ends_when_nobody_reads_it_and_fails_where_there_is_no_room() {
    let dir = scratch::directory();
    let store = dir.path().join("store");
    let place = Place::new(&store);
    let mut child = place.command(BENCH).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(0), ""));
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = place.command(BENCH).stdin(Stdio::null()).stdout(full).stderr(Stdio::piped()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.starts_with("aquifer: EXHAUSTED") && said.lines().count() == 1, "{said}");
}
