//! Chat templates: a conversation to text, as transformers' `apply_chat_template`.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use super::jinja::{self, Limits};
use super::{Error, MAX_TEMPLATE_BYTES};

/// A chat template, parsed and checked.
#[derive(Clone, Debug)]
pub struct ChatTemplate {
    name: String,
    source: String,
}

/// One message of a conversation.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// `system`, `user`, `assistant`, `tool` or what else the template knows.
    pub role: String,
    /// The text; empty where a message only calls tools.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub content: String,
    /// Other fields, handed to the template as they are (`tool_calls`, `name`).
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

fn null_is_empty<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

impl Message {
    /// A message of a role and a text.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        Self {
            role: role.into(),
            content: content.into(),
            extra: Map::new(),
        }
    }

    /// What the template sees: no nulls, reasoning under its usual names.
    fn to_json(&self) -> Value {
        let mut fields = Map::new();
        let extra = |key: &str| self.extra.get(key).filter(|value| !value.is_null());
        let reasoning = ["reasoning_content", "thinking", "reasoning"]
            .into_iter()
            .find_map(extra);
        if let Some(reasoning) = reasoning {
            fields.insert("thinking".into(), reasoning.clone());
        }
        fields.insert("role".into(), self.role.clone().into());
        fields.insert("content".into(), self.content.clone().into());
        for (key, value) in self.extra.iter().filter(|(_, value)| !value.is_null()) {
            fields.insert(key.clone(), value.clone());
        }
        if let Some(reasoning) = reasoning {
            fields.insert("reasoning_content".into(), reasoning.clone());
        }
        Value::Object(fields)
    }
}

/// What a template gets besides the messages.
#[derive(Clone, Debug, PartialEq)]
pub struct RenderOptions {
    /// Ends the text with the opening of an answer.
    pub add_generation_prompt: bool,
    /// `bos_token` of the template; undefined where `None`.
    pub bos_token: Option<String>,
    /// `eos_token` of the template; undefined where `None`.
    pub eos_token: Option<String>,
    /// More variables, such as `enable_thinking`; they win over all others.
    pub extra: BTreeMap<String, Value>,
    /// Tools, as JSON schemas; `None` is the template's `none`.
    pub tools: Option<Vec<Value>>,
    /// Seconds since 1970 (UTC) that `strftime_now` shows; `None` is the clock.
    pub now: Option<i64>,
    /// Longest result, in bytes; other strings of the template are bounded by
    /// a multiple of it.
    pub max_output_bytes: usize,
}

impl Default for RenderOptions {
    fn default() -> Self {
        Self {
            add_generation_prompt: true,
            bos_token: None,
            eos_token: None,
            extra: BTreeMap::new(),
            tools: None,
            now: None,
            max_output_bytes: 1 << 20,
        }
    }
}

/// A rendered conversation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rendered {
    /// The text.
    pub text: String,
    /// Byte offsets behind the first character of each control token that came
    /// from a message and not from the template; sorted.
    pub marks: Vec<usize>,
}

impl ChatTemplate {
    /// Parses a template; `name` is for messages.
    ///
    /// # Errors
    /// [`Error::TooLarge`] above [`MAX_TEMPLATE_BYTES`], [`Error::Template`]
    /// for one that does not parse or is nested absurdly deep.
    pub fn new(name: &str, source: &str) -> Result<Self, Error> {
        if source.len() > MAX_TEMPLATE_BYTES {
            return Err(Error::TooLarge {
                file: name.into(),
                what: "the chat template",
                size: source.len(),
                limit: MAX_TEMPLATE_BYTES,
            });
        }
        let source = jinja::generation_tags_as_conditions(source);
        jinja::check(name, &source)?;
        Ok(Self {
            name: name.into(),
            source,
        })
    }

    /// The template in a `tokenizer_config.json`: its only one, or of several
    /// the one named `default`.
    pub fn source_in(tokenizer_config: &Value) -> Option<&str> {
        match tokenizer_config.get("chat_template")? {
            Value::String(source) => Some(source),
            Value::Array(named) => {
                let name =
                    |entry: &&Value| entry.get("name").and_then(Value::as_str) == Some("default");
                named.iter().find(name)?.get("template")?.as_str()
            }
            _ => None,
        }
    }

    /// The name given to [`ChatTemplate::new`].
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The template's text, as it is compiled.
    pub(super) fn source(&self) -> &str {
        &self.source
    }

    /// The text of a conversation, as transformers renders it.
    ///
    /// # Errors
    /// [`Error::Refused`] where the template itself objects, [`Error::Template`]
    /// where it fails, [`Error::TemplateLimit`] where it needs too much.
    pub fn render(&self, messages: &[Message], options: &RenderOptions) -> Result<String, Error> {
        self.render_json(Self::messages_json(messages), options)
    }

    /// As [`ChatTemplate::render`], for messages that are JSON already.
    pub(super) fn render_json(
        &self,
        messages: Vec<Value>,
        options: &RenderOptions,
    ) -> Result<String, Error> {
        let mut variables = Map::new();
        for (name, token) in [
            ("bos_token", &options.bos_token),
            ("eos_token", &options.eos_token),
        ] {
            if let Some(token) = token {
                variables.insert(name.into(), token.clone().into());
            }
        }
        let tools = options.tools.clone().map_or(Value::Null, Value::Array);
        variables.insert("messages".into(), Value::Array(messages));
        variables.insert("tools".into(), tools);
        variables.insert("documents".into(), Value::Null);
        variables.insert(
            "add_generation_prompt".into(),
            options.add_generation_prompt.into(),
        );
        for (name, value) in &options.extra {
            variables.insert(name.clone(), value.clone());
        }
        let limits = Limits::new(options.max_output_bytes);
        jinja::render(&self.name, &self.source, variables, options.now, limits)
    }

    /// Messages as the template sees them.
    pub(super) fn messages_json(messages: &[Message]) -> Vec<Value> {
        messages.iter().map(Message::to_json).collect()
    }
}
