//! Filters, methods, tests and functions of chat templates: minijinja's, those
//! that transformers adds, and metered versions of those that can make much
//! out of little.

use std::sync::Arc;

use minijinja::formatting::{FormatStyle, format};
use minijinja::value::{Kwargs, Rest, Tuple, ValueKind, from_args};
use minijinja::{Environment, Error, ErrorKind, State, Value};
use minijinja_contrib::pycompat::unknown_method_callback;

use super::json::{Style, dumps, python_str};
use super::{Meter, Stop, guard, time};

/// Filters that Jinja does not have, or that multiply and no template needs.
const REMOVED: [&str; 8] = [
    "batch", "slice", "chain", "zip", "pprint", "sum", "groupby", "lines",
];

pub(super) fn install(env: &mut Environment<'static>, meter: &Arc<Meter>, now: Option<i64>) {
    for name in REMOVED {
        env.remove_filter(name);
    }
    env.remove_global("debug");

    let m = Arc::clone(meter);
    env.add_filter(guard::MADE, move |value: Value| {
        m.spend(m.size(&value)?)?;
        Ok::<Value, Error>(value)
    });
    let m = Arc::clone(meter);
    env.add_filter(guard::KEPT, move |value: Value| {
        // A namespace inside a namespace could contain itself.
        m.size(&value)?;
        if contains_namespace(&value) {
            return Err(invalid("a namespace cannot be kept in a namespace"));
        }
        Ok(value)
    });
    let m = Arc::clone(meter);
    env.add_filter(guard::TEXT, move |length: u64| {
        m.spend(length)?;
        Ok::<_, Error>("")
    });
    let m = Arc::clone(meter);
    env.add_filter(guard::TIMES, move |left: &Value, right: &Value| {
        times(&m, left, right)
    });

    let m = Arc::clone(meter);
    env.add_filter(
        "tojson",
        move |value: &Value, args: Rest<Value>, kwargs: Kwargs| {
            m.size(value)?;
            let text = dumps(value, &Style::new(&kwargs, &args)?, &|length| {
                m.fits(length)
            })?;
            m.spend(text.len() as u64)?;
            Ok::<String, Error>(text)
        },
    );
    let m = Arc::clone(meter);
    env.add_filter("string", move |value: &Value| {
        m.spend(m.size(value)?)?;
        Ok::<String, Error>(python_str(value))
    });
    let m = Arc::clone(meter);
    env.add_filter(
        "join",
        move |value: &Value, separator: Option<&str>, attribute: Option<&str>, kwargs: Kwargs| {
            let named: Option<String> = kwargs.get("d")?;
            let named_attribute: Option<String> = kwargs.get("attribute")?;
            kwargs.assert_all_used()?;
            let attribute = attribute.map(str::to_owned).or(named_attribute);
            let separator = separator.or(named.as_deref()).unwrap_or("");
            join(&m, value, separator, attribute.as_deref())
        },
    );
    let m = Arc::clone(meter);
    env.add_filter(
        "replace",
        move |value: &Value, from: &str, to: &str, count: Option<i64>| {
            replace(&m, &python_str(value), from, to, count)
        },
    );
    let m = Arc::clone(meter);
    env.add_filter(
        "indent",
        move |value: &Value, args: Rest<Value>, kwargs: Kwargs| {
            indent(&m, &python_str(value), &args, &kwargs)
        },
    );
    let m = Arc::clone(meter);
    env.add_filter("format", move |pattern: &str, args: Rest<Value>| {
        checked_format(&m, FormatStyle::Printf, pattern, &args)
    });
    for name in ["e", "escape", "forceescape"] {
        let m = Arc::clone(meter);
        env.add_filter(name, move |value: &Value| {
            // The longest replacement has five characters.
            m.spend(m.size(value)?.saturating_mul(5))?;
            Ok::<String, Error>(escape(&python_str(value)))
        });
    }
    env.add_filter("trim", |value: &Value, chars: Option<&str>| {
        strip(&python_str(value), chars, true, true).to_owned()
    });

    env.add_test("sequence", |value: &Value| {
        is_container(value) || value.is_undefined()
    });
    env.add_test("iterable", |value: &Value| {
        is_container(value) || value.kind() == ValueKind::Iterable || value.is_undefined()
    });
    env.add_test("number", |value: &Value| {
        matches!(value.kind(), ValueKind::Number | ValueKind::Bool)
    });
    env.add_test("callable", |value: &Value| value.kind() == ValueKind::Plain);

    env.add_function(
        "raise_exception",
        |message: &Value| -> Result<Value, Error> {
            Err(Stop::Refused(python_str(message)).into())
        },
    );
    env.add_function("strftime_now", move |format: &str| {
        time::strftime(format, now.unwrap_or_else(time::clock))
    });

    let m = Arc::clone(meter);
    env.set_unknown_method_callback(move |state, value, method, args| {
        method_of(&m, state, value, method, args)
    });
}

