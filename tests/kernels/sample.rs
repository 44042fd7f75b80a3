use crate::common::random;
use crate::gpu::{Arg, DIRT, Gpu, Program, gpu};
use crate::{PAD, expect_caught, row, words};
use deputy::kernels::sample::{NOT_FINITE, Params, Sampler};
use deputy::kernels::{Call, Row};
use deputy::reference;
use deputy::reference::sampler_params;
use deputy::sampler::{SamplerParams, filtered, ln_exponential};

const GREEDY: Sampler = Sampler {
    temperature: 0.0,
    top_k: 0,
    top_p: 1.0,
    min_p: 0.0,
    repeat_penalty: 1.0,
    seed_low: 7,
    seed_high: 0x9e37_79b9,
    pad0: 0,
};

const PLAIN: Sampler = Sampler {
    temperature: 1.0,
    ..GREEDY
};

/// Every list that the kernel reads, and the two that it writes before it does.
#[derive(Clone)]
struct Step {
    p: Params,
    rows: Vec<Row>,
    out_rows: Vec<u32>,
    samplers: Vec<Sampler>,
    logits: Vec<f32>,
    tokens: Vec<u32>,
}

#[test]
fn greedy_sampling_takes_the_first_of_the_largest() {
    let Some(gpu) = gpu() else { return };
    for vocab_size in [1, 2, 63, 64, 255, 256, 257, 1009, 32_000] {
        for repeat_penalty in [1.0, 1.3, 0.7] {
            for wg in [64, 128, 256] {
                let sampler = Sampler {
                    repeat_penalty,
                    ..GREEDY
                };
                let mut step = many_rows(vocab_size, 7, sampler);
                // Steps of 1/2, so that the largest is there many times.
                step.logits
                    .iter_mut()
                    .for_each(|l| *l = (*l * 2.0).round() / 2.0);
                let n = same(gpu, |p| p.with(&[("WG", wg)]), &step)
                    .unwrap_or_else(|e| panic!("WG={wg} vocab {vocab_size} {sampler:?}: {e}"));
                assert_eq!(n, 0, "greedy sampling has no near ties here");
            }
        }
    }
}

#[test]
fn sampling_draws_the_tokens_of_the_reference() {
    let Some(gpu) = gpu() else { return };
    let (mut n_draws, mut n_near) = (0, 0);
    for vocab_size in [5, 257, 3000] {
        for top_k in [0, 1, 5, 40, 300] {
            for top_p in [1.0, 0.95, 0.5, 0.1, 0.0] {
                for min_p in [0.0, 0.05, 0.5, 1.0] {
                    for (temperature, repeat_penalty) in [(1.0, 1.0), (0.3, 1.2), (1.7, 0.8)] {
                        let sampler = Sampler {
                            temperature,
                            top_k,
                            top_p,
                            min_p,
                            repeat_penalty,
                            ..PLAIN
                        };
                        let step = many_rows(vocab_size, 8, sampler);
                        n_near += same(gpu, Program::clone, &step)
                            .unwrap_or_else(|e| panic!("vocab {vocab_size} {sampler:?}: {e}"));
                        n_draws += step.out_rows.len();
                    }
                }
            }
        }
    }
    println!("{n_near} of {n_draws} draws were near ties");
    assert!(
        n_near * 1000 <= n_draws,
        "{n_near} of {n_draws} draws were near ties"
    );
}

#[test]
fn sampling_keeps_ties_at_the_threshold() {
    let Some(gpu) = gpu() else { return };
    for (top_k, top_p) in [(3, 1.0), (40, 1.0), (0, 0.3), (60, 0.7)] {
        for wg in [64, 128, 256] {
            let sampler = Sampler {
                top_k,
                top_p,
                ..PLAIN
            };
            let mut step = many_rows(257, 64, sampler);
            step.logits.iter_mut().for_each(|l| *l = l.round());
            let n = same(gpu, |p| p.with(&[("WG", wg)]), &step)
                .unwrap_or_else(|e| panic!("WG={wg} {sampler:?}: {e}"));
            assert_eq!(n, 0, "no near ties here");
        }
    }
}

