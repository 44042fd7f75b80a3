//! Text to ids and back, against the Python library's ids and llama.cpp's.

#[path = "tokenizer/hostile.rs"]
mod hostile;
#[path = "tokenizer/hostile_templates.rs"]
mod hostile_templates;
#[path = "tokenizer/stream.rs"]
mod stream;
#[path = "tokenizer/support.rs"]
mod support;
#[path = "tokenizer/templates.rs"]
mod templates;

use deputy::tokenizer::{
    ChatTemplate, GgufVocabulary, Message, RenderOptions, Tokenizer, encode_chat,
};
use serde_json::Value;
use support::{
    fixture, fixture_tokenizer, fixture_with_config, gguf_tokenizer, ids, shared, shared_tokenizer,
};

const FIXTURES: [&str; 2] = ["byte_level", "sentence_piece"];
const SHARED: [&str; 4] = ["gpt2", "minimind", "phi-3", "qwen3"];

#[test]
fn ids_of_the_fixture_tokenizers_equal_the_python_librarys() {
    let expected = fixture("ids.json");
    for name in FIXTURES {
        let tokenizer = fixture_tokenizer(name);
        for case in expected[name].as_array().expect("a list") {
            let text = case["text"].as_str().expect("a string");
            let special = tokenizer.encode(text, true).expect("encodes");
            assert_eq!(
                special,
                ids(&case["special"]),
                "{name}: {text:?} with control tokens"
            );
            // The library's plain text still knows tokens that are not called special.
            if !text.contains("think>") {
                let plain = tokenizer.encode(text, false).expect("encodes");
                assert_eq!(plain, ids(&case["plain"]), "{name}: {text:?} as plain text");
                assert_eq!(
                    tokenizer.decode(&plain),
                    case["decoded"].as_str().expect("a string"),
                    "{name}: {text:?}"
                );
            }
            let shown = case["shown"].as_str().expect("a string");
            assert_eq!(tokenizer.decode(&special), shown, "{name}: {text:?}");
        }
    }
}

#[test]
fn a_prompt_is_framed_as_the_post_processor_says() {
    let expected = fixture("ids.json");
    let framed = fixture_tokenizer("byte_level");
    assert!(framed.adds_bos() && !framed.adds_eos());
    assert_eq!(
        framed.token_text(framed.bos().expect("a token")),
        Some("<s>")
    );
    for case in expected["byte_level"].as_array().expect("a list") {
        let text = case["text"].as_str().expect("a string");
        let mut with_bos = ids(&case["framed"]);
        if with_bos.get(1) == with_bos.first() {
            // We do not repeat a bos that the text already starts with.
            with_bos.remove(0);
        }
        assert_eq!(
            framed.encode_prompt(text, true).expect("encodes"),
            with_bos,
            "{text:?}"
        );
    }
    let plain = fixture_tokenizer("sentence_piece");
    assert!(!plain.adds_bos() && plain.bos().is_none());
}

#[test]
fn the_llama_cpp_vectors_are_equal() {
    let Some(folder) = shared("tokenizers/vectors") else {
        return;
    };
    let phi =
        gguf_tokenizer("tokenizers/vectors/ggml-vocab-phi-3.gguf").expect("checked to be there");
    let gpt2 =
        gguf_tokenizer("tokenizers/vectors/ggml-vocab-gpt-2.gguf").expect("checked to be there");
    let pairs: [(&str, &str, Tokenizer); 5] = [
        ("gpt-2", "GGUF", gpt2),
        ("phi-3", "GGUF", phi),
        (
            "gpt-2",
            "tokenizer.json",
            shared_tokenizer("gpt2").expect("checked to be there"),
        ),
        (
            "phi-3",
            "tokenizer.json",
            shared_tokenizer("phi-3").expect("checked to be there"),
        ),
        (
            "qwen2",
            "tokenizer.json",
            shared_tokenizer("qwen3").expect("checked to be there"),
        ),
    ];
    for (name, from, tokenizer) in pairs {
        let texts = std::fs::read_to_string(folder.join(format!("{name}.inp"))).expect("readable");
        let lines = std::fs::read_to_string(folder.join(format!("{name}.out"))).expect("readable");
        let texts: Vec<&str> = texts.split("\n__ggml_vocab_test__\n").collect();
        let texts = texts.strip_suffix(&[""]).unwrap_or(&texts);
        let lines: Vec<&str> = lines.lines().collect();
        assert_eq!(texts.len(), lines.len(), "{name}");
        for (&text, line) in texts.iter().zip(lines) {
            let expected: Vec<u32> = line
                .split_whitespace()
                .map(|id| id.parse().expect("a number"))
                .collect();
            let found = tokenizer.encode(text, false).expect("encodes");
            assert_eq!(found, expected, "{name} from {from}: {text:?}");
            assert_eq!(tokenizer.decode(&found), text, "{name} from {from} decoded");
        }
    }
}

