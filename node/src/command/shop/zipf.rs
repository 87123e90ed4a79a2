//! Ranks from 1 to n, rank k with a probability proportional to 1 / k^s: few are popular, many are rare.
//!
//! Rejection-inversion (W. Hoermann, G. Derflinger, "Rejection-inversion to generate variates from monotone discrete
//! distributions", 1996): exact for every n and s > 0, without a table. Knows nothing of what the ranks stand for.

use super::random::Random;

pub(super) struct Zipf {
    ranks: u64,
    exponent: f64,
    /// Integral of the hat up to the first and behind the last rank.
    low: f64,
    high: f64,
    /// Distance within which a rank is taken without looking closer.
    squeeze: f64,
}

impl Zipf {
    pub(super) fn new(ranks: u64, exponent: f64) -> Self {
        assert!(ranks > 0 && exponent > 0.0, "a Zipf distribution has ranks and falls");
        let mut made = Zipf { ranks, exponent, low: 0.0, high: 0.0, squeeze: 0.0 };
        made.low = made.integral(1.5) - 1.0;
        made.high = made.integral(ranks as f64 + 0.5);
        made.squeeze = 2.0 - made.inverse(made.integral(2.5) - made.density(2.0));
        made
    }

    /// A rank.
    pub(super) fn sample(&self, random: &mut Random) -> u64 {
        loop {
            let under = self.high + random.unit() * (self.low - self.high);
            let place = self.inverse(under);
            let rank = (place + 0.5).clamp(1.0, self.ranks as f64).floor();
            if rank - place <= self.squeeze || under >= self.integral(rank + 0.5) - self.density(rank) {
                return rank as u64;
            }
        }
    }

    fn density(&self, place: f64) -> f64 {
        (-self.exponent * place.ln()).exp()
    }

    /// Integral of the density from 1.
    fn integral(&self, place: f64) -> f64 {
        let log = place.ln();
        exp_minus_one_over((1.0 - self.exponent) * log) * log
    }

    fn inverse(&self, integral: f64) -> f64 {
        let scaled = (integral * (1.0 - self.exponent)).max(-1.0);
        (log_plus_one_over(scaled) * integral).exp()
    }
}

/// Below this the quotients are computed by their series.
const NEAR_ZERO: f64 = 1e-8;

/// ln(1 + x) / x
fn log_plus_one_over(x: f64) -> f64 {
    if x.abs() > NEAR_ZERO { x.ln_1p() / x } else { 1.0 - x * (0.5 - x / 3.0) }
}

/// (e^x - 1) / x
fn exp_minus_one_over(x: f64) -> f64 {
    if x.abs() > NEAR_ZERO { x.exp_m1() / x } else { 1.0 + x * (0.5 + x / 6.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pearson's statistic against the exact probabilities; 9 degrees of freedom exceed 33.7 once in 10,000 times.
    #[test]
    fn frequencies_are_those_of_the_distribution() {
        for (seed, exponent) in [(1, 0.5), (2, 1.0), (3, 1.3), (4, 3.0)] {
            let (ranks, draws) = (10_u64, 200_000);
            let (zipf, mut random) = (Zipf::new(ranks, exponent), Random::new(seed));
            let mut found = [0.0; 10];
            (0..draws).for_each(|_| found[zipf.sample(&mut random) as usize - 1] += 1.0);
            let weight = |rank: u64| (rank as f64).powf(-exponent);
            let total: f64 = (1..=ranks).map(weight).sum();
            let chi: f64 = (1..=ranks)
                .map(|rank| {
                    let expected = f64::from(draws) * weight(rank) / total;
                    (found[rank as usize - 1] - expected).powi(2) / expected
                })
                .sum();
            assert!(chi < 33.7, "exponent {exponent}: {chi}");
        }
    }

    #[test]
    fn ranks_stay_in_range() {
        let mut random = Random::new(5);
        for ranks in [1, 2, 1_000_000] {
            let zipf = Zipf::new(ranks, 1.0);
            assert!((0..10_000).all(|_| (1..=ranks).contains(&zipf.sample(&mut random))));
        }
    }
}
