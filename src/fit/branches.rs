//! How far a layer's cheap branches are off, token by token, computed beside the device in f32.

use faer::{Mat, MatRef};

use super::{Error, Factors, Linear};
use crate::engine::Engine;
use crate::graph::{Activation, Op};
use crate::session::{Tap, TapKind};

/// Branches that may take the place of a full one: low attention, low FFN, no FFN.
pub(super) const N_BRANCHES: usize = 3;

/// The least relative error that is told from none: below it rounding decides.
const LEAST: f64 = 1e-6;

/// A layer's linears in both forms.
pub(super) struct Branches<'a> {
    linears: Vec<Both<'a>>,
    activation: Activation,
    /// Of the rows that are on their way through the layer.
    attention: Vec<f64>,
    middle: Vec<f32>,
    low_ffn: Mat<f32>,
}

/// A linear and what stands for it.
struct Both<'a> {
    linear: Linear,
    shape: (usize, usize),
    /// `[d_out, d_in]`; empty where only the low form is asked for.
    weight: Vec<f32>,
    bias: Option<Vec<f32>>,
    factors: Option<&'a Factors>,
}

impl<'a> Branches<'a> {
    /// Reads a layer's weights. `factors` are those of [`Linear::ALL`].
    pub(super) async fn new(
        engine: &Engine,
        layer: u32,
        factors: [Option<&'a Factors>; 7],
    ) -> Result<Self, Error> {
        let mut linears = vec![];
        for (linear, factors) in Linear::ALL.into_iter().zip(factors) {
            let (id, d_out, d_in) = linear.weight(engine, layer).ok_or(Error::Linear {
                layer,
                linear: linear.name(),
            })?;
            let bias = match linear.bias(engine, layer) {
                Some(id) => Some(engine.weight(id).await?),
                None => None,
            };
            // What gate and up make in full comes with the input of down.
            let is_tapped = matches!(linear, Linear::Gate | Linear::Up) && factors.is_some();
            linears.push(Both {
                linear,
                shape: (d_out, d_in),
                weight: if is_tapped {
                    vec![]
                } else {
                    engine.weight(id).await?
                },
                bias,
                factors,
            });
        }
        let activations = engine.model().graph.nodes().iter();
        let mut activations = activations.filter_map(|node| match node.op {
            Op::GatedAct { activation, .. } => Some(activation),
            _ => None,
        });
        Ok(Self {
            linears,
            activation: activations.next().unwrap_or(Activation::Silu),
            attention: vec![],
            middle: vec![],
            low_ffn: Mat::new(),
        })
    }

    /// Takes the next value of some rows; returns each row's errors once the layer is through:
    /// for [`N_BRANCHES`] the logarithm of the length of the error in the residual stream, in parts
    /// of the stream.
    ///
    /// The FFN's are exact for the token's own input. The attention's is a stand-in, since a
    /// token's low keys and values reach others: the relative error of q, k and v together, and
    /// that of o for the true input, both taken to reach the stream in the proportion of the
    /// attention's output to it.
    pub(super) fn take(&mut self, tap: &Tap<'_>) -> Option<Vec<[f64; N_BRANCHES]>> {
        let x = rows(tap.values, tap.cols);
        match tap.kind {
            TapKind::Entry => self.attention = vec![],
            TapKind::Attention => self.attention = self.projections(x),
            TapKind::Output => self.attention_out(x),
            TapKind::Middle => {
                let lengths = tap.values.chunks_exact(tap.cols).map(length);
                for (error, stream) in self.attention.iter_mut().zip(lengths) {
                    *error = ratio(*error, stream);
                }
                self.middle = tap.values.to_vec();
            }
            TapKind::Ffn => self.low_ffn = self.low_ffn(x),
            TapKind::Down => return Some(self.ffn(x)),
        }
        None
    }

    /// The squared relative error of q, k and v side by side.
    fn projections(&self, x: MatRef<'_, f32>) -> Vec<f64> {
        let (mut wrong, mut all) = (vec![0.0; x.ncols()], vec![0.0; x.ncols()]);
        for linear in [Linear::Q, Linear::K, Linear::V] {
            let full = self.both(linear).full(x);
            let low = self.both(linear).low(x);
            for t in 0..x.ncols() {
                wrong[t] += squares(difference(&full, &low, t));
                all[t] += squares(full.col_as_slice(t).iter().copied());
            }
        }
        wrong.iter().zip(&all).map(|(&w, &a)| ratio(w, a)).collect()
    }

    /// Makes the error of the projections that of the attention's output.
    fn attention_out(&mut self, x: MatRef<'_, f32>) {
        let full = self.both(Linear::O).full(x);
        let low = self.both(Linear::O).low(x);
        for (t, error) in self.attention.iter_mut().enumerate() {
            let all = squares(full.col_as_slice(t).iter().copied());
            *error = (*error * all + squares(difference(&full, &low, t))).sqrt();
        }
    }

    fn low_ffn(&self, x: MatRef<'_, f32>) -> Mat<f32> {
        let mut inner = self.both(Linear::Gate).low(x);
        let up = self.both(Linear::Up).low(x);
        for t in 0..inner.ncols() {
            let gate = inner.col_as_slice_mut(t);
            for (gate, up) in gate.iter_mut().zip(up.col_as_slice(t)) {
                *gate = activate(self.activation, *gate) * up;
            }
        }
        self.both(Linear::Down).low(inner.as_ref())
    }

    fn ffn(&self, x: MatRef<'_, f32>) -> Vec<[f64; N_BRANCHES]> {
        let full = self.both(Linear::Down).full(x);
        let middle = self.middle.chunks_exact(full.nrows());
        let errors = middle.enumerate().map(|(t, middle)| {
            let full_row = full.col_as_slice(t);
            let sums = middle.iter().zip(full_row).map(|(a, b)| a + b);
            let stream = squares(sums).sqrt();
            let low = squares(difference(&full, &self.low_ffn, t)).sqrt();
            [
                self.attention[t],
                ratio(low, stream),
                ratio(length(full_row), stream),
            ]
        });
        errors
            .map(|errors| errors.map(|error| error.max(LEAST).ln()))
            .collect()
    }

    fn both(&self, linear: Linear) -> &Both<'a> {
        let found = self.linears.iter().find(|both| both.linear == linear);
        found.expect("a layer has all seven")
    }
}

