use crate::common::random;
use crate::gpu::{Arg, Gpu, Program, gpu};
use crate::{PAD, SUMS, check, dirt, expect_caught, row, words};
use deputy::kernels::{CacheType, Call, PADDING, Row, attention::Params};
use deputy::reference;
use half::f16;

const CACHES: [CacheType; 2] = [CacheType::F32, CacheType::F16];

#[test]
fn attention_matches_the_reference_for_every_head() {
    let Some(gpu) = gpu() else { return };
    for (n_heads, n_kv_heads) in [(1, 1), (3, 3), (4, 2), (6, 2), (8, 1)] {
        for head_dim in [8, 64, 80, 128, 256] {
            for cache in CACHES {
                each(
                    gpu,
                    cache,
                    &params(n_heads, n_kv_heads, head_dim, 40),
                    &mixed(40),
                    &[],
                );
            }
        }
    }
}

#[test]
fn attention_matches_the_reference_over_many_tiles() {
    let Some(gpu) = gpu() else { return };
    for cache in CACHES {
        for position in [0, 1, 126, 127, 128, 129, 255, 256, 700] {
            let rows = [row(0, position), row(1, position / 2)];
            each(gpu, cache, &params(2, 1, 64, 701), &rows, &[]);
        }
    }
}

#[test]
fn attention_matches_the_reference_with_every_constant() {
    let Some(gpu) = gpu() else { return };
    for cache in CACHES {
        for wg in [32, 64, 128, 256] {
            for head_dim in [4, 80, 128, 512] {
                if head_dim <= 4 * wg {
                    each(
                        gpu,
                        cache,
                        &params(2, 2, head_dim, 300),
                        &mixed(300),
                        &[("WG", wg)],
                    );
                }
            }
        }
    }
}

#[test]
fn attention_matches_the_reference_in_a_window_and_with_capped_scores() {
    let Some(gpu) = gpu() else { return };
    for cache in CACHES {
        for window in [1, 2, 31, 128, 129, 299, 300, 301, u32::MAX] {
            for softcap in [0.0, 0.5, 30.0] {
                let p = Params {
                    window,
                    softcap,
                    ..params(2, 1, 80, 300)
                };
                each(gpu, cache, &p, &mixed(300), &[]);
            }
        }
    }
}

#[test]
fn attention_matches_the_reference_for_peaked_scores() {
    let Some(gpu) = gpu() else { return };
    for cache in CACHES {
        for scale in [2.0, 10.0] {
            let p = Params {
                scale,
                ..params(2, 1, 64, 300)
            };
            each(gpu, cache, &p, &mixed(300), &[]);
        }
    }
}

#[test]
fn a_wrong_attention_is_caught() {
    let Some(gpu) = gpu() else { return };
    let p = Params {
        window: 200,
        softcap: 3.0,
        ..params(4, 2, 80, 300)
    };
    for (cache, from, to) in [
        (CacheType::F32, "row.position + 1u, 0u", "row.position, 0u"),
        (
            CacheType::F32,
            "select(row.position + 1u, 0u, row.position == PADDING)",
            "min(row.position + 1u, 2u)",
        ),
        (CacheType::F32, "min(end, params.window)", "end"),
        (CacheType::F32, "* params.scale", ""),
        (
            CacheType::F32,
            "head / (params.n_heads / params.n_kv_heads)",
            "head % params.n_kv_heads",
        ),
        (
            CacheType::F32,
            "row.sequence * params.n_ctx * kv_stride",
            "0u",
        ),
        (
            CacheType::F32,
            "if params.softcap > 0.0",
            "if params.softcap > 9.0",
        ),
        (CacheType::F32, "acc *= shrink;", ""),
        (CacheType::F32, "sum = sum * shrink +", "sum = sum +"),
        (CacheType::F32, "i < min(WG, end - tile)", "i < WG"),
        (
            CacheType::F32,
            "select(0.0, exp(score - new_most), t < end)",
            "exp(score - most)",
        ),
        (
            CacheType::F32,
            "i += n_teams) {\n                acc",
            "i += n_teams + 1u) {\n                acc",
        ),
        (
            CacheType::F32,
            "partial[i * n_quads + lid]",
            "partial[i * n_quads]",
        ),
        (
            CacheType::F16,
            "unpack2x16float(cached.y)",
            "unpack2x16float(cached.x)",
        ),
    ] {
        let rows = mixed(300);
        for program in gpu.programs(&Call::Attention(cache, p)) {
            case(gpu, &program, cache, &p, &rows)
                .unwrap_or_else(|e| panic!("unbroken {program}: {e}"));
            let broken = case(gpu, &program.broken(from, to), cache, &p, &rows);
            expect_caught(&program.to_string(), &format!("{from} -> {to}"), broken);
        }
    }
}