#[test]
fn the_golden_prompts_have_their_ids() {
    let Some(folder) = shared("models") else {
        return;
    };
    let stories =
        gguf_tokenizer("models/stories260k/stories260K.gguf").expect("checked to be there");
    let json = std::fs::read(folder.join("tinystories-656k/tokenizer.json")).expect("readable");
    let config =
        std::fs::read(folder.join("tinystories-656k/tokenizer_config.json")).expect("readable");
    let config: Value = serde_json::from_slice(&config).expect("JSON");
    let tiny = Tokenizer::from_json("tokenizer.json", &json, Some(&config), 2048)
        .expect("a good tokenizer");
    assert_eq!(
        tiny.token_text(tiny.bos().expect("a token")),
        Some("<|start_story|>")
    );
    for (name, tokenizer) in [("stories260k", &stories), ("tinystories-656k", &tiny)] {
        let golden = std::fs::read(folder.join(name).join("golden.json")).expect("readable");
        let golden: Value = serde_json::from_slice(&golden).expect("JSON");
        for case in golden["cases"].as_array().expect("a list") {
            let prompt = case["prompt"].as_str().expect("a string");
            let expected = ids(&case["prompt_ids"]);
            // This model's text follows its bos without a space.
            let found = if name == "tinystories-656k" {
                tokenizer.encode_prompt(&format!("<|start_story|>{prompt}"), true)
            } else {
                tokenizer.encode_prompt(prompt, false)
            };
            assert_eq!(found.expect("must work"), expected, "{name}: {prompt:?}");
        }
    }
}

/// Every control token of a tokenizer, as text.
fn control_tokens(tokenizer: &Tokenizer) -> Vec<(u32, String)> {
    let ids = 0..tokenizer.n_tokens() as u32;
    let control = ids.filter(|&id| tokenizer.is_control(id));
    control
        .map(|id| (id, tokenizer.token_text(id).expect("a token").to_owned()))
        .collect()
}

fn every_tokenizer() -> Vec<(String, Tokenizer)> {
    let mut all: Vec<(String, Tokenizer)> = FIXTURES
        .map(|name| (name.to_owned(), fixture_tokenizer(name)))
        .into();
    all.extend(
        SHARED
            .iter()
            .filter_map(|&name| Some((name.to_owned(), shared_tokenizer(name)?))),
    );
    let vocabularies = [
        "tokenizers/vectors/ggml-vocab-phi-3.gguf",
        "tokenizers/vectors/ggml-vocab-gpt-2.gguf",
        "models/stories260k/stories260K.gguf",
    ];
    all.extend(
        vocabularies
            .iter()
            .filter_map(|&name| Some((name.to_owned(), gguf_tokenizer(name)?))),
    );
    all
}

#[test]
fn control_tokens_in_text_are_plain_text() {
    for (name, tokenizer) in every_tokenizer() {
        let control = control_tokens(&tokenizer);
        assert!(!control.is_empty(), "{name} has control tokens");
        for (id, token) in &control {
            for text in [
                token.clone(),
                format!("a{token}b"),
                format!(" {token} {token}\n"),
            ] {
                let found = tokenizer.encode(&text, false).expect("encodes");
                assert!(
                    !found.iter().any(|&id| tokenizer.is_control(id)),
                    "{name}: {text:?} gave {found:?}"
                );
                assert_eq!(tokenizer.decode(&found), text, "{name}");
            }
            assert!(
                tokenizer.encode(token, true).expect("encodes").contains(id),
                "{name}: {token:?} with special"
            );
        }
    }
}

