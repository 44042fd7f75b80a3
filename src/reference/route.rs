//! CPU twin of `shaders/route.wgsl` and `shaders/place_rows.wgsl`.

use super::linear::dot;
use crate::kernels::route::{BY_LIST, BY_SHARES, NO_BRANCH, Params, Settings, WORDS};
use crate::kernels::{PADDING, Row, linear::MATMUL_ROWS, paths::N_DENSE};
use crate::sampler::pcg4d;

const FULL: u32 = 0;
const LOW: u32 = 1;
const SKIPPED: u32 = 2;

/// What a router reads.
#[derive(Clone, Copy, Debug)]
pub struct Router<'a> {
    /// `[rows, cols]`.
    pub x: &'a [f32],
    /// `[cols]`.
    pub gains: &'a [f32],
    /// `[5, cols]`, the rows filled up to whole blocks of 32.
    pub weight: &'a [f32],
    /// `[5]`.
    pub bias: &'a [f32],
}

/// Writes the branches of each row into `routes`, `[rows, 4]`; where `places` what [`place_rows`] does.
///
/// `settings`: [`Settings`] and a word for each layer.
pub fn route(
    p: &Params,
    rows: &[Row],
    router: Router<'_>,
    settings: &[u32],
    routes: &mut [u32],
    paths: &mut [u32],
) {
    let (head, layers) = settings.split_at(size_of::<Settings>() / 4);
    let head: Settings = bytemuck::pod_read_unaligned(bytemuck::cast_slice(head));
    for (r, row) in rows[..p.rows as usize].iter().enumerate() {
        let (attention, ffn) = match (row.position, head.mode) {
            (PADDING, _) => (NO_BRANCH, NO_BRANCH),
            (_, BY_LIST) => there_are(
                p,
                layers[p.layer as usize] & 3,
                layers[p.layer as usize] >> 2,
            ),
            (position, BY_SHARES) => {
                let bits = pcg4d([head.seed, p.layer, position, 0]);
                let attention = if bits[0] < head.attention_low {
                    LOW
                } else {
                    FULL
                };
                let ffn = match bits[1] {
                    b if b < head.ffn_low => LOW,
                    b if b < head.ffn_skip => SKIPPED,
                    _ => FULL,
                };
                there_are(p, attention, ffn)
            }
            (position, _) if position < p.dense_tokens => (FULL, FULL),
            _ => decide(p, &head, &logits(p, &router, r)),
        };
        routes[r * WORDS as usize] = attention | ffn << 2;
    }
    if p.places != 0 {
        place_rows(p, rows, routes, paths);
    }
}

fn there_are(p: &Params, attention: u32, ffn: u32) -> (u32, u32) {
    (
        if p.has_low_attention == 0 {
            FULL
        } else {
            attention
        },
        if p.has_low_ffn == 0 && ffn == LOW {
            FULL
        } else {
            ffn
        },
    )
}

/// The five logits of a row.
fn logits(p: &Params, router: &Router<'_>, r: usize) -> [f32; 5] {
    let cols = p.cols as usize;
    let mut x = vec![0.0; cols];
    super::rms_norm::norm(&router.x[r * cols..][..cols], router.gains, p.eps, &mut x);
    if p.silu != 0 {
        for x in &mut x {
            *x = (f64::from(*x) / (1.0 + f64::from(-*x).exp())) as f32;
        }
    }
    let stride = cols.next_multiple_of(32);
    std::array::from_fn(|j| {
        (dot(&x, &router.weight[j * stride..][..cols]) + f64::from(router.bias[j])) as f32
    })
}

fn decide(p: &Params, settings: &Settings, logits: &[f32; 5]) -> (u32, u32) {
    let [full, low, ffn_full, ffn_low, skip] = *logits;
    let attention = u32::from(p.has_low_attention != 0 && low > full + settings.attention_offset);
    let mut ffn = (ffn_full + settings.ffn_offset, FULL);
    if p.has_low_ffn != 0 && ffn_low > ffn.0 {
        ffn = (ffn_low, LOW);
    }
    if skip > ffn.0 {
        ffn = (skip, SKIPPED);
    }
    (attention, ffn.1)
}

/// The lists of rows by branch in `routes`, and in `paths`, `[n_sequences, n_ctx]`, what each position took and how
/// many rows up to it are cached as they are.
pub fn place_rows(p: &Params, rows: &[Row], routes: &mut [u32], paths: &mut [u32]) {
    let words = WORDS as usize;
    let real: Vec<(usize, Row)> = rows[..p.rows as usize]
        .iter()
        .copied()
        .enumerate()
        .filter(|(_, row)| row.position != PADDING)
        .collect();
    let branches = |r: usize, routes: &[u32]| (routes[r * words] & 3, routes[r * words] >> 2);
    if p.rows >= MATMUL_ROWS {
        let mut by_attention: Vec<usize> = real.iter().map(|&(r, _)| r).collect();
        let mut by_ffn = by_attention.clone();
        by_attention.sort_by_key(|&r| branches(r, routes).0);
        by_ffn.sort_by_key(|&r| branches(r, routes).1);
        let count = |branch: u32, ffn: bool, routes: &[u32]| {
            let of = |&&(r, _): &&(usize, Row)| {
                let (a, f) = branches(r, routes);
                branch == if ffn { f } else { a }
            };
            real.iter().filter(of).count() as u32
        };
        let counts = [
            (FULL, false),
            (LOW, false),
            (FULL, true),
            (LOW, true),
            (SKIPPED, true),
        ];
        for (i, (branch, ffn)) in counts.into_iter().enumerate() {
            routes[i * words + 3] = count(branch, ffn, routes);
        }
        for (i, (&a, &f)) in by_attention.iter().zip(&by_ffn).enumerate() {
            routes[i * words + 1] = a as u32;
            routes[i * words + 2] = f as u32;
        }
    }
    for &(r, row) in &real {
        let sequence = &mut paths[(row.sequence * p.n_ctx) as usize..];
        let before = match row.position {
            0 => 0,
            position => sequence[position as usize - 1] & N_DENSE,
        };
        let (attention, ffn) = branches(r, routes);
        let n_dense = match p.all_dense {
            0 => before + u32::from(attention == FULL),
            _ => row.position + 1,
        };
        sequence[row.position as usize] = n_dense | attention << 24 | ffn << 25;
    }
}
