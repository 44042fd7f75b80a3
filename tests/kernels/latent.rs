//! Attention over the latent rows of routed layers, and the two arenas together.

use crate::arenas::{arena, queries, random_paths, view};
use crate::attention::{cached, many, mixed, params};
use crate::common::{compare, random};
use crate::gpu::{Arg, DIRT, Gpu, Program, gpu};
use crate::weights::Weights;
use crate::{SUMS, check, dirt, expect_caught, words};
use deputy::kernels::attention::{Params, record_len};
use deputy::kernels::attention_latent::Form;
use deputy::kernels::{CacheType, Call, Row, Slots, attention, attention_merge, latent_values};
use deputy::reference::{self, Packed, merge};
use deputy::tensor::DType;
use deputy::tensor::quant::padded_cols;

#[test]
fn attention_latent_matches_the_reference() {
    let Some(gpu) = gpu() else { return };
    let f16 = form(CacheType::F16, CacheType::F16);
    for share in [0, 40, 100] {
        for n_splits in [1, 3] {
            for window in [33, u32::MAX] {
                let p = Params {
                    n_splits,
                    window,
                    ..latent(6, 2, 64, 300, 96)
                };
                each(gpu, f16, &p, &mixed(300), share);
            }
        }
    }
    for (n_heads, n_kv_heads, head_dim, v_cols) in [
        (1, 1, 4, 4),
        (10, 2, 80, 36),
        (8, 1, 100, 256),
        (4, 4, 32, 260),
        (2, 1, 256, 1056),
    ] {
        let p = latent(n_heads, n_kv_heads, head_dim, 150, v_cols);
        each(
            gpu,
            form(CacheType::F32, CacheType::F32),
            &p,
            &many(150),
            60,
        );
    }
}

#[test]
fn attention_latent_matches_the_reference_for_every_type() {
    let Some(gpu) = gpu() else { return };
    for keys in CacheType::ALL {
        for latents in CacheType::ALL {
            let p = Params {
                softcap: 3.0,
                ..latent(4, 2, 64, 200, 64)
            };
            each(gpu, form(keys, latents), &p, &mixed(200), 60);
        }
    }
}

#[test]
fn a_wrong_attention_latent_is_caught() {
    let Some(gpu) = gpu() else { return };
    let form = form(CacheType::F32, CacheType::F32);
    let rows = mixed(400);
    let p = Params {
        n_splits: 2,
        window: 300,
        ..latent(10, 2, 64, 400, 288)
    };
    let p = with_rows(&p, &rows);
    let program = &gpu.programs(&Call::AttentionLatent(form, p))[0];
    for (from, to) in [
        ("n_latent(row.sequence, row.position - params.window)", "0u"),
        ("params.k_first * params.n_kv_heads + ", ""),
        ("* v_stride + params.v_first / 4u", "* v_stride"),
        ("params.latent_cols / 4u", "params.v_cols / 4u"),
        (
            "exp(score - new_most), t < split.y",
            "exp(score - new_most), true",
        ),
        ("i < min(WG, split.y - tile)", "i < WG"),
        ("lid + part * WG, v_quads - 1u", "lid, v_quads - 1u"),
        ("if quad < v_quads", "if quad <= v_quads"),
        ("shrunk(totals[part], shrink)", "totals[part]"),
        ("wg.x % n_chunks * 4u", "0u"),
        ("i < n_heads", "i < 3u"),
        ("* (v_quads + 1u)", "* v_quads"),
    ] {
        let broken = case(gpu, &program.broken(from, to), form, &p, &rows, 60);
        expect_caught(&program.to_string(), &format!("{from} -> {to}"), broken);
    }
}

#[test]
fn latent_values_match_the_reference() {
    let Some(gpu) = gpu() else { return };
    for dtype in DType::ALL {
        for (n_heads, n_kv_heads, head_dim, n_splits) in [(6, 2, 64, 1), (4, 1, 80, 3)] {
            let p = values(dtype, n_heads, n_kv_heads, head_dim, 256, n_splits);
            each_values(gpu, dtype, &p);
        }
    }
    for v_cols in [4, 36, 516, 2048] {
        let p = values(DType::F32, 2, 2, 4, v_cols, 2);
        each_values(gpu, DType::F32, &p);
    }
}

