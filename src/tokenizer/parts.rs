//! The small parts of `tokenizer.json`: normalizer, pre-tokenizer, decoder and
//! post-processor. Only kinds on the lists here are built; the lists leave out
//! those that panic on their own settings.

use serde::de::DeserializeOwned;
use serde_json::Value;
use tokenizers::{NormalizerWrapper, PreTokenizerWrapper};

use super::Error;
use super::decode::Decoder;

const NORMALIZERS: [&str; 12] = [
    "Sequence",
    "NFC",
    "NFD",
    "NFKC",
    "NFKD",
    "Lowercase",
    "Strip",
    "StripAccents",
    "Nmt",
    "Prepend",
    "Replace",
    "ByteLevel",
];
const PRE_TOKENIZERS: [&str; 8] = [
    "Sequence",
    "Split",
    "ByteLevel",
    "Metaspace",
    "Digits",
    "Punctuation",
    "Whitespace",
    "WhitespaceSplit",
];
const DECODERS: [&str; 7] = [
    "Sequence",
    "ByteLevel",
    "Metaspace",
    "Replace",
    "ByteFallback",
    "Fuse",
    "Strip",
];

/// Longest pattern or replacement, in bytes.
const MAX_PATTERN_BYTES: usize = 8 << 10;
/// How much longer than the text all steps together may make it.
const MAX_GROWTH: usize = 256;
/// Size of a pattern with its counted repetitions written out.
const MAX_REPEATED: usize = 20_000;

pub(super) fn normalizer(file: &str, json: Value) -> Result<Option<NormalizerWrapper>, Error> {
    build(file, "normalizer", json, &NORMALIZERS)
}

pub(super) fn pre_tokenizer(file: &str, json: Value) -> Result<Option<PreTokenizerWrapper>, Error> {
    build(file, "pre_tokenizer", json, &PRE_TOKENIZERS)
}

fn build<T: DeserializeOwned>(
    file: &str,
    key: &str,
    json: Value,
    known: &[&str],
) -> Result<Option<T>, Error> {
    if json.is_null() {
        return Ok(None);
    }
    let mut growth = 1;
    for (key, step) in steps(file, key, &json, known)? {
        check_step(file, &key, step, &mut growth)?;
    }
    let part = serde_json::from_value(json);
    part.map(Some).map_err(|source| Error::Part {
        file: file.into(),
        key: key.into(),
        source: source.into(),
    })
}

/// The parts without the sequences around them, each with its path.
fn steps<'j>(
    file: &str,
    key: &str,
    json: &'j Value,
    known: &[&str],
) -> Result<Vec<(String, &'j Value)>, Error> {
    let kind = json.get("type").and_then(Value::as_str).unwrap_or("none");
    if !known.contains(&kind) {
        return Err(Error::Unsupported {
            file: file.into(),
            key: format!("{key}.type"),
            found: kind.into(),
            supported: known.join(", "),
        });
    }
    if kind != "Sequence" {
        return Ok(vec![(key.into(), json)]);
    }
    let list = ["normalizers", "pretokenizers", "decoders"]
        .iter()
        .find_map(|&name| Some((name, json.get(name)?.as_array()?)));
    let Some((name, list)) = list else {
        return Err(field(file, key, "a list of parts", "none"));
    };
    let mut all = Vec::new();
    for (index, json) in list.iter().enumerate() {
        all.extend(steps(file, &format!("{key}.{name}[{index}]"), json, known)?);
    }
    Ok(all)
}

fn field(file: &str, key: &str, expected: &str, found: &str) -> Error {
    Error::Field {
        file: file.into(),
        key: key.into(),
        expected: expected.into(),
        found: found.into(),
    }
}

/// Bounds what a step can do to a text and what its pattern costs to compile.
fn check_step(file: &str, key: &str, step: &Value, growth: &mut usize) -> Result<(), Error> {
    let text = |key: &str| step.get(key).and_then(Value::as_str).unwrap_or("").len();
    let pattern = step.get("pattern");
    let pattern = pattern.and_then(|pattern| {
        let regex = pattern.get("Regex").map(|pattern| (pattern, true));
        regex.or_else(|| Some((pattern.get("String")?, false)))
    });
    let (pattern, is_regex) = match pattern {
        Some((Value::String(pattern), is_regex)) => (pattern.as_str(), is_regex),
        _ => ("", false),
    };
    if pattern.len().max(text("content")).max(text("prepend")) > MAX_PATTERN_BYTES {
        return Err(field(
            file,
            key,
            "at most 8192 bytes of pattern or text",
            "more",
        ));
    }
    if is_regex && repeated_size(pattern) > MAX_REPEATED {
        return Err(field(
            file,
            key,
            "a pattern of moderate size",
            "nested repetitions",
        ));
    }
    // Worst case of bytes out per byte in; a regex may match the empty string.
    let factor = match step.get("type").and_then(Value::as_str).unwrap_or("") {
        "Replace" if is_regex => text("content") + 1,
        "Replace" => text("content").div_ceil(pattern.len().max(1)),
        "Prepend" => 1 + text("prepend") / 16,
        "NFD" => 3,
        "NFKC" | "NFKD" => 11,
        "Lowercase" | "ByteLevel" => 2,
        "Metaspace" => 4,
        _ => 1,
    };
    *growth = growth.saturating_mul(factor.max(1));
    if *growth > MAX_GROWTH {
        return Err(field(
            file,
            key,
            "steps that keep a text's size",
            "steps that multiply it",
        ));
    }
    Ok(())
}

