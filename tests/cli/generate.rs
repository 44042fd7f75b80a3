use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use crate::program::{
    Folder, command, cpu, cpu_with_input, fixture, fixture_path, ids, joined, keys, read_json, run,
    shared,
};
use serde_json::Value;

#[test]
fn generate_continues_as_transformers_does() {
    for name in ["llama-gqa-tied", "mistral-window", "qwen3"] {
        let golden = read_json(&fixture_path(name).join("golden.json"));
        let gguf = fixture_path(name)
            .join("model.gguf")
            .exists()
            .then(|| fixture(&format!("{name}/model.gguf")));
        for model in [Some(fixture(name)), gguf].into_iter().flatten() {
            for case in golden["cases"].as_array().expect("a list") {
                let expected = ids(&case["greedy_ids"]);
                let prompt_ids = joined(&ids(&case["prompt_ids"]));
                let prompt = match case["prompt"].as_str() {
                    Some(text) => ["-p", text],
                    None => ["--prompt-ids", &prompt_ids],
                };
                let got = cpu(&[
                    &["generate", &model, "--temp", "0", "-n", "32", "--json"],
                    &prompt[..],
                ]
                .concat())
                .json();
                assert_eq!(ids(&got["ids"]), expected, "{model} {prompt:?}");
                assert_eq!(got["stop"], case["stop"], "{model} {prompt:?}");
                assert_eq!(
                    got["prompt_tokens"],
                    ids(&case["prompt_ids"]).len(),
                    "{model} {prompt:?}"
                );
                // Hugging Face decodes the ids as a text of their own, which loses a leading space.
                let text = |value: &Value| {
                    value["text"]
                        .as_str()
                        .expect("text")
                        .trim_start()
                        .to_owned()
                };
                // Of bytes that are no UTF-8 it gives up whole runs, where the stream has shown some already.
                if name != "mistral-window" {
                    assert_eq!(text(&got), text(case), "{model} {prompt:?}");
                }
            }
        }
    }
}

#[test]
fn generate_gives_the_golden_ids_of_the_real_models() {
    for (folder, file, begin) in [
        ("models/tinystories-656k", "", "<|start_story|>"),
        ("models/stories260k", "stories260K.gguf", ""),
    ] {
        let Some(folder) = shared(folder) else { return };
        let model = folder.join(file);
        for case in read_json(&folder.join("golden.json"))["cases"]
            .as_array()
            .expect("a list")
        {
            let prompt = format!("{begin}{}", case["prompt"].as_str().expect("a text"));
            let args = ["generate", model.to_str().expect("UTF-8"), "-p", &prompt];
            let args = [
                &args[..],
                &["--temp", "0", "-n", "64", "--json", "--device", "cpu"],
            ]
            .concat();
            // The cache's type is the default here.
            let got = run(&args).json();
            assert_eq!(
                ids(&got["ids"]),
                ids(&case["greedy_ids"]),
                "{} {prompt:?}",
                model.display()
            );
        }
    }
}

#[test]
fn a_continuation_keeps_the_space_between_it_and_its_prompt() {
    let Some(model) = shared("models/stories260k/stories260K.gguf") else {
        return;
    };
    let model = model.to_str().expect("UTF-8");
    let got = cpu(&[
        "generate",
        model,
        "-p",
        "Once upon",
        "--temp",
        "0",
        "-n",
        "2",
    ])
    .ok();
    assert_eq!(got, " a time\n");
}

#[test]
fn generate_json_has_the_documented_keys() {
    let got = cpu(&[
        "generate",
        &fixture("qwen3"),
        "-p",
        "the boy",
        "-n",
        "5",
        "--json",
    ])
    .json();
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
        "cache",
    ];
    assert_eq!(keys(&got), documented);
    for number in ["prefill_tps", "decode_tps", "ttft_ms"] {
        assert!(got[number].as_f64().expect("a number") > 0.0, "{got}");
    }
}

#[test]
fn generate_prints_the_text_alone_and_says_the_rest_on_standard_error() {
    let args = [
        "generate",
        &fixture("qwen3"),
        "-p",
        "Once upon a time",
        "-n",
        "20",
        "--temp",
        "0",
    ];
    let expected = cpu(&[&args[..], &["--json"]].concat()).json();
    let got = cpu(&args);
    assert_eq!(
        got.stdout,
        format!("{}\n", expected["text"].as_str().expect("a text"))
    );
    for words in ["12 prompt tokens", "20 tokens", "tok/s", "length"] {
        assert!(got.stderr.contains(words), "{words}: {}", got.stderr);
    }
    assert!(!got.stderr.contains("plan for"), "{}", got.stderr);

    let verbose = cpu(&[&args[..], &["-v"]].concat());
    assert_eq!(verbose.stdout, got.stdout);
    for words in [
        "plan for 1 rows",
        "MatVec(Form { dtype: F32",
        "loaded onto CPU in",
        "pack ",
    ] {
        assert!(
            verbose.stderr.contains(words),
            "{words}: {}",
            verbose.stderr
        );
    }
}

