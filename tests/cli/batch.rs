//! `deputy generate --prompts`.

use serde_json::Value;

use crate::program::{Folder, cpu, cpu_with_input, fixture, ids, joined};

const PROMPTS: [&str; 5] = ["the cat", "the", "a dog sat on the mat and", "the cat", "x"];

fn json_lines(stdout: &str) -> Vec<Value> {
    let parse = |line| serde_json::from_str(line).expect("is JSON");
    stdout.lines().map(parse).collect()
}

#[test]
fn each_line_of_a_file_gets_the_answer_that_it_gets_alone() {
    let folder = Folder::new("batch");
    // Empty lines are none, and a file from Windows is one as well.
    let file = folder.write("prompts.txt", PROMPTS.join("\r\n\n") + "\n\n");
    let model = fixture("llama-gqa-tied");
    let common = ["-n", "8", "--temp", "0.9", "--seed", "3", "--ignore-eos"];
    let single: Vec<Value> = PROMPTS
        .iter()
        .map(|prompt| {
            let args = ["generate", &model, "-p", prompt, "--json"];
            cpu(&[&args[..], &common].concat()).json()
        })
        .collect();
    for batch in ["1", "3", "8"] {
        let args = ["generate", &model, "--prompts", &file, "--batch", batch];
        let args = [&args[..], &common].concat();
        let run = cpu(&[&args[..], &["--json"]].concat());
        let summary = run.stderr.lines().last().unwrap_or_default().to_owned();
        assert!(summary.starts_with("5 prompts, "), "{summary}");
        assert!(summary.contains("40 tokens in"), "{summary}");
        assert!(summary.ends_with("tok/s in all"), "{summary}");
        let got = json_lines(&run.ok());
        assert_eq!(got.len(), PROMPTS.len());
        for ((got, want), prompt) in got.iter().zip(&single).zip(PROMPTS) {
            assert_eq!(got["prompt"], prompt);
            for key in ["text", "ids", "stop", "prompt_tokens"] {
                assert_eq!(
                    got[key], want[key],
                    "{key} of {prompt:?}, {batch} at a time"
                );
            }
        }
        let shown = cpu(&args).ok();
        let want = single.iter().zip(PROMPTS);
        let want: Vec<String> = want
            .map(|(answer, prompt)| {
                format!("{prompt}{}\n", answer["text"].as_str().expect("a text"))
            })
            .collect();
        assert_eq!(shown, want.join("\n"));
        let shown = cpu(&[&args[..], &["--ids"]].concat()).ok();
        let want = single.iter().map(|answer| joined(&ids(&answer["ids"])));
        assert_eq!(shown.lines().collect::<Vec<_>>(), want.collect::<Vec<_>>());
    }
    let args = ["generate", &model, "--prompts", "-", "--json"];
    let args = [&args[..], &common].concat();
    let got = json_lines(&cpu_with_input(&args, "the cat\nthe").ok());
    assert_eq!(got[1]["ids"], single[1]["ids"]);
}

#[test]
fn prompts_that_cannot_be_are_refused() {
    let folder = Folder::new("batch-refused");
    let model = fixture("llama-gqa-tied");
    let refused = |text: &str, words: &str| {
        let file = folder.write("prompts.txt", text);
        let got = cpu(&["generate", &model, "--prompts", &file, "--ctx", "8"]);
        let error = got.error(1);
        assert!(error.contains(words), "{error}");
    };
    refused(
        "",
        "prompts.txt: expected a prompt on each line, found none",
    );
    refused("\n\n", "expected a prompt on each line");
    refused(
        "the\n\nthe cat sat on the mat and the dog sat on the cat",
        "prompts.txt: line 3: expected fewer than the context's 8 tokens",
    );
    let got = cpu(&["generate", &model, "--prompts", &folder.name("nowhere")]);
    assert!(got.error(1).contains("nowhere"), "{}", got.stderr);
    for args in [
        &["--batch", "4", "-p", "x"][..],
        &["--prompts", "x", "--batch", "0"],
        &["--prompts", "x", "-p", "x"],
        &["--prompts", "x", "--prompt-ids", "1"],
    ] {
        let got = cpu(&[&["generate", &model], args].concat());
        assert_eq!(got.code, Some(2), "{args:?}: {}", got.stderr);
        assert!(got.stderr.contains("'--help'"), "{args:?}: {}", got.stderr);
    }
}
