//! What an app asks for, and what it is told. Plain data, the same in every language.

use deputy::kernels::CacheType;
use deputy::{GenerateOptions, Generation, LoadOptions, WeightFormat};

/// Format of the weights on the device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "uniffi", derive(uniffi::Enum))]
pub enum Weights {
    /// As the file has them.
    #[default]
    Auto,
    /// Single precision.
    F32,
    /// Half precision.
    F16,
    /// Blocks of 32 in 8 bits.
    Q8,
    /// Blocks of 32 in 4 bits.
    Q4,
}

/// Type of the cache of keys and values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "uniffi", derive(uniffi::Enum))]
pub enum Cache {
    /// Half precision.
    #[default]
    F16,
    /// Single precision.
    F32,
    /// Blocks of 32 in 8 bits.
    Q8,
    /// Blocks of 32 in 4 bits.
    Q4,
}

/// How a model is loaded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "uniffi", derive(uniffi::Record))]
pub struct EngineOptions {
    /// `auto` (a GPU, else the CPU), `cpu`, the number of an adapter, or a part of its name; `auto` where absent.
    #[cfg_attr(feature = "uniffi", uniffi(default = None))]
    pub device: Option<String>,
    /// Tokens of a conversation's context; where absent the model's own, at most 4096.
    #[cfg_attr(feature = "uniffi", uniffi(default = None))]
    pub n_ctx: Option<u32>,
    /// Format of the weights on the device; as the file has them where absent.
    #[cfg_attr(feature = "uniffi", uniffi(default = None))]
    pub weights: Option<Weights>,
    /// Type of the cache; f16 where absent.
    #[cfg_attr(feature = "uniffi", uniffi(default = None))]
    pub cache: Option<Cache>,
    /// Refuse to load a model that needs more bytes than this.
    #[cfg_attr(feature = "uniffi", uniffi(default = None))]
    pub memory_limit: Option<u64>,
    /// A folder for compiled shaders, which saves time on the next start: the app's cache folder.
    #[cfg_attr(feature = "uniffi", uniffi(default = None))]
    pub cache_dir: Option<String>,
    /// Conversations whose caches are kept at a time, [`MAX_CACHES`] where absent. One more takes the place of the one
    /// that was silent longest, which computes its cache anew when it goes on.
    #[cfg_attr(feature = "uniffi", uniffi(default = None))]
    pub max_caches: Option<u32>,
}

/// Conversations whose caches are kept at a time unless an app says otherwise.
pub const MAX_CACHES: u32 = 4;

impl EngineOptions {
    pub(crate) fn load(&self) -> LoadOptions {
        let device = self.device.as_deref().unwrap_or("auto").parse();
        LoadOptions {
            device: device.unwrap_or_else(|never| match never {}),
            weights: match self.weights.unwrap_or_default() {
                Weights::Auto => WeightFormat::Auto,
                Weights::F32 => WeightFormat::F32,
                Weights::F16 => WeightFormat::F16,
                Weights::Q8 => WeightFormat::Q8,
                Weights::Q4 => WeightFormat::Q4,
            },
            n_ctx: self.n_ctx,
            cache: self.cache.map(|cache| match cache {
                Cache::F16 => CacheType::F16,
                Cache::F32 => CacheType::F32,
                Cache::Q8 => CacheType::Q8,
                Cache::Q4 => CacheType::Q4,
            }),
            memory: self.memory_limit,
            cache_dir: self.cache_dir.as_ref().map(Into::into),
            ..LoadOptions::default()
        }
    }
}

/// What a model is, from its files' headers.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "uniffi", derive(uniffi::Record))]
pub struct ModelInfo {
    /// Where it came from.
    pub name: String,
    /// `llama`, `qwen3` and so on.
    pub architecture: String,
    /// Elements of all tensors.
    pub n_parameters: u64,
    /// Layers.
    pub n_layers: u32,
    /// Tokens of the vocabulary.
    pub vocab_size: u32,
    /// Tokens that the model was trained to look back on.
    pub max_ctx: u32,
    /// Whether it brings a chat template, so that it was trained to talk.
    pub has_chat_template: bool,
    /// Whether its layers have routers and low-rank branches.
    pub is_routed: bool,
    /// What it would take on the device with these options.
    pub memory: MemoryEstimate,
}

/// Bytes on the device, with one conversation; with others `cache` and `activations` come once more for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "uniffi", derive(uniffi::Record))]
pub struct MemoryEstimate {
    /// Of the weights.
    pub weights: u64,
    /// Of the keys and values.
    pub cache: u64,
    /// Of what is computed in between.
    pub activations: u64,
    /// All of them.
    pub total: u64,
}

impl From<deputy::plan::Footprint> for MemoryEstimate {
    fn from(footprint: deputy::plan::Footprint) -> Self {
        Self {
            weights: footprint.weights,
            cache: footprint.cache,
            activations: footprint.activations,
            total: footprint.total(),
        }
    }
}

/// What an engine runs on.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "uniffi", derive(uniffi::Record))]
pub struct EngineInfo {
    /// Where the model came from.
    pub model: String,
    /// The device.
    pub device: String,
    /// Why it is the CPU though a GPU was welcome.
    pub fallback: Option<String>,
    /// Tokens of a conversation's context.
    pub n_ctx: u32,
    /// Bytes on the device, with one conversation.
    pub memory: MemoryEstimate,
}

/// How much [`Engine::trim_memory`](crate::Engine::trim_memory) gives back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "uniffi", derive(uniffi::Enum))]
pub enum Trim {
    /// The caches: conversations compute their texts again when they go on.
    Caches,
    /// The weights and the device too: the next answer loads the model again.
    Weights,
}

