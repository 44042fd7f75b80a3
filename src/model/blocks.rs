//! Parts that the architectures share: each adds its operations to the graph and declares its parameters.

use std::collections::BTreeMap;

use super::{Config, FlatInput, Layout, names, rope};
use crate::file::ModelFile;
use crate::graph::{
    Activation, Branches, Error, Factors, Flat, FlatId, Graph, HeadNorm, N_LOGITS, Op, PREFIX,
    Projection, RopeId, RouterKind, Routing, ValueId, WeightId,
};

/// A graph under construction.
pub(super) struct Build<'a> {
    pub(super) config: &'a Config,
    file: &'a ModelFile,
    graph: Graph,
    layer: u32,
    rope: RopeId,
    routing: Option<&'a Routing>,
    flats: &'a BTreeMap<(u32, FlatInput), Flat>,
    /// Those of the current layer.
    routes: Option<ValueId>,
}

/// How a layer's attention differs between architectures.
#[derive(Clone, Copy, Default)]
pub(super) struct Attention {
    /// Biases of q, k and v; `None` where the file decides.
    pub(super) qkv_bias: Option<bool>,
    /// Bias of o; `None` where the file decides.
    pub(super) out_bias: Option<bool>,
    /// A norm over each head of q and k.
    pub(super) qk_norm: bool,
}

impl<'a> Build<'a> {
    pub(super) fn new(
        config: &'a Config,
        file: &'a ModelFile,
        routing: Option<&'a Routing>,
        flats: &'a BTreeMap<(u32, FlatInput), Flat>,
    ) -> Self {
        let mut graph = Graph::default();
        let rope = graph.rope_table(rope::table(config));
        Self {
            config,
            file,
            graph,
            layer: 0,
            rope,
            routing,
            flats,
            routes: None,
        }
    }

    pub(super) fn finish(self) -> Graph {
        self.graph
    }

    /// A whole decoder with a norm before each attention and each feed-forward network: Llama and its kin.
    pub(super) fn pre_norm_decoder(
        &mut self,
        attention: Attention,
        activation: Activation,
        ffn_bias: Option<bool>,
    ) -> Result<(), Error> {
        let mut x = self.embed()?;
        for layer in 0..self.config.n_layers {
            self.layer = layer;
            self.routes = self.route(x)?;
            let h = self.norm(x, "input_layernorm")?;
            let h = self.attention(h, attention)?;
            x = self.add(x, h)?;
            let h = self.norm(x, "post_attention_layernorm")?;
            let h = self.gated_ffn(h, activation, ffn_bias)?;
            x = self.add(x, h)?;
        }
        self.logits(x)
    }

    /// The embedding of the step's tokens.
    pub(super) fn embed(&mut self) -> Result<ValueId, Error> {
        self.graph.enter("embed");
        let table = self.embedding();
        self.graph.push(Op::Embed { table, scale: 1.0 })
    }

    /// A norm over the whole row.
    pub(super) fn norm(&mut self, x: ValueId, name: &str) -> Result<ValueId, Error> {
        self.enter(name);
        let weight = self.gains(name, self.config.dim);
        self.push_norm(x, weight)
    }

    /// Self-attention of the current layer.
    pub(super) fn attention(&mut self, x: ValueId, how: Attention) -> Result<ValueId, Error> {
        let Config {
            dim,
            n_heads,
            n_kv_heads,
            head_dim,
            ..
        } = *self.config;
        self.enter("attention");
        let (q_dim, kv_dim) = (n_heads * head_dim, n_kv_heads * head_dim);
        let parts = vec![
            self.projection(x, "self_attn.q_proj", q_dim, how.qkv_bias),
            self.projection(x, "self_attn.k_proj", kv_dim, how.qkv_bias),
            self.projection(x, "self_attn.v_proj", kv_dim, how.qkv_bias),
        ];
        let branches = self.branches(&["q", "k", "v"], &parts);
        let flat = self.flat(FlatInput::Attention);
        let qkv = self.graph.push(Op::Linear {
            x,
            parts,
            branches,
            flat,
        })?;
        let norm = how.qk_norm.then(|| HeadNorm {
            q: self.gains("self_attn.q_norm", head_dim),
            k: self.gains("self_attn.k_norm", head_dim),
            eps: self.config.norm_eps,
        });
        let layer = self.layer;
        let q = self.graph.push(Op::CacheWrite {
            layer,
            qkv,
            n_heads,
            head_dim,
            norm,
            rope: Some(self.rope),
        })?;
        let y = self.graph.push(Op::Attention {
            layer,
            q,
            head_dim,
            window: self.config.windows[layer as usize],
            scale: 1.0 / (head_dim as f32).sqrt(),
            softcap: None,
        })?;
        let o = ("self_attn.o_proj", "o", FlatInput::Output);
        self.linear(y, o, dim, how.out_bias)
    }