/// Rows of three sequences and padding, the last position of the cache among them.
fn mixed(n_ctx: u32) -> Vec<Row> {
    vec![
        row(2, n_ctx - 1),
        row(0, 0),
        PAD,
        row(1, n_ctx / 2),
        row(1, n_ctx / 2 + 1),
        row(0, 1),
        PAD,
    ]
}

fn params(n_heads: u32, n_kv_heads: u32, head_dim: u32, n_ctx: u32) -> Params {
    Params {
        rows: 0,
        n_heads,
        n_kv_heads,
        head_dim,
        n_ctx,
        window: u32::MAX,
        scale: 1.0 / (head_dim as f32).sqrt(),
        softcap: 0.0,
    }
}

fn each(gpu: &Gpu, cache: CacheType, p: &Params, rows: &[Row], constants: &[(&str, u32)]) {
    for program in gpu.programs(&Call::Attention(cache, *p)) {
        let program = program.with(constants);
        case(gpu, &program, cache, p, rows)
            .unwrap_or_else(|e| panic!("{program} {p:?} {rows:?}: {e}"));
    }
}

fn case(
    gpu: &Gpu,
    program: &Program,
    cache: CacheType,
    p: &Params,
    rows: &[Row],
) -> Result<(), String> {
    let p = Params {
        rows: rows.len() as u32,
        ..*p
    };
    let n = rows.len() * (p.n_heads * p.head_dim) as usize;
    // Scores of a few units, so that the softmax is neither flat nor one key alone.
    let q: Vec<f32> = random(1, n).iter().map(|x| 3.0 * x).collect();
    let (k, v) = (cached(cache, &p, rows, 2), cached(cache, &p, rows, 3));
    let (y, mut want) = dirt(n);
    let args = [
        Arg::In(1, bytemuck::cast_slice(rows)),
        Arg::In(2, words(&q)),
        Arg::In(3, &k),
        Arg::In(4, &v),
        Arg::Out(5, &y),
    ];
    let got = gpu.run(program, &Call::Attention(cache, p), &args)?;
    reference::attention(cache, &p, rows, &q, &k, &v, &mut want);
    check(&got[0], &want, SUMS)
}

/// Keys or values of three sequences; NaN at positions that no row sees.
fn cached(cache: CacheType, p: &Params, rows: &[Row], seed: u64) -> Vec<u32> {
    let kv_dim = (p.n_kv_heads * p.head_dim) as usize;
    let n_ctx = p.n_ctx as usize;
    let mut values = random(seed, 3 * n_ctx * kv_dim);
    for (at, values) in values.chunks_exact_mut(kv_dim).enumerate() {
        let (sequence, position) = ((at / n_ctx) as u32, (at % n_ctx) as u32);
        let sees = |row: &&Row| {
            row.position != PADDING
                && row.sequence == sequence
                && position <= row.position
                && row.position - position < p.window
        };
        if rows.iter().find(sees).is_none() {
            values.fill(f32::NAN);
        }
    }
    match cache {
        CacheType::F32 => bytemuck::cast_slice(&values).to_vec(),
        CacheType::F16 => {
            let halves: Vec<f16> = values.iter().map(|&x| f16::from_f32(x)).collect();
            bytemuck::pod_collect_to_vec(&halves)
        }
    }
}
