//! Text to token ids and back: Hugging Face tokenizers, GGUF vocabularies,
//! streaming decode and chat templates.
//!
//! Two rules hold everywhere. Nothing in a tokenizer file or a template can
//! panic, and control tokens come from the program or from a template's own
//! text, never from what a user wrote ([`Tokenizer::encode`], [`encode_chat`]).

mod added;
mod bpe;
mod chat;
mod decode;
mod gguf;
mod hugging_face;
mod jinja;
mod parts;
mod spm;
mod stream;
mod template;

pub use chat::{FALLBACK, encode_chat};
pub use gguf::GgufVocabulary;
pub use stream::{DecodeStream, StopStrings};
pub use template::{ChatTemplate, Message, RenderOptions, Rendered};

use std::collections::BTreeMap;

use added::{AddedTokens, Control};
use decode::Vocab;

/// Longest `tokenizer.json` that is read, in bytes.
pub const MAX_TOKENIZER_BYTES: usize = 64 << 20;
/// Longest chat template that is read, in bytes.
pub const MAX_TEMPLATE_BYTES: usize = 256 << 10;

/// What is wrong with a tokenizer, a template or a conversation.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file is not JSON, or a part has the wrong type.
    #[error("{file}: {source}")]
    Json {
        /// The file.
        file: String,
        /// Line, column and reason.
        source: serde_json::Error,
    },
    /// An input is larger than what is read.
    #[error("{file}: {what} has {size} bytes, the limit is {limit}")]
    TooLarge {
        /// The file or template.
        file: String,
        /// Which part of it.
        what: &'static str,
        /// Its size in bytes.
        size: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// A key holds a value that cannot be.
    #[error("{file}: `{key}`: expected {expected}, found {found}")]
    Field {
        /// The file.
        file: String,
        /// The path of the key.
        key: String,
        /// What the key may hold.
        expected: String,
        /// What it holds.
        found: String,
    },
    /// A kind of part that this engine does not have.
    #[error("{file}: `{key}`: `{found}` is not supported; supported: {supported}")]
    Unsupported {
        /// The file.
        file: String,
        /// The path of the key.
        key: String,
        /// The name found.
        found: String,
        /// The names that are supported.
        supported: String,
    },
    /// A token's id has no row in the model.
    #[error(
        "{file}: token {token:?} has id {id}, but the model's vocabulary has {vocab_size} entries"
    )]
    IdOutOfRange {
        /// The file.
        file: String,
        /// The token.
        token: String,
        /// Its id.
        id: u64,
        /// Entries of the model's vocabulary.
        vocab_size: usize,
    },
    /// One id names two tokens.
    #[error("{file}: id {id} is both {first:?} and {second:?}")]
    IdTwice {
        /// The file.
        file: String,
        /// The id.
        id: u32,
        /// One token.
        first: String,
        /// The other token.
        second: String,
    },
    /// A merge names something that is no token.
    #[error(
        "{file}: merge {index} of {left:?} and {right:?}: {missing:?} is not in the vocabulary"
    )]
    Merge {
        /// The file.
        file: String,
        /// Its position in the list, from 0.
        index: usize,
        /// The left part.
        left: String,
        /// The right part.
        right: String,
        /// Which of left, right and their sum is missing.
        missing: String,
    },
    /// The tokenizers library refuses a part of the file.
    #[error("{file}: `{key}`: {source}")]
    Part {
        /// The file.
        file: String,
        /// The path of the key.
        key: String,
        /// The library's reason.
        source: tokenizers::Error,
    },
    /// Text that the tokenizer cannot encode.
    #[error("the text cannot be encoded: {source}")]
    Encode {
        /// The library's reason.
        source: tokenizers::Error,
    },
    /// A template that does not parse, or fails for this conversation.
    #[error("chat template {name}, line {line}: {reason}")]
    Template {
        /// The template's name.
        name: String,
        /// The line, 0 where unknown.
        line: usize,
        /// The reason.
        reason: String,
    },
    /// The template itself refuses the conversation (`raise_exception`).
    #[error("chat template {name} refuses this conversation: {message}")]
    Refused {
        /// The template's name.
        name: String,
        /// The template's own words.
        message: String,
    },
    /// A template needs more than it may use.
    #[error("chat template {name} needs more than {limit} {of}")]
    TemplateLimit {
        /// The template's name.
        name: String,
        /// The limit.
        limit: u64,
        /// Of what.
        of: &'static str,
    },
    /// The conversation holds every character that could mark its parts.
    #[error(
        "the conversation uses every private character, so its control tokens cannot be marked"
    )]
    NoMark,
}

/// A tokenizer: text to ids and ids to text.
pub struct Tokenizer {
    encoder: Encoder,
    added: AddedTokens,
    vocab: Vocab,
    special: SpecialIds,
}

/// How text between added tokens becomes ids.
enum Encoder {
    /// Merges in order of rank (Hugging Face BPE, GGUF `gpt2`).
    Bpe(Box<bpe::Bpe>),
    /// Merges in order of score (GGUF `llama`).
    Spm(spm::Spm),
}

/// Ids with a role, and which of them frame a prompt.
#[derive(Clone, Debug, Default)]
struct SpecialIds {
    bos: Option<u32>,
    eos: Vec<u32>,
    unk: Option<u32>,
    pad: Option<u32>,
    adds_bos: bool,
    adds_eos: bool,
}

