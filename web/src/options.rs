//! What JavaScript asks for, in the library's types.

use deputy::kernels::{CacheType, Capabilities};
use deputy::sampler::SamplerParams;
use deputy::tokenizer::Message;
use deputy::{DeviceChoice, GenerateOptions, LoadOptions, Routes, WeightFormat};
use serde::Deserialize;
use wasm_bindgen::JsValue;

use crate::convert::input;

/// How a model is loaded. The first four are a page's, the others the package's own.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Load {
    /// `auto`, `f32`, `f16`, `q8` or `q4`.
    weights: Option<String>,
    /// `f32`, `f16`, `q8` or `q4`.
    kv: Option<String>,
    /// Positions of the context.
    context_length: Option<u32>,
    /// Bytes that the model may take on the device.
    memory: Option<u64>,
    /// The adapter's smallest subgroups, 0 without them.
    subgroups: u32,
    /// Whether the adapter is a processor in disguise.
    software: bool,
}

impl Load {
    pub(crate) fn options(&self) -> Result<LoadOptions, JsValue> {
        let weights = self.weights.as_deref().unwrap_or("auto");
        let cache = self.kv.as_deref().map(cache).transpose()?;
        Ok(LoadOptions {
            // A browser shows one adapter.
            device: DeviceChoice::Index(0),
            weights: weights
                .parse::<WeightFormat>()
                .map_err(|cause| input(&cause))?,
            n_ctx: self.context_length,
            cache,
            memory: self.memory,
            capabilities: Some(Capabilities {
                subgroups: self.subgroups,
                software: self.software,
                int64: false,
            }),
            ..LoadOptions::default()
        })
    }
}

fn cache(name: &str) -> Result<CacheType, JsValue> {
    let found = CacheType::ALL.into_iter().find(|kv| kv.name() == name);
    found.ok_or_else(|| input(&format!("kv {name:?} is not one of f32, f16, q8, q4")))
}

/// An answer that is asked for: of `messages`, of `prompt` or of `ids`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Request {
    pub(crate) messages: Option<Vec<Message>>,
    pub(crate) prompt: Option<String>,
    pub(crate) ids: Option<Vec<u32>>,
    max_tokens: Option<usize>,
    #[serde(default)]
    stop: Vec<String>,
    #[serde(default)]
    ignore_eos: bool,
    temperature: Option<f32>,
    top_k: Option<u32>,
    top_p: Option<f32>,
    min_p: Option<f32>,
    repeat_penalty: Option<f32>,
    seed: Option<u64>,
    effort: Option<f32>,
}

impl Request {
    /// `own` is what the model draws by.
    pub(crate) fn options(&self, own: SamplerParams) -> GenerateOptions {
        GenerateOptions {
            max_tokens: self.max_tokens,
            sampler: Some(SamplerParams {
                temperature: self.temperature.unwrap_or(own.temperature),
                top_k: self.top_k.unwrap_or(own.top_k),
                top_p: self.top_p.unwrap_or(own.top_p),
                min_p: self.min_p.unwrap_or(own.min_p),
                repeat_penalty: self.repeat_penalty.unwrap_or(own.repeat_penalty),
                seed: self.seed.unwrap_or(own.seed),
            }),
            stop: self.stop.clone(),
            ignore_eos: self.ignore_eos,
            continues: self.messages.is_none(),
            ..GenerateOptions::default()
        }
    }

    pub(crate) fn routes(&self) -> Routes {
        self.effort.map_or(Routes::Trained, Routes::Effort)
    }
}
