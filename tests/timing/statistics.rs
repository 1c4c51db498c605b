//! Whether two samples of times can be distinguished.

/// Samples of one kind, by block. Within a block, kinds are measured in random order, so that what
/// changes on the machine meanwhile is the same for all of them.
#[derive(Debug, Clone, Default)]
pub struct Samples(pub Vec<Vec<f64>>);

/// The significance below which two distributions count as different.
const SIGNIFICANT: f64 = 0.01;

/// The largest difference of medians.
const TOLERANCE: f64 = 0.02;

/// How far beyond its own error a difference of medians must be: three standard errors.
const ERRORS: f64 = 3.0;

/// Two samples, compared.
#[derive(Debug, Clone, Copy)]
pub struct Comparison {
    /// The probability of distributions at least as different, if there is no difference.
    pub p: f64,
    /// The difference of the medians, as a part of them: the mean over the blocks.
    pub difference: f64,
    /// Its standard error.
    pub error: f64,
}

impl Samples {
    /// All of them, in order of size.
    pub fn sorted(&self) -> Vec<f64> {
        let mut all: Vec<f64> = self.0.iter().flatten().copied().collect();
        all.sort_by(f64::total_cmp);
        all
    }

    /// The values below which 0, 1, … 10 tenths of them are.
    pub fn deciles(&self) -> Vec<f64> {
        let all = self.sorted();
        (0..=10)
            .map(|tenth| all[(all.len() - 1) * tenth / 10])
            .collect()
    }

    /// The same, each later by this part of the median.
    pub fn delayed(&self, part: f64) -> Self {
        let delay = median(&self.sorted()) * part;
        let block = |block: &Vec<f64>| block.iter().map(|time| time + delay).collect();
        Self(self.0.iter().map(block).collect())
    }
}

impl Comparison {
    /// Compares two samples with the same blocks.
    pub fn of(a: &Samples, b: &Samples) -> Self {
        let (sorted_a, sorted_b) = (a.sorted(), b.sorted());
        let distance = distance(&sorted_a, &sorted_b);
        let differences: Vec<f64> =
            a.0.iter()
                .zip(&b.0)
                .map(|(a, b)| {
                    let [mut a, mut b] = [a.clone(), b.clone()];
                    a.sort_by(f64::total_cmp);
                    b.sort_by(f64::total_cmp);
                    (median(&a) / median(&b)).ln()
                })
                .collect();
        let blocks = count(differences.len());
        let difference = differences.iter().sum::<f64>() / blocks;
        let squares = differences.iter().map(|one| (one - difference).powi(2));
        let variance = squares.sum::<f64>() / (blocks - 1.0);
        Self {
            p: probability(distance, sorted_a.len(), sorted_b.len()),
            difference,
            error: (variance / blocks).sqrt(),
        }
    }

    /// Whether the samples can be distinguished: by their distributions, or by medians that differ by more than
    /// the tolerance, and by more than chance explains.
    pub fn distinguishes(&self) -> bool {
        let difference = self.difference.abs();
        let is_beyond = difference > TOLERANCE && difference > ERRORS * self.error;
        self.p <= SIGNIFICANT || is_beyond
    }
}

fn count(number: usize) -> f64 {
    f64::from(u32::try_from(number).expect("few"))
}

fn median(sorted: &[f64]) -> f64 {
    let middle = sorted.len() / 2;
    f64::midpoint(sorted[(sorted.len() - 1) / 2], sorted[middle])
}

/// The statistic of Kolmogorov and Smirnov: the largest distance between the two empirical distribution
/// functions, of samples in order of size.
fn distance(a: &[f64], b: &[f64]) -> f64 {
    let (mut at_a, mut at_b, mut largest) = (0, 0, 0.0_f64);
    while at_a < a.len() && at_b < b.len() {
        let value = a[at_a].min(b[at_b]);
        while at_a < a.len() && a[at_a] <= value {
            at_a += 1;
        }
        while at_b < b.len() && b[at_b] <= value {
            at_b += 1;
        }
        let apart = count(at_a) / count(a.len()) - count(at_b) / count(b.len());
        largest = largest.max(apart.abs());
    }
    largest
}

