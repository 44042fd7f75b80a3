//! From a model and a text to low-rank factors and a router, without training.
//!
//! The text goes through the engine's own kernels ([`Session::trace`](crate::Session::trace)), a
//! group of layers at a time. A first pass gathers the second moments of what each linear reads
//! ([`Moment`]), from which its factors follow ([`Factors`]) at a rank ([`uniform`], [`allocate`]).
//! A second one computes, token by token, how far each cheap branch is off, and fits the router to
//! it ([`Regression`]); its predictions give the offsets of each effort ([`offsets`]). What comes of it is
//! measured on text that was held out ([`Meter`]).
//!
//! Memory: a layer's moments are `8·(2·dim² + (n_heads·head_dim)² + ffn_dim²)` bytes, in the second
//! pass its weights in f32 and `64·dim²` bytes of regression. With a dim of 2048 and an ffn_dim of
//! 8192 (the shape of Llama 3.2 1B) that is 0.6 and 0.4 GiB a layer, beside 0.7 GiB for the algebra
//! of the largest linear; as many layers are taken together as [`FitOptions::memory`] allows.
//!
//! Time: for that shape, on two cores, 1024 rows of the largest moment take 0.3 s, its product with
//! the weight 2.6 s and the eigenvectors of a matrix of 2048 rows 0.9 s; so no partial method is
//! needed, and the two passes of the text through the model decide.

mod branches;
mod caps;
mod draft;
mod factors;
mod flatten;
mod linear;
mod logits;
mod measure;
mod memory;
mod moments;
mod ranks;
mod round;
mod router;
mod run;
mod seen;
mod text;

pub use factors::{Basis, Factors};
pub use flatten::{FlattenOptions, FlattenReport, Flattened, InputReport, RoundedReport, flatten};
pub use linear::Linear;
pub use measure::{Measured, Meter, hold_out, static_lists};
pub use moments::Moment;
pub use ranks::{Candidate, allocate, most, uniform};
pub use router::{Decision, Offset, Regression, Solution, offsets};
pub use run::fit;

use crate::branch::Lora;
use crate::graph::Routing;

/// A text to learn from.
#[derive(Clone, Copy, Debug)]
pub struct Text<'a> {
    /// Its name, for the record.
    pub name: &'a str,
    /// Its content.
    pub text: &'a str,
}

/// How a model is fitted.
#[derive(Debug)]
pub struct FitOptions {
    /// Ranks in parts of each linear's smaller side.
    pub rank: f64,
    /// Whether ranks differ: what uniform ranks cost is given where it lowers the error most.
    pub allocate: bool,
    /// What the factors are chosen by.
    pub basis: Basis,
    /// Tokens of the text at most.
    pub n_tokens: usize,
    /// Tokens of a window, which is computed by itself.
    pub window: usize,
    /// First layers without branches; 2 where `None`, and at most a quarter of the layers.
    pub dense_layers: Option<u32>,
    /// First tokens of a sequence that take no branch. What they compute is not learned from:
    /// their activations are often larger than all others together.
    pub dense_tokens: u32,
    /// Bytes that may be used beside the model's own.
    pub memory: u64,
    /// An adapter whose B is taken for the linears that it has. With `W = W_pre + s·B·A` the
    /// low-rank branch is `B·(C + s·A)`, where `B·C ≈ W_pre` by least squares: that is `B·B⁺·W`. So
    /// A and s play no part, and the model is the one that the adapter has been merged into: its
    /// full branch is W.
    pub lora: Option<Lora>,
}

impl Default for FitOptions {
    fn default() -> Self {
        Self {
            rank: 0.25,
            allocate: false,
            basis: Basis::Whitened { damping: 1e-3 },
            n_tokens: 1 << 15,
            window: 512,
            dense_layers: None,
            dense_tokens: 2,
            memory: 12 << 30,
            lora: None,
        }
    }
}

/// What a fit is busy with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Windows of text through groups of layers, for the moments.
    Moments,
    /// Linears factored.
    Factors,
    /// Windows of text through groups of layers, for the router.
    Router,
    /// Layers whose weights have become integers.
    Rounded,
}

/// How far a stage has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FitProgress {
    /// The stage.
    pub stage: Stage,
    /// Done of it.
    pub done: usize,
    /// All of it.
    pub total: usize,
}

/// A tensor of a sidecar, row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// Its name.
    pub name: String,
    /// Its extents.
    pub shape: Vec<usize>,
    /// Its elements.
    pub values: Vec<f32>,
}

