//! Calls with inputs: every kernel, type and cache, on shapes that end within tiles.

use half::f16;

use crate::graph::Flat;
use crate::kernels::linear::{Arm, Form, Input, Output, has_int8};
use crate::kernels::{
    Bounds, CacheType, Call, PADDING, Row, Slots, add, attention, attention_latent,
    attention_merge, cache_copy, cache_write, embed, flatten_rows, forms, gated_act, gather_rows,
    latent_keys, latent_values, linear, paths, quantize_rows, rms_norm, route, sample,
};
use crate::reference::run_call;
use crate::tensor::DType;
use crate::tensor::quant::{can_quantize, pack_row, packed_row, padded_cols, quantize_row};

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
            cases.push(linear_case(form, 2, Call::MatVec));
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

/// Every seventh column in three copies.
fn flat(cols: u32) -> Flat {
    Flat {
        copies: (0..cols).map(|i| if i % 7 == 0 { 3 } else { 1 }).collect(),
        scale: None,
    }
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

fn linear_case(form: Form, n_rows: u32, call: fn(Form, linear::Params) -> Call) -> Case {
    let outs: u32 = if form.output == Output::Gated { 74 } else { 37 };
    let low_outs = if form.arm == Arm::Split { 12 } else { 0 };
    let params = linear::Params {
        x_first: 4,
        x_cols: 2 * COLS + 4,
        is_ffn: 1,
        branches: 0b111,
        zeros: 0b100,
        low_first: if low_outs > 0 { outs } else { 0 },
        low_outs,
        low_cols: low_outs,
        rows: n_rows,
        cols: COLS,
        blocks: (padded_cols(form.dtype, COLS as usize) / 32) as u32,
        outs,
        y_first: 2,
        y_cols: 41,
        has_bias: 1,
        bias_first: 3,
        half: 37,
        eps: 1e-5,
        head_dim: 96,
        n_splits: 3,
        extra_blocks: if form.input == Input::Flat {
            flat(COLS).extra_blocks()
        } else {
            0
        },
        ..Default::default()
    };
    let n_y = (n_rows * 41) as usize;
    let x = match form.input {
        Input::Merge => records(n_rows, &params),
        Input::Int8 => blocks_of_bytes(&params),
        Input::Flat => rows_of_bytes(&params),
        Input::Latents => random(1, (n_rows * params.x_cols) as usize),
        _ => random(1, (n_rows * COLS) as usize),
    };
    let mut rest = vec![(3, x), (4, random(2, 3 + outs as usize))];
    if form.input == Input::Norm {
        rest.push((5, random(4, COLS as usize)));
    }
    if form.input == Input::Flat {
        rest.push((5, flat(COLS).table()));
    }
    if form.output == Output::Add {
        rest.push((6, random(5, n_y)));
    }
    if form.arm != Arm::All {
        rest.push((7, routes(n_rows)));
    }
    rest.push((8, zeros(n_y)));
    if form.arm == Arm::Split {
        rest.push((9, zeros((n_rows * low_outs) as usize)));
    }
    let n_weights = (outs + low_outs) as usize;
    let mut case = with_weight(call(form, params), form.dtype, n_weights, rest);
    if form.input == Input::Flat {
        // A flattened weight has one scale a row, which is all that its product reads.
        let (_, scales) = &mut case.bindings[1];
        let n_words = scales.len() / n_weights;
        for row in scales.chunks_exact_mut(n_words) {
            row.fill((row[0] & 0xffff) * 0x1_0001);
        }
    }
    case
}

/// Rows of one sequence, on branches in turn, with the last one padding.
fn routes(n_rows: u32) -> Vec<u32> {
    let Case { call, bindings } = route_case(n_rows, false, Call::PlaceRows);
    let mut words: Vec<Vec<u32>> = bindings.into_iter().map(|(_, words)| words).collect();
    let (inputs, outputs) = words.split_at_mut(1);
    let mut outputs: Vec<&mut [u32]> = outputs.iter_mut().map(Vec::as_mut_slice).collect();
    run_call(&call, &[&inputs[0]], &mut outputs);
    outputs[0].to_vec()
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

/// Any bytes, and scales.
fn blocks_of_bytes(p: &linear::Params) -> Vec<u32> {
    let n = (p.rows * p.blocks * quantize_rows::BLOCK_WORDS) as usize;
    let mut blocks: Vec<u32> = words(1, n).map(|word| (word >> 32) as u32).collect();
    for block in blocks.chunks_exact_mut(quantize_rows::BLOCK_WORDS as usize) {
        block[8] = 0.01f32.to_bits();
    }
    blocks
}

/// Any bytes, and a scale a row.
fn rows_of_bytes(p: &linear::Params) -> Vec<u32> {
    let n = flatten_rows::row_words(p.blocks, p.extra_blocks) as usize;
    let mut rows: Vec<u32> = words(1, p.rows as usize * n)
        .map(|word| (word >> 32) as u32)
        .collect();
    for row in rows.chunks_exact_mut(n) {
        row[n - 1] = 0.01f32.to_bits();
    }
    rows
}

/// What an attention's splits leave: two of three hold keys.
fn records(n_rows: u32, p: &linear::Params) -> Vec<u32> {
    let record = p.head_dim as usize + 4;
    let n = (n_rows * p.n_splits * (p.cols / p.head_dim)) as usize;
    let mut values = floats(1, n * record);
    for record in values.chunks_exact_mut(record) {
        let [.., _, sum, n_live, _] = record else {
            unreachable!("a record ends with four numbers")
        };
        (*sum, *n_live) = (2.0 + *sum, 2.0);
    }
    bytemuck::pod_collect_to_vec(&values)
}

fn cache_write_case(cache: CacheType, slots: Slots, has_norm: bool) -> Case {
    let params = cache_write::Params {
        rows: 4,
        n_heads: 3,
        n_kv_heads: 2,
        head_dim: 96,
        n_ctx: N_CTX,
        rotary_dim: 48,
        interleaved: 0,
        has_norm: has_norm.into(),
        eps: 1e-5,
        n_positions: N_CTX,
        n_latent_ctx: N_CTX,
        k_first: 2 * N_CTX,
    };
    let angles = (0..N_CTX)
        .flat_map(|position| (0..24).map(move |i| f64::from(position) / f64::from(1 << (i / 2))));
    let table: Vec<[f32; 2]> = angles
        .map(|angle: f64| [angle.cos() as f32, angle.sin() as f32])
        .collect();
    let cached = zeros(2 * N_CTX as usize * cache.row_bytes(2 * 96) as usize / 4);
    let n_gains = if has_norm { 96 } else { 1 };
    let inputs = [
        rows(&FOUR_ROWS),
        bytemuck::pod_collect_to_vec(&table),
        random(1, 4 * 7 * 96),
        random(2, n_gains),
        random(3, n_gains),
    ];
    let mut bindings: Vec<_> = (1..).zip(inputs).collect();
    let q = zeros(4 * 3 * 96);
    match slots {
        Slots::Positions => bindings.extend([(7, q), (8, cached.clone()), (9, cached)]),
        Slots::Paths => bindings.extend([(6, paths()), (7, q), (8, cached.repeat(2))]),
    }
    let call = Call::CacheWrite(cache_write::Form { cache, slots }, params);
    Case { call, bindings }
}

fn cache_copy_case(values: CacheType) -> Case {
    let latents = CacheType::F16;
    let params = cache_copy::Params {
        rows: 4,
        qkv_cols: 800,
        kv_dim: 192,
        n_ctx: 100,
        n_latent_ctx: 50,
        n_positions: N_CTX,
        latents_cols: 300,
        k_first: 100,
        k_cols: 64,
        v_first: 200,
        v_cols: 96,
        pad0: 0,
    };
    let n_bytes = |n_rows: usize, cache: CacheType, cols| n_rows * cache.row_bytes(cols) as usize;
    let bindings = vec![
        (1, rows(&FOUR_ROWS)),
        (2, random(1, 4 * 800)),
        (3, random(2, 4 * 300)),
        (6, paths()),
        (8, zeros(n_bytes(2 * 50, latents, 160) / 4)),
        (9, zeros(n_bytes(2 * 100, values, 192) / 4)),
    ];
    let call = Call::CacheCopy(cache_copy::Form { values, latents }, params);
    Case { call, bindings }
}

/// `group` query heads to each of two key/value heads.
fn attention_case(
    cache: CacheType,
    slots: Slots,
    group: u32,
    n_splits: u32,
    rows: Vec<u32>,
) -> Case {
    let params = attention::Params {
        rows: rows.len() as u32 / 2,
        n_heads: 2 * group,
        n_kv_heads: 2,
        head_dim: 96,
        n_ctx: N_CTX,
        window: 140,
        scale: 0.3,
        n_splits,
        n_apart: u32::from(slots == Slots::Paths),
        n_positions: if slots == Slots::Paths { N_CTX } else { 0 },
        ..Default::default()
    };
    let n_cached = 2 * N_CTX as usize * 192;
    let cached = |seed| match cache {
        CacheType::F32 => random(seed, n_cached),
        CacheType::F16 => {
            let halves: Vec<f16> = floats(seed, n_cached)
                .into_iter()
                .map(f16::from_f32)
                .collect();
            bytemuck::pod_collect_to_vec(&halves)
        }
        // Any integers will do; the last word of a block is its scale.
        CacheType::Q8 | CacheType::Q4 => {
            let n_words = cache.row_bytes(n_cached as u64) as usize / 4;
            let n_block = cache.row_bytes(32) as usize / 4;
            let largest = if cache == CacheType::Q8 { 127.0 } else { 8.0 };
            let mut cached: Vec<u32> = words(seed, n_words)
                .map(|word| (word >> 32) as u32)
                .collect();
            for (block, scale) in cached.chunks_exact_mut(n_block).zip(floats(seed, n_words)) {
                block[n_block - 1] = (scale / largest).to_bits();
            }
            cached
        }
    };
    let n = (params.rows * params.n_heads) as usize;
    let n_out = match params.has_records() {
        false => n * 96,
        true => n * (n_splits + params.n_apart) as usize * attention::record_len(96) as usize,
    };
    let buffers = [rows, random(1, n * 96), cached(2), cached(3)];
    let mut bindings: Vec<_> = (1..).zip(buffers).collect();
    if slots == Slots::Paths {
        bindings.push((6, paths()));
    }
    bindings.push((7, zeros(n_out)));
    let call = Call::Attention(attention::Form { cache, slots }, params);
    Case { call, bindings }
}

/// Of three tokens two took the full branch.
fn paths() -> Vec<u32> {
    let mut n_dense = 0;
    let word = |position: u32| {
        let is_latent = position % 3 == 1;
        n_dense += u32::from(!is_latent);
        n_dense | if is_latent { paths::IS_LATENT } else { 0 }
    };
    (0..N_CTX).map(word).collect::<Vec<_>>().repeat(2)
}

/// Latent rows of two columns, of which the second are values.
fn attention_latent_case(keys: CacheType) -> Case {
    let dense = attention_case(keys, Slots::Paths, 3, 2, rows(&FOUR_ROWS));
    let Call::Attention(_, params) = dense.call else {
        unreachable!("an attention")
    };
    let params = attention::Params {
        n_apart: 0,
        latent_cols: 96,
        v_first: 32,
        v_cols: 64,
        ..params
    };
    let latents = CacheType::F32;
    let call = Call::AttentionLatent(attention_latent::Form { keys, latents }, params);
    let n_out = 4 * params.n_splits * params.n_heads * attention::record_len(64);
    let mut bindings = dense.bindings;
    for (binding, words) in &mut bindings {
        match binding {
            4 => *words = random(3, 2 * N_CTX as usize * 96),
            7 => *words = zeros(n_out as usize),
            _ => {}
        }
    }
    Case { call, bindings }
}

fn attention_merge_case() -> Case {
    let x = linear::Params {
        cols: COLS,
        head_dim: 96,
        n_splits: 3,
        ..Default::default()
    };
    let params = attention_merge::Params {
        rows: 3,
        cols: COLS,
        head_dim: 96,
        n_splits: 2,
        n_apart: 1,
        ..Default::default()
    };
    let bindings = vec![(3, records(3, &x)), (7, zeros(3 * COLS as usize))];
    Case {
        call: Call::AttentionMerge(params),
        bindings,
    }
}

/// All latent rows of one sequence, and some of another.
fn latent_keys_case(dtype: DType) -> Case {
    let (latents, keys) = (CacheType::F16, CacheType::F32);
    let params = latent_keys::Params {
        rows: 4,
        n_sequences: 2,
        n_kv_heads: 2,
        head_dim: 12,
        n_ctx: 50,
        n_positions: N_CTX,
        latent_cols: COLS + 8,
        k_cols: COLS,
        blocks: (padded_cols(dtype, COLS as usize) / 32) as u32,
        w_first: 1,
        rotary_dim: 8,
        has_bias: 1,
        ..Default::default()
    };
    let c: Vec<f16> = floats(1, 100 * (COLS as usize + 8))
        .into_iter()
        .map(f16::from_f32)
        .collect();
    let rest = vec![
        (3, rows(&FOUR_ROWS)),
        (4, bytemuck::pod_collect_to_vec(&c)),
        (5, random(2, (N_CTX * 8) as usize)),
        (6, paths()),
        (7, random(3, 24)),
        (8, zeros(100 * 24)),
    ];
    let form = latent_keys::Form {
        dtype,
        latents,
        keys,
    };
    with_weight(Call::LatentKeys(form, params), dtype, 25, rest)
}

/// Three rows of which each has two splits.
fn latent_values_case(dtype: DType) -> Case {
    let params = latent_values::Params {
        rows: 3,
        n_heads: 4,
        n_kv_heads: 2,
        head_dim: 8,
        v_cols: COLS,
        blocks: (padded_cols(dtype, COLS as usize) / 32) as u32,
        w_first: 1,
        n_splits: 2,
        n_records: 3,
        has_bias: 1,
        ..Default::default()
    };
    let z = linear::Params {
        cols: 4 * COLS,
        head_dim: COLS,
        n_splits: 2,
        ..Default::default()
    };
    let n_out = 3 * 3 * 4 * attention::record_len(8) as usize;
    let rest = vec![(3, records(3, &z)), (4, random(2, 16)), (7, zeros(n_out))];
    with_weight(Call::LatentValues(dtype, params), dtype, 17, rest)
}

/// Rows of a step, by sequence and position.
fn rows(rows: &[(u32, u32)]) -> Vec<u32> {
    let row = |&(sequence, position): &(u32, u32)| Row { sequence, position };
    bytemuck::pod_collect_to_vec(&rows.iter().map(row).collect::<Vec<_>>())
}

fn zeros(n: usize) -> Vec<u32> {
    vec![0; n]
}

/// Bits of [`floats`].
fn random(seed: u64, n: usize) -> Vec<u32> {
    bytemuck::pod_collect_to_vec(&floats(seed, n))
}

/// The same numbers on every machine, uniform in -1..1.
fn floats(seed: u64, n: usize) -> Vec<f32> {
    let unit = |word: u64| (word >> 40) as f32 / (1u64 << 24) as f32;
    words(seed, n).map(|word| 2.0 * unit(word) - 1.0).collect()
}

/// xorshift64* (Vigna 2016).
fn words(seed: u64, n: usize) -> impl Iterator<Item = u64> {
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    (0..n).map(move |_| {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        state.wrapping_mul(0x2545_F491_4F6C_DD1D)
    })
}

/// Bindings 1 and 2 are a packed matrix of [`COLS`] columns; plain types have no scales.
fn with_weight(call: Call, dtype: DType, n_rows: usize, rest: Vec<(u32, Vec<u32>)>) -> Case {
    let cols = COLS as usize;
    let row = packed_row(dtype, cols);
    let (mut q, mut s) = (vec![0; n_rows * row.q_words], vec![0; n_rows * row.s_words]);
    for i in 0..n_rows {
        let q = &mut q[i * row.q_words..][..row.q_words];
        let s = &mut s[i * row.s_words..][..row.s_words];
        pack_row(dtype, &file_row(dtype, cols, 100 + i as u64), cols, q, s);
    }
    let mut bindings = vec![(1, q)];
    if dtype.is_quantized() {
        bindings.push((2, s));
    }
    bindings.extend(rest);
    Case { call, bindings }
}

/// A row in file layout, its elements within about ±1.
fn file_row(dtype: DType, cols: usize, seed: u64) -> Vec<u8> {
    let mut bytes = vec![];
    if can_quantize(dtype) {
        quantize_row(dtype, &floats(seed, cols), &mut bytes);
        return bytes;
    }
    let n_bytes = dtype.row_bytes(cols).expect("COLS are whole blocks");
    bytes.extend(words(seed, n_bytes).map(|word| (word >> 32) as u8));
    // Where in a block its f16 scales are, and the largest value that they multiply.
    let (scales, most): (&[usize], f32) = match dtype {
        DType::Q4_1 => (&[0, 2], 16.0),
        DType::Q4K => (&[0, 2], 63.0 * 15.0),
        DType::Q5K => (&[0, 2], 63.0 * 31.0),
        DType::Q6K => (&[208], 127.0 * 32.0),
        _ => (&[0], 16.0),
    };
    for (i, block) in bytes.chunks_exact_mut(dtype.block_bytes()).enumerate() {
        let values = floats(seed * 31 + i as u64, scales.len());
        for (&at, value) in scales.iter().zip(values) {
            block[at..at + 2].copy_from_slice(&f16::from_f32(value / most).to_le_bytes());
        }
    }
    bytes
}