/// The probability of a distance at least as large between samples of these sizes from one distribution, by the
/// approximation of Stephens ("Use of the Kolmogorov-Smirnov, Cramer-von Mises and related statistics
/// without extensive tables", Journal of the Royal Statistical Society B 32, 1970, pages 115 to 122),
/// which is good from four values on.
fn probability(distance: f64, of_a: usize, of_b: usize) -> f64 {
    let (of_a, of_b) = (count(of_a), count(of_b));
    let root = (of_a * of_b / (of_a + of_b)).sqrt();
    beyond((root + 0.12 + 0.11 / root) * distance)
}

/// The probability beyond a value of Kolmogorov's distribution: 2 Σ (−1)^(k−1) e^(−2 k² x²) over k from
/// 1 ("Sulla determinazione empirica di una legge di distribuzione", Giornale dell'Istituto Italiano degli
/// Attuari 4, 1933, pages 83 to 91).
fn beyond(x: f64) -> f64 {
    // The series converges slowly here, and the probability is 1 to twelve digits.
    if x < 0.2 {
        return 1.0;
    }
    let term = |k: u32| {
        let k = f64::from(k);
        let sign = if k % 2.0 == 0.0 { -1.0 } else { 1.0 };
        sign * (-2.0 * k * k * x * x).exp()
    };
    (2.0 * (1..=100).map(term).sum::<f64>()).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    /// Smirnov's table of 1948 ("Table for estimating the goodness of fit of empirical distributions", Annals of
    /// Mathematical Statistics 19, pages 279 to 281), and the usual critical values.
    #[rstest]
    #[case(0.5, 0.963_945)]
    #[case(1.0, 0.270_000)]
    #[case(1.223_85, 0.10)]
    #[case(1.358_10, 0.05)]
    #[case(1.627_62, 0.01)]
    #[case(2.0, 0.000_671)]
    fn the_probability_is_that_of_the_tables(#[case] x: f64, #[case] expected: f64) {
        assert!((beyond(x) - expected).abs() < 2e-6, "{}", beyond(x));
    }

    #[test]
    fn the_distance_is_the_largest_one() {
        let close = |a: f64, b: f64| (a - b).abs() < 1e-12;
        assert!(close(
            distance(&[1.0, 2.0, 3.0, 4.0], &[1.0, 2.0, 3.0, 4.0]),
            0.0
        ));
        assert!(close(distance(&[1.0, 2.0], &[3.0, 4.0]), 1.0));
        assert!(close(distance(&[1.0, 2.0, 3.0, 4.0], &[2.5, 5.0]), 0.5));
        assert!(close(
            distance(&[1.0, 1.0, 2.0], &[1.0, 2.0, 2.0]),
            1.0 / 3.0
        ));
    }

    /// Times of a service with this relative noise, which is seldom much slower, on a machine that gets slower
    /// and faster meanwhile.
    fn times(random: &mut fastrand::Rng, noise: f64, each: usize) -> Samples {
        let block = |number: u32, random: &mut fastrand::Rng| {
            let pace = 1.0 + 0.1 * (f64::from(number) * 0.7).sin();
            let time = |_| {
                // A sum of uniform values is nearly normal.
                let normal: f64 = (0..12).map(|_| random.f64()).sum::<f64>() - 6.0;
                let burst = if random.u8(..) < 13 {
                    1.0 + random.f64()
                } else {
                    1.0
                };
                pace * 20.0 * (noise * normal).exp() * burst
            };
            (0..each).map(time).collect()
        };
        Samples((0..10).map(|number| block(number, random)).collect())
    }

    /// Three tries cost hardly any power: a delay that shows at nearly every try shows at three.
    #[test]
    fn a_delay_of_three_percent_is_distinguished_and_none_is_not() {
        let mut random = fastrand::Rng::with_seed(20_261_121);
        let (mut false_alarms, mut missed) = (0, 0);
        for _ in 0..200 {
            let [a, b] = [30, 30].map(|each| times(&mut random, 0.02, each));
            false_alarms += u32::from(Comparison::of(&a, &b).distinguishes());
            missed += u32::from(!Comparison::of(&a, &b.delayed(0.03)).distinguishes());
        }
        println!("of 200: {false_alarms} false alarms, {missed} delays of 3 % missed");
        assert!(false_alarms < 10 && missed == 0, "{false_alarms} {missed}");
    }
}
