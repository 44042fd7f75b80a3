//! Bad tokenizers and vocabularies: one error each, no panic, bounded time.

use std::time::{Duration, Instant};

use deputy::tokenizer::{Error, GgufVocabulary, MAX_TOKENIZER_BYTES, Tokenizer};
use serde_json::{Value, json};

use crate::support::fixture;

const VOCAB_SIZE: usize = 1000;

fn read(json: &Value) -> Result<Tokenizer, Error> {
    Tokenizer::from_json("t.json", json.to_string().as_bytes(), None, VOCAB_SIZE)
}

/// The fixture tokenizer with one change.
fn changed(change: impl FnOnce(&mut Value)) -> Result<Tokenizer, Error> {
    let mut json = fixture("byte_level.json");
    change(&mut json);
    read(&json)
}

/// The error's text must contain every part.
#[track_caller]
fn refused(result: Result<Tokenizer, Error>, parts: &[&str]) {
    let error = result.expect_err("must be refused").to_string();
    assert!(error.starts_with("t.json"), "{error}");
    for part in parts {
        assert!(error.contains(part), "{error:?} does not say {part:?}");
    }
}

#[test]
fn merges_that_make_no_token_are_refused() {
    // Longer than any entry: the library itself panics on this one.
    let long = "x".repeat(300);
    for merge in [
        json!([long, long]),
        json!(format!("{long} {long}")),
        json!(["a", "zzz"]),
        json!(["t", "Ġ"]),
    ] {
        let index = fixture("byte_level.json")["model"]["merges"]
            .as_array()
            .expect("a list")
            .len();
        let result = changed(|t| {
            t["model"]["merges"]
                .as_array_mut()
                .expect("a list")
                .push(merge.clone())
        });
        refused(
            result,
            &[&format!("merge {index} "), "is not in the vocabulary"],
        );
    }
    for merge in [json!("one"), json!("a b c"), json!("")] {
        let result = changed(|t| t["model"]["merges"][0] = merge.clone());
        refused(result, &["model.merges[0]", "two tokens"]);
    }
    assert!(changed(|t| t["model"]["merges"][0] = json!(["a"])).is_err());
}

#[test]
fn ids_without_a_row_in_the_model_are_refused() {
    for id in [json!(1000), json!(4_294_967_296_u64), json!(u64::MAX)] {
        let result = changed(|t| t["model"]["vocab"]["new"] = id.clone());
        refused(result, &["\"new\"", &id.to_string(), "1000 entries"]);
        let result = changed(|t| t["added_tokens"][0]["id"] = id.clone());
        refused(result, &["<s>"]);
    }
    let beyond = json!({"id": 5000, "content": "<new>", "special": true});
    let result = changed(|t| {
        t["added_tokens"]
            .as_array_mut()
            .expect("a list")
            .push(beyond)
    });
    refused(result, &["\"<new>\"", "5000", "1000 entries"]);
    for id in [json!(-1), json!(1.5), json!("7"), json!(null)] {
        assert!(changed(|t| t["model"]["vocab"]["new"] = id).is_err());
    }
    let result = changed(|t| t["post_processor"]["special_tokens"]["<s>"]["ids"] = json!([9999]));
    refused(result, &["<s>", "9999"]);
}

#[test]
fn two_tokens_with_one_id_are_refused() {
    refused(
        changed(|t| t["model"]["vocab"]["new"] = json!(7)),
        &["id 7 is both"],
    );
    let new = json!({"id": 7, "content": "<new>"});
    let result = changed(|t| t["added_tokens"].as_array_mut().expect("a list").push(new));
    refused(result, &["id 7 is both", "<new>"]);
    let twice = json!({"id": 999, "content": "<s>"});
    let result = changed(|t| {
        t["added_tokens"]
            .as_array_mut()
            .expect("a list")
            .push(twice)
    });
    refused(result, &["<s>", "999"]);
}

