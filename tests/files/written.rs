//! What the writers write.

use std::collections::BTreeMap;

use deputy::file::gguf::Value;
use deputy::file::*;
use deputy::tensor::{DType, Shape};

use crate::common::*;

#[test]
fn the_gguf_writer_writes_byte_for_byte_what_was_read() {
    let file = Gguf::small();
    let model = open_gguf(file.bytes()).expect("a valid file");
    let Metadata::Gguf(metadata) = &model.metadata else {
        panic!("not GGUF metadata")
    };
    let order = ["f32", "q8_0", "q4_k", "bf16"];
    let declared = order.map(|name| {
        let tensor = &model.tensors[name];
        Declaration {
            name: name.to_owned(),
            dtype: model.dtype(tensor).expect("known"),
            shape: tensor.shape.clone(),
        }
    });
    let mut writer =
        GgufWriter::new("out", Vec::new(), metadata.entries(), &declared).expect("valid parts");
    for name in order {
        tensor_bytes(&model, name)
            .chunks(50)
            .for_each(|part| writer.write(name, part).expect("the next bytes"));
    }
    let mut expected = file.bytes();
    // The builder leaves the last tensor unpadded.
    expected.resize(expected.len().next_multiple_of(32), 0);
    assert_eq!(writer.finish().expect("everything written"), expected);
}

#[test]
fn quantised_safetensors_come_back_as_they_were_declared() {
    let declare = |name: &str, dtype, shape: &[usize]| Declaration {
        name: name.to_owned(),
        dtype,
        shape: Shape(shape.to_vec()),
    };
    let declared = [
        declare("w", DType::Q4_0, &[3, 64]),
        declare("v", DType::Q8_0, &[2, 32]),
        declare("norm", DType::F16, &[5]),
    ];
    let metadata = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
    let mut writer =
        SafetensorsWriter::new("out", Vec::new(), &metadata, &declared).expect("valid parts");
    for (name, n_bytes) in [("w", 108), ("v", 68), ("norm", 10)] {
        writer
            .write(name, &(0..n_bytes).collect::<Vec<u8>>())
            .expect("the next bytes");
    }
    let bytes = writer.finish().expect("everything written");
    let theirs = safetensors::SafeTensors::deserialize(&bytes).expect("readable by others");
    assert_eq!(theirs.tensor("w").expect("present").shape(), [3, 36]);
    assert_eq!(
        theirs.tensor("w").expect("present").dtype(),
        safetensors::Dtype::U8
    );

    let quantised = quantization_config([("w", DType::Q4_0), ("v", DType::Q8_0)]);
    let config = serde_json::json!({"quantization_config": quantised})
        .to_string()
        .into_bytes();
    let model = open_folder([("config.json", config), ("model.safetensors", bytes)])
        .expect("a valid folder");
    for tensor in &declared {
        let found = &model.tensors[&tensor.name];
        assert_eq!(
            (&found.dtype, &found.shape),
            (&ElementType::Known(tensor.dtype), &tensor.shape),
            "{}",
            tensor.name
        );
    }
    assert_eq!(tensor_bytes(&model, "v"), (0..68).collect::<Vec<u8>>());
    assert_eq!(
        model.rows(&model.tensors["w"], 1..3).expect("rows"),
        36..108
    );
}

#[test]
fn empty_tensors_are_written_without_bytes() {
    let declare = |name: &str, n: usize| Declaration {
        name: name.to_owned(),
        dtype: DType::F16,
        shape: Shape::from([n]),
    };
    let declared = [
        declare("a", 0),
        declare("b", 1),
        declare("c", 0),
        declare("d", 1),
        declare("e", 0),
    ];
    let mut safetensors = SafetensorsWriter::new("out", Vec::new(), &BTreeMap::new(), &declared)
        .expect("valid parts");
    let mut gguf = GgufWriter::new("out", Vec::new(), &[], &declared).expect("valid parts");
    for (name, bytes) in [("b", [1, 2]), ("c", [3, 4]), ("d", [5, 6])] {
        assert_eq!(
            safetensors.write(name, &bytes).is_ok(),
            name != "c",
            "{name}"
        );
        assert_eq!(gguf.write(name, &bytes).is_ok(), name != "c", "{name}");
    }
    for model in [
        open_safetensors(safetensors.finish().expect("everything written")),
        open_gguf(gguf.finish().expect("everything written")),
    ] {
        let model = model.expect("a valid file");
        assert_eq!(tensor_bytes(&model, "d"), [5, 6]);
        assert_eq!(model.tensors["e"].n_bytes(), 0);
    }
}

#[test]
fn a_writer_refuses_what_no_reader_would_accept() {
    let one = |dtype, shape: &[usize]| {
        [Declaration {
            name: "t".to_owned(),
            dtype,
            shape: Shape(shape.to_vec()),
        }]
    };
    let none = BTreeMap::new();
    let new = |tensors: &[Declaration]| SafetensorsWriter::new("out", Vec::new(), &none, tensors);
    let message = |result: Result<(), Error>| result.expect_err("refused").to_string();

    assert!(message(new(&one(DType::Q4_0, &[2, 33])).map(drop)).contains("shape [2, 33] of q4_0"));
    assert!(message(new(&one(DType::F32, &[usize::MAX, 2])).map(drop)).contains("overflows"));
    let twice = [one(DType::F32, &[1]), one(DType::F32, &[1])].concat();
    assert!(message(new(&twice).map(drop)).contains(r#"tensor "t" stands there twice"#));
    let keys = vec![("k".to_owned(), Value::U8(1)); 2];
    assert!(
        message(GgufWriter::new("out", Vec::new(), &keys, &[]).map(drop))
            .contains(r#"key "k" stands there twice"#)
    );

    let mut writer = new(&one(DType::F32, &[2])).expect("valid parts");
    assert!(message(writer.write("u", &[0; 4])).contains(r#"expected tensor "t", found u"#));
    assert!(message(writer.write("t", &[0; 9])).contains("expected 8 more bytes, found 9"));
    writer.write("t", &[0; 4]).expect("half of it");
    assert!(message(writer.finish().map(drop)).contains("expected 8 bytes, found 4"));
}
