//! What is said at the end: one line a case, as a table or as JSON, with medians, extremes and the ratio to the limit of the same run.

use crate::case::{Contender, Load};
use crate::round::Round;
use serde::Serialize;
use std::fmt;
use std::io::{self, Write};

/// The commit that was built, where the build was told.
pub const COMMIT: Option<&str> = option_env!("AQUIFER_COMMIT");

/// One line of JSON; fields that make no sense are left out.
#[derive(Serialize, Default)]
#[allow(missing_docs, reason = "the names are the documentation: they are what is printed")]
pub struct Line {
    pub bench: &'static str,
    pub case: String,
    pub metric: &'static str,
    pub value: f64,
    pub min: f64,
    pub max: f64,
    pub unit: &'static str,
    pub better: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit_name: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ratio: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ratio_min: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ratio_max: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub over_limit_us: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit_p99_us: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle_cpu_ms_per_s: Option<f64>,
    pub cpu_s: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit_cpu_s: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_us_per_record: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_s_per_m_rows: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit_cpu_s_per_m_rows: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mb_read: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit_mb_per_s: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows_per_s: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub write_amplification: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peak_mb: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub merges: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub files_max: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p50_us: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p99_us: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub driver: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit: Option<&'static str>,
    pub load: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub durability: &'static str,
    pub kernel: String,
    pub fs: String,
    pub rounds: usize,
}

impl Line {
    /// With the value of each round, and of the limit in the same round.
    #[must_use]
    pub fn with_values(self, values: impl Iterator<Item = f64>, limit: Option<(&'static str, Vec<f64>)>) -> Line {
        let values: Vec<f64> = values.collect();
        let value = Spread::of(values.iter().copied());
        let mut line = Line { value: value.median, min: value.min, max: value.max, ..self };
        if let Some((name, limits)) = limit {
            let ratio = Spread::of(values.iter().zip(&limits).map(|(value, limit)| value / limit));
            line.limit_name = Some(name);
            line.limit = Some(Spread::of(limits.into_iter()).median);
            (line.ratio, line.ratio_min, line.ratio_max) = (Some(ratio.median), Some(ratio.min), Some(ratio.max));
        }
        line
    }
}

/// Says why a contender does not take part.
pub fn skipped(name: &str, error: &io::Error) {
    eprintln!("skipped: {name}: {error}");
}

/// The ratio of a line in words.
pub fn ratio_words(line: &Line) -> String {
    match (line.ratio, line.ratio_min, line.ratio_max) {
        (Some(ratio), Some(min), Some(max)) => format!("{ratio:.2} ({min:.2} - {max:.2}) of {}", line.limit_name.unwrap_or("the limit")),
        _ => "the limit".to_string(),
    }
}

/// The middle of the values, and the least and the greatest.
pub struct Spread {
    /// The least.
    pub min: f64,
    /// The middle; of an even number, the lower one.
    pub median: f64,
    /// The greatest.
    pub max: f64,
}

impl Spread {
    /// Of at least one value.
    pub fn of(values: impl Iterator<Item = f64>) -> Spread {
        let mut values: Vec<f64> = values.collect();
        values.sort_by(f64::total_cmp);
        assert!(!values.is_empty(), "a spread of nothing");
        Spread { min: values[0], median: values[(values.len() - 1) / 2], max: values[values.len() - 1] }
    }
}

/// What an acknowledgement means, as the option of the store says it.
pub fn durability(durable: bool) -> &'static str {
    if durable { "sync" } else { "os" }
}

/// Records a second.
pub fn rate(round: &Round) -> f64 {
    round.records as f64 / round.seconds
}

/// The line of one contender; `limit` holds the rounds of the limit in the same order, for the ratios of pairs.
pub fn append_line(
    bench: &'static str,
    contender: &Contender<'_>,
    load: Load,
    rounds: &[Round],
    limit: Option<(&'static str, &[Round])>,
) -> Line {
    let value = Spread::of(rounds.iter().map(rate));
    let records: u64 = rounds.iter().map(|round| round.records).sum();
    let cpu_s: f64 = rounds.iter().map(|round| round.cpu_s).sum();
    let mut latency_ns = crate::round::histogram();
    rounds.iter().for_each(|round| latency_ns.add(&round.latency_ns).expect("equal histograms"));
    let percentile = |p: f64| (contender.in_flight == 1).then(|| latency_ns.value_at_quantile(p) as f64 / 1e3);
    let ratio = limit.map(|(_, limits)| Spread::of(rounds.iter().zip(limits).map(|(round, limit)| rate(round) / rate(limit))));
    Line {
        bench,
        case: format!("{} {}", contender.name, describe(load)),
        metric: "records",
        value: value.median,
        min: value.min,
        max: value.max,
        unit: "1/s",
        better: "higher",
        limit_name: limit.map(|(name, _)| name),
        limit: limit.map(|(_, limits)| Spread::of(limits.iter().map(rate)).median),
        ratio: ratio.as_ref().map(|ratio| ratio.median),
        ratio_min: ratio.as_ref().map(|ratio| ratio.min),
        ratio_max: ratio.as_ref().map(|ratio| ratio.max),
        cpu_s,
        limit_cpu_s: limit.map(|(_, limits)| limits.iter().map(|round| round.cpu_s).sum()),
        cpu_us_per_record: Some(cpu_s * 1e6 / records.max(1) as f64),
        p50_us: percentile(0.5),
        p99_us: percentile(0.99),
        driver: contender.driver,
        version: contender.version,
        commit: COMMIT,
        load: format!("closed loop, {} in flight a producer", contender.in_flight),
        durability: durability(load.durable),
        kernel: crate::machine::kernel(),
        rounds: rounds.len(),
        ..Line::default()
    }
}

/// A load in words: `4 KiB x 16`.
pub fn describe(load: Load) -> String {
    let bytes = load.record_bytes;
    match bytes {
        _ if bytes.is_multiple_of(1 << 20) => format!("{} MiB x {}", bytes >> 20, load.producers),
        _ if bytes.is_multiple_of(1 << 10) => format!("{} KiB x {}", bytes >> 10, load.producers),
        _ => format!("{bytes} B x {}", load.producers),
    }
}

/// The output took no line: nobody reads it any more, or there is no room. An [`io::Error`] of a bench has it inside when that is what failed.
#[derive(Debug)]
pub struct Unwritable;

impl fmt::Display for Unwritable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a line could not be written to the output")
    }
}

impl std::error::Error for Unwritable {}

/// Prints a line of text.
///
/// # Errors
/// Those of the output, with [`Unwritable`] inside.
pub fn say(text: fmt::Arguments<'_>) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}").and_then(|()| out.flush()).map_err(|error| io::Error::new(error.kind(), Unwritable))
}

/// Prints a line as JSON or as a row of a table.
///
/// # Errors
/// As [`say`].
pub fn print(line: &Line, json: bool) -> io::Result<()> {
    if json {
        return say(format_args!("{}", serde_json::to_string(line).expect("plain values")));
    }
    let number = |value: Option<f64>, digits: usize| value.map_or("-".to_string(), |value| format!("{value:.digits$}"));
    let ratio = ratio_words(line);
    say(format_args!(
        "{:<28} {:>8.0} {:>8.0} {:>8.0} /s   p50 {:>7} p99 {:>7} us   CPU {:>6.1} us a record   {ratio}",
        line.case,
        line.min,
        line.value,
        line.max,
        number(line.p50_us, 0),
        number(line.p99_us, 0),
        line.cpu_us_per_record.unwrap_or_default(),
    ))
}
