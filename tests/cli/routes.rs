//! `deputy routes`.

use std::fs;
use std::path::Path;

use deputy::graph::CacheMode;
use serde_json::{Value, json};

use crate::program::{Folder, cpu, cpu_with_input, fixture, keys};
use crate::sidecar::write_sidecar;

/// A tiny model with a sidecar.
fn routed(folder: &Folder) -> String {
    let model = folder.model("llama-gqa-tied", |_| {});
    write_sidecar(Path::new(&model), CacheMode::Dense);
    model
}

#[test]
fn routes_shows_the_path_of_each_token() {
    let folder = Folder::new("routes");
    let model = routed(&folder);
    let args = ["routes", &model, "-p", "the cat & \"<dog>\"\n"];
    let args = [&args[..], &["--routes", "layers:fl,ls"]].concat();
    let run = cpu(&args);
    let summary = run.stderr.lines().last().unwrap_or_default().to_owned();
    assert!(
        summary.contains("of the layers' multiply-adds"),
        "{summary}"
    );
    let text = run.ok();
    let lines: Vec<Vec<&str>> = text
        .lines()
        .map(|line| line.split_whitespace().rev().take(2).collect())
        .collect();
    assert_eq!(lines[0], ["1", "0"]);
    assert!(lines.len() > 5, "{text}");
    assert!(
        lines[1..].iter().all(|line| line == &["ls", "fl"]),
        "{text}"
    );
    let width = |line: &str| line.chars().count();
    let first = text.lines().next().map(width);
    assert!(
        text.lines().all(|line| Some(width(line)) == first),
        "{text}"
    );

    let json = cpu(&[&args[..], &["--json"]].concat()).json();
    assert_eq!(keys(&json), ["tokens", "routes"]);
    let tokens = json["tokens"].as_array().expect("a list");
    assert_eq!(tokens.len(), lines.len() - 1);
    assert_eq!(keys(&tokens[0]), ["id", "text", "layers"]);
    assert_eq!(tokens[4]["layers"], json!(["fl", "ls"]));
    let whole: String = tokens
        .iter()
        .filter_map(|token| token["text"].as_str())
        .collect();
    assert!(whole.contains("cat & \"<dog>\"\n"), "{whole:?}");
    for key in ["attention_low", "ffn_low", "ffn_skipped"] {
        assert_eq!(json["routes"][key], 0.5, "{key}");
    }

    // Ids say the same, and standard input.
    let ids: Vec<String> = tokens.iter().map(|token| token["id"].to_string()).collect();
    let ids = ids.join(",");
    let by_ids = ["routes", &model, "--prompt-ids", &ids];
    let by_ids = [&by_ids[..], &args[4..], &["--json"]].concat();
    assert_eq!(cpu(&by_ids).json(), json);
    let by_input = [&args[..2], &["-p", "-"], &args[4..], &["--json"]].concat();
    assert_eq!(cpu_with_input(&by_input, args[3]).json(), json);
    // All full, as the router is told.
    let full = ["routes", &model, "-p", "the cat", "--effort", "1", "--json"];
    assert_eq!(cpu(&full).json()["routes"]["compute"], 1.0);
}

#[test]
fn the_picture_of_routes_has_a_cell_for_each() {
    let folder = Folder::new("routes-svg");
    let model = routed(&folder);
    let out = folder.name("routes.svg");
    let args = ["routes", &model, "-p", "the cat & \"<dog>\"\n\t", "--json"];
    let args = [&args[..], &["--routes", "layers:fl,ls", "--svg", &out]].concat();
    let json = cpu(&args).json();
    let n_tokens = json["tokens"].as_array().map_or(0, Vec::len);
    let svg = fs::read_to_string(&out).expect("was written");
    assert!(svg.starts_with("<svg xmlns=\"http://www.w3.org/2000/svg\""));
    assert!(svg.ends_with("</svg>\n"));
    let cells = |class: &str| -> usize {
        let paths = svg.lines().filter(|line| line.starts_with("<path"));
        let paths = paths.filter(|line| line.contains(class));
        paths.map(|line| line.matches('z').count()).sum()
    };
    // One more each in the legend.
    assert_eq!(cells("\"full\""), 1 + n_tokens);
    assert_eq!(cells("\"low\""), 1 + 2 * n_tokens);
    assert_eq!(cells("\"skipped\""), 1 + n_tokens);
    for escaped in ["&amp;", "&lt;", "&gt;", "&quot;"] {
        assert!(svg.contains(escaped), "{escaped}");
    }
    let bare = |text: &str| text.contains('<') || text.contains('"');
    let texts = svg.lines().filter_map(|line| line.strip_prefix("<text "));
    let texts = texts.filter_map(|line| line.strip_suffix("</text>")?.split_once('>'));
    assert!(texts.map(|(_, text)| text).all(|text| !bare(text)));
    assert!(svg.chars().all(|c| c == '\n' || !c.is_control()));

    // Nothing is left of what cannot be written.
    let nowhere = folder.name("nowhere/routes.svg");
    let got = cpu(&["routes", &model, "-p", "the cat", "--svg", &nowhere]);
    assert!(got.error(1).contains("nowhere"), "{}", got.stderr);
    fs::create_dir(folder.path("taken")).expect("can be made");
    fs::write(folder.path("taken/x"), "x").expect("can be written");
    let got = cpu(&[
        "routes",
        &model,
        "-p",
        "the cat",
        "--svg",
        &folder.name("taken"),
    ]);
    assert!(got.error(1).contains("taken"), "{}", got.stderr);
    let left = ["llama-gqa-tied", "routes.svg", "taken"];
    assert_eq!(folder.entries(), left);
}

#[test]
fn routes_of_a_model_without_routers_are_refused_with_what_makes_them() {
    let model = fixture("qwen3");
    let got = cpu(&["routes", &model, "-p", "the"]);
    let error = got.error(1);
    assert!(
        error.contains("found none; make them with: deputy fit"),
        "{error}"
    );
    let got = cpu(&["routes", &model, "-p", "the", "--dense"]);
    assert!(got.error(1).contains("--dense"), "{}", got.stderr);
    let got = cpu(&["routes", &model]);
    assert_eq!(got.code, Some(2), "{}", got.stderr);
    let folder = Folder::new("routes-empty");
    let model = routed(&folder);
    let got = cpu(&["routes", &model, "-p", "the", "--routes", "layers:ff"]);
    assert!(
        got.error(1).contains("layers: expected 2"),
        "{}",
        got.stderr
    );
    let _: Value = cpu(&["routes", &model, "-p", "the", "--json"]).json();
}