#[test]
fn wrong_latent_values_are_caught() {
    let Some(gpu) = gpu() else { return };
    let dtype = DType::F32;
    let p = values(dtype, 6, 2, 80, 36, 3);
    let program = &gpu.programs(&Call::LatentValues(dtype, p))[0];
    for (from, to) in [
        ("params.w_first + n", "n"),
        (
            "head / (params.n_heads / params.n_kv_heads)",
            "head % params.n_kv_heads",
        ),
        ("bias[params.bias_first + n]", "bias[params.bias_first + d]"),
        ("params.bias_first + n", "n"),
        ("merged[quad] = total / sum", "merged[quad] = total"),
        (
            "(wg.z + 1u) * params.n_records - 1u",
            "wg.z * params.n_records",
        ),
        ("vec4(most, sum, 1.0, 0.0)", "vec4(most, 1.0, 1.0, 0.0)"),
        ("if n_live == 0u {", "if false {"),
        ("d < params.head_dim", "d <= params.head_dim"),
        ("state.y * exp(state.x - most) * z", "state.y * z"),
    ] {
        let broken = values_case(gpu, program, dtype, &p, Some((from, to)));
        expect_caught(&program.to_string(), &format!("{from} -> {to}"), broken);
    }
}

/// Values that latents stand for exactly, some kept as they are and some as their latents.
#[test]
fn two_arenas_merge_to_the_attention_over_one() {
    let Some(gpu) = gpu() else { return };
    let (n, r, dtype) = (300, 128, DType::F32);
    for (share, n_splits) in [(0, 1), (30, 2), (70, 3), (100, 1)] {
        let rows = mixed(n);
        let p = with_rows(&params(6, 2, 64, n), &rows);
        let f32s = CacheType::F32;
        let c_v: Vec<f32> = random(5, (3 * n * r) as usize);
        let b_v = Weights::random(dtype, 128, r as usize, 6);
        let (k, v) = (
            cached(f32s, &p, &rows, 2),
            by_heads(&products(b_v.packed(), &c_v, 128, r), [3, n, 2, 64]),
        );
        let q = queries(&p, rows.len());
        let mut whole = vec![0.0; q.len()];
        let plain = attention::Form::plain(f32s);
        reference::attention(plain, &p, &rows, &q, &k, words(&v), &[], &mut whole);

        let paths = random_paths(3, n, share);
        let arena = |all: &[u32], latent, n_heads| arena(all, view(&paths, n), latent, n_heads, n);
        let routed = Params {
            n_splits,
            n_positions: n,
            ..p
        };
        // Attention over the dense rows.
        let dense = Params {
            n_apart: 1,
            ..routed
        };
        let slots = Slots::Paths;
        let call = Call::Attention(attention::Form { cache: f32s, slots }, dense);
        let n_records = n_splits + 1;
        let len = |n_records, cols| rows.len() * (n_records * 6 * record_len(cols)) as usize;
        let y = vec![DIRT; len(n_records, 64)];
        let args = [
            Arg::In(1, words(&rows)),
            Arg::In(2, words(&q)),
            Arg::In(3, &arena(&k, false, 2)),
            Arg::In(4, &arena(words(&v), false, 2)),
            Arg::In(6, &paths),
            Arg::Out(7, &y),
        ];
        let programs = |call: &Call| gpu.programs(call).into_iter().next().expect("a program");
        let y = gpu.run(&programs(&call), &call, &args).expect("it runs");
        // Attention over the latent rows.
        let p = Params {
            latent_cols: r,
            v_cols: r,
            ..routed
        };
        let call = Call::AttentionLatent(form(f32s, f32s), p);
        let args = [
            Arg::In(1, words(&rows)),
            Arg::In(2, words(&q)),
            Arg::In(3, &arena(&k, true, 2)),
            Arg::In(4, &arena(words(&c_v), true, 1)),
            Arg::In(6, &paths),
            Arg::Out(7, &vec![DIRT; len(n_splits, r)]),
        ];
        let z = gpu.run(&programs(&call), &call, &args).expect("it runs");
        let p = latent_values::Params {
            rows: p.rows,
            n_records,
            ..values(dtype, 6, 2, 64, r, n_splits)
        };
        let p = latent_values::Params {
            w_first: 0,
            has_bias: 0,
            ..p
        };
        let call = Call::LatentValues(dtype, p);
        let args = [
            Arg::In(1, &b_v.q),
            Arg::In(3, &z[0]),
            Arg::In(4, &[0]),
            Arg::Out(7, &y[0]),
        ];
        let y = gpu.run(&programs(&call), &call, &args).expect("it runs");
        let mut merged = vec![0.0; q.len()];
        let records: &[f32] = bytemuck::cast_slice(&y[0]);
        merge(rows.len(), [n_splits as usize, 1], 6, records, &mut merged);
        compare(&merged, &whole, SUMS).unwrap_or_else(|e| panic!("{share} %: {e}"));
    }
}

