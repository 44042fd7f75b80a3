//! What is read from good files.

use std::collections::BTreeMap;
use std::fs;
use std::sync::{Arc, Mutex};

use deputy::file::gguf::{Array, Strings, Value};
use deputy::file::*;
use deputy::tensor::{DType, Shape};
use pollster::block_on;

use crate::common::*;

#[test]
fn every_gguf_value_is_read_as_it_was_stored() {
    let file = Gguf::small();
    let model = open_gguf(file.bytes()).expect("a valid file");
    let Metadata::Gguf(metadata) = &model.metadata else {
        panic!("not GGUF metadata")
    };
    let strings = |texts: &[&str]| Array::String(Box::new(texts.iter().collect::<Strings>()));
    let expected = [
        ("general.architecture", Value::String("llama".to_owned())),
        ("a.u8", Value::U8(200)),
        ("a.i8", Value::I8(-3)),
        ("a.u16", Value::U16(60_000)),
        ("a.i16", Value::I16(-300)),
        ("a.u32", Value::U32(4_000_000_000)),
        ("a.i32", Value::I32(-70_000)),
        ("a.f32", Value::F32(1e-5)),
        ("a.bool", Value::Bool(true)),
        ("a.u64", Value::U64(1 << 63)),
        ("a.i64", Value::I64(i64::MIN)),
        ("a.f64", Value::F64(0.1)),
        ("a.strings", Value::Array(strings(&["<s>", "", "été"]))),
        ("a.floats", Value::Array(Array::F32(vec![1.5, -2.0]))),
        ("a.ints", Value::Array(Array::I32(vec![1, 6]))),
        ("a.bools", Value::Array(Array::Bool(vec![false, true]))),
        (
            "a.nested",
            Value::Array(Array::Array(vec![Array::U8(vec![7, 8]), strings(&["x"])])),
        ),
    ];
    assert_eq!(metadata.entries().len(), expected.len());
    for ((key, value), (expected_key, expected)) in metadata.entries().iter().zip(&expected) {
        assert_eq!((key.as_str(), value), (*expected_key, expected));
        assert_eq!(metadata.get(key), Some(expected), "{key}");
    }
    assert_eq!(metadata.get("a.u9"), None);
    let range = metadata.range.start as usize..metadata.range.end as usize;
    assert_eq!(file.bytes()[range], file.key_bytes());
}

#[test]
fn getters_convert_what_fits_and_name_what_does_not() {
    let model = open_gguf(
        Gguf::small()
            .key("tokenizer.chat_template", string("{{ x }}"))
            .bytes(),
    )
    .expect("a valid file");
    let Metadata::Gguf(m) = &model.metadata else {
        panic!("not GGUF metadata")
    };
    assert_eq!(m.get_u32("a.u8").expect("fits"), Some(200));
    assert_eq!(m.get_u32("absent").expect("absent is no error"), None);
    assert_eq!(m.get_u64("a.u64").expect("fits"), Some(1 << 63));
    assert_eq!(m.get_f32("a.f64").expect("fits"), Some(0.1));
    assert_eq!(m.get_bool("a.bool").expect("fits"), Some(true));
    assert_eq!(
        m.get_str("general.architecture").expect("fits"),
        Some("llama")
    );
    assert_eq!(
        m.get_f32s("a.floats").expect("fits"),
        Some(&[1.5, -2.0][..])
    );
    assert_eq!(m.get_i32s("a.ints").expect("fits"), Some(vec![1, 6]));
    assert_eq!(
        m.get_array("a.nested").expect("fits").map(Array::len),
        Some(2)
    );
    let strings = m.get_strings("a.strings").expect("fits").expect("present");
    assert_eq!(strings.iter().collect::<Vec<_>>(), ["<s>", "", "été"]);
    assert_eq!((strings.get(2), strings.get(3)), (Some("été"), None));
    assert_eq!(model.chat_template(), Some("{{ x }}"));

    let message = |result: Result<(), Error>| result.expect_err("another type").to_string();
    let cases = [
        (
            m.get_u32("a.i8").map(drop),
            r#"m.gguf: key "a.i8": expected an integer of 0..2^32, found i8 -3"#,
        ),
        (
            m.get_u32("a.u64").map(drop),
            r#"m.gguf: key "a.u64": expected an integer of 0..2^32, found u64 9223372036854775808"#,
        ),
        (
            m.get_f32("a.u8").map(drop),
            r#"m.gguf: key "a.u8": expected a float, found u8 200"#,
        ),
        (
            m.get_bool("a.u8").map(drop),
            r#"m.gguf: key "a.u8": expected a boolean, found u8 200"#,
        ),
        (
            m.get_str("a.u8").map(drop),
            r#"m.gguf: key "a.u8": expected a string, found u8 200"#,
        ),
        (
            m.get_strings("a.ints").map(drop),
            r#"m.gguf: key "a.ints": expected an array of strings, found array of 2 i32"#,
        ),
        (
            m.get_f32s("a.ints").map(drop),
            r#"m.gguf: key "a.ints": expected an array of f32, found array of 2 i32"#,
        ),
        (
            Err(m.missing("llama.block_count")),
            r#"m.gguf: key "llama.block_count" is missing"#,
        ),
    ];
    for (result, expected) in cases {
        assert_eq!(message(result), expected);
    }
}

