//! `config.json` and `generation_config.json`, as transformers 4 and 5 write them.

use serde_json::Value;

use super::{Config, Layout, RopeScaling, checked_scaling};
use crate::file::HuggingFace;
use crate::model::{ARCHITECTURES, Architecture, Error};
use crate::sampler::{self, SamplerParams};

pub(super) fn read(folder: &str, metadata: &HuggingFace) -> Result<Config, Error> {
    let config = Json::new(format!("{folder}/config.json"), &metadata.config);
    // Code in a model is never run, whatever it calls itself.
    if let Some(code) = config.get("auto_map") {
        return Err(config.unsupported("auto_map", code, "models without code of their own"));
    }
    let architecture = architecture(&config)?;
    quantization(&config)?;
    if let Some(act) = config.text("hidden_act")?.filter(|&act| act != "silu") {
        return Err(config.unsupported("hidden_act", act, "silu"));
    }
    let n_heads = config.need("num_attention_heads")?;
    let dim: u32 = config.need("hidden_size")?;
    let n_layers: u32 = config.need("num_hidden_layers")?;
    let rope = rope_parameters(&config)?;
    let rope_theta = match rope.number("rope_theta")? {
        Some(theta) => theta,
        None => config.number("rope_theta")?.unwrap_or(10_000.0),
    };
    if let Some(part) = rope.number("partial_rotary_factor")?.filter(|&p| p != 1.0) {
        return Err(rope.unsupported("partial_rotary_factor", part, "1"));
    }
    let generation = metadata
        .generation_config
        .as_ref()
        .map(|value| Json::new(format!("{folder}/generation_config.json"), value));
    let eos = match &generation {
        Some(generation) if generation.get("eos_token_id").is_some() => {
            generation.ids("eos_token_id")?
        }
        _ => config.ids("eos_token_id")?,
    };
    let is_qwen2 = architecture.name == "qwen2";
    Config {
        architecture,
        layout: Layout::HuggingFace,
        n_layers,
        dim,
        ffn_dim: config.need("intermediate_size")?,
        n_heads,
        n_kv_heads: config.uint("num_key_value_heads")?.unwrap_or(n_heads),
        head_dim: config.uint("head_dim")?.unwrap_or(dim / n_heads.max(1)),
        vocab_size: config.need("vocab_size")?,
        n_ctx: config.uint("max_position_embeddings")?.unwrap_or(2048),
        norm_eps: config.number("rms_norm_eps")?.unwrap_or(1e-6) as f32,
        rope_theta,
        rope_scaling: rope_scaling(&rope)?,
        rope_factors: None,
        windows: windows(&config, architecture, n_layers)?,
        tied: config.flag("tie_word_embeddings")?.unwrap_or(false),
        // Qwen2's class has the biases of q, k and v built in.
        attention_bias: Some(is_qwen2 || config.flag("attention_bias")?.unwrap_or(false)),
        mlp_bias: Some(config.flag("mlp_bias")?.unwrap_or(false)),
        bos: config.ids("bos_token_id")?.first().copied(),
        eos,
        sampler: generation
            .as_ref()
            .map_or(Ok(SamplerParams::default()), sampler)?,
    }
    .checked(&config.file, |field| {
        match field {
            "n_layers" => "num_hidden_layers",
            "dim" => "hidden_size",
            "ffn_dim" => "intermediate_size",
            "n_heads" => "num_attention_heads",
            "n_kv_heads" => "num_key_value_heads",
            "n_ctx" => "max_position_embeddings",
            "norm_eps" => "rms_norm_eps",
            "eos" => "bos_token_id or eos_token_id",
            other => other,
        }
        .to_owned()
    })
}

