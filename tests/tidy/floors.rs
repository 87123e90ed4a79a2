//! The floors of the engine: the paragraphs of `mod` lines in `node/src/lib.rs`, from the ground up.
//!
//! A file may name `crate::x` only if `x` is its own module or stands on a lower floor. Re-exports at the root count as the module they
//! come from. The program (`main.rs`, `command/`) is a crate of its own and enters by the store's door only.

use super::code::{finds, line, word};
use super::tree::File;

const ENGINE: &str = "node/src/";

/// What the program may name of the engine: the door and the error.
const DOOR: [&str; 5] = ["store", "error", "Error", "Kind", "Result"];

/// The floors, the names that are re-exported at the root with their module, and what is wrong with the list itself.
struct Floors {
    floors: Vec<Vec<String>>,
    exports: Vec<(String, String)>,
    faults: Vec<String>,
}

impl Floors {
    fn parse(lib: &File) -> Floors {
        let mut made = Floors { floors: Vec::new(), exports: Vec::new(), faults: Vec::new() };
        for paragraph in lib.text.split("\n\n") {
            let modules: Vec<String> = paragraph.lines().filter_map(module).map(str::to_string).collect();
            if modules.is_empty() {
                continue;
            }
            let caption = paragraph.trim_start_matches('\n').lines().next().unwrap_or_default();
            if !caption.starts_with("// ") {
                made.faults.push(format!("{}: the floor of `{}` has no caption", lib.path, modules[0]));
            }
            made.floors.push(modules);
        }
        for at in finds(&lib.code, "pub use ") {
            let path = lib.code[at + "pub use ".len()..].trim_start_matches("crate::").trim_start_matches("self::");
            let module = word(path).to_string();
            let names = heads(&path[module.len()..]).into_iter().map(|name| (name, module.clone()));
            made.exports.extend(names);
        }
        made
    }

    /// The floor of a name under `crate::`, from 0, with the module it belongs to.
    fn of(&self, name: &str) -> Option<(usize, String)> {
        let module = self.exports.iter().find(|(export, _)| export == name).map_or(name, |(_, module)| module);
        let floor = self.floors.iter().position(|floor| floor.iter().any(|known| known == module))?;
        Some((floor, module.to_string()))
    }
}

/// The name in a line like `pub mod name;`.
fn module(line: &str) -> Option<&str> {
    let line = line.trim().trim_start_matches("pub(crate) ").trim_start_matches("pub ");
    line.strip_prefix("mod ")?.strip_suffix(';')
}

/// The first names after a path that ends in `::`: one name, or one for each entry of a braced list.
fn heads(after: &str) -> Vec<String> {
    let after = after.trim_start_matches("::");
    let Some(list) = after.strip_prefix('{') else {
        return vec![after.chars().take(1).filter(|&c| c == '*').chain(word(after).chars()).collect()];
    };
    let (mut depth, mut start, mut found) = (1, true, Vec::new());
    for (at, c) in list.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 1 => start = true,
            _ if start && !c.is_whitespace() => {
                found.push(if c == '*' { "*".to_string() } else { word(&list[at..]).to_string() });
                start = false;
            }
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    found
}

/// Every name of the root that a file reaches, by `crate::` or by climbing out with `super::`, with its line.
fn reaches(file: &File, floors: &Floors) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for at in finds(&file.code, "crate::") {
        found.extend(heads(&file.code[at + "crate::".len()..]).into_iter().map(|name| (line(&file.code, at), name)));
    }
    let inside = file.path[ENGINE.len()..].trim_end_matches(".rs").trim_end_matches("/mod");
    let depth = inside.split('/').count();
    for at in finds(&file.code, "super::") {
        let chain = &file.code[at..];
        let path = chain.trim_start_matches("super::");
        let climbs = (chain.len() - path.len()) / "super::".len();
        // An inline module stands one deeper, so a climb that only might reach the root counts when it names a floor.
        if climbs >= depth && !file.code[..at].ends_with("super::") {
            let names = heads(path).into_iter().filter(|name| floors.of(name).is_some());
            found.extend(names.map(|name| (line(&file.code, at), name)));
        }
    }
    found
}

fn is_program(path: &str) -> bool {
    path == "node/src/main.rs" || path.starts_with("node/src/command/") || path == "node/src/command.rs"
}

