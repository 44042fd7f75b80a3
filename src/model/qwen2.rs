//! Qwen2 and Qwen2.5: biases on q, k and v.

use super::Architecture;
use super::blocks::{Attention, Build};
use crate::graph::{Activation, Error};

pub(super) const ARCHITECTURE: Architecture = Architecture {
    name: "qwen2",
    hugging_face: "Qwen2ForCausalLM",
    gguf: "qwen2",
    forward,
};

fn forward(b: &mut Build<'_>) -> Result<(), Error> {
    let attention = Attention {
        qkv_bias: b.config.attention_bias,
        out_bias: Some(false),
        qk_norm: false,
    };
    b.pre_norm_decoder(attention, Activation::Silu, Some(false))
}
