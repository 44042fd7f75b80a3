//! The calls of products, with what is fused to them and the branches that rows take.

use super::Buffer;
use super::lower::{Lowering, is_gelu, vector};
use crate::graph::{Branches, Factors, FlatId, Op, Projection, WeightId};
use crate::kernels::linear::{Activations, Arm, Form, Input, MATMUL_ROWS, Output, has_int8};
use crate::kernels::{Call, linear};
use crate::tensor::DType;

/// A product before its weight is known.
#[derive(Clone, Copy)]
pub(super) struct Product {
    form: Form,
    pub(super) params: linear::Params,
    pub(super) x: Buffer,
    pub(super) gains: Option<Buffer>,
    residual: Option<Buffer>,
    routes: Option<Buffer>,
    y: Buffer,
    /// How `x` becomes integers, if it does.
    pub(super) flat: Option<FlatId>,
    /// The table of that.
    table: Option<Buffer>,
    /// `x` in bytes, made once for all projections.
    quantized: Option<Buffer>,
}

/// Branches as bits of [`linear::Params::branches`].
const FULL: u32 = 1;
const LOW: u32 = 2;
const SKIPPED: u32 = 4;

impl Lowering<'_> {
    /// A product with what is fused to it: one call for each run of stacked weights and piece of a large one; in
    /// a routed layer behind them those that make the outputs of rows on the low-rank branch from their latents.
    pub(super) fn linear(
        &mut self,
        at: usize,
        parts: &[Projection],
        branches: Option<&Branches>,
        flat: Option<FlatId>,
    ) {
        let node = &self.graph.nodes()[at];
        let mut params = linear::Params {
            rows: self.rows(node.out),
            y_cols: self.cols(node.out),
            ..Default::default()
        };
        let (input, x, gains) = self.input(&node.op, &mut params);
        let (output, y, residual) = self.output(at, &mut params);
        let mut product = Product {
            form: Form {
                dtype: DType::F32,
                input,
                output,
                arm: Arm::All,
            },
            params,
            x,
            gains,
            residual,
            routes: None,
            y,
            flat: flat.filter(|_| self.takes_integers(node)),
            table: None,
            quantized: None,
        };
        let Some(branches) = branches else {
            self.dense(&mut product, parts);
            return;
        };
        product.routes = Some(self.value(branches.routes));
        product.params.is_ffn = branches.is_ffn.into();
        let rank = |factors: &Option<Factors>| factors.map_or(0, |f| self.layout(f.d).rows);
        product.params.low_cols = branches.factors.iter().map(rank).sum();
        // A gate's rows that skip the FFN are never looked at.
        let needs_zeros = branches.is_ffn && !self.fusion.is_gated(at);
        let zeros = if needs_zeros { SKIPPED } else { 0 };
        self.routed(&mut product, parts, &branches.factors, zeros);
        product.params.zeros = 0;
        let wanted = self.wanted(node.out, parts.len());
        self.expand(&product, parts, &branches.factors, &wanted);
    }

    /// What ends a product: its output, where that goes, and what is added to it.
    fn output(&self, at: usize, params: &mut linear::Params) -> (Output, Buffer, Option<Buffer>) {
        let nodes = self.graph.nodes();
        let Some(last) = self.fusion.finished_by(at) else {
            return (Output::Plain, self.value(nodes[at].out), None);
        };
        let y = nodes[last].out;
        params.y_cols = self.cols(y);
        match nodes[last].op {
            Op::GatedAct { activation, .. } => {
                params.half = params.y_cols;
                params.gelu = is_gelu(activation);
                (Output::Gated, self.value(y), None)
            }
            Op::Add { a, b } => {
                let residual = if a == nodes[at].out { b } else { a };
                (Output::Add, self.value(y), Some(self.value(residual)))
            }
            _ => unreachable!("products end with sums and activations"),
        }
    }

    /// Projections that every row takes.
    fn dense(&mut self, product: &mut Product, parts: &[Projection]) {
        let layouts = self.layouts;
        let layout = |part: &Projection| &layouts[part.weight.0 as usize];
        let mut y_first = 0;
        for run in parts.chunk_by(|_, next| layout(next).stacked.is_some()) {
            y_first += self.run(product, run, y_first);
        }
    }

    /// Projections that rows take or leave by their branch, and the first factors of those that have some.
    fn routed(
        &mut self,
        product: &mut Product,
        parts: &[Projection],
        factors: &[Option<Factors>],
        zeros: u32,
    ) {
        let layouts = self.layouts;
        let layout = |id: WeightId| &layouts[id.0 as usize];
        let (mut y_first, mut low_first, mut at) = (0, 0, 0);
        product.params.zeros = zeros;
        for run in parts.chunk_by(|_, next| layout(next.weight).stacked.is_some()) {
            let low: Vec<WeightId> = factors[at..at + run.len()]
                .iter()
                .filter_map(|factors| factors.map(|factors| factors.d))
                .collect();
            at += run.len();
            let stacked = |id: WeightId| layout(id).stacked.is_some_and(|s| s.on == run[0].weight);
            let n_low: u32 = low.iter().map(|&d| layout(d).rows).sum();
            product.params.branches = FULL | LOW | zeros;
            product.form.arm = Arm::Some;
            if low.is_empty() {
                if product.params.is_ffn == 0 {
                    product.form.arm = Arm::All;
                }
                y_first += self.run(product, run, y_first);
            } else if low.iter().all(|&d| stacked(d)) && n_low == product.params.low_cols {
                if product.flat.is_some() {
                    // D has scales of its own, so its rows take x as it is, in a call of their own.
                    product.params.branches = FULL | zeros;
                    self.run(product, run, y_first);
                    product.params.branches = LOW;
                    product.params.zeros = 0;
                }
                let mut split = Product {
                    flat: None,
                    ..*product
                };
                split.form.arm = Arm::Split;
                split.params.low_first = run.iter().map(|part| layout(part.weight).rows).sum();
                split.params.low_outs = n_low;
                y_first += self.run(&mut split, run, y_first);
                product.quantized = product.quantized.or(split.quantized);
                product.params.zeros = zeros;
            } else {
                product.params.branches = FULL | zeros;
                y_first += self.run(product, run, y_first);
                let mut first = low_first;
                for &d in &low {
                    let mut latents = Product {
                        form: Form {
                            output: Output::Plain,
                            ..product.form
                        },
                        params: linear::Params {
                            y_cols: product.params.low_cols,
                            branches: LOW,
                            zeros: 0,
                            half: 0,
                            ..product.params
                        },
                        residual: None,
                        flat: None,
                        y: Buffer::Latents,
                        ..*product
                    };
                    let part = Projection {
                        weight: d,
                        bias: None,
                    };
                    first += self.run(&mut latents, &[part], first);
                }
            }
            low_first += n_low;
        }
    }

    /// The second factors that are `wanted`, for rows on the low-rank branch: a call for each run of stacked ones.
    fn expand(
        &mut self,
        product: &Product,
        parts: &[Projection],
        factors: &[Option<Factors>],
        wanted: &[bool],
    ) {
        let is_gated = product.form.output == Output::Gated;
        let (mut at, mut y_first, mut x_first) = (0, 0, 0);
        while at < parts.len() {
            let Some(Factors { b, .. }) = factors[at] else {
                y_first += self.layout(parts[at].weight).rows;
                at += 1;
                continue;
            };
            let is_on_b = |factors: &Option<Factors>| {
                let place = factors.and_then(|factors| self.layout(factors.b).stacked);
                place.is_some_and(|place| place.on == b)
            };
            let n_next = factors[at + 1..].iter().take_while(|f| is_on_b(f)).count();
            let end = at + 1 + n_next;
            // What is not wanted stands behind what is.
            let n_wanted = wanted[at..end].iter().filter(|&&wanted| wanted).count() as u32;
            let (layout, next) = (self.layout(b), factors[end - 1].map(|last| last.b));
            let next_rows = next.map_or(0, |next| self.layout(next).rows);
            let params = linear::Params {
                cols: layout.cols,
                blocks: layout.blocks(),
                outs: layout.rows + n_wanted.saturating_sub(1) * next_rows,
                y_first,
                x_first,
                x_cols: product.params.low_cols,
                branches: LOW,
                low_cols: 0,
                ..product.params
            };
            let mut expansion = Product {
                form: Form {
                    dtype: layout.dtype,
                    input: Input::Latents,
                    output: product.form.output,
                    arm: Arm::Some,
                },
                params,
                x: Buffer::Latents,
                gains: None,
                ..*product
            };
            if n_wanted > 1 && !is_gated {
                expansion.form.arm = Arm::Parts;
                expansion.params.first_outs = layout.rows;
                expansion.params.next_outs = next_rows;
            }
            if n_wanted > 0 {
                self.product(&expansion, b, 0, parts[at].bias);
            }
            x_first += layout.cols * (end - at) as u32;
            y_first += layout.rows + n_next as u32 * next_rows;
            at = end;
        }
    }

    /// A run of stacked projections, in as many calls as it has pieces; returns how many columns it makes.
    fn run(&mut self, product: &mut Product, run: &[Projection], y_first: u32) -> u32 {
        let layouts = self.layouts;
        let layout = |part: &Projection| &layouts[part.weight.0 as usize];
        let stacked: u32 = run[1..].iter().map(|part| layout(part).rows).sum();
        let layout = layout(&run[0]);
        for (chunk, outs) in layout.chunks.iter().enumerate() {
            product.params = linear::Params {
                cols: layout.cols,
                blocks: layout.blocks(),
                outs: outs.end - outs.start + stacked,
                y_first: y_first + outs.start,
                bias_first: outs.start,
                ..product.params
            };
            product.form.dtype = layout.dtype;
            let mut this = *product;
            let in_bytes = self.settings.activations == Activations::Int8 || this.flat.is_some();
            if this.params.rows >= MATMUL_ROWS && in_bytes && has_int8(layout.dtype) {
                let quantized = product
                    .quantized
                    .get_or_insert_with(|| self.quantize(&this));
                this.x = *quantized;
                this.form.input = Input::Int8;
                if let Some(flat) = this.flat {
                    this.form.input = Input::Flat;
                    this.gains = None;
                    this.table = Some(Buffer::FlatTable(flat));
                    this.params.extra_blocks = self.graph.flats()[flat.0 as usize].extra_blocks();
                }
            }
            self.product(&this, run[0].weight, chunk, run[0].bias);
        }
        layout.rows + stacked
    }

    /// One call. A bias that lies in another's arrays is found there.
    fn product(
        &mut self,
        product: &Product,
        weight: WeightId,
        chunk: usize,
        bias: Option<WeightId>,
    ) {
        let Product {
            form,
            mut params,
            x,
            gains,
            table,
            residual,
            routes,
            y,
            ..
        } = *product;
        let mut bias_in = Buffer::Zero;
        if let Some(bias) = bias {
            let place = self.layout(bias).stacked;
            let (on, before) = place.map_or((bias, 0), |place| (place.on, place.before.q_words));
            bias_in = vector(on);
            params.has_bias = 1;
            params.bias_first += before as u32;
        }
        let mut rest = vec![(3, x), (4, bias_in)];
        rest.extend(gains.or(table).map(|fifth| (5, fifth)));
        rest.extend(residual.map(|residual| (6, residual)));
        rest.extend(
            routes
                .filter(|_| form.arm != Arm::All)
                .map(|routes| (7, routes)),
        );
        rest.push((8, y));
        if form.arm == Arm::Split {
            rest.push((9, Buffer::Latents));
        } else {
            params.low_cols = 0;
        }
        let call = if params.rows < MATMUL_ROWS {
            Call::MatVec(form, params)
        } else {
            Call::MatMul(form, params)
        };
        self.call_weight(call, weight, chunk, &rest);
    }

    /// What a product reads: the value before a norm or behind an attention's splits, or its input as it is.
    fn input(&self, op: &Op, params: &mut linear::Params) -> (Input, Buffer, Option<Buffer>) {
        let x = op.inputs()[0];
        let made_at = self.graph.nodes().iter().position(|node| node.out == x);
        let at = made_at.expect("an input is made before it is read");
        match self.graph.nodes()[at].op {
            Op::RmsNorm { x, weight, eps } if self.is_inside_product(at) => {
                params.eps = eps;
                (Input::Norm, self.value(x), Some(vector(weight)))
            }
            Op::Attention {
                layer, head_dim, ..
            } => match self.records(at, layer) {
                Some((n_splits, n_apart, records)) => {
                    params.head_dim = head_dim;
                    (params.n_splits, params.n_apart) = (n_splits, n_apart);
                    (Input::Merge, records.unwrap_or(self.value(x)), None)
                }
                None => (Input::Plain, self.value(x), None),
            },
            _ => (Input::Plain, self.value(x), None),
        }
    }
}
