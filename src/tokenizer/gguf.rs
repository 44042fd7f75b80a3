//! The vocabulary of a GGUF file: SentencePiece scores (`llama`) or byte-level
//! merges (`gpt2`) with a pre-tokenizer known only by name.

use std::collections::HashMap;

use tokenizers::models::bpe::Vocab as BpeVocab;
use tokenizers::normalizers::NFC;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{PreTokenizerWrapper, SplitDelimiterBehavior};

use super::added::{AddedToken, AddedTokens};
use super::bpe::{self, Bpe, MergeOptions};
use super::decode::{Decoder, Kind, Vocab, byte_token};
use super::spm::Spm;
use super::{Encoder, Error, SpecialIds, Tokenizer};

/// The `tokenizer.ggml.*` keys of a GGUF file, as they stand there.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GgufVocabulary {
    /// The file, for messages.
    pub file: String,
    /// `model`: `llama` (scores) or `gpt2` (merges).
    pub model: String,
    /// `pre`: the pre-tokenizer's name; `gpt2` only.
    pub pre: Option<String>,
    /// `tokens`, by id.
    pub tokens: Vec<String>,
    /// `scores`, by id; `llama` only, may be empty.
    pub scores: Vec<f32>,
    /// `token_type`, by id: 1 normal, 2 unknown, 3 control, 4 user defined,
    /// 5 unused, 6 byte; may be empty.
    pub token_types: Vec<i32>,
    /// `merges`: two tokens with a space between; `gpt2` only.
    pub merges: Vec<String>,
    /// `bos_token_id`.
    pub bos: Option<u32>,
    /// `eos_token_id`.
    pub eos: Option<u32>,
    /// `eot_token_id`: the end of a turn, where it is not `eos`.
    pub eot: Option<u32>,
    /// `unknown_token_id`.
    pub unk: Option<u32>,
    /// `padding_token_id`.
    pub pad: Option<u32>,
    /// `add_bos_token`.
    pub add_bos: Option<bool>,
    /// `add_eos_token`.
    pub add_eos: Option<bool>,
    /// `add_space_prefix`; `llama` only.
    pub add_space_prefix: Option<bool>,
}

/// Control tokens that end an answer whatever `eos_token_id` says: GGUF files
/// have no generation config, and many name the end of text instead of the end
/// of a turn.
const ENDS: [&str; 9] = [
    "<|im_end|>",
    "<|eot_id|>",
    "<|end|>",
    "<|eom_id|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<|eot|>",
    "<|return|>",
];

const NORMAL: i32 = 1;
const UNKNOWN: i32 = 2;
const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;
const UNUSED: i32 = 5;
const BYTE: i32 = 6;

pub(super) fn build(gguf: GgufVocabulary, vocab_size: usize) -> Result<Tokenizer, Error> {
    check(&gguf, vocab_size)?;
    let n_tokens = gguf.tokens.len();
    let in_range = |id: Option<u32>| id.filter(|&id| (id as usize) < n_tokens);
    let (bos, unk, pad) = (in_range(gguf.bos), in_range(gguf.unk), in_range(gguf.pad));
    let mut eos: Vec<u32> = [gguf.eos, gguf.eot]
        .into_iter()
        .filter_map(in_range)
        .collect();
    let kind = |id: usize| gguf.token_types.get(id).copied().unwrap_or(NORMAL);
    eos.extend(
        (0..n_tokens)
            .filter(|&id| matches!(kind(id), CONTROL | USER_DEFINED))
            .filter(|&id| ENDS.contains(&gguf.tokens[id].as_str()))
            .map(|id| id as u32),
    );
    let mut seen = std::collections::HashSet::new();
    eos.retain(|&id| seen.insert(id));

    let added: Vec<AddedToken> = (0..n_tokens)
        .filter(|&id| matches!(kind(id), UNKNOWN | CONTROL | USER_DEFINED))
        .map(|id| AddedToken {
            id: id as u32,
            content: gguf.tokens[id].clone(),
            special: kind(id) != USER_DEFINED || [bos, unk, pad].contains(&Some(id as u32)),
            single_word: false,
            lstrip: false,
            rstrip: false,
            normalized: false,
        })
        .collect();

    let (encoder, decoder, adds_bos) = match gguf.model.as_str() {
        "llama" => spm(&gguf, &kind, unk),
        "gpt2" => byte_level(&gguf, &kind)?,
        other => {
            return Err(Error::Unsupported {
                file: gguf.file.clone(),
                key: "tokenizer.ggml.model".into(),
                found: other.into(),
                supported: "llama, gpt2".into(),
            });
        }
    };

    let mut vocab = Vocab::new(n_tokens, decoder);
    for (id, text) in gguf.tokens.iter().enumerate() {
        let kind = if kind(id) == BYTE {
            Kind::Byte
        } else {
            Kind::Text
        };
        vocab.set(id as u32, text, kind);
    }
    added.iter().for_each(|token| vocab.set_added(token));
    let added = AddedTokens::new(added, |text| Ok(text.to_owned()))
        .map_err(|source| Error::Encode { source })?;
    let special = SpecialIds {
        bos,
        eos,
        unk,
        pad,
        adds_bos: gguf.add_bos.unwrap_or(adds_bos),
        adds_eos: gguf.add_eos.unwrap_or(false),
    };
    Ok(Tokenizer {
        encoder,
        added,
        vocab,
        special,
    })
}

