//! Values to and from JSON, and to text as Python writes them.

use minijinja::value::{Kwargs, ValueKind};
use minijinja::{Error, ErrorKind, Value};

/// JSON as a template's value; the order of keys is kept.
pub(super) fn from_json(json: serde_json::Value) -> Value {
    match json {
        serde_json::Value::Null => Value::from(()),
        serde_json::Value::Bool(value) => value.into(),
        serde_json::Value::Number(number) => {
            let int = number
                .as_i64()
                .map(Value::from)
                .or_else(|| number.as_u64().map(Value::from));
            int.unwrap_or_else(|| Value::from(number.as_f64().unwrap_or(f64::NAN)))
        }
        serde_json::Value::String(text) => text.into(),
        serde_json::Value::Array(items) => items.into_iter().map(from_json).collect(),
        serde_json::Value::Object(map) => {
            Value::from_pairs(map.into_iter().map(|(key, value)| (key, from_json(value))))
        }
    }
}

/// How `json.dumps` writes.
pub(super) struct Style {
    ensure_ascii: bool,
    sort_keys: bool,
    indent: Option<String>,
    item: String,
    key: String,
}

impl Style {
    /// From the arguments of transformers' `tojson`.
    pub(super) fn new(kwargs: &Kwargs, positional: &[Value]) -> Result<Self, Error> {
        let names = ["ensure_ascii", "indent", "separators", "sort_keys"];
        let get = |index: usize| -> Result<Option<Value>, Error> {
            let value = match positional.get(index) {
                Some(value) => Some(value.clone()),
                None => kwargs.get::<Option<Value>>(names[index])?,
            };
            Ok(value.filter(|value| !value.is_none()))
        };
        let ensure_ascii = get(0)?.is_some_and(|value| value.is_true());
        let indent = match get(1)? {
            None => None,
            Some(value) => Some(match value.as_str() {
                Some(text) if text.len() <= 64 => text.to_owned(),
                Some(_) => {
                    return Err(Error::new(
                        ErrorKind::InvalidOperation,
                        "indent is too wide",
                    ));
                }
                None => " ".repeat(value.as_i64().unwrap_or(0).clamp(0, 64) as usize),
            }),
        };
        let (mut item, mut key) = (
            if indent.is_some() { "," } else { ", " }.to_owned(),
            ": ".to_owned(),
        );
        if let Some(separators) = get(2)? {
            let text = |index: usize| -> Result<String, Error> {
                let text = separators.get_item_by_index(index)?;
                match text.as_str() {
                    Some(text) if text.len() <= 64 => Ok(text.to_owned()),
                    _ => Err(Error::new(
                        ErrorKind::InvalidOperation,
                        "separators must be two short strings",
                    )),
                }
            };
            (item, key) = (text(0)?, text(1)?);
        }
        let sort_keys = get(3)?.is_some_and(|value| value.is_true());
        kwargs.assert_all_used()?;
        Ok(Self {
            ensure_ascii,
            sort_keys,
            indent,
            item,
            key,
        })
    }
}

/// `json.dumps(value)`; `fits` is asked about the length as it grows.
pub(super) fn dumps(
    value: &Value,
    style: &Style,
    fits: &dyn Fn(u64) -> Result<(), Error>,
) -> Result<String, Error> {
    let mut out = String::new();
    write_json(&mut out, value, style, 1, fits)?;
    Ok(out)
}

