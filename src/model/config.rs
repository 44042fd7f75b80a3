//! What a model's configuration says, checked against the limits that any model keeps.

mod gguf;
mod hugging_face;

use super::{Architecture, Error};
use crate::file::{Metadata, ModelFile};
use crate::sampler::SamplerParams;

/// Which names and conventions the file uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// A Hugging Face folder.
    HuggingFace,
    /// A GGUF file.
    Gguf,
}

/// How rotary frequencies are stretched beyond the context that a model was first trained on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RopeScaling {
    /// Not at all.
    None,
    /// All by one factor (`linear`).
    Linear {
        /// Divides the frequencies.
        factor: f64,
    },
    /// Slow ones by a factor, fast ones not, with a ramp between (`llama3`).
    Llama3 {
        /// Divides the slow frequencies.
        factor: f64,
        /// Frequencies with fewer turns than this over the original context are slow.
        low_freq_factor: f64,
        /// Frequencies with more turns than this over the original context are fast.
        high_freq_factor: f64,
        /// Positions of the original training.
        original_n_ctx: f64,
    },
}

/// A model's configuration. Each field names its key in `config.json` and, after `{arch}.`, in GGUF.
#[derive(Clone, Debug)]
pub struct Config {
    /// `architectures`; `general.architecture`.
    pub architecture: Architecture,
    /// Where the configuration came from.
    pub layout: Layout,
    /// `num_hidden_layers`; `block_count`.
    pub n_layers: u32,
    /// `hidden_size`; `embedding_length`.
    pub dim: u32,
    /// `intermediate_size`; `feed_forward_length`.
    pub ffn_dim: u32,
    /// `num_attention_heads`; `attention.head_count`.
    pub n_heads: u32,
    /// `num_key_value_heads`; `attention.head_count_kv`.
    pub n_kv_heads: u32,
    /// `head_dim`; `attention.key_length`. `dim / n_heads` where absent.
    pub head_dim: u32,
    /// `vocab_size`; `vocab_size`, or the length of the vocabulary.
    pub vocab_size: u32,
    /// Positions that the model was made for: `max_position_embeddings`; `context_length`.
    pub n_ctx: u32,
    /// `rms_norm_eps`; `attention.layer_norm_rms_epsilon`.
    pub norm_eps: f32,
    /// `rope_parameters.rope_theta` or `rope_theta`; `rope.freq_base`.
    pub rope_theta: f64,
    /// `rope_parameters` or `rope_scaling`; `rope.scaling.*`.
    pub rope_scaling: RopeScaling,
    /// Divisors of the frequencies that a GGUF file stores as `rope_freqs.weight`.
    pub rope_factors: Option<Vec<f32>>,
    /// Keys that each layer's rows see, from `sliding_window` and `layer_types`; `attention.sliding_window`.
    pub windows: Vec<Option<u32>>,
    /// `tie_word_embeddings`: the output head is the embedding; in GGUF, where `output.weight` is absent.
    pub tied: bool,
    /// `attention_bias`; `None` where the tensors decide (GGUF).
    pub attention_bias: Option<bool>,
    /// `mlp_bias`; `None` where the tensors decide (GGUF).
    pub mlp_bias: Option<bool>,
    /// `bos_token_id`; `tokenizer.ggml.bos_token_id`.
    pub bos: Option<u32>,
    /// `eos_token_id` of `generation_config.json`, else of `config.json`; `tokenizer.ggml.eos_token_id` and its like.
    pub eos: Vec<u32>,
    /// How the model's makers would draw tokens: `temperature`, `top_k`, `top_p`, `min_p` and `repetition_penalty` of
    /// `generation_config.json`, greedy where its `do_sample` is false; else, as for GGUF, [`SamplerParams::default`].
    pub sampler: SamplerParams,
}

