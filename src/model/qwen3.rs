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
    let mut x = b.embed()?;
    for layer in 0..b.config.n_layers {
        b.enter_layer(layer);
        let h = b.norm(x, "input_layernorm")?;
        let h = b.attention(h, attention)?;
        x = b.add(x, h)?;
        let h = b.norm(x, "post_attention_layernorm")?;
        let h = b.gated_ffn(h, Activation::Silu, Some(false))?;
        x = b.add(x, h)?;
    }
    b.logits(x)
}
