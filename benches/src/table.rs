//! Kept lines of runs as tables of Markdown, as the README shows them.
//!
//! Invariant: a file is one run and gets tables of its own, so that figures of different runs never stand in one; below them stands under which
//! conditions it was made. Knows nothing of how the lines came about.

use std::fmt::Write;

use serde::Deserialize;

/// What is read of a line; fields as in [`crate::report::Line`].
#[derive(Deserialize)]
struct Kept {
    bench: String,
    case: String,
    commit: Option<String>,
    driver: Option<String>,
    #[serde(default)]
    durability: String,
    kernel: String,
    fs: String,
    rounds: usize,
    value: Option<f64>,
    peak_mb: Option<f64>,
    files_max: Option<usize>,
    #[serde(default)]
    unit: String,
    ratio: Option<f64>,
    ratio_min: Option<f64>,
    ratio_max: Option<f64>,
    limit: Option<f64>,
    limit_p99_us: Option<f64>,
    over_limit_us: Option<f64>,
    idle_cpu_ms_per_s: Option<f64>,
    p50_us: Option<f64>,
    p99_us: Option<f64>,
}

/// The tables of a run, kept as lines of JSON in a file called `name`.
///
/// Errors: in words, for a line that no bench prints, and a file without any.
pub fn markdown(name: &str, text: &str) -> Result<String, String> {
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let read = |(number, line): (usize, &&str)| serde_json::from_str(line).map_err(|error| format!("line {}: {error}", number + 1));
    let kept = lines.iter().enumerate().map(read).collect::<Result<Vec<Kept>, String>>()?;
    let first = kept.first().ok_or("it holds no line")?;
    if let Some(other) = kept.iter().find(|line| (&line.bench, &line.commit) != (&first.bench, &first.commit)) {
        return Err(format!("it holds lines of different runs: {} and {}", first.bench, other.bench));
    }
    let table = match first.bench.as_str() {
        "append" => grid("durable appends by producers: ratio to bare writes of the same bytes", &kept, append_place, spread)?,
        "project" => {
            grid("cold scans of a 20-column log by columns read: ratio to bare reads of the same bytes", &kept, project_place, spread)?
        }
        "upsert" => {
            grid("a million upserts until all is merged: seconds, and ratio to log, sort and merge alone", &kept, load_place, amount)?
        }
        "scan" => grid("cold scans of a table by unmerged commits: ratio to bare reads of as many bytes", &kept, count_place, spread)?,
        "lookup" => {
            grid("lookups by keys of a call: ratio to a hash table (hot), to bare reads of 4 KiB (cold)", &kept, count_place, spread)?
        }
        "mixed" => plain("p99 of appends while another table is merged, us: ratio to the same appends alone", &kept, 0),
        "open" => plain("until a row is found after a kill, s: ratio to a bare read of what was in no run", &kept, 3),
        "soak" => plain("everything in any order, held against a model: rows changed a second", &kept, 0),
        "tail" => latencies(&kept),
        other => return Err(format!("there is no table for bench {other}")),
    };
    Ok(format!("{table}\n{}\n", conditions(name, first, &kept)))
}

/// What the figures are, and where they were measured.
fn conditions(name: &str, first: &Kept, kept: &[Kept]) -> String {
    let driver = kept.iter().filter(|line| line.case.starts_with("aquifer")).find_map(|line| line.driver.as_deref()).unwrap_or("no driver");
    let durability = if first.durability.is_empty() { String::new() } else { format!(", durability {}", first.durability) };
    let commit = first.commit.as_deref().unwrap_or("unknown");
    let Kept { kernel, fs, rounds, .. } = first;
    let rounds = if *rounds == 1 { "one round".to_string() } else { format!("median (least - greatest) of {rounds} rounds") };
    format!("`{name}`: {rounds}, commit {commit}, {driver}{durability}, Linux {kernel}, {fs}.")
}

/// Row and column of a case.
type Place = fn(&str) -> Option<(String, String)>;

/// `aquifer 4 KiB x 16` stands in row `aquifer, 4 KiB`, column `16`.
fn append_place(case: &str) -> Option<(String, String)> {
    let (rest, producers) = case.rsplit_once(" x ")?;
    let (rest, unit) = rest.rsplit_once(' ')?;
    let (contender, count) = rest.rsplit_once(' ')?;
    Some((format!("{contender}, {count} {unit}"), producers.to_string()))
}

