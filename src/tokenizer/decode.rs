//! Ids back to bytes: one rule for a whole text, token by token.

use super::added::AddedToken;

/// What an id is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// No token has this id.
    Unused,
    /// Ordinary text, in the decoder's spelling.
    Text,
    /// One byte, spelt `<0x0A>`.
    Byte,
    /// An added token that stands for its own characters.
    Added,
    /// An added token that steers the model but is shown (`<think>`).
    Markup,
    /// An added token that is not shown.
    Special,
}

/// How a token's spelling becomes bytes.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Decoder {
    /// Each character is one byte (GPT-2's table).
    ByteLevel,
    /// Replacements (`▁` to a space), then bytes for `<0x0A>`.
    Pieces {
        /// From, to.
        replace: Vec<(String, String)>,
        /// Spaces to remove where a text begins.
        strip: usize,
    },
}

/// Every token by id.
pub(super) struct Vocab {
    tokens: Vec<(Box<str>, Kind)>,
    decoder: Decoder,
}

impl Vocab {
    pub(super) fn new(len: usize, decoder: Decoder) -> Self {
        Self {
            tokens: vec![(Box::from(""), Kind::Unused); len],
            decoder,
        }
    }

    /// Gives an id its token.
    ///
    /// # Panics
    /// If the id is not below the length given to `new`.
    pub(super) fn set(&mut self, id: u32, text: &str, kind: Kind) {
        self.tokens[id as usize] = (text.into(), kind);
    }

    pub(super) fn set_added(&mut self, token: &AddedToken) {
        let kind = match (token.special, token.is_control()) {
            (true, _) => Kind::Special,
            (false, true) => Kind::Markup,
            (false, false) => Kind::Added,
        };
        self.set(token.id, &token.content, kind);
    }

    pub(super) fn len(&self) -> usize {
        self.tokens.len()
    }

    pub(super) fn kind(&self, id: u32) -> Kind {
        self.tokens
            .get(id as usize)
            .map_or(Kind::Unused, |token| token.1)
    }

    pub(super) fn is_control(&self, id: u32) -> bool {
        matches!(self.kind(id), Kind::Special | Kind::Markup)
    }

    pub(super) fn text(&self, id: u32) -> Option<&str> {
        let (text, kind) = self.tokens.get(id as usize)?;
        (*kind != Kind::Unused).then_some(text)
    }

    /// Spaces to remove where a text begins.
    pub(super) fn strip(&self) -> usize {
        match self.decoder {
            Decoder::ByteLevel => 0,
            Decoder::Pieces { strip, .. } => strip,
        }
    }

    pub(super) fn bytes(&self, id: u32) -> Option<Vec<u8>> {
        let text = self.text(id)?;
        Some(match (self.kind(id), &self.decoder) {
            (Kind::Special | Kind::Markup, _) | (Kind::Added, Decoder::ByteLevel) => text.into(),
            (Kind::Byte, _) => vec![byte_token(text)?],
            // One character that is no byte of the table, and the token is plain text.
            (_, Decoder::ByteLevel) => text
                .chars()
                .map(byte_of_char)
                .collect::<Option<Vec<u8>>>()
                .unwrap_or_else(|| text.into()),
            (_, Decoder::Pieces { replace, .. }) => replace
                .iter()
                .fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
                .into(),
        })
    }
}

/// The byte that a token such as `<0x0A>` names.
pub(super) fn byte_token(text: &str) -> Option<u8> {
    let digits = text.strip_prefix("<0x")?.strip_suffix('>')?;
    if digits.len() != 2 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    u8::from_str_radix(digits, 16).ok()
}

/// GPT-2's table: printable Latin-1 stands for itself, the other 68 bytes for
/// U+0100 and up, in order.
fn byte_of_char(c: char) -> Option<u8> {
    let printable = |b: u8| matches!(b, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    match u32::from(c) {
        code @ 0..=0xFF => Some(code as u8).filter(|&b| printable(b)),
        code @ 0x100..=0x143 => (0..=255)
            .filter(|&b| !printable(b))
            .nth(code as usize - 0x100),
        _ => None,
    }
}
