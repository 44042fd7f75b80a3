//! Renders untrusted templates: minijinja with transformers' additions, and
//! with every step that can make a value larger metered.
//!
//! Fuel bounds the number of steps, not what a step does: a dozen of them
//! double a string into gigabytes. So the syntax tree is rewritten before it is
//! compiled ([`guard`]): sums, products, literals, calls and filters hand their
//! results to a meter, as do the template's own text and everything printed.

mod guard;
mod json;
mod library;
mod time;

use std::error::Error as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use minijinja::machinery::{CodeGenerator, Token, eval, make_string_output, parse, tokenize};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::ValueKind;
use minijinja::{AutoEscape, Environment, ErrorKind, State, Value};

use super::Error;

/// Instructions that one rendering may take.
const FUEL: u64 = 2_000_000;
/// Nesting of values.
const MAX_DEPTH: usize = 64;
/// Nesting of calls; minijinja's own limit is 500, more than a small stack holds.
const MAX_RECURSION: usize = 150;
/// Tokens in one tag, which become nested nodes.
const MAX_TAG_TOKENS: usize = 1000;
/// `elif` tags, each nested in the one before.
const MAX_ELIFS: usize = 200;
/// How long one rendering may take; real ones take a millisecond.
const MAX_TIME: Duration = Duration::from_secs(5);

/// What a rendering may use, in bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// The result.
    output: u64,
    /// Any one value, counted with all that it contains.
    value: u64,
    /// All values that are made, together.
    total: u64,
}

impl Limits {
    pub(super) fn new(max_output_bytes: usize) -> Self {
        let output = max_output_bytes as u64;
        let value = output.saturating_mul(2).saturating_add(1 << 20);
        Self {
            output,
            value,
            total: value.saturating_mul(32),
        }
    }
}

/// Why a rendering was ended, as the source of minijinja's error.
#[derive(Debug, thiserror::Error)]
enum Stop {
    #[error("{0}")]
    Refused(String),
    #[error("more than {limit} {of}")]
    Limit { limit: u64, of: &'static str },
}

impl From<Stop> for minijinja::Error {
    fn from(stop: Stop) -> Self {
        let text = stop.to_string();
        minijinja::Error::new(ErrorKind::InvalidOperation, text).with_source(stop)
    }
}

/// Counts what one rendering uses.
struct Meter {
    limits: Limits,
    spent: AtomicU64,
    start: web_time::Instant,
}

impl Meter {
    /// Counts bytes that were or will be made.
    fn spend(&self, n_bytes: u64) -> Result<(), minijinja::Error> {
        let spent = self
            .spent
            .fetch_add(n_bytes, Ordering::Relaxed)
            .saturating_add(n_bytes);
        if spent > self.limits.total {
            return Err(Stop::Limit {
                limit: self.limits.total,
                of: "bytes of memory",
            }
            .into());
        }
        if self.start.elapsed() > MAX_TIME {
            return Err(Stop::Limit {
                limit: MAX_TIME.as_secs(),
                of: "seconds",
            }
            .into());
        }
        Ok(())
    }

    /// Refuses a size above that of any one value.
    fn fits(&self, n_bytes: u64) -> Result<(), minijinja::Error> {
        if n_bytes > self.limits.value {
            return Err(Stop::Limit {
                limit: self.limits.value,
                of: "bytes in one value",
            }
            .into());
        }
        Ok(())
    }

    /// Size of a value with all that it contains, shared parts counted each
    /// time; refuses what is too large or nested too deep.
    fn size(&self, value: &Value) -> Result<u64, minijinja::Error> {
        let mut size = 0;
        self.add_size(value, 0, &mut size)?;
        Ok(size)
    }