fn check(gguf: &GgufVocabulary, vocab_size: usize) -> Result<(), Error> {
    let field = |key: &str, expected: String, found: String| {
        let key = format!("tokenizer.ggml.{key}");
        Err(Error::Field {
            file: gguf.file.clone(),
            key,
            expected,
            found,
        })
    };
    let n_tokens = gguf.tokens.len();
    if n_tokens == 0 {
        return field("tokens", "at least one token".into(), "none".into());
    }
    if n_tokens > vocab_size {
        return Err(Error::IdOutOfRange {
            file: gguf.file.clone(),
            token: gguf.tokens[vocab_size].clone(),
            id: vocab_size as u64,
            vocab_size,
        });
    }
    for (key, len) in [
        ("scores", gguf.scores.len()),
        ("token_type", gguf.token_types.len()),
    ] {
        if len != 0 && len != n_tokens {
            return field(
                key,
                format!("{n_tokens} entries, as tokens"),
                format!("{len}"),
            );
        }
    }
    if let Some(id) = gguf.scores.iter().position(|score| score.is_nan()) {
        return field(&format!("scores[{id}]"), "a number".into(), "NaN".into());
    }
    if gguf.merges.len() > 4 * vocab_size {
        let expected = format!("at most {} entries", 4 * vocab_size);
        return field("merges", expected, gguf.merges.len().to_string());
    }
    Ok(())
}

fn spm(
    gguf: &GgufVocabulary,
    kind: &dyn Fn(usize) -> i32,
    unk: Option<u32>,
) -> (Encoder, Decoder, bool) {
    let mut bytes = vec![unk; 256];
    let mut pieces = HashMap::with_capacity(gguf.tokens.len());
    for (id, text) in gguf.tokens.iter().enumerate() {
        match (kind(id), byte_token(text)) {
            (BYTE, Some(byte)) => bytes[usize::from(byte)] = Some(id as u32),
            // What a user writes never merges into one of these.
            (UNKNOWN | CONTROL | USER_DEFINED | UNUSED | BYTE, _) => {}
            _ => {
                let score = gguf.scores.get(id).copied().unwrap_or(0.0);
                pieces.entry(text.clone()).or_insert((id as u32, score));
            }
        }
    }
    let prefix = gguf.add_space_prefix.unwrap_or(true);
    let decoder = Decoder::Pieces {
        replace: vec![("\u{2581}".into(), " ".into())],
        strip: usize::from(prefix),
    };
    (Encoder::Spm(Spm::new(pieces, bytes, prefix)), decoder, true)
}

