//! Graph + sizes -> plan.

use super::fuse::Fusion;
use super::memory::assign_slots;
use super::{Buffer, Dispatch, Part, Plan, Settings, Size, WeightLayout};
use crate::graph::{Activation, Branches, Graph, Node, Op, Rows, ValueId, WeightId};
use crate::kernels::linear::MATMUL_ROWS;
use crate::kernels::{Call, add, embed, gated_act, gather_rows, rms_norm, route, sample};

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

pub(super) struct Lowering<'a> {
    pub(super) graph: &'a Graph,
    pub(super) layouts: &'a [WeightLayout],
    pub(super) settings: &'a Settings,
    pub(super) size: Size,
    pub(super) fusion: Fusion,
    slot_of: Vec<Option<u32>>,
    label: &'a str,
    dispatches: Vec<Dispatch>,
}

impl<'a> Lowering<'a> {
    fn node(&mut self, at: usize) {
        let node: &'a Node = &self.graph.nodes()[at];
        let rows = self.rows(node.out);
        let is_elsewhere = self.fusion.is_inside(at) || self.is_inside_product(at);
        if rows == 0 || is_elsewhere || self.size.all_full && self.fusion.is_for_routers(at) {
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
            Op::Linear {
                ref parts,
                ref branches,
                flat,
                ..
            } => self.linear(at, parts, self.branches(branches), flat),
            Op::Route {
                layer,
                x,
                norm,
                eps,
                silu,
                weight,
                bias,
                dense_tokens,
                has_low: [has_low_attention, has_low_ffn],
            } => {
                let params = route::Params {
                    rows,
                    cols: self.cols(x),
                    n_ctx,
                    layer,
                    dense_tokens,
                    silu: silu.into(),
                    has_low_attention: has_low_attention.into(),
                    has_low_ffn: has_low_ffn.into(),
                    all_dense: self.settings.arenas_of(layer).is_none().into(),
                    places: (rows < MATMUL_ROWS).into(),
                    eps,
                    pad0: 0,
                };
                let buffers = [
                    Buffer::Rows,
                    self.value(x),
                    vector(norm),
                    vector(weight),
                    vector(bias),
                    Buffer::Routing,
                    y,
                    Buffer::Paths(layer),
                ];
                self.call(Call::Route(params), &buffers);
                if params.places == 0 {
                    let bindings = vec![(1, Buffer::Rows), (7, y), (8, Buffer::Paths(layer))];
                    self.dispatches.push(Dispatch {
                        call: Call::PlaceRows(params),
                        bindings,
                        label: self.label.to_owned(),
                    });
                }
            }
            Op::CacheWrite { .. } => self.cache_write(&node.op, y),
            Op::Attention { .. } => self.attention(at, &node.op, y),
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

    /// Whether a norm is left to the product behind it: with few rows, computing it in each workgroup costs less
    /// than a call; with many, what makes integers of them does it by the way.
    pub(super) fn is_inside_product(&self, at: usize) -> bool {
        let node = &self.graph.nodes()[at];
        let Some(product) = self.fusion.feeds_product(at) else {
            return false;
        };
        let product = &self.graph.nodes()[product];
        // Factors take the normed values themselves.
        let is_dense = match &product.op {
            Op::Linear { branches, .. } => self.branches(branches).is_none(),
            _ => false,
        };
        let few = self.rows(node.out) < MATMUL_ROWS;
        let is_norm = matches!(node.op, Op::RmsNorm { .. });
        is_norm && (few || is_dense && self.takes_integers(product))
    }

    /// What rows may take in the place of a product's weights, in a step where any may.
    fn branches<'b>(&self, branches: &'b Option<Branches>) -> Option<&'b Branches> {
        branches.as_ref().filter(|_| !self.size.all_full)
    }

    pub(super) fn layout(&self, id: WeightId) -> &'a WeightLayout {
        &self.layouts[id.0 as usize]
    }

    /// Whose arrays a matrix lies in, and its first row there.
    pub(super) fn place(&self, id: WeightId) -> (WeightId, u32) {
        let layout = self.layout(id);
        let row_words = layout.packed_row().q_words;
        layout.stacked.map_or((id, 0), |place| {
            (place.on, (place.before.q_words / row_words) as u32)
        })
    }

    pub(super) fn rows(&self, id: ValueId) -> u32 {
        match self.graph.values()[id.0 as usize].rows {
            Rows::Step => self.size.rows,
            Rows::Out => self.size.n_out,
        }
    }

    pub(super) fn cols(&self, id: ValueId) -> u32 {
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
    pub(super) fn value(&self, id: ValueId) -> Buffer {
        self.slot_of[id.0 as usize].map_or(Buffer::Logits, Buffer::Slot)
    }

    pub(super) fn call(&mut self, call: Call, buffers: &[Buffer]) {
        self.dispatches.push(Dispatch {
            call,
            bindings: (1..).zip(buffers.iter().copied()).collect(),
            label: self.label.to_owned(),
        });
    }

    /// A call whose inputs are numbered from 1 on, and whose other bindings stand at their numbers.
    pub(super) fn call_at(&mut self, call: Call, inputs: &[Buffer], rest: &[(u32, Buffer)]) {
        let mut bindings: Vec<(u32, Buffer)> = (1..).zip(inputs.iter().copied()).collect();
        bindings.extend(rest);
        self.dispatches.push(Dispatch {
            call,
            bindings,
            label: self.label.to_owned(),
        });
    }

    /// A call whose bindings 1 and 2 are a piece of a weight; plain types have no scales.
    pub(super) fn call_weight(
        &mut self,
        call: Call,
        id: WeightId,
        chunk: usize,
        rest: &[(u32, Buffer)],
    ) {
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

pub(super) fn is_gelu(activation: Activation) -> u32 {
    (activation == Activation::Gelu).into()
}

/// A norm's gains or a bias.
pub(super) fn vector(id: WeightId) -> Buffer {
    Buffer::Weight {
        id,
        chunk: 0,
        part: Part::Values,
    }
}