/// A model's branches: all that a sidecar states.
#[derive(Clone, Debug)]
pub struct Fitted {
    /// Ranks, and what is always full.
    pub routing: Routing,
    /// Factors and routers.
    pub tensors: Vec<Tensor>,
    /// Offsets by effort, ascending; the first is the cheapest, the last all full.
    pub effort: Vec<Offset>,
    /// How well it fits.
    pub report: Report,
}

/// How well factors and routers fit the text.
#[derive(Clone, Debug)]
pub struct Report {
    /// The texts' names.
    pub texts: Vec<String>,
    /// Tokens that went through the model.
    pub n_tokens: usize,
    /// By linear, in the order of the layers.
    pub linears: Vec<LinearReport>,
    /// By layer.
    pub routers: Vec<RouterReport>,
}

/// How well a linear's factors stand for it.
#[derive(Clone, Debug)]
pub struct LinearReport {
    /// The layer.
    pub layer: u32,
    /// The linear.
    pub linear: Linear,
    /// `[d_out, d_in]`.
    pub shape: [usize; 2],
    /// The rank.
    pub rank: usize,
    /// Part of `|W|²` that the factors have.
    pub captured: f64,
    /// `E|W x - B D x|² / E|W x|²` over the text.
    pub output_error: f64,
}

/// How well a layer's router foresees errors. Each for the low attention, the low FFN, no FFN.
#[derive(Clone, Debug)]
pub struct RouterReport {
    /// The layer.
    pub layer: u32,
    /// Part of the variance of the errors' logarithm that it foresees in text held out.
    pub r2: [f64; 3],
    /// Geometric mean of the errors, in parts of the residual stream.
    pub error: [f64; 3],
}

/// Why nothing was fitted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The model, the device, a file.
    #[error(transparent)]
    Engine(#[from] crate::error::Error),
    /// Too little text.
    #[error("the calibration text has {found} tokens, at least {expected} are needed")]
    Text {
        /// Fewest tokens.
        expected: usize,
        /// Tokens of the text.
        found: usize,
    },
    /// An option beyond what is possible.
    #[error("{option}: expected {expected}, found {found}")]
    Option {
        /// Which.
        option: &'static str,
        /// What is allowed.
        expected: &'static str,
        /// What was asked for.
        found: String,
    },
    /// A model that has been flattened before.
    #[error("{model}: is flattened already; flatten the model that it was made from")]
    Flattened {
        /// The model.
        model: String,
    },
    /// A model whose weights have been rounded before.
    #[error(
        "{model}: tensor {tensor:?} is quantised already, to {found}; flatten the model that it was made from, or take \
         it as it is (--requantize), and its errors add up"
    )]
    Quantized {
        /// The model.
        model: String,
        /// The first such tensor.
        tensor: String,
        /// Its format.
        found: &'static str,
    },
    /// Ranks that are no part of a side.
    #[error("rank: expected a part of the smaller side above 0 and at most 1, found {found}")]
    Rank {
        /// What was asked for.
        found: f64,
    },
    /// One layer at a time is still too much.
    #[error("fitting needs {need} bytes even with one layer at a time, {limit} are allowed")]
    Memory {
        /// Least bytes.
        need: u64,
        /// Bytes allowed.
        limit: u64,
    },
    /// A layer without one of the seven linears.
    #[error("layer {layer}: has no linear {linear:?} that could be substituted")]
    Linear {
        /// The layer.
        layer: u32,
        /// The linear's name.
        linear: &'static str,
    },
    /// Too many layers without branches.
    #[error("dense layers: expected at most {limit} of the model's {n_layers}, found {found}")]
    DenseLayers {
        /// Layers of the model.
        n_layers: u32,
        /// Most of them that may be dense.
        limit: u32,
        /// Those that would have no branches.
        found: u32,
    },
    /// Too little text to measure on.
    #[error("the text to measure on has {found} tokens, at least {expected} are needed")]
    HeldOut {
        /// Fewest tokens.
        expected: usize,
        /// Tokens of the text.
        found: usize,
    },
    /// A decomposition without a result.
    #[error("{tensor}: cannot be decomposed; its values or its inputs are not finite")]
    Algebra {
        /// The tensor.
        tensor: String,
    },
    /// An adapter's B that spans less than the kernels read at a time.
    #[error("{tensor}: expected a B of rank {expected} at least in the adapter, found {found}")]
    AdapterRank {
        /// The linear.
        tensor: String,
        /// Least rank.
        expected: usize,
        /// Directions that it spans.
        found: usize,
    },
}

impl From<crate::branch::Error> for Error {
    fn from(error: crate::branch::Error) -> Self {
        Self::Engine(error.into())
    }
}
