//! Structs that cross. Each begins with its size; zero is absent, so that a struct of zeros asks for nothing.

use std::ffi::c_char;
use std::ptr;

use super::{Fail, give, null, one_of, optional, string};

/// Format of the weights on the device.
#[repr(C)]
pub enum Weights {
    /// As the file has them.
    Auto = 0,
    /// Single precision.
    F32 = 1,
    /// Half precision.
    F16 = 2,
    /// Blocks of 32 in 8 bits.
    Q8 = 3,
    /// Blocks of 32 in 4 bits.
    Q4 = 4,
}

/// Type of the cache of keys and values.
#[repr(C)]
pub enum Cache {
    /// Half precision.
    F16 = 0,
    /// Single precision.
    F32 = 1,
    /// Blocks of 32 in 8 bits.
    Q8 = 2,
    /// Blocks of 32 in 4 bits.
    Q4 = 3,
}

/// How much memory is given back.
#[repr(C)]
pub enum Trim {
    /// The caches: conversations compute their texts again when they go on.
    Caches = 0,
    /// The weights and the device too: the next answer loads the model again.
    Weights = 1,
}

/// Whose words a message is.
#[repr(C)]
pub enum Role {
    /// What the model is told before the conversation.
    System = 0,
    /// The person's.
    User = 1,
    /// The model's.
    Assistant = 2,
}

/// Why an answer ended.
#[repr(C)]
pub enum StopReason {
    /// The model was done.
    Eos = 0,
    /// One of DeputyAnswerOptions.stop came up.
    Stop = 1,
    /// DeputyAnswerOptions.max_tokens were made.
    Length = 2,
    /// The context is full.
    ContextFull = 3,
    /// It was cancelled, or the callback stopped it.
    Cancelled = 4,
}

/// DeputyAnswerOptions.temperature counts.
pub const DEPUTY_SET_TEMPERATURE: u32 = 1;
/// DeputyAnswerOptions.top_k counts.
pub const DEPUTY_SET_TOP_K: u32 = 2;
/// DeputyAnswerOptions.top_p counts.
pub const DEPUTY_SET_TOP_P: u32 = 4;
/// DeputyAnswerOptions.min_p counts.
pub const DEPUTY_SET_MIN_P: u32 = 8;
/// DeputyAnswerOptions.repeat_penalty counts.
pub const DEPUTY_SET_REPEAT_PENALTY: u32 = 16;
/// DeputyAnswerOptions.seed counts.
pub const DEPUTY_SET_SEED: u32 = 32;

/// How a model is loaded.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct EngineOptions {
    /// sizeof(DeputyEngineOptions)
    pub size: usize,
    /// "auto" (a GPU, else the CPU), "cpu", the number of an adapter, or a part of its name; null is "auto".
    pub device: *const c_char,
    /// A folder for compiled shaders, which saves time on the next start; null keeps nothing.
    pub cache_dir: *const c_char,
    /// Refuse to load a model that needs more bytes; 0 is no limit.
    pub memory_limit: u64,
    /// Tokens of a conversation's context; 0 is the model's own, at most 4096.
    pub n_ctx: u32,
    /// A DeputyWeights.
    pub weights: u32,
    /// A DeputyCache.
    pub cache: u32,
    /// Conversations whose caches are kept at a time; 0 is 4.
    pub max_caches: u32,
}

/// How a conversation goes.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ConversationOptions {
    /// sizeof(DeputyConversationOptions)
    pub size: usize,
    /// What the model is told before it; null is nothing.
    pub system: *const c_char,
    /// How much a routed model lets tokens compute, 0 to 1, where has_effort.
    pub effort: f32,
    /// Whether effort counts; otherwise it is as the model was trained.
    pub has_effort: bool,
}

/// How an answer is made. What is absent is as the model's own configuration says.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct AnswerOptions {
    /// sizeof(DeputyAnswerOptions)
    pub size: usize,
    /// Texts that end the answer and are not part of it.
    pub stop: *const *const c_char,
    /// How many.
    pub n_stop: usize,
    /// The same seed gives the same answer; from the clock unless DEPUTY_SET_SEED.
    pub seed: u64,
    /// Tokens at most; 0 is as many as the context holds.
    pub max_tokens: u32,
    /// Which of seed and the settings below count: DEPUTY_SET_*, or'ed.
    pub set: u32,
    /// Divides the logits; 0 always takes the likeliest token.
    pub temperature: f32,
    /// How many of the likeliest tokens may be drawn; 0 is all.
    pub top_k: u32,
    /// Probability that they make up together; 1 is all.
    pub top_p: f32,
    /// Least probability as a part of the largest; 0 is none.
    pub min_p: f32,
    /// Lessens tokens that were there before; 1 leaves them.
    pub repeat_penalty: f32,
    /// Call on_text on this thread, which waits for the answer.
    pub callback_here: bool,
}

