//! Text as it is generated: whole characters only, and never a part of a stop
//! string.

use super::Tokenizer;
use super::decode::Kind;

/// Turns ids into text, one by one.
///
/// The pieces that [`push`](Self::push) and [`finish`](Self::finish) return
/// make up exactly what [`Tokenizer::decode`] gives for all ids at once.
pub struct DecodeStream<'t> {
    tokenizer: &'t Tokenizer,
    /// Bytes of a character that is not complete.
    pending: Vec<u8>,
    /// Leading spaces still to remove.
    strip: usize,
}

impl<'t> DecodeStream<'t> {
    /// For ids that begin a text, such as an answer: the space that
    /// SentencePiece sets before a text is removed.
    pub fn new(tokenizer: &'t Tokenizer) -> Self {
        Self {
            strip: tokenizer.vocab.strip(),
            ..Self::continuing(tokenizer)
        }
    }

    /// For ids that continue a text: a leading space belongs to it.
    pub fn continuing(tokenizer: &'t Tokenizer) -> Self {
        Self {
            tokenizer,
            pending: Vec::new(),
            strip: 0,
        }
    }

    /// Adds an id; returns the characters that it completes, if any.
    ///
    /// Special tokens and ids without a token give nothing.
    pub fn push(&mut self, id: u32) -> Option<String> {
        let vocab = &self.tokenizer.vocab;
        if vocab.kind(id) == Kind::Special {
            return None;
        }
        let bytes = vocab.bytes(id)?;
        let spaces = bytes
            .iter()
            .take(self.strip)
            .take_while(|&&b| b == b' ')
            .count();
        // The first byte that is no space ends the stripping.
        self.strip = if spaces < bytes.len() {
            0
        } else {
            self.strip - spaces
        };
        self.pending.extend_from_slice(&bytes[spaces..]);

        let whole = whole_characters(&self.pending);
        let text = String::from_utf8_lossy(&self.pending[..whole]).into_owned();
        self.pending.drain(..whole);
        Some(text).filter(|text| !text.is_empty())
    }

    /// The end: a character that never became complete is U+FFFD.
    pub fn finish(self) -> String {
        String::from_utf8_lossy(&self.pending).into_owned()
    }
}

/// The bytes before a last character that is cut off but may still be completed.
fn whole_characters(bytes: &[u8]) -> usize {
    let tail = bytes.len().saturating_sub(3);
    (tail..bytes.len())
        .find(|&at| match std::str::from_utf8(&bytes[at..]) {
            Ok(_) => false,
            Err(error) => error.valid_up_to() == 0 && error.error_len().is_none(),
        })
        .unwrap_or(bytes.len())
}

/// Watches text for strings that end an answer.
///
/// Text that may be the start of a stop string is held back until it is clear
/// that it is not. The stop string that ends first counts, and among those the
/// longest; the result does not depend on how the text was cut into pieces.
#[derive(Clone, Debug, Default)]
pub struct StopStrings {
    stops: Vec<String>,
    held: String,
    matched: Option<usize>,
}

impl StopStrings {
    /// Empty strings are ignored.
    pub fn new(stops: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let stops = stops
            .into_iter()
            .map(Into::into)
            .filter(|stop: &String| !stop.is_empty());
        Self {
            stops: stops.collect(),
            ..Self::default()
        }
    }

    /// Adds text; returns what may be shown now. After a match, nothing.
    pub fn push(&mut self, text: &str) -> String {
        if self.stops.is_empty() {
            return text.to_owned();
        }
        if self.matched.is_some() {
            return String::new();
        }
        let mut shown = String::new();
        for c in text.chars() {
            self.held.push(c);
            let ends = |stop: &&(usize, &String)| self.held.ends_with(stop.1.as_str());
            let stops: Vec<(usize, &String)> = self.stops.iter().enumerate().collect();
            if let Some(&(index, stop)) = stops.iter().filter(ends).max_by_key(|stop| stop.1.len())
            {
                self.held.truncate(self.held.len() - stop.len());
                shown.push_str(&std::mem::take(&mut self.held));
                self.matched = Some(index);
                return shown;
            }
            let hold = self.start_of_a_stop();
            shown.extend(self.held.drain(..hold));
        }
        shown
    }

    /// Where in the held text the longest start of a stop string begins.
    fn start_of_a_stop(&self) -> usize {
        let starts = self.held.char_indices().map(|(at, _)| at);
        let may_stop = |at: &usize| {
            self.stops
                .iter()
                .any(|stop| stop.starts_with(&self.held[*at..]))
        };
        starts.into_iter().find(may_stop).unwrap_or(self.held.len())
    }

    /// The stop string that was found.
    pub fn matched(&self) -> Option<&str> {
        self.matched.map(|index| self.stops[index].as_str())
    }

    /// The end of the text for another reason: what was held back.
    pub fn finish(self) -> String {
        if self.matched.is_some() {
            String::new()
        } else {
            self.held
        }
    }
}
