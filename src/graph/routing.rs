//! What may be substituted in a model, and how it is decided: plain data that a sidecar states.

/// How the branch of a token is decided in each layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouterKind {
    /// Five logits from the normed residual stream.
    Linear,
    /// Five logits from `width` hidden values of it.
    Mlp {
        /// Hidden values.
        width: u32,
    },
}

/// Ranks of the factors that stand for a layer's projections; `None` where there are none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LayerRanks {
    /// Of the queries.
    pub q: Option<u32>,
    /// Of the keys.
    pub k: Option<u32>,
    /// Of the values.
    pub v: Option<u32>,
    /// Of the attention's output.
    pub o: Option<u32>,
    /// Of the FFN's gate.
    pub gate: Option<u32>,
    /// Of what the gate is multiplied with.
    pub up: Option<u32>,
    /// Of the FFN's output.
    pub down: Option<u32>,
}

impl LayerRanks {
    /// Names and ranks of all seven.
    pub fn each(&self) -> [(&'static str, Option<u32>); 7] {
        [
            ("q", self.q),
            ("k", self.k),
            ("v", self.v),
            ("o", self.o),
            ("gate", self.gate),
            ("up", self.up),
            ("down", self.down),
        ]
    }

    /// Whether the attention has a low-rank branch.
    pub fn has_attention(&self) -> bool {
        self.q.or(self.k).or(self.v).or(self.o).is_some()
    }

    /// Whether the FFN has a low-rank branch; it can be skipped in any case.
    pub fn has_ffn(&self) -> bool {
        self.gate.or(self.down).is_some()
    }

    /// Whether there is anything to decide in this layer.
    pub fn is_routed(&self) -> bool {
        self.has_attention() || self.has_ffn()
    }
}

/// How the cache keeps the tokens that took the low-rank branch of the attention.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CacheMode {
    /// Keys and values as of any token.
    #[default]
    Dense,
    /// Keys as of any token, values as the latents that `B_v` makes them from.
    LatentV,
    /// The latents of both; keys are made anew in each step.
    Latent,
}

impl CacheMode {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Dense, Self::LatentV, Self::Latent];

    /// As sidecars and options name it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Dense => "dense",
            Self::LatentV => "latent-v",
            Self::Latent => "latent",
        }
    }
}

/// A model's branches and how they are decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Routing {
    /// The kind of router.
    pub router: RouterKind,
    /// The first layers, which take the full branch.
    pub dense_layers: u32,
    /// The first tokens of a sequence, which take it in every layer.
    pub dense_tokens: u32,
    /// By layer.
    pub layers: Vec<LayerRanks>,
}

/// Rows of a router's last matrix.
pub const N_LOGITS: u32 = 5;

/// Begins the names of the parameters that a sidecar brings: `deputy.layers.3.q.B`.
pub const PREFIX: &str = "deputy.";

/// The offset that makes every token take the full branch, whatever its logits are: who finds it
/// decides without adding it, since a sum could overflow.
pub const ALL_FULL: f32 = f32::MAX;
