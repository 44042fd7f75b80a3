//! JSON of bounded size and depth.

use serde_json::Value;

use super::error::{Error, brief};

/// Most values in one file. A value takes about 100 bytes, so that a file of
/// `[0,0,…` cannot take fifty times its size; Gemma 3's tokenizer_config.json
/// has 45,000.
const MAX_VALUES: u64 = 100_000;

/// The text of a file, without a byte order mark.
pub(super) fn text<'a>(file: &str, bytes: &'a [u8]) -> Result<&'a str, Error> {
    if bytes.starts_with(b"\xef\xbb\xbf") {
        return Err(Error::unexpected(
            file,
            "its first bytes",
            "text without a byte order mark",
            "a byte order mark",
        ));
    }
    std::str::from_utf8(bytes).map_err(|_| Error::NotUtf8 {
        file: file.to_owned(),
        what: "its text".to_owned(),
    })
}

/// Any JSON value; serde_json refuses more than 128 levels.
pub(super) fn value(file: &str, bytes: &[u8]) -> Result<Value, Error> {
    let text = text(file, bytes)?;
    let found = count_values(text);
    if found > MAX_VALUES {
        return Err(Error::OverLimit {
            file: file.to_owned(),
            what: "the number of JSON values".to_owned(),
            limit: MAX_VALUES,
            found,
        });
    }
    serde_json::from_str(text).map_err(|cause| error(file, &cause))
}

/// The parser's error with the file's name.
pub(super) fn error(file: &str, cause: &serde_json::Error) -> Error {
    // A message may repeat a whole string of the file; the place stands at its end.
    let place = format!(" at line {} column {}", cause.line(), cause.column());
    let message = cause.to_string();
    let message = message.strip_suffix(&place).unwrap_or(&message);
    Error::Json {
        file: file.to_owned(),
        cause: brief(message) + &place,
    }
}

/// An upper bound for the values in `text`: one each for `,`, `:`, `[` and `{` outside strings.
fn count_values(text: &str) -> u64 {
    let (mut found, mut in_string, mut escaped) = (1, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = in_string,
            b'"' => in_string = !in_string,
            b',' | b':' | b'[' | b'{' if !in_string => found += 1,
            _ => {}
        }
    }
    found
}