impl Tokenizer {
    /// Reads a Hugging Face `tokenizer.json`.
    ///
    /// `file_name` is for messages, `tokenizer_config` the parsed
    /// `tokenizer_config.json`, `vocab_size` the rows of the model's embedding;
    /// a tokenizer may define fewer tokens than that, never an id beyond.
    ///
    /// # Errors
    /// Names the key for anything that is too large, out of range, inconsistent
    /// or not supported. No content of the file makes this or a later call panic.
    pub fn from_json(
        file_name: &str,
        tokenizer_json: &[u8],
        tokenizer_config: Option<&serde_json::Value>,
        vocab_size: usize,
    ) -> Result<Self, Error> {
        hugging_face::read(file_name, tokenizer_json, tokenizer_config, vocab_size)
    }

    /// Builds the tokenizer of a GGUF file.
    ///
    /// # Errors
    /// As [`Tokenizer::from_json`]; unknown `model` and `pre` names are refused
    /// with the list of the known ones.
    pub fn from_gguf(vocabulary: GgufVocabulary, vocab_size: usize) -> Result<Self, Error> {
        gguf::build(vocabulary, vocab_size)
    }

    /// The ids of `text`, without bos or eos.
    ///
    /// Control tokens written in `text` are plain text, unless `special`.
    ///
    /// # Errors
    /// [`Error::Encode`], from the library.
    pub fn encode(&self, text: &str, special: bool) -> Result<Vec<u32>, Error> {
        self.encode_with(
            text,
            &if special {
                Control::Parse
            } else {
                Control::Plain
            },
        )
    }

    /// The ids of a prompt: bos and eos are added if the tokenizer adds them.
    ///
    /// # Errors
    /// [`Error::Encode`], from the library.
    pub fn encode_prompt(&self, text: &str, special: bool) -> Result<Vec<u32>, Error> {
        let mut ids = Vec::new();
        ids.extend(self.special.bos.filter(|_| self.special.adds_bos));
        ids.extend(self.encode(text, special)?);
        // A prompt that already starts with bos gets no second one.
        if ids.len() > 1 && self.special.adds_bos && ids[0] == ids[1] {
            ids.remove(0);
        }
        if self.special.adds_eos {
            ids.extend(self.special.eos.first());
        }
        Ok(ids)
    }

    fn encode_with(&self, text: &str, control: &Control<'_>) -> Result<Vec<u32>, Error> {
        match &self.encoder {
            Encoder::Bpe(bpe) => bpe
                .encode(text, &self.added, control)
                .map_err(|source| Error::Encode { source }),
            Encoder::Spm(spm) => Ok(spm.encode(text, &self.added, control)),
        }
    }

    /// The text of `ids`, without the special tokens among them.
    ///
    /// Bytes that are no UTF-8 become U+FFFD.
    pub fn decode(&self, ids: &[u32]) -> String {
        let mut stream = DecodeStream::new(self);
        let mut text: String = ids.iter().filter_map(|&id| stream.push(id)).collect();
        text.push_str(&stream.finish());
        text
    }

    /// A token as its file writes it (`Ġthe`, `▁the`, `<0x0A>`, `<|im_end|>`).
    pub fn token_text(&self, id: u32) -> Option<&str> {
        self.vocab.text(id)
    }

    /// The bytes that a token stands for inside a text, those of a special
    /// token being its name.
    pub fn token_bytes(&self, id: u32) -> Option<Vec<u8>> {
        self.vocab.bytes(id)
    }

    /// The id of a token as its file writes it.
    pub fn token_id(&self, text: &str) -> Option<u32> {
        self.added.id(text).or_else(|| match &self.encoder {
            Encoder::Bpe(bpe) => bpe.token_id(text),
            Encoder::Spm(spm) => spm.token_id(text),
        })
    }

    /// Whether the id is a control token: one that text of a user never becomes.
    pub fn is_control(&self, id: u32) -> bool {
        self.vocab.is_control(id)
    }

    /// The token that starts a text.
    pub fn bos(&self) -> Option<u32> {
        self.special.bos
    }

    /// Whether a prompt starts with [`Tokenizer::bos`].
    pub fn adds_bos(&self) -> bool {
        self.special.adds_bos && self.special.bos.is_some()
    }

    /// Whether a prompt ends with eos (rare in language models).
    pub fn adds_eos(&self) -> bool {
        self.special.adds_eos
    }

    /// The tokens that end an answer, as far as the tokenizer knows;
    /// `generation_config.json` may name more.
    pub fn eos_ids(&self) -> &[u32] {
        &self.special.eos
    }

    /// One more than the largest id that the tokenizer defines.
    pub fn n_tokens(&self) -> usize {
        self.vocab.len()
    }

    /// The names that templates know: `bos_token`, `eos_token`, `unk_token`,
    /// `pad_token`, as far as the tokenizer has them.
    pub fn special_tokens(&self) -> BTreeMap<&'static str, &str> {
        let eos = self.special.eos.first().copied();
        [
            ("bos_token", self.special.bos),
            ("eos_token", eos),
            ("unk_token", self.special.unk),
            ("pad_token", self.special.pad),
        ]
        .into_iter()
        .filter_map(|(name, id)| Some((name, self.token_text(id?)?)))
        .collect()
    }
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokenizer")
            .field("n_tokens", &self.n_tokens())
            .field("special", &self.special)
            .finish_non_exhaustive()
    }
}
