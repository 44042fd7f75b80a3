//! Calls with inputs: every kernel, type and cache, on shapes that end within tiles.

mod cache;
mod data;
mod linear;

use crate::kernels::linear::{Arm, Form, Input, has_int8};
use crate::kernels::{
    Bounds, CacheType, Call, PADDING, Slots, add, embed, flatten_rows, forms, gated_act,
    gather_rows, quantize_rows, rms_norm, route, sample,
};
use crate::tensor::DType;
use crate::tensor::quant::padded_cols;
use cache::{
    attention_case, attention_latent_case, attention_merge_case, cache_copy_case, cache_write_case,
    latent_keys_case, latent_values_case,
};
use data::{flat, floats, random, rows, with_weight, zeros};
use linear::linear_case;

/// A call with what its bindings hold before it.
pub(super) struct Case {
    pub(super) call: Call,
    pub(super) bindings: Vec<(u32, Vec<u32>)>,
}

/// Positions of the cache; two sequences.
const N_CTX: u32 = 150;

/// What the cases' rows keep to.
pub(super) const BOUNDS: Bounds = Bounds {
    rows: 4,
    n_sequences: 2,
    n_ctx: N_CTX,
};

/// The last position of a sequence, neighbours in another, and padding.
const FOUR_ROWS: [(u32, u32); 4] = [(1, N_CTX - 1), (0, 70), (0, PADDING), (0, 71)];

/// Columns: whole blocks of every type.
const COLS: u32 = 768;

pub(super) fn all() -> Vec<Case> {
    let mut cases = vec![
        rms_norm_case(),
        attention_merge_case(),
        gated_act_case(),
        add_case(),
        gather_rows_case(),
        quantize_rows_case(),
        flatten_rows_case(false),
        flatten_rows_case(true),
        sample_case(),
        route_case(4, true, Call::Route),
        route_case(33, false, Call::PlaceRows),
    ];
    for dtype in DType::ALL {
        cases.push(embed_case(dtype));
        cases.push(latent_keys_case(dtype));
        cases.push(latent_values_case(dtype));
        for form in forms(dtype) {
            // As many as it takes for one on each branch, and padding.
            cases.push(linear_case(form, 4, Call::MatVec));
        }
        let form = Form::plain(dtype);
        cases.push(linear_case(form, 33, Call::MatMul));
        for form in forms(dtype).into_iter().filter(|form| form.arm != Arm::All) {
            if matches!(form.input, Input::Plain | Input::Latents) {
                cases.push(linear_case(form, 33, Call::MatMul));
            }
        }
        if has_int8(dtype) {
            for input in [Input::Int8, Input::Flat] {
                let form = Form { input, ..form };
                cases.push(linear_case(form, 33, Call::MatMul));
            }
        }
    }
    for cache in CacheType::ALL {
        cases.push(cache_write_case(cache, Slots::Positions, false));
        cases.push(cache_write_case(cache, Slots::Paths, false));
        cases.push(cache_copy_case(cache));
        cases.push(attention_latent_case(cache));
        cases.push(cache_write_case(cache, Slots::Positions, true));
        cases.push(cache_write_case(cache, Slots::Paths, true));
        let few = rows(&FOUR_ROWS);
        cases.push(attention_case(cache, Slots::Positions, 3, 2, few.clone()));
        cases.push(attention_case(cache, Slots::Positions, 6, 1, few));
        let many = |n| rows(&(0..n).map(|i| (i / 7, 40 + 3 * i / 4)).collect::<Vec<_>>());
        cases.push(attention_case(cache, Slots::Positions, 3, 1, many(11)));
        cases.push(attention_case(
            cache,
            Slots::Positions,
            3,
            1,
            many(14).repeat(3),
        ));
        if cache == CacheType::F16 {
            let few = rows(&FOUR_ROWS);
            cases.push(attention_case(cache, Slots::Paths, 3, 2, few));
            cases.push(attention_case(cache, Slots::Paths, 3, 1, many(11)));
        }
    }
    cases
}

fn case(call: Call, buffers: Vec<Vec<u32>>) -> Case {
    Case {
        call,
        bindings: (1..).zip(buffers).collect(),
    }
}

fn rms_norm_case() -> Case {
    let params = rms_norm::Params {
        rows: 3,
        cols: COLS,
        eps: 1e-5,
        pad0: 0,
    };
    let n = (3 * COLS) as usize;
    case(
        Call::RmsNorm(params),
        vec![random(1, n), random(2, COLS as usize), zeros(n)],
    )
}

fn gated_act_case() -> Case {
    let params = gated_act::Params {
        rows: 3,
        quads: 77,
        gelu: 0,
        pad0: 0,
    };
    case(
        Call::GatedAct(params),
        vec![random(1, 6 * 308), zeros(3 * 308)],
    )
}

fn add_case() -> Case {
    let params = add::Params {
        quads: 77,
        pad0: 0,
        pad1: 0,
        pad2: 0,
    };
    case(
        Call::Add(params),
        vec![random(1, 308), random(2, 308), zeros(308)],
    )
}