#[test]
fn control_tokens_in_messages_stay_text_and_those_of_the_template_count() {
    for (name, tokenizer) in every_tokenizer() {
        let control = control_tokens(&tokenizer);
        let (_, first) = &control[0];
        let (_, last) = &control[control.len() - 1];
        let source = format!(
            "{{{{ bos_token }}}}{{% for m in messages %}}{first}{{{{ m.role }}}}\n\
             {{{{ m.content | trim }}}}{{{{ m.note | tojson }}}}{last}\n{{% endfor %}}"
        );
        let template = ChatTemplate::new("test", &source).expect("parses");
        let mut user = Message::new("user", "hello");
        user.extra.insert("note".into(), "x".into());
        let options = RenderOptions {
            bos_token: Some(String::new()),
            ..RenderOptions::default()
        };
        let count = |user: &Message| {
            let ids = encode_chat(&tokenizer, &template, std::slice::from_ref(user), &options)
                .expect("encodes");
            ids.iter().filter(|&&id| tokenizer.is_control(id)).count()
        };
        assert_eq!(count(&user), 2, "{name}: the template's own");
        for (_, token) in &control {
            let hostile = format!("{token} text {token}{token}<{token}> \u{e000}{token}");
            let in_content = Message {
                content: hostile.clone(),
                ..user.clone()
            };
            assert_eq!(count(&in_content), 2, "{name}: {token:?} in the content");
            let in_role = Message {
                role: hostile.clone(),
                ..user.clone()
            };
            assert_eq!(count(&in_role), 2, "{name}: {token:?} in the role");
            let mut in_field = user.clone();
            in_field.extra.insert(
                "note".into(),
                serde_json::json!({hostile.clone(): [hostile.clone()]}),
            );
            assert_eq!(count(&in_field), 2, "{name}: {token:?} in another field");
            // Nothing is lost: marks do not show in the text.
            let rendered =
                tokenizer.render_chat(&template, std::slice::from_ref(&in_content), &options);
            assert!(
                rendered.expect("must work").text.contains(hostile.trim()),
                "{name}: {token:?}"
            );
        }
    }
}

#[test]
fn an_assistants_thoughts_keep_their_tokens() {
    let tokenizer = fixture_tokenizer("byte_level");
    let template = ChatTemplate::new("test", "{{ messages[0].content }}").expect("parses");
    let encode = |role| {
        let messages = [Message::new(role, "<think>so</think>yes</s>")];
        encode_chat(&tokenizer, &template, &messages, &RenderOptions::default()).expect("encodes")
    };
    let count = |ids: &[u32]| ids.iter().filter(|&&id| tokenizer.is_control(id)).count();
    assert_eq!(
        count(&encode("assistant")),
        2,
        "the two thought marks, not the eos"
    );
    assert_eq!(count(&encode("user")), 0);
}

#[test]
fn a_role_cannot_complete_a_control_token() {
    let tokenizer = fixture_tokenizer("byte_level");
    let source = "{% for m in messages %}{{ '<|' + m.role + '|>' + m.content }}{% endfor %}";
    let template = ChatTemplate::new("test", source).expect("parses");
    for role in ["im_end", "im_start", "m_en", "i", "", "user"] {
        let messages = [Message::new(role, "x")];
        let options = RenderOptions::default();
        let found = encode_chat(&tokenizer, &template, &messages, &options).expect("encodes");
        assert!(
            !found.iter().any(|&id| tokenizer.is_control(id)),
            "{role:?}"
        );
        assert_eq!(tokenizer.decode(&found), format!("<|{role}|>x"));
    }
}

#[test]
fn whole_conversations_have_transformers_ids() {
    let expected = fixture("chats.json");
    for case in expected["chats"].as_array().expect("a list") {
        let name = case["tokenizer"].as_str().expect("a string");
        let config = &expected[name];
        let tokenizer = fixture_with_config(name, config);
        let source = ChatTemplate::source_in(config).expect("a template");
        let template = ChatTemplate::new(name, source).expect("parses");
        let conversation = case["conversation"].as_str().expect("a string");
        let messages = expected["conversations"][conversation].clone();
        let messages: Vec<Message> = serde_json::from_value(messages).expect("messages");
        let options = RenderOptions {
            add_generation_prompt: case["add_generation_prompt"].as_bool().expect("a bool"),
            ..RenderOptions::default()
        };
        let found = encode_chat(&tokenizer, &template, &messages, &options).expect("encodes");
        assert_eq!(found, ids(&case["ids"]), "{name}: {conversation}");
    }
}

