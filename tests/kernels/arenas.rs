//! Attention over the dense rows of routed layers, and what arenas share.

use crate::attention::{cached, many, mixed, params};
use crate::common::{compare, random, random_words};
use crate::gpu::{Arg, DIRT, Gpu, Program, gpu};
use crate::{SUMS, check, dirt, expect_caught, words};
use deputy::kernels::attention::{Form, Params, record_len};
use deputy::kernels::paths::{IS_LATENT, Paths};
use deputy::kernels::{CacheType, Call, Row, Slots};
use deputy::reference::{self, merge};

#[test]
fn attention_over_dense_rows_matches_the_reference() {
    let Some(gpu) = gpu() else { return };
    for share in [0, 30, 70, 100] {
        for n_splits in [1, 2, 7] {
            for n_apart in [0, 1] {
                let p = Params {
                    n_splits,
                    n_apart,
                    ..params(6, 2, 64, 300)
                };
                for rows in [mixed(300), many(300)] {
                    each(gpu, CacheType::F16, &p, &rows, share);
                }
            }
        }
    }
}

#[test]
fn attention_over_dense_rows_matches_the_reference_in_a_window_and_for_every_cache() {
    let Some(gpu) = gpu() else { return };
    for cache in CacheType::ALL {
        for (window, head_dim) in [(1, 96), (33, 32), (129, 96), (u32::MAX, 256)] {
            let p = Params {
                window,
                n_apart: 1,
                ..params(4, 2, head_dim, 200)
            };
            for rows in [mixed(200), many(200)] {
                each(gpu, cache, &p, &rows, 50);
            }
        }
    }
}

#[test]
fn attention_where_all_rows_are_dense_has_the_same_bits() {
    let Some(gpu) = gpu() else { return };
    for (n_splits, rows) in [(1, mixed(300)), (4, mixed(300)), (1, many(300))] {
        let p = Params {
            n_splits,
            n_positions: 300,
            rows: rows.len() as u32,
            ..params(6, 2, 64, 300)
        };
        let cache = CacheType::F16;
        let [plain, routed] = [Slots::Positions, Slots::Paths].map(|slots| {
            let call = Call::Attention(Form { cache, slots }, p);
            let run = |program: &Program| {
                let inputs = Inputs::new(cache, &p, &rows, 0);
                inputs.run(gpu, program, &call).expect("it runs")
            };
            gpu.programs(&call).iter().map(run).collect::<Vec<_>>()
        });
        assert!(plain == routed, "{n_splits} splits, {} rows", rows.len());
    }
}

#[test]
fn a_wrong_attention_over_dense_rows_is_caught() {
    let Some(gpu) = gpu() else { return };
    let p = Params {
        window: 100,
        n_splits: 2,
        n_apart: 1,
        ..params(6, 2, 64, 400)
    };
    let tile = Params { n_splits: 1, ..p };
    let alone = Params { window: 1, ..tile };
    let (few, many) = (mixed(400), many(400));
    for (p, rows, kernel, from, to) in [
        (&p, &few, None, "sequence * params.n_positions", "sequence"),
        (&p, &few, None, "& N_DENSE", "& 0x7fu"),
        (&p, &few, None, "return vec2(0u);", "return vec2(0u, 1u);"),
        (&p, &few, None, "row.position >= params.window", "false"),
        (
            &p,
            &few,
            None,
            "n_dense(row.sequence, row.position - params.window)",
            "row.position - params.window",
        ),
        (
            &p,
            &few,
            None,
            "(params.n_splits + params.n_apart)",
            "params.n_splits",
        ),
        (
            &p,
            &few,
            None,
            "select(vec4(most, sum, f32(n_live), 0.0), vec4(0.0), n_live == 0u)",
            "vec4(most, sum, 1.0, 0.0)",
        ),
        (
            &alone,
            &many,
            Some("attention_tile"),
            "keys.x == keys.y",
            "false",
        ),
        (
            &tile,
            &many,
            Some("attention_tile"),
            "| has_keys",
            "| vec4(true)",
        ),
        (
            &tile,
            &many,
            Some("attention_tile"),
            "state(most[column]",
            "state(most[0]",
        ),
        (
            &tile,
            &many,
            Some("attention_tile"),
            "select(0u, 1u, has_keys[column])",
            "1u",
        ),
    ] {
        let p = Params {
            rows: rows.len() as u32,
            n_positions: p.n_ctx,
            ..*p
        };
        let mut programs = gpu.programs(&call(CacheType::F16, &p));
        programs.retain(|program| kernel.is_none_or(|kernel| kernel == program.shader.kernel));
        programs.truncate(1); // The mistakes are in texts that the kernels share, or in one of them.
        let program = &programs[0];
        let broken = case(gpu, &program.broken(from, to), CacheType::F16, &p, rows, 60);
        expect_caught(&program.to_string(), &format!("{from} -> {to}"), broken);
    }
}

