use crate::program::{cpu, cpu_with_input, fixture, fixture_path, ids, keys, read_json};

#[test]
fn chat_answers_each_line_of_its_input() {
    let model = fixture("llama-gqa-tied");
    let args = ["chat", &model, "--temp", "0", "-n", "6", "--json"];
    let got = cpu_with_input(&args, "Who lit the lamp?\n\nand the fish?\n").json();
    let turns = got["turns"].as_array().expect("a list");
    assert_eq!(turns.len(), 2, "{got}");

    // What the conversation should be at each turn, by another way.
    let answer = turns[0]["text"].as_str().expect("a text");
    let messages = serde_json::json!([
        {"role": "user", "content": "Who lit the lamp?"},
        {"role": "assistant", "content": answer},
        {"role": "user", "content": "and the fish?"},
    ]);
    let prompt = cpu_with_input(
        &["template", &model, "--messages", "-", "--json"],
        &messages.to_string(),
    )
    .json();
    assert_eq!(turns[1]["prompt_tokens"], ids(&prompt["ids"]).len());
    let ids_text = crate::program::joined(&ids(&prompt["ids"]));
    let alone = cpu(&[
        "generate",
        &model,
        "--prompt-ids",
        &ids_text,
        "--temp",
        "0",
        "-n",
        "6",
        "--json",
    ])
    .json();
    assert_eq!(turns[1]["ids"], alone["ids"]);
}

#[test]
fn chat_keeps_the_cache_between_turns() {
    let got = cpu_with_input(
        &["chat", &fixture("llama-gqa-tied"), "--temp", "0", "-n", "6"],
        "Who?\nand the fish?\n",
    );
    let summaries: Vec<&str> = got
        .stderr
        .lines()
        .filter(|line| line.contains("prompt tokens"))
        .collect();
    assert_eq!(summaries.len(), 2, "{}", got.stderr);
    assert!(!summaries[0].contains("cached"), "{}", summaries[0]);
    assert!(summaries[1].contains("cached"), "{}", summaries[1]);
    assert_eq!(got.ok().lines().count(), 2, "an answer a line");
}

#[test]
fn chat_answers_one_prompt_as_transformers_does() {
    for name in ["llama-gqa-tied", "mistral-window", "qwen3"] {
        let golden = read_json(&fixture_path(name).join("golden.json"));
        let cases = golden["cases"].as_array().expect("a list");
        let case = cases
            .iter()
            .find(|case| case["messages"].is_array())
            .expect("a conversation");
        let file = std::env::temp_dir().join(format!(
            "deputy-messages-{name}-{}.json",
            std::process::id()
        ));
        std::fs::write(&file, case["messages"].to_string()).expect("can be written");
        let rendered = cpu(&[
            "template",
            &fixture(name),
            "--messages",
            file.to_str().expect("UTF-8"),
            "--json",
        ])
        .json();
        std::fs::remove_file(&file).expect("can be removed");
        assert_eq!(keys(&rendered), ["text", "ids"]);
        assert_eq!(rendered["text"], case["rendered"], "{name}");
        assert_eq!(rendered["ids"], case["prompt_ids"], "{name}");
    }
}

#[test]
fn chat_json_has_the_keys_of_generate() {
    let args = [
        "chat",
        &fixture("qwen3"),
        "-p",
        "Who lit the lamp?",
        "-n",
        "4",
        "--json",
    ];
    let documented = [
        "text",
        "ids",
        "stop",
        "prompt_tokens",
        "prefill_tps",
        "decode_tps",
        "ttft_ms",
        "drafted",
        "accepted",
    ];
    assert_eq!(keys(&cpu(&args).json()), documented);
}

#[test]
fn a_system_prompt_comes_before_the_conversation() {
    let model = fixture("qwen3");
    let n = |more: &[&str]| {
        let args = [&["chat", &model, "-p", "Who?", "-n", "1", "--json"], more].concat();
        cpu(&args).json()["prompt_tokens"]
            .as_u64()
            .expect("a number")
    };
    let message = |role: &str| serde_json::json!([{"role": role, "content": "a lamp"}]).to_string();
    let template = |role| {
        let args = [
            "template",
            &model,
            "--messages",
            "-",
            "--json",
            "--no-generation-prompt",
        ];
        ids(&cpu_with_input(&args, &message(role)).json()["ids"]).len() as u64
    };
    assert_eq!(n(&["-s", "a lamp"]), n(&[]) + template("system"));
}

#[test]
fn control_tokens_in_a_message_are_text() {
    let model = fixture("qwen3");
    let render = |content: &str| {
        let messages = serde_json::json!({"messages": [{"role": "user", "content": content}]});
        ids(&cpu_with_input(
            &["template", &model, "--messages", "-", "--json"],
            &messages.to_string(),
        )
        .json()["ids"])
    };
    let control = ids(&cpu(&[
        "tokenize",
        &model,
        "--special",
        "-p",
        "<|im_end|>",
        "--json",
    ])
    .json()["ids"])[0];
    let n = |content| render(content).iter().filter(|&&id| id == control).count();
    assert_eq!(n("Who?"), 1, "the template's own");
    assert_eq!(n("Who?<|im_end|>"), 1);
}

#[test]
fn chat_works_without_a_chat_template() {
    let folder = crate::program::Folder::new("no-template");
    let model = folder.model("qwen3", |_| ());
    std::fs::remove_file(folder.path("qwen3/chat_template.jinja")).expect("was there");
    let got = cpu(&["chat", &model, "-p", "Who?", "-n", "4", "--json"]).json();
    let n = got["prompt_tokens"].as_u64().expect("a number");
    let text = "### user:\nWho?\n\n### assistant:\n";
    assert_eq!(
        ids(&cpu(&["tokenize", &model, "-p", text, "--json"]).json()["ids"]).len() as u64,
        n
    );
}

#[test]
fn a_conversation_that_does_not_fit_is_refused_with_the_numbers() {
    let long = "the boy lit the lamp ".repeat(40);
    let got = cpu(&["chat", &fixture("qwen3"), "-p", &long]);
    let error = got.error(1);
    assert!(
        error.contains("128 positions") && error.contains("--ctx"),
        "{error}"
    );
}

#[test]
fn a_full_context_is_said_with_its_size() {
    let got = cpu(&[
        "chat",
        &fixture("qwen3"),
        "-p",
        "Who?",
        "--ignore-eos",
        "--ctx",
        "40",
    ]);
    assert!(
        got.stderr.contains("the context of 40 tokens is full"),
        "{}",
        got.stderr
    );
    got.ok();
}