/// Whose words a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "uniffi", derive(uniffi::Enum))]
pub enum Role {
    /// What the model is told before the conversation.
    System,
    /// The person's.
    User,
    /// The model's.
    Assistant,
}

impl Role {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Role::System => "system",
            Role::User => "user",
            Role::Assistant => "assistant",
        }
    }
}

/// A message of a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "uniffi", derive(uniffi::Record))]
pub struct Message {
    /// Whose it is.
    pub role: Role,
    /// The text.
    pub text: String,
}

/// How a conversation goes.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "uniffi", derive(uniffi::Record))]
pub struct ConversationOptions {
    /// What the model is told before it.
    #[cfg_attr(feature = "uniffi", uniffi(default = None))]
    pub system: Option<String>,
    /// How much a routed model lets tokens compute, 0 to 1; as it was trained where absent.
    #[cfg_attr(feature = "uniffi", uniffi(default = None))]
    pub effort: Option<f32>,
}

/// How an answer is made. What is absent is as the model's own configuration says.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "uniffi", derive(uniffi::Record))]
pub struct AnswerOptions {
    /// Tokens at most; as many as the context holds where absent.
    #[cfg_attr(feature = "uniffi", uniffi(default = None))]
    pub max_tokens: Option<u32>,
    /// Divides the logits; 0 always takes the likeliest token.
    #[cfg_attr(feature = "uniffi", uniffi(default = None))]
    pub temperature: Option<f32>,
    /// How many of the likeliest tokens may be drawn; 0 is all.
    #[cfg_attr(feature = "uniffi", uniffi(default = None))]
    pub top_k: Option<u32>,
    /// Probability that they make up together; 1 is all.
    #[cfg_attr(feature = "uniffi", uniffi(default = None))]
    pub top_p: Option<f32>,
    /// Least probability as a part of the largest; 0 is none.
    #[cfg_attr(feature = "uniffi", uniffi(default = None))]
    pub min_p: Option<f32>,
    /// Lessens tokens that were there before; 1 leaves them.
    #[cfg_attr(feature = "uniffi", uniffi(default = None))]
    pub repeat_penalty: Option<f32>,
    /// The same seed gives the same answer; from the clock where absent.
    #[cfg_attr(feature = "uniffi", uniffi(default = None))]
    pub seed: Option<u64>,
    /// Texts that end the answer; they are not part of it.
    #[cfg_attr(feature = "uniffi", uniffi(default = []))]
    pub stop: Vec<String>,
}

impl AnswerOptions {
    /// `sampler` is the model's own.
    pub(crate) fn generate(&self, mut sampler: deputy::sampler::SamplerParams) -> GenerateOptions {
        fn put<T: Copy>(field: &mut T, asked: Option<T>) {
            *field = asked.unwrap_or(*field);
        }
        put(&mut sampler.temperature, self.temperature);
        put(&mut sampler.top_k, self.top_k);
        put(&mut sampler.top_p, self.top_p);
        put(&mut sampler.min_p, self.min_p);
        put(&mut sampler.repeat_penalty, self.repeat_penalty);
        let now = || std::time::UNIX_EPOCH.elapsed();
        let clock = || now().map_or(0, |time| time.as_nanos() as u64);
        sampler.seed = self.seed.unwrap_or_else(clock);
        GenerateOptions {
            max_tokens: self.max_tokens.map(|n| n as usize),
            sampler: Some(sampler),
            stop: self.stop.clone(),
            ..GenerateOptions::default()
        }
    }
}

/// Why an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "uniffi", derive(uniffi::Enum))]
pub enum StopReason {
    /// The model was done.
    Eos,
    /// One of the texts of [`AnswerOptions::stop`] came up.
    Stop,
    /// [`AnswerOptions::max_tokens`] were made.
    Length,
    /// The context is full.
    ContextFull,
    /// It was cancelled, or the callback stopped it.
    Cancelled,
}

/// An answer, and what it took.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "uniffi", derive(uniffi::Record))]
pub struct Answer {
    /// The text, whole.
    pub text: String,
    /// Why it ended.
    pub stop: StopReason,
    /// Tokens of the conversation before it.
    pub n_prompt: u32,
    /// How many of them were still in the cache.
    pub n_reused: u32,
    /// Tokens of the answer.
    pub n_tokens: u32,
    /// Milliseconds from its turn to its first token.
    pub first_token_ms: f64,
    /// Tokens of the prompt computed a second.
    pub prefill_tps: f64,
    /// Tokens made a second, after the first.
    pub decode_tps: f64,
}

impl Answer {
    /// One that was cancelled before it began.
    pub(crate) fn none() -> Self {
        Self {
            text: String::new(),
            stop: StopReason::Cancelled,
            n_prompt: 0,
            n_reused: 0,
            n_tokens: 0,
            first_token_ms: 0.0,
            prefill_tps: 0.0,
            decode_tps: 0.0,
        }
    }
}

impl From<Generation> for Answer {
    fn from(generation: Generation) -> Self {
        Self {
            stop: match generation.stop {
                deputy::StopReason::Eos => StopReason::Eos,
                deputy::StopReason::Stop(_) => StopReason::Stop,
                deputy::StopReason::Length => StopReason::Length,
                deputy::StopReason::ContextFull => StopReason::ContextFull,
                deputy::StopReason::Cancelled => StopReason::Cancelled,
            },
            n_prompt: generation.n_prompt as u32,
            n_reused: generation.n_reused as u32,
            n_tokens: generation.ids.len() as u32,
            first_token_ms: 1e3 * generation.time_to_first_token.as_secs_f64(),
            prefill_tps: generation.prefill_tps(),
            decode_tps: generation.decode_tps(),
            text: generation.text,
        }
    }
}