fn call(cache: CacheType, p: &Params) -> Call {
    let slots = Slots::Paths;
    Call::Attention(Form { cache, slots }, *p)
}

/// `share` of a hundred tokens took the low branch.
fn each(gpu: &Gpu, cache: CacheType, p: &Params, rows: &[Row], share: u32) {
    let p = &Params {
        rows: rows.len() as u32,
        n_positions: p.n_ctx,
        ..*p
    };
    for program in gpu.programs(&call(cache, p)) {
        case(gpu, &program, cache, p, rows, share)
            .unwrap_or_else(|e| panic!("{program} {p:?} {share} %: {e}"));
    }
}

fn case(
    gpu: &Gpu,
    program: &Program,
    cache: CacheType,
    p: &Params,
    rows: &[Row],
    share: u32,
) -> Result<(), String> {
    let inputs = Inputs::new(cache, p, rows, share);
    let p = &inputs.p;
    let got = inputs.run(gpu, program, &call(cache, p))?;
    let slots = Slots::Paths;
    let want = inputs.twin(Form { cache, slots });
    check(&got, &want, SUMS)?;
    if p.n_splits + p.n_apart == 1 {
        return Ok(());
    }
    // Dirt must not be read where there are no keys; that of the other arena is as good as zeros here.
    let merged = |records: &[f32]| {
        let mut y = vec![0.0; rows.len() * (p.n_heads * p.head_dim) as usize];
        let records = without_apart(p, records);
        let n_records = [p.n_splits as usize, 0];
        merge(rows.len(), n_records, p.n_heads as usize, &records, &mut y);
        y
    };
    let whole = Inputs {
        p: Params {
            n_splits: 1,
            n_apart: 0,
            ..*p
        },
        ..inputs
    };
    let got: Vec<f32> = got.iter().map(|&bits| f32::from_bits(bits)).collect();
    compare(&merged(&got), &whole.twin(Form { cache, slots }), SUMS)
}

/// The records of the splits alone.
fn without_apart(p: &Params, records: &[f32]) -> Vec<f32> {
    let n_split = (p.n_heads * record_len(p.head_dim)) as usize;
    let rows = records.chunks_exact(n_split * (p.n_splits + p.n_apart) as usize);
    rows.flat_map(|row| row[..n_split * p.n_splits as usize].to_vec())
        .collect()
}

/// What an attention over a dense arena reads.
struct Inputs {
    p: Params,
    rows: Vec<Row>,
    q: Vec<f32>,
    k: Vec<u32>,
    v: Vec<u32>,
    paths: Vec<u32>,
}

