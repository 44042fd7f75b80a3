//! Why sidecars are refused, and why none is written.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use deputy::branch::{Draft, Error, Sidecar};
use deputy::file::{MemoryFolder, ModelFile, SliceSource};
use deputy::graph::RouterKind;
use pollster::block_on;
use serde_json::{Value, json};

use crate::common::*;
use crate::sidecar::{MLP, draft, good, identity, model_files, open, says, shape, tensor_shapes};

/// A table of values that are put in or, in the other, keys that are taken out, and why each is refused.
macro_rules! changed {
    ($refused:ident; $($pointer:literal, $value:expr => $why:expr,)*) => {
        $($refused($pointer, Some($value), $why);)*
    };
}

macro_rules! removed {
    ($refused:ident; $($pointer:literal => $why:expr,)*) => {
        $($refused($pointer, None, $why);)*
    };
}

/// A change to one key of a good `deputy.json`, by its pointer; `null` for `remove`.
fn changed(good: &Value, pointer: &str, value: Option<Value>) -> Value {
    let mut json = good.clone();
    let (parent, key) = pointer.rsplit_once('/').expect("a pointer");
    let parent = json.pointer_mut(parent).expect("a parent");
    match (parent, value) {
        (Value::Object(map), Some(value)) => drop(map.insert(key.to_owned(), value)),
        (Value::Object(map), None) => drop(map.remove(key).expect("is there")),
        (Value::Array(list), Some(value)) => list[key.parse::<usize>().expect("a number")] = value,
        (Value::Array(list), None) => drop(list.remove(key.parse::<usize>().expect("a number"))),
        _ => panic!("{pointer}: no parent"),
    }
    json
}