#[test]
fn gguf_tensors_are_row_major_with_their_own_bytes() {
    for version in [2, 3] {
        let model = open_gguf(
            Gguf {
                version,
                ..Gguf::small()
            }
            .bytes(),
        )
        .expect("a valid file");
        let expected = [
            ("bf16", DType::BF16, Shape::from([4, 3, 2]), 48),
            ("f32", DType::F32, Shape::from([2, 3]), 24),
            ("q4_k", DType::Q4K, Shape::from([256]), 144),
            ("q8_0", DType::Q8_0, Shape::from([2, 64]), 136),
        ];
        assert_eq!(model.tensors.len(), expected.len());
        for (first, name) in ["f32", "q8_0", "q4_k", "bf16"].into_iter().enumerate() {
            let (_, dtype, shape, n_bytes) =
                expected.iter().find(|(n, ..)| *n == name).expect("listed");
            let tensor = &model.tensors[name];
            assert_eq!(
                (&tensor.dtype, &tensor.shape),
                (&ElementType::Known(*dtype), shape),
                "{name}"
            );
            let bytes: Vec<u8> = (0..*n_bytes)
                .map(|i: i32| (first as i32 + i) as u8)
                .collect();
            assert_eq!(tensor_bytes(&model, name), bytes, "{name}");
        }
        let q8_0 = &model.tensors["q8_0"];
        assert_eq!(model.rows(q8_0, 1..2).expect("a row that exists"), 68..136);
        assert_eq!(
            model
                .rows(&model.tensors["bf16"], 5..12)
                .expect("rows of the flattened tensor"),
            20..48
        );
        assert_eq!(
            model
                .rows(&model.tensors["q4_k"], 0..1)
                .expect("a vector is one row"),
            0..144
        );
        let error = model
            .rows(q8_0, 1..3)
            .expect_err("a row too many")
            .to_string();
        assert_eq!(
            error,
            r#"m.gguf: tensor "q8_0": rows 1..3 asked for, but it has 2"#
        );
        let error = block_on(model.read(q8_0, 130..137, &mut [0; 7]))
            .expect_err("a byte too many")
            .to_string();
        assert_eq!(
            error,
            r#"m.gguf: tensor "q8_0": bytes 130..137 asked for, but it has 136"#
        );
    }
}

#[test]
fn a_safetensors_file_gives_its_tensors() {
    let model = open_safetensors(small_safetensors()).expect("a valid file");
    assert_eq!(model.tensors.keys().collect::<Vec<_>>(), ["a", "b", "c"]);
    let found = |name: &str| {
        (
            model.tensors[name].dtype.to_string(),
            model.tensors[name].shape.clone(),
        )
    };
    assert_eq!(found("a"), ("f32".to_owned(), Shape::from([2, 2])));
    assert_eq!(found("b"), ("bf16".to_owned(), Shape::from([3])));
    assert_eq!(found("c"), ("I64".to_owned(), Shape::from([1])));
    assert_eq!(tensor_bytes(&model, "a"), (0..16).collect::<Vec<u8>>());
    assert_eq!(tensor_bytes(&model, "b"), (16..22).collect::<Vec<u8>>());
    assert_eq!(model.rows(&model.tensors["a"], 1..2).expect("a row"), 8..16);
    let error = model
        .dtype(&model.tensors["c"])
        .expect_err("not a type to compute with")
        .to_string();
    assert_eq!(
        error,
        r#"model/model.safetensors: tensor "c" has elements of type I64, which is not supported"#
    );
}

