//! The tokenizer and the chat template of a model, from whatever its files have.

use super::Engine;
use crate::error::Error;
use crate::file::gguf::Metadata as GgufMetadata;
use crate::file::{self, Metadata, ModelFile};
use crate::tokenizer::{
    ChatTemplate, FALLBACK, GgufVocabulary, Message, RenderOptions, Tokenizer, encode_chat,
};

impl Engine {
    /// The ids of a raw prompt, with what the tokenizer adds around it. Control tokens in the text
    /// count where `special` says so.
    ///
    /// # Errors
    /// [`Error::NoTokenizer`]; [`Error::TextTooLong`] before a hopeless text is looked at.
    pub fn encode_prompt(&self, text: &str, special: bool) -> Result<Vec<u32>, Error> {
        let tokenizer = self.tokenizer()?;
        self.check_length(tokenizer, text.len())?;
        Ok(tokenizer.encode_prompt(text, special)?)
    }

    /// Refuses text that no tokenization can make short enough, so that its size bounds the work.
    fn check_length(&self, tokenizer: &Tokenizer, n_bytes: usize) -> Result<(), Error> {
        let n_ctx = self.n_ctx() as usize;
        if n_bytes <= n_ctx {
            return Ok(()); // A token has a byte at least.
        }
        let lengths = (0..tokenizer.n_tokens() as u32).filter_map(|id| tokenizer.token_bytes(id));
        let longest = lengths.map(|bytes| bytes.len()).max().unwrap_or(1);
        // Normalisation may drop a part of the text, and hardly half of it.
        let limit = n_ctx.saturating_mul(2 * longest);
        if n_bytes <= limit {
            return Ok(());
        }
        Err(Error::TextTooLong {
            n_bytes,
            limit,
            n_ctx: self.n_ctx(),
        })
    }

    /// The ids of a conversation, up to where the answer begins. Control tokens in the messages stay text.
    ///
    /// # Errors
    /// [`Error::NoTokenizer`], and what is wrong with the template or the messages.
    pub fn encode_chat(
        &self,
        messages: &[Message],
        options: &RenderOptions,
    ) -> Result<Vec<u32>, Error> {
        let tokenizer = self.tokenizer()?;
        let n_bytes = messages.iter().map(|message| message.content.len()).sum();
        self.check_length(tokenizer, n_bytes)?;
        let fallback;
        let template = match self.template() {
            Some(template) => template,
            None => {
                fallback = ChatTemplate::new("the fallback template", FALLBACK)?;
                &fallback
            }
        };
        Ok(encode_chat(tokenizer, template, messages, options)?)
    }
}

/// Reads a model's tokenizer, whose ids lie below `vocab_size`; `None` if it came without one.
pub fn tokenizer(file: &ModelFile, vocab_size: u32) -> Result<Option<Tokenizer>, Error> {
    let vocab_size = vocab_size as usize;
    match &file.metadata {
        Metadata::HuggingFace(metadata) => {
            let Some(json) = &metadata.tokenizer else {
                return Ok(None);
            };
            let name = format!("{}/tokenizer.json", file.name);
            let tokenizer_config = metadata.tokenizer_config.as_ref();
            Ok(Some(Tokenizer::from_json(
                &name,
                json,
                tokenizer_config,
                vocab_size,
            )?))
        }
        Metadata::Gguf(metadata) => match vocabulary(&file.name, metadata)? {
            Some(vocabulary) => Ok(Some(Tokenizer::from_gguf(vocabulary, vocab_size)?)),
            None => Ok(None),
        },
    }
}

/// Reads a model's chat template; `None` if it came without one.
pub fn template(file: &ModelFile) -> Result<Option<ChatTemplate>, Error> {
    let name = format!("{}: chat_template", file.name);
    let template = file
        .chat_template()
        .map(|source| ChatTemplate::new(&name, source));
    Ok(template.transpose()?)
}

fn vocabulary(file: &str, metadata: &GgufMetadata) -> Result<Option<GgufVocabulary>, file::Error> {
    let text = |key: &str| Ok::<_, file::Error>(metadata.get_str(key)?.map(str::to_owned));
    let Some(tokens) = metadata.get_strings("tokenizer.ggml.tokens")? else {
        return Ok(None);
    };
    let merges = metadata.get_strings("tokenizer.ggml.merges")?;
    Ok(Some(GgufVocabulary {
        file: file.to_owned(),
        model: text("tokenizer.ggml.model")?
            .ok_or_else(|| metadata.missing("tokenizer.ggml.model"))?,
        pre: text("tokenizer.ggml.pre")?,
        tokens: tokens.iter().map(str::to_owned).collect(),
        scores: metadata
            .get_f32s("tokenizer.ggml.scores")?
            .unwrap_or_default()
            .to_vec(),
        token_types: metadata
            .get_i32s("tokenizer.ggml.token_type")?
            .unwrap_or_default(),
        merges: merges
            .map(|list| list.iter().map(str::to_owned).collect())
            .unwrap_or_default(),
        bos: metadata.get_u32("tokenizer.ggml.bos_token_id")?,
        eos: metadata.get_u32("tokenizer.ggml.eos_token_id")?,
        eot: metadata.get_u32("tokenizer.ggml.eot_token_id")?,
        unk: metadata.get_u32("tokenizer.ggml.unknown_token_id")?,
        pad: metadata.get_u32("tokenizer.ggml.padding_token_id")?,
        add_bos: metadata.get_bool("tokenizer.ggml.add_bos_token")?,
        add_eos: metadata.get_bool("tokenizer.ggml.add_eos_token")?,
        add_space_prefix: metadata.get_bool("tokenizer.ggml.add_space_prefix")?,
    }))
}
