//! Calls with inputs: every kernel, type and cache, on shapes that end within tiles.

use half::f16;

use crate::kernels::{
    CacheType, Call, PADDING, Row, add, attention, cache_write, embed, gated_act, gather_rows,
    linear, rms_norm, rope, sample,
};
use crate::tensor::DType;
use crate::tensor::quant::{can_quantize, pack_row, packed_row, padded_cols, quantize_row};

/// A call with what its bindings hold before it.
pub(super) struct Case {
    pub(super) call: Call,
    pub(super) bindings: Vec<(u32, Vec<u32>)>,
}

/// Positions of the cache; two sequences.
const N_CTX: u32 = 150;

/// Columns: whole blocks of every type.
const COLS: u32 = 768;

pub(super) fn all() -> Vec<Case> {
    let mut cases = vec![
        rms_norm_case(),
        rope_case(),
        gated_act_case(),
        add_case(),
        gather_rows_case(),
        sample_case(),
    ];
    for dtype in DType::ALL {
        cases.push(embed_case(dtype));
        cases.push(linear_case(dtype, 2, Call::MatVec));
        cases.push(linear_case(dtype, 33, Call::MatMul));
    }
    for cache in [CacheType::F32, CacheType::F16] {
        cases.push(cache_write_case(cache));
        cases.push(attention_case(cache));
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

fn rope_case() -> Case {
    let params = rope::Params {
        rows: 4,
        n_heads: 3,
        head_dim: 64,
        rotary_dim: 48,
        interleaved: 0,
        pad0: 0,
        pad1: 0,
        pad2: 0,
    };
    let angles = (0..N_CTX)
        .flat_map(|position| (0..24).map(move |i| f64::from(position) / f64::from(1 << (i / 2))));
    let table: Vec<[f32; 2]> = angles
        .map(|angle: f64| [angle.cos() as f32, angle.sin() as f32])
        .collect();
    let n = 4 * 3 * 64;
    let table = bytemuck::pod_collect_to_vec(&table);
    case(
        Call::Rope(params),
        vec![rows(), table, random(1, n), zeros(n)],
    )
}

fn gated_act_case() -> Case {
    let params = gated_act::Params {
        quads: 77,
        gelu: 0,
        pad0: 0,
        pad1: 0,
    };
    case(
        Call::GatedAct(params),
        vec![random(1, 308), random(2, 308), zeros(308)],
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
        vec![vec![4, 0, 2], random(1, 5 * 260), zeros(3 * 260)],
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
        rows(),
        vec![3, 1],
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
    let rest = vec![rows(), tokens, zeros((4 * COLS) as usize)];
    with_weight(Call::Embed(dtype, params), dtype, 9, rest)
}

fn linear_case(dtype: DType, n_rows: u32, call: fn(DType, linear::Params) -> Call) -> Case {
    let params = linear::Params {
        rows: n_rows,
        cols: COLS,
        blocks: (padded_cols(dtype, COLS as usize) / 32) as u32,
        outs: 37,
        y_first: 2,
        y_cols: 41,
        has_bias: 1,
        pad0: 0,
    };
    let rest = vec![
        random(1, (n_rows * COLS) as usize),
        random(2, 41),
        zeros((n_rows * 41) as usize),
    ];
    with_weight(call(dtype, params), dtype, 37, rest)
}

fn cache_write_case(cache: CacheType) -> Case {
    let params = cache_write::Params {
        rows: 4,
        kv_dim: 192,
        n_ctx: N_CTX,
        pad0: 0,
    };
    let cached = zeros((2 * N_CTX) as usize * 192 * cache.n_bytes() / 4);
    case(
        Call::CacheWrite(cache, params),
        vec![rows(), random(1, 4 * 192), cached],
    )
}

fn attention_case(cache: CacheType) -> Case {
    let params = attention::Params {
        rows: 4,
        n_heads: 6,
        n_kv_heads: 2,
        head_dim: 96,
        n_ctx: N_CTX,
        window: 140,
        scale: 0.3,
        softcap: 0.0,
    };
    let n_cached = (2 * N_CTX) as usize * 192;
    let cached = |seed| match cache {
        CacheType::F32 => random(seed, n_cached),
        CacheType::F16 => {
            let halves: Vec<f16> = floats(seed, n_cached)
                .into_iter()
                .map(f16::from_f32)
                .collect();
            bytemuck::pod_collect_to_vec(&halves)
        }
    };
    let n = 4 * 6 * 96;
    let buffers = vec![rows(), random(1, n), cached(2), cached(3), zeros(n)];
    case(Call::Attention(cache, params), buffers)
}

/// Four rows: the last position of a sequence, neighbours in another, and padding.
fn rows() -> Vec<u32> {
    let row = |sequence, position| Row { sequence, position };
    bytemuck::pod_collect_to_vec(&[row(1, N_CTX - 1), row(0, 70), row(0, PADDING), row(0, 71)])
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
fn with_weight(call: Call, dtype: DType, n_rows: usize, rest: Vec<Vec<u32>>) -> Case {
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
    bindings.extend((3..).zip(rest));
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
