//! What is computed: values with shapes, and operations in order.
//!
//! A graph knows neither formats nor devices. Its rows are symbolic ([`Rows`]): one graph serves
//! prefill, decode and batches; the plan gives them numbers.

mod flat;
mod op;
mod routing;

pub use flat::{Flat, MAX_COLUMNS, MAX_COPIES, MAX_LEVEL};
pub use op::{Activation, Branches, Factors, HeadNorm, Op, Projection};
pub use routing::{ALL_FULL, CacheMode, LayerRanks, N_LOGITS, PREFIX, RouterKind, Routing};

use std::fmt;

/// A value that an operation makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ValueId(pub u32);

/// A parameter of the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WeightId(pub u32);

/// A table of rotary frequencies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RopeId(pub u32);

/// A way of making integers of a product's input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FlatId(pub u32);

/// How many rows a value has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rows {
    /// One a token of the step.
    Step,
    /// One a token whose logits are asked for.
    Out,
}

/// A value's shape: `[rows, cols]`, f32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Value {
    /// Number of rows.
    pub rows: Rows,
    /// Number of columns.
    pub cols: u32,
}

/// A parameter's name and shape. A vector has one row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Weight {
    /// The tensor's name, as Hugging Face writes it.
    pub name: String,
    /// Outputs of a matrix, 1 for a vector.
    pub rows: u32,
    /// Inputs of a matrix, or the length of a vector.
    pub cols: u32,
    /// Norms and biases.
    pub is_vector: bool,
    /// Whether it stays in f32 whatever is asked for, as vectors do, rather than being quantised.
    pub is_exact: bool,
}

/// Rotary frequencies of one table.
#[derive(Clone, Debug, PartialEq)]
pub struct Rope {
    /// Radians a position for each pair of dimensions, from the fastest to the slowest.
    pub inv_freq: Vec<f64>,
    /// Whether a pair is two neighbours (GGUF's Llama) rather than two halves (Hugging Face).
    pub interleaved: bool,
}

/// One operation and the value that it makes.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// What is done.
    pub op: Op,
    /// What it makes.
    pub out: ValueId,
    /// Where in the model, for listings: `layers.3.attention`.
    pub label: String,
}

/// Operations in order, with the parameters and values that they name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Graph {
    values: Vec<Value>,
    weights: Vec<Weight>,
    ropes: Vec<Rope>,
    flats: Vec<Flat>,
    nodes: Vec<Node>,
    kv_heads: Vec<KvHeads>,
    label: String,
}

/// The heads of a cached key, and of its value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KvHeads {
    /// How many.
    pub n: u32,
    /// Width of one.
    pub dim: u32,
}

impl KvHeads {
    /// Columns of a key.
    pub const fn cols(self) -> u32 {
        self.n * self.dim
    }
}

/// A shape rule that an operation breaks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{label}: {op}: {what} is {found}, expected {expected}")]
pub struct Error {
    /// Where in the model.
    pub label: String,
    /// The operation.
    pub op: &'static str,
    /// What does not fit.
    pub what: &'static str,
    /// The number that the rule asks for.
    pub expected: u32,
    /// The number that was given.
    pub found: u32,
}

impl Graph {
    /// The values, by id.
    pub fn values(&self) -> &[Value] {
        &self.values
    }

    /// The parameters, by id.
    pub fn weights(&self) -> &[Weight] {
        &self.weights
    }

    /// The rotary tables, by id.
    pub fn ropes(&self) -> &[Rope] {
        &self.ropes
    }

    /// The ways of making integers of inputs, by id.
    pub fn flats(&self) -> &[Flat] {
        &self.flats
    }

    /// The operations in order.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The heads of the keys (and values) that each layer caches.
    pub fn kv_heads(&self) -> &[KvHeads] {
        &self.kv_heads
    }