fn invalid(reason: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::InvalidOperation, reason)
}

fn is_container(value: &Value) -> bool {
    matches!(
        value.kind(),
        ValueKind::String | ValueKind::Seq | ValueKind::Map
    )
}

/// Only called on values of bounded size and depth.
fn contains_namespace(value: &Value) -> bool {
    match value.kind() {
        ValueKind::Map | ValueKind::Seq | ValueKind::Iterable => {
            let is_namespace = value
                .as_object()
                .is_some_and(|o| o.type_name().ends_with("Namespace"));
            let inside = |item: Value| {
                contains_namespace(&item)
                    || (value.kind() == ValueKind::Map
                        && value
                            .get_item(&item)
                            .is_ok_and(|item| contains_namespace(&item)))
            };
            is_namespace || value.try_iter().is_ok_and(|mut items| items.any(inside))
        }
        _ => false,
    }
}

/// `left * right`, with the size of a repeated string or list checked first.
fn times(meter: &Meter, left: &Value, right: &Value) -> Result<Value, Error> {
    let (repeated, count) = match (left.is_number(), right.is_number()) {
        (false, true) => (left, right),
        (true, false) => (right, left),
        _ => {
            let product = match (left.as_i64(), right.as_i64()) {
                (Some(a), Some(b)) if left.is_integer() && right.is_integer() => {
                    a.checked_mul(b).map(Value::from)
                }
                _ => {
                    let float = |value: &Value| f64::try_from(value.clone());
                    float(left)
                        .and_then(|a| Ok(a * float(right)?))
                        .ok()
                        .map(Value::from)
                }
            };
            return product.ok_or_else(|| invalid("`*` needs two numbers of moderate size"));
        }
    };
    let count = count.as_i64().unwrap_or(0).max(0) as u64;
    let one = repeated
        .as_str()
        .map_or_else(|| meter.size(repeated), |text| Ok(text.len() as u64))?;
    let size = one.saturating_mul(count);
    meter.fits(size)?;
    meter.spend(size)?;
    match repeated.kind() {
        ValueKind::String => Ok(repeated
            .as_str()
            .unwrap_or("")
            .repeat(count as usize)
            .into()),
        ValueKind::Seq | ValueKind::Iterable => {
            let items: Vec<Value> = repeated.try_iter()?.collect();
            let all = items.iter().cycle().take(items.len() * count as usize);
            Ok(all.cloned().collect())
        }
        kind => Err(invalid(format!("`*` does not work on {kind}"))),
    }
}

