//! From logits to a token id on the CPU, in f64; the GPU's sampler computes the same in f32.
//!
//! In this order, for logits `l` over the ids `0..vocab_size`:
//!
//! 1. **Repetition penalty** `p`: each id that occurs in the history, once: `l / p` for `l > 0`, else `l * p`.
//! 2. **Temperature** `T`: `l / T`; `T` below [`LEAST_TEMPERATURE`] is greedy: the smallest id among those of the largest `l`, and no more.
//! 3. **Top-k**: ids with `l` at least the `k`-th largest stay; ties with it stay.
//! 4. **Top-p**: probabilities are taken over the ids that stay; ids with `l` at least the threshold stay, where the
//!    threshold is the largest value such that the probabilities of `l` at or above it sum to `p` or more. Ties stay,
//!    and at least one id does.
//! 5. **Min-p**: ids with probability at least `min_p` times the largest stay: `l >= l_max + ln(min_p)`.
//! 6. **Race**: the id with the least `ln(e) - l` of those that stay, where the `e` are independent exponential
//!    variates, wins; it is id `i` with probability `exp(l_i)` over the sum of all that stay (the Gumbel-max trick).
//!
//! # The variates
//!
//! `e = -ln(1 - v)` with `v = (bits + 0.5) / 2^32`, and `bits` the first word of [`pcg4d`] of
//! `(seed low, seed high, position, id)`. In f32 `1 - v` is `(!bits + 0.5) / 2^32` without cancellation, and below
//! `v = 2^-10` the series `v * (1 + v / 2)` is as good as the logarithm.
//!
//! So a draw depends on the logits, the seed and the position alone, and on nothing that was drawn before: the same
//! seed gives the same text however steps are cut, batched or speculated, and whichever of the ids are looked at.

/// Temperatures below this are greedy: the likeliest id would win almost surely, and f32 could overflow.
pub const LEAST_TEMPERATURE: f32 = 1e-3;

/// How ids are chosen; the [module](self) defines each step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SamplerParams {
    /// Divides the logits; below [`LEAST_TEMPERATURE`] is greedy. Finite, at least 0.
    pub temperature: f32,
    /// How many of the likeliest ids stay; 0 is all.
    pub top_k: u32,
    /// Probability that the likeliest ids make up together; 1 is all. In 0..=1.
    pub top_p: f32,
    /// Least probability as a part of the largest; 0 is none. In 0..=1.
    pub min_p: f32,
    /// Lessens the logits of ids in the history; 1 leaves them. Finite, above 0.
    pub repeat_penalty: f32,
    /// Chooses the random numbers.
    pub seed: u64,
}

/// Why no id was chosen.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Error {
    /// A setting is out of range.
    #[error("sampler: {name} is {value}, expected {expected}")]
    Setting {
        /// Field of [`SamplerParams`].
        name: &'static str,
        /// What it holds.
        value: f32,
        /// What it may hold.
        expected: &'static str,
    },
    /// There are no logits.
    #[error("sampler: there are no logits to choose from")]
    Empty,
    /// A logit is NaN or positive infinity, or (at index 0) all of them are negative infinity.
    #[error("sampler: the logit of id {index} is not finite")]
    NonFinite {
        /// Id of the first such logit.
        index: usize,
    },
}

impl SamplerParams {
    /// Whether the likeliest id is always taken.
    pub fn is_greedy(&self) -> bool {
        self.temperature < LEAST_TEMPERATURE
    }

    /// The likeliest id, always.
    pub const fn greedy() -> Self {
        Self {
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            repeat_penalty: 1.0,
            seed: 0,
        }
    }

    /// Checks the ranges.
    ///
    /// # Errors
    /// [`Error::Setting`] names the first field that is out of its range.
    pub fn validate(&self) -> Result<(), Error> {
        let non_negative = |x: f32| x.is_finite() && x >= 0.0;
        let part = |x: f32| (0.0..=1.0).contains(&x);
        let positive = |x: f32| x.is_finite() && x > 0.0;
        let settings = [
            (
                "temperature",
                self.temperature,
                non_negative(self.temperature),
                "a finite number of at least 0",
            ),
            (
                "top_p",
                self.top_p,
                part(self.top_p),
                "a number from 0 to 1",
            ),
            (
                "min_p",
                self.min_p,
                part(self.min_p),
                "a number from 0 to 1",
            ),
            (
                "repeat_penalty",
                self.repeat_penalty,
                positive(self.repeat_penalty),
                "a finite number above 0",
            ),
        ];
        match settings.into_iter().find(|&(_, _, valid, _)| !valid) {
            Some((name, value, _, expected)) => Err(Error::Setting {
                name,
                value,
                expected,
            }),
            None => Ok(()),
        }
    }
}

impl Default for SamplerParams {
    /// Lively but coherent text from small models: temperature 0.8, top-k 40, top-p 0.95, min-p 0.05, no penalty,
    /// seed 0.
    fn default() -> Self {
        Self {
            temperature: 0.8,
            top_k: 40,
            top_p: 0.95,
            min_p: 0.05,
            repeat_penalty: 1.0,
            seed: 0,
        }
    }
}

