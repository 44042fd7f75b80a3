//! Added tokens: whole strings that become one id before any merging, and the
//! rule that says where control tokens may come from.

use std::collections::HashMap;

use tokenizers::normalizer::{NormalizedString, Range};
use tokenizers::{Result, Token};

/// Elements that people write in ordinary text, which some vocabularies add as
/// tokens (Gemma): these stay tokens wherever they occur.
const HTML: [&str; 28] = [
    "table",
    "caption",
    "thead",
    "tbody",
    "tfoot",
    "tr",
    "th",
    "td",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "blockquote",
    "strong",
    "em",
    "b",
    "i",
    "u",
    "sub",
    "sup",
    "code",
    "p",
    "br",
    "ul",
    "ol",
    "li",
];

/// A token that is matched as a whole.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct AddedToken {
    pub(super) id: u32,
    pub(super) content: String,
    /// Control by declaration: also left out of decoded text.
    pub(super) special: bool,
    pub(super) single_word: bool,
    pub(super) lstrip: bool,
    pub(super) rstrip: bool,
    /// Matched in the normalized text instead of the original one.
    pub(super) normalized: bool,
}

impl AddedToken {
    /// Whether the token steers the model: special, or markup such as
    /// `<think>` and `[INST]` that files forget to call special.
    pub(super) fn is_control(&self) -> bool {
        self.special || is_markup(&self.content)
    }
}

fn is_markup(content: &str) -> bool {
    let inner = |open, close| {
        Some(
            content
                .strip_prefix(open)?
                .strip_suffix(close)?
                .trim_matches('/'),
        )
    };
    match inner('<', '>').or_else(|| inner('[', ']')) {
        Some(inner) => !inner.is_empty() && !HTML.contains(&inner),
        None => false,
    }
}

/// Where control tokens are recognised.
pub(super) enum Control<'a> {
    /// Nowhere: the text is a user's.
    Plain,
    /// Everywhere: the text is the program's.
    Parse,
    /// Where no mark stands inside: sorted byte offsets, each just behind the
    /// first character of a control token that a user wrote.
    Marked(&'a [usize]),
}

impl Control<'_> {
    /// Whether `token` at bytes `start..end` of the original text is itself.
    fn allows(&self, token: &AddedToken, start: usize, end: usize) -> bool {
        match self {
            Control::Plain => !token.is_control(),
            Control::Parse => true,
            Control::Marked(marks) => {
                let next = marks.partition_point(|&mark| mark <= start);
                marks.get(next).is_none_or(|&mark| mark > end)
            }
        }
    }
}

/// All added tokens of a tokenizer, ready to be found.
#[derive(Default)]
pub(super) struct AddedTokens {
    tokens: Vec<AddedToken>,
    ids: HashMap<String, u32>,
    original: Matcher,
    normalized: Matcher,
}

impl AddedTokens {
    /// `normalize` gives the form in which a normalized token is searched.
    pub(super) fn new(
        tokens: Vec<AddedToken>,
        normalize: impl Fn(&str) -> Result<String>,
    ) -> Result<Self> {
        let mut this = Self::default();
        for (index, token) in tokens.iter().enumerate() {
            if token.normalized {
                this.normalized.add(&normalize(&token.content)?, index);
            } else {
                this.original.add(&token.content, index);
            }
            this.ids.insert(token.content.clone(), token.id);
        }
        this.tokens = tokens;
        Ok(this)
    }

    pub(super) fn id(&self, content: &str) -> Option<u32> {
        self.ids.get(content).copied()
    }

    /// Makes a token special that its file forgot to call so.
    pub(super) fn make_special(&mut self, id: u32) -> Option<&AddedToken> {
        let token = self.tokens.iter_mut().find(|token| token.id == id)?;
        token.special = true;
        Some(token)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &AddedToken> {
        self.tokens.iter()
    }

    /// Splits a text at the tokens that are matched in it as it is.
    pub(super) fn split_str<'t>(
        &self,
        text: &'t str,
        control: &Control<'_>,
    ) -> Vec<(&'t str, Option<u32>)> {
        self.original
            .split(text, &self.tokens, |token, a, b| {
                control.allows(token, a, b)
            })
            .into_iter()
            .map(|(range, id)| (&text[range], id))
            .collect()
    }

