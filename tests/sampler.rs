//! The sampler against exact probabilities, sorted filters and transformers' logits processors.

use deputy::sampler::{Error, SamplerParams, filtered, ln_exponential, pcg4d, sample};
use serde_json::Value;

/// Made by `data/quant/make.py`.
const GOLDEN: &str = include_str!("data/quant/sampler.json");

const DRAWS: u32 = 100_000;

/// A right sampler is taken for wrong once in a million tests, a wrong one shows far beyond.
const SIGMAS: f64 = 4.8;

#[test]
fn pcg4d_has_the_published_values() {
    for case in golden("pcg4d") {
        let words = |v: &Value| -> [u32; 4] {
            std::array::from_fn(|i| v[i].as_u64().expect("a word") as u32)
        };
        assert_eq!(pcg4d(words(&case[0])), words(&case[1]), "{case}");
    }
}

#[test]
fn variates_of_the_race_have_the_defined_values() {
    for case in golden("uniforms") {
        let seed = case[0].as_str().expect("a seed").parse().expect("64 bits");
        let word = |i: usize| case[i].as_u64().expect("a word") as u32;
        let found = ln_exponential(seed, word(1), word(2));
        let expected = case[3].as_f64().expect("a variate");
        assert!(
            (found - expected).abs() <= 1e-12 * expected.abs().max(1.0),
            "{case}: {found}"
        );
    }
}

#[test]
fn the_penalty_equals_transformers() {
    for case in golden("penalty") {
        let history: Vec<u32> = floats(&case["history"])
            .iter()
            .map(|&id| id as u32)
            .collect();
        let params = SamplerParams {
            repeat_penalty: float(&case["p"]),
            ..plain(0)
        };
        let found = filtered(&params, &floats(&case["logits"]), &history).expect("finite logits");
        for (id, (found, expected)) in found.iter().zip(floats(&case["after"])).enumerate() {
            let expected = f64::from(expected);
            assert!(
                (found - expected).abs() <= 1e-6 * expected.abs(),
                "id {id}: {found} for {expected}"
            );
        }
    }
}

#[test]
fn the_filters_keep_what_transformers_keeps() {
    for case in golden("filters") {
        let params = SamplerParams {
            temperature: float(&case["temperature"]),
            top_k: float(&case["top_k"]) as u32,
            top_p: float(&case["top_p"]),
            min_p: float(&case["min_p"]),
            ..plain(0)
        };
        let expected: Vec<usize> = floats(&case["kept"])
            .iter()
            .map(|&id| id as usize)
            .collect();
        assert_eq!(
            kept(&params, &floats(&case["logits"])),
            expected,
            "{params:?}"
        );
    }
}

#[test]
fn the_filters_equal_naive_sorted_ones_with_ties_and_masks() {
    let mut random = Random(11);
    for case in 0..3000 {
        let n = [1, 2, 3, 17, 64, 257][case % 6];
        // Coarse values, so that many are equal, and some masked ids.
        let mut logits: Vec<f32> = (0..n)
            .map(|_| (random.unit() * 24.0).floor() / 4.0 - 3.0)
            .collect();
        for l in logits.iter_mut().skip(1) {
            if random.unit() < 0.1 {
                *l = f32::NEG_INFINITY;
            }
        }
        let params = SamplerParams {
            temperature: random.of(&[0.3, 1.0, 2.0]),
            top_k: random.of(&[0.0, 1.0, 2.0, 7.0, 64.0, 1000.0]) as u32,
            top_p: random.of(&[0.0, 0.013, 0.37, 0.83, 0.991, 1.0]),
            min_p: random.of(&[0.0, 0.011, 0.13, 0.57, 1.0]),
            ..plain(0)
        };
        let exact = exact(&params, &logits);
        let expected: Vec<usize> = (0..n).filter(|&id| exact[id] > 0.0).collect();
        assert_eq!(kept(&params, &logits), expected, "{params:?} {logits:?}");
        let id = sample(&params, &logits, &[], case as u32).expect("finite logits");
        assert!(
            expected.contains(&(id as usize)),
            "{id} was not kept: {params:?} {logits:?}"
        );
    }
}

