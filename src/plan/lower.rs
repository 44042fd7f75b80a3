//! Graph + sizes -> plan.

use super::fuse::Fusion;
use super::memory::assign_slots;
use super::{Buffer, Dispatch, Part, Plan, Settings, Size, WeightLayout};
use crate::graph::{Activation, Graph, Node, Op, Projection, Rows, ValueId, WeightId};
use crate::kernels::linear::{Activations, Form, Input, MATMUL_ROWS, Output, has_int8};
use crate::kernels::{
    Call, add, attention, cache_write, embed, gated_act, gather_rows, linear, quantize_rows,
    rms_norm, sample,
};

/// Makes the plan of one size. `layouts` are by [`WeightId`].
pub fn lower(graph: &Graph, layouts: &[WeightLayout], settings: &Settings, size: Size) -> Plan {
    let fusion = Fusion::new(graph, layouts);
    let (slot_of, slots) = assign_slots(graph, &fusion, settings);
    let mut lowering = Lowering {
        graph,
        layouts,
        settings,
        size,
        fusion,
        slot_of,
        label: "",
        dispatches: vec![],
    };
    for at in 0..graph.nodes().len() {
        lowering.node(at);
    }
    if size.sample && size.n_out > 0 {
        lowering.sample();
    }
    Plan {
        size,
        dispatches: lowering.dispatches,
        slots,
    }
}

struct Lowering<'a> {
    graph: &'a Graph,
    layouts: &'a [WeightLayout],
    settings: &'a Settings,
    size: Size,
    fusion: Fusion,
    slot_of: Vec<Option<u32>>,
    label: &'a str,
    dispatches: Vec<Dispatch>,
}

impl<'a> Lowering<'a> {
    fn node(&mut self, at: usize) {
        let node: &'a Node = &self.graph.nodes()[at];
        let rows = self.rows(node.out);
        if rows == 0 || self.fusion.is_inside(at) || self.is_inside_product(at) {
            return;
        }
        self.label = &node.label;
        let y = self.value(node.out);
        let n_ctx = self.settings.n_ctx;
        match node.op {
            Op::Embed { table, scale } => self.embed(table, scale, y),
            Op::RmsNorm { x, weight, eps } => {
                let cols = self.graph.weights()[weight.0 as usize].cols;
                let call = Call::RmsNorm(rms_norm::Params {
                    rows: rows * (self.cols(x) / cols),
                    cols,
                    eps,
                    pad0: 0,
                });
                self.call(call, &[self.value(x), vector(weight), y]);
            }
            Op::Linear { ref parts, .. } => self.linear(at, parts),
            Op::CacheWrite {
                layer,
                qkv,
                n_heads,
                head_dim,
                norm,
                rope,
            } => {
                let table = rope.map(|rope| &self.graph.ropes()[rope.0 as usize]);
                let call = cache_write::Params {
                    rows,
                    n_heads,
                    n_kv_heads: self.graph.cache_dims()[layer as usize] / head_dim,
                    head_dim,
                    n_ctx,
                    rotary_dim: table.map_or(0, |table| 2 * table.inv_freq.len() as u32),
                    interleaved: table.is_some_and(|table| table.interleaved).into(),
                    has_norm: norm.is_some().into(),
                    eps: norm.map_or(0.0, |norm| norm.eps),
                    ..Default::default()
                };
                let inputs = [
                    Buffer::Rows,
                    rope.map_or(Buffer::Zero, Buffer::RopeTable),
                    self.value(qkv),
                    norm.map_or(Buffer::Zero, |norm| vector(norm.q)),
                    norm.map_or(Buffer::Zero, |norm| vector(norm.k)),
                ];
                let outputs = [(7, y), (8, Buffer::Keys(layer)), (9, Buffer::Values(layer))];
                let form = cache_write::Form::plain(self.settings.cache);
                self.call_at(Call::CacheWrite(form, call), &inputs, &outputs);
            }
            Op::Attention {
                layer,
                q,
                head_dim,
                window,
                scale,
                softcap,
            } => {
                let params = attention::Params {
                    rows,
                    n_heads: self.cols(q) / head_dim,
                    n_kv_heads: self.graph.cache_dims()[layer as usize] / head_dim,
                    head_dim,
                    n_ctx,
                    window: window.unwrap_or(u32::MAX),
                    scale,
                    softcap: softcap.unwrap_or(0.0),
                    n_splits: self.n_splits(at),
                    ..Default::default()
                };
                let (keys, values) = (Buffer::Keys(layer), Buffer::Values(layer));
                let form = attention::Form::plain(self.settings.cache);
                let inputs = [Buffer::Rows, self.value(q), keys, values];
                self.call_at(Call::Attention(form, params), &inputs, &[(7, y)]);
            }
            Op::GatedAct { x, activation } => {
                let call = Call::GatedAct(gated_act::Params {
                    rows,
                    quads: self.cols(x) / 8,
                    gelu: is_gelu(activation),
                    pad0: 0,
                });
                self.call(call, &[self.value(x), y]);
            }
            Op::Add { a, b } => {
                let call = Call::Add(add::Params {
                    quads: rows * (self.cols(a) / 4),
                    pad0: 0,
                    pad1: 0,
                    pad2: 0,
                });
                self.call(call, &[self.value(a), self.value(b), y]);
            }
            Op::OutRows { x } => {
                let call = Call::GatherRows(gather_rows::Params {
                    n_out: rows,
                    cols: self.cols(x),
                    pad0: 0,
                    pad1: 0,
                });
                self.call(call, &[Buffer::OutRows, self.value(x), y]);
            }
        }
    }