impl Inputs {
    /// The arena is as small as it can be, unless all is dense.
    fn new(cache: CacheType, p: &Params, rows: &[Row], share: u32) -> Self {
        let n = p.n_ctx;
        let paths = random_paths(3, n, share);
        let most = (0..3).map(|s| view(&paths, n).n_dense(s, n)).max();
        let p = Params {
            n_ctx: most.expect("three sequences").max(1),
            ..*p
        };
        let whole = Params { n_ctx: n, ..p };
        let arena = |seed| {
            let all = cached(cache, &whole, rows, seed);
            arena(&all, view(&paths, n), false, p.n_kv_heads, p.n_ctx)
        };
        Self {
            rows: rows.to_vec(),
            q: queries(&p, rows.len()),
            k: arena(2),
            v: arena(3),
            p,
            paths,
        }
    }

    fn run(&self, gpu: &Gpu, program: &Program, call: &Call) -> Result<Vec<u32>, String> {
        let call = &match *call {
            Call::Attention(form, _) => Call::Attention(form, self.p),
            _ => unreachable!("an attention"),
        };
        let y = vec![DIRT; n_out(&self.p)];
        let mut args = vec![
            Arg::In(1, bytemuck::cast_slice(&self.rows)),
            Arg::In(2, words(&self.q)),
            Arg::In(3, &self.k),
            Arg::In(4, &self.v),
        ];
        if matches!(call, Call::Attention(form, _) if form.slots == Slots::Paths) {
            args.push(Arg::In(6, &self.paths));
        }
        args.push(Arg::Out(7, &y));
        let got = gpu.run(program, call, &args)?;
        Ok(got.into_iter().next().expect("one output"))
    }

    fn twin(&self, form: Form) -> Vec<f32> {
        let Self { p, rows, q, .. } = self;
        let (_, mut want) = dirt(n_out(p));
        reference::attention(form, p, rows, q, &self.k, &self.v, &self.paths, &mut want);
        want
    }
}

/// Queries whose scores are a few units, so that the softmax is neither flat nor one key alone.
pub(crate) fn queries(p: &Params, n_rows: usize) -> Vec<f32> {
    let q = random(1, n_rows * (p.n_heads * p.head_dim) as usize);
    q.iter().map(|x| 3.0 * x).collect()
}

fn n_out(p: &Params) -> usize {
    let len = match p.n_splits + p.n_apart {
        1 => p.head_dim,
        n_records => n_records * record_len(p.head_dim),
    };
    (p.rows * p.n_heads * len) as usize
}

pub(crate) fn view(words: &[u32], n_positions: u32) -> Paths<'_> {
    Paths { words, n_positions }
}

/// Paths of some sequences, of which `share` in a hundred tokens took the low branch; the bits of others are set at
/// random.
pub(crate) fn random_paths(n_sequences: u32, n_positions: u32, share: u32) -> Vec<u32> {
    let n = (n_sequences * n_positions) as usize;
    let mut n_dense = 0;
    random_words(7, n)
        .enumerate()
        .map(|(i, word)| {
            let is_latent = (word >> 32) as u32 % 100 < share;
            if (i as u32).is_multiple_of(n_positions) {
                n_dense = 0;
            }
            n_dense += u32::from(!is_latent);
            let others = (word >> 20) as u32 & (3 << 25);
            n_dense | others | if is_latent { IS_LATENT } else { 0 }
        })
        .collect()
}

/// The rows of a kind, out of a cache that has each at its position, in an arena of `capacity` rows a sequence.
pub(crate) fn arena(
    all: &[u32],
    paths: Paths<'_>,
    latent: bool,
    n_heads: u32,
    capacity: u32,
) -> Vec<u32> {
    let n = paths.n_positions;
    let lists = paths.words.len() as u32 / n * n_heads;
    let words = all.len() / (lists * n) as usize;
    let mut arena = vec![0x7fc0_7e00; (lists * capacity) as usize * words];
    for list in 0..lists {
        let sequence = list / n_heads;
        for position in (0..n).filter(|&t| paths.is_latent(sequence, t) == latent) {
            let from = (list * n + position) as usize * words;
            let to = (list * capacity + paths.slot(sequence, position)) as usize * words;
            arena[to..][..words].copy_from_slice(&all[from..][..words]);
        }
    }
    arena
}