/// An answer, and what it took.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Answer {
    /// sizeof(DeputyAnswer), set by the program before the call.
    pub size: usize,
    /// The text, whole.
    pub text: *mut c_char,
    /// Milliseconds from its turn to its first token.
    pub first_token_ms: f64,
    /// Tokens of the prompt computed a second.
    pub prefill_tps: f64,
    /// Tokens made a second, after the first.
    pub decode_tps: f64,
    /// A DeputyStopReason.
    pub stop: u32,
    /// Tokens of the conversation before it.
    pub n_prompt: u32,
    /// How many of them were still in the cache.
    pub n_reused: u32,
    /// Tokens of the answer.
    pub n_tokens: u32,
}

/// What a model is, and the bytes that it would take on the device with one conversation.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ModelInfo {
    /// sizeof(DeputyModelInfo), set by the program before the call.
    pub size: usize,
    /// Where it came from.
    pub name: *mut c_char,
    /// "llama", "qwen3" and so on.
    pub architecture: *mut c_char,
    /// Elements of all tensors.
    pub n_parameters: u64,
    /// Bytes of the weights.
    pub weights_bytes: u64,
    /// Bytes of the keys and values.
    pub cache_bytes: u64,
    /// Bytes of what is computed in between.
    pub activations_bytes: u64,
    /// All of them.
    pub total_bytes: u64,
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
}

/// The options that a program gave, zeros behind those that it knows; nothing but zeros for null.
///
/// # Safety
/// It is null, or begins with a `usize` that says how many bytes it has. Zeros are a value of `T`.
unsafe fn read<T: Copy>(given: *const T, name: &str) -> Result<T, Fail> {
    // SAFETY: as this function's.
    let mut options = unsafe { std::mem::zeroed::<T>() };
    if !given.is_null() {
        // SAFETY: as this function's.
        let size = unsafe { given.cast::<usize>().read() };
        if size < size_of::<usize>() {
            return Err(wrong_size(name, size_of::<T>(), size));
        }
        let n = size.min(size_of::<T>());
        // SAFETY: both have `n` bytes at least.
        unsafe { ptr::copy_nonoverlapping(given.cast::<u8>(), (&raw mut options).cast(), n) };
    }
    Ok(options)
}

fn wrong_size(name: &str, expected: usize, found: usize) -> Fail {
    Fail::Argument(format!(
        "{name}: expected a size of {expected}, found {found}"
    ))
}

/// The size of a struct that is to be filled, at least that of the first version.
///
/// # Safety
/// It is null or begins with a `usize`.
pub(super) unsafe fn size_of_out<T>(out: *mut T, name: &str, first: usize) -> Result<usize, Fail> {
    if out.is_null() {
        return Err(null(name));
    }
    // SAFETY: as this function's.
    let size = unsafe { out.cast::<usize>().read() };
    match size < first {
        true => Err(wrong_size(name, first, size)),
        false => Ok(size),
    }
}

/// Fills as much of a struct as the program knows.
///
/// # Safety
/// It has `size` bytes.
pub(super) unsafe fn fill<T: Copy>(out: *mut T, value: T, size: usize) {
    let n = size.min(size_of::<T>());
    // SAFETY: both have `n` bytes at least.
    unsafe { ptr::copy_nonoverlapping((&raw const value).cast::<u8>(), out.cast(), n) };
}

fn unless_zero(n: u32) -> Option<u32> {
    (n != 0).then_some(n)
}