#[test]
fn the_safetensors_crate_agrees_about_ranges() {
    let bytes = small_safetensors();
    let theirs = safetensors::SafeTensors::deserialize(&bytes).expect("a valid file");
    let ours = open_safetensors(bytes.clone()).expect("a valid file");
    for (name, view) in theirs.tensors() {
        assert_eq!(tensor_bytes(&ours, &name), view.data(), "{name}");
        assert_eq!(ours.tensors[&name].shape.0, view.shape(), "{name}");
    }
}

#[test]
fn shards_are_joined_and_their_tensors_found() {
    let shard = |name: &str, byte| {
        safetensors(
            &format!("{{{}}}", entry(name, "U8", "[2]", 0, 2)),
            &[byte, byte],
        )
    };
    let index = r#"{"metadata":{"total_size":4},"weight_map":{"x":"m-1.safetensors","y":"m-2.safetensors"}}"#;
    let files = [
        ("config.json", b"{}".to_vec()),
        ("model.safetensors.index.json", index.as_bytes().to_vec()),
        ("m-1.safetensors", shard("x", 1)),
        ("m-2.safetensors", shard("y", 2)),
    ];
    let model = open_folder(files).expect("a valid folder");
    assert_eq!(
        (tensor_bytes(&model, "x"), tensor_bytes(&model, "y")),
        (vec![1, 1], vec![2, 2])
    );
    assert_eq!(model.file_of(&model.tensors["y"]), "model/m-2.safetensors");
}