#[test]
fn draws_have_the_exact_probabilities() {
    let logits = spread_logits(40);
    let settings = [
        plain(1),
        SamplerParams {
            temperature: 0.6,
            ..plain(2)
        },
        SamplerParams {
            temperature: 1.8,
            ..plain(3)
        },
        SamplerParams {
            top_k: 7,
            ..plain(4)
        },
        SamplerParams {
            top_p: 0.85,
            ..plain(5)
        },
        SamplerParams {
            min_p: 0.08,
            ..plain(6)
        },
        SamplerParams {
            seed: 7,
            ..SamplerParams::default()
        },
    ];
    for params in settings {
        let expected = exact(&params, &logits);
        let by_position = counts(40, |i| sample(&params, &logits, &[], i));
        let by_seed = counts(40, |i| {
            let params = SamplerParams {
                seed: params.seed << 40 | u64::from(i),
                ..params
            };
            sample(&params, &logits, &[], 17)
        });
        for (counts, over) in [(by_position, "positions"), (by_seed, "seeds")] {
            let sigmas = deviation(&counts, &expected);
            assert!(
                sigmas < SIGMAS,
                "{sigmas:.1} sigmas over {over}: {params:?}"
            );
        }
    }
}

#[test]
fn a_wrong_sampler_is_caught() {
    let logits = spread_logits(40);
    let params = plain(1);
    let expected = exact(&params, &logits);
    let race = |score: &dyn Fn(f64, f64) -> f64| {
        let counts = counts(40, |position| {
            let time = |id: u32| {
                score(
                    ln_exponential(params.seed, position, id),
                    f64::from(logits[id as usize]),
                )
            };
            Ok((0..40)
                .min_by(|&a, &b| time(a).total_cmp(&time(b)))
                .expect("forty ids"))
        });
        deviation(&counts, &expected)
    };
    assert!(race(&|ln_e, l| ln_e - l) < SIGMAS, "the right race is not");
    let colder = race(&|ln_e, l| ln_e - 1.03 * l);
    assert!(colder > SIGMAS, "a temperature off by 3 %: {colder}");
    let uniform = race(&|ln_e, l| (-(-ln_e.exp()).exp_m1()).ln() - l);
    assert!(
        uniform > SIGMAS,
        "a uniform variate for the exponential one: {uniform}"
    );
    // The most likely id wins a little too often: in a fiftieth of the draws.
    let params = SamplerParams { seed: 2, ..params };
    let rigged = counts(40, |i| {
        if i % 50 == 0 {
            Ok(0)
        } else {
            sample(&params, &logits, &[], i)
        }
    });
    let rigged = deviation(&rigged, &expected);
    assert!(rigged > SIGMAS, "a draw in fifty is id 0: {rigged}");
}