fn gather_rows_case() -> Case {
    let params = gather_rows::Params {
        n_out: 3,
        cols: 260,
        pad0: 0,
        pad1: 0,
    };
    case(
        Call::GatherRows(params),
        vec![vec![3, 0, 2], random(1, 4 * 260), zeros(3 * 260)],
    )
}

fn quantize_rows_case() -> Case {
    let params = quantize_rows::Params {
        rows: 3,
        cols: 260,
        blocks: 9,
        pad0: 0,
    };
    let n = (3 * 9 * quantize_rows::BLOCK_WORDS) as usize;
    case(
        Call::QuantizeRows(params),
        vec![random(1, 3 * 260), zeros(n)],
    )
}

fn flatten_rows_case(is_normed: bool) -> Case {
    let flat = flat(260);
    let params = flatten_rows::Params {
        rows: 3,
        cols: 260,
        blocks: flat.blocks(),
        extra_blocks: flat.extra_blocks(),
        scale: if is_normed { 0.0 } else { 0.01 },
        inverse: 100.0,
        has_norm: is_normed.into(),
        eps: 1e-5,
    };
    let n_y = 3 * flatten_rows::row_words(params.blocks, params.extra_blocks);
    let gains = random(2, if is_normed { 260 } else { 4 });
    case(
        Call::FlattenRows(params),
        vec![random(1, 3 * 260), gains, flat.table(), zeros(n_y as usize)],
    )
}

fn sample_case() -> Case {
    let vocab_size = 1009;
    let params = sample::Params {
        n_out: 2,
        vocab_size,
        n_ctx: N_CTX,
        write_next: 1,
    };
    let greedy = sample::Sampler {
        temperature: 0.0,
        top_k: 0,
        top_p: 1.0,
        min_p: 0.0,
        repeat_penalty: 1.1,
        seed_low: 7,
        seed_high: 1,
        pad0: 0,
    };
    let drawn = sample::Sampler {
        temperature: 0.9,
        top_k: 50,
        top_p: 0.9,
        min_p: 0.01,
        ..greedy
    };
    let logits: Vec<f32> = floats(3, 2 * vocab_size as usize)
        .iter()
        .map(|x| 4.0 * x)
        .collect();
    let tokens = (0..2 * N_CTX).map(|i| i * 31 % vocab_size).collect();
    let buffers = vec![
        rows(&FOUR_ROWS),
        vec![0, 1], // Of two sequences: a row must not see what another draws.
        bytemuck::pod_collect_to_vec(&[greedy, drawn]),
        bytemuck::pod_collect_to_vec(&logits),
        tokens,
        zeros(2 * vocab_size as usize),
        zeros(2),
    ];
    case(Call::Sample(params), buffers)
}

fn embed_case(dtype: DType) -> Case {
    let params = embed::Params {
        rows: 4,
        cols: COLS,
        blocks: (padded_cols(dtype, COLS as usize) / 32) as u32,
        n_ctx: N_CTX,
        first_token: 0,
        n_tokens: 9,
        scale: 1.5,
        pad0: 0,
    };
    let tokens = (0..2 * N_CTX).map(|i| i * 7 % 9).collect();
    let rest = (3..)
        .zip([rows(&FOUR_ROWS), tokens, zeros((4 * COLS) as usize)])
        .collect();
    with_weight(Call::Embed(dtype, params), dtype, 9, rest)
}

fn route_case(n_rows: u32, decides: bool, call: fn(route::Params) -> Call) -> Case {
    let params = route::Params {
        rows: n_rows,
        cols: COLS,
        n_ctx: N_CTX,
        layer: 1,
        dense_tokens: 71,
        has_low_attention: 1,
        has_low_ffn: 1,
        places: decides.into(),
        eps: 1e-5,
        ..Default::default()
    };
    let mut step: Vec<(u32, u32)> = (0..n_rows).map(|i| (i % 2, 70 + i / 2)).collect();
    step[n_rows as usize - 1].1 = PADDING;
    let branches = |i: u32| [(i % 2) | ((i % 3) << 2), 0, 0, 0];
    let mut routes: Vec<u32> = (0..n_rows).flat_map(branches).collect();
    routes[4 * n_rows as usize - 4] = 0b1111;
    let paths = (0..2 * N_CTX).map(|i| i % N_CTX / 2).collect();
    let bindings = if decides {
        let settings = [0, 0, 0f32.to_bits(), 0f32.to_bits(), 0, 0, 0, 0, 0, 0];
        let buffers = vec![
            rows(&step),
            random(1, (n_rows * COLS) as usize),
            random(2, COLS as usize),
            random(3, (5 * COLS) as usize),
            random(4, 5),
            settings.to_vec(),
            zeros(4 * n_rows as usize),
            paths,
        ];
        (1..).zip(buffers).collect()
    } else {
        vec![(1, rows(&step)), (7, routes), (8, paths)]
    };
    Case {
        call: call(params),
        bindings,
    }
}
