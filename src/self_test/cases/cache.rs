//! What writes the cache and what reads it.

use half::f16;

use super::data::{floats, random, records, rows, with_weight, words, zeros};
use super::{COLS, Case, FOUR_ROWS, N_CTX};
use crate::kernels::{
    CacheType, Call, Slots, attention, attention_latent, attention_merge, cache_copy, cache_write,
    latent_keys, latent_values, linear, paths,
};
use crate::tensor::DType;
use crate::tensor::quant::padded_cols;

pub(super) fn cache_write_case(cache: CacheType, slots: Slots, has_norm: bool) -> Case {
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

pub(super) fn cache_copy_case(values: CacheType) -> Case {
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
        head_dim: 96,
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
pub(super) fn attention_case(
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
pub(super) fn attention_latent_case(keys: CacheType) -> Case {
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

pub(super) fn attention_merge_case() -> Case {
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
pub(super) fn latent_keys_case(dtype: DType) -> Case {
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
pub(super) fn latent_values_case(dtype: DType) -> Case {
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