#[test]
fn attention_merge_matches_the_reference() {
    let Some(gpu) = gpu() else { return };
    for (rows, n_heads, head_dim, n_splits, n_apart) in [
        (1, 1, 4, 1, 1),
        (7, 6, 64, 1, 1),
        (5, 3, 80, 4, 0),
        (33, 2, 512, 3, 2),
    ] {
        let p = attention_merge::Params {
            rows,
            cols: n_heads * head_dim,
            head_dim,
            n_splits,
            n_apart,
            ..Default::default()
        };
        let call = Call::AttentionMerge(p);
        for program in gpu.programs(&call) {
            merge_case(gpu, &program, &p).unwrap_or_else(|e| panic!("{program} {p:?}: {e}"));
            if rows > 1 && n_apart > 0 {
                let broken = program.broken(
                    "n_live + params.n_apart; i += 1u) {\n        let at",
                    "n_live; i += 1u) {\n        let at",
                );
                expect_caught("attention_merge", "n_apart", merge_case(gpu, &broken, &p));
                let broken = program.broken("i % n_quads", "i");
                expect_caught("attention_merge", "i", merge_case(gpu, &broken, &p));
            }
        }
    }
}

/// Of rows in turn all splits have keys, none, and one; of the records apart two in three.
fn merge_case(gpu: &Gpu, program: &Program, p: &attention_merge::Params) -> Result<(), String> {
    let n_records = (p.n_splits + p.n_apart) as usize;
    let n_heads = (p.cols / p.head_dim) as usize;
    let len = record_len(p.head_dim) as usize;
    let mut x = random(1, p.rows as usize * n_records * n_heads * len);
    for (i, record) in x.chunks_exact_mut(len).enumerate() {
        let (row, s) = (i / n_heads / n_records, i / n_heads % n_records);
        let is_apart = s >= p.n_splits as usize;
        let state = &mut record[p.head_dim as usize..];
        let n_live = match is_apart {
            true => [1, 1, 0][row % 3],
            false => [p.n_splits, 0, 1][row % 3],
        };
        let sum = if is_apart && n_live == 0 {
            0.0
        } else {
            1.5 + state[1]
        };
        state.copy_from_slice(&[3.0 * state[0], sum, n_live as f32, 0.0]);
    }
    let (y, mut want) = dirt((p.rows * p.cols) as usize);
    let args = [Arg::In(3, words(&x)), Arg::Out(7, &y)];
    let got = gpu.run(program, &Call::AttentionMerge(*p), &args)?;
    let records = [p.n_splits, p.n_apart].map(|n| n as usize);
    merge(p.rows as usize, records, n_heads, &x, &mut want);
    check(&got[0], &want, SUMS)
}

/// `B * c` of each row of `c`.
fn products(b: Packed<'_>, c: &[f32], outs: usize, cols: u32) -> Vec<f32> {
    let mut rows = vec![vec![0.0; cols as usize]; outs];
    for (n, row) in rows.iter_mut().enumerate() {
        b.row(DType::F32, n, cols as usize, row);
    }
    let dot = |x: &[f32], row: &Vec<f32>| {
        let products = x
            .iter()
            .zip(row)
            .map(|(x, w)| f64::from(*x) * f64::from(*w));
        products.sum::<f64>() as f32
    };
    c.chunks_exact(cols as usize)
        .flat_map(|x| rows.iter().map(move |row| dot(x, row)).collect::<Vec<_>>())
        .collect()
}

fn form(keys: CacheType, latents: CacheType) -> Form {
    Form { keys, latents }
}

/// Keys of two columns before the values, and keys of other rows before the arena's.
fn latent(n_heads: u32, n_kv_heads: u32, head_dim: u32, n_ctx: u32, v_cols: u32) -> Params {
    Params {
        n_positions: n_ctx,
        k_first: 5,
        latent_cols: v_cols + 32,
        v_first: 32,
        v_cols,
        ..params(n_heads, n_kv_heads, head_dim, n_ctx)
    }
}

fn with_rows(p: &Params, rows: &[Row]) -> Params {
    Params {
        rows: rows.len() as u32,
        ..*p
    }
}

fn each(gpu: &Gpu, form: Form, p: &Params, rows: &[Row], share: u32) {
    let p = &with_rows(p, rows);
    for program in gpu.programs(&Call::AttentionLatent(form, *p)) {
        case(gpu, &program, form, p, rows, share)
            .unwrap_or_else(|e| panic!("{program} {p:?} {share} %: {e}"));
    }
}