#[test]
fn a_bad_deputy_json_is_refused_by_key() {
    let (json, weights) = good("sidecar-bad-json");
    let good: Value = serde_json::from_slice(&json).expect("is JSON");
    open(json.clone(), weights.clone())
        .expect("is good")
        .expect("is there");
    let whole = "a whole number from";
    let table = |n: usize| -> Value {
        (0..n)
            .map(|i| json!({"effort": i as f64 / n as f64, "attention": 0, "ffn": 0}))
            .collect()
    };
    let refused = |pointer: &str, value: Option<Value>, why: &str| {
        let bytes = changed(&good, pointer, value).to_string().into_bytes();
        let error = open(bytes, weights.clone()).expect_err(why).to_string();
        says(&error, why);
    };
    changed! {
        refused;
        "/version", json!(2) => "version: expected a whole number from 1 to 1, found 2",
        "/version", json!("1") => "version: expected … found \"1\"",
        "/extra", json!(0) => "model/deputy.json: extra is not known",
        "/model", json!([]) => "model: expected an object, found an array",
        "/model/hash", json!(1) => "model.hash: expected a string, found a number",
        "/model/hash", json!("") => "model.hash: expected 64 hexadecimal digits, found",
        "/model/hash", json!("g".repeat(64)) => "model.hash: expected 64 hexadecimal digits",
        "/model/hash", json!("0".repeat(64)) => &format!("belongs to another model: model.hash: expected {}, found 000", identity().hash),
        "/model/architecture", json!("qwen3") => "model.architecture: expected the model's own, llama, found qwen3",
        "/model/n_layers", json!(4) => "model.n_layers: expected the model's own, 3, found 4",
        "/model/dim", json!(20) => "model.dim: expected the model's own, 16, found 20",
        "/model/ffn_dim", json!(16) => "model.ffn_dim: expected … 24, found 16",
        "/model/n_heads", json!(8) => "model.n_heads: expected … 4, found 8",
        "/model/n_kv_heads", json!(-1) => &format!("model.n_kv_heads: expected {whole} … found -1"),
        "/model/head_dim", json!(8.5) => &format!("model.head_dim: expected {whole} … found 8.5"),
        "/model/name", json!("x") => "model.name is not known",
        "/dense_layers", json!(3) => "dense_layers: expected a whole number from 0 to 2, found 3",
        "/dense_tokens", json!(1u64 << 32) => "dense_tokens: expected … to 16777216, found 4294967296",
        "/router", json!("linear") => "router: expected an object, found a string",
        "/router/kind", json!("tree") => "router.kind: expected one of linear, mlp, found \"tree\"",
        "/router/width", json!(8) => "router.width is not known",
        "/router", json!({"kind": "mlp"}) => "router.width: expected … found nothing",
        "/router", json!({"kind": "mlp", "width": 6}) => "router.width: expected a multiple of 4, found 6",
        "/router", json!({"kind": "mlp", "width": 0}) => "router.width: expected … from 4 to 4096, found 0",
        "/router", json!({"kind": "mlp", "width": 4100}) => "router.width: expected … from 4 to 4096, found 4100",
        "/cache", json!("sparse") => "cache: expected one of dense, latent-v, latent, found \"sparse\"",
        "/quantization_config", json!(8) => "quantization_config: expected an object, found …",
        "/quantization_config", json!({"quant_method": "gptq"}) =>
            "quantization_config.quant_method: expected one of deputy, found \"gptq\"",
        "/quantization_config", json!({"quant_method": "deputy", "version": 2}) => "quantization_config.version: expected 1, found 2",
        "/quantization_config", json!({"quant_method": "deputy", "version": 1, "tensors": {"layers.9.q.B": "q8_0"}}) =>
            "quantization_config.tensors: \"layers.9.q.B\": expected the name of a tensor … found no such tensor",
        "/quantization_config", json!({"quant_method": "deputy", "version": 1, "tensors": {"layers.1.q.B": "q8_0"}}) =>
            "tensor \"layers.1.q.B\": expected U8 rows of q8_0 blocks of 34 bytes, found f16 [32, 8]",
        "/factors", json!(8) => "factors: expected one of auto, q8, q4, f16, f32, found 8",
        "/effort/default", json!(1.5) => "effort.default: expected a number from 0 to 1, found 1.5",
        "/effort/default", json!(-0.1) => "effort.default: expected a number from 0 to 1, found -0.1",
        "/effort/default", json!("half") => "effort.default: expected a finite number, found \"half\"",
        "/effort/best", json!(1) => "effort.best is not known",
        "/effort/offsets", table(0) => "effort.offsets: expected 1 to 64 entries, found 0",
        "/effort/offsets", table(65) => "effort.offsets: expected 1 to 64 entries, found 65",
        "/effort/offsets", json!({}) => "effort.offsets: expected an array, found an object",
        "/effort/offsets/1", json!(0) => "effort.offsets[1]: expected an object, found a number",
        "/effort/offsets/1/effort", json!(0.0) => "effort.offsets[1].effort: expected a number above 0, the one before, found 0",
        "/effort/offsets/2/effort", json!(0.05) => "effort.offsets[2].effort: expected a number above 0.1",
        "/effort/offsets/2/effort", json!(1.01) => "effort.offsets[2].effort: expected a number from 0 to 1, found 1.01",
        "/effort/offsets/0/attention", json!(1e39) => "effort.offsets[0].attention: expected a finite number, found 1e+39",
        "/effort/offsets/0/ffn", json!(null) => "effort.offsets[0].ffn: expected a finite number, found null",
        "/effort/offsets/0/skip", json!(1) => "effort.offsets[0].skip is not known",
        "/layers", json!({}) => "layers: expected an array, found an object",
        "/layers", json!([{}, {}]) => "layers: expected an entry for each of 3 layers, found 2",
        "/layers/0", json!(null) => "layers[0]: expected an object, found null",
        "/layers/1/q", json!(0) => "layers[1].q: expected a whole number from 4 to 16, found 0",
        "/layers/1/q", json!(6) => "layers[1].q: expected a multiple of 4, found 6",
        "/layers/1/q", json!(20) => "layers[1].q: expected a whole number from 4 to 16, found 20",
        "/layers/1/q", json!(null) => "layers[1].q: expected a whole number from 4 to 16, found null",
        "/layers/2/down", json!(20) => "layers[2].down: expected a whole number from 4 to 16, found 20",
        "/layers/2/up", json!(8) => "layers[2]: expected gate and up with one rank or both without, found 4 and 8",
        "/layers/1/w", json!(4) => "layers[1].w is not known",
        "/calibration", json!(3) => "calibration: expected an object, found a number",
    }
    removed! {
        refused;
        "/version" => "version: expected a whole number from 1 to 1, found nothing",
        "/model" => "model: expected an object, found nothing",
        "/model/hash" => "model.hash: expected a string, found nothing",
        "/model/head_dim" => "model.head_dim: expected … found nothing",
        "/dense_layers" => "dense_layers: expected … found nothing",
        "/dense_tokens" => "dense_tokens: expected … found nothing",
        "/router" => "router: expected an object, found nothing",
        "/router/kind" => "router.kind: expected one of linear, mlp, found nothing",
        "/cache" => "cache: expected one of … found nothing",
        "/factors" => "factors: expected one of … found nothing",
        "/effort" => "effort: expected an object, found nothing",
        "/effort/default" => "effort.default: expected a finite number, found nothing",
        "/effort/offsets" => "effort.offsets: expected an array, found nothing",
        "/effort/offsets/0/ffn" => "effort.offsets[0].ffn: expected … found nothing",
        "/layers" => "layers: expected an array, found nothing",
        "/layers/1/k" => "layers[1]: expected k and v both with a rank or both without, found none and 8",
        "/layers/1/v" => "layers[1]: expected k and v both with a rank or both without, found 4 and none",
        "/layers/2/gate" => "layers[2]: expected gate and up with one rank or both without, found none and 4",
        "/layers/1/q" => r#"unexpected tensor "layers.1.q.B""#,
    }
    let without = changed(&good, "/calibration", None)
        .to_string()
        .into_bytes();
    open(without, weights.clone()).expect("a summary is not needed");

    let text = String::from_utf8(json).expect("UTF-8");
    for (bytes, why) in [
        (
            text.replace(
                "\"dense_tokens\": 2",
                "\"dense_tokens\": 2, \"dense_tokens\": 2",
            ),
            r#"key "dense_tokens" stands there twice at line"#,
        ),
        (
            text.replace("{\n      \"q\": 8", "{\"q\": 8, \"q\": 8"),
            r#"key "q" stands there twice"#,
        ),
        (
            "[]".to_owned(),
            "its value: expected an object, found an array",
        ),
        (String::new(), "line 1 column 0"),
        (text[..text.len() / 2].to_owned(), "EOF while parsing"),
        (format!("\u{feff}{text}"), "a byte order mark"),
        (
            format!("{text}{}", " ".repeat(1 << 20)),
            "length in bytes: expected at most 1048576",
        ),
        ("[".repeat(9_000), "recursion limit"),
    ] {
        assert_ne!(bytes, text);
        let error = open(bytes.into_bytes(), weights.clone())
            .expect_err(why)
            .to_string();
        says(&error, &format!("model/deputy.json: … {why}"));
    }
}