/// Chooses the id at `position` of a sequence whose ids before it are `history`.
///
/// Logits of negative infinity mask ids, which are then never chosen. Ids of the history beyond the logits are passed
/// over.
///
/// # Errors
/// Where a setting is out of range, and where there is no distribution: a logit is NaN or positive infinity, or none
/// is finite.
pub fn sample(
    params: &SamplerParams,
    logits: &[f32],
    history: &[u32],
    position: u32,
) -> Result<u32, Error> {
    let kept = filtered(params, logits, history)?;
    let mut first = (f64::INFINITY, 0);
    for (id, l) in (0..).zip(kept) {
        if l > f64::NEG_INFINITY {
            let time = ln_exponential(params.seed, position, id) - l;
            if time < first.0 {
                first = (time, id);
            }
        }
    }
    Ok(first.1)
}

/// The logits after penalty and temperature, and negative infinity for every id that does not stay: the softmax of
/// this is the distribution that [`sample`] draws from.
///
/// # Errors
/// As [`sample`].
pub fn filtered(
    params: &SamplerParams,
    logits: &[f32],
    history: &[u32],
) -> Result<Vec<f64>, Error> {
    params.validate()?;
    check_logits(logits)?;
    let mut l: Vec<f64> = logits.iter().map(|&l| f64::from(l)).collect();
    let penalty = f64::from(params.repeat_penalty);
    for &id in history {
        // From the logit given, so that an id counts once however often it occurs.
        if let Some(&given) = logits.get(id as usize) {
            let given = f64::from(given);
            l[id as usize] = if given > 0.0 {
                given / penalty
            } else {
                given * penalty
            };
        }
    }

    if params.is_greedy() {
        let max = largest(&l);
        let greedy = l.iter().position(|&l| l == max);
        let greedy = greedy.expect("the largest is one of them");
        l.fill(f64::NEG_INFINITY);
        l[greedy] = max;
        return Ok(l);
    }
    l.iter_mut()
        .for_each(|l| *l /= f64::from(params.temperature));

    keep(&mut l, |l| kth_largest(l, params.top_k as usize));
    keep(&mut l, |l| top_p_threshold(l, f64::from(params.top_p)));
    // ln(0) is negative infinity: all stay.
    keep(&mut l, |l| largest(l) + f64::from(params.min_p).ln());
    Ok(l)
}

/// `ln(e)` of an id in the race at a position.
pub fn ln_exponential(seed: u64, position: u32, id: u32) -> f64 {
    let [bits, ..] = pcg4d([seed as u32, (seed >> 32) as u32, position, id]);
    let v = (f64::from(bits) + 0.5) / 4_294_967_296.0;
    (-(-v).ln_1p()).ln()
}

/// A hash from four words to four words, `pcg4d` of Jarzynski and Olano, "Hash Functions for GPU Rendering",
/// JCGT 9(3), 2020.
pub fn pcg4d(v: [u32; 4]) -> [u32; 4] {
    let mut v = v.map(|word| word.wrapping_mul(1_664_525).wrapping_add(1_013_904_223));
    mix(&mut v);
    v = v.map(|word| word ^ word >> 16);
    mix(&mut v);
    v
}

/// Each word takes the product of two others, one after the other.
fn mix([x, y, z, w]: &mut [u32; 4]) {
    *x = x.wrapping_add(y.wrapping_mul(*w));
    *y = y.wrapping_add(z.wrapping_mul(*x));
    *z = z.wrapping_add(x.wrapping_mul(*y));
    *w = w.wrapping_add(y.wrapping_mul(*z));
}

fn check_logits(logits: &[f32]) -> Result<(), Error> {
    if logits.is_empty() {
        return Err(Error::Empty);
    }
    if let Some(index) = logits
        .iter()
        .position(|&l| l.is_nan() || l == f32::INFINITY)
    {
        return Err(Error::NonFinite { index });
    }
    if logits.iter().all(|&l| l == f32::NEG_INFINITY) {
        return Err(Error::NonFinite { index: 0 });
    }
    Ok(())
}

/// Masks what is below a threshold.
fn keep(l: &mut [f64], threshold: impl Fn(&[f64]) -> f64) {
    let threshold = threshold(l);
    for l in l {
        if *l < threshold {
            *l = f64::NEG_INFINITY;
        }
    }
}

fn largest(l: &[f64]) -> f64 {
    l.iter().copied().fold(f64::NEG_INFINITY, f64::max)
}

/// Negative infinity, below which nothing is, for `k` = 0 and where there are no more than `k`.
fn kth_largest(l: &[f64], k: usize) -> f64 {
    if k == 0 || k >= l.len() {
        return f64::NEG_INFINITY;
    }
    let mut l = l.to_vec();
    let (_, threshold, _) = l.select_nth_unstable_by(k - 1, |a, b| b.total_cmp(a));
    *threshold
}

fn top_p_threshold(l: &[f64], p: f64) -> f64 {
    if p >= 1.0 {
        return f64::NEG_INFINITY;
    }
    let max = largest(l);
    let total: f64 = l.iter().map(|l| (l - max).exp()).sum();
    // Ids below this sum to less than 1 - p of the total, so the threshold is not among them: they need no sorting.
    let floor = max + ((1.0 - p) * total / l.len() as f64).ln();
    let mut likely: Vec<f64> = l.iter().copied().filter(|&l| l >= floor).collect();
    likely.sort_unstable_by(|a, b| b.total_cmp(a));
    let mut mass = 0.0;
    for &l in &likely {
        mass += (l - max).exp();
        if mass >= p * total {
            return l;
        }
    }
    // Reached by rounding alone: all of the likely ids make up p.
    floor
}
