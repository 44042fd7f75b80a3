//! A conversation to ids: the template's control tokens count, the users' do not.

use std::collections::HashSet;

use serde_json::Value;

use super::added::Control;
use super::template::{ChatTemplate, Message, RenderOptions, Rendered};
use super::{Error, Tokenizer};

/// The template for models that bring none: plain turns, ChatML's order.
///
/// It names no control token, so it works with any vocabulary; what answers
/// such a model gives is another matter.
pub const FALLBACK: &str = "\
{%- for message in messages -%}
{{ '### ' + message.role + ':\\n' + message.content + '\\n\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{ '### assistant:\\n' }}
{%- endif -%}
";

/// Renders a conversation and encodes it.
///
/// Control tokens in the template's own text become their ids. Control tokens
/// in a message, in any field, stay text; only in an assistant's message do
/// those that an answer shows (`<think>`, tool call markup) count again, as they
/// did when the model wrote them. `bos_token` and the like are the tokenizer's
/// where `options` has none. Nothing is added around the result: a template
/// writes its bos itself.
///
/// For conversations without control tokens the ids are those of transformers'
/// `apply_chat_template(tokenize=True)`.
///
/// # Errors
/// The template's ([`ChatTemplate::render`]) and the tokenizer's
/// ([`Tokenizer::encode`]).
pub fn encode_chat(
    tokenizer: &Tokenizer,
    template: &ChatTemplate,
    messages: &[Message],
    options: &RenderOptions,
) -> Result<Vec<u32>, Error> {
    let rendered = tokenizer.render_chat(template, messages, options)?;
    tokenizer.encode_with(&rendered.text, &Control::Marked(&rendered.marks))
}

impl Tokenizer {
    /// The text that [`encode_chat`] encodes, with marks where a message's own
    /// control tokens stand.
    ///
    /// # Errors
    /// As [`ChatTemplate::render`].
    pub fn render_chat(
        &self,
        template: &ChatTemplate,
        messages: &[Message],
        options: &RenderOptions,
    ) -> Result<Rendered, Error> {
        let mut options = options.clone();
        let mut messages = ChatTemplate::messages_json(messages);
        let everything: Vec<&str> = self.control_tokens(|_| true);
        // What an answer shows: the model wrote these as tokens.
        let hidden: Vec<&str> =
            self.control_tokens(|token| token.special && !SHOWN.contains(&token.content.as_str()));
        let given = || options.tools.iter().flatten().chain(options.extra.values());
        let mark = self.free_mark(template, messages.iter().chain(given()))?;
        for message in &mut messages {
            let assistant = message.get("role").and_then(Value::as_str) == Some("assistant");
            mark_all(message, if assistant { &hidden } else { &everything }, mark);
            if let Some(Value::String(role)) = message.get_mut("role")
                && !ROLES.contains(&role.as_str())
                && everything.iter().any(|token| token.contains(role.as_str()))
            {
                // `'<|' + role + '|>'` in a template must not make a token either.
                let first = role.chars().next().map_or(0, char::len_utf8);
                role.insert(first, mark);
            }
        }
        let given = options
            .tools
            .iter_mut()
            .flatten()
            .chain(options.extra.values_mut());
        given.for_each(|value| mark_all(value, &everything, mark));

        for (name, token) in self.special_tokens() {
            let slot = match name {
                "bos_token" => &mut options.bos_token,
                "eos_token" => &mut options.eos_token,
                _ => {
                    options
                        .extra
                        .entry(name.into())
                        .or_insert_with(|| token.into());
                    continue;
                }
            };
            slot.get_or_insert_with(|| token.to_owned());
        }

        // Marks may not make a text too long that is not.
        options.max_output_bytes = options.max_output_bytes.saturating_mul(2);
        let limit = options.max_output_bytes / 2;
        let marked = template.render_json(messages, &options)?;
        let mut rendered = Rendered::default();
        for (index, part) in marked.split(mark).enumerate() {
            if index > 0 {
                rendered.marks.push(rendered.text.len());
            }
            rendered.text.push_str(part);
        }
        if rendered.text.len() > limit {
            return Err(Error::TemplateLimit {
                name: template.name().into(),
                limit: limit as u64,
                of: "bytes of output",
            });
        }
        Ok(rendered)
    }

    /// A private character that stands nowhere in what is given.
    fn free_mark<'v>(
        &self,
        template: &ChatTemplate,
        given: impl Iterator<Item = &'v Value>,
    ) -> Result<char, Error> {
        let private = |c: &char| PRIVATE.contains(c);
        let mut used = HashSet::new();
        let mut see = |text: &str| used.extend(text.chars().filter(private));
        see(template.source());
        self.added.iter().for_each(|token| see(&token.content));
        given.for_each(|value| each_string(value, &mut see));
        PRIVATE
            .clone()
            .find(|c| !used.contains(c))
            .ok_or(Error::NoMark)
    }

    fn control_tokens(&self, which: impl Fn(&super::added::AddedToken) -> bool) -> Vec<&str> {
        let control = self
            .added
            .iter()
            .filter(|token| token.is_control() && which(token));
        control.map(|token| token.content.as_str()).collect()
    }
}

/// Roles of programs, from which templates may build control tokens.
const ROLES: [&str; 8] = [
    "system",
    "user",
    "assistant",
    "tool",
    "developer",
    "model",
    "function",
    "ipython",
];

/// Characters without a meaning, of which one becomes the mark.
const PRIVATE: std::ops::RangeInclusive<char> = '\u{e000}'..='\u{f8ff}';

/// Markup of answers that some files call special.
const SHOWN: [&str; 4] = ["<think>", "</think>", "<tool_call>", "</tool_call>"];

fn each_string(value: &Value, see: &mut impl FnMut(&str)) {
    match value {
        Value::String(text) => see(text),
        Value::Array(items) => items.iter().for_each(|item| each_string(item, see)),
        Value::Object(map) => map.iter().for_each(|(key, item)| {
            see(key);
            each_string(item, see);
        }),
        _ => {}
    }
}

/// Marks the control tokens in all strings of a value, keys too.
fn mark_all(value: &mut Value, tokens: &[&str], mark: char) {
    match value {
        Value::String(text) => {
            if let Some(marked) = mark_text(text, tokens, mark) {
                *text = marked;
            }
        }
        Value::Array(items) => items
            .iter_mut()
            .for_each(|item| mark_all(item, tokens, mark)),
        Value::Object(map) => {
            let marked = std::mem::take(map).into_iter().map(|(key, mut item)| {
                mark_all(&mut item, tokens, mark);
                (mark_text(&key, tokens, mark).unwrap_or(key), item)
            });
            *map = marked.collect();
        }
        _ => {}
    }
}

/// The text with a mark behind the first character of each occurrence, also of
/// those that overlap; `None` if there is none.
fn mark_text(text: &str, tokens: &[&str], mark: char) -> Option<String> {
    let mut at: Vec<usize> = Vec::new();
    for token in tokens {
        let first = token.chars().next().map_or(0, char::len_utf8);
        let mut from = 0;
        while let Some(found) = text[from..].find(token) {
            at.push(from + found + first);
            from += found + first;
        }
    }
    at.sort_unstable();
    at.dedup();
    let last = *at.last()?;
    let mut marked = String::with_capacity(text.len() + 3 * at.len());
    let mut done = 0;
    for at in at {
        marked.push_str(&text[done..at]);
        marked.push(mark);
        done = at;
    }
    marked.push_str(&text[last..]);
    Some(marked)
}
