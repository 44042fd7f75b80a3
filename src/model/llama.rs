//! Llama 2, 3, 3.1, 3.2 and what shares their class: SmolLM2, TinyLlama and others.

use super::Architecture;
use super::blocks::{Attention, Build};
use crate::graph::{Activation, Error};

pub(super) const ARCHITECTURE: Architecture = Architecture {
    name: "llama",
    hugging_face: "LlamaForCausalLM",
    gguf: "llama",
    forward,
};

fn forward(b: &mut Build<'_>) -> Result<(), Error> {
    let attention = Attention {
        qkv_bias: b.config.attention_bias,
        out_bias: b.config.attention_bias,
        qk_norm: false,
    };
    b.pre_norm_decoder(attention, Activation::Silu, b.config.mlp_bias)
}
