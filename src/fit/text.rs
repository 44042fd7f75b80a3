//! The calibration text as windows of tokens.

use super::{Error, Text};
use crate::engine::Engine;

/// Fewest tokens that anything can be learned from.
const LEAST: usize = 64;

/// Windows of each text, each with the token that begins a prompt in front where the tokenizer
/// adds one; where there are more tokens than asked for, evenly spread ones.
pub(super) fn windows(
    engine: &Engine,
    texts: &[Text<'_>],
    n_tokens: usize,
    window: usize,
) -> Result<Vec<Vec<u32>>, Error> {
    let tokenizer = engine.tokenizer()?;
    let bos = tokenizer.bos().filter(|_| tokenizer.adds_bos());
    let window = window.min(engine.n_ctx() as usize).min(n_tokens).max(2);
    let mut windows: Vec<Vec<u32>> = vec![];
    for text in texts {
        let ids = tokenizer
            .encode(text.text, false)
            .map_err(crate::error::Error::from)?;
        for ids in ids.chunks(window - usize::from(bos.is_some())) {
            windows.push(bos.into_iter().chain(ids.iter().copied()).collect());
        }
    }
    let most = n_tokens.div_ceil(window).max(1);
    if windows.len() > most {
        let n = windows.len();
        windows = (0..most)
            .map(|i| std::mem::take(&mut windows[i * n / most]))
            .collect();
    }
    let found = windows.iter().map(Vec::len).sum();
    if found < LEAST {
        return Err(Error::Text {
            expected: LEAST,
            found,
        });
    }
    Ok(windows)
}