#[test]
fn parts_that_are_not_known_are_refused_by_name() {
    let cases = [
        ("/model/type", json!("Unigram"), "Unigram"),
        ("/model/type", json!("WordPiece"), "WordPiece"),
        ("/model/type", json!("NewKind"), "NewKind"),
        (
            "/normalizer",
            json!({"type": "Precompiled", "precompiled_charsmap": "AAAA"}),
            "Precompiled",
        ),
        (
            "/normalizer",
            json!({"type": "Sequence", "normalizers": [{"type": "BertNormalizer"}]}),
            "normalizers[0]",
        ),
        (
            "/normalizer",
            json!({"type": "Sequence"}),
            "a list of parts",
        ),
        ("/normalizer", json!("NFC"), "none"),
        (
            "/pre_tokenizer",
            json!({"type": "FixedLength", "length": 0}),
            "FixedLength",
        ),
        ("/pre_tokenizer", json!({"type": "Split"}), "pre_tokenizer"),
        ("/decoder", json!({"type": "CTC"}), "CTC"),
        (
            "/decoder",
            json!({"type": "Strip", "content": "x", "start": 0, "stop": 9}),
            "strip",
        ),
        ("/model/dropout", json!(0.5), "model.dropout"),
        (
            "/model/end_of_word_suffix",
            json!("</w>"),
            "end_of_word_suffix",
        ),
        (
            "/model/continuing_subword_prefix",
            json!("##"),
            "continuing_subword_prefix",
        ),
        ("/model/unk_token", json!("<nowhere>"), "model.unk_token"),
    ];
    for (path, value, says) in cases {
        let result = changed(|t| *t.pointer_mut(path).expect("a key of the fixture") = value);
        refused(result, &[says]);
    }
}

#[test]
fn steps_that_multiply_a_text_or_a_pattern_are_refused() {
    let double = json!({"type": "Replace", "pattern": {"String": "a"}, "content": "aa"});
    let sequence = json!({"type": "Sequence", "normalizers": vec![double; 40]});
    refused(changed(|t| t["normalizer"] = sequence), &["multiply"]);
    let long = json!({"type": "Replace", "pattern": {"String": "a"}, "content": "b".repeat(9000)});
    refused(changed(|t| t["normalizer"] = long), &["8192"]);
    for pattern in [
        "((((a{100}){100}){100}){100}){100}",
        "((?=a){1000}){1000}",
        "((a|b){999,}c){999}",
    ] {
        let split = json!({"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false});
        refused(changed(|t| t["pre_tokenizer"] = split), &["repetitions"]);
    }
    let broken = json!({"type": "Split", "pattern": {"Regex": "(("}, "behavior": "Isolated", "invert": false});
    refused(changed(|t| t["pre_tokenizer"] = broken), &["pre_tokenizer"]);
    let long = json!({"id": 990, "content": "x".repeat(2000)});
    let result = changed(|t| t["added_tokens"].as_array_mut().expect("a list").push(long));
    refused(result, &["1024"]);
}

#[test]
fn files_that_are_no_tokenizer_are_refused() {
    let deep = "[".repeat(1_000_000);
    let deep_part = format!("{{\"normalizer\": {}", "{\"normalizers\":[".repeat(100_000));
    let cases: [&[u8]; 9] = [
        b"",
        b"{}",
        b"null",
        b"[]",
        b"{\"model\": {}}",
        b"\xff\xfe",
        b"{\"model\": {\"type\": 5}}",
        deep.as_bytes(),
        deep_part.as_bytes(),
    ];
    for json in cases {
        assert!(Tokenizer::from_json("t.json", json, None, VOCAB_SIZE).is_err());
    }
    let large = vec![b' '; MAX_TOKENIZER_BYTES + 1];
    refused(
        Tokenizer::from_json("t.json", &large, None, VOCAB_SIZE),
        &["67108865", "67108864"],
    );
}

/// A small generator of pseudo-random numbers (xorshift).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n as u64) as usize
    }
}