impl Both<'_> {
    /// `W x + bias`, a column a token.
    fn full(&self, x: MatRef<'_, f32>) -> Mat<f32> {
        let (d_out, d_in) = self.shape;
        self.with_bias(MatRef::from_row_major_slice(&self.weight, d_out, d_in) * x)
    }

    /// `B D x + bias`, or the full product where there are no factors.
    fn low(&self, x: MatRef<'_, f32>) -> Mat<f32> {
        match self.factors {
            Some(factors) => self.with_bias(&factors.b * (&factors.d * x)),
            None => self.full(x),
        }
    }

    fn with_bias(&self, mut y: Mat<f32>) -> Mat<f32> {
        if let Some(bias) = &self.bias {
            for t in 0..y.ncols() {
                for (y, bias) in y.col_as_slice_mut(t).iter_mut().zip(bias) {
                    *y += bias;
                }
            }
        }
        y
    }
}

/// Rows of `cols` elements as columns.
fn rows(values: &[f32], cols: usize) -> MatRef<'_, f32> {
    MatRef::from_column_major_slice(values, cols, values.len() / cols)
}

fn activate(activation: Activation, x: f32) -> f32 {
    match activation {
        Activation::Silu => x / (1.0 + (-x).exp()),
        Activation::Gelu => {
            let inner = (2.0 / std::f32::consts::PI).sqrt() * (x + 0.044_715 * x * x * x);
            0.5 * x * (1.0 + inner.tanh())
        }
    }
}

fn difference(a: &Mat<f32>, b: &Mat<f32>, t: usize) -> impl Iterator<Item = f32> {
    let pairs = a.col_as_slice(t).iter().zip(b.col_as_slice(t));
    pairs.map(|(a, b)| a - b)
}

fn squares(values: impl Iterator<Item = f32>) -> f64 {
    values.map(|v| f64::from(v) * f64::from(v)).sum()
}

fn length(values: &[f32]) -> f64 {
    squares(values.iter().copied()).sqrt()
}

/// `a / b`, and 0 for nothing of nothing.
fn ratio(a: f64, b: f64) -> f64 {
    if a == 0.0 {
        0.0
    } else {
        a / b.max(f64::MIN_POSITIVE)
    }
}