#[test]
fn zero_and_negative_zero_are_a_tie() {
    let Some(gpu) = gpu() else { return };
    let mut step = many_rows(64, 256, Sampler { top_k: 5, ..PLAIN });
    for (i, logit) in step.logits.iter_mut().enumerate() {
        *logit = [1.0, 0.0, -0.0, -0.0][i % 64 / 16];
        if i % 16 > 2 {
            *logit = -logit.abs();
        }
    }
    let n = same(gpu, Program::clone, &step).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(n, 0, "no near ties here");
}

#[test]
fn masked_tokens_are_never_drawn() {
    let Some(gpu) = gpu() else { return };
    for sampler in [
        GREEDY,
        PLAIN,
        Sampler {
            top_k: 9,
            top_p: 0.9,
            min_p: 0.01,
            ..PLAIN
        },
    ] {
        let mut step = many_rows(100, 64, sampler);
        for (i, logit) in step.logits.iter_mut().enumerate() {
            if i % 100 % 10 != 3 {
                *logit = f32::NEG_INFINITY;
            }
        }
        same(gpu, Program::clone, &step).unwrap_or_else(|e| panic!("{sampler:?}: {e}"));
        let (sampled, _) = run(gpu, Program::clone, &step).expect("keeps to its output");
        assert!(
            sampled.iter().all(|token| token % 10 == 3),
            "{sampler:?}: {sampled:?}"
        );
    }
}

#[test]
fn sampling_matches_the_reference_for_a_large_vocabulary() {
    let Some(gpu) = gpu() else { return };
    for sampler in [
        GREEDY,
        PLAIN,
        Sampler {
            temperature: 0.7,
            top_k: 20,
            top_p: 0.8,
            repeat_penalty: 1.05,
            ..PLAIN
        },
        Sampler {
            top_p: 0.95,
            min_p: 0.05,
            ..PLAIN
        },
    ] {
        let step = many_rows(151_936, 3, sampler);
        same(gpu, Program::clone, &step).unwrap_or_else(|e| panic!("{sampler:?}: {e}"));
    }
}

#[test]
fn draws_are_distributed_as_the_softmax_says() {
    let Some(gpu) = gpu() else { return };
    for sampler in [
        Sampler {
            temperature: 0.9,
            ..PLAIN
        },
        Sampler {
            top_k: 10,
            top_p: 0.8,
            ..PLAIN
        },
        Sampler {
            seed_low: 1,
            min_p: 0.2,
            ..PLAIN
        },
    ] {
        let chi =
            chi_square(gpu, Program::clone, sampler).unwrap_or_else(|e| panic!("{sampler:?}: {e}"));
        // Five standard deviations of a normal variate; the draws are the same in every run.
        assert!(chi.abs() < 5.0, "{sampler:?}: {chi} standard deviations");
    }
    // The square is seen to grow: a race whose noise is a tenth too small.
    let colder = |p: &Program| p.broken("s - log(exponential", "s - 0.9 * log(exponential");
    let chi = chi_square(gpu, colder, PLAIN).expect("draws what stays");
    assert!(chi > 5.0, "not caught: {chi}");
}

#[test]
fn rows_of_a_step_have_their_own_sampler_history_and_next_token() {
    let Some(gpu) = gpu() else { return };
    for write_next in [0, 1] {
        let step = mixed(write_next);
        same(gpu, Program::clone, &step).unwrap_or_else(|e| panic!("write_next {write_next}: {e}"));
        let (sampled, tokens) = run(gpu, Program::clone, &step).expect("keeps to its output");
        assert_eq!(sampled[2], DIRT, "a padding row draws nothing");
        let n_written = tokens
            .iter()
            .zip(&step.tokens)
            .filter(|(a, b)| a != b)
            .count();
        // Of the four other rows one is the last of its context.
        assert_eq!(n_written as u32, 3 * write_next, "next tokens");
    }
}

