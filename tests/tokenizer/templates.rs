//! Rendered conversations, against transformers.

use std::collections::HashMap;

use deputy::tokenizer::{ChatTemplate, Error, FALLBACK, Message, RenderOptions, encode_chat};
use serde_json::{Value, json};

use crate::support::{fixture, ids, shared, shared_config, shared_tokenizer};

/// 2024-07-26 09:05:07, as in make.py.
const NOW: i64 = 1_721_984_707;

fn options(json: &Value, tokens: Option<&Value>) -> RenderOptions {
    let token = |name: &str| Some(tokens?.get(name)?.as_str()?.to_owned());
    let mut options = RenderOptions {
        bos_token: token("bos_token"),
        eos_token: token("eos_token"),
        now: Some(NOW),
        ..RenderOptions::default()
    };
    for (key, value) in json.as_object().expect("an object") {
        match key.as_str() {
            "add_generation_prompt" => {
                options.add_generation_prompt = value.as_bool().expect("a bool")
            }
            "tools" => options.tools = Some(value.as_array().expect("a list").clone()),
            _ => {
                options.extra.insert(key.clone(), value.clone());
            }
        }
    }
    options
}

/// FNV-1a of each line, in hexadecimal.
fn hashes(text: &str) -> String {
    let fnv = |line: &str| {
        let step = |hash: u32, &byte: &u8| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
        line.as_bytes().iter().fold(0x811c_9dc5, step)
    };
    text.split('\n')
        .map(|line| format!("{:08x}", fnv(line)))
        .collect()
}

