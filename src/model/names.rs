//! Names of tensors: Hugging Face's are used throughout, GGUF's are translated.

/// (Hugging Face, GGUF) outside the layers.
const TOP: &[(&str, &str)] = &[
    ("model.embed_tokens", "token_embd"),
    ("model.norm", "output_norm"),
    ("lm_head", "output"),
];

/// (Hugging Face, GGUF) within a layer.
const LAYER: &[(&str, &str)] = &[
    ("input_layernorm", "attn_norm"),
    ("self_attn.q_proj", "attn_q"),
    ("self_attn.k_proj", "attn_k"),
    ("self_attn.v_proj", "attn_v"),
    ("self_attn.o_proj", "attn_output"),
    ("self_attn.q_norm", "attn_q_norm"),
    ("self_attn.k_norm", "attn_k_norm"),
    ("post_attention_layernorm", "ffn_norm"),
    ("mlp.gate_proj", "ffn_gate"),
    ("mlp.up_proj", "ffn_up"),
    ("mlp.down_proj", "ffn_down"),
];

/// The GGUF name of a tensor that Hugging Face calls `name`.
pub(super) fn gguf(name: &str) -> Option<String> {
    let (stem, kind) = name.rsplit_once('.')?; // "weight" or "bias"
    if let Some((_, gguf)) = TOP.iter().find(|(hf, _)| *hf == stem) {
        return Some(format!("{gguf}.{kind}"));
    }
    let (layer, rest) = stem.strip_prefix("model.layers.")?.split_once('.')?;
    let (_, gguf) = LAYER.iter().find(|(hf, _)| *hf == rest)?;
    Some(format!("blk.{layer}.{gguf}.{kind}"))
}