    fn add_size(
        &self,
        value: &Value,
        depth: usize,
        size: &mut u64,
    ) -> Result<(), minijinja::Error> {
        if depth > MAX_DEPTH {
            return Err(Stop::Limit {
                limit: MAX_DEPTH as u64,
                of: "nested values",
            }
            .into());
        }
        *size += 16;
        match value.kind() {
            ValueKind::String => *size += value.as_str().map_or(0, str::len) as u64,
            ValueKind::Seq | ValueKind::Iterable | ValueKind::Map => {
                // Known lengths first: a repeated list is long without being large.
                self.fits(size.saturating_add(16 * value.len().unwrap_or(0) as u64))?;
                for item in value.try_iter()? {
                    if value.kind() == ValueKind::Map {
                        self.add_size(&value.get_item(&item)?, depth + 1, size)?;
                    }
                    self.add_size(&item, depth + 1, size)?;
                }
            }
            _ => {}
        }
        self.fits(*size)
    }
}

fn syntax() -> SyntaxConfig {
    SyntaxConfig::builder()
        .trim_blocks(true)
        .lstrip_blocks(true)
        .build()
        .expect("the default delimiters are valid")
}

/// `{% generation %}` marks what an assistant wrote, which only training needs:
/// it becomes a condition that always holds, with the same whitespace control.
pub(super) fn generation_tags_as_conditions(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(at) = rest.find("{%") {
        let (before, tag) = rest.split_at(at);
        out.push_str(before);
        let body = &tag[2..];
        let inner = body.trim_start_matches(['-', '+']);
        let word = inner.trim_start();
        let (name, new) = match word.strip_prefix("endgeneration") {
            Some(_) => ("endgeneration", "endif"),
            None => ("generation", "if true"),
        };
        let after = word.strip_prefix(name).map(str::trim_start);
        let is_tag =
            after.is_some_and(|after| after.trim_start_matches(['-', '+']).starts_with("%}"));
        out.push_str("{%");
        rest = body;
        if is_tag {
            let end = body.len() - word.len();
            out.push_str(&body[..end]);
            out.push_str(new);
            rest = &body[end + name.len()..];
        }
    }
    out.push_str(rest);
    out
}

/// Parses a template without running it.
pub(super) fn check(name: &str, source: &str) -> Result<(), Error> {
    compile(name, source, |_| Ok(())).map_err(|error| template_error(name, &error))
}

/// Parses, bounds nesting, rewrites; hands the code generator to `then`.
fn compile<'s, T>(
    name: &'s str,
    source: &'s str,
    then: impl FnOnce(CodeGenerator<'s>) -> Result<T, minijinja::Error>,
) -> Result<T, minijinja::Error> {
    // The parser's loops (`a.b.c…`, `a + b + …`, `elif`) nest without its limit.
    let (mut in_tag, mut elifs) = (0, 0);
    for token in tokenize(source, false, syntax()) {
        match token?.0 {
            Token::TemplateData(_) | Token::BlockStart | Token::VariableStart => in_tag = 0,
            Token::Ident("elif") => elifs += 1,
            _ => in_tag += 1,
        }
        if in_tag > MAX_TAG_TOKENS {
            return Err(Stop::Limit {
                limit: MAX_TAG_TOKENS as u64,
                of: "tokens in one tag",
            }
            .into());
        }
        if elifs > MAX_ELIFS {
            return Err(Stop::Limit {
                limit: MAX_ELIFS as u64,
                of: "`elif` tags",
            }
            .into());
        }
    }
    let tree = guard::statement(&parse(source, name, syntax())?)?;
    let mut code = CodeGenerator::new(name, source);
    code.compile_stmt(&tree);
    then(code)
}

/// Renders a template; `source` must have passed [`check`].
pub(super) fn render(
    name: &str,
    source: &str,
    variables: serde_json::Map<String, serde_json::Value>,
    now: Option<i64>,
    limits: Limits,
) -> Result<String, Error> {
    let meter = Arc::new(Meter {
        limits,
        spent: AtomicU64::new(0),
        start: web_time::Instant::now(),
    });
    let result = compile(name, source, |code| {
        let root = json::from_json(serde_json::Value::Object(variables));
        if meter.size(&root).is_err() {
            let of = "bytes of conversation";
            return Err(Stop::Limit {
                limit: limits.value,
                of,
            }
            .into());
        }
        let env = environment(&meter, now);
        let (instructions, blocks) = code.finish();
        let mut text = String::new();
        let mut output = make_string_output(&mut text);
        eval(
            &env,
            &instructions,
            root,
            &blocks,
            &mut output,
            AutoEscape::None,
        )?;
        Ok(text)
    });
    match result {
        Ok(text) if text.len() as u64 > limits.output => Err(Error::TemplateLimit {
            name: name.into(),
            limit: limits.output,
            of: "bytes of output",
        }),
        Ok(text) => Ok(text),
        Err(error) => Err(template_error(name, &error)),
    }
}

fn environment(meter: &Arc<Meter>, now: Option<i64>) -> Environment<'static> {
    let mut env = Environment::new();
    env.set_fuel(Some(FUEL));
    env.set_recursion_limit(MAX_RECURSION);
    env.set_auto_escape_callback(|_| AutoEscape::None);
    let printed = Arc::clone(meter);
    env.set_formatter(move |output, _: &mut State, value| {
        printed.spend(printed.size(value)?)?;
        let written = match value.as_str() {
            Some(text) => output.write_str(text),
            None => output.write_str(&json::python_str(value)),
        };
        written.map_err(|_| minijinja::Error::from(ErrorKind::WriteFailure))
    });
    library::install(&mut env, meter, now);
    env
}

fn template_error(name: &str, error: &minijinja::Error) -> Error {
    let name = name.to_owned();
    let mut source = error.source();
    while let Some(cause) = source {
        match cause.downcast_ref::<Stop>() {
            Some(Stop::Refused(message)) => {
                return Error::Refused {
                    name,
                    message: message.clone(),
                };
            }
            Some(&Stop::Limit { limit, of }) => return Error::TemplateLimit { name, limit, of },
            None => source = cause.source(),
        }
    }
    if error.kind() == ErrorKind::OutOfFuel {
        return Error::TemplateLimit {
            name,
            limit: FUEL,
            of: "steps",
        };
    }
    let reason = match error.detail() {
        Some(detail) => format!("{}: {detail}", error.kind()),
        None => error.kind().to_string(),
    };
    Error::Template {
        name,
        line: error.line().unwrap_or(0),
        reason,
    }
}