fn join(
    meter: &Meter,
    value: &Value,
    separator: &str,
    attribute: Option<&str>,
) -> Result<String, Error> {
    let mut out = String::new();
    if value.is_undefined() {
        return Ok(out);
    }
    for (index, item) in value.try_iter()?.enumerate() {
        let item = match attribute {
            Some(name) => item.get_attr(name)?,
            None => item,
        };
        meter.fits((out.len() + separator.len()) as u64 + meter.size(&item)?)?;
        if index > 0 {
            out.push_str(separator);
        }
        out.push_str(&python_str(&item));
    }
    meter.spend(out.len() as u64)?;
    Ok(out)
}

fn replace(
    meter: &Meter,
    text: &str,
    from: &str,
    to: &str,
    count: Option<i64>,
) -> Result<String, Error> {
    let limit = count
        .filter(|&count| count >= 0)
        .map_or(usize::MAX, |count| count as usize);
    let matches = text.matches(from).take(limit).count() as u64;
    let size = text.len() as u64 + matches.saturating_mul(to.len() as u64);
    meter.fits(size)?;
    meter.spend(size)?;
    Ok(text.replacen(from, to, limit))
}

fn indent(meter: &Meter, text: &str, args: &[Value], kwargs: &Kwargs) -> Result<String, Error> {
    let arg = |index: usize, name: &str| match args.get(index) {
        Some(value) => Ok(Some(value.clone())),
        None => kwargs.get::<Option<Value>>(name),
    };
    let (width, first, blank) = (arg(0, "width")?, arg(1, "first")?, arg(2, "blank")?);
    kwargs.assert_all_used()?;
    let yes = |value: Option<Value>| value.is_some_and(|value| value.is_true());
    let (first, blank) = (yes(first), yes(blank));
    let prefix = match &width {
        None => "    ".to_owned(),
        Some(width) => match width.as_str() {
            Some(text) => text.to_owned(),
            None => {
                let width = width.as_usize().unwrap_or(0);
                meter.fits(width as u64)?;
                " ".repeat(width)
            }
        },
    };
    let n_lines = text.matches('\n').count() as u64 + 1;
    let size = text.len() as u64 + n_lines.saturating_mul(prefix.len() as u64);
    meter.fits(size)?;
    meter.spend(size)?;
    let mut out = String::new();
    for (index, line) in text.split('\n').enumerate() {
        if index > 0 {
            out.push('\n');
        }
        if if index == 0 {
            first
        } else {
            blank || !line.is_empty()
        } {
            out.push_str(&prefix);
        }
        out.push_str(line);
    }
    Ok(out)
}

/// Refuses patterns that pad to absurd widths or repeat large arguments.
fn checked_format(
    meter: &Meter,
    style: FormatStyle,
    pattern: &str,
    args: &[Value],
) -> Result<String, Error> {
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let wide = pattern
        .as_bytes()
        .windows(5)
        .any(|w| std::str::from_utf8(w).is_ok_and(digits));
    let mut depth = 0_i32;
    let nested = pattern.chars().any(|c| {
        depth += i32::from(c == '{') - i32::from(c == '}');
        depth > 1
    });
    let open = if style == FormatStyle::Printf {
        '%'
    } else {
        '{'
    };
    let dynamic = if open == '%' {
        pattern.contains('*')
    } else {
        nested && !pattern.contains("{{")
    };
    if wide || dynamic {
        return Err(invalid("the format's width is too large or not constant"));
    }
    let mut largest = 10_000;
    for arg in args {
        largest = largest.max(meter.size(arg)?);
    }
    let places = pattern.matches(open).count() as u64;
    let size = pattern.len() as u64 + places.saturating_mul(largest);
    meter.fits(size)?;
    meter.spend(size)?;
    format(style, pattern, args)
}

/// MarkupSafe's replacements.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\'' => out.push_str("&#39;"),
            '"' => out.push_str("&#34;"),
            c => out.push(c),
        }
    }
    out
}

/// Python's whitespace, which has four more characters than Unicode's.
fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