#[test]
fn draws_are_independent_across_positions_seeds_and_ids() {
    const WAYS: usize = 8;
    let logits = [0.0; WAYS];
    let at = |seed: u64, position: u32| {
        let params = plain(seed);
        sample(&params, &logits, &[], position).expect("finite logits") as usize
    };
    // A right hash makes every pair of draws equally frequent.
    let pairs = |pair: &dyn Fn(u32) -> (usize, usize)| {
        let mut counts = vec![0u64; WAYS * WAYS];
        for i in 0..DRAWS {
            let (a, b) = pair(i);
            counts[a * WAYS + b] += 1;
        }
        deviation(&counts, &[1.0 / (WAYS * WAYS) as f64; WAYS * WAYS])
    };
    let cases = [
        (
            "neighbouring positions",
            pairs(&|i| (at(3, i), at(3, i + 1))),
        ),
        (
            "positions 256 apart",
            pairs(&|i| (at(3, i), at(3, i + 256))),
        ),
        ("neighbouring seeds", pairs(&|i| (at(3, i), at(4, i)))),
        (
            "seeds that differ above 32 bits",
            pairs(&|i| (at(3, i), at(3 | 1 << 32, i))),
        ),
        (
            "seed and position exchanged",
            pairs(&|i| (at(9, i), at(u64::from(i), 9))),
        ),
    ];
    for (name, sigmas) in cases {
        assert!(sigmas < SIGMAS, "{name}: {sigmas:.1} sigmas");
    }
    assert!(
        pairs(&|i| (at(3, i), at(3, i / 2 * 2))) > SIGMAS,
        "repeated draws are not caught"
    );

    for apart in [1, 2, 256, 65536] {
        let r = correlation(
            (0..DRAWS).map(|id| (ln_exponential(5, 40, id), ln_exponential(5, 40, id + apart))),
        );
        // 4.8 standard errors of the correlation of independent numbers.
        assert!(
            r.abs() < 4.8 / f64::from(DRAWS).sqrt(),
            "ids {apart} apart: {r}"
        );
    }
}

#[test]
fn a_draw_depends_on_logits_seed_and_position_alone() {
    let logits = spread_logits(300);
    let params = SamplerParams::default();
    let forwards: Vec<u32> = (0..64)
        .map(|i| sample(&params, &logits, &[], i).expect("finite"))
        .collect();
    let mut backwards: Vec<u32> = (0..64)
        .rev()
        .map(|i| sample(&params, &logits, &[9, 8, 7], i).expect("finite"))
        .collect();
    backwards.reverse();
    assert_eq!(forwards, backwards);
    let other = SamplerParams { seed: 1, ..params };
    let others: Vec<u32> = (0..64)
        .map(|i| sample(&other, &logits, &[], i).expect("finite"))
        .collect();
    assert_ne!(forwards, others);
    // Ids that do not stay have no say: what is cut off may as well not be there.
    let masked: Vec<f32> = filtered(&params, &logits, &[])
        .expect("finite")
        .iter()
        .zip(&logits)
        .map(|(&kept, &l)| {
            if kept > f64::NEG_INFINITY {
                l
            } else {
                f32::NEG_INFINITY
            }
        })
        .collect();
    let plain = SamplerParams {
        top_k: 0,
        top_p: 1.0,
        min_p: 0.0,
        ..params
    };
    let unfiltered: Vec<u32> = (0..64)
        .map(|i| sample(&plain, &masked, &[], i).expect("finite"))
        .collect();
    assert_eq!(forwards, unfiltered);
}

#[test]
fn greedy_takes_the_smallest_id_of_the_largest_logits() {
    let greedy = SamplerParams::greedy();
    let logits = [-1.0, 2.5, f32::NEG_INFINITY, 2.5, 2.25];
    for position in 0..100 {
        assert_eq!(sample(&greedy, &logits, &[], position), Ok(1));
    }
    let penalised = SamplerParams {
        repeat_penalty: 1.05,
        ..greedy
    };
    assert_eq!(sample(&penalised, &logits, &[1], 0), Ok(3));
    assert_eq!(sample(&penalised, &logits, &[1, 3, 3, 77], 0), Ok(1));
    assert_eq!(
        sample(
            &SamplerParams {
                repeat_penalty: 1.2,
                ..greedy
            },
            &logits,
            &[1, 3],
            0
        ),
        Ok(4)
    );
    assert_eq!(sample(&greedy, &[f32::NEG_INFINITY, -7.0], &[], 0), Ok(1));
}

#[test]
fn masked_ids_are_never_drawn() {
    let logits = [f32::NEG_INFINITY, 0.0, f32::NEG_INFINITY, -20.0];
    for params in [
        plain(1),
        SamplerParams::default(),
        SamplerParams {
            temperature: 1e30,
            ..plain(2)
        },
    ] {
        for position in 0..2000 {
            let id = sample(&params, &logits, &[0, 1], position).expect("two are finite");
            assert!(id == 1 || id == 3, "{params:?} drew {id}");
        }
    }
}

