//! What the tests of text share: fixtures, third-party data, a small GGUF reader.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use deputy::tokenizer::{GgufVocabulary, Tokenizer};
use serde_json::Value;

pub(crate) fn fixture(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data/tokenizer")
        .join(name);
    serde_json::from_slice(&std::fs::read(path).expect("JSON")).expect("readable")
}

pub(crate) fn fixture_tokenizer(name: &str) -> Tokenizer {
    fixture_with_config(name, &Value::Null)
}

pub(crate) fn fixture_with_config(name: &str, config: &Value) -> Tokenizer {
    let json = fixture(&format!("{name}.json")).to_string();
    Tokenizer::from_json(name, json.as_bytes(), Some(config), 1000).expect("a good tokenizer")
}

/// A path of the third-party data, or one line that says it is not there.
pub(crate) fn shared(path: &str) -> Option<PathBuf> {
    let full = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../shared")
        .join(path);
    if !full.exists() {
        println!("skipped: ../shared/{path} is not there");
        return None;
    }
    Some(full)
}

pub(crate) fn shared_config(name: &str) -> Option<Value> {
    let config =
        std::fs::read(shared(&format!("tokenizers/{name}/tokenizer_config.json"))?).ok()?;
    serde_json::from_slice(&config).ok()
}

pub(crate) fn shared_tokenizer(name: &str) -> Option<Tokenizer> {
    let json =
        std::fs::read(shared(&format!("tokenizers/{name}/tokenizer.json"))?).expect("readable");
    let config = (name != "gpt2").then(|| shared_config(name).expect("checked to be there"));
    let vocab_size = if name == "qwen3" { 151_936 } else { 60_000 };
    Some(Tokenizer::from_json(name, &json, config.as_ref(), vocab_size).expect("a good tokenizer"))
}

pub(crate) fn ids(json: &Value) -> Vec<u32> {
    json.as_array()
        .expect("a list")
        .iter()
        .map(|id| id.as_u64().expect("a number") as u32)
        .collect()
}

pub(crate) fn gguf_tokenizer(path: &str) -> Option<Tokenizer> {
    let vocabulary = gguf_vocabulary(&std::fs::read(shared(path)?).expect("readable"));
    let vocab_size = vocabulary.tokens.len();
    Some(Tokenizer::from_gguf(vocabulary, vocab_size).expect("a good tokenizer"))
}

fn gguf_vocabulary(bytes: &[u8]) -> GgufVocabulary {
    let mut reader = Reader(bytes);
    assert_eq!(reader.take(4), b"GGUF");
    let (_version, _n_tensors, n_keys) = (reader.u32(), reader.u64(), reader.u64());
    let keys: HashMap<String, Value> = (0..n_keys)
        .map(|_| {
            let (key, kind) = (reader.string(), reader.u32());
            (key, reader.value(kind))
        })
        .collect();
    let key = |name: &str| keys.get(&format!("tokenizer.ggml.{name}"));
    let string = |name| key(name).and_then(Value::as_str).map(str::to_owned);
    let id = |name| key(name).and_then(Value::as_u64).map(|id| id as u32);
    let flag = |name| key(name).and_then(Value::as_bool);
    let list = |name| {
        key(name)
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default()
    };
    let strings = |name| {
        list(name)
            .iter()
            .map(|s| s.as_str().expect("a string").to_owned())
            .collect()
    };
    GgufVocabulary {
        file: "test.gguf".into(),
        model: string("model").expect("must work"),
        pre: string("pre"),
        tokens: strings("tokens"),
        scores: list("scores")
            .iter()
            .map(|score| score.as_f64().expect("a number") as f32)
            .collect(),
        token_types: list("token_type")
            .iter()
            .map(|kind| kind.as_i64().expect("a number") as i32)
            .collect(),
        merges: strings("merges"),
        bos: id("bos_token_id"),
        eos: id("eos_token_id"),
        eot: id("eot_token_id"),
        unk: id("unknown_token_id"),
        pad: id("padding_token_id"),
        add_bos: flag("add_bos_token"),
        add_eos: flag("add_eos_token"),
        add_space_prefix: flag("add_space_prefix"),
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize) -> &'a [u8] {
        let (head, rest) = self.0.split_at(n);
        self.0 = rest;
        head
    }

    fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.take(4).try_into().expect("the length taken"))
    }

    fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.take(8).try_into().expect("the length taken"))
    }

    fn string(&mut self) -> String {
        let n = self.u64() as usize;
        String::from_utf8(self.take(n).to_vec()).expect("UTF-8")
    }

    fn value(&mut self, kind: u32) -> Value {
        match kind {
            0 | 1 => self.take(1)[0].into(),
            2 | 3 => u16::from_le_bytes(self.take(2).try_into().expect("the length taken")).into(),
            4 => self.u32().into(),
            5 => (self.u32() as i32).into(),
            6 => f32::from_bits(self.u32()).into(),
            7 => (self.take(1)[0] != 0).into(),
            8 => self.string().into(),
            9 => {
                let (kind, n) = (self.u32(), self.u64());
                (0..n).map(|_| self.value(kind)).collect()
            }
            10 | 11 => self.u64().into(),
            12 => f64::from_bits(self.u64()).into(),
            other => panic!("GGUF type {other}"),
        }
    }
}
