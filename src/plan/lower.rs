//! Graph + sizes -> plan.

use super::memory::assign_slots;
use super::{Buffer, Dispatch, Part, Plan, Settings, Size, WeightLayout};
use crate::graph::{Activation, Graph, Node, Op, Rows, ValueId, WeightId};
use crate::kernels::linear::MATMUL_ROWS;
use crate::kernels::{
    Call, add, attention, cache_write, embed, gated_act, gather_rows, linear, rms_norm, rope,
    sample,
};

/// Makes the plan of one size. `layouts` are by [`WeightId`].
pub fn lower(graph: &Graph, layouts: &[WeightLayout], settings: &Settings, size: Size) -> Plan {
    let (slot_of, slots) = assign_slots(graph);
    let mut lowering = Lowering {
        graph,
        layouts,
        settings,
        size,
        slot_of,
        label: "",
        dispatches: vec![],
    };
    for node in graph.nodes() {
        lowering.node(node);
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
    slot_of: Vec<Option<u32>>,
    label: &'a str,
    dispatches: Vec<Dispatch>,
}

impl<'a> Lowering<'a> {
    fn node(&mut self, node: &'a Node) {
        let shape = |id: ValueId| self.graph.values()[id.0 as usize];
        let n_ctx = self.settings.n_ctx;
        let rows_of = |rows| match rows {
            Rows::Step => self.size.rows,
            Rows::Out => self.size.n_out,
        };
        let rows = node
            .out
            .map_or(self.size.rows, |id| rows_of(shape(id).rows));
        if rows == 0 {
            return;
        }
        self.label = &node.label;
        let out = node.out.map(|id| self.value(id));
        let y = || out.expect("only a cache write makes no value");
        match node.op {
            Op::Embed { table, scale } => self.embed(table, scale, y()),
            Op::RmsNorm { x, weight, eps } => {
                let cols = self.graph.weights()[weight.0 as usize].cols;
                let call = Call::RmsNorm(rms_norm::Params {
                    rows: rows * (shape(x).cols / cols),
                    cols,
                    eps,
                    pad0: 0,
                });
                self.call(call, &[self.value(x), vector(weight), y()]);
            }
            Op::Linear { x, weight, bias } => {
                self.linear(rows, self.value(x), weight, bias, y());
            }
            Op::Rope { x, head_dim, rope } => {
                let table = &self.graph.ropes()[rope.0 as usize];
                let call = Call::Rope(rope::Params {
                    rows,
                    n_heads: shape(x).cols / head_dim,
                    head_dim,
                    rotary_dim: 2 * table.inv_freq.len() as u32,
                    interleaved: table.interleaved.into(),
                    pad0: 0,
                    pad1: 0,
                    pad2: 0,
                });
                let table = Buffer::RopeTable(rope);
                self.call(call, &[Buffer::Rows, table, self.value(x), y()]);
            }
            Op::CacheWrite { layer, k, v } => {
                let params = cache_write::Params {
                    rows,
                    kv_dim: shape(k).cols,
                    n_ctx,
                    pad0: 0,
                };
                for (x, cache) in [(k, Buffer::Keys(layer)), (v, Buffer::Values(layer))] {
                    let call = Call::CacheWrite(self.settings.cache, params);
                    self.call(call, &[Buffer::Rows, self.value(x), cache]);
                }
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
                    n_heads: shape(q).cols / head_dim,
                    n_kv_heads: self.graph.cache_dims()[layer as usize] / head_dim,
                    head_dim,
                    n_ctx,
                    window: window.unwrap_or(u32::MAX),
                    scale,
                    softcap: softcap.unwrap_or(0.0),
                };
                let (keys, values) = (Buffer::Keys(layer), Buffer::Values(layer));
                self.call(
                    Call::Attention(self.settings.cache, params),
                    &[Buffer::Rows, self.value(q), keys, values, y()],
                );
            }
            Op::GatedAct {
                gate,
                up,
                activation,
            } => {
                let call = Call::GatedAct(gated_act::Params {
                    quads: rows * (shape(gate).cols / 4),
                    gelu: (activation == Activation::Gelu).into(),
                    pad0: 0,
                    pad1: 0,
                });
                self.call(call, &[self.value(gate), self.value(up), y()]);
            }
            Op::Add { a, b } => {
                let call = Call::Add(add::Params {
                    quads: rows * (shape(a).cols / 4),
                    pad0: 0,
                    pad1: 0,
                    pad2: 0,
                });
                self.call(call, &[self.value(a), self.value(b), y()]);
            }
            Op::OutRows { x } => {
                let call = Call::GatherRows(gather_rows::Params {
                    n_out: rows,
                    cols: shape(x).cols,
                    pad0: 0,
                    pad1: 0,
                });
                self.call(call, &[Buffer::OutRows, self.value(x), y()]);
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
            let rest = [Buffer::Rows, Buffer::Tokens, y];
            self.call_weight(Call::Embed(layout.dtype, params), table, chunk, &rest);
        }
    }

    fn linear(
        &mut self,
        rows: u32,
        x: Buffer,
        weight: WeightId,
        bias: Option<WeightId>,
        y: Buffer,
    ) {
        let layout = &self.layouts[weight.0 as usize];
        for (chunk, outs) in layout.chunks.iter().enumerate() {
            let params = linear::Params {
                rows,
                cols: layout.cols,
                blocks: layout.blocks(),
                outs: outs.end - outs.start,
                y_first: outs.start,
                y_cols: layout.rows,
                has_bias: bias.is_some().into(),
                pad0: 0,
            };
            let call = if rows < MATMUL_ROWS {
                Call::MatVec(layout.dtype, params)
            } else {
                Call::MatMul(layout.dtype, params)
            };
            let rest = [x, bias.map_or(Buffer::Zero, vector), y];
            self.call_weight(call, weight, chunk, &rest);
        }
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

    /// A call whose bindings 1 and 2 are a piece of a weight; plain types have no scales.
    fn call_weight(&mut self, call: Call, id: WeightId, chunk: usize, rest: &[Buffer]) {
        let part = |part| Buffer::Weight {
            id,
            chunk: chunk as u32,
            part,
        };
        let mut bindings = vec![(1, part(Part::Values))];
        if self.layouts[id.0 as usize].dtype.is_quantized() {
            bindings.push((2, part(Part::Scales)));
        }
        bindings.extend((3..).zip(rest.iter().copied()));
        self.dispatches.push(Dispatch {
            call,
            bindings,
            label: self.label.to_owned(),
        });
    }
}

/// A norm's gains or a bias.
fn vector(id: WeightId) -> Buffer {
    Buffer::Weight {
        id,
        chunk: 0,
        part: Part::Values,
    }
}