fn strip<'t>(text: &'t str, chars: Option<&str>, left: bool, right: bool) -> &'t str {
    let strips = |c: char| chars.map_or_else(|| is_space(c), |chars| chars.contains(c));
    let text = if left {
        text.trim_start_matches(strips)
    } else {
        text
    };
    if right {
        text.trim_end_matches(strips)
    } else {
        text
    }
}

/// `str.split` and `str.rsplit`.
fn split(
    text: &str,
    separator: Option<&str>,
    max: i64,
    from_right: bool,
) -> Result<Vec<Value>, Error> {
    let max = if max < 0 { usize::MAX } else { max as usize };
    let mut parts: Vec<&str> = match separator {
        Some("") => return Err(invalid("empty separator")),
        Some(separator) if from_right => text.rsplitn(max.saturating_add(1), separator).collect(),
        Some(separator) => text.splitn(max.saturating_add(1), separator).collect(),
        None => {
            let (mut parts, mut rest) = (Vec::new(), strip(text, None, !from_right, from_right));
            while !rest.is_empty() && parts.len() < max {
                let at = if from_right {
                    rest.rfind(is_space)
                } else {
                    rest.find(is_space)
                };
                let Some(at) = at else { break };
                let width = rest[at..].chars().next().map_or(0, char::len_utf8);
                if from_right {
                    parts.push(&rest[at + width..]);
                    rest = strip(&rest[..at], None, false, true);
                } else {
                    parts.push(&rest[..at]);
                    rest = strip(&rest[at..], None, true, false);
                }
            }
            if !rest.is_empty() {
                parts.push(rest);
            }
            parts
        }
    };
    if from_right {
        parts.reverse();
    }
    Ok(parts.into_iter().map(Value::from).collect())
}

/// Methods whose Python meaning or whose size needs care; others are pycompat's.
fn method_of(
    meter: &Meter,
    state: &mut State<'_, '_>,
    value: &Value,
    method: &str,
    args: &[Value],
) -> Result<Value, Error> {
    let Some(text) = value.as_str() else {
        return unknown_method_callback(state, value, method, args);
    };
    match method {
        "strip" | "lstrip" | "rstrip" => {
            let (chars,): (Option<&str>,) = from_args(args)?;
            Ok(strip(text, chars, method != "rstrip", method != "lstrip").into())
        }
        "split" | "rsplit" => {
            let (separator, max, kwargs): (Option<&str>, Option<i64>, Kwargs) = from_args(args)?;
            let named: Option<String> = kwargs.get("sep")?;
            let max = max.or(kwargs.get("maxsplit")?).unwrap_or(-1);
            kwargs.assert_all_used()?;
            let separator = separator.or(named.as_deref());
            Ok(split(text, separator, max, method == "rsplit")?.into())
        }
        "replace" => {
            let (from, to, count): (&str, &str, Option<i64>) = from_args(args)?;
            replace(meter, text, from, to, count).map(Value::from)
        }
        "join" => {
            let (values,): (&Value,) = from_args(args)?;
            join(meter, values, text, None).map(Value::from)
        }
        "format" => checked_format(meter, FormatStyle::StrFormat, text, args).map(Value::from),
        "removeprefix" => {
            let (prefix,): (&str,) = from_args(args)?;
            Ok(text.strip_prefix(prefix).unwrap_or(text).into())
        }
        "removesuffix" => {
            let (suffix,): (&str,) = from_args(args)?;
            Ok(text.strip_suffix(suffix).unwrap_or(text).into())
        }
        "partition" | "rpartition" => {
            let (separator,): (&str,) = from_args(args)?;
            let first = method == "partition";
            let parts = if first {
                text.split_once(separator)
            } else {
                text.rsplit_once(separator)
            };
            let (a, b, c) = match parts {
                Some((a, b)) => (a, separator, b),
                None if first => (text, "", ""),
                None => ("", "", text),
            };
            Ok(Tuple::from([a, b, c].map(Value::from)).into())
        }
        _ => unknown_method_callback(state, value, method, args),
    }
}