impl Config {
    /// Reads a model's configuration.
    ///
    /// # Errors
    /// [`Error::Unsupported`], [`Error::Invalid`] or [`Error::MissingKey`].
    pub fn read(file: &ModelFile) -> Result<Self, Error> {
        match &file.metadata {
            Metadata::HuggingFace(metadata) => hugging_face::read(&file.name, metadata),
            Metadata::Gguf(metadata) => gguf::read(file, metadata),
        }
    }

    /// Checks what no format guarantees; `key` gives a field's name in the file.
    fn checked(self, file: &str, key: impl Fn(&str) -> String) -> Result<Self, Error> {
        let invalid = |field: &str, expected: String, found: String| Error::Invalid {
            file: file.to_owned(),
            key: key(field),
            expected,
            found,
        };
        for (field, value, least, most) in [
            ("n_layers", self.n_layers, 1, 512),
            ("dim", self.dim, 4, 65_536),
            ("ffn_dim", self.ffn_dim, 4, 1 << 20),
            ("n_heads", self.n_heads, 1, 1024),
            ("n_kv_heads", self.n_kv_heads, 1, 1024),
            ("head_dim", self.head_dim, 8, 512),
            ("vocab_size", self.vocab_size, 1, 2_000_000),
            ("n_ctx", self.n_ctx, 1, 1 << 24),
        ] {
            if !(least..=most).contains(&value) {
                let expected = format!("a number from {least} to {most}");
                return Err(invalid(field, expected, value.to_string()));
            }
        }
        // Rows are read in groups of four elements.
        for (field, value) in [
            ("dim", self.dim),
            ("ffn_dim", self.ffn_dim),
            ("head_dim", self.head_dim),
        ] {
            if !value.is_multiple_of(4) {
                let expected = "a multiple of 4".to_owned();
                return Err(invalid(field, expected, value.to_string()));
            }
        }
        if !self.n_heads.is_multiple_of(self.n_kv_heads) {
            let expected = format!("a divisor of {} ({})", key("n_heads"), self.n_heads);
            return Err(invalid("n_kv_heads", expected, self.n_kv_heads.to_string()));
        }
        if !(self.norm_eps > 0.0 && self.norm_eps <= 1e-2) {
            let expected = "a number above 0, at most 0.01".to_owned();
            return Err(invalid("norm_eps", expected, self.norm_eps.to_string()));
        }
        if !(self.rope_theta > 0.0 && self.rope_theta.is_finite()) {
            let expected = "a finite number above 0".to_owned();
            return Err(invalid("rope_theta", expected, self.rope_theta.to_string()));
        }
        for id in self.bos.iter().chain(&self.eos) {
            if *id >= self.vocab_size {
                let expected = format!("a token id below {}", self.vocab_size);
                return Err(invalid("eos", expected, id.to_string()));
            }
        }
        Ok(self)
    }
}

/// Checks a scaling's numbers.
fn checked_scaling(
    file: &str,
    scaling: RopeScaling,
    key: impl Fn(&str) -> String,
) -> Result<RopeScaling, Error> {
    let positive = |name: &str, value: f64| {
        if value > 0.0 && value.is_finite() {
            return Ok(());
        }
        Err(Error::Invalid {
            file: file.to_owned(),
            key: key(name),
            expected: "a finite number above 0".to_owned(),
            found: value.to_string(),
        })
    };
    match scaling {
        RopeScaling::None => {}
        RopeScaling::Linear { factor } => positive("factor", factor)?,
        RopeScaling::Llama3 {
            factor,
            low_freq_factor,
            high_freq_factor,
            original_n_ctx,
        } => {
            positive("factor", factor)?;
            positive("low_freq_factor", low_freq_factor)?;
            positive("original_max_position_embeddings", original_n_ctx)?;
            // The ramp between them divides by their difference.
            if !(high_freq_factor > low_freq_factor && high_freq_factor.is_finite()) {
                return Err(Error::Invalid {
                    file: file.to_owned(),
                    key: key("high_freq_factor"),
                    expected: format!("a number above low_freq_factor ({low_freq_factor})"),
                    found: high_freq_factor.to_string(),
                });
            }
        }
    }
    Ok(scaling)
}