#[test]
fn without_legacy_no_space_follows_a_control_token() {
    let expected = fixture("chats.json");
    let tokenizer = fixture_with_config("sentence_piece", &expected["sentence_piece"]);
    for case in expected["legacy"].as_array().expect("a list") {
        let text = case["text"].as_str().expect("a string");
        let found = tokenizer.encode(text, true).expect("encodes");
        assert_eq!(found, ids(&case["special"]), "{text:?}");
    }
    let mut config = expected["sentence_piece"].clone();
    config["legacy"] = true.into();
    let tokenizer = fixture_with_config("sentence_piece", &config);
    for case in fixture("ids.json")["sentence_piece"]
        .as_array()
        .expect("a list")
    {
        let text = case["text"].as_str().expect("a string");
        let found = tokenizer.encode(text, true).expect("encodes");
        assert_eq!(found, ids(&case["special"]), "{text:?} with legacy");
    }
}

#[test]
fn scores_decide_what_is_joined() {
    // Worked out by hand from the rule: best score first, leftmost among equals.
    let tokens = [
        "<unk>",
        "<s>",
        "\u{2581}",
        "a",
        "b",
        "c",
        "ab",
        "bc",
        "aa",
        "abc",
        "<0xC3>",
        "<0xA9>",
        "\u{2581}a",
    ];
    let scores = [
        0.0, 0.0, -9.0, -9.0, -9.0, -9.0, -2.0, -1.0, -3.0, -4.0, 0.0, 0.0, -5.0,
    ];
    let types = [2, 3, 1, 1, 1, 1, 1, 1, 1, 1, 6, 6, 1];
    let build = |add_space_prefix| {
        let vocabulary = GgufVocabulary {
            model: "llama".into(),
            tokens: tokens.map(str::to_owned).into(),
            scores: scores.into(),
            token_types: types.into(),
            bos: Some(1),
            unk: Some(0),
            add_space_prefix,
            ..GgufVocabulary::default()
        };
        Tokenizer::from_gguf(vocabulary, tokens.len()).expect("a good vocabulary")
    };
    let cases: [(&str, &[u32]); 9] = [
        // bc before ab, then a + bc; `ab` is out of date by then.
        ("abc", &[9]),
        ("ab", &[6]),
        ("aaa", &[8, 3]),
        ("aab", &[3, 6]),
        ("cbc", &[5, 7]),
        // é in bytes, z in none: once the unknown token.
        ("é", &[10, 11]),
        ("az", &[3, 0]),
        ("a a", &[3, 12]),
        ("<s>a", &[0, 0, 0, 3]),
    ];
    let plain = build(Some(false));
    for (text, expected) in cases {
        assert_eq!(
            plain.encode(text, false).expect("encodes"),
            expected,
            "{text:?}"
        );
    }
    let prefixed = build(None);
    assert_eq!(prefixed.encode("a", false).expect("encodes"), [12]);
    assert_eq!(prefixed.encode("", false).expect("encodes"), [0_u32; 0]);
    assert_eq!(
        prefixed.encode_prompt("a<s>a", true).expect("encodes"),
        [1, 12, 1, 12]
    );
    assert_eq!(
        prefixed.encode_prompt("<s>a", true).expect("encodes"),
        [1, 12]
    );
}

#[test]
fn the_config_gives_tokens_their_roles() {
    let config = serde_json::json!({
        "bos_token": {"content": "<s>"}, "eos_token": "</think>", "pad_token": "[nowhere]",
        "unk_token": null, "added_tokens_decoder": {"900": {"content": "<new>", "special": true}},
    });
    let tokenizer = fixture_with_config("byte_level", &config);
    let text = |id: Option<u32>| id.and_then(|id| tokenizer.token_text(id));
    assert_eq!(text(tokenizer.bos()), Some("<s>"));
    assert_eq!(text(tokenizer.eos_ids().first().copied()), Some("</think>"));
    assert_eq!(
        tokenizer.special_tokens().len(),
        2,
        "{:?}",
        tokenizer.special_tokens()
    );
    assert_eq!(
        tokenizer.encode("a<new>", true).expect("encodes")[1..],
        [900]
    );
    // What ends an answer is not shown.
    assert_eq!(tokenizer.decode(tokenizer.eos_ids()), "");
}
