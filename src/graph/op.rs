//! The operations, and the shape rule of each.

use super::{FlatId, Graph, N_LOGITS, RopeId, Rows, Value, ValueId, WeightId};

/// What multiplies the other half of a gated feed-forward network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// `x * sigmoid(x)`.
    Silu,
    /// GELU in its tanh form.
    Gelu,
}

/// One matrix of a [`Op::Linear`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Projection {
    /// `[outputs, inputs]`.
    pub weight: WeightId,
    /// `[outputs]`.
    pub bias: Option<WeightId>,
}

/// What rows take in the place of a [`Op::Linear`]'s weights in a routed layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Branches {
    /// The layer's routes.
    pub routes: ValueId,
    /// Whether they are taken by the branches of the FFN rather than of the attention.
    pub is_ffn: bool,
    /// For each projection the factors that rows on the low-rank branch multiply with in its place.
    pub factors: Vec<Option<Factors>>,
}

/// `weight ≈ b · d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Factors {
    /// `[outputs, rank]`.
    pub b: WeightId,
    /// `[rank, inputs]`.
    pub d: WeightId,
}

/// Root-mean-square norms over the heads of queries and keys (Qwen3).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HeadNorm {
    /// Gains of the queries, `[head_dim]`.
    pub q: WeightId,
    /// Gains of the keys, `[head_dim]`.
    pub k: WeightId,
    /// Added to the mean square.
    pub eps: f32,
}

/// An operation on rows. Shapes are `[rows, cols]`; `x`, `a`, `b` and the like are earlier values.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// The rows of `table` `[vocab, dim]` that belong to the step's tokens, times `scale` → `[Step, dim]`.
    Embed {
        /// The embedding matrix.
        table: WeightId,
        /// Multiplies each element.
        scale: f32,
    },
    /// Root-mean-square norm of each group of `weight`'s length in a row, times `weight` → as `x`.
    RmsNorm {
        /// The input.
        x: ValueId,
        /// The gains, as long as a group: the whole row, or one head.
        weight: WeightId,
        /// Added to the mean square.
        eps: f32,
    },
    /// `x · weightᵀ + bias` for each projection, side by side → `[rows of x, sum of their outputs]`.
    Linear {
        /// The input.
        x: ValueId,
        /// Projections of the same input.
        parts: Vec<Projection>,
        /// In a routed layer: rows on the low-rank branch multiply with factors, skipped ones with nothing and
        /// make zeros. What is made of rows that nothing needs is left undefined.
        branches: Option<Branches>,
        /// How the input of many rows becomes integers, where the weights have one scale a row.
        flat: Option<FlatId>,
    },
    /// Decides which branches the rows take in a layer → its routes, `[Step, 4]` words; see
    /// `shaders/lib/routes.wgsl`.
    Route {
        /// Which layer.
        layer: u32,
        /// The residual stream, or what a router's hidden layer makes of it.
        x: ValueId,
        /// Gains of a norm over it.
        norm: WeightId,
        /// Added to the mean square.
        eps: f32,
        /// Whether it goes through SiLU behind the norm.
        silu: bool,
        /// `[5, cols of x]`.
        weight: WeightId,
        /// `[5]`.
        bias: WeightId,
        /// The first positions of a sequence, which the router leaves on the full branches.
        dense_tokens: u32,
        /// Whether the attention has a low-rank branch, and whether the FFN has one.
        has_low: [bool; 2],
    },
    /// Norms and rotates the heads of queries and keys, stores keys and values of the step's rows in `layer`'s cache
    /// → the queries, `[Step, n_heads * head_dim]`.
    CacheWrite {
        /// Which cache.
        layer: u32,
        /// Queries, keys and values side by side: `[Step, (n_heads + 2 * n_kv_heads) * head_dim]`.
        qkv: ValueId,
        /// Heads of the queries.
        n_heads: u32,
        /// Width of a head.
        head_dim: u32,
        /// A norm over each head of queries and keys, before the rotation.
        norm: Option<HeadNorm>,
        /// Frequencies by which queries and keys are rotated; twice their number of dimensions are.
        rope: Option<RopeId>,
    },
    /// Causal attention of `q` over `layer`'s cache, which must hold the step's rows → as `q`.
    Attention {
        /// Which cache.
        layer: u32,
        /// `[Step, n_heads * head_dim]`.
        q: ValueId,
        /// Width of a head.
        head_dim: u32,
        /// Keys that a row sees, its own included; `None` for all.
        window: Option<u32>,
        /// Multiplies the scores.
        scale: f32,
        /// Bends the scores into ±softcap.
        softcap: Option<f32>,
    },
    /// `act(gate) * up` → half as wide as `x`.
    GatedAct {
        /// Gate and up, side by side.
        x: ValueId,
        /// What the gate goes through.
        activation: Activation,
    },
    /// `a + b` → as `a`.
    Add {
        /// One summand.
        a: ValueId,
        /// The other.
        b: ValueId,
    },
    /// The rows whose logits are asked for → `[Out, cols of x]`.
    OutRows {
        /// `[Step, cols]`.
        x: ValueId,
    },
}

pub(super) struct Rule {
    pub(super) what: &'static str,
    pub(super) expected: u32,
    pub(super) found: u32,
}

fn equal(what: &'static str, expected: u32, found: u32) -> Result<(), Rule> {
    if expected == found {
        return Ok(());
    }
    Err(Rule {
        what,
        expected,
        found,
    })
}

/// `found` is a whole multiple of `expected`.
fn multiple(what: &'static str, expected: u32, found: u32) -> Result<(), Rule> {
    if expected > 0 && found > 0 && found.is_multiple_of(expected) {
        return Ok(());
    }
    Err(Rule {
        what,
        expected,
        found,
    })
}

