//! Text that means the same on every machine: ASCII, no paths of one machine, no download hosts, locked crates from the public index.

use super::tree::File;

/// Endings of files that people write.
const WRITTEN: [&str; 13] = ["rs", "md", "toml", "sh", "run", "c", "h", "cpp", "hpp", "java", "py", "yml", "xml"];

/// Where the folders of one machine start.
const PLACES: [&str; 4] = [concat!("/ho", "me/"), concat!("/ro", "ot/"), concat!("/wo", "rk/"), concat!("/Us", "ers/")];

/// Hosts that package tools know by themselves; written down, they would bypass whatever mirror the user has set.
const HOSTS: [&str; 8] = [
    concat!("index.crates", ".io"),
    concat!("static.crates", ".io"),
    concat!("pypi", ".org"),
    concat!("pythonhosted", ".org"),
    concat!("maven.apache", ".org/maven2"),
    concat!("repo1.maven", ".org"),
    concat!("registry.npmjs", ".org"),
    concat!("deb.debian", ".org"),
];

/// What the source of every locked crate says.
const INDEX: &str = concat!("source = \"registry+https://github.com/rust-lang/crates", ".io-index\"");

fn is_written(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    WRITTEN.contains(&name.rsplit('.').next().unwrap_or(name))
}

/// Lines with anything but ASCII.
pub(crate) fn ascii_faults(files: &[File]) -> Vec<String> {
    let mut faults = Vec::new();
    for file in files.iter().filter(|file| is_written(&file.path)) {
        for (number, line) in file.text.lines().enumerate() {
            if let Some(other) = line.chars().find(|c| !c.is_ascii()) {
                faults.push(format!("{}:{}: {other:?} is not ASCII", file.path, number + 1));
            }
        }
    }
    faults
}

/// Lines that name a folder of one machine or a download host.
pub(crate) fn place_faults(files: &[File]) -> Vec<String> {
    let mut faults = Vec::new();
    for file in files {
        for (number, line) in file.text.lines().enumerate() {
            let place = PLACES.iter().find(|place| line.match_indices(**place).any(|(at, _)| is_absolute(&line[..at])));
            let host = HOSTS.iter().find(|host| line.contains(**host));
            if let Some(found) = place.or(host) {
                faults.push(format!("{}:{}: `{found}` means something on one machine only", file.path, number + 1));
            }
        }
    }
    faults
}

/// Whether a path that starts with `/` here starts at the root, and does not go on from what stands before.
fn is_absolute(before: &str) -> bool {
    !before.ends_with(|c: char| c.is_alphanumeric() || "._-})*~".contains(c))
}

/// Crates in lock files that come from anywhere else.
pub(crate) fn lock_faults(files: &[File]) -> Vec<String> {
    let mut faults = Vec::new();
    for file in files.iter().filter(|file| file.path.ends_with("Cargo.lock")) {
        let others = file.text.lines().filter(|line| line.starts_with("source = ") && *line != INDEX);
        faults.extend(others.map(|line| format!("{}: {line}", file.path)));
    }
    faults
}

#[test]
fn planted_characters_are_found() {
    let faults = |path, text| ascii_faults(&[File::new(path, text)]).len();
    assert_eq!(faults("README.md", "plain\n"), 0);
    assert_eq!(faults("README.md", "a \u{2014} b\n"), 1);
    assert_eq!(faults(".ci/run", "echo \u{e9}\n"), 1);
    assert_eq!(faults("tests/golden/words.csv", "\u{e9}\n"), 0);
}

#[test]
fn planted_places_are_found() {
    let faults = |text: &str| place_faults(&[File::new("a.toml", text)]).len();
    assert_eq!(faults("$HOME/x\ntarget/work/x\n{dir}/root/\nhttps://docs.rs/x"), 0);
    for place in PLACES {
        assert_eq!(faults(&format!("path = \"{place}x\"")), 1, "{place}");
    }
    for host in HOSTS {
        assert_eq!(faults(&format!("url = \"https://{host}/x\"")), 1, "{host}");
    }
}

#[test]
fn planted_sources_are_found() {
    let faults = |text: &str| lock_faults(&[File::new("Cargo.lock", text)]).len();
    assert_eq!(faults(&format!("name = \"a\"\n{INDEX}\n")), 0);
    assert_eq!(faults("source = \"git+https://example.com/x\"\n"), 1);
    assert_eq!(faults("source = \"registry+https://mirror.example.com/index\"\n"), 1);
}