/// What `generation_config.json` says of drawing tokens, and our own defaults for what it leaves out.
fn sampler(generation: &Json<'_>) -> Result<SamplerParams, Error> {
    if generation.flag("do_sample")? == Some(false) {
        return Ok(SamplerParams::greedy());
    }
    let default = SamplerParams::default();
    let number = |key, default: f32| -> Result<f32, Error> {
        Ok(generation.number(key)?.map_or(default, |x| x as f32))
    };
    let sampler = SamplerParams {
        temperature: number("temperature", default.temperature)?,
        top_k: generation.uint("top_k")?.unwrap_or(default.top_k),
        top_p: number("top_p", default.top_p)?,
        min_p: number("min_p", default.min_p)?,
        repeat_penalty: number("repetition_penalty", default.repeat_penalty)?,
        seed: 0,
    };
    match sampler.validate() {
        Ok(()) => Ok(sampler),
        Err(sampler::Error::Setting { name, expected, .. }) => {
            let key = match name {
                "repeat_penalty" => "repetition_penalty",
                name => name,
            };
            Err(generation.invalid(key, expected))
        }
        Err(other) => unreachable!("{other}"),
    }
}

fn architecture(config: &Json<'_>) -> Result<Architecture, Error> {
    let class = match config.get("architectures") {
        None => match config.text("model_type")? {
            // Some tools leave the class out; the type says as much for the ones we know.
            Some(kind) => {
                let known = ARCHITECTURES.iter().find(|a| a.name == kind);
                return known.copied().ok_or_else(|| {
                    let names: Vec<&str> = ARCHITECTURES.iter().map(|a| a.name).collect();
                    config.unsupported("model_type", kind, &names.join(", "))
                });
            }
            None => return Err(config.missing("architectures")),
        },
        Some(Value::Array(list)) => list.first().and_then(Value::as_str),
        Some(_) => None,
    };
    let class = class.ok_or_else(|| config.invalid("architectures", "a list of class names"))?;
    let known = ARCHITECTURES.iter().find(|a| a.hugging_face == class);
    known.copied().ok_or_else(|| {
        let names: Vec<&str> = ARCHITECTURES.iter().map(|a| a.hugging_face).collect();
        let kind = config
            .get("model_type")
            .and_then(Value::as_str)
            .unwrap_or("no type");
        config.unsupported(
            "architectures",
            format!("{class} ({kind})"),
            &names.join(", "),
        )
    })
}

/// Only our own quantised folders are read; the file module has checked their tensors.
fn quantization(config: &Json<'_>) -> Result<(), Error> {
    let Some(value) = config.get("quantization_config") else {
        return Ok(());
    };
    let method = value.get("quant_method").and_then(Value::as_str);
    match method {
        Some("deputy") => Ok(()),
        other => Err(config.unsupported(
            "quantization_config.quant_method",
            other.unwrap_or("none"),
            "deputy, or no quantization_config",
        )),
    }
}

/// `rope_parameters` (transformers 5), `rope_scaling` (4), or nothing.
fn rope_parameters<'a>(config: &Json<'a>) -> Result<Json<'a>, Error> {
    for key in ["rope_parameters", "rope_scaling"] {
        match config.get(key) {
            None => {}
            Some(value) if value.is_object() => {
                return Ok(Json {
                    file: config.file.clone(),
                    prefix: format!("{key}."),
                    value: Some(value),
                });
            }
            Some(_) => return Err(config.invalid(key, "an object or null")),
        }
    }
    Ok(Json {
        file: config.file.clone(),
        prefix: "rope_parameters.".to_owned(),
        value: None,
    })
}

fn rope_scaling(rope: &Json<'_>) -> Result<RopeScaling, Error> {
    let key = if rope.get("rope_type").is_some() {
        "rope_type"
    } else {
        "type"
    };
    let need = |key| rope.number(key)?.ok_or_else(|| rope.missing(key));
    let scaling = match rope.text(key)?.unwrap_or("default") {
        "default" => RopeScaling::None,
        "linear" => RopeScaling::Linear {
            factor: need("factor")?,
        },
        "llama3" => RopeScaling::Llama3 {
            factor: need("factor")?,
            low_freq_factor: need("low_freq_factor")?,
            high_freq_factor: need("high_freq_factor")?,
            original_n_ctx: need("original_max_position_embeddings")?,
        },
        other => return Err(rope.unsupported(key, other, "default, linear, llama3")),
    };
    checked_scaling(&rope.file, scaling, |key| format!("{}{key}", rope.prefix))
}