#[test]
fn the_files_beside_the_weights_are_kept() {
    let file = |text: &str| text.as_bytes().to_vec();
    let with = |more: &[(&'static str, &str)]| {
        let mut files = vec![
            ("config.json", file(r#"{"model_type":"llama"}"#)),
            ("model.safetensors", small_safetensors()),
        ];
        files.extend(more.iter().map(|(name, text)| (*name, file(text))));
        let model = open_folder(files).expect("a valid folder");
        let Metadata::HuggingFace(metadata) = model.metadata else {
            panic!("not a folder's metadata")
        };
        metadata
    };
    let list = r#"{"chat_template":[{"name":"tool_use","template":"T"},{"name":"default","template":"D"}]}"#;
    let m = with(&[
        ("generation_config.json", r#"{"eos_token_id":[1,2]}"#),
        ("tokenizer.json", r#"{"model":{}}"#),
        ("tokenizer_config.json", list),
        ("special_tokens_map.json", "{}"),
    ]);
    assert_eq!(m.config["model_type"], "llama");
    assert_eq!(m.generation_config.expect("present")["eos_token_id"][1], 2);
    assert_eq!(m.tokenizer.as_deref(), Some(&br#"{"model":{}}"#[..]));
    assert!(m.special_tokens_map.is_some() && m.tokenizer_config.is_some());
    assert_eq!(m.chat_template.as_deref(), Some("D"));
    assert_eq!(
        with(&[("tokenizer_config.json", r#"{"chat_template":"S"}"#)])
            .chat_template
            .as_deref(),
        Some("S")
    );
    let both = [
        ("tokenizer_config.json", list),
        ("chat_template.jinja", "J"),
    ];
    assert_eq!(with(&both).chat_template.as_deref(), Some("J"));
    let commas = format!(r#"{{"chat_template":"\"{}"}}"#, ",".repeat(100_001));
    let template = with(&[("tokenizer_config.json", &commas)])
        .chat_template
        .expect("commas in a string are no values");
    assert_eq!(template.len(), 100_002);
    assert_eq!(with(&[]).chat_template, None);
}

#[test]
fn only_headers_are_read_when_a_model_is_opened() {
    /// Remembers the last byte that was read.
    struct Watched(SliceSource<Vec<u8>>, Mutex<u64>);

    impl ByteSource for Watched {
        fn name(&self) -> &str {
            self.0.name()
        }
        fn n_bytes(&self) -> u64 {
            self.0.n_bytes()
        }
        fn read<'a>(&'a self, offset: u64, out: &'a mut [u8]) -> BoxFuture<'a, Result<(), Error>> {
            let mut last = self.1.lock().expect("no panic elsewhere");
            *last = (*last).max(offset + out.len() as u64);
            self.0.read(offset, out)
        }
    }

    let watched = |bytes: Vec<u8>| Arc::new(Watched(SliceSource::new("m", bytes), Mutex::new(0)));
    let source = watched(Gguf::small().tensor("big", &[1 << 20], 0, 4 << 20).bytes());
    block_on(ModelFile::open_gguf(source.clone())).expect("a valid file");
    assert!(*source.1.lock().expect("no panic elsewhere") <= 64 << 10);

    let header = format!("{{{}}}", entry("a", "F32", "[1048576]", 0, 4 << 20));
    let source = watched(safetensors(&header, &vec![0; 4 << 20]));
    let mut folder = MemoryFolder::new(
        "model",
        BTreeMap::from([("config.json".to_owned(), b"{}".to_vec())]),
    );
    folder.insert("model.safetensors", source.clone());
    block_on(ModelFile::open_folder(Arc::new(folder))).expect("a valid folder");
    assert_eq!(
        *source.1.lock().expect("no panic elsewhere"),
        8 + header.len() as u64
    );
}

#[test]
fn the_real_folder_is_read() {
    let Some(path) = shared("models/tinystories-656k") else {
        return;
    };
    let model = block_on(ModelFile::open_path(&path)).expect("a valid folder");
    let Metadata::HuggingFace(metadata) = &model.metadata else {
        panic!("not a folder's metadata")
    };
    assert_eq!(metadata.config["hidden_size"], 128);
    assert!(
        metadata.tokenizer.is_some()
            && metadata.generation_config.is_some()
            && metadata.chat_template.is_none()
    );
    assert!(!model.tensors.contains_key("model.embed_tokens.weight"));
    let bytes = fs::read(path.join("model.safetensors")).expect("a file");
    let theirs = safetensors::SafeTensors::deserialize(&bytes).expect("a valid file");
    assert_eq!(model.tensors.len(), theirs.len());
    for (name, view) in theirs.tensors() {
        assert_eq!(model.tensors[&name].shape.0, view.shape(), "{name}");
        assert!(tensor_bytes(&model, &name) == view.data(), "{name}");
    }
    assert_eq!(
        model.tensors["lm_head.weight"].shape,
        Shape::from([2048, 128])
    );
}

#[test]
fn the_real_gguf_files_are_read() {
    let Some(path) = shared("models/stories260k/stories260K.gguf") else {
        return;
    };
    let model = block_on(ModelFile::open_path(&path)).expect("a valid file");
    let Metadata::Gguf(m) = &model.metadata else {
        panic!("not GGUF metadata")
    };
    // As the gguf package for Python prints them.
    assert_eq!(
        (model.tensors.len(), m.entries().len(), m.version),
        (48, 19, 3)
    );
    assert_eq!(
        m.get_u32("llama.embedding_length").expect("an integer"),
        Some(64)
    );
    assert_eq!(
        m.get_f32("llama.attention.layer_norm_rms_epsilon")
            .expect("a float"),
        Some(1e-5)
    );
    let tokens = m
        .get_strings("tokenizer.ggml.tokens")
        .expect("strings")
        .expect("present");
    assert_eq!((tokens.len(), tokens.get(3)), (512, Some("<0x00>")));
    assert_eq!(
        m.get_i32s("tokenizer.ggml.token_type")
            .expect("integers")
            .expect("present")[..4],
        [2, 3, 3, 6]
    );
    assert_eq!(
        m.get_f32s("tokenizer.ggml.scores")
            .expect("floats")
            .map(<[f32]>::len),
        Some(512)
    );
    assert_eq!(
        model.tensors["token_embd.weight"].shape,
        Shape::from([512, 64])
    );
    assert_eq!(
        model.tensors["blk.0.ffn_down.weight"].shape,
        Shape::from([64, 172])
    );

    for (name, n_tokens, n_merges) in [("gpt-2", 50_257, Some(50_000)), ("phi-3", 32_064, None)] {
        let Some(path) = shared(&format!("tokenizers/vectors/ggml-vocab-{name}.gguf")) else {
            return;
        };
        let model = block_on(ModelFile::open_path(&path)).expect("a valid file");
        let Metadata::Gguf(m) = &model.metadata else {
            panic!("not GGUF metadata")
        };
        assert_eq!(
            m.get_strings("tokenizer.ggml.tokens")
                .expect("strings")
                .map(Strings::len),
            Some(n_tokens),
            "{name}"
        );
        assert_eq!(
            m.get_strings("tokenizer.ggml.merges")
                .expect("strings")
                .map(Strings::len),
            n_merges,
            "{name}"
        );
        assert_eq!(model.chat_template().is_some(), name == "phi-3", "{name}");
    }
}
