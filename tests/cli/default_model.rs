//! What a person gets who has nothing but the program.

use crate::program::{cpu, cpu_with_input, run};

const TURNS: &str = "What is the capital of France?\nAnd of Italy?\n";

/// `deputy` and `deputy chat` are a conversation; the second turn needs the first.
#[test]
fn without_arguments_the_program_talks() {
    for args in [&["--seed", "1"][..], &["chat", "--seed", "1"]] {
        let got = cpu_with_input(args, TURNS).ok();
        let lines: Vec<&str> = got.lines().collect();
        assert_eq!(lines.len(), 2, "{got}");
        assert!(lines[0].contains("Paris"), "{got}");
        assert!(lines[1].contains("Rome"), "{got}");
    }
}

#[test]
fn commands_without_a_model_take_the_one_that_is_compiled_in() {
    let routes = cpu(&[
        "routes",
        "-p",
        "Hello, how are you today?",
        "--effort",
        "0.3",
        "--json",
    ])
    .json();
    let compute = routes["routes"]["compute"].as_f64().unwrap();
    assert!(compute < 1.0, "{routes}");
    let inspected = cpu(&["inspect", "--json"]).json();
    assert!(inspected["sidecar"].is_object(), "{inspected}");
    let timed = cpu(&["bench", "-p", "8", "-n", "2", "-r", "1"]).ok();
    assert!(timed.contains("the default model"), "{timed}");
    let told = cpu(&[
        "generate",
        "-p",
        "Once upon",
        "-n",
        "4",
        "--temp",
        "0",
        "--json",
    ])
    .json();
    assert_eq!(told["ids"].as_array().unwrap().len(), 4);
    let ids = cpu(&["tokenize", "-p", "Hello"]).ok();
    assert!(!ids.trim().is_empty());
}

/// Its makers' sampling is that of `generation_config.json`, unless another is asked for.
#[test]
fn a_seed_makes_an_answer_again() {
    let story = |seed| {
        run(&[
            "chat",
            "-p",
            "Tell me a story about a dog.",
            "--seed",
            seed,
            "--device",
            "cpu",
        ])
        .ok()
    };
    assert_eq!(story("3"), story("3"));
    assert_ne!(story("3"), story("4"), "drawn, not greedy");
}
