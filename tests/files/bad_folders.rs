//! Why bad safetensors files and folders are refused.

use std::collections::BTreeMap;

use deputy::file::ElementType;
use deputy::tensor::{DType, Shape};

use crate::common::*;

#[test]
fn a_safetensors_file_cut_anywhere_is_refused() {
    let bytes = small_safetensors();
    for n in 0..bytes.len() {
        refused(
            open_safetensors(bytes[..n].to_vec()),
            "model/model.safetensors: … but the file has",
        );
    }
    let longer = [&bytes[..], &[0]].concat();
    refused! {
        open_safetensors(longer) => "belong to no tensor",
    }
}

#[test]
fn bad_safetensors_headers_are_refused() {
    let open =
        |header: &str, n_data: usize| open_safetensors(safetensors(header, &vec![0; n_data]));
    let entries = |entries: &[String], n_data| open(&format!("{{{}}}", entries.join(",")), n_data);
    let one =
        |dtype, shape, begin, end, n_data| entries(&[entry("t", dtype, shape, begin, end)], n_data);
    let a = entry("a", "U8", "[4]", 0, 4);

    let long = open_safetensors(100_000_001u64.to_le_bytes().to_vec());
    refused! {
        long => "header's length: expected at most 100000000, found 100000001",
        open_safetensors(vec![0xff; 100]) => "found 18446744073709551615",
        open("", 0) => "first byte: expected '{'",
        open("[]", 0) => "first byte: expected '{', found [",
        open("{x", 0) => "line 1 column 2",
        open_safetensors(b"\x03\0\0\0\0\0\0\0{\"\xff".to_vec()) => "is not UTF-8",
        entries(&[a.clone(), entry("a", "U8", "[1]", 4, 5)], 5) => r#"tensor "a" stands there twice"#,
        entries(&[a.clone(), entry("b", "U8", "[4]", 3, 7)], 7) => r#"tensors "b" and "a" overlap"#,
        entries(&[a.clone(), entry("b", "U8", "[4]", 5, 9)], 9) => "bytes … belong to no tensor",
        one("U8", "[4]", 1, 5, 5) => "belong to no tensor",
        one("U8", "[4]", 0, 4, 3) => r#"tensor "t" ends at byte … but the file has"#,
        one("U8", "[4]", 4, 0, 4) => "data_offsets in order, found [4, 0]",
        one("X", "[4]", 0, u64::MAX, 4) => r#"tensor "t" ends at byte 18446744073709551615"#,
        one("F32", "[4]", 0, 4, 4) => r#"tensor "t": expected 16 bytes for [4] of F32, found 4 bytes"#,
        one("F32", "[4294967296,4294967296]", 0, 4, 4) => "of F32 overflows",
        one("F32", "[0,18446744073709551615]", 0, 0, 0) => r#"tensor "t" … overflows"#,
        one("F4", "[3]", 0, 1, 1) => "shape [3] of F4 … whole blocks",
        one("U8", "[-1]", 0, 1, 1) => r#"tensor "t": invalid value: integer `-1`"#,
        one("U8", "[1.0]", 0, 1, 1) => r#"tensor "t": invalid type: floating point"#,
        one("U8", "[1,1,1,1,1,1,1,1,1]", 0, 1, 1) => "an array of at most 8 extents",
        open(r#"{"t":{"shape":[1],"data_offsets":[0,1]}}"#, 1) => "missing field `dtype`",
        open(r#"{"__metadata__":{},"__metadata__":{}}"#, 0) => "duplicate field `__metadata__`",
    }
    let deep = format!(r#"{{"t":{}"#, r#"{"t":"#.repeat(10_000));
    refused! {
        open(&deep, 0) => "model/model.safetensors: ",
    }
    let many: Vec<String> = (0..65_537)
        .map(|i| entry(&format!("t{i}"), "U8", "[0]", 0, 0))
        .collect();
    refused! {
        entries(&many, 0) => "more than 65536 tensors",
    }
}

#[test]
fn an_unknown_safetensors_type_is_an_error_only_where_it_is_used() {
    let entries = [
        entry("a", "F32", "[1]", 0, 4),
        entry("odd", "F7\\u001b", "[9]", 4, 9),
    ];
    let model = open_safetensors(safetensors(&format!("{{{}}}", entries.join(",")), &[0; 9]))
        .expect("a valid file");
    assert_eq!(model.dtype(&model.tensors["a"]).expect("known"), DType::F32);
    let error = model
        .dtype(&model.tensors["odd"])
        .expect_err("unknown")
        .to_string();
    assert!(error.contains("F7") && !error.contains('\x1b'), "{error}");
}

#[test]
fn bad_indexes_are_refused() {
    let shard = |names: &[&str]| {
        let entries: Vec<String> = names
            .iter()
            .map(|name| entry(name, "U8", "[0]", 0, 0))
            .collect();
        safetensors(&format!("{{{}}}", entries.join(",")), &[])
    };
    let open = |index: &str| {
        open_folder([
            ("config.json", b"{}".to_vec()),
            ("model.safetensors.index.json", index.as_bytes().to_vec()),
            ("1.safetensors", shard(&["u", "x"])),
            ("2.safetensors", shard(&["y"])),
            ("3.safetensors", shard(&["x", "z"])),
            ("notes.txt", vec![]),
        ])
    };
    let map = |entries: &str| open(&format!(r#"{{"weight_map":{{{entries}}}}}"#));
    let name = "index.json … plain name of a .safetensors file";
    for escape in [
        "../1.safetensors",
        "/etc/1.safetensors",
        "a/1.safetensors",
        "a\\\\1.safetensors",
        "C:1.safetensors",
        "..",
        "",
        "notes.txt",
    ] {
        refused(map(&format!(r#""x":"{escape}""#)), name);
    }
    refused! {
        map(r#""x":"1\u0000.safetensors""#) => name,
        map(&format!(r#""x":"{}.safetensors""#, "n".repeat(300))) => name,
        map(r#""x":"4.safetensors""#) => r#"model: file "4.safetensors" is missing … index.json names it"#,
        map(r#""x":"2.safetensors""#) => r#"2.safetensors: tensor "x" is missing … index.json lists it"#,
    }
    let elsewhere = map(r#""u":"1.safetensors","x":"2.safetensors""#);
    refused! {
        elsewhere => r#"2.safetensors: tensor "x" is missing"#,
        map(r#""x":"1.safetensors","x":"1.safetensors""#) => r#"index.json: tensor "x" stands there twice"#,
        map(r#""x":"1.safetensors","z":"3.safetensors""#) => r#"3.safetensors: tensor "x" stands there twice"#,
        open("{}") => "missing field `weight_map`",
        open(r#"{"weight_map":["x"]}"#) => "an object with an entry for each tensor",
        map(r#""x":1"#) => r#"tensor "x": invalid type: integer `1`, expected a string"#,
    }
    let shards: Vec<String> = (0..1001)
        .map(|i| format!(r#""t{i}":"{i}.safetensors""#))
        .collect();
    refused! {
        map(&shards.join(",")) => "number of shards: expected at most 1000, found 1001",
        open(&" ".repeat(17 << 20)) => "length in bytes: expected at most 16777216, found 17825792",
    }
}

#[test]
fn bad_json_and_text_files_are_refused_by_name() {
    let with = |name: &'static str, bytes: Vec<u8>| {
        let mut files = BTreeMap::from([
            ("config.json", b"{}".to_vec()),
            ("model.safetensors", small_safetensors()),
        ]);
        files.insert(name, bytes);
        open_folder(files)
    };
    for name in [
        "config.json",
        "generation_config.json",
        "tokenizer_config.json",
        "special_tokens_map.json",
    ] {
        let with = |bytes: &[u8]| with(name, bytes.to_vec());
        let file = |why: &str| format!("model/{name}: … {why}");
        refused! {
            with(b"\xef\xbb\xbf{}") => &file("a byte order mark"),
            with(b"\xff\xfe{\0}\0") => &file("is not UTF-8"),
            with(b"{\"a\":\"\xc3\x28\"}") => &file("is not UTF-8"),
            with(b"{\"a\":") => &file("line 1 column 5"),
            with(b"") => &file("line 1 column 0"),
            with(b"{\"a\":NaN}") => &file("expected value at line 1"),
            with(&[b"[".repeat(200), b"]".repeat(200)].concat()) => &file("recursion limit"),
            with(&b"[".repeat(90_000)) => &file("recursion limit"),
            with(&[b"[", &b"0,".repeat(100_001)[..], b"0]"].concat()) => &file("JSON values: expected at most 100000"),
        }
    }
    refused! {
        with("config.json", vec![b' '; (1 << 20) + 1]) => "config.json … at most 1048576, found 1048577",
        with("config.json", b"[]".to_vec()) => "config.json: its value: expected an object, found an array",
        with("tokenizer.json", vec![b' '; (64 << 20) + 1]) => "tokenizer.json … at most 67108864",
        with("tokenizer.json", vec![0xff]) => "tokenizer.json … not UTF-8",
        with("tokenizer.json", b"\xef\xbb\xbf{}".to_vec()) => "tokenizer.json … byte order mark",
        with("chat_template.jinja", vec![b' '; (256 << 10) + 1]) => "chat_template.jinja … at most 262144",
        with("chat_template.jinja", vec![0xff]) => "chat_template.jinja … not UTF-8",
    }
    let template = format!(r#"{{"chat_template":"{}"}}"#, "x".repeat((256 << 10) + 1));
    refused! {
        with("tokenizer_config.json", template.into()) => "tokenizer_config.json … at most 262144, found 262145",
    }
    for template in ["1", "[1]", r#"[{"name":"default"}]"#, "{}"] {
        let config = format!(r#"{{"chat_template":{template}}}"#);
        refused(
            with("tokenizer_config.json", config.into()),
            "a string or a list of {name, template}",
        );
    }
}

#[test]
fn bad_quantization_configs_are_refused() {
    let entries = [
        entry("w", "U8", "[2,36]", 0, 72),
        entry("v", "U8", "[36]", 72, 108),
        entry("f", "F32", "[2,9]", 108, 180),
    ];
    let weights = safetensors(&format!("{{{}}}", entries.join(",")), &[0; 180]);
    let open = |config: &str| {
        let config = format!(r#"{{"quantization_config":{config}}}"#).into_bytes();
        open_folder([
            ("config.json", config),
            ("model.safetensors", weights.clone()),
        ])
    };
    let tensors = |list: &str| {
        open(&format!(
            r#"{{"quant_method":"deputy","version":1,"tensors":{{{list}}}}}"#
        ))
    };
    let model = tensors(r#""w":"q4_0""#).expect("a valid folder");
    assert_eq!(model.tensors["w"].shape, Shape::from([2, 64]));
    for other in ["null", "{}", r#"{"quant_method":"gptq","bits":4}"#] {
        let model = open(other).expect("left to the model");
        assert_eq!(
            model.tensors["w"].dtype,
            ElementType::Other("U8".to_owned()),
            "{other}"
        );
    }
    let version = open(r#"{"quant_method":"deputy","version":2,"tensors":{}}"#);
    refused! {
        version => "config.json: quantization_config.version: expected 1, found 2",
        open(r#"{"quant_method":"deputy"}"#) => "version: expected 1, found nothing",
        open(r#"{"quant_method":"deputy","version":1}"#) => "tensors: expected an object, found nothing",
        tensors(r#""w":"q3_0""#) => r#"tensors: "w": expected the name of a block format, found "q3_0""#,
        tensors(r#""w":"f16""#) => "expected the name of a block format",
        tensors(r#""x":"q4_0""#) => r#""x": expected the name of a tensor of this model"#,
        tensors(r#""w":"q8_0""#) => r#"tensor "w": expected U8 rows of q8_0 blocks of 34 bytes, found U8 [2, 36]"#,
        tensors(r#""v":"q4_0""#) => "expected U8 rows … found U8 [36]",
        tensors(r#""f":"q4_0""#) => "expected U8 rows … found f32 [2, 9]",
    }
}

#[test]
fn a_folder_without_a_model_says_what_was_looked_for() {
    let config = || ("config.json", b"{}".to_vec());
    let weights = ("model.safetensors", small_safetensors());
    refused! {
        open_folder([]) => "model: no model here; looked for config.json with model.safetensors",
        open_folder([weights]) => "looked for config.json",
        open_folder([config()]) => "looked for model.safetensors or model.safetensors.index.json",
    }
    for pickled in ["pytorch_model.bin", "pytorch_model.bin.index.json"] {
        refused(
            open_folder([config(), (pickled, vec![])]),
            &format!("{pickled} … no safetensors … convert it"),
        );
    }
}
