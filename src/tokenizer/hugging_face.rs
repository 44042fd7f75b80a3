//! Reads `tokenizer.json`: every part is checked by name and by size before
//! the `tokenizers` library sees it, because it panics on some inconsistencies.

mod schema;

use std::collections::{HashMap, HashSet};

use serde::Deserialize;
use serde_json::Value;
use tokenizers::models::bpe::Vocab as BpeVocab;

use super::added::{AddedToken, AddedTokens};
use super::bpe::{self, Bpe, MergeOptions};
use super::decode::{Kind, Vocab, byte_token};
use schema::{AddedJson, File, Head, MAX_TOKENS, MergeJson, Model, Tokens};

use super::{Encoder, Error, MAX_TOKENIZER_BYTES, SpecialIds, Tokenizer, parts};

/// Longest added token, in bytes: bounds the work at each character.
const MAX_ADDED_BYTES: usize = 1024;

pub(super) fn read(
    file: &str,
    json: &[u8],
    config: Option<&Value>,
    vocab_size: usize,
) -> Result<Tokenizer, Error> {
    if json.len() > MAX_TOKENIZER_BYTES {
        return Err(Error::TooLarge {
            file: file.into(),
            what: "the tokenizer",
            size: json.len(),
            limit: MAX_TOKENIZER_BYTES,
        });
    }
    let head: Head = from_slice(file, json)?;
    match head.model.kind.as_deref() {
        Some("BPE") => {}
        // Old files leave the type out.
        None if head.model.merges.is_some() => {}
        other => {
            return Err(Error::Unsupported {
                file: file.into(),
                key: "model.type".into(),
                found: other.unwrap_or("none").into(),
                supported: "BPE".into(),
            });
        }
    }
    let parsed: File = from_slice(file, json)?;
    build(
        Reader { file, vocab_size },
        parsed,
        config.unwrap_or(&Value::Null),
    )
}

fn from_slice<'de, T: Deserialize<'de>>(file: &str, json: &'de [u8]) -> Result<T, Error> {
    serde_json::from_slice(json).map_err(|source| Error::Json {
        file: file.into(),
        source,
    })
}

/// The file's name and the model's limit, for checks and messages.
struct Reader<'a> {
    file: &'a str,
    vocab_size: usize,
}

fn build(reader: Reader<'_>, file: File, config: &Value) -> Result<Tokenizer, Error> {
    let File {
        added_tokens,
        normalizer,
        pre_tokenizer,
        post_processor,
        decoder,
        model,
    } = file;
    reader.check_model(&model)?;

    let vocab = reader.vocab(&model.vocab)?;
    let merges = reader.merges(model.merges, &vocab)?;
    let added = reader.added(added_tokens, config, &model.vocab.0)?;
    let decoder = parts::decoder(reader.file, &decoder, &pre_tokenizer)?;

    let n_tokens = vocab
        .values()
        .chain(added.iter().map(|token| &token.id))
        .max();
    let n_tokens = n_tokens.map_or(0, |&id| id as usize + 1);
    let mut all = Vocab::new(n_tokens, decoder);
    let byte_fallback = model.byte_fallback;
    for (text, &id) in &vocab {
        if let Some(first) = all.text(id) {
            return Err(reader.id_twice(id, first, text));
        }
        let is_byte = byte_fallback && byte_token(text).is_some();
        all.set(id, text, if is_byte { Kind::Byte } else { Kind::Text });
    }
    for token in &added {
        if let Some(first) = all.text(token.id).filter(|&text| text != token.content) {
            return Err(reader.id_twice(token.id, first, &token.content));
        }
        // A byte stays one, whatever the list of added tokens says.
        if all.kind(token.id) != Kind::Byte {
            all.set_added(token);
        }
    }

    let options = MergeOptions {
        unk_token: model.unk_token,
        fuse_unk: model.fuse_unk,
        byte_fallback,
        ignore_merges: model.ignore_merges,
    };
    let unk = options
        .unk_token
        .as_ref()
        .and_then(|token| vocab.get(token))
        .copied();
    let mut bpe =
        Bpe::new(vocab, merges, options).map_err(|source| reader.part("model", source))?;
    let normalizer = match legacy_prefix(config, &normalizer, &pre_tokenizer) {
        Some((prefix, rest)) => {
            bpe.first_prefix = Some(prefix);
            rest
        }
        None => normalizer,
    };
    bpe.normalizer = parts::normalizer(reader.file, normalizer)?;
    bpe.pre_tokenizer = parts::pre_tokenizer(reader.file, pre_tokenizer)?;
    let added = AddedTokens::new(added, |text| bpe.normalize(text))
        .map_err(|source| reader.part("added_tokens", source))?;

    let mut tokenizer = Tokenizer {
        encoder: Encoder::Bpe(Box::new(bpe)),
        added,
        vocab: all,
        special: SpecialIds::default(),
    };
    tokenizer.special = reader.special(&tokenizer, config, &post_processor, unk)?;
    let SpecialIds {
        bos, eos, unk, pad, ..
    } = &tokenizer.special;
    for &id in bos.iter().chain(eos).chain(unk).chain(pad) {
        if let Some(token) = tokenizer.added.make_special(id) {
            tokenizer.vocab.set_added(token);
        }
    }
    Ok(tokenizer)
}