#[test]
fn extreme_logits_and_settings_still_give_an_id() {
    let logits = [f32::MAX, f32::MIN, 0.0, f32::MIN_POSITIVE];
    for temperature in [f32::MIN_POSITIVE, 1e-20, 1.0, f32::MAX] {
        for repeat_penalty in [f32::MIN_POSITIVE, 1.0, f32::MAX] {
            for (top_p, min_p) in [(0.0, 0.0), (1.0, 1.0), (0.5, 0.5)] {
                let params = SamplerParams {
                    temperature,
                    repeat_penalty,
                    top_p,
                    min_p,
                    ..plain(3)
                };
                let id = sample(&params, &logits, &[0, 1], 5).expect("finite logits");
                assert!((id as usize) < logits.len(), "{params:?}");
            }
        }
    }
}

#[test]
fn logits_without_a_distribution_are_refused() {
    let inf = f32::INFINITY;
    for params in [SamplerParams::greedy(), SamplerParams::default()] {
        let refused = |logits: &[f32]| sample(&params, logits, &[], 0).expect_err("refused");
        assert_eq!(refused(&[]), Error::Empty);
        assert_eq!(
            refused(&[0.0, 1.0, f32::NAN, inf]),
            Error::NonFinite { index: 2 }
        );
        assert_eq!(refused(&[0.0, inf, 1.0]), Error::NonFinite { index: 1 });
        assert_eq!(refused(&[-inf, -inf]), Error::NonFinite { index: 0 });
    }
}

#[test]
fn settings_out_of_range_are_refused_by_name() {
    let base = SamplerParams::default();
    assert_eq!(base.validate(), Ok(()));
    assert_eq!(SamplerParams::greedy().validate(), Ok(()));
    let with = |name: &str, value: f32| {
        let mut params = base;
        match name {
            "temperature" => params.temperature = value,
            "top_p" => params.top_p = value,
            "min_p" => params.min_p = value,
            _ => params.repeat_penalty = value,
        }
        params
    };
    for (name, good, bad) in [
        ("temperature", &[0.0, 0.1, 100.0][..], &[-0.1][..]),
        ("top_p", &[0.0, 0.5, 1.0], &[-0.1, 1.01]),
        ("min_p", &[0.0, 0.5, 1.0], &[-0.1, 1.01]),
        ("repeat_penalty", &[0.5, 1.0, 2.0], &[0.0, -1.0]),
    ] {
        for &value in good {
            assert_eq!(with(name, value).validate(), Ok(()), "{name} {value}");
        }
        for &value in bad.iter().chain(&[f32::NAN, f32::INFINITY]) {
            let params = with(name, value);
            let error = params.validate().expect_err("out of range");
            assert!(
                matches!(error, Error::Setting { name: found, .. } if found == name),
                "{error}"
            );
            assert!(error.to_string().contains(name), "{error}");
            assert!(matches!(
                sample(&params, &[0.0], &[], 0),
                Err(Error::Setting { .. })
            ));
        }
    }
}

/// Temperature 1 and no filter.
fn plain(seed: u64) -> SamplerParams {
    SamplerParams {
        temperature: 1.0,
        seed,
        ..SamplerParams::greedy()
    }
}

/// The ids that stay.
fn kept(params: &SamplerParams, logits: &[f32]) -> Vec<usize> {
    let l = filtered(params, logits, &[]).expect("finite logits");
    (0..l.len())
        .filter(|&id| l[id] > f64::NEG_INFINITY)
        .collect()
}