/// Characters of a pattern after writing out `{n,m}`, nested groups multiplied.
fn repeated_size(pattern: &str) -> usize {
    let mut open: Vec<usize> = Vec::new();
    // Size so far in this group, and of the last atom, which a count repeats.
    let (mut size, mut atom) = (0_usize, 0_usize);
    let mut chars = pattern.char_indices();
    let mut in_class = false;
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => {
                chars.next();
                (size, atom) = (size.saturating_add(1), 1);
            }
            ']' if in_class => in_class = false,
            _ if in_class => {}
            '[' => {
                in_class = true;
                (size, atom) = (size.saturating_add(1), 1);
            }
            '(' => {
                open.push(size);
                (size, atom) = (0, 0);
            }
            ')' => {
                atom = size.max(1);
                size = atom.saturating_add(open.pop().unwrap_or(0));
            }
            '{' => {
                let count = pattern[at + 1..].split('}').next().unwrap_or("");
                let count = count
                    .split(',')
                    .filter_map(|n| n.trim().parse::<usize>().ok())
                    .max();
                let more = atom.saturating_mul(count.unwrap_or(1).saturating_sub(1));
                size = size.saturating_add(more);
                atom = atom.saturating_add(more);
            }
            _ => (size, atom) = (size.saturating_add(1), 1),
        }
    }
    size
}

/// How ids become text; the streaming decoder needs rules that work token by
/// token, so anything else is refused.
pub(super) fn decoder(file: &str, json: &Value, pre_tokenizer: &Value) -> Result<Decoder, Error> {
    if json.is_null() {
        let bytes = pre_tokenizer.to_string().contains("\"ByteLevel\"");
        let pieces = Decoder::Pieces {
            replace: Vec::new(),
            strip: 0,
        };
        return Ok(if bytes { Decoder::ByteLevel } else { pieces });
    }
    let (mut replace, mut strip) = (Vec::new(), 0);
    for (key, step) in steps(file, "decoder", json, &DECODERS)? {
        let text = |name: &str| step.get(name).and_then(Value::as_str);
        let wrong = |expected| field(file, &key, expected, &format!("{step:.80}"));
        match text("type").unwrap_or("") {
            "ByteLevel" => return Ok(Decoder::ByteLevel),
            "Replace" => {
                let from = step.pointer("/pattern/String").and_then(Value::as_str);
                let pair = from
                    .zip(text("content"))
                    .filter(|(from, _)| !from.is_empty());
                let (from, to) = pair.ok_or_else(|| wrong("a plain string and its replacement"))?;
                if to.len() > from.len().max(16) {
                    return Err(wrong("a replacement of at most 16 bytes"));
                }
                replace.push((from.to_owned(), to.to_owned()));
            }
            "Metaspace" => {
                let mark = text("replacement").unwrap_or("\u{2581}");
                replace.push((mark.to_owned(), " ".to_owned()));
                let never = text("prepend_scheme") == Some("never")
                    || step.get("add_prefix_space") == Some(&Value::Bool(false));
                strip = usize::from(!never);
            }
            "Strip" => {
                let count = |name: &str| step.get(name).and_then(Value::as_u64);
                match (text("content"), count("start"), count("stop")) {
                    (Some(" "), Some(start @ 0..=16), Some(0)) => strip = start as usize,
                    _ => return Err(wrong("at most 16 leading spaces to strip")),
                }
            }
            _ => {}
        }
    }
    Ok(Decoder::Pieces { replace, strip })
}

/// The tokens that a `TemplateProcessing` sets first and last, if there is one.
#[expect(clippy::type_complexity, reason = "a pair of optional ids, used once")]
pub(super) fn frame(
    file: &str,
    json: &Value,
    id_of: impl Fn(&str, u64) -> Result<u32, Error>,
) -> Result<Option<(Option<u32>, Option<u32>)>, Error> {
    let list = json.get("processors").and_then(Value::as_array);
    let template = list
        .into_iter()
        .flatten()
        .chain([json])
        .find(|part| part.get("type").and_then(Value::as_str) == Some("TemplateProcessing"));
    let Some(template) = template else {
        return Ok(None);
    };
    let single = template.get("single").and_then(Value::as_array);
    let single = single.map(Vec::as_slice).unwrap_or_default();
    let special = |item: Option<&Value>| -> Result<Option<u32>, Error> {
        let Some(name) = item.and_then(|item| item.pointer("/SpecialToken/id")?.as_str()) else {
            return Ok(None);
        };
        let ids = template
            .get("special_tokens")
            .and_then(|tokens| tokens.get(name)?.get("ids"));
        match ids.and_then(|ids| ids.get(0)?.as_u64()) {
            Some(id) => id_of(name, id).map(Some),
            None => {
                let key = format!("post_processor.special_tokens.{name}");
                Err(field(file, &key, "its ids", "none"))
            }
        }
    };
    let last = single.last().filter(|_| single.len() > 1);
    Ok(Some((special(single.first())?, special(last)?)))
}
