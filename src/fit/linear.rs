//! The seven linears of a layer: what the parts of a fit call them.

use crate::engine::Engine;
use crate::graph::{LayerRanks, WeightId};
use crate::model::FlatInput;
use crate::session::TapKind;

/// A linear of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Linear {
    /// The queries.
    Q,
    /// The keys.
    K,
    /// The values.
    V,
    /// The attention's output.
    O,
    /// The FFN's gate.
    Gate,
    /// What the gate is multiplied with.
    Up,
    /// The FFN's output.
    Down,
}

impl Linear {
    /// All of them, in the order of a layer.
    pub const ALL: [Self; 7] = [
        Self::Q,
        Self::K,
        Self::V,
        Self::O,
        Self::Gate,
        Self::Up,
        Self::Down,
    ];

    /// Its name in a sidecar.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Q => "q",
            Self::K => "k",
            Self::V => "v",
            Self::O => "o",
            Self::Gate => "gate",
            Self::Up => "up",
            Self::Down => "down",
        }
    }

    /// Its module's name in a layer, as Hugging Face writes it.
    pub const fn module(self) -> &'static str {
        match self {
            Self::Q => "self_attn.q_proj",
            Self::K => "self_attn.k_proj",
            Self::V => "self_attn.v_proj",
            Self::O => "self_attn.o_proj",
            Self::Gate => "mlp.gate_proj",
            Self::Up => "mlp.up_proj",
            Self::Down => "mlp.down_proj",
        }
    }

    /// What it is multiplied with.
    pub const fn input(self) -> TapKind {
        match self {
            Self::Q | Self::K | Self::V => TapKind::Attention,
            Self::O => TapKind::Output,
            Self::Gate | Self::Up => TapKind::Ffn,
            Self::Down => TapKind::Down,
        }
    }

    /// Its input, where that becomes integers.
    pub const fn flat_input(self) -> FlatInput {
        match self {
            Self::Q | Self::K | Self::V => FlatInput::Attention,
            Self::O => FlatInput::Output,
            Self::Gate | Self::Up => FlatInput::Ffn,
            Self::Down => FlatInput::Down,
        }
    }

    /// Whether it belongs to the attention rather than to the FFN.
    pub const fn is_attention(self) -> bool {
        matches!(self, Self::Q | Self::K | Self::V | Self::O)
    }

    /// Its rank's place.
    pub fn rank_mut(self, ranks: &mut LayerRanks) -> &mut Option<u32> {
        match self {
            Self::Q => &mut ranks.q,
            Self::K => &mut ranks.k,
            Self::V => &mut ranks.v,
            Self::O => &mut ranks.o,
            Self::Gate => &mut ranks.gate,
            Self::Up => &mut ranks.up,
            Self::Down => &mut ranks.down,
        }
    }

    /// Its matrix in a layer, with its rows and columns.
    pub(super) fn weight(self, engine: &Engine, layer: u32) -> Option<(WeightId, usize, usize)> {
        let (id, weight) = find(engine, layer, self, "weight")?;
        Some((id, weight.rows as usize, weight.cols as usize))
    }

    /// Its bias in a layer, if it has one.
    pub(super) fn bias(self, engine: &Engine, layer: u32) -> Option<WeightId> {
        find(engine, layer, self, "bias").map(|(id, _)| id)
    }
}

fn find<'a>(
    engine: &'a Engine,
    layer: u32,
    linear: Linear,
    kind: &str,
) -> Option<(WeightId, &'a crate::graph::Weight)> {
    let name = format!("model.layers.{layer}.{}.{kind}", linear.module());
    let weights = engine.model().graph.weights();
    let at = weights.iter().position(|weight| weight.name == name)?;
    Some((WeightId(at as u32), &weights[at]))
}
