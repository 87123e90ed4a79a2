//! Settings from four places: flag, environment (`AQUIFER__SECTION__KEY`), file, default; the first that speaks counts.
//!
//! Invariant: every effective setting knows its source, and a name that nobody knows is an error wherever it stands.
//! Knows nothing of what the settings do.

use std::path::{Path, PathBuf};

use aquifer_node::{Error, Result};

use super::arguments::Global;
use super::output::Format;
use super::store::Options;

/// Environment variables that begin so are settings.
const ENVIRONMENT: &str = "AQUIFER__";

/// One effective setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Setting {
    pub(crate) name: String,
    pub(crate) value: String,
    pub(crate) source: String,
    pub(crate) meaning: String,
}

/// Everything that a verb needs to know beside its own arguments.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) dir: PathBuf,
    /// As asked for anywhere; without, it depends on where the output goes.
    pub(crate) output: Option<Format>,
    /// Whether this very command line asks for it: only then does it count over the name of the file that `out` names.
    pub(crate) output_is_flag: bool,
    pub(crate) out: Option<PathBuf>,
    pub(crate) quiet: bool,
    pub(crate) verbose: bool,
    pub(crate) options: Options,
    pub(crate) settings: Vec<Setting>,
}

/// What a setting says that stands on the command line.
const DIR_FLAG: &str = "--dir";

impl Config {
    /// The data directory, if this very command line names it.
    pub(crate) fn dir_of_flag(&self) -> Option<&PathBuf> {
        let is_of_flag = self.settings.iter().any(|setting| setting.name == "dir" && setting.source == DIR_FLAG);
        is_of_flag.then_some(&self.dir)
    }

    /// Joins the command line with the environment and the file that it names.
    pub(crate) fn load(global: &Global, sets: &[(String, String)], environment: impl Iterator<Item = (String, String)>) -> Result<Self> {
        let mut named = Vec::new();
        if let Some(path) = &global.config {
            let text = std::fs::read_to_string(path).map_err(|error| Error::io("read", path, error))?;
            named.extend(from_file(&text, path)?);
        }
        named.extend(from_environment(environment));
        let flag = |name: &str, value: String, flag: &str| Named { name: name.into(), value, source: flag.into() };
        named.extend(sets.iter().map(|(name, value)| flag(name, value.clone(), "--set")));
        named.extend(global.io.iter().map(|value| flag("io", value.clone(), "--io")));
        named.extend(global.durability.iter().map(|value| flag("durability", value.clone(), "--durability")));
        named.extend(global.dir.iter().map(|dir| flag("dir", dir.display().to_string(), DIR_FLAG)));
        named.extend(global.output.iter().map(|format| flag("output", format.name().into(), "--output")));
        let mut config = Config::of(named)?;
        if let Some(dir) = global.out.as_deref().filter(|out| out.is_dir()) {
            // Said before anything is read for a file that cannot be made.
            let directory = Error::invalid("--out names a directory").at("out", dir.display());
            return Err(directory.hint("name a file in it"));
        }
        config.out = global.out.clone();
        config.output_is_flag = config.settings.iter().any(|setting| setting.name == "output" && setting.source.starts_with("--"));
        config.quiet = global.quiet;
        config.verbose = global.verbose > 0;
        if let Some(dir) = &global.dir {
            // Not through text, which cannot hold every path.
            config.dir = dir.clone();
        }
        Ok(config)
    }

    /// Later names win over earlier ones.
    fn of(named: Vec<Named>) -> Result<Self> {
        let mut options = Options::default();
        let mut settings = own_settings();
        settings.extend(options.entries().into_iter().map(|entry| Setting {
            name: entry.name.to_string(),
            value: entry.value,
            source: "default".into(),
            meaning: entry.description.to_string(),
        }));
        for Named { name, value, source } in named {
            let Some(setting) = settings.iter_mut().find(|setting| setting.name == name) else {
                // The store knows which name was probably meant.
                let unknown = Error::invalid(format!("unknown setting {name}")).hint("see aquifer config");
                return Err(options.set(&name, &value).err().unwrap_or(unknown).at("source", source));
            };
            match name.as_str() {
                "dir" => {}
                "output" => {
                    format(&value).map_err(|error| error.at("source", &source))?;
                }
                _ => options.set(&name, &value).map_err(|error| error.at("source", &source))?,
            }
            (setting.value, setting.source) = (value, source);
        }
        let value = |name: &str| settings.iter().find(|setting| setting.name == name).map_or("", |setting| setting.value.as_str());
        let output = (value("output") != AUTO).then(|| format(value("output"))).transpose()?;
        Ok(Config { dir: value("dir").into(), output, output_is_flag: false, out: None, quiet: false, verbose: false, options, settings })
    }
}

const AUTO: &str = "auto";

/// Settings of the program itself.
fn own_settings() -> Vec<Setting> {
    let setting = |name: &str, value: &str, meaning: &str| Setting {
        name: name.into(),
        value: value.into(),
        source: "default".into(),
        meaning: meaning.into(),
    };
    vec![
        setting("dir", "./aquifer-data", "the data directory"),
        setting(
            "output",
            AUTO,
            "how rows are printed, unless the name of --out says it: table, json, csv, arrow or parquet; auto is table on a terminal, else json",
        ),
    ]
}

fn format(name: &str) -> Result<Format> {
    use clap::ValueEnum;
    Format::from_str(name, false)
        .map_err(|_| Error::invalid(format!("output = {name} is no format")).hint("choose table, json (or ndjson), csv, arrow or parquet"))
}

struct Named {
    name: String,
    value: String,
    source: String,
}

