//! Mistral: Llama with a sliding window. Its GGUF files call themselves `llama`.

use super::Architecture;
use super::blocks::{Attention, Build};
use crate::graph::{Activation, Error};

pub(super) const ARCHITECTURE: Architecture = Architecture {
    name: "mistral",
    hugging_face: "MistralForCausalLM",
    gguf: "llama",
    forward,
};

fn forward(b: &mut Build<'_>) -> Result<(), Error> {
    let attention = Attention {
        qkv_bias: Some(false),
        out_bias: Some(false),
        qk_norm: false,
    };
    b.pre_norm_decoder(attention, Activation::Silu, Some(false))
}