#[test]
fn generate_reads_its_prompt_from_standard_input() {
    let args = ["generate", &fixture("qwen3"), "-n", "8", "--temp", "0"];
    let expected = cpu(&[&args[..], &["-p", "the boy lit"]].concat()).ok();
    assert_eq!(cpu_with_input(&args, "the boy lit").ok(), expected);
    assert_eq!(
        cpu_with_input(&[&args[..], &["-p", "-"]].concat(), "the boy lit").ok(),
        expected
    );
    let other = cpu_with_input(&args, "the lamp").ok();
    assert_ne!(other, expected, "the input counts");
}

#[test]
fn generate_prints_ids_where_they_are_asked_for_or_all_there_is() {
    let golden = read_json(&fixture_path("qwen3").join("golden.json"));
    let case = &golden["cases"][0];
    let prompt_ids = joined(&ids(&case["prompt_ids"]));
    let args = ["--prompt-ids", &prompt_ids, "-n", "32", "--temp", "0"];
    let model = fixture("qwen3");
    let got = cpu(&[&["generate", &model, "--ids"], &args[..]].concat()).ok();
    assert_eq!(got, format!("{}\n", joined(&ids(&case["greedy_ids"]))));
    let without_tokenizer = fixture("llama-bias");
    let got = cpu(&[
        "generate",
        &without_tokenizer,
        "--prompt-ids",
        "1, 2,3",
        "-n",
        "4",
        "--temp",
        "0",
    ])
    .ok();
    assert_eq!(got.trim_end().split(',').count(), 4, "{got}");
}

#[test]
fn control_tokens_count_in_a_completion_unless_it_is_plain() {
    let model = fixture("qwen3");
    let n = |args: &[&str]| {
        let args = [
            &[
                "generate",
                &model,
                "-n",
                "1",
                "--json",
                "-p",
                "<|im_start|>",
            ],
            args,
        ]
        .concat();
        cpu(&args).json()["prompt_tokens"]
            .as_u64()
            .expect("a number")
    };
    assert_eq!(n(&[]), 1);
    assert!(n(&["--plain"]) > 1);
}

#[test]
fn a_seed_decides_the_text() {
    let model = fixture("qwen3");
    let with = |seed: &str| {
        cpu(&[
            "generate", &model, "-p", "the", "-n", "20", "--temp", "1.5", "--seed", seed,
        ])
        .ok()
    };
    assert_eq!(with("1"), with("1"));
    assert_ne!(with("1"), with("2"));
    // Without one, the clock decides, and -v tells.
    let run = cpu(&[
        "generate", &model, "-p", "the", "-n", "20", "--temp", "1.5", "-v",
    ]);
    let seed = run
        .stderr
        .lines()
        .find_map(|line| line.strip_prefix("seed "))
        .expect("the seed is told");
    assert_eq!(with(seed), run.stdout);
}

#[test]
fn an_answer_ends_at_a_stop_string_an_end_token_or_the_context() {
    let model = fixture("qwen3");
    let args = ["generate", &model, "--temp", "0", "--json"];
    let with = |more: &[&str]| cpu(&[&args[..], more].concat()).json();
    let whole = with(&["-p", "Once upon a time", "-n", "32"]);
    let text = whole["text"].as_str().expect("a text");
    let stop = &text[text.char_indices().nth(4).expect("long enough").0..][..3];
    let stopped = with(&[
        "-p",
        "Once upon a time",
        "--stop",
        "never comes up",
        "--stop",
        stop,
    ]);
    assert_eq!(stopped["stop"], "stop");
    assert_eq!(stopped["text"].as_str(), text.split(stop).next());

    let ended = with(&["-p", "the boy lit the lamp"]);
    assert_eq!(
        (ended["stop"].as_str(), ids(&ended["ids"]).len()),
        (Some("eos"), 9)
    );
    let on = with(&["-p", "the boy lit the lamp", "--ignore-eos", "-n", "20"]);
    assert_eq!(
        (on["stop"].as_str(), ids(&on["ids"]).len()),
        (Some("length"), 20)
    );

    let full = with(&["-p", "the boy lit the lamp", "--ignore-eos", "--ctx", "16"]);
    assert_eq!(
        (full["stop"].as_str(), ids(&full["ids"]).len()),
        (Some("context_full"), 16 - 8 + 1)
    );
    let none = with(&["-p", "the", "-n", "0"]);
    assert_eq!(
        (none["stop"].as_str(), none["text"].as_str()),
        (Some("length"), Some(""))
    );
}

/// A model whose context is so long that an answer does not end by itself.
fn endless(folder: &Folder) -> Vec<String> {
    let model = folder.model("qwen3", |config| {
        config["max_position_embeddings"] = 1_000_000.into()
    });
    let args = [
        "generate",
        &model,
        "-p",
        "the",
        "--ignore-eos",
        "--ctx",
        "500000",
        "--device",
        "cpu",
    ];
    args.map(str::to_owned).to_vec()
}

