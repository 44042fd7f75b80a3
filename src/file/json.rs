//! JSON of bounded size and depth.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::error::{Error, brief};
use super::source::{ByteSource, read_all};

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
    serde_json::from_str(bounded(file, bytes)?).map_err(|cause| error(file, &cause))
}

/// The JSON value that `source` holds in at most `limit` bytes, with no key twice in an object.
pub(crate) async fn read_json(source: &dyn ByteSource, limit: u64) -> Result<Value, Error> {
    parse_json(source.name(), &read_all(source, limit).await?)
}

/// The JSON value of these bytes, with no key twice in an object.
pub(crate) fn parse_json(file: &str, bytes: &[u8]) -> Result<Value, Error> {
    let parsed = serde_json::from_str(bounded(file, bytes)?);
    let Unique(value) = parsed.map_err(|cause| error(file, &cause))?;
    Ok(value)
}

/// The text of a file with few enough values.
fn bounded<'a>(file: &str, bytes: &'a [u8]) -> Result<&'a str, Error> {
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
    Ok(text)
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

/// A value whose objects have no key twice, of which serde_json would take the last one.
struct Unique(Value);

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;

        impl<'de> Visitor<'de> for Collect {
            type Value = Unique;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON value")
            }

            fn visit_unit<E>(self) -> Result<Unique, E> {
                Ok(Unique(Value::Null))
            }

            fn visit_bool<E>(self, value: bool) -> Result<Unique, E> {
                Ok(Unique(value.into()))
            }

            fn visit_i64<E>(self, value: i64) -> Result<Unique, E> {
                Ok(Unique(value.into()))
            }

            fn visit_u64<E>(self, value: u64) -> Result<Unique, E> {
                Ok(Unique(value.into()))
            }

            fn visit_f64<E>(self, value: f64) -> Result<Unique, E> {
                Ok(Unique(value.into()))
            }

            fn visit_str<E>(self, value: &str) -> Result<Unique, E> {
                Ok(Unique(value.into()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Unique, A::Error> {
                let mut list = vec![];
                while let Some(Unique(value)) = seq.next_element()? {
                    list.push(value);
                }
                Ok(Unique(list.into()))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Unique, A::Error> {
                let mut object = Map::new();
                while let Some((key, Unique(value))) = map.next_entry::<String, _>()? {
                    if object.contains_key(&key) {
                        let twice = format_args!("key {:?} stands there twice", brief(&key));
                        return Err(A::Error::custom(twice));
                    }
                    object.insert(key, value);
                }
                Ok(Unique(object.into()))
            }
        }

        deserializer.deserialize_any(Collect)
    }
}