/// Names that stand on the same floor or a higher one, or on none.
pub(crate) fn faults(files: &[File]) -> Vec<String> {
    let Some(lib) = files.iter().find(|file| file.path == "node/src/lib.rs") else {
        return vec!["node/src/lib.rs: not found".to_string()];
    };
    let floors = Floors::parse(lib);
    let mut faults = floors.faults.clone();
    for file in files.iter().filter(|file| file.is_rust() && file.path.starts_with(ENGINE)) {
        if is_program(&file.path) || file.path == lib.path {
            continue;
        }
        let home = word(&file.path[ENGINE.len()..]);
        let Some((mine, _)) = floors.of(home) else {
            faults.push(format!("{}: `{home}` stands on no floor of lib.rs", file.path));
            continue;
        };
        for (line, name) in reaches(file, &floors) {
            match floors.of(&name) {
                Some((theirs, module)) if module == home || theirs < mine => {}
                Some((theirs, _)) => faults.push(format!("{}:{line}: floor {mine} names `{name}` of floor {theirs}", file.path)),
                None => faults.push(format!("{}:{line}: names `crate::{name}`, which stands on no floor", file.path)),
            }
        }
    }
    faults
}

/// What the program names of the engine beside the door.
pub(crate) fn program_faults(files: &[File]) -> Vec<String> {
    let mut faults = Vec::new();
    for file in files.iter().filter(|file| file.is_rust() && is_program(&file.path)) {
        for at in finds(&file.code, "aquifer_node::") {
            for name in heads(&file.code[at + "aquifer_node::".len()..]) {
                if !DOOR.contains(&name.as_str()) {
                    faults.push(format!("{}:{}: the program names `aquifer_node::{name}`", file.path, line(&file.code, at)));
                }
            }
        }
    }
    faults
}

#[cfg(test)]
const LIB: &str = "//! Head.\n\n// Ground.\npub mod error;\n\n// Side by side.\n#[doc(hidden)]\npub mod io;\n// Not a floor of its own.\nmod table;\n\n\
    // Above.\npub(crate) mod log;\n\npub use error::{Error, Result};\npub use log::Log;\n";

#[cfg(test)]
fn found(path: &str, text: &str) -> usize {
    faults(&[File::new("node/src/lib.rs", LIB), File::new(path, text)]).len()
}

#[test]
fn floors_are_paragraphs() {
    let floors = Floors::parse(&File::new("node/src/lib.rs", LIB));
    assert_eq!(floors.floors, [vec!["error"], vec!["io", "table"], vec!["log"]]);
    assert_eq!(floors.faults.len(), 0);
    assert_eq!(floors.of("Log"), Some((2, "log".to_string())));
    assert_eq!(Floors::parse(&File::new("node/src/lib.rs", "mod bare;\n")).faults.len(), 1);
}

#[test]
fn lower_floors_and_own_modules_may_be_named() {
    assert_eq!(found("node/src/log/mod.rs", "use crate::{io::{File, Mode}, table::Id, log::x};\nuse crate::Error;"), 0);
    assert_eq!(found("node/src/log/reader.rs", "use super::io;\nuse super::super::io;\n// crate::store\nlet s = \"crate::store\";"), 0);
    assert_eq!(found("node/src/io/mod.rs", "mod tests { use super::*; use super::sim::Sim; }"), 0);
}

#[test]
fn planted_faults_of_floors_are_found() {
    assert_eq!(found("node/src/io/mod.rs", "use crate::log::Log;"), 1, "up");
    assert_eq!(found("node/src/io/mod.rs", "use crate::{error::Error, table::Id};"), 1, "sideways, in a list");
    assert_eq!(found("node/src/io/mod.rs", "use crate::Log;"), 1, "up, by a re-export");
    assert_eq!(found("node/src/io/sim.rs", "use super::super::log::Log;"), 1, "up, by climbing");
    assert_eq!(found("node/src/io.rs", "fn f() -> super::log::Log {}"), 1, "up, by climbing from a file");
    assert_eq!(found("node/src/error.rs", "use crate::*;"), 1, "everything");
    assert_eq!(found("node/src/shed.rs", ""), 1, "on no floor");
    assert_eq!(found("node/src/log/mod.rs", "use crate::nowhere::X;"), 1, "unknown");
}

#[test]
fn planted_faults_of_the_program_are_found() {
    let faults = |path, text| program_faults(&[File::new(path, text)]).len();
    assert_eq!(faults("node/src/main.rs", "use aquifer_node::{Error, store::Store};\nuse aquifer_node::store;"), 0);
    assert_eq!(faults("node/src/main.rs", "use aquifer_node::io::Driver;"), 1);
    assert_eq!(faults("node/src/command/append.rs", "use aquifer_node::{store::Store, log::Log};"), 1);
    assert_eq!(faults("tests/it/main.rs", "use aquifer_node::io::Driver;"), 0);
}