    /// Whether any layer lets its rows take branches.
    pub fn is_routed(&self) -> bool {
        let is_route = |node: &Node| matches!(node.op, Op::Route { .. });
        self.nodes.iter().any(is_route)
    }

    /// Whether a parameter is multiplied with integers, which takes one scale a row of it.
    pub fn is_flat(&self, id: WeightId) -> bool {
        self.nodes.iter().any(|node| match &node.op {
            Op::Linear {
                parts,
                flat: Some(_),
                ..
            } => parts.iter().any(|part| part.weight == id),
            _ => false,
        })
    }

    /// The value made last: the logits of a whole model.
    pub fn result(&self) -> Option<ValueId> {
        self.nodes.last().map(|node| node.out)
    }

    /// Names the part of the model that the next operations belong to.
    pub fn enter(&mut self, label: impl Into<String>) {
        self.label = label.into();
    }

    /// Declares a matrix `[rows, cols]`, or finds it if its name was declared before.
    pub fn matrix(&mut self, name: impl Into<String>, rows: u32, cols: u32) -> WeightId {
        self.weight(Weight {
            name: name.into(),
            rows,
            cols,
            is_vector: false,
            is_exact: false,
        })
    }

    /// Declares a matrix `[rows, cols]` that is not quantised.
    pub fn exact_matrix(&mut self, name: impl Into<String>, rows: u32, cols: u32) -> WeightId {
        self.weight(Weight {
            name: name.into(),
            rows,
            cols,
            is_vector: false,
            is_exact: true,
        })
    }

    /// Declares a vector `[len]`.
    pub fn vector(&mut self, name: impl Into<String>, len: u32) -> WeightId {
        self.weight(Weight {
            name: name.into(),
            rows: 1,
            cols: len,
            is_vector: true,
            is_exact: true,
        })
    }

    /// Declares a table of rotary frequencies.
    pub fn rope_table(&mut self, rope: Rope) -> RopeId {
        self.ropes.push(rope);
        RopeId(self.ropes.len() as u32 - 1)
    }

    /// Declares how an input becomes integers.
    pub fn flat(&mut self, flat: Flat) -> FlatId {
        self.flats.push(flat);
        FlatId(self.flats.len() as u32 - 1)
    }

    fn weight(&mut self, weight: Weight) -> WeightId {
        if let Some(at) = self.weights.iter().position(|w| w.name == weight.name) {
            debug_assert_eq!(self.weights[at], weight, "one name, one shape");
            return WeightId(at as u32);
        }
        self.weights.push(weight);
        WeightId(self.weights.len() as u32 - 1)
    }

    /// Adds an operation, checking its shapes; returns the value that it makes.
    ///
    /// # Errors
    /// The rule of [`Op`] that the inputs break.
    pub fn push(&mut self, op: Op) -> Result<ValueId, Error> {
        let value = op.output(self).map_err(|rule| Error {
            label: self.label.clone(),
            op: op.name(),
            what: rule.what,
            expected: rule.expected,
            found: rule.found,
        })?;
        if let Op::CacheWrite {
            layer,
            qkv,
            head_dim,
            ..
        } = op
        {
            let kv_dim = (self.values[qkv.0 as usize].cols - value.cols) / 2;
            let heads = KvHeads {
                n: kv_dim / head_dim,
                dim: head_dim,
            };
            let layers = self.kv_heads.len().max(layer as usize + 1);
            self.kv_heads.resize(layers, heads);
        }
        self.values.push(value);
        let id = ValueId(self.values.len() as u32 - 1);
        self.nodes.push(Node {
            op,
            out: id,
            label: self.label.clone(),
        });
        Ok(id)
    }
}

impl fmt::Display for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for node in &self.nodes {
            let value = self.values[node.out.0 as usize];
            write!(f, "%{} [{:?}, {}] = ", node.out.0, value.rows, value.cols)?;
            writeln!(f, "{:?}  # {}", node.op, node.label)?;
        }
        Ok(())
    }
}
