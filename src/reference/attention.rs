//! CPU twin of `shaders/attention.wgsl`, `attention_tile.wgsl` and `attention_lane.wgsl`.

use super::cache_read;
use super::linear::dot;
use crate::kernels::attention::{Form, Params, record_len, splits};
use crate::kernels::paths::Paths;
use crate::kernels::{CacheType, PADDING, Row, Slots};
use rayon::prelude::*;
use std::ops::Range;

/// `y[r, h, :] = sum over t of softmax_t(scale * dot(q[r, h, :], k[t, g, :])) * v[t, g, :]`, `g = h / (n_heads /
/// n_kv_heads)`, over the positions `t` of row `r`'s sequence from `max(0, position + 1 - window)` to its own; with
/// [`Slots::Paths`] over those that are dense.
///
/// `rows`: `[rows]`, `q`: `[rows, n_heads, head_dim]`, `k`, `v`: `[n_sequences, n_kv_heads, n_ctx, head_dim]` in the
/// words of [`super::cache_write`], `paths`: `[n_sequences, n_positions]` or unused, `y`: `[rows, n_heads, head_dim]`,
/// or with `n_splits > 1` or `n_apart > 0` the records of [`record_len`]. With `softcap > 0` a score `s` becomes
/// `softcap * tanh(s / softcap)`. A row without keys gives zeros.
#[expect(clippy::too_many_arguments, reason = "one a binding")]
pub fn attention(
    form: Form,
    p: &Params,
    rows: &[Row],
    q: &[f32],
    k: &[u32],
    v: &[u32],
    paths: &[u32],
    y: &mut [f32],
) {
    let Form { cache, slots } = form;
    let paths = Paths {
        words: paths,
        n_positions: p.n_positions,
    };
    let [n_rows, n_heads, n_kv_heads, head_dim, n_splits] =
        [p.rows, p.n_heads, p.n_kv_heads, p.head_dim, p.n_splits].map(|n| n as usize);
    let heads = q[..n_rows * n_heads * head_dim].par_chunks_exact(head_dim);
    let results: Vec<Vec<Split>> = heads
        .enumerate()
        .map(|(i, q)| {
            let (row, head) = (rows[i / n_heads], i % n_heads);
            if row.position == PADDING {
                return vec![];
            }
            let end = row.position + 1;
            let kv_head = row.sequence as usize * n_kv_heads + head / (n_heads / n_kv_heads);
            let at = |t: u32| kv_head * p.n_ctx as usize + t as usize;
            let mut keys = end.saturating_sub(p.window)..end;
            if slots == Slots::Paths {
                keys =
                    paths.n_dense(row.sequence, keys.start)..paths.n_dense(row.sequence, keys.end);
            }
            splits(keys, p.n_splits)
                .map(|keys| split(cache, p, q, keys, at, k, v))
                .collect()
        })
        .collect();
    for (i, splits) in results.iter().enumerate() {
        let (row, head) = (i / n_heads, i % n_heads);
        if !p.has_records() {
            let y = &mut y[i * head_dim..][..head_dim];
            match splits.first() {
                Some(split) => y.copy_from_slice(&split.result),
                None => y.fill(0.0),
            }
            continue;
        }
        let len = record_len(p.head_dim) as usize;
        let n_records = n_splits + p.n_apart as usize;
        let record = |s: usize| ((row * n_records + s) * n_heads + head) * len;
        if splits.is_empty() {
            y[record(0)..][..len][head_dim..].fill(0.0);
        }
        for (s, split) in splits.iter().enumerate() {
            let (result, state) = y[record(s)..][..len].split_at_mut(head_dim);
            result.copy_from_slice(&split.result);
            state.copy_from_slice(&[split.most, split.sum, splits.len() as f32, 0.0]);
        }
    }
}

/// What some of a row's keys give.
struct Split {
    result: Vec<f32>,
    most: f32,
    sum: f32,
}

/// Attention of one query over `keys`, which lie `at` their place in the cache, counted in heads.
fn split(
    cache: CacheType,
    p: &Params,
    q: &[f32],
    keys: Range<u32>,
    at: impl Fn(u32) -> usize,
    k: &[u32],
    v: &[u32],
) -> Split {
    let mut cached = vec![0.0; q.len()];
    let mut weights = Vec::with_capacity(keys.len());
    for t in keys.clone() {
        cache_read(cache, k, at(t), &mut cached);
        let score = f64::from(p.scale) * dot(q, &cached);
        let softcap = f64::from(p.softcap);
        weights.push(if softcap > 0.0 {
            softcap * (score / softcap).tanh()
        } else {
            score
        });
    }
    let most = weights.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    for weight in &mut weights {
        *weight = (*weight - most).exp();
    }
    let sum: f64 = weights.iter().sum();
    let mut total = vec![0.0f64; q.len()];
    for (t, weight) in keys.zip(weights) {
        cache_read(cache, v, at(t), &mut cached);
        for (total, &v) in total.iter_mut().zip(&cached) {
            *total += weight / sum * f64::from(v);
        }
    }
    Split {
        result: total.iter().map(|&x| x as f32).collect(),
        most: most as f32,
        sum: sum as f32,
    }
}

/// Merges the splits of each row and head by the formula of [`record_len`]: `records`: `[rows, n_splits + n_apart,
/// n_heads, head_dim + 4]`, `y`: `[rows, n_heads, head_dim]`. Without any that have keys the result is zero.
pub fn merge(
    rows: usize,
    [n_splits, n_apart]: [usize; 2],
    n_heads: usize,
    records: &[f32],
    y: &mut [f32],
) {
    let head_dim = y.len() / rows / n_heads;
    for (i, y) in y.chunks_exact_mut(head_dim).enumerate() {
        let (row, head) = (i / n_heads, i % n_heads);
        let record = |s: usize| {
            let at = (row * (n_splits + n_apart) + s) * n_heads + head;
            records[at * (head_dim + 4)..][..head_dim + 4].split_at(head_dim)
        };
        let n_live = record(0).1[2] as usize;
        let apart = (n_splits..n_splits + n_apart).filter(|&s| record(s).1[2] > 0.0);
        let live: Vec<usize> = (0..n_live).chain(apart).collect();
        let most = live
            .iter()
            .map(|&s| record(s).1[0])
            .fold(f32::MIN, f32::max);
        if let [only] = live[..] {
            y.copy_from_slice(record(only).0);
            continue;
        }
        let (mut total, mut sum) = (vec![0.0f64; head_dim], 0.0);
        for (result, state) in live.iter().map(|&s| record(s)) {
            let weight = f64::from(state[1]) * (f64::from(state[0]) - f64::from(most)).exp();
            sum += weight;
            for (total, &x) in total.iter_mut().zip(result) {
                *total += weight * f64::from(x);
            }
        }
        for (y, total) in y.iter_mut().zip(total) {
            *y = if live.is_empty() {
                0.0
            } else {
                (total / sum) as f32
            };
        }
    }
}
