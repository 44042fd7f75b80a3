//! SentencePiece BPE as GGUF files store it: a score for each token, no merges.
//!
//! Neighbours are joined while their sum is a token, the best score first and
//! the leftmost among equals; what is left over is spelt in bytes. This is the
//! algorithm of llama.cpp's `llm_tokenizer_spm`.

use std::cmp::Ordering;
use std::collections::{BinaryHeap, HashMap};

use super::added::{AddedTokens, Control};

/// What a space is written as.
const SPACE: &str = "\u{2581}";

/// A scored vocabulary.
pub(super) struct Spm {
    /// Tokens that text may become, with their scores.
    pieces: HashMap<String, (u32, f32)>,
    /// The id of each byte, or the unknown token.
    bytes: Vec<Option<u32>>,
    /// Whether a text, and text behind an added token, starts with a space.
    add_space_prefix: bool,
}

/// A run of characters; joined runs leave empty ones behind.
struct Symbol {
    start: usize,
    len: usize,
    prev: Option<usize>,
    next: Option<usize>,
}

/// Two neighbours whose sum is a token.
struct Candidate {
    score: f32,
    left: usize,
    right: usize,
    len: usize,
}

impl Ord for Candidate {
    fn cmp(&self, other: &Self) -> Ordering {
        self.score
            .total_cmp(&other.score)
            .then(other.left.cmp(&self.left))
    }
}

impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Candidate {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Candidate {}

impl Spm {
    /// `bytes` has 256 entries.
    pub(super) fn new(
        pieces: HashMap<String, (u32, f32)>,
        bytes: Vec<Option<u32>>,
        add_space_prefix: bool,
    ) -> Self {
        Self {
            pieces,
            bytes,
            add_space_prefix,
        }
    }

    pub(super) fn token_id(&self, text: &str) -> Option<u32> {
        self.pieces.get(text).map(|piece| piece.0)
    }

    pub(super) fn encode(
        &self,
        text: &str,
        added: &AddedTokens,
        control: &Control<'_>,
    ) -> Vec<u32> {
        let mut ids = Vec::new();
        for (part, id) in added.split_str(text, control) {
            match id {
                Some(id) => ids.push(id),
                None => {
                    let prefix = if self.add_space_prefix { SPACE } else { "" };
                    self.encode_part(&format!("{prefix}{}", part.replace(' ', SPACE)), &mut ids);
                }
            }
        }
        ids
    }

    fn encode_part(&self, text: &str, ids: &mut Vec<u32>) {
        let mut symbols: Vec<Symbol> = text
            .char_indices()
            .enumerate()
            .map(|(index, (start, c))| Symbol {
                start,
                len: c.len_utf8(),
                prev: index.checked_sub(1),
                next: Some(index + 1).filter(|_| start + c.len_utf8() < text.len()),
            })
            .collect();
        let candidate = |symbols: &[Symbol], left: usize, right: usize| {
            let len = symbols[left].len + symbols[right].len;
            let start = symbols[left].start;
            let &(_, score) = self.pieces.get(&text[start..start + len])?;
            Some(Candidate {
                score,
                left,
                right,
                len,
            })
        };

        let mut heap: BinaryHeap<Candidate> = (1..symbols.len())
            .filter_map(|right| candidate(&symbols, right - 1, right))
            .collect();
        while let Some(Candidate {
            left, right, len, ..
        }) = heap.pop()
        {
            // One of the two has been joined with something else since.
            let (a, b) = (symbols[left].len, symbols[right].len);
            if a == 0 || b == 0 || a + b != len {
                continue;
            }
            symbols[left].len = len;
            symbols[right].len = 0;
            let next = symbols[right].next;
            symbols[left].next = next;
            if let Some(next) = next {
                symbols[next].prev = Some(left);
                heap.extend(candidate(&symbols, left, next));
            }
            if let Some(prev) = symbols[left].prev {
                heap.extend(candidate(&symbols, prev, left));
            }
        }

        for symbol in symbols.iter().filter(|symbol| symbol.len > 0) {
            let piece = &text[symbol.start..symbol.start + symbol.len];
            match self.pieces.get(piece) {
                Some(&(id, _)) => ids.push(id),
                None => ids.extend(piece.bytes().filter_map(|b| self.bytes[usize::from(b)])),
            }
        }
    }
}
