//! Which keys come when: all alike, or a few of them most of the time.
//!
//! Invariant: the same count of keys gives the same order for ever. Knows nothing of rows.

/// The exponent that benches of stores use for uneven keys.
const EXPONENT: f64 = 0.99;

/// How keys are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keys {
    /// Each key once, in scattered order, and then again from the front.
    Uniform,
    /// Key of rank k with a probability proportional to 1 / k^0.99.
    Zipf,
}

impl Keys {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Keys::Uniform => "uniform",
            Keys::Zipf => "zipf",
        }
    }

    /// Numbers of keys, each below `keys`, without end.
    pub fn draw(self, keys: u64) -> Box<dyn Iterator<Item = u64>> {
        match self {
            Keys::Uniform => Box::new((0..).map(move |row: u64| row % keys)),
            Keys::Zipf => {
                let zipf = Zipf::new(keys);
                Box::new((1..).map(move |row| zipf.rank(unit(row))))
            }
        }
    }
}

/// A number that looks random, a different one for each `x` (the end of SplitMix64).
pub fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

/// From 0 to below 1.
fn unit(x: u64) -> f64 {
    (mix(x) >> 11) as f64 / (1_u64 << 53) as f64
}

/// Ranks as the Yahoo Cloud Serving Benchmark draws them (J. Gray et al., "Quickly generating billion-record synthetic databases", 1994).
struct Zipf {
    ranks: u64,
    total: f64,
    alpha: f64,
    eta: f64,
}

impl Zipf {
    fn new(ranks: u64) -> Zipf {
        let weights = |ranks: u64| (1..=ranks).map(|rank| (rank as f64).powf(-EXPONENT)).sum::<f64>();
        let total = weights(ranks);
        let eta = (1.0 - (2.0 / ranks as f64).powf(1.0 - EXPONENT)) / (1.0 - weights(2) / total);
        Zipf { ranks, total, alpha: 1.0 / (1.0 - EXPONENT), eta }
    }

    /// The rank, from 0, of a number from 0 to below 1.
    fn rank(&self, unit: f64) -> u64 {
        let weight = unit * self.total;
        if weight < 1.0 {
            return 0;
        }
        if weight < 1.0 + 0.5_f64.powf(EXPONENT) {
            return 1.min(self.ranks - 1);
        }
        ((self.ranks as f64 * (self.eta * unit - self.eta + 1.0).powf(self.alpha)) as u64).min(self.ranks - 1)
    }
}

#[test]
fn every_key_comes_when_all_are_alike() {
    let mut found: Vec<u64> = Keys::Uniform.draw(100).take(100).collect();
    found.sort_unstable();
    assert_eq!(found, (0..100).collect::<Vec<_>>());
}

#[test]
fn the_first_ranks_are_as_frequent_as_they_should_be() {
    let draws = 200_000;
    for keys in [1, 2, 3, 1000] {
        let mut counts = vec![0_u32; keys as usize];
        Keys::Zipf.draw(keys).take(draws).for_each(|key| counts[key as usize] += 1);
        let total: f64 = (1..=keys).map(|rank| (rank as f64).powf(-EXPONENT)).sum();
        for (rank, count) in counts.iter().enumerate().take(2) {
            let expected = draws as f64 * ((rank + 1) as f64).powf(-EXPONENT) / total;
            assert!((f64::from(*count) - expected).abs() < 0.03 * expected, "{keys} keys, rank {rank}: {count} instead of {expected}");
        }
    }
}