fn byte_level(
    gguf: &GgufVocabulary,
    kind: &dyn Fn(usize) -> i32,
) -> Result<(Encoder, Decoder, bool), Error> {
    let file = || gguf.file.clone();
    let part = |key: &str| {
        let (file, key) = (file(), format!("tokenizer.ggml.{key}"));
        |source| Error::Part { file, key, source }
    };
    let name = gguf.pre.as_deref().unwrap_or("default");
    let Some(pre) = PRE.iter().find(|pre| pre.names.contains(&name)) else {
        let known: Vec<&str> = PRE.iter().flat_map(|pre| pre.names).copied().collect();
        return Err(Error::Unsupported {
            file: file(),
            key: "tokenizer.ggml.pre".into(),
            found: name.into(),
            supported: known.join(", "),
        });
    };

    let mut vocab = BpeVocab::default();
    for (id, text) in gguf.tokens.iter().enumerate() {
        if !matches!(kind(id), UNKNOWN | CONTROL) {
            vocab.entry(text.clone()).or_insert(id as u32);
        }
    }
    let mut merges = Vec::with_capacity(gguf.merges.len());
    for (index, merge) in gguf.merges.iter().enumerate() {
        // A token may itself start with a space.
        let at = merge.char_indices().skip(1).find(|&(_, c)| c == ' ');
        let Some((at, _)) = at else {
            return Err(Error::Field {
                file: file(),
                key: format!("tokenizer.ggml.merges[{index}]"),
                expected: "two tokens with a space between".into(),
                found: format!("{merge:?}"),
            });
        };
        merges.push((merge[..at].to_owned(), merge[at + 1..].to_owned()));
    }
    bpe::check_merges(&merges, |token| vocab.contains_key(token)).map_err(|(index, missing)| {
        let (left, right) = merges[index].clone();
        Error::Merge {
            file: file(),
            index,
            left,
            right,
            missing,
        }
    })?;

    let options = MergeOptions {
        ignore_merges: pre.ignore_merges,
        ..MergeOptions::default()
    };
    let mut bpe = Bpe::new(vocab, merges, options).map_err(part("merges"))?;
    bpe.normalizer = pre.nfc.then(|| NFC.into());
    let mut steps: Vec<PreTokenizerWrapper> = Vec::new();
    for &pattern in pre.patterns {
        let pattern = SplitPattern::Regex(pattern.into());
        let split = Split::new(pattern, SplitDelimiterBehavior::Isolated, false);
        steps.push(split.map_err(part("pre"))?.into());
    }
    steps.push(ByteLevel::new(false, true, false).into());
    bpe.pre_tokenizer = Some(Sequence::new(steps).into());
    Ok((
        Encoder::Bpe(Box::new(bpe)),
        Decoder::ByteLevel,
        pre.adds_bos,
    ))
}

/// A pre-tokenizer: patterns applied one after the other, each isolating its
/// matches, before the bytes are spelt out.
struct Pre {
    names: &'static [&'static str],
    patterns: &'static [&'static str],
    /// Whether a word that is a token needs no merging.
    ignore_merges: bool,
    /// Whether the model's own tokenizer normalizes (llama.cpp does not).
    nfc: bool,
    adds_bos: bool,
}

const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const GPT4O: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const DEEPSEEK3: &str = r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"##;

/// The names are llama.cpp's, the patterns those of the models' own
/// `tokenizer.json`.
const PRE: [Pre; 9] = [
    Pre {
        names: &["default"],
        patterns: &[r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", "[0-9][0-9][0-9]"],
        ignore_merges: false,
        nfc: false,
        adds_bos: false,
    },
    Pre {
        names: &[
            "gpt-2",
            "phi-2",
            "gigachat",
            "mpt",
            "olmo",
            "jais",
            "trillion",
            "granite-docling",
            "exaone4",
            "mellum",
            "a.x-4.0",
            "roberta-bpe",
        ],
        patterns: &[GPT2],
        ignore_merges: false,
        nfc: false,
        adds_bos: false,
    },
    Pre {
        names: &[
            "llama-bpe",
            "llama3",
            "llama-v3",
            "falcon3",
            "falcon-h1",
            "pixtral",
            "midm-2.0",
            "lfm2",
        ],
        patterns: &[LLAMA3],
        ignore_merges: true,
        nfc: false,
        adds_bos: true,
    },
    Pre {
        names: &["dbrx", "smaug-bpe", "glm4", "chatglm-bpe"],
        patterns: &[LLAMA3],
        ignore_merges: false,
        nfc: false,
        adds_bos: false,
    },
    Pre {
        names: &[
            "qwen2",
            "deepseek-r1-qwen",
            "kormo",
            "megrez",
            "hunyuan",
            "stablelm2",
        ],
        patterns: &[QWEN2],
        ignore_merges: false,
        nfc: true,
        adds_bos: false,
    },
    Pre {
        names: &[
            "smollm",
            "starcoder",
            "refact",
            "command-r",
            "codeshell",
            "exaone",
            "minerva-7b",
        ],
        patterns: &[r"\p{N}", GPT2],
        ignore_merges: false,
        nfc: false,
        adds_bos: false,
    },
    Pre {
        names: &["tekken"],
        patterns: &[TEKKEN],
        ignore_merges: true,
        nfc: false,
        adds_bos: true,
    },
    Pre {
        names: &["gpt-4o", "llama4", "kanana2"],
        patterns: &[GPT4O],
        ignore_merges: false,
        nfc: false,
        adds_bos: false,
    },
    Pre {
        names: &["deepseek-v3", "hunyuan-dense"],
        patterns: &[r"\p{N}{1,3}", "[一-龥぀-ゟ゠-ヿ]+", DEEPSEEK3],
        ignore_merges: false,
        nfc: false,
        adds_bos: false,
    },
];
