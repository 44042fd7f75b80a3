//! Qwen3: a norm over each head of q and k, and a head width of its own.

use super::Architecture;
use super::blocks::{Attention, Build};
use crate::graph::{Activation, Error};

pub(super) const ARCHITECTURE: Architecture = Architecture {
    name: "qwen3",
    hugging_face: "Qwen3ForCausalLM",
    gguf: "qwen3",
    forward,
};

fn forward(b: &mut Build<'_>) -> Result<(), Error> {
    let attention = Attention {
        qkv_bias: b.config.attention_bias,
        out_bias: b.config.attention_bias,
        qk_norm: true,
    };
    b.pre_norm_decoder(attention, Activation::Silu, Some(false))
}