    fn embed(&mut self, table: WeightId, scale: f32, y: Buffer) {
        let layout = &self.layouts[table.0 as usize];
        for (chunk, tokens) in layout.chunks.iter().enumerate() {
            let params = embed::Params {
                rows: self.size.rows,
                cols: layout.cols,
                blocks: layout.blocks(),
                n_ctx: self.settings.n_ctx,
                first_token: tokens.start,
                n_tokens: tokens.end - tokens.start,
                scale,
                pad0: 0,
            };
            let rest = [(3, Buffer::Rows), (4, Buffer::Tokens), (5, y)];
            self.call_weight(Call::Embed(layout.dtype, params), table, chunk, &rest);
        }
    }

    /// A product with what is fused to it: one call for each run of stacked weights and piece of a large one.
    fn linear(&mut self, at: usize, parts: &[Projection]) {
        let nodes = self.graph.nodes();
        let node = &nodes[at];
        let rows = self.rows(node.out);
        let mut params = linear::Params {
            rows,
            y_cols: self.cols(node.out),
            ..Default::default()
        };
        let (input, x, gains) = self.input(&node.op, &mut params);
        let (mut output, mut y, mut residual) = (Output::Plain, node.out, None);
        if let Some(last) = self.fusion.finished_by(at) {
            y = nodes[last].out;
            params.y_cols = self.cols(y);
            match nodes[last].op {
                Op::GatedAct { activation, .. } => {
                    output = Output::Gated;
                    params.half = params.y_cols;
                    params.gelu = is_gelu(activation);
                }
                Op::Add { a, b } => {
                    output = Output::Add;
                    residual = Some(self.value(if a == node.out { b } else { a }));
                }
                _ => unreachable!("products end with sums and activations"),
            }
        }
        let y = self.value(y);
        let mut y_first = 0;
        let mut quantized = None; // Once for all projections.
        let layouts = self.layouts;
        let layout = |part: &Projection| &layouts[part.weight.0 as usize];
        for run in parts.chunk_by(|_, next| layout(next).stacked.is_some()) {
            let stacked: u32 = run[1..].iter().map(|part| layout(part).rows).sum();
            let layout = layout(&run[0]);
            let bias = run[0].bias;
            for (chunk, outs) in layout.chunks.iter().enumerate() {
                params = linear::Params {
                    cols: layout.cols,
                    blocks: layout.blocks(),
                    outs: outs.end - outs.start + stacked,
                    y_first: y_first + outs.start,
                    has_bias: bias.is_some().into(),
                    bias_first: outs.start,
                    ..params
                };
                let mut form = Form {
                    dtype: layout.dtype,
                    input,
                    output,
                };
                let mut x = x;
                let in_bytes = self.settings.activations == Activations::Int8;
                if rows >= MATMUL_ROWS && in_bytes && has_int8(layout.dtype) {
                    x = *quantized.get_or_insert_with(|| self.quantize(x, &params));
                    form.input = Input::Int8;
                }
                let call = if rows < MATMUL_ROWS {
                    Call::MatVec(form, params)
                } else {
                    Call::MatMul(form, params)
                };
                let mut rest = vec![(3, x), (4, bias.map_or(Buffer::Zero, vector))];
                rest.extend(gains.map(|gains| (5, gains)));
                rest.extend(residual.map(|residual| (6, residual)));
                rest.push((7, y));
                self.call_weight(call, run[0].weight, chunk, &rest);
            }
            y_first += layout.rows + stacked;
        }
    }