    /// Splits a piece of a text; `normalized` says which of the two sets.
    pub(super) fn split(
        &self,
        piece: NormalizedString,
        normalized: bool,
        control: &Control<'_>,
    ) -> Result<Vec<(NormalizedString, Option<Vec<Token>>)>> {
        let matcher = if normalized {
            &self.normalized
        } else {
            &self.original
        };
        if matcher.is_empty() {
            return Ok(vec![(piece, None)]);
        }
        let shift = piece.offsets_original().0;
        let allowed = |token: &AddedToken, start: usize, end: usize| {
            let range = piece
                .convert_offsets(Range::Normalized(start..end))
                .unwrap_or(start..end);
            control.allows(token, shift + range.start, shift + range.end)
        };
        matcher
            .split(piece.get(), &self.tokens, allowed)
            .into_iter()
            .map(|(range, id)| {
                let part = piece
                    .slice(Range::Normalized(range))
                    .ok_or("an added token does not end at a character")?;
                let token = id.map(|id| {
                    let text = part.get().to_owned();
                    let len = text.len();
                    vec![Token::new(id, text, (0, len))]
                });
                Ok((part, token))
            })
            .collect()
    }
}

/// A byte trie that finds the leftmost, then longest, of many strings.
#[derive(Default)]
struct Matcher {
    edges: HashMap<(u32, u8), u32>,
    /// Node to index in the token list.
    ends: HashMap<u32, usize>,
    n_nodes: u32,
}

impl Matcher {
    fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    fn add(&mut self, pattern: &str, index: usize) {
        if pattern.is_empty() {
            return;
        }
        let mut node = 0;
        for &byte in pattern.as_bytes() {
            let n_nodes = &mut self.n_nodes;
            node = *self.edges.entry((node, byte)).or_insert_with(|| {
                *n_nodes += 1;
                *n_nodes
            });
        }
        self.ends.insert(node, index);
    }

    /// The longest pattern at the start of `bytes`: its length and token.
    fn longest(&self, bytes: &[u8]) -> Option<(usize, usize)> {
        let mut node = 0;
        let mut best = None;
        for (at, &byte) in bytes.iter().enumerate() {
            match self.edges.get(&(node, byte)) {
                Some(&next) => node = next,
                None => break,
            }
            if let Some(&index) = self.ends.get(&node) {
                best = Some((at + 1, index));
            }
        }
        best
    }

    /// Cuts `text` into ranges that cover it, as the tokenizers library does:
    /// a match that is not allowed is passed over as a whole.
    fn split(
        &self,
        text: &str,
        tokens: &[AddedToken],
        allowed: impl Fn(&AddedToken, usize, usize) -> bool,
    ) -> Vec<(std::ops::Range<usize>, Option<u32>)> {
        let mut parts = Vec::new();
        let (mut done, mut at) = (0, 0);
        while at < text.len() {
            let Some((len, index)) = self.longest(&text.as_bytes()[at..]) else {
                at += 1;
                continue;
            };
            let token = &tokens[index];
            let (mut start, mut end) = (at, at + len);
            at = end;
            let word = |c: char| c.is_alphanumeric() || c == '_';
            let inside_word = text[..start].chars().next_back().is_some_and(word)
                || text[end..].chars().next().is_some_and(word);
            if !allowed(token, start, end) || (token.single_word && inside_word) {
                continue;
            }
            if token.lstrip {
                start = text[..start].trim_end().len().max(done);
            }
            if token.rstrip {
                end = text.len() - text[end..].trim_start().len();
                at = end;
            }
            if done < start {
                parts.push((done..start, None));
            }
            parts.push((start..end, Some(token.id)));
            done = end;
        }
        if done < text.len() {
            parts.push((done..text.len(), None));
        }
        parts
    }
}