/// SentencePiece tokenizers with `legacy: false` put the leading space before
/// the text only, not behind every control token, though their `tokenizer.json`
/// still has the old normalizer; returns that prefix and the other normalizers.
fn legacy_prefix(config: &Value, normalizer: &Value, pre: &Value) -> Option<(String, Value)> {
    let class = config.get("tokenizer_class")?.as_str()?;
    let legacy = config.get("legacy")?.as_bool()?;
    if legacy || !matches!(class, "LlamaTokenizer" | "LlamaTokenizerFast") || !pre.is_null() {
        return None;
    }
    let mut steps = normalizer.get("normalizers")?.as_array()?.clone();
    let first = (!steps.is_empty()).then(|| steps.remove(0))?;
    let prefix = first.get("prepend")?.as_str()?.to_owned();
    Some((
        prefix,
        serde_json::json!({"type": "Sequence", "normalizers": steps}),
    ))
}

const ROLES: [&str; 4] = ["bos_token", "eos_token", "unk_token", "pad_token"];

/// The token that the config gives a role: a string or an object with one.
fn role_name<'c>(config: &'c Value, role: &str) -> Option<&'c str> {
    let value = config.get(role)?;
    value.get("content").unwrap_or(value).as_str()
}

impl Reader<'_> {
    fn field(&self, key: &str, expected: impl Into<String>, found: impl Into<String>) -> Error {
        Error::Field {
            file: self.file.into(),
            key: key.into(),
            expected: expected.into(),
            found: found.into(),
        }
    }

    fn part(&self, key: &str, source: tokenizers::Error) -> Error {
        Error::Part {
            file: self.file.into(),
            key: key.into(),
            source,
        }
    }

    fn id_twice(&self, id: u32, first: &str, second: &str) -> Error {
        Error::IdTwice {
            file: self.file.into(),
            id,
            first: first.into(),
            second: second.into(),
        }
    }

    fn id(&self, token: &str, id: u64) -> Result<u32, Error> {
        match u32::try_from(id) {
            Ok(small) if (small as usize) < self.vocab_size => Ok(small),
            _ => Err(Error::IdOutOfRange {
                file: self.file.into(),
                token: token.into(),
                id,
                vocab_size: self.vocab_size,
            }),
        }
    }

    fn check_model(&self, model: &Model) -> Result<(), Error> {
        if model.dropout.is_some_and(|dropout| dropout != 0.0) {
            return Err(self.field("model.dropout", "null or 0", "dropout at inference"));
        }
        for (key, value) in [
            (
                "model.continuing_subword_prefix",
                &model.continuing_subword_prefix,
            ),
            ("model.end_of_word_suffix", &model.end_of_word_suffix),
        ] {
            if let Some(value) = value.as_ref().filter(|value| !value.is_empty()) {
                return Err(self.field(key, "null or empty", format!("{value:?}")));
            }
        }
        if let Some(unk) = &model.unk_token
            && !model.vocab.0.contains_key(unk)
        {
            return Err(self.field(
                "model.unk_token",
                "a token of the vocabulary",
                format!("{unk:?}"),
            ));
        }
        Ok(())
    }

    fn vocab(&self, tokens: &Tokens) -> Result<BpeVocab, Error> {
        let vocab = tokens
            .0
            .iter()
            .map(|(token, &id)| Ok((token.clone(), self.id(token, id)?)));
        vocab.collect()
    }

    fn merges(
        &self,
        merges: Vec<MergeJson>,
        vocab: &BpeVocab,
    ) -> Result<Vec<(String, String)>, Error> {
        let mut pairs = Vec::with_capacity(merges.len());
        for (index, merge) in merges.into_iter().enumerate() {
            pairs.push(match merge {
                MergeJson::Pair(left, right) => (left, right),
                MergeJson::Joined(joined) => match joined.split_once(' ') {
                    Some((left, right)) if !right.contains(' ') => (left.into(), right.into()),
                    _ if joined.starts_with("#version") => continue,
                    _ => {
                        let key = format!("model.merges[{index}]");
                        let expected = "two tokens with a space between";
                        return Err(self.field(&key, expected, format!("{joined:?}")));
                    }
                },
            });
        }
        match bpe::check_merges(&pairs, |token| vocab.contains_key(token)) {
            Ok(()) => Ok(pairs),
            Err((index, missing)) => {
                let (left, right) = pairs.swap_remove(index);
                Err(Error::Merge {
                    file: self.file.into(),
                    index,
                    left,
                    right,
                    missing,
                })
            }
        }
    }

    /// The added tokens of both files; `tokenizer.json` goes first.
    fn added(
        &self,
        tokens: Vec<AddedJson>,
        config: &Value,
        vocab: &HashMap<String, u64>,
    ) -> Result<Vec<AddedToken>, Error> {
        let mut all = tokens;
        let known: HashSet<String> = all.iter().map(|token| token.content.clone()).collect();
        if let Some(Value::Object(more)) = config.get("added_tokens_decoder") {
            for (id, token) in more {
                let key = format!("tokenizer_config.json: added_tokens_decoder.{id}");
                let mut token: AddedJson =
                    serde_json::from_value(token.clone()).map_err(|source| Error::Json {
                        file: format!("{} ({key})", self.file),
                        source,
                    })?;
                let id = id
                    .parse()
                    .map_err(|_| self.field(&key, "an id", format!("{id:?}")))?;
                token.id = Some(id);
                if !known.contains(&token.content) {
                    all.push(token);
                }
            }
        }
        // A token with a role is matched as a whole, whether it is listed or not.
        let roles = ROLES.iter().filter_map(|role| role_name(config, role));
        for name in roles.filter(|&name| vocab.contains_key(name) && !known.contains(name)) {
            all.push(AddedJson::special(name));
        }
        if all.len() > MAX_TOKENS {
            return Err(self.field(
                "added_tokens",
                "at most 2000000 tokens",
                all.len().to_string(),
            ));
        }
        let mut seen = HashMap::new();
        let mut added = Vec::with_capacity(all.len());
        for token in all {
            if token.content.is_empty() {
                continue;
            }
            let key = format!("added_tokens: {:.40?}", token.content);
            if token.content.len() > MAX_ADDED_BYTES {
                let found = format!("{} bytes", token.content.len());
                return Err(self.field(&key, format!("at most {MAX_ADDED_BYTES} bytes"), found));
            }
            let declared = token.id.or_else(|| vocab.get(&token.content).copied());
            let id = declared.ok_or_else(|| self.field(&key, "an id", "none"))?;
            let id = self.id(&token.content, id)?;
            if let Some(&other) = vocab.get(&token.content)
                && other != u64::from(id)
            {
                let found = format!("{id}, while the vocabulary has {other}");
                return Err(self.field(&key, "one id", found));
            }
            match seen.insert(token.content.clone(), id) {
                Some(other) if other != id => {
                    return Err(self.field(&key, "one id", format!("{other} and {id}")));
                }
                Some(_) => continue,
                None => {}
            }
            added.push(AddedToken {
                id,
                special: token.special,
                single_word: token.single_word,
                lstrip: token.lstrip,
                rstrip: token.rstrip,
                normalized: token.normalized.unwrap_or(!token.special),
                content: token.content,
            });
        }
        Ok(added)
    }

    /// Roles by the config's names; which of them frame a prompt, by the
    /// post-processor (`add_bos_token` counts only where that says nothing).
    fn special(
        &self,
        tokenizer: &Tokenizer,
        config: &Value,
        post_processor: &Value,
        unk: Option<u32>,
    ) -> Result<SpecialIds, Error> {
        // An end that is not there would never come; a missing filler is no harm.
        let named = |role: &str| -> Result<Option<u32>, Error> {
            let Some(name) = role_name(config, role) else {
                return Ok(None);
            };
            match tokenizer.token_id(name) {
                None if matches!(role, "bos_token" | "eos_token") => {
                    let key = format!("tokenizer_config.json: {role}");
                    Err(self.field(&key, "a token of the vocabulary", format!("{name:?}")))
                }
                id => Ok(id),
            }
        };
        let flag = |key: &str| config.get(key).and_then(Value::as_bool);
        let frame = parts::frame(self.file, post_processor, |token, id| self.id(token, id))?;
        let mut special = SpecialIds {
            bos: named("bos_token")?,
            eos: named("eos_token")?.into_iter().collect(),
            unk: named("unk_token")?.or(unk),
            pad: named("pad_token")?,
            adds_bos: flag("add_bos_token").unwrap_or(false),
            adds_eos: flag("add_eos_token").unwrap_or(false),
        };
        if let Some((first, last)) = frame {
            special.adds_bos = first.is_some();
            special.adds_eos = last.is_some();
            special.bos = first.or(special.bos);
            if let Some(last) = last
                && !special.eos.contains(&last)
            {
                special.eos.insert(0, last);
            }
        }
        Ok(special)
    }
}
