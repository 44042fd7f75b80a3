//! Why bad GGUF files are refused.

use crate::common::*;

#[test]
fn a_gguf_file_cut_anywhere_is_refused() {
    let bytes = Gguf::small().bytes();
    for n in 0..bytes.len() {
        refused(open_gguf(bytes[..n].to_vec()), "m.gguf: … but the file has");
    }
}

#[test]
fn a_gguf_header_that_is_none_is_refused() {
    let with = |change: fn(&mut Gguf)| {
        let mut file = Gguf::small();
        change(&mut file);
        open_gguf(file.bytes())
    };
    refused! {
        open_gguf([b"GGJT", &[0; 20][..]].concat()) => "expected GGUF, found GGJT",
        open_gguf(b"<!DOCTYPE html><html></html>".to_vec()) => "expected GGUF, found <!DO",
        with(|f| f.version = 1) => "the version: expected 2 or 3, found 1",
        with(|f| f.version = 4) => "the version: expected 2 or 3, found 4",
        with(|f| f.version = 3 << 24) => "expected little-endian, found big-endian",
    }
}

#[test]
fn absurd_gguf_counts_are_refused() {
    let with = |change: fn(&mut Gguf)| {
        let mut file = Gguf::small();
        change(&mut file);
        open_gguf(file.bytes())
    };
    let key = |value| open_gguf(Gguf::small().key("k", value).bytes());
    refused! {
        with(|f| f.n_tensors = Some(u64::MAX)) => "number of tensors: expected at most … 18446744073709551615",
        with(|f| f.n_keys = Some(100_001)) => "number of keys: expected at most 100000, found 100001",
        with(|f| f.n_keys = Some(90_000)) => "the number of keys ends at byte … but the file has",
        with(|f| f.n_tensors = Some(60_000)) => "the number of tensors ends at byte",
        key(array(4, 10_000_001, &[])) => r#"array at key "k": expected at most 10000000, found 10000001"#,
        key(array(8, 9_000_000, &[])) => r#"array at key "k" ends at byte"#,
        key(typed(8, &u64::MAX.to_le_bytes())) => r#"string at key "k": expected at most 67108864"#,
        key(array(8, 1, &(1u64 << 40).to_le_bytes())) => "string at key … at most 67108864",
        key(array(9, 100_001, &[])) => "the length of the array … ends at byte",
    }
    let inner_arrays = array(9, 100_001, &inner(0, 0, &[]).repeat(100_001));
    refused! {
        key(inner_arrays) => "arrays in arrays: expected at most 100000, found 100003",
        with(|f| f.keys[1].0 = "k".repeat(65_536)) => "key number 1: expected at most 65535, found 65536",
    }
}

#[test]
fn gguf_values_of_wrong_kinds_are_refused() {
    let key = |name, value| open_gguf(Gguf::small().key(name, value).bytes());
    refused! {
        key("k", typed(13, &[0; 8])) => r#"key "k": expected a value type of 0 to 12, found 13"#,
        key("k", array(13, 0, &[])) => "expected a value type of 0 to 12, found 13",
        key("k", typed(7, &[2])) => r#"key "k": expected a boolean of 0 or 1, found 2"#,
        key("k", array(7, 2, &[1, 9])) => "expected a boolean of 0 or 1, found 9",
        key("k", array(9, 1, &inner(9, 1, &inner(0, 1, &[1])))) => "nested at most 2 deep",
        key("k", typed(8, &[1, 0, 0, 0, 0, 0, 0, 0, 0xff])) => r#"key "k" is not UTF-8"#,
        key("a.u8", typed(0, &[1])) => r#"key "a.u8" stands there twice"#,
    }
    let template = "tokenizer.chat_template";
    refused! {
        key(template, typed(0, &[1])) => "chat_template … expected a string, found u8 1",
        key(template, string(&"x".repeat((256 << 10) + 1))) => "at most 262144, found 262145",
        key("split.count", typed(2, &[3, 0])) => "split.count … expected 1, the model in one file, found 3",
    }
    for value in [
        typed(4, &0u32.to_le_bytes()),
        typed(4, &48u32.to_le_bytes()),
        typed(4, &(1u32 << 21).to_le_bytes()),
        typed(5, &32u32.to_le_bytes()),
        string("32"),
    ] {
        refused(
            key("general.alignment", value),
            "general.alignment … a u32 that is a power of two up to 2^20",
        );
    }
    let escape = key("\x1b[2J", typed(99, &[]));
    assert!(
        !escape
            .expect_err("an unknown type")
            .to_string()
            .contains('\x1b'),
        "a message must not command the terminal"
    );
}