    /// Decides the branches of the current layer, if it has any.
    fn route(&mut self, x: ValueId) -> Result<Option<ValueId>, Error> {
        let layer = self.layer as usize;
        let routing = self
            .routing
            .filter(|routing| routing.layers[layer].is_routed());
        let Some(routing) = routing else {
            return Ok(None);
        };
        self.enter("router");
        let eps = self.config.norm_eps;
        let norm = self
            .graph
            .vector(self.sidecar("router.norm"), self.config.dim);
        let (x, norm, width) = match routing.router {
            RouterKind::Linear => (x, norm, self.config.dim),
            RouterKind::Mlp { width } => {
                let normed = self.push_norm(x, norm)?;
                let name = self.sidecar("router.hidden");
                let weight = self.graph.exact_matrix(name, width, self.config.dim);
                let hidden = self.graph.push(Op::Linear {
                    x: normed,
                    parts: vec![Projection { weight, bias: None }],
                    branches: None,
                    flat: None,
                })?;
                let name = self.sidecar("router.hidden_norm");
                (hidden, self.graph.vector(name, width), width)
            }
        };
        let name = self.sidecar("router.weight");
        let weight = self.graph.exact_matrix(name, N_LOGITS, width);
        let bias = self.graph.vector(self.sidecar("router.bias"), N_LOGITS);
        let ranks = &routing.layers[layer];
        let dense_tokens = if self.layer < routing.dense_layers {
            u32::MAX
        } else {
            routing.dense_tokens
        };
        let routes = self.graph.push(Op::Route {
            layer: self.layer,
            x,
            norm,
            eps,
            silu: routing.router != RouterKind::Linear,
            weight,
            bias,
            dense_tokens,
            has_low: [ranks.has_attention(), ranks.has_ffn()],
        })?;
        Ok(Some(routes))
    }

    /// What rows on the low-rank branch take in the place of these projections.
    fn branches(&mut self, names: &[&str], parts: &[Projection]) -> Option<Branches> {
        let routes = self.routes?;
        let ranks = self.routing?.layers[self.layer as usize];
        let mut factors = vec![];
        for (name, part) in names.iter().zip(parts) {
            let rank = ranks.each().into_iter().find(|(n, _)| n == name)?.1;
            let (outs, ins) = {
                let weight = &self.graph.weights()[part.weight.0 as usize];
                (weight.rows, weight.cols)
            };
            factors.push(rank.map(|rank| {
                Factors {
                    b: self
                        .graph
                        .matrix(self.sidecar(&format!("{name}.B")), outs, rank),
                    d: self
                        .graph
                        .matrix(self.sidecar(&format!("{name}.D")), rank, ins),
                }
            }));
        }
        Some(Branches {
            routes,
            is_ffn: ["gate", "up", "down"].contains(&names[0]),
            factors,
        })
    }

    /// A tensor of the sidecar, of the current layer.
    fn sidecar(&self, name: &str) -> String {
        format!("{PREFIX}layers.{}.{name}", self.layer)
    }

    /// `down(act(gate(x)) * up(x))` of the current layer.
    pub(super) fn gated_ffn(
        &mut self,
        x: ValueId,
        activation: Activation,
        bias: Option<bool>,
    ) -> Result<ValueId, Error> {
        let Config { dim, ffn_dim, .. } = *self.config;
        self.enter("ffn");
        let parts = vec![
            self.projection(x, "mlp.gate_proj", ffn_dim, bias),
            self.projection(x, "mlp.up_proj", ffn_dim, bias),
        ];
        let branches = self.branches(&["gate", "up"], &parts);
        let flat = self.flat(FlatInput::Ffn);
        let x = self.graph.push(Op::Linear {
            x,
            parts,
            branches,
            flat,
        })?;
        let inner = self.graph.push(Op::GatedAct { x, activation })?;
        let down = ("mlp.down_proj", "down", FlatInput::Down);
        self.linear(inner, down, dim, bias)
    }