impl EngineOptions {
    /// # Safety
    /// As [`read`]; texts are null or end with a NUL.
    pub(super) unsafe fn of(given: *const Self) -> Result<crate::EngineOptions, Fail> {
        use crate::{Cache, Weights};
        const WEIGHTS: [Weights; 5] = [
            Weights::Auto,
            Weights::F32,
            Weights::F16,
            Weights::Q8,
            Weights::Q4,
        ];
        const CACHES: [Cache; 4] = [Cache::F16, Cache::F32, Cache::Q8, Cache::Q4];
        // SAFETY: as this function's.
        let given = unsafe { read(given, "options") }?;
        Ok(crate::EngineOptions {
            // SAFETY: as this function's.
            device: unsafe { optional(given.device, "options.device") }?,
            n_ctx: unless_zero(given.n_ctx),
            weights: Some(one_of("options.weights", given.weights, &WEIGHTS)?),
            cache: Some(one_of("options.cache", given.cache, &CACHES)?),
            memory_limit: (given.memory_limit != 0).then_some(given.memory_limit),
            // SAFETY: as this function's.
            cache_dir: unsafe { optional(given.cache_dir, "options.cache_dir") }?,
            max_caches: unless_zero(given.max_caches),
        })
    }
}

impl ConversationOptions {
    /// # Safety
    /// As [`read`]; texts are null or end with a NUL.
    pub(super) unsafe fn of(given: *const Self) -> Result<crate::ConversationOptions, Fail> {
        // SAFETY: as this function's.
        let given = unsafe { read(given, "options") }?;
        Ok(crate::ConversationOptions {
            // SAFETY: as this function's.
            system: unsafe { optional(given.system, "options.system") }?,
            effort: given.has_effort.then_some(given.effort),
        })
    }
}

impl AnswerOptions {
    /// With whether `callback_here`.
    ///
    /// # Safety
    /// As [`read`]; texts are null or end with a NUL.
    pub(super) unsafe fn of(given: *const Self) -> Result<(crate::AnswerOptions, bool), Fail> {
        // SAFETY: as this function's.
        let given = unsafe { read(given, "options") }?;
        if given.n_stop > 0 && given.stop.is_null() {
            return Err(null("options.stop"));
        }
        let stop = (0..given.n_stop).map(|i| {
            // SAFETY: there are `n_stop` of them, each as this function's.
            unsafe { string(given.stop.add(i).read(), "options.stop") }
        });
        let set = |bit: u32| given.set & bit != 0;
        let options = crate::AnswerOptions {
            max_tokens: unless_zero(given.max_tokens),
            temperature: set(DEPUTY_SET_TEMPERATURE).then_some(given.temperature),
            top_k: set(DEPUTY_SET_TOP_K).then_some(given.top_k),
            top_p: set(DEPUTY_SET_TOP_P).then_some(given.top_p),
            min_p: set(DEPUTY_SET_MIN_P).then_some(given.min_p),
            repeat_penalty: set(DEPUTY_SET_REPEAT_PENALTY).then_some(given.repeat_penalty),
            seed: set(DEPUTY_SET_SEED).then_some(given.seed),
            stop: stop.collect::<Result<_, _>>()?,
        };
        Ok((options, given.callback_here))
    }
}

impl Answer {
    /// Its size in the first version of the interface.
    pub(super) const FIRST_SIZE: usize = size_of::<Self>();

    pub(super) fn new(answer: crate::Answer, size: usize) -> Self {
        Self {
            size,
            text: give(&answer.text),
            first_token_ms: answer.first_token_ms,
            prefill_tps: answer.prefill_tps,
            decode_tps: answer.decode_tps,
            stop: match answer.stop {
                crate::StopReason::Eos => StopReason::Eos as u32,
                crate::StopReason::Stop => StopReason::Stop as u32,
                crate::StopReason::Length => StopReason::Length as u32,
                crate::StopReason::ContextFull => StopReason::ContextFull as u32,
                crate::StopReason::Cancelled => StopReason::Cancelled as u32,
            },
            n_prompt: answer.n_prompt,
            n_reused: answer.n_reused,
            n_tokens: answer.n_tokens,
        }
    }
}

impl ModelInfo {
    /// Its size in the first version of the interface.
    pub(super) const FIRST_SIZE: usize = size_of::<Self>();

    pub(super) fn new(info: crate::ModelInfo, size: usize) -> Self {
        Self {
            size,
            name: give(&info.name),
            architecture: give(&info.architecture),
            n_parameters: info.n_parameters,
            weights_bytes: info.memory.weights,
            cache_bytes: info.memory.cache,
            activations_bytes: info.memory.activations,
            total_bytes: info.memory.total,
            n_layers: info.n_layers,
            vocab_size: info.vocab_size,
            max_ctx: info.max_ctx,
            has_chat_template: info.has_chat_template,
            is_routed: info.is_routed,
        }
    }
}
