//! The operations, and the shape rule of each.

use super::{Graph, RopeId, Rows, Value, ValueId, WeightId};

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
            Op::RmsNorm { x, .. }
            | Op::Linear { x, .. }
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
            Op::Linear { x, ref parts } => {
                quads(value(x).cols)?;
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
                let Some(&kv_dim) = graph.cache_dims.get(layer as usize) else {
                    return Err(Rule {
                        what: "number of caches written",
                        expected: layer + 1,
                        found: graph.cache_dims.len() as u32,
                    });
                };
                multiple("width of the cache", head_dim, kv_dim)?;
                multiple("width of q", kv_dim, value(q).cols)?;
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