#[test]
fn damaged_files_never_panic() {
    let mut random = Random(11);
    for name in ["byte_level.json", "sentence_piece.json"] {
        let json = fixture(name).to_string().into_bytes();
        let mut n_read = 0;
        for round in 0..1500 {
            let mut damaged = json.clone();
            if round % 5 == 0 {
                damaged.truncate(random.below(json.len()));
            } else {
                for _ in 0..=random.below(4) {
                    let at = random.below(json.len());
                    damaged[at] = b"0123456789\"{}[],:aZ\\<> \x80"[random.below(24)];
                }
            }
            if let Ok(tokenizer) = Tokenizer::from_json("t.json", &damaged, None, VOCAB_SIZE) {
                n_read += 1;
                let text = "The cat\u{0} <|im_start|> don't 12345 é 世界 \u{10ffff}";
                let ids = tokenizer.encode(text, true).unwrap_or_default();
                assert!(ids.iter().all(|&id| (id as usize) < VOCAB_SIZE));
                tokenizer.decode(&ids);
            }
        }
        assert!(
            n_read > 20,
            "{name}: only {n_read} damaged files were still readable"
        );
    }
}

#[test]
fn bad_gguf_vocabularies_are_refused() {
    let good = GgufVocabulary {
        file: "t.json".into(),
        model: "gpt2".into(),
        pre: Some("gpt-2".into()),
        tokens: ["a", "b", "ab", "<s>"].map(str::to_owned).into(),
        token_types: vec![1, 1, 1, 3],
        merges: vec!["a b".into()],
        bos: Some(3),
        pad: Some(u32::MAX),
        ..GgufVocabulary::default()
    };
    let build = |change: &dyn Fn(&mut GgufVocabulary)| {
        let mut vocabulary = good.clone();
        change(&mut vocabulary);
        Tokenizer::from_gguf(vocabulary, 4)
    };
    let tokenizer = build(&|_| {}).expect("must work");
    assert_eq!(tokenizer.encode("abab<s>", false).expect("encodes"), [2, 2]);
    assert_eq!(tokenizer.encode("ab<s>", true).expect("encodes"), [2, 3]);
    assert!(
        !tokenizer.special_tokens().contains_key("pad_token"),
        "an id out of range is no token"
    );
    assert!(
        build(&|v| v.pre = None).is_ok(),
        "an unnamed pre-tokenizer is the default one"
    );
    let spm = |v: &mut GgufVocabulary| {
        v.model = "llama".into();
        v.scores = vec![0.0; 4];
    };
    assert!(build(&spm).is_ok());

    refused(
        build(&|v| v.model = "t5".into()),
        &["tokenizer.ggml.model", "t5", "llama, gpt2"],
    );
    refused(
        build(&|v| v.pre = Some("mystery".into())),
        &["mystery", "llama-bpe", "qwen2", "smollm", "tekken"],
    );
    refused(build(&|v| v.tokens.clear()), &["tokenizer.ggml.tokens"]);
    refused(
        build(&|v| v.tokens.push("new".into())),
        &["\"new\"", "4 entries"],
    );
    refused(build(&|v| v.token_types.push(1)), &["token_type", "5"]);
    refused(build(&|v| v.scores = vec![0.0; 3]), &["scores", "3"]);
    refused(build(&|v| v.merges.push("ab".into())), &["merges[1]"]);
    refused(
        build(&|v| v.merges.push("ab ab".into())),
        &["merge 1 ", "abab"],
    );
    refused(
        build(&|v| v.merges = vec!["a b".into(); 17]),
        &["merges", "16"],
    );
    let nan = |v: &mut GgufVocabulary| v.scores = vec![0.0, f32::NAN, 0.0, 0.0];
    refused(build(&nan), &["scores[1]", "NaN"]);
}

#[test]
fn long_texts_are_encoded_in_bounded_time() {
    let start = Instant::now();
    for name in ["byte_level", "sentence_piece"] {
        let tokenizer = crate::support::fixture_tokenizer(name);
        for piece in [
            "a",
            " ",
            "the cat ",
            "<|im_end|>",
            "<",
            "世",
            "\n",
            "\u{1f600}",
        ] {
            let text = piece.repeat(400_000 / piece.len());
            let ids = tokenizer.encode(&text, false).expect("encodes");
            assert_eq!(
                tokenizer.decode(&ids).len(),
                text.len(),
                "{name}: {piece:?}"
            );
        }
    }
    assert!(
        start.elapsed() < Duration::from_secs(60),
        "took {:?}",
        start.elapsed()
    );
}