#[test]
fn gguf_tensors_that_cannot_be_are_refused() {
    let change = |change: fn(&mut GgufTensor)| {
        let mut file = Gguf::small();
        change(&mut file.tensors[1]);
        open_gguf(file.bytes())
    };
    refused! {
        change(|t| t.dims = vec![1; 5]) => r#"tensor "q8_0" … expected at most 4 dimensions, found 5"#,
        change(|t| t.dims = vec![1 << 32, 1 << 32]) => r#"tensor "q8_0" … [4294967296, 4294967296] of q8_0 overflows"#,
        change(|t| t.dims = vec![0, u64::MAX]) => r#"tensor "q8_0" … overflows"#,
        change(|t| t.dims = vec![33, 2]) => r#"tensor "q8_0" … [2, 33] of q8_0 … whole blocks"#,
        change(|t| t.offset += 8) => "offset of tensor … expected a multiple of 32, found 40",
        change(|t| t.offset = 0) => r#"tensors "q8_0" and "f32" overlap"#,
        change(|t| t.offset = 1 << 20) => r#"tensor "q8_0" … but the file has"#,
        change(|t| t.offset = u64::MAX - 31) => r#"tensor "q8_0" … ends at byte 18446744073709551615"#,
        change(|t| t.dims = vec![64, 2000]) => r#"tensor "q8_0" … ends at byte"#,
        change(|t| t.name = "f32".to_owned()) => r#"tensor "f32" stands there twice"#,
        change(|t| t.kind = 1) => "overlap",
    }
}

#[test]
fn a_type_that_is_not_computed_is_an_error_only_where_it_is_used() {
    // Q2_K has a known size, number 77 has none and reaches to its neighbour.
    let file = Gguf::small()
        .tensor("q2_k", &[256], 10, 84)
        .tensor("new", &[7], 77, 100)
        .tensor("last", &[1], 0, 4);
    let model = open_gguf(file.bytes()).expect("a valid file");
    assert_eq!(model.tensors["q2_k"].n_bytes(), 84);
    assert_eq!(model.tensors["new"].n_bytes(), 128);
    assert_eq!(tensor_bytes(&model, "last").len(), 4);
    let error = model
        .dtype(&model.tensors["new"])
        .expect_err("unknown")
        .to_string();
    assert_eq!(
        error,
        r#"m.gguf: tensor "new" has elements of type ggml type 77, which is not supported"#
    );
    let error = model
        .rows(&model.tensors["q2_k"], 0..1)
        .expect_err("unknown")
        .to_string();
    assert!(error.contains("type Q2_K"), "{error}");
}

#[test]
fn another_alignment_moves_the_data() {
    let file = Gguf {
        alignment: 4,
        ..Gguf::default()
    }
    .key("general.alignment", typed(4, &4u32.to_le_bytes()));
    let model = open_gguf(file.tensor("a", &[1], 1, 2).tensor("b", &[1], 1, 2).bytes())
        .expect("a valid file");
    assert_eq!(
        model.tensors["b"].range.start - model.tensors["a"].range.start,
        4
    );
    assert_eq!(tensor_bytes(&model, "b"), [1, 2]);
}
