//! Latencies: counted in microseconds, told in milliseconds.
//!
//! Invariant: from 1 us to [`LATENCY_MAX`], three digits; what lies beyond counts as the bound. Knows nothing of what took so long.

use std::time::Duration;

use hdrhistogram::Histogram;

const LATENCY_MAX: Duration = Duration::from_secs(3600);

pub(crate) fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LATENCY_MAX.as_micros() as u64, 3).expect("the bounds are constants that hold")
}

pub(crate) fn record(histogram: &mut Histogram<u64>, latency: Duration) {
    histogram.saturating_record(u64::try_from(latency.as_micros()).unwrap_or(u64::MAX));
}

/// The latency that a share of `quantile` did not exceed.
pub(crate) fn quantile_ms(histogram: &Histogram<u64>, quantile: f64) -> f64 {
    histogram.value_at_quantile(quantile) as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_told_in_milliseconds() {
        let mut histogram = histogram();
        (1..=100).for_each(|latency| record(&mut histogram, Duration::from_millis(latency)));
        record(&mut histogram, Duration::MAX);
        assert!((quantile_ms(&histogram, 0.5) - 50.0).abs() < 2.0);
        assert!(quantile_ms(&histogram, 1.0) >= 3_600_000.0);
    }
}