#[test]
fn logits_without_a_distribution_are_reported() {
    let Some(gpu) = gpu() else { return };
    for sampler in [
        GREEDY,
        Sampler {
            top_k: 5,
            top_p: 0.9,
            ..PLAIN
        },
    ] {
        for (at, bad) in [
            (0, f32::NAN),
            (255, f32::INFINITY),
            (256, -f32::NAN),
            (130, f32::NAN),
        ] {
            let mut step = mixed(1);
            step.samplers.fill(sampler);
            step.logits[257 + at] = bad;
            step.logits[4 * 257..].fill(f32::NEG_INFINITY);
            same(gpu, Program::clone, &step).unwrap_or_else(|e| panic!("{bad} at {at}: {e}"));
            let (sampled, _) = run(gpu, Program::clone, &step).expect("keeps to its output");
            assert_eq!([sampled[1], sampled[4]], [NOT_FINITE; 2], "{bad} at {at}");
            assert!(sampled[0] < 257 && sampled[3] < 257, "other rows are drawn");
        }
    }
}

#[test]
fn a_wrong_sample_is_caught() {
    let Some(gpu) = gpu() else { return };
    let filters = Sampler {
        temperature: 0.8,
        top_k: 60,
        top_p: 0.8,
        min_p: 0.03,
        repeat_penalty: 1.5,
        ..PLAIN
    };
    let min_p = Sampler {
        min_p: 0.1,
        ..PLAIN
    };
    // So many likely tokens that the winner's noise is small.
    let flat = Sampler {
        temperature: 8.0,
        ..PLAIN
    };
    let steps = [
        many_rows(700, 512, filters),
        mixed(1),
        many_rows(700, 512, min_p),
        many_rows(3000, 128, flat),
    ];
    let many = 0;
    let mixed = 1;
    let least = 2;
    let flat = 3;
    for (step, from, to) in [
        // Workgroup memory is not zeroed.
        (many, "atomicStore(&n_bad, 0u);", ""),
        (many, "atomicStore(&histogram[bin], 0u);", ""),
        (many, "logit < 0.0", "logit > 0.0"),
        (mixed, "at <= row.position", "at < row.position"),
        (mixed, "at <= row.position", "at <= row.position + 2u"),
        (many, "scores[first + token] /= sampler.temperature;", ""),
        (many, "first, sampler.top_k)", "first, sampler.top_k + 1u)"),
        (
            many,
            "threshold, most, sampler.top_p)",
            "threshold, most, 0.81)",
        ),
        (
            many,
            "threshold, most, sampler.top_p)",
            "0u, most, sampler.top_p)",
        ),
        (
            least,
            "most + log(sampler.min_p)",
            "most + log(1.2 * sampler.min_p)",
        ),
        (
            many,
            "wanted -= found.y;\n    }\n    return prefix;\n}\n\n// The largest",
            "}\n    return prefix;\n}\n\n// The largest",
        ),
        (many, "sampler.seed_high)", "sampler.seed_low)"),
        (many, "vec4(seed, position, at)", "vec4(seed, 0u, at)"),
        (flat, "return v * (1.0 + 0.5 * v);", "return 2.0 * v;"),
        (
            many,
            "select(bits | 0x80000000u, ~bits,",
            "select(bits | 0x80000000u, bits,",
        ),
        (mixed, "samplers[row.sequence]", "samplers[0]"),
        (mixed, "row.sequence * params.n_ctx", "0u"),
        (mixed, "rows[out_rows[wg.x]]", "rows[wg.x]"),
        (mixed, "row.position + 1u < params.n_ctx", "true"),
        (mixed, "lid == 0u && !padding", "lid == 0u"),
        (
            mixed,
            "tokens[sequence + row.position + 1u] = token",
            "tokens[sequence + row.position] = token",
        ),
        (
            mixed,
            "best_token[lid + stride] < best_token[lid]",
            "best_token[lid + stride] > best_token[lid]",
        ),
    ] {
        let step = &steps[step];
        same(gpu, Program::clone, step).expect("unbroken");
        let broken = same(gpu, |p| p.broken(from, to), step).map(|_| ());
        expect_caught("sample", &format!("{from} -> {to}"), broken);
    }
}

