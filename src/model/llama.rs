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
    let mut x = b.embed()?;
    for layer in 0..b.config.n_layers {
        b.enter_layer(layer);
        let h = b.norm(x, "input_layernorm")?;
        let h = b.attention(h, attention)?;
        x = b.add(x, h)?;
        let h = b.norm(x, "post_attention_layernorm")?;
        let h = b.gated_ffn(h, Activation::Silu, b.config.mlp_bias)?;
        x = b.add(x, h)?;
    }
    b.logits(x)
}