/// Name, type, shape, and the byte that fills it.
type Filled = (String, &'static str, Vec<usize>, u8);

/// A safetensors file of these tensors.
fn weights_of(tensors: &[Filled]) -> Vec<u8> {
    let (mut entries, mut data) = (vec![], vec![]);
    for (name, dtype, shape, fill) in tensors {
        let size = match *dtype {
            "F64" | "I64" => 8,
            "F32" => 4,
            "F16" | "BF16" => 2,
            _ => 1,
        };
        let begin = data.len();
        let end = begin + shape.iter().product::<usize>() * size;
        data.resize(end, *fill);
        entries.push(entry(
            name,
            dtype,
            &format!("{shape:?}"),
            begin as u64,
            end as u64,
        ));
    }
    safetensors(&format!("{{{}}}", entries.join(",")), &data)
}

#[test]
fn bad_tensors_of_a_sidecar_are_refused_by_name() {
    let (json, _) = good("sidecar-bad-tensors");
    let tensors: Vec<_> = tensor_shapes(RouterKind::Linear)
        .into_iter()
        .zip(["F32", "F16", "BF16"].iter().cycle())
        .map(|((name, shape), dtype)| (name, *dtype, shape, 0))
        .collect();
    let open = |tensors: &[Filled]| open(json.clone(), weights_of(tensors));
    let sidecar = open(&tensors)
        .expect("any plain type will do")
        .expect("is there");
    block_on(sidecar.check_finite()).expect("zeros are finite");

    for i in 0..tensors.len() {
        let name = &tensors[i].0;
        let change = |change: &dyn Fn(&mut Filled)| {
            let mut tensors = tensors.clone();
            change(&mut tensors[i]);
            open(&tensors)
        };
        let refused = |result: Result<Option<Sidecar>, Error>, why: String| {
            says(
                &result.expect_err(&why).to_string(),
                &format!("model/deputy.safetensors: {why}"),
            );
        };
        let mut fewer = tensors.clone();
        fewer.remove(i);
        refused(
            open(&fewer),
            format!("tensor {name:?} of shape {:?} is missing", tensors[i].2),
        );
        refused(
            change(&|t| t.0.push('x')),
            format!("tensor {name:?} of shape … is missing"),
        );
        refused(
            change(&|t| t.2[0] += 1),
            format!(
                "tensor {name:?}: expected shape {:?}, found [",
                tensors[i].2
            ),
        );
        refused(
            change(&|t| t.2.push(1)),
            format!("tensor {name:?}: expected shape … 1]"),
        );
        for dtype in ["I64", "F64", "U8", "F8_E4M3"] {
            refused(
                change(&|t| t.1 = dtype),
                format!("tensor {name:?}: expected elements of F32, F16 or BF16, found {dtype}"),
            );
        }
        // All bits set are NaN in each of the types.
        let sidecar = change(&|t| t.3 = 0xff)
            .expect("values are not looked at")
            .expect("is there");
        let error = block_on(sidecar.check_finite())
            .expect_err("NaN")
            .to_string();
        says(
            &error,
            &format!("deputy.safetensors: tensor {name:?} holds NaN or infinity in row 0"),
        );
        refused(
            open(&[&tensors[..], &[tensors[i].clone()]].concat()),
            format!("tensor {name:?} stands there twice"),
        );
    }
    let more = ("layers.0.router.bias".to_owned(), "F32", vec![5], 0);
    says(
        &open(&[&tensors[..], &[more]].concat())
            .expect_err("layer 0 has no router")
            .to_string(),
        r#"unexpected tensor "layers.0.router.bias""#,
    );

    // The row is named, whatever piece it is read in.
    let mut weights = weights_of(&tensors);
    let at = weights.len() - 4 - 3 * 16 * 2; // Row 2 of the last one, BF16 [5, 16].
    assert_eq!(
        (tensors[19].0.as_str(), tensors[19].1),
        ("layers.2.router.weight", "F16")
    );
    weights[at..at + 4].fill(0xff);
    let sidecar = crate::sidecar::open(json.clone(), weights)
        .expect("a valid file")
        .expect("is there");
    let error = block_on(sidecar.check_finite())
        .expect_err("NaN")
        .to_string();
    says(
        &error,
        r#"tensor "layers.2.router.weight" holds NaN or infinity in row 1"#,
    );
}

#[test]
fn a_sidecar_cut_anywhere_is_refused() {
    let (json, weights) = good("sidecar-cut");
    let end = json
        .iter()
        .rposition(|&byte| byte == b'}')
        .expect("is there");
    for n in 0..end {
        open(json[..n].to_vec(), weights.clone()).expect_err("cut");
    }
    for n in 0..weights.len() {
        open(json.clone(), weights[..n].to_vec()).expect_err("cut");
    }
    let mut files = MemoryFolder::new("alone", BTreeMap::new());
    for (name, bytes) in model_files() {
        files.insert(name, Arc::new(SliceSource::new(name, bytes)));
    }
    files.insert(
        "deputy.json",
        Arc::new(SliceSource::new("deputy.json", json)),
    );
    let file = block_on(ModelFile::open_folder(Arc::new(files))).expect("a valid folder");
    let error = block_on(Sidecar::open(&file, shape()))
        .expect_err("half")
        .to_string();
    says(
        &error,
        r#"alone: file "deputy.safetensors" is missing; deputy.json names it"#,
    );
}

#[test]
fn a_draft_that_no_reader_would_accept_is_not_written() {
    let path = folder("sidecar-draft");
    let identity = identity();
    let good = draft(MLP);
    let refused = |change: &dyn Fn(&mut Draft), why: &str| {
        let mut draft = good.clone();
        change(&mut draft);
        let error = draft.write(&identity, &path).expect_err(why).to_string();
        says(&error, why);
        let n_files = fs::read_dir(&path).expect("is there").count();
        assert_eq!(n_files, 0, "{why}: something is left");
    };
    refused(
        &|d| drop(d.tensors.remove(0)),
        r#"tensor "layers.1.q.B" of shape [32, 8] is missing"#,
    );
    refused(
        &|d| d.tensors.push(d.tensors[3].clone()),
        r#"tensor "layers.1.k.D" stands there twice"#,
    );
    refused(
        &|d| d.tensors.push(("x".into(), vec![1], vec![0.0])),
        r#"unexpected tensor "x""#,
    );
    refused(
        &|d| d.tensors[0].1 = vec![8, 32],
        "expected shape [32, 8], found [8, 32]",
    );
    refused(
        &|d| d.tensors[0].2.truncate(255),
        r#"tensor "layers.1.q.B": expected values of shape [32, 8], found 255 values"#,
    );
    refused(
        &|d| d.tensors[0].2[16] = f32::NAN,
        r#"tensor "layers.1.q.B" holds NaN or infinity in row 2"#,
    );
    refused(
        &|d| d.tensors[0].2[16] = 1e5,
        "holds NaN or infinity in row 2",
    );
    refused(
        &|d| d.settings.routing.layers[1].k = None,
        "layers[1]: expected k and v both",
    );
    refused(
        &|d| d.settings.routing.dense_layers = 3,
        "dense_layers: expected",
    );
    refused(
        &|d| d.settings.calibration = json!(1),
        "calibration: expected an object",
    );
    refused(
        &|d| d.settings.calibration = json!({"text": " ".repeat(1 << 20)}),
        "at most 1048576",
    );
    refused(
        &|d| d.settings.calibration = json!({"ids": vec![0; 100_000]}),
        "number of JSON values",
    );
    good.write(&identity, &path).expect("a valid sidecar");
}

/// Opens mutation number `case` of a good sidecar and reads all of it. A panic says which case it was.
fn open_mutated(json: &[u8], weights: &[u8], case: u64) -> bool {
    let mut random = Random(case);
    let (mut json, mut weights) = (json.to_vec(), weights.to_vec());
    match random.below(2) {
        0 => mutate(&mut json, &mut random),
        _ => mutate(&mut weights, &mut random),
    }
    let start = Instant::now();
    let result = std::panic::catch_unwind(|| {
        let Ok(Some(sidecar)) = open(json, weights) else {
            return false;
        };
        let effort = &sidecar.settings.effort;
        for i in 0..=10 {
            let [attention, ffn] = effort.offsets(i as f32 / 10.0).expect("a valid effort");
            assert!(attention.is_finite() && ffn.is_finite());
        }
        block_on(sidecar.check_finite()).is_ok()
    });
    let took = start.elapsed();
    assert!(took < Duration::from_secs(1), "case {case} took {took:?}");
    result.unwrap_or_else(|_| panic!("case {case} panicked"))
}

#[test]
fn no_mutation_of_a_sidecar_panics_or_takes_long() {
    let (json, weights) = good("sidecar-mutations");
    let n_accepted = (0..4000)
        .filter(|&case| open_mutated(&json, &weights, case))
        .count();
    println!("{n_accepted} of 4000 mutations are still sidecars");
    assert!((1..4000).contains(&n_accepted), "they test nothing");
}

/// Runs for `DEPUTY_FUZZ_SECONDS` (default 2).
#[test]
fn fuzzing_a_sidecar_finds_no_crash() {
    let seconds =
        std::env::var("DEPUTY_FUZZ_SECONDS").map_or(2, |s| s.parse().expect("a number of seconds"));
    let (json, weights) = good("sidecar-fuzz");
    let start = Instant::now();
    let mut case = 1 << 32;
    while start.elapsed() < Duration::from_secs(seconds) {
        open_mutated(&json, &weights, case);
        case += 1;
    }
    println!("{} inputs", case - (1 << 32));
}

#[test]
fn a_folder_that_cannot_be_written_is_an_error_and_stays_as_it_is() {
    let path = folder("sidecar-file").join("file");
    fs::write(&path, b"a file").expect("can be written");
    let error = draft(MLP)
        .write(&identity(), &path.join("deeper"))
        .expect_err("no folder");
    assert!(matches!(error, Error::File(_)), "{error}");
    assert_eq!(fs::read(&path).expect("is there"), b"a file");
}
