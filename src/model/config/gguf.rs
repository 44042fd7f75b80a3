//! The metadata of a GGUF file, as llama.cpp's converter writes it.

use super::{Config, Layout, RopeScaling, checked_scaling};
use crate::file::gguf::Metadata;
use crate::file::{self, ModelFile};
use crate::model::{ARCHITECTURES, Architecture, Error};
use crate::sampler::SamplerParams;

pub(super) fn read(file: &ModelFile, metadata: &Metadata) -> Result<Config, Error> {
    let keys = Keys {
        metadata,
        architecture: metadata
            .get_str("general.architecture")?
            .ok_or_else(|| metadata.missing("general.architecture"))?,
    };
    let architecture = architecture(&file.name, keys.architecture)?;
    let unsupported = |key: &str, found: String, supported: &str| Error::Unsupported {
        file: file.name.clone(),
        key: keys.name(key),
        found,
        supported: supported.to_owned(),
    };
    if let Some(n) = keys.u32("expert_count")?.filter(|&n| n > 0) {
        return Err(unsupported(
            "expert_count",
            n.to_string(),
            "models without experts",
        ));
    }
    let n_heads = keys.need("attention.head_count")?;
    let dim = keys.need("embedding_length")?;
    let n_layers = keys.need("block_count")?;
    let head_dim = keys
        .u32("attention.key_length")?
        .unwrap_or(dim / n_heads.max(1));
    for (key, expected) in [
        ("attention.value_length", head_dim),
        ("rope.dimension_count", head_dim),
    ] {
        if let Some(found) = keys.u32(key)?.filter(|&n| n != expected) {
            let supported = format!("{expected}, the width of a head");
            return Err(unsupported(key, found.to_string(), &supported));
        }
    }
    let vocab_size = match keys.u32("vocab_size")? {
        Some(n) => n,
        None => match metadata.get_strings("tokenizer.ggml.tokens")? {
            Some(tokens) => tokens.len() as u32,
            None => return Err(metadata.missing(&keys.name("vocab_size")).into()),
        },
    };
    let mut eos = vec![];
    for key in ["eos_token_id", "eot_token_id", "eom_token_id"] {
        eos.extend(metadata.get_u32(&format!("tokenizer.ggml.{key}"))?);
    }
    eos.sort_unstable();
    eos.dedup();
    // Only Mistral's files carry a window that llama.cpp's "llama" respects.
    let window = keys.u32("attention.sliding_window")?.filter(|&n| n > 0);
    let window = window.filter(|_| architecture.gguf == "llama");
    Config {
        architecture,
        layout: Layout::Gguf,
        n_layers,
        dim,
        ffn_dim: keys.need("feed_forward_length")?,
        n_heads,
        n_kv_heads: keys.u32("attention.head_count_kv")?.unwrap_or(n_heads),
        head_dim,
        vocab_size,
        n_ctx: keys.need("context_length")?,
        norm_eps: metadata
            .get_f32(&keys.name("attention.layer_norm_rms_epsilon"))?
            .ok_or_else(|| metadata.missing(&keys.name("attention.layer_norm_rms_epsilon")))?,
        rope_theta: metadata
            .get_f32(&keys.name("rope.freq_base"))?
            .unwrap_or(10_000.0)
            .into(),
        rope_scaling: rope_scaling(&file.name, &keys)?,
        rope_factors: None,
        windows: vec![window; n_layers.min(512) as usize],
        tied: !file.tensors.contains_key("output.weight"),
        attention_bias: None,
        mlp_bias: None,
        bos: metadata.get_u32("tokenizer.ggml.bos_token_id")?,
        eos,
        sampler: SamplerParams::default(),
    }
    .checked(&file.name, |field| {
        keys.name(match field {
            "n_layers" => "block_count",
            "dim" => "embedding_length",
            "ffn_dim" => "feed_forward_length",
            "n_heads" => "attention.head_count",
            "n_kv_heads" => "attention.head_count_kv",
            "head_dim" => "attention.key_length",
            "n_ctx" => "context_length",
            "norm_eps" => "attention.layer_norm_rms_epsilon",
            "rope_theta" => "rope.freq_base",
            "eos" => return "tokenizer.ggml.*_token_id".to_owned(),
            other => other,
        })
    })
}

fn architecture(file: &str, name: &str) -> Result<Architecture, Error> {
    let known = ARCHITECTURES.iter().find(|a| a.gguf == name);
    known.copied().ok_or_else(|| {
        let mut names: Vec<&str> = ARCHITECTURES.iter().map(|a| a.gguf).collect();
        names.dedup();
        Error::Unsupported {
            file: file.to_owned(),
            key: "general.architecture".to_owned(),
            found: name.chars().take(80).collect(),
            supported: names.join(", "),
        }
    })
}

fn rope_scaling(file: &str, keys: &Keys<'_>) -> Result<RopeScaling, Error> {
    let factor = keys.metadata.get_f32(&keys.name("rope.scaling.factor"))?;
    let kind = keys.metadata.get_str(&keys.name("rope.scaling.type"))?;
    let scaling = match (kind, factor) {
        (None | Some("none"), _) => RopeScaling::None,
        (Some("linear"), Some(factor)) => RopeScaling::Linear {
            factor: factor.into(),
        },
        (Some("linear"), None) => {
            return Err(keys
                .metadata
                .missing(&keys.name("rope.scaling.factor"))
                .into());
        }
        (Some(other), _) => {
            return Err(Error::Unsupported {
                file: file.to_owned(),
                key: keys.name("rope.scaling.type"),
                found: other.chars().take(80).collect(),
                supported: "none, linear, and llama3 as rope_freqs.weight".to_owned(),
            });
        }
    };
    checked_scaling(file, scaling, |key| {
        keys.name(&format!("rope.scaling.{key}"))
    })
}

/// The keys that begin with the architecture's name.
struct Keys<'a> {
    metadata: &'a Metadata,
    architecture: &'a str,
}

impl Keys<'_> {
    fn name(&self, key: &str) -> String {
        format!("{}.{key}", self.architecture)
    }

    fn u32(&self, key: &str) -> Result<Option<u32>, file::Error> {
        self.metadata.get_u32(&self.name(key))
    }

    fn need(&self, key: &str) -> Result<u32, file::Error> {
        self.u32(key)?
            .ok_or_else(|| self.metadata.missing(&self.name(key)))
    }
}