fn windows(
    config: &Json<'_>,
    architecture: Architecture,
    n_layers: u32,
) -> Result<Vec<Option<u32>>, Error> {
    let n_layers = n_layers.min(512) as usize;
    let window = config.uint("sliding_window")?;
    if window == Some(0) {
        return Err(config.invalid("sliding_window", "a number above 0, or null"));
    }
    if architecture.name == "llama" {
        return Ok(vec![None; n_layers]); // The class has no windows, whatever the key says.
    }
    if architecture.name == "mistral" {
        return Ok(vec![window; n_layers]);
    }
    let window = window.filter(|_| config.flag("use_sliding_window").ok().flatten() == Some(true));
    match config.get("layer_types") {
        Some(Value::Array(kinds)) if kinds.len() == n_layers => kinds
            .iter()
            .map(|kind| match kind.as_str() {
                Some("full_attention") => Ok(None),
                Some("sliding_attention") if window.is_some() => Ok(window),
                Some("sliding_attention") => Err(config.missing("sliding_window")),
                _ => Err(config.unsupported(
                    "layer_types",
                    kind,
                    "full_attention, sliding_attention",
                )),
            })
            .collect(),
        Some(_) => Err(config.invalid("layer_types", "a list with an entry for each layer")),
        None => {
            let first = config.uint("max_window_layers")?.unwrap_or(0) as usize;
            Ok((0..n_layers)
                .map(|layer| window.filter(|_| layer >= first))
                .collect())
        }
    }
}

/// An object of a JSON file; `null` counts as absent.
struct Json<'a> {
    file: String,
    prefix: String,
    value: Option<&'a Value>,
}

impl<'a> Json<'a> {
    fn new(file: String, value: &'a Value) -> Self {
        Self {
            file,
            prefix: String::new(),
            value: Some(value),
        }
    }

    fn get(&self, key: &str) -> Option<&'a Value> {
        self.value?.get(key).filter(|value| !value.is_null())
    }

    fn uint(&self, key: &str) -> Result<Option<u32>, Error> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        let n = value.as_u64().and_then(|n| u32::try_from(n).ok());
        n.map(Some)
            .ok_or_else(|| self.invalid(key, "an integer of 0..2^32"))
    }

    fn need(&self, key: &str) -> Result<u32, Error> {
        self.uint(key)?.ok_or_else(|| self.missing(key))
    }

    fn number(&self, key: &str) -> Result<Option<f64>, Error> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        value
            .as_f64()
            .map(Some)
            .ok_or_else(|| self.invalid(key, "a number"))
    }

    fn flag(&self, key: &str) -> Result<Option<bool>, Error> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        value
            .as_bool()
            .map(Some)
            .ok_or_else(|| self.invalid(key, "true or false"))
    }

    fn text(&self, key: &str) -> Result<Option<&'a str>, Error> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        value
            .as_str()
            .map(Some)
            .ok_or_else(|| self.invalid(key, "a string"))
    }

    /// A token id or a list of them.
    fn ids(&self, key: &str) -> Result<Vec<u32>, Error> {
        let list = match self.get(key) {
            None => return Ok(vec![]),
            Some(Value::Array(list)) => list.as_slice(),
            Some(value) => std::slice::from_ref(value),
        };
        list.iter()
            .map(|id| id.as_u64().and_then(|id| u32::try_from(id).ok()))
            .collect::<Option<_>>()
            .ok_or_else(|| self.invalid(key, "a token id or a list of them"))
    }

    fn missing(&self, key: &str) -> Error {
        Error::MissingKey {
            file: self.file.clone(),
            key: format!("{}{key}", self.prefix),
        }
    }

    fn invalid(&self, key: &str, expected: &str) -> Error {
        Error::Invalid {
            file: self.file.clone(),
            key: format!("{}{key}", self.prefix),
            expected: expected.to_owned(),
            found: self.get(key).map_or_else(|| "nothing".to_owned(), brief),
        }
    }

    fn unsupported(&self, key: &str, found: impl ToString, supported: &str) -> Error {
        Error::Unsupported {
            file: self.file.clone(),
            key: format!("{}{key}", self.prefix),
            found: brief(found),
            supported: supported.to_owned(),
        }
    }
}

/// At most 80 characters of a value, for a message.
fn brief(value: impl ToString) -> String {
    value.to_string().chars().take(80).collect()
}
