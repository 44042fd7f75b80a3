//! The Hugging Face pipeline: added tokens, normalizer, pre-tokenizer, merges.
//!
//! The parts are those of the `tokenizers` library; the pipeline is our own,
//! because it decides for each occurrence whether a control token counts.

use tokenizers::models::bpe::{BPE, BpeBuilder, Merges, Vocab};
use tokenizers::{
    Model, NormalizedString, Normalizer, NormalizerWrapper, OffsetReferential, OffsetType,
    PreTokenizedString, PreTokenizer, PreTokenizerWrapper, Result,
};

use super::added::{AddedTokens, Control};

/// Merges and what happens to the text before them.
pub(super) struct Bpe {
    pub(super) normalizer: Option<NormalizerWrapper>,
    /// Set before the very first character of a text, unless a token is first.
    pub(super) first_prefix: Option<String>,
    pub(super) pre_tokenizer: Option<PreTokenizerWrapper>,
    model: BPE,
}

/// Settings of the merges, as in `tokenizer.json`.
#[derive(Clone, Debug, Default)]
pub(super) struct MergeOptions {
    pub(super) unk_token: Option<String>,
    pub(super) fuse_unk: bool,
    pub(super) byte_fallback: bool,
    pub(super) ignore_merges: bool,
}

impl Bpe {
    /// `merges` must have been checked against `vocab` ([`check_merges`]).
    pub(super) fn new(vocab: Vocab, merges: Merges, options: MergeOptions) -> Result<Self> {
        let mut builder = BpeBuilder::new()
            .vocab_and_merges(vocab, merges)
            .fuse_unk(options.fuse_unk)
            .byte_fallback(options.byte_fallback)
            .ignore_merges(options.ignore_merges);
        if let Some(unk) = options.unk_token {
            builder = builder.unk_token(unk);
        }
        Ok(Self {
            normalizer: None,
            first_prefix: None,
            pre_tokenizer: None,
            model: builder.build()?,
        })
    }

    pub(super) fn token_id(&self, text: &str) -> Option<u32> {
        self.model.token_to_id(text)
    }

    /// The form in which a normalized added token is searched.
    pub(super) fn normalize(&self, text: &str) -> Result<String> {
        let mut text = NormalizedString::from(text);
        if let Some(normalizer) = &self.normalizer {
            normalizer.normalize(&mut text)?;
        }
        Ok(text.get().to_owned())
    }

    pub(super) fn encode(
        &self,
        text: &str,
        added: &AddedTokens,
        control: &Control<'_>,
    ) -> Result<Vec<u32>> {
        let mut pieces = PreTokenizedString::from(text);
        pieces.split(|_, piece| added.split(piece, false, control))?;
        pieces.split(|_, mut piece| {
            if let Some(normalizer) = &self.normalizer {
                normalizer.normalize(&mut piece)?;
            }
            added.split(piece, true, control)
        })?;
        if let Some(prefix) = &self.first_prefix {
            pieces.normalize(|piece| {
                if piece.offsets_original().0 == 0 {
                    piece.prepend(prefix);
                }
                Ok(())
            })?;
        }
        if let Some(pre_tokenizer) = &self.pre_tokenizer {
            pre_tokenizer.pre_tokenize(&mut pieces)?;
        }
        pieces.tokenize(|piece| self.model.tokenize(piece.get()))?;
        Ok(pieces
            .get_splits(OffsetReferential::Normalized, OffsetType::None)
            .into_iter()
            .flat_map(|(_, _, tokens)| tokens.iter().flatten().map(|token| token.id))
            .collect())
    }
}

/// The first merge that the library would stumble over: its index and the
/// string that is no token.
pub(super) fn check_merges(
    merges: &[(String, String)],
    has: impl Fn(&str) -> bool,
) -> std::result::Result<(), (usize, String)> {
    let mut joined = String::new();
    for (index, (left, right)) in merges.iter().enumerate() {
        joined.clear();
        joined.push_str(left);
        joined.push_str(right);
        for part in [left, right, &joined] {
            if !has(part) {
                return Err((index, part.clone()));
            }
        }
    }
    Ok(())
}