/// Probabilities by sorting, in the words of the definition; no penalty.
fn exact(params: &SamplerParams, logits: &[f32]) -> Vec<f64> {
    let weights: Vec<f64> = logits
        .iter()
        .map(|&l| (f64::from(l) / f64::from(params.temperature)).exp())
        .collect();
    let mut sorted = weights.clone();
    sorted.sort_by(|a, b| b.total_cmp(a));
    let max = sorted[0];
    if params.top_k > 0 {
        // Ties with the last one stay.
        let k = sorted.len().min(params.top_k as usize);
        let last = sorted[k - 1];
        sorted.retain(|&w| w >= last);
    }
    if params.top_p < 1.0 {
        let total: f64 = sorted.iter().sum();
        let n = (1..sorted.len())
            .find(|&n| sorted[..n].iter().sum::<f64>() >= f64::from(params.top_p) * total)
            .unwrap_or(sorted.len());
        let last = sorted[n - 1];
        sorted.retain(|&w| w >= last);
    }
    sorted.retain(|&w| w >= f64::from(params.min_p) * max * (1.0 - 1e-12));
    let (least, total) = (sorted[sorted.len() - 1], sorted.iter().sum::<f64>());
    weights
        .iter()
        .map(|&w| if w >= least { w / total } else { 0.0 })
        .collect()
}

/// Falling from likely to one in thousands, out of order.
fn spread_logits(n: usize) -> Vec<f32> {
    (0..n)
        .map(|id| 3.0 - 0.17 * ((id * 7) % n) as f32)
        .collect()
}

fn counts(n: usize, draw: impl Fn(u32) -> Result<u32, Error>) -> Vec<u64> {
    let mut counts = vec![0; n];
    for i in 0..DRAWS {
        counts[draw(i).expect("finite logits") as usize] += 1;
    }
    counts
}

/// How far chi-square is from what it should be, in standard deviations of a normal (Wilson and Hilferty's cube
/// root); infinite where something impossible was drawn.
fn deviation(counts: &[u64], probabilities: &[f64]) -> f64 {
    let total = counts.iter().sum::<u64>() as f64;
    let (mut chi2, mut cells) = (0.0, 0);
    // Rare ids are counted together.
    let (mut rare, mut rare_expected) = (0.0, 0.0);
    for (&count, &p) in counts.iter().zip(probabilities) {
        let (count, expected) = (count as f64, p * total);
        if p == 0.0 && count > 0.0 {
            return f64::INFINITY;
        } else if expected >= 5.0 {
            chi2 += (count - expected).powi(2) / expected;
            cells += 1;
        } else {
            rare += count;
            rare_expected += expected;
        }
    }
    if rare_expected >= 5.0 {
        chi2 += (rare - rare_expected).powi(2) / rare_expected;
        cells += 1;
    }
    let dof = f64::from(cells - 1);
    let spread = 2.0 / (9.0 * dof);
    ((chi2 / dof).cbrt() - (1.0 - spread)) / spread.sqrt()
}

fn correlation(pairs: impl Iterator<Item = (f64, f64)>) -> f64 {
    let (mut n, mut a, mut b, mut aa, mut bb, mut ab) = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0);
    for (x, y) in pairs {
        n += 1.0;
        a += x;
        b += y;
        aa += x * x;
        bb += y * y;
        ab += x * y;
    }
    (ab - a * b / n) / ((aa - a * a / n) * (bb - b * b / n)).sqrt()
}

fn golden(name: &str) -> Vec<Value> {
    let golden: Value = serde_json::from_str(GOLDEN).expect("sampler.json parses");
    let cases = golden[name].as_array().expect("a list of cases").clone();
    assert!(!cases.is_empty(), "no cases of {name}");
    cases
}

fn float(value: &Value) -> f32 {
    value.as_f64().expect("a number") as f32
}

fn floats(values: &Value) -> Vec<f32> {
    values
        .as_array()
        .expect("a list of numbers")
        .iter()
        .map(float)
        .collect()
}

/// SplitMix64.
struct Random(u64);

impl Random {
    /// In [0, 1).
    fn unit(&mut self) -> f32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ z >> 31) >> 40) as f32 / (1u32 << 24) as f32
    }

    fn of(&mut self, values: &[f32]) -> f32 {
        values[(self.unit() * values.len() as f32) as usize]
    }
}