    /// Quantises the input of a product.
    fn quantize(&mut self, x: Buffer, product: &linear::Params) -> Buffer {
        let call = Call::QuantizeRows(quantize_rows::Params {
            rows: product.rows,
            cols: product.cols,
            blocks: product.blocks,
            pad0: 0,
        });
        self.call(call, &[x, Buffer::Int8]);
        Buffer::Int8
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
            Op::Attention { head_dim, .. } if self.n_splits(at) > 1 => {
                params.head_dim = head_dim;
                params.n_splits = self.n_splits(at);
                (Input::Merge, self.value(x), None)
            }
            _ => (Input::Plain, self.value(x), None),
        }
    }

    /// Whether a norm is left to the product behind it: with few rows, computing it in each workgroup costs less
    /// than a call.
    fn is_inside_product(&self, at: usize) -> bool {
        let node = &self.graph.nodes()[at];
        let is_norm = matches!(node.op, Op::RmsNorm { .. });
        is_norm && self.rows(node.out) < MATMUL_ROWS && self.fusion.feeds_product(at)
    }

    /// Splits of an attention's keys: with few rows, and where a product merges them.
    fn n_splits(&self, at: usize) -> u32 {
        let few = self.rows(self.graph.nodes()[at].out) < MATMUL_ROWS;
        if few && self.fusion.feeds_product(at) {
            self.settings.n_splits
        } else {
            1
        }
    }

    fn rows(&self, id: ValueId) -> u32 {
        match self.graph.values()[id.0 as usize].rows {
            Rows::Step => self.size.rows,
            Rows::Out => self.size.n_out,
        }
    }

    fn cols(&self, id: ValueId) -> u32 {
        self.graph.values()[id.0 as usize].cols
    }

    fn sample(&mut self) {
        let result = self.graph.result().expect("a model makes logits");
        let call = Call::Sample(sample::Params {
            n_out: self.size.n_out,
            vocab_size: self.graph.values()[result.0 as usize].cols,
            n_ctx: self.settings.n_ctx,
            write_next: 1,
        });
        self.label = "sample";
        self.call(
            call,
            &[
                Buffer::Rows,
                Buffer::OutRows,
                Buffer::Samplers,
                Buffer::Logits,
                Buffer::Tokens,
                Buffer::Scores,
                Buffer::Sampled,
            ],
        );
    }

    /// The buffer of a value: its slot, or the logits for the model's result.
    fn value(&self, id: ValueId) -> Buffer {
        self.slot_of[id.0 as usize].map_or(Buffer::Logits, Buffer::Slot)
    }

    fn call(&mut self, call: Call, buffers: &[Buffer]) {
        self.dispatches.push(Dispatch {
            call,
            bindings: (1..).zip(buffers.iter().copied()).collect(),
            label: self.label.to_owned(),
        });
    }

    /// A call whose inputs are numbered from 1 on, and whose other bindings stand at their numbers.
    fn call_at(&mut self, call: Call, inputs: &[Buffer], rest: &[(u32, Buffer)]) {
        let mut bindings: Vec<(u32, Buffer)> = (1..).zip(inputs.iter().copied()).collect();
        bindings.extend(rest);
        self.dispatches.push(Dispatch {
            call,
            bindings,
            label: self.label.to_owned(),
        });
    }

    /// A call whose bindings 1 and 2 are a piece of a weight; plain types have no scales.
    fn call_weight(&mut self, call: Call, id: WeightId, chunk: usize, rest: &[(u32, Buffer)]) {
        let part = |part| Buffer::Weight {
            id,
            chunk: chunk as u32,
            part,
        };
        let mut bindings = vec![(1, part(Part::Values))];
        if self.layouts[id.0 as usize].dtype.is_quantized() {
            bindings.push((2, part(Part::Scales)));
        }
        bindings.extend(rest);
        self.dispatches.push(Dispatch {
            call,
            bindings,
            label: self.label.to_owned(),
        });
    }
}

fn is_gelu(activation: Activation) -> u32 {
    (activation == Activation::Gelu).into()
}

/// A norm's gains or a bias.
fn vector(id: WeightId) -> Buffer {
    Buffer::Weight {
        id,
        chunk: 0,
        part: Part::Values,
    }
}
