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
    /// `x · weightᵀ + bias` → `[rows of x, rows of weight]`.
    Linear {
        /// The input.
        x: ValueId,
        /// `[outputs, inputs]`.
        weight: WeightId,
        /// `[outputs]`.
        bias: Option<WeightId>,
    },
    /// Rotates each head of `x` by its row's position → as `x`.
    Rope {
        /// `[Step, n_heads * head_dim]`.
        x: ValueId,
        /// Width of a head.
        head_dim: u32,
        /// The frequencies; twice their number of dimensions are rotated.
        rope: RopeId,
    },
    /// Stores keys and values of the step's rows in `layer`'s cache. Makes no value.
    CacheWrite {
        /// Which cache.
        layer: u32,
        /// `[Step, n_kv_heads * head_dim]`.
        k: ValueId,
        /// `[Step, n_kv_heads * head_dim]`.
        v: ValueId,
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
    /// `act(gate) * up` → as `gate`.
    GatedAct {
        /// Goes through the activation.
        gate: ValueId,
        /// Multiplies it.
        up: ValueId,
        /// The activation.
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
            Op::Rope { .. } => "rope",
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
            | Op::Rope { x, .. }
            | Op::OutRows { x } => vec![x],
            Op::CacheWrite { k, v, .. } => vec![k, v],
            Op::Attention { q, .. } => vec![q],
            Op::GatedAct { gate, up, .. } => vec![gate, up],
            Op::Add { a, b } => vec![a, b],
        }
    }

    /// Shape of the result, or the rule that is broken. A cache write gives the shape of `k`.
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
            Op::Linear { x, weight: w, bias } => {
                quads(value(x).cols)?;
                equal("inputs of the weight", value(x).cols, weight(w).cols)?;
                if let Some(bias) = bias {
                    equal("length of the bias", weight(w).rows, weight(bias).cols)?;
                }
                Ok(Value {
                    rows: value(x).rows,
                    cols: weight(w).rows,
                })
            }
            Op::Rope { x, head_dim, rope } => {
                multiple("width of x", head_dim, value(x).cols)?;
                let rotary_dim = 2 * graph.ropes[rope.0 as usize].inv_freq.len() as u32;
                equal("rotary_dim", rotary_dim.min(head_dim), rotary_dim)?;
                Ok(value(x))
            }
            Op::CacheWrite { k, v, .. } => {
                quads(value(k).cols)?;
                equal("width of v", value(k).cols, value(v).cols)?;
                Ok(value(k))
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
            Op::GatedAct { gate: a, up: b, .. } | Op::Add { a, b } => {
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