impl Op {
    /// Name for messages.
    pub fn name(&self) -> &'static str {
        match self {
            Op::Embed { .. } => "embed",
            Op::RmsNorm { .. } => "rms_norm",
            Op::Linear { .. } => "linear",
            Op::Route { .. } => "route",
            Op::CacheWrite { .. } => "cache_write",
            Op::Attention { .. } => "attention",
            Op::GatedAct { .. } => "gated_act",
            Op::Add { .. } => "add",
            Op::OutRows { .. } => "out_rows",
        }
    }

    /// The values that the operation reads.
    pub fn inputs(&self) -> Vec<ValueId> {
        match *self {
            Op::Embed { .. } => vec![],
            Op::Linear {
                x, ref branches, ..
            } => {
                let routes = branches.iter().map(|branches| branches.routes);
                [x].into_iter().chain(routes).collect()
            }
            Op::RmsNorm { x, .. }
            | Op::Route { x, .. }
            | Op::GatedAct { x, .. }
            | Op::OutRows { x } => vec![x],
            Op::CacheWrite { qkv, .. } => vec![qkv],
            Op::Attention { q, .. } => vec![q],
            Op::Add { a, b } => vec![a, b],
        }
    }

    /// Shape of the result, or the rule that is broken.
    pub(super) fn output(&self, graph: &Graph) -> Result<Value, Rule> {
        let value = |id: ValueId| graph.values[id.0 as usize];
        let weight = |id: WeightId| &graph.weights[id.0 as usize];
        // Rows are read in groups of four elements.
        let quads = |cols| multiple("number of columns", 4, cols);
        match *self {
            Op::Embed { table, .. } => {
                let cols = weight(table).cols;
                quads(cols)?;
                Ok(Value {
                    rows: Rows::Step,
                    cols,
                })
            }
            Op::RmsNorm { x, weight: w, .. } => {
                quads(weight(w).cols)?;
                multiple("width of x", weight(w).cols, value(x).cols)?;
                Ok(value(x))
            }
            Op::Route {
                x,
                norm,
                weight: w,
                bias,
                ..
            } => {
                quads(value(x).cols)?;
                equal("length of the gains", value(x).cols, weight(norm).cols)?;
                equal("inputs of the weight", value(x).cols, weight(w).cols)?;
                equal("outputs of the weight", N_LOGITS, weight(w).rows)?;
                equal("length of the bias", N_LOGITS, weight(bias).cols)?;
                Ok(Value {
                    rows: value(x).rows,
                    cols: 4,
                })
            }
            Op::Linear {
                x,
                ref parts,
                ref branches,
                flat,
            } => {
                quads(value(x).cols)?;
                if let Some(flat) = flat {
                    let copies = &graph.flats[flat.0 as usize].copies;
                    equal("columns with copies", value(x).cols, copies.len() as u32)?;
                }
                if let Some(branches) = branches {
                    equal("factors", parts.len() as u32, branches.factors.len() as u32)?;
                    let substituted = parts.iter().zip(&branches.factors);
                    for (part, factors) in substituted {
                        let Some(factors) = factors else { continue };
                        let (w, b, d) = (weight(part.weight), weight(factors.b), weight(factors.d));
                        quads(d.rows)?;
                        equal("outputs of the factors", w.rows, b.rows)?;
                        equal("inputs of the factors", w.cols, d.cols)?;
                        equal("rank of the factors", d.rows, b.cols)?;
                    }
                }
                let mut cols = 0;
                for part in parts {
                    let w = weight(part.weight);
                    equal("inputs of the weight", value(x).cols, w.cols)?;
                    if let Some(bias) = part.bias {
                        equal("length of the bias", w.rows, weight(bias).cols)?;
                    }
                    cols += w.rows;
                }
                Ok(Value {
                    rows: value(x).rows,
                    cols,
                })
            }
            Op::CacheWrite {
                qkv,
                n_heads,
                head_dim,
                norm,
                rope,
                ..
            } => {
                quads(head_dim)?;
                let q_dim = n_heads * head_dim;
                let kv_dims = value(qkv).cols.saturating_sub(q_dim);
                multiple("width of keys and values", 2 * head_dim, kv_dims)?;
                if let Some(norm) = norm {
                    equal(
                        "length of the queries' gains",
                        head_dim,
                        weight(norm.q).cols,
                    )?;
                    equal("length of the keys' gains", head_dim, weight(norm.k).cols)?;
                }
                if let Some(rope) = rope {
                    let rotary_dim = 2 * graph.ropes[rope.0 as usize].inv_freq.len() as u32;
                    equal("rotary_dim", rotary_dim.min(head_dim), rotary_dim)?;
                }
                Ok(Value {
                    rows: value(qkv).rows,
                    cols: q_dim,
                })
            }
            Op::Attention {
                layer, q, head_dim, ..
            } => {
                quads(head_dim)?;
                let Some(&kv_heads) = graph.kv_heads.get(layer as usize) else {
                    return Err(Rule {
                        what: "number of caches written",
                        expected: layer + 1,
                        found: graph.kv_heads.len() as u32,
                    });
                };
                equal("width of a cached head", kv_heads.dim, head_dim)?;
                multiple("width of q", kv_heads.cols(), value(q).cols)?;
                Ok(value(q))
            }
            Op::GatedAct { x, .. } => {
                multiple("width of gate and up", 8, value(x).cols)?;
                Ok(Value {
                    cols: value(x).cols / 2,
                    ..value(x)
                })
            }
            Op::Add { a, b } => {
                quads(value(a).cols)?;
                equal("width of the second input", value(a).cols, value(b).cols)?;
                Ok(value(a))
            }
            Op::OutRows { x } => Ok(Value {
                rows: Rows::Out,
                cols: value(x).cols,
            }),
        }
    }
}