/// `aquifer 5 columns, 1000 rows a batch` stands in row `aquifer, 1000 rows a batch`, column `5`.
fn project_place(case: &str) -> Option<(String, String)> {
    let (front, batch) = case.split_once(" columns, ")?;
    let (contender, columns) = front.rsplit_once(' ')?;
    Some((format!("{contender}, {batch}"), columns.to_string()))
}

/// `aquifer, 100 B uniform: CPU` stands in row `aquifer, CPU`, column `100 B uniform`.
fn load_place(case: &str) -> Option<(String, String)> {
    let (contender, rest) = case.split_once(", ")?;
    let (load, figure) = rest.rsplit_once(": ")?;
    Some((format!("{contender}, {figure}"), load.to_string()))
}

/// `aquifer, 100 B: all x 8` stands in row `aquifer, 100 B: all`, column `8`.
fn count_place(case: &str) -> Option<(String, String)> {
    let (row, commits) = case.rsplit_once(" x ")?;
    Some((row.to_string(), commits.to_string()))
}

/// Figures by row and column, both in the order of the lines.
fn grid(title: &str, kept: &[Kept], place: Place, figure: fn(&Kept) -> String) -> Result<String, String> {
    let (mut rows, mut columns, mut cells) = (Vec::new(), Vec::new(), Vec::new());
    // The limit itself has no ratio, and the limit of other cases is of no interest here.
    for line in kept.iter().filter(|line| line.ratio.is_some() && !line.case.starts_with("bare ")) {
        let (row, column) = place(&line.case).ok_or_else(|| format!("case `{}` has no place in a table", line.case))?;
        for (known, name) in [(&mut rows, &row), (&mut columns, &column)] {
            if !known.contains(name) {
                known.push(name.clone());
            }
        }
        cells.push((row, column, figure(line)));
    }
    let mut table = head(title, &columns);
    for row in &rows {
        let cell = |column| cells.iter().find(|(r, c, _)| r == row && c == column).map_or("-", |(_, _, text)| text);
        let _ = writeln!(table, "| {row} | {} |", columns.iter().map(cell).collect::<Vec<_>>().join(" | "));
    }
    Ok(table)
}

fn spread(line: &Kept) -> String {
    match (line.ratio, line.ratio_min, line.ratio_max) {
        (Some(ratio), Some(min), Some(max)) if line.rounds > 1 => format!("{ratio:.2} ({min:.2} - {max:.2})"),
        (ratio, _, _) => number(ratio, 2),
    }
}

/// A line for each case: what was measured, its ratio, and what else there is.
fn plain(title: &str, kept: &[Kept], digits: usize) -> String {
    let mut table = head(title, &["measured", "ratio", "peak memory, MB", "files"].map(str::to_string));
    for line in kept {
        let files = line.files_max.map_or("-".to_string(), |files| files.to_string());
        let (value, memory) = (number(line.value, digits), number(line.peak_mb, 0));
        let _ = writeln!(table, "| {} | {value} | {} | {memory} | {files} |", line.case, spread(line));
    }
    table
}

/// What was measured, and its ratio.
fn amount(line: &Kept) -> String {
    format!("{} {}: {}", number(line.value, 3), line.unit, spread(line))
}

fn latencies(kept: &[Kept]) -> String {
    let columns = ["p50 / p99, us", "commit alone p50 / p99, us", "p50 over the commit, us", "idle CPU, ms/s"].map(str::to_string);
    let mut table = head("append to a waiting reader", &columns);
    for line in kept {
        let _ = writeln!(
            table,
            "| {} | {} / {} | {} / {} | {} | {} |",
            line.case,
            number(line.p50_us, 0),
            number(line.p99_us, 0),
            number(line.limit, 0),
            number(line.limit_p99_us, 0),
            number(line.over_limit_us, 0),
            number(line.idle_cpu_ms_per_s, 2),
        );
    }
    table
}

fn head(title: &str, columns: &[String]) -> String {
    format!("| {title} | {} |\n|---|{}\n", columns.join(" | "), "---|".repeat(columns.len()))
}

