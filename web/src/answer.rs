//! An answer and its figures as JavaScript gets them.

use deputy::{Branch, Engine, Generation, LayerBranches, TakenRoutes};
use serde::Serialize;

/// A finished answer.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Answer {
    text: String,
    ids: Vec<u32>,
    /// `eos`, `stop`, `length`, `context_full` or `cancelled`.
    stop: &'static str,
    prompt_tokens: usize,
    /// Of the prompt, those that the cache still had.
    cached_tokens: usize,
    prefill_tokens_per_second: f64,
    decode_tokens_per_second: f64,
    /// Seconds.
    time_to_first_token: f64,
    /// What the sequence's tokens took; none without routers.
    routes: Option<Shares>,
}

/// Parts of tokens and layers.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Shares {
    attention_low: f64,
    ffn_low: f64,
    ffn_skipped: f64,
    compute: f64,
}

impl From<&TakenRoutes> for Shares {
    fn from(taken: &TakenRoutes) -> Self {
        Self {
            attention_low: taken.attention_low,
            ffn_low: taken.ffn_low,
            ffn_skipped: taken.ffn_skipped,
            compute: taken.compute,
        }
    }
}

impl Answer {
    pub(crate) fn new(generation: Generation, taken: Option<&TakenRoutes>) -> Self {
        Self {
            stop: generation.stop.name(),
            prompt_tokens: generation.n_prompt,
            cached_tokens: generation.n_reused,
            prefill_tokens_per_second: generation.prefill_tps(),
            decode_tokens_per_second: generation.decode_tps(),
            time_to_first_token: generation.time_to_first_token.as_secs_f64(),
            routes: taken.map(Shares::from),
            text: generation.text,
            ids: generation.ids,
        }
    }
}

/// The paths of a sequence's tokens.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Paths {
    tokens: Vec<Token>,
    shares: Shares,
}

#[derive(Serialize)]
struct Token {
    id: u32,
    text: String,
    /// Two letters for each layer, attention and FFN: f is full, l low-rank, s skipped.
    layers: Vec<String>,
}

impl Paths {
    pub(crate) fn new(engine: &Engine, ids: &[u32], taken: &TakenRoutes) -> Self {
        let token = |(at, &id): (usize, &u32)| Token {
            id,
            text: text(engine, id),
            layers: taken
                .layers
                .iter()
                .map(|layer| letters(layer.get(at).copied().unwrap_or_default()))
                .collect(),
        };
        let n_cached = taken.layers.iter().map(Vec::len).max().unwrap_or(0);
        Self {
            tokens: ids.iter().take(n_cached).enumerate().map(token).collect(),
            shares: taken.into(),
        }
    }
}

fn text(engine: &Engine, id: u32) -> String {
    let bytes = engine.tokenizer().ok().and_then(|t| t.token_bytes(id));
    bytes.map_or_else(String::new, |bytes| {
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

fn letters(branches: LayerBranches) -> String {
    let letter = |branch| match branch {
        Branch::Full => 'f',
        Branch::Low => 'l',
        Branch::Skipped => 's',
    };
    [letter(branches.attention), letter(branches.ffn)]
        .into_iter()
        .collect()
}
