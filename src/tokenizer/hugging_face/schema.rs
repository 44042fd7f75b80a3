//! What `tokenizer.json` holds, as far as it is read.

use std::collections::HashMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{self, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;

/// No vocabulary is larger (the limit of a model's config).
pub(super) const MAX_TOKENS: usize = 2_000_000;

#[derive(Deserialize)]
pub(super) struct Head {
    pub(super) model: ModelHead,
}

#[derive(Deserialize)]
pub(super) struct ModelHead {
    #[serde(rename = "type")]
    pub(super) kind: Option<String>,
    pub(super) merges: Option<IgnoredAny>,
}

#[derive(Deserialize)]
pub(super) struct File {
    #[serde(default)]
    pub(super) added_tokens: Vec<AddedJson>,
    #[serde(default)]
    pub(super) normalizer: Value,
    #[serde(default)]
    pub(super) pre_tokenizer: Value,
    #[serde(default)]
    pub(super) post_processor: Value,
    #[serde(default)]
    pub(super) decoder: Value,
    pub(super) model: Model,
}

#[derive(Deserialize)]
pub(super) struct Model {
    pub(super) dropout: Option<f32>,
    pub(super) unk_token: Option<String>,
    pub(super) continuing_subword_prefix: Option<String>,
    pub(super) end_of_word_suffix: Option<String>,
    #[serde(default)]
    pub(super) fuse_unk: bool,
    #[serde(default)]
    pub(super) byte_fallback: bool,
    #[serde(default)]
    pub(super) ignore_merges: bool,
    pub(super) vocab: Tokens,
    pub(super) merges: Vec<MergeJson>,
}

#[derive(Clone, Deserialize)]
pub(super) struct AddedJson {
    pub(super) id: Option<u64>,
    pub(super) content: String,
    #[serde(default)]
    pub(super) single_word: bool,
    #[serde(default)]
    pub(super) lstrip: bool,
    #[serde(default)]
    pub(super) rstrip: bool,
    #[serde(default)]
    pub(super) normalized: Option<bool>,
    #[serde(default)]
    pub(super) special: bool,
}

impl AddedJson {
    /// A special token whose id the vocabulary knows.
    pub(super) fn special(content: &str) -> Self {
        Self {
            id: None,
            content: content.to_owned(),
            single_word: false,
            lstrip: false,
            rstrip: false,
            normalized: None,
            special: true,
        }
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum MergeJson {
    Pair(String, String),
    Joined(String),
}

/// Token to id; refuses repeated tokens and endless lists while reading.
pub(super) struct Tokens(pub(super) HashMap<String, u64>);

impl<'de> Deserialize<'de> for Tokens {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TokensVisitor;
        impl<'de> Visitor<'de> for TokensVisitor {
            type Value = Tokens;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a map of at most {MAX_TOKENS} tokens to their ids")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Tokens, A::Error> {
                let mut tokens = HashMap::new();
                while let Some((token, id)) = map.next_entry::<String, u64>()? {
                    if tokens.len() == MAX_TOKENS {
                        return Err(de::Error::invalid_length(MAX_TOKENS + 1, &self));
                    }
                    if let Some(other) = tokens.insert(token, id) {
                        return Err(de::Error::custom(format!(
                            "a token stands twice in the vocabulary, with ids {other} and {id}"
                        )));
                    }
                }
                Ok(Tokens(tokens))
            }
        }
        deserializer.deserialize_map(TokensVisitor)
    }
}