fn number(value: Option<f64>, digits: usize) -> String {
    value.map_or("-".to_string(), |value| format!("{value:.digits$}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::Load;
    use crate::report::{Line, describe};

    fn line(bench: &'static str, case: String, ratio: Option<f64>) -> String {
        let machine = Line { kernel: "6.1".into(), fs: "ext4".into(), driver: Some("io_uring"), durability: "sync", ..Line::default() };
        let ratios = Line { ratio, ratio_min: Some(0.5), ratio_max: Some(1.5), rounds: 3, commit: Some("abc"), ..machine };
        serde_json::to_string(&Line { bench, case, value: 0.25, unit: "s", p50_us: Some(12.4), ..ratios }).unwrap()
    }

    #[test]
    fn ratios_of_appends_stand_by_size_and_producers() {
        let load = |kib: usize, producers| Load { record_bytes: kib << 10, payload_bytes: 0, producers, durable: true };
        let case = |name: &str, kib, producers| format!("{name} {}", describe(load(kib, producers)));
        let text = [
            line("append", case("bare ring", 4, 16), None),
            line("append", case("bare inline", 4, 16), Some(1.0)),
            line("append", case("aquifer", 4, 1), Some(0.94)),
            line("append", case("aquifer", 4, 16), Some(1.0)),
            line("append", case("aquifer", 1024, 16), Some(0.8)),
        ];
        let expected = "\
| durable appends by producers: ratio to bare writes of the same bytes | 1 | 16 |
|---|---|---|
| aquifer, 4 KiB | 0.94 (0.50 - 1.50) | 1.00 (0.50 - 1.50) |
| aquifer, 1 MiB | - | 0.80 (0.50 - 1.50) |

`a.json`: median (least - greatest) of 3 rounds, commit abc, io_uring, durability sync, Linux 6.1, ext4.
";
        assert_eq!(markdown("a.json", &text.join("\n")).unwrap(), expected);
    }

    #[test]
    fn scans_and_tails_have_their_tables() {
        let scan = line("project", "arrow-ipc FileReader 5 columns, 1000 rows a batch".into(), Some(0.5));
        let table = markdown("p", &scan).unwrap();
        assert!(table.contains("| 5 |\n|---|---|\n| arrow-ipc FileReader, 1000 rows a batch | 0.50 (0.50 - 1.50) |"), "{table}");
        let tail = markdown("t", &line("tail", "aquifer, same process 50k rows/s".into(), Some(1.1))).unwrap();
        assert!(tail.contains("| aquifer, same process 50k rows/s | 12 / - |"), "{tail}");
    }

    #[test]
    fn upserts_stand_by_load_and_figure() {
        let case = |case: &str, ratio| line("upsert", case.into(), ratio);
        let text = [case("bare floor, 100 B zipf: CPU", None), case("aquifer, 100 B zipf: CPU", Some(2.0))].join("\n");
        let table = markdown("u", &text).unwrap();
        assert!(table.contains("| 100 B zipf |\n|---|---|\n| aquifer, CPU | 0.250 s: 2.00 (0.50 - 1.50) |"), "{table}");
    }

    #[test]
    fn scans_of_keys_stand_by_commits() {
        let table = markdown("s", &line("scan", "aquifer, 11 columns: one column x 20".into(), Some(0.5))).unwrap();
        assert!(table.contains("| 20 |\n|---|---|\n| aquifer, 11 columns: one column | 0.50 (0.50 - 1.50) |"), "{table}");
    }

    #[test]
    fn what_is_no_run_is_refused() {
        let [append, tail] = ["append", "tail"].map(|bench| line(bench, "aquifer 4 KiB x 1".into(), Some(1.0)));
        assert!(markdown("x", "").unwrap_err().contains("no line"));
        assert!(markdown("x", "{\"bench\":1}").unwrap_err().starts_with("line 1: "));
        assert!(markdown("x", &format!("{append}\n{tail}")).unwrap_err().contains("different runs"));
        assert!(markdown("x", &line("nap", String::new(), None)).unwrap_err().contains("bench nap"));
        assert!(markdown("x", &line("append", "aquifer".into(), Some(1.0))).unwrap_err().contains("no place"));
    }
}