/// One sequence, every row a position of it, the same sampler for all. Logits in ±6.
fn many_rows(vocab_size: u32, n_rows: u32, sampler: Sampler) -> Step {
    let n = (n_rows * vocab_size) as usize;
    Step {
        p: Params {
            n_out: n_rows,
            vocab_size,
            n_ctx: n_rows,
            write_next: 0,
        },
        rows: (0..n_rows).map(|position| row(0, position)).collect(),
        out_rows: (0..n_rows).collect(),
        samplers: vec![sampler],
        logits: random(11, n).iter().map(|x| 6.0 * x).collect(),
        // Some of them again and again.
        tokens: (0..n_rows).map(|i| i * i % 23 % vocab_size).collect(),
    }
}

/// Rows of several sequences in another order than their logits, one of them padding, one at the context's end;
/// ties for the greedy one.
fn mixed(write_next: u32) -> Step {
    let vocab_size = 257;
    let samplers = vec![
        Sampler {
            repeat_penalty: 1.4,
            ..GREEDY
        },
        Sampler {
            seed_low: 99,
            top_k: 50,
            ..PLAIN
        },
        Sampler {
            temperature: 0.6,
            top_p: 0.9,
            repeat_penalty: 1.1,
            ..PLAIN
        },
        GREEDY,
    ];
    let mut logits: Vec<f32> = random(13, 5 * vocab_size as usize)
        .iter()
        .map(|x| 6.0 * x)
        .collect();
    let tokens: Vec<u32> = (0..4 * 12).map(|i| (i * 37 + 5) % vocab_size).collect();
    // Row 1 has the greedy sampler with a penalty: its own token would be the largest without, a later one is.
    logits[257 + tokens[5] as usize] = 7.0;
    logits[257 + tokens[7] as usize] = 6.5;
    // Row 4, of the last sequence: two largest, which different invocations find.
    logits[4 * 257 + 30] = 7.0;
    logits[4 * 257 + 201] = 7.0;
    Step {
        p: Params {
            n_out: 5,
            vocab_size,
            n_ctx: 12,
            write_next,
        },
        rows: vec![row(2, 11), row(0, 4), row(0, 5), PAD, row(1, 0), row(3, 6)],
        out_rows: vec![4, 2, 3, 0, 5],
        samplers,
        logits,
        tokens,
    }
}

fn run(
    gpu: &Gpu,
    change: impl Fn(&Program) -> Program,
    step: &Step,
) -> Result<(Vec<u32>, Vec<u32>), String> {
    let call = Call::Sample(step.p);
    let program = change(&gpu.programs(&call)[0]);
    let scores = vec![DIRT; step.logits.len()];
    let sampled = vec![DIRT; step.out_rows.len()];
    let args = [
        Arg::In(1, bytemuck::cast_slice(&step.rows)),
        Arg::In(2, &step.out_rows),
        Arg::In(3, bytemuck::cast_slice(&step.samplers)),
        Arg::In(4, words(&step.logits)),
        Arg::Out(5, &step.tokens),
        Arg::Out(6, &scores),
        Arg::Out(7, &sampled),
    ];
    let mut out = gpu.run(&program, &call, &args)?;
    Ok((out.remove(2), out.remove(0)))
}

/// Compares with the twin and returns how many draws differ for a [`near`] tie.
fn same(gpu: &Gpu, change: impl Fn(&Program) -> Program, step: &Step) -> Result<usize, String> {
    let (sampled, tokens) = run(gpu, change, step)?;
    let (mut want_tokens, mut want) = (step.tokens.clone(), vec![DIRT; sampled.len()]);
    let Step {
        p,
        rows,
        out_rows,
        samplers,
        logits,
        ..
    } = step;
    reference::sample(
        p,
        rows,
        out_rows,
        samplers,
        logits,
        &mut want_tokens,
        &mut want,
    );
    let mut n_near = 0;
    for (i, (&got, &want)) in sampled.iter().zip(&want).enumerate() {
        if got != want {
            if !near(step, i, got, want) {
                return Err(format!("row {i} drew {got}, expected {want}"));
            }
            let Row { sequence, position } = rows[out_rows[i] as usize];
            if p.write_next != 0 && position + 1 < p.n_ctx {
                want_tokens[(sequence * p.n_ctx + position) as usize + 1] = got;
            }
            n_near += 1;
        }
    }
    if tokens != want_tokens {
        return Err(format!("tokens are {tokens:?}, expected {want_tokens:?}"));
    }
    Ok(n_near)
}

