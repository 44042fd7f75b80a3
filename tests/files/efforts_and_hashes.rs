//! What an effort means, and what tells a model from another.

use deputy::branch::{Effort, ModelIdentity, ModelShape, Offsets};
use deputy::graph::ALL_FULL;
use pollster::block_on;

use crate::common::*;
use crate::sidecar::{says, shape};

#[test]
fn offsets_are_interpolated_and_effort_one_is_all_full() {
    let entry = |effort, attention, ffn| Offsets {
        effort,
        attention,
        ffn,
    };
    let effort = Effort::new(0.5, vec![entry(0.2, -4.0, -8.0), entry(0.6, 4.0, 8.0)])
        .expect("a valid table");
    for (at, expected) in [
        (0.0, [-4.0, -8.0]),
        (0.2, [-4.0, -8.0]),
        (0.3, [-2.0, -4.0]),
        (0.4, [0.0, 0.0]),
        (0.6, [4.0, 8.0]),
        (0.999, [4.0, 8.0]),
        (1.0, [ALL_FULL, ALL_FULL]),
    ] {
        let got = effort.offsets(at).expect("a valid effort");
        for (got, expected) in got.into_iter().zip(expected) {
            let near = (got - expected).abs() <= 1e-5 * expected.abs().max(1.0);
            assert!(near, "effort {at}: {got} for {expected}");
        }
    }
    let wide = Effort::new(
        0.5,
        vec![
            entry(0.0, f32::MIN, f32::MAX),
            entry(1.0, f32::MAX, f32::MIN),
        ],
    );
    let wide = wide.expect("a valid table");
    for i in 0..100 {
        let got = wide.offsets(i as f32 / 100.0).expect("a valid effort");
        assert!(got.iter().all(|x| x.is_finite()), "{got:?} overflows");
    }
    for wrong in [-0.001, 1.001, f32::NAN, f32::INFINITY] {
        let error = effort.offsets(wrong).expect_err("no effort").to_string();
        says(&error, "effort: expected a number from 0 to 1, found");
    }
    let refused = |default, table, why| {
        says(
            &Effort::new(default, table).expect_err(why).to_string(),
            why,
        );
    };
    refused(
        f32::NAN,
        vec![entry(0.0, 0.0, 0.0)],
        "effort.default: expected a number from 0 to 1, found NaN",
    );
    refused(0.0, vec![], "1 to 64 entries");
    refused(
        0.0,
        vec![entry(0.0, f32::INFINITY, 0.0)],
        "offsets[0].attention: expected a finite number, found inf",
    );
    refused(
        0.0,
        vec![entry(f32::NAN, 0.0, 0.0)],
        "offsets[0].effort: expected a number from 0 to 1, found NaN",
    );
}

#[test]
fn the_hash_tells_models_apart() {
    let hash = |shape: ModelShape, weights: Vec<u8>| {
        let files = [
            ("config.json", b"{}".to_vec()),
            ("model.safetensors", weights),
        ];
        let file = open_folder(files).expect("a valid folder");
        block_on(ModelIdentity::of(&file, shape))
            .expect("can be read")
            .hash
    };
    let own = hash(shape(), small_safetensors());
    // By its definition, with another program: sha256sum.
    assert_eq!(
        own,
        "5214c8132bf39f466dcc689ab79009597980e878bb19f1f2786735dffb281f15"
    );
    let mut seen = vec![own];
    let mut new = |hash: String| {
        assert!(!seen.contains(&hash), "{hash}");
        seen.push(hash);
    };
    for change in [
        |shape: &mut ModelShape| shape.architecture = "qwen3".to_owned(),
        |shape: &mut ModelShape| shape.n_layers += 1,
        |shape: &mut ModelShape| shape.dim += 4,
        |shape: &mut ModelShape| shape.ffn_dim += 4,
        |shape: &mut ModelShape| shape.n_heads += 4,
        |shape: &mut ModelShape| shape.n_kv_heads += 2,
        |shape: &mut ModelShape| shape.head_dim += 4,
    ] {
        let mut shape = shape();
        change(&mut shape);
        new(hash(shape, small_safetensors()));
    }
    let n = small_safetensors().len();
    for i in n - 30..n {
        let mut weights = small_safetensors();
        weights[i] ^= 1;
        new(hash(shape(), weights));
    }
    let text = |from: &str, to: &str| {
        let bytes = small_safetensors();
        let header = String::from_utf8_lossy(&bytes[8..bytes.len() - 30]).replace(from, to);
        safetensors(&header, &bytes[bytes.len() - 30..])
    };
    new(hash(shape(), text(r#""a""#, r#""A""#)));
    new(hash(shape(), text("[2,2]", "[4,1]")));
    new(hash(shape(), text("BF16", "F16")));

    // Of a large tensor the first 64 KiB count, and its size.
    let large = |n: usize, at: usize| {
        let mut data = vec![0; n];
        data[at] = 1;
        safetensors(
            &format!("{{{}}}", entry("t", "U8", &format!("[{n}]"), 0, n as u64)),
            &data,
        )
    };
    let first = hash(shape(), large(70_000, 65_535));
    let second = hash(shape(), large(70_000, 65_536));
    assert_eq!(second, hash(shape(), large(70_000, 69_999)));
    assert_ne!(first, second);
    assert_ne!(second, hash(shape(), large(70_001, 69_999)));
}