fn case(
    gpu: &Gpu,
    program: &Program,
    form: Form,
    p: &Params,
    rows: &[Row],
    share: u32,
) -> Result<(), String> {
    let n = p.n_positions;
    let paths = random_paths(3, n, share);
    let one_head = Params {
        n_kv_heads: 1,
        head_dim: p.latent_cols,
        ..*p
    };
    let arena = |all: &[u32], n_heads| arena(all, view(&paths, n), true, n_heads, p.n_ctx);
    let key_words = form.keys.row_bytes((p.n_kv_heads * p.head_dim).into()) as usize / 4;
    let mut k = vec![0x7fc0_7e00; p.k_first as usize * key_words];
    k.extend(arena(&cached(form.keys, p, rows, 2), p.n_kv_heads));
    let c = arena(&cached(form.latents, &one_head, rows, 3), 1);
    let q = queries(p, rows.len());
    let n_out = rows.len() * (p.n_splits * p.n_heads * record_len(p.v_cols)) as usize;
    let (y, mut want) = dirt(n_out);
    let args = [
        Arg::In(1, words(rows)),
        Arg::In(2, words(&q)),
        Arg::In(3, &k),
        Arg::In(4, &c),
        Arg::In(6, &paths),
        Arg::Out(7, &y),
    ];
    let got = gpu.run(program, &Call::AttentionLatent(form, *p), &args)?;
    reference::attention_latent(form, p, rows, &q, &k, &c, &paths, &mut want);
    check(&got[0], &want, SUMS)
}

fn values(
    dtype: DType,
    n_heads: u32,
    n_kv_heads: u32,
    head_dim: u32,
    v_cols: u32,
    n_splits: u32,
) -> latent_values::Params {
    latent_values::Params {
        rows: 3,
        n_heads,
        n_kv_heads,
        head_dim,
        v_cols,
        blocks: (padded_cols(dtype, v_cols as usize) / 32) as u32,
        w_first: 2,
        n_splits,
        n_records: 3,
        has_bias: 1,
        bias_first: 7,
        ..Default::default()
    }
}

fn each_values(gpu: &Gpu, dtype: DType, p: &latent_values::Params) {
    for program in gpu.programs(&Call::LatentValues(dtype, *p)) {
        values_case(gpu, &program, dtype, p, None)
            .unwrap_or_else(|e| panic!("{program} {p:?}: {e}"));
    }
}

/// Rows with latent keys in all splits, in none and in one.
fn values_case(
    gpu: &Gpu,
    program: &Program,
    dtype: DType,
    p: &latent_values::Params,
    mistake: Option<(&str, &str)>,
) -> Result<(), String> {
    let program = match mistake {
        Some((from, to)) => program.broken(from, to),
        None => program.clone(),
    };
    let weights = Weights::random(
        dtype,
        (p.w_first + p.n_kv_heads * p.head_dim) as usize,
        p.v_cols as usize,
        1,
    );
    let len = record_len(p.v_cols) as usize;
    let n_records = (p.rows * p.n_splits * p.n_heads) as usize;
    let mut z = random(2, n_records * len);
    for (i, record) in z.chunks_exact_mut(len).enumerate() {
        let row = i / (p.n_splits * p.n_heads) as usize;
        let n_live = [p.n_splits, 0, 1][row % 3];
        let state = &mut record[p.v_cols as usize..];
        state.copy_from_slice(&[3.0 * state[0], 1.5 + state[1], n_live as f32, 0.0]);
    }
    let bias = random(3, (p.bias_first + p.n_kv_heads * p.head_dim) as usize);
    let n_out = (p.rows * p.n_records * p.n_heads * record_len(p.head_dim)) as usize;
    let (y, mut want) = dirt(n_out);
    let mut args = vec![Arg::In(1, &weights.q)];
    if !weights.s.is_empty() {
        args.push(Arg::In(2, &weights.s));
    }
    args.extend([
        Arg::In(3, words(&z)),
        Arg::In(4, words(&bias)),
        Arg::Out(7, &y),
    ]);
    let got = gpu.run(&program, &Call::LatentValues(dtype, *p), &args)?;
    reference::latent_values(dtype, p, weights.packed(), &z, &bias, &mut want);
    check(&got[0], &want, SUMS)
}

/// `x`, `[n_sequences, n_ctx, n_heads, head_dim]`, as a cache keeps it.
fn by_heads(x: &[f32], [n_sequences, n_ctx, n_heads, head_dim]: [u32; 4]) -> Vec<f32> {
    let mut heads = vec![];
    for list in 0..n_sequences * n_heads {
        let (sequence, head) = (list / n_heads, list % n_heads);
        for position in 0..n_ctx {
            let at = ((sequence * n_ctx + position) * n_heads + head) * head_dim;
            heads.extend_from_slice(&x[at as usize..][..head_dim as usize]);
        }
    }
    heads
}