/// Whether f32 may draw another token than f64: within the rounding of top-p's sum (2^-23 of it) or of min-p's
/// logarithm, the token stays and loses the race by no more than the roundings of a score of 20 and of its noise:
/// `1 - v` is off by up to 2^-25, which is 2^-15 of `e` at `v = 2^-10`.
fn near(step: &Step, i: usize, got: u32, want: u32) -> bool {
    let vocab_size = step.p.vocab_size as usize;
    if got as usize >= vocab_size || want as usize >= vocab_size {
        return false;
    }
    let Row { sequence, position } = step.rows[step.out_rows[i] as usize];
    let params = sampler_params(&step.samplers[sequence as usize]);
    let logits = &step.logits[i * vocab_size..][..vocab_size];
    let history = &step.tokens[(sequence * step.p.n_ctx) as usize..][..=position as usize];
    let deltas = [-1.0, 0.0, 1.0];
    deltas.iter().any(|dp| {
        deltas.iter().any(|dm| {
            let params = SamplerParams {
                top_p: if params.top_p < 1.0 {
                    (params.top_p + dp * 1e-6).clamp(0.0, 1.0)
                } else {
                    1.0
                },
                min_p: (params.min_p * (1.0 + dm * 1e-5)).min(1.0),
                ..params
            };
            let kept = filtered(&params, logits, history).expect("the twin drew");
            let race = |id: u32| kept[id as usize] - ln_exponential(params.seed, position, id);
            let best = (0..vocab_size as u32)
                .map(race)
                .fold(f64::NEG_INFINITY, f64::max);
            best - race(got) < 5e-5
        })
    })
}

/// How many standard deviations the chi-square of 32,768 draws is above its mean.
///
/// # Errors
/// Where a token was drawn that does not stay.
fn chi_square(
    gpu: &Gpu,
    change: impl Fn(&Program) -> Program,
    sampler: Sampler,
) -> Result<f64, String> {
    let (n_draws, vocab_size) = (32_768, 40);
    let mut step = many_rows(vocab_size, n_draws, sampler);
    // The same logits in every row, none of them rare: at least 50 of each are expected.
    let logits: Vec<f32> = random(17, vocab_size as usize)
        .iter()
        .map(|x| 1.5 * x)
        .collect();
    step.logits = logits.repeat(n_draws as usize);
    let (sampled, _) = run(gpu, change, &step)?;
    let mut counts = vec![0u32; vocab_size as usize];
    for token in sampled {
        counts[token as usize] += 1;
    }
    let kept = filtered(&sampler_params(&sampler), &logits, &[]).expect("finite logits");
    let total: f64 = kept.iter().map(|l| l.exp()).sum();
    let (mut chi, mut freedom) = (0.0, -1.0);
    for (token, (&count, l)) in counts.iter().zip(&kept).enumerate() {
        let expected = f64::from(n_draws) * l.exp() / total;
        if expected == 0.0 {
            if count > 0 {
                return Err(format!(
                    "token {token} was drawn {count} times and does not stay"
                ));
            }
            continue;
        }
        assert!(expected > 50.0, "token {token} is too rare for the test");
        chi += (f64::from(count) - expected).powi(2) / expected;
        freedom += 1.0;
    }
    // Wilson and Hilferty 1931: the cube root of chi-square over its freedom is nearly normal.
    let v = 2.0 / (9.0 * freedom);
    Ok(((chi / freedom).cbrt() - (1.0 - v)) / v.sqrt())
}