#[test]
fn a_reader_that_leaves_ends_the_program_quietly() {
    let folder = Folder::new("pipe");
    let mut child = command(&endless(&folder))
        .spawn()
        .expect("the program starts");
    let mut stdout = child.stdout.take().expect("is piped");
    stdout.read_exact(&mut [0; 10]).expect("an answer begins");
    drop(stdout);
    let output = child.wait_with_output().expect("the program ends");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    assert_eq!(stderr, "");
}

/// As in `deputy … -v 2>&1 | head`.
#[cfg(unix)]
#[test]
fn a_reader_of_everything_that_leaves_ends_the_program_quietly() {
    let folder = Folder::new("pipe-all");
    let mut args = endless(&folder);
    args.push("-v".to_owned());
    let script = r#"{ "$@" 2>&1; echo "ended with $?" >&2; } | head -c 100"#;
    let mut shell = std::process::Command::new("sh");
    shell
        .args(["-c", script, "sh", env!("CARGO_BIN_EXE_deputy")])
        .args(&args);
    let output = shell.output().expect("sh is there");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "ended with 0\n");
}

#[cfg(unix)]
fn interrupt(child: &std::process::Child) {
    let kill = std::process::Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status();
    assert!(kill.expect("kill is there").success());
}

#[cfg(unix)]
#[test]
fn ctrl_c_ends_an_answer_and_keeps_what_there_is_of_it() {
    let folder = Folder::new("interrupt");
    for json in [false, true] {
        let mut args = endless(&folder);
        if json {
            args.extend(["--json", "-v"].map(str::to_owned));
        }
        let mut child = command(&args).spawn().expect("the program starts");
        let mut stdout = child.stdout.take().expect("is piped");
        let mut stderr = BufReader::new(child.stderr.take().expect("is piped"));
        if json {
            // The step behind the prompt's, so that there is a token.
            let mut line = String::new();
            while !line.starts_with("plan for 1 rows") {
                line.clear();
                assert_ne!(stderr.read_line(&mut line).expect("is text"), 0);
            }
        } else {
            stdout.read_exact(&mut [0; 10]).expect("an answer begins");
        }
        interrupt(&child);
        let mut rest = vec![];
        stdout.read_to_end(&mut rest).expect("can be read");
        let mut said = String::new();
        stderr.read_to_string(&mut said).expect("is text");
        let status = child.wait().expect("the program ends");
        assert_eq!(status.code(), Some(130), "{said}");
        assert!(said.contains("cancelled"), "{said}");
        assert!(!said.contains("error"), "{said}");
        if json {
            let value: Value = serde_json::from_slice(&rest).expect("is JSON");
            assert_eq!(value["stop"], "cancelled");
            assert!(!ids(&value["ids"]).is_empty());
        } else {
            assert_eq!(rest.last(), Some(&b'\n'));
        }
    }
}

#[test]
fn a_kernel_can_be_run_on_the_cpu_by_name() {
    let model = fixture("qwen3");
    let args = [
        "generate", &model, "-p", "the boy", "-n", "8", "--temp", "0",
    ];
    let expected = cpu(&args).ok();
    assert_eq!(
        cpu(&[&args[..], &["--cpu-kernel", "attention"]].concat()).ok(),
        expected
    );
}

#[test]
fn the_folder_may_be_given_by_one_of_its_files() {
    let args =
        |model: &str| cpu(&["generate", model, "-p", "the boy", "-n", "8", "--temp", "0"]).ok();
    let folder = fixture("qwen3");
    let file = Path::new(&folder).join("model.safetensors");
    assert_eq!(args(file.to_str().expect("UTF-8")), args(&folder));
}

/// Where the cache folder is depends on the system; this is where freedesktop's is.
#[cfg(target_os = "linux")]
#[test]
fn compiled_kernels_are_kept_in_the_cache_folder_unless_told_not_to() {
    if pollster::block_on(deputy::gpu::adapters()).is_empty() {
        let required = std::env::var("DEPUTY_GPU").is_ok_and(|value| value == "required");
        assert!(!required, "DEPUTY_GPU=required, and there is no adapter");
        eprintln!("skipped: there is no adapter");
        return;
    }
    let home = std::env::temp_dir().join(format!("deputy-cache-home-{}", std::process::id()));
    let model = fixture("llama-gqa-tied");
    let generate = |options: &[&str]| {
        let args = [
            "generate",
            &model,
            "--prompt-ids",
            "5,6,7",
            "-n",
            "3",
            "--temp",
            "0",
        ];
        let args = [&args[..], &["--device", "0"], options].concat();
        let output = command(&args).env("XDG_CACHE_HOME", &home).output();
        crate::program::Run::from(output.expect("the program starts")).ok()
    };
    let answer = generate(&["--no-cache"]);
    assert!(!home.join("deputy").exists());
    // Once into the empty folder, once from what is kept.
    assert_eq!(generate(&[]), answer);
    let n_files = || std::fs::read_dir(home.join("deputy")).map_or(0, Iterator::count);
    assert_eq!(n_files(), 2, "pipelines and constants");
    assert_eq!(generate(&["--checked"]), answer);
    assert_eq!(generate(&["--tune", "off"]), answer);
    assert_eq!(n_files(), 2);
    let _ = std::fs::remove_dir_all(&home);
}