fn write_json(
    out: &mut String,
    value: &Value,
    style: &Style,
    depth: usize,
    fits: &dyn Fn(u64) -> Result<(), Error>,
) -> Result<(), Error> {
    fits(out.len() as u64)?;
    let line = |out: &mut String, depth: usize| {
        if let Some(indent) = &style.indent {
            out.push('\n');
            (0..depth).for_each(|_| out.push_str(indent));
        }
    };
    match value.kind() {
        ValueKind::None => out.push_str("null"),
        ValueKind::Bool => out.push_str(if value.is_true() { "true" } else { "false" }),
        ValueKind::Number => out.push_str(&python_number(value)),
        ValueKind::String => write_string(out, value.as_str().unwrap_or(""), style.ensure_ascii),
        ValueKind::Seq | ValueKind::Iterable => {
            let items: Vec<Value> = value.try_iter()?.collect();
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                out.push_str(if index > 0 { &style.item } else { "" });
                line(out, depth);
                write_json(out, item, style, depth + 1, fits)?;
            }
            if !items.is_empty() {
                line(out, depth - 1);
            }
            out.push(']');
        }
        ValueKind::Map => {
            let mut keys: Vec<Value> = value.try_iter()?.collect();
            if style.sort_keys {
                keys.sort();
            }
            out.push('{');
            for (index, key) in keys.iter().enumerate() {
                out.push_str(if index > 0 { &style.item } else { "" });
                line(out, depth);
                match key.kind() {
                    ValueKind::None => out.push_str("\"null\""),
                    ValueKind::Bool => out.push_str(if key.is_true() {
                        "\"true\""
                    } else {
                        "\"false\""
                    }),
                    _ => write_string(out, &python_str(key), style.ensure_ascii),
                }
                out.push_str(&style.key);
                write_json(out, &value.get_item(key)?, style, depth + 1, fits)?;
            }
            if !keys.is_empty() {
                line(out, depth - 1);
            }
            out.push('}');
        }
        kind => {
            let reason = format!("a value of type {kind} is not JSON serializable");
            return Err(Error::new(ErrorKind::BadSerialization, reason));
        }
    }
    Ok(())
}

fn write_string(out: &mut String, text: &str, ensure_ascii: bool) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            c if u32::from(c) < 0x20 || (ensure_ascii && u32::from(c) > 0x7e) => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    out.push_str(&format!("\\u{unit:04x}"));
                }
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

/// `str(value)`.
pub(super) fn python_str(value: &Value) -> String {
    match value.kind() {
        ValueKind::String => value.as_str().unwrap_or("").to_owned(),
        ValueKind::Number => python_number(value),
        ValueKind::Seq | ValueKind::Map => python_repr(value),
        _ => value.to_string(),
    }
}

/// `repr(value)`; values are of bounded depth here.
fn python_repr(value: &Value) -> String {
    let items = || value.try_iter().into_iter().flatten();
    match value.kind() {
        ValueKind::String => repr_string(value.as_str().unwrap_or("")),
        ValueKind::Seq => {
            let all: Vec<String> = items().map(|item| python_repr(&item)).collect();
            match (value.is_tuple(), all.len()) {
                (true, 1) => format!("({},)", all[0]),
                (true, _) => format!("({})", all.join(", ")),
                (false, _) => format!("[{}]", all.join(", ")),
            }
        }
        ValueKind::Map => {
            let pair = |key: Value| {
                let item = value.get_item(&key).unwrap_or_default();
                format!("{}: {}", python_repr(&key), python_repr(&item))
            };
            format!("{{{}}}", items().map(pair).collect::<Vec<_>>().join(", "))
        }
        ValueKind::Undefined => "Undefined".to_owned(),
        _ => python_str(value),
    }
}

fn repr_string(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') {
        '"'
    } else {
        '\''
    };
    let mut out = String::from(quote);
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\\' => out.push_str("\\\\"),
            c if c == quote => out.extend(['\\', c]),
            c if u32::from(c) < 0x20 || u32::from(c) == 0x7f => {
                out.push_str(&format!("\\x{:02x}", u32::from(c)));
            }
            c => out.push(c),
        }
    }
    out.push(quote);
    out
}

/// `repr` of an int or a float: the shortest digits that read back, with an
/// exponent below 1e-4 and from 1e16 on.
fn python_number(value: &Value) -> String {
    if value.is_integer() {
        return value.to_string();
    }
    let Ok(number) = f64::try_from(value.clone()) else {
        return value.to_string();
    };
    let size = number.abs();
    if number.is_nan() {
        "NaN".to_owned()
    } else if number.is_infinite() {
        if number > 0.0 {
            "Infinity".to_owned()
        } else {
            "-Infinity".to_owned()
        }
    } else if size != 0.0 && !(1e-4..1e16).contains(&size) {
        let text = format!("{number:e}");
        match text.split_once('e') {
            Some((digits, exponent)) => {
                let (sign, digits_of) = match exponent.strip_prefix('-') {
                    Some(rest) => ('-', rest),
                    None => ('+', exponent),
                };
                format!("{digits}e{sign}{digits_of:0>2}")
            }
            None => text,
        }
    } else {
        let text = number.to_string();
        if text.contains('.') {
            text
        } else {
            format!("{text}.0")
        }
    }
}