    /// `a + b`.
    pub(super) fn add(&mut self, a: ValueId, b: ValueId) -> Result<ValueId, Error> {
        self.graph.push(Op::Add { a, b })
    }

    /// The final norm and the output head, for the rows whose logits are asked for.
    pub(super) fn logits(&mut self, x: ValueId) -> Result<(), Error> {
        self.graph.enter("head");
        let x = self.graph.push(Op::OutRows { x })?;
        let weight = self.graph.vector("model.norm.weight", self.config.dim);
        let x = self.push_norm(x, weight)?;
        let weight = self.head();
        let parts = vec![Projection { weight, bias: None }];
        self.graph.push(Op::Linear {
            x,
            parts,
            branches: None,
            flat: None,
        })?;
        Ok(())
    }

    /// `name` of the current layer, in a sidecar `short`, with its input's name where that becomes integers, applied
    /// to `x`, with a bias where there is one.
    fn linear(
        &mut self,
        x: ValueId,
        (name, short, input): (&str, &str, FlatInput),
        outs: u32,
        bias: Option<bool>,
    ) -> Result<ValueId, Error> {
        let parts = vec![self.projection(x, name, outs, bias)];
        let branches = self.branches(&[short], &parts);
        let flat = self.flat(input);
        self.graph.push(Op::Linear {
            x,
            parts,
            branches,
            flat,
        })
    }

    /// How an input of the current layer becomes integers, if it does.
    fn flat(&mut self, input: FlatInput) -> Option<FlatId> {
        let flat = self.flats.get(&(self.layer, input))?;
        Some(self.graph.flat(flat.clone()))
    }

    fn projection(&mut self, x: ValueId, name: &str, outs: u32, bias: Option<bool>) -> Projection {
        let ins = self.graph.values()[x.0 as usize].cols;
        let weight = self.tensor(name, "weight");
        let weight = self.graph.matrix(weight, outs, ins);
        let bias_name = self.tensor(name, "bias");
        let has_bias = bias.unwrap_or_else(|| self.has(&bias_name));
        let bias = has_bias.then(|| self.graph.vector(bias_name, outs));
        Projection { weight, bias }
    }

    /// A norm's gains in the current layer.
    fn gains(&mut self, name: &str, len: u32) -> WeightId {
        let name = self.tensor(name, "weight");
        self.graph.vector(name, len)
    }

    fn push_norm(&mut self, x: ValueId, weight: WeightId) -> Result<ValueId, Error> {
        let eps = self.config.norm_eps;
        self.graph.push(Op::RmsNorm { x, weight, eps })
    }

    /// Some tied models store the matrix under the head's name only.
    fn embedding(&mut self) -> WeightId {
        let stored_as_head = self.config.tied
            && !self.has("model.embed_tokens.weight")
            && self.has("lm_head.weight");
        let name = if stored_as_head {
            "lm_head.weight"
        } else {
            "model.embed_tokens.weight"
        };
        self.graph
            .matrix(name, self.config.vocab_size, self.config.dim)
    }

    fn head(&mut self) -> WeightId {
        if self.config.tied {
            return self.embedding();
        }
        self.graph
            .matrix("lm_head.weight", self.config.vocab_size, self.config.dim)
    }

    fn enter(&mut self, part: &str) {
        self.graph.enter(format!("layers.{}.{part}", self.layer));
    }

    fn tensor(&self, name: &str, kind: &str) -> String {
        format!("model.layers.{}.{name}.{kind}", self.layer)
    }

    fn has(&self, name: &str) -> bool {
        match self.config.layout {
            Layout::HuggingFace => self.file.tensors.contains_key(name),
            Layout::Gguf => {
                names::gguf(name).is_some_and(|name| self.file.tensors.contains_key(&name))
            }
        }
    }
}