#[test]
fn snippets_render_as_in_transformers() {
    let snippets = fixture("snippets.json");
    let messages: Vec<Message> =
        serde_json::from_value(snippets["messages"].clone()).expect("JSON");
    let tools = snippets["tools"].as_array().expect("a list").clone();
    let options = RenderOptions {
        tools: Some(tools),
        now: Some(NOW),
        ..RenderOptions::default()
    };
    let mut wrong = Vec::new();
    for case in snippets["cases"].as_array().expect("a list") {
        let source = case["source"].as_str().expect("a string");
        let found =
            ChatTemplate::new("snippet", source).and_then(|t| t.render(&messages, &options));
        let right = match (&found, case.get("text"), case.get("refused")) {
            (Ok(text), Some(expected), _) => text == expected,
            (Err(Error::Refused { message, .. }), _, Some(expected)) => message == expected,
            (Err(Error::Template { .. }), None, None) => true,
            _ => false,
        };
        if !right {
            wrong.push(format!(
                "{source:?}\n    found    {found:?}\n    expected {case}"
            ));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} differ:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

#[test]
fn third_party_templates_render_as_in_transformers() {
    if shared("templates").is_none() || shared("tokenizers").is_none() {
        return;
    }
    let expected = fixture("templates.json");
    let conversations = &fixture("chats.json")["conversations"];
    let mut templates = HashMap::new();
    let mut tokenizers = HashMap::new();
    let (mut n_texts, mut n_ids, mut wrong) = (0, 0, Vec::new());
    for case in expected["cases"].as_array().expect("a list") {
        let path = case["template"].as_str().expect("a string");
        let template = templates.entry(path).or_insert_with(|| {
            let source = match path.strip_prefix("tokenizers/") {
                Some(name) => shared_config(name).expect("checked to be there")["chat_template"]
                    .as_str()
                    .expect("a string")
                    .to_owned(),
                None => std::fs::read_to_string(shared(path).expect("checked to be there"))
                    .expect("readable"),
            };
            ChatTemplate::new(path, &source).expect("parses")
        });
        let conversation = case["conversation"].as_str().expect("a string");
        let messages = conversations[conversation].clone();
        let messages: Vec<Message> = serde_json::from_value(messages).expect("JSON");
        let number = case["options"].as_u64().expect("a number") as usize;
        let options = options(&expected["options"][number], expected["tokens"].get(path));
        let found = template.render(&messages, &options);
        let label = format!("{path}, {conversation}, options {number}");
        let right = match (&found, case.get("lines"), case.get("refused")) {
            (Ok(text), Some(lines), _) => hashes(text) == lines.as_str().expect("a string"),
            (Err(Error::Refused { message, .. }), _, Some(hash)) => {
                hashes(message) == hash.as_str().expect("a string")
            }
            (Err(Error::Template { .. }), None, None) => true,
            // Transformers drops a null content, on which some templates fail;
            // here it is empty.
            (Ok(_), None, None) => conversation == "call",
            _ => false,
        };
        if !right {
            wrong.push(format!("{label}: {found:?}"));
        }
        n_texts += usize::from(found.is_ok());
        if let Some(expected) = case.get("ids") {
            let name = path.strip_prefix("tokenizers/").expect("must work");
            let tokenizer = tokenizers
                .entry(name)
                .or_insert_with(|| shared_tokenizer(name).expect("checked to be there"));
            let found = encode_chat(tokenizer, template, &messages, &options).expect("encodes");
            if found != ids(expected) {
                wrong.push(format!("{label}: ids {found:?}, expected {expected}"));
            }
            n_ids += 1;
        }
    }
    assert!(
        wrong.is_empty(),
        "{} differ:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    assert!(
        n_texts > 800 && n_ids >= 100,
        "{n_texts} texts and {n_ids} lists of ids were compared"
    );
}

#[test]
fn a_config_names_its_template_once_or_by_name() {
    let source = |json: Value| ChatTemplate::source_in(&json).map(str::to_owned);
    assert_eq!(source(json!({"chat_template": "a"})).as_deref(), Some("a"));
    let named = json!([{"name": "rag", "template": "b"}, {"name": "default", "template": "c"}]);
    assert_eq!(
        source(json!({"chat_template": named})).as_deref(),
        Some("c")
    );
    assert_eq!(
        source(json!({"chat_template": [{"name": "rag", "template": "b"}]})),
        None
    );
    assert_eq!(source(json!({})), None);
}

#[test]
fn the_fallback_template_frames_every_turn() {
    let template = ChatTemplate::new("fallback", FALLBACK).expect("parses");
    let messages = [
        Message::new("user", " Hi\n"),
        Message::new("assistant", "Yes?"),
    ];
    let mut options = RenderOptions::default();
    let text = template.render(&messages, &options).expect("renders");
    assert_eq!(
        text,
        "### user:\n Hi\n\n\n### assistant:\nYes?\n\n### assistant:\n"
    );
    options.add_generation_prompt = false;
    let text = template.render(&messages[..1], &options).expect("renders");
    assert_eq!(text, "### user:\n Hi\n\n\n");
}

#[test]
fn a_refusal_is_told_in_the_templates_words() {
    let template = ChatTemplate::new(
        "strict",
        "\n\n{{ raise_exception('no ' ~ messages[0].role) }}",
    )
    .expect("parses");
    let error = template
        .render(&[Message::new("system", "")], &RenderOptions::default())
        .expect_err("must be refused");
    assert_eq!(
        error.to_string(),
        "chat template strict refuses this conversation: no system"
    );
    let template = ChatTemplate::new("broken", "\n\n{{ messages[9].role }}").expect("parses");
    let error = template
        .render(&[Message::new("system", "")], &RenderOptions::default())
        .expect_err("must be refused");
    assert!(
        error
            .to_string()
            .starts_with("chat template broken, line 3: undefined value"),
        "{error}"
    );
    let error = ChatTemplate::new("broken", "a\n{% if %}").expect_err("must be refused");
    assert!(
        error
            .to_string()
            .starts_with("chat template broken, line 2: syntax error"),
        "{error}"
    );
}

#[test]
fn the_date_is_the_clocks_unless_it_is_given() {
    let template = ChatTemplate::new("date", "{{ strftime_now('%Y') }}").expect("parses");
    let render = |now| {
        let options = RenderOptions {
            now,
            ..RenderOptions::default()
        };
        template.render(&[], &options).expect("renders")
    };
    for (now, year) in [
        (0, "1970"),
        (-1, "1969"),
        (951_782_400, "2000"),
        (4_102_444_799, "2099"),
    ] {
        assert_eq!(render(Some(now)), year);
    }
    assert!(render(None).parse::<u32>().expect("renders") >= 2024);
}

#[test]
fn messages_read_as_other_programs_write_them() {
    let json = r#"[{"role":"assistant","content":null,"tool_calls":[{"id":"1"}],"name":"x"},{"role":"user"}]"#;
    let messages: Vec<Message> = serde_json::from_str(json).expect("JSON");
    assert_eq!(messages[0].content, "");
    assert_eq!(messages[0].extra.len(), 2);
    assert_eq!(messages[1], Message::new("user", ""));
    assert!(serde_json::from_str::<Message>(r#"{"role":"user","content":[1]}"#).is_err());
    assert!(serde_json::from_str::<Message>(r#"{"content":"no role"}"#).is_err());
}