/// `AQUIFER__FILES__OPEN__MAX` is `files.open.max`; `AQUIFER_DIR` stands for `AQUIFER__DIR`, which wins.
fn from_environment(environment: impl Iterator<Item = (String, String)>) -> Vec<Named> {
    let mut found: Vec<_> = environment
        .filter_map(|(key, value)| {
            let name =
                if key == "AQUIFER_DIR" { "dir".to_string() } else { key.strip_prefix(ENVIRONMENT)?.to_lowercase().replace("__", ".") };
            Some(Named { name, value, source: format!("environment {key}") })
        })
        .collect();
    // `AQUIFER_DIR` sorts behind `AQUIFER__DIR`... by its source; it has to be applied first.
    found.sort_by_key(|named| (named.source != "environment AQUIFER_DIR", named.source.clone()));
    found
}

/// Every value of the file under its dotted name.
fn from_file(text: &str, path: &Path) -> Result<Vec<Named>> {
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| {
        let line = error.span().map_or(1, |span| text[..span.start.min(text.len())].matches('\n').count() + 1);
        Error::invalid(format!("the settings are not TOML: {}", error.message().replace('\n', " ")))
            .at("file", path.display())
            .at("line", line)
    })?;
    let mut named = Vec::new();
    let mut open = vec![(String::new(), toml::Value::Table(table))];
    while let Some((name, value)) = open.pop() {
        match value {
            toml::Value::Table(members) => {
                let prefix = if name.is_empty() { name } else { format!("{name}.") };
                open.extend(members.into_iter().map(|(key, value)| (format!("{prefix}{key}"), value)));
            }
            toml::Value::String(value) => named.push(Named { name, value, source: format!("file {}", path.display()) }),
            value @ (toml::Value::Integer(_) | toml::Value::Float(_) | toml::Value::Boolean(_)) => {
                named.push(Named { name, value: value.to_string(), source: format!("file {}", path.display()) });
            }
            _ => {
                return Err(Error::invalid("a setting is a text, a number or true or false")
                    .at("setting", name)
                    .at("file", path.display()));
            }
        }
    }
    Ok(named)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::session::Session;

    fn load(global: Global, sets: &[(&str, &str)], environment: &[(&str, &str)]) -> Result<Config> {
        let owned = |pairs: &[(&str, &str)]| pairs.iter().map(|(a, b)| (a.to_string(), b.to_string())).collect::<Vec<_>>();
        Config::load(&global, &owned(sets), owned(environment).into_iter())
    }

    fn source<'a>(config: &'a Config, name: &str) -> (&'a str, &'a str) {
        let setting = config.settings.iter().find(|setting| setting.name == name).unwrap();
        (&setting.value, &setting.source)
    }

    #[test]
    fn flag_wins_over_environment_over_file_over_default() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("settings.toml");
        std::fs::write(&file, "durability = \"os\"\noutput = \"csv\"\nio = \"threads\"\nfiles.open.max = 77\n").unwrap();
        let global = || Global { config: Some(file.clone()), ..Global::default() };
        let config =
            load(Global { io: Some("uring".into()), ..global() }, &[], &[("AQUIFER__OUTPUT", "arrow"), ("AQUIFER__IO", "auto")]).unwrap();
        assert_eq!(source(&config, "io"), ("uring", "--io"));
        assert_eq!(config.output, Some(Format::Arrow));
        assert_eq!(source(&config, "output").1, "environment AQUIFER__OUTPUT");
        assert_eq!(source(&config, "durability").0, "os");
        assert!(source(&config, "durability").1.starts_with("file "));
        assert_eq!(source(&config, "files.open.max").0, "77");
        assert_eq!(source(&config, "dir"), ("./aquifer-data", "default"));
    }

    #[test]
    fn only_a_flag_counts_over_the_name_of_the_file() {
        let asked_for = |output: Option<Format>, sets: &[(&str, &str)], out: &str| {
            let global = Global { output, out: Some(out.into()), ..Global::default() };
            let session = Session { config: load(global, sets, &[("AQUIFER__OUTPUT", "table")]).unwrap() };
            (session.format_asked_for().unwrap(), session.check_out().is_ok())
        };
        assert_eq!(asked_for(None, &[], "x.parquet"), (Format::Parquet, true));
        assert_eq!(asked_for(None, &[], "X.CSV"), (Format::Csv, true));
        assert_eq!(asked_for(None, &[], "x"), (Format::Table, true));
        assert_eq!(asked_for(Some(Format::Json), &[], "x.parquet"), (Format::Json, true));
        assert_eq!(asked_for(None, &[("output", "ndjson")], "x.parquet"), (Format::Json, true));
        assert!(!asked_for(None, &[], "x.foo").1 && asked_for(Some(Format::Json), &[], "x.foo").1);
    }

    #[test]
    fn the_directory_has_a_short_variable() {
        let config = load(Global::default(), &[], &[("AQUIFER_DIR", "/a"), ("OTHER", "x")]).unwrap();
        assert_eq!(config.dir, Path::new("/a"));
        let config = load(Global::default(), &[], &[("AQUIFER__DIR", "/b"), ("AQUIFER_DIR", "/a")]).unwrap();
        assert_eq!(config.dir, Path::new("/b"));
    }

    #[test]
    fn unknown_names_and_values_are_refused_with_their_source() {
        let message =
            |sets: &[(&str, &str)], environment: &[(&str, &str)]| load(Global::default(), sets, environment).unwrap_err().to_string();
        assert!(message(&[("files.open.mx", "1")], &[]).contains("source --set"));
        assert!(message(&[], &[("AQUIFER__NO__SUCH", "1")]).contains("source environment AQUIFER__NO__SUCH"));
        assert!(message(&[], &[("AQUIFER__OUTPUT", "xml")]).contains("choose table"));
        assert!(message(&[("io", "magic")], &[]).contains("source --set"));
    }
}
