//! A cache that keeps each token in the form that its path produced: which layers have one, and how its rows lie.

use std::ops::Range;

use super::Settings;
use crate::graph::{CacheMode, Factors, Graph, Op, ValueId, WeightId};
use crate::kernels::attention_latent::MAX_V_COLS;
use crate::kernels::{CacheType, PADDING, Row};

/// The two arenas of a routed layer's cache: rows of tokens on the full branch of the attention as they are, rows
/// of the others as latents. Each is `[n_sequences, its capacity]`, in order of positions; see
/// `shaders/lib/paths.wgsl`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arenas {
    /// Dense rows that each sequence has room for.
    pub dense: u32,
    /// Latent rows that each sequence has room for.
    pub latent: u32,
    /// How latents are stored.
    pub latents: CacheType,
    /// Columns of `c_k`, the first ones of a latent row; 0 where keys are kept as they are, behind the dense ones.
    pub k_cols: u32,
    /// Columns of `c_v`.
    pub v_cols: u32,
}

/// Rows that an arena begins with; where it grows, it has room for half as many more than are needed, or for an eighth
/// of those.
pub const ARENA_ROWS: u32 = 256;

/// The factors of keys and values of a layer, and where their latents lie among those of the product.
#[derive(Clone, Copy, Debug)]
pub(super) struct KeyValue {
    pub(super) k: Factors,
    pub(super) v: Factors,
    pub(super) k_bias: Option<WeightId>,
    pub(super) v_bias: Option<WeightId>,
    /// The first column of `c_k` and of `c_v`.
    pub(super) firsts: [u32; 2],
    /// Columns of all latents.
    pub(super) cols: u32,
}

/// What the product `qkv` makes keys and values from on its low-rank branch.
pub(super) fn key_value(graph: &Graph, qkv: ValueId) -> Option<KeyValue> {
    let node = graph.nodes().iter().find(|node| node.out == qkv)?;
    let Op::Linear {
        parts,
        branches: Some(branches),
        ..
    } = &node.op
    else {
        return None;
    };
    let rank = |factors: &Factors| graph.weights()[factors.d.0 as usize].rows;
    let (&[_, k_part, v_part], &[q, Some(k), Some(v)]) = (&parts[..], &branches.factors[..]) else {
        return None;
    };
    let k_first = q.as_ref().map_or(0, rank);
    let v_first = k_first + rank(&k);
    Some(KeyValue {
        k,
        v,
        k_bias: k_part.bias,
        v_bias: v_part.bias,
        firsts: [k_first, v_first],
        cols: v_first + rank(&v),
    })
}

impl Arenas {
    /// Those of each layer; `None` where rows are kept at their positions: in mode [`CacheMode::Dense`], in
    /// layers without low-rank keys and values, and where no kernel can read them.
    pub fn of_layers(
        graph: &Graph,
        mode: CacheMode,
        cache: CacheType,
        n_ctx: u32,
    ) -> Vec<Option<Self>> {
        let mut layers = vec![None; graph.kv_heads().len()];
        if mode == CacheMode::Dense {
            return layers;
        }
        for node in graph.nodes() {
            let Op::CacheWrite {
                layer, qkv, norm, ..
            } = node.op
            else {
                continue;
            };
            layers[layer as usize] = key_value(graph, qkv).and_then(|key_value| {
                let rank = |factors: Factors| graph.weights()[factors.d.0 as usize].rows;
                // A key made anew has a norm or a bias.
                let is_latent =
                    mode == CacheMode::Latent && (norm.is_none() || key_value.k_bias.is_none());
                let k_cols = if is_latent { rank(key_value.k) } else { 0 };
                let v_cols = rank(key_value.v);
                let are_blocks = |block| {
                    let first = key_value.firsts;
                    [k_cols, v_cols, first[0], first[1], key_value.cols]
                        .iter()
                        .all(|cols| cols % block == 0)
                };
                let latents = match cache {
                    CacheType::F32 => CacheType::F32,
                    CacheType::Q8 | CacheType::Q4 if are_blocks(32) => CacheType::Q8,
                    _ => CacheType::F16,
                };
                (are_blocks(4) && v_cols <= MAX_V_COLS).then_some(Self {
                    dense: ARENA_ROWS.min(n_ctx),
                    latent: ARENA_ROWS.min(n_ctx),
                    latents,
                    k_cols,
                    v_cols,
                })
            });
        }
        layers
    }

    /// Columns of a latent row.
    pub fn latent_cols(&self) -> u32 {
        self.k_cols + self.v_cols
    }
}

impl Settings {
    /// The arenas of a layer's cache, if it has some.
    pub fn arenas_of(&self, layer: u32) -> Option<&Arenas> {
        self.arenas.get(layer as usize)?.as_ref()
    }
}

/// How many rows of either kind each layer with arenas may hold of a sequence, at most.
///
/// Routers decide on the device. What the host knows is a position and how many rows before it are dense; of
/// later ones either kind is possible.
#[derive(Clone, Debug, Default)]
pub struct Held {
    /// Positions that are counted.
    position: u32,
    /// Dense and latent rows before it, by layer; none where there are no arenas.
    rows: Vec<[u32; 2]>,
}

impl Held {
    /// What a sequence of `position` rows holds by the words of its last position, layer by layer.
    pub fn new(position: u32, dense: impl Iterator<Item = u32>) -> Self {
        let split = |dense: u32| [dense.min(position), position - dense.min(position)];
        Self {
            position,
            rows: dense.map(split).collect(),
        }
    }

    /// Takes note that rows from `position` on are written.
    pub fn rewrite(&mut self, position: u32) {
        if position < self.position {
            self.position = position;
            for rows in &mut self.rows {
                *rows = rows.map(|n| n.min(position));
            }
        }
    }

    /// Dense and latent rows of a layer at most, once there are `end` positions.
    pub fn at_most(&self, layer: u32, end: u32) -> [u32; 2] {
        let added = end.saturating_sub(self.position);
        let held = self.rows.get(layer as usize).copied().unwrap_or_default();
        held.map(|n| n + added)
    }
}

/// The positions of a step's rows, sequence by sequence: the first one and the one behind the last.
pub fn spans(rows: &[Row]) -> Vec<(u32, Range<u32>)> {
    let mut spans: Vec<(u32, Range<u32>)> = vec![];
    for row in rows.iter().filter(|row| row.position != PADDING) {
        match spans
            .iter_mut()
            .find(|(sequence, _)| *sequence == row.sequence)
        {
            Some((_, span)) => {
                span.start = span.start.min(row.position);
                span.end = span.end.max(row.position + 1);
            }
            None => spans.push((row.sequence, row.position..row.position + 1)),
        }
    }
    spans
}
