//! Quantised tensors in safetensors, which has no type for them.
//!
//! A tensor of `[rows, cols]` is stored as `U8` with the shape
//! `[rows, bytes of a row]`, its rows being blocks as in GGUF, and config.json
//! says which tensors are meant:
//!
//! ```json
//! "quantization_config": {"quant_method": "deputy", "version": 1, "tensors": {"lm_head.weight": "q4_0"}}
//! ```

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::error::{Error, brief};
use super::model_file::{ElementType, TensorInfo, kind};
use crate::tensor::{DType, Shape};

const METHOD: &str = "deputy";
const VERSION: u64 = 1;

/// The `quantization_config` that makes a reader see `tensors` as quantised.
pub fn quantization_config<'a>(tensors: impl IntoIterator<Item = (&'a str, DType)>) -> Value {
    let tensors: serde_json::Map<String, Value> = tensors
        .into_iter()
        .map(|(name, dtype)| (name.to_owned(), dtype.name().into()))
        .collect();
    json!({"quant_method": METHOD, "version": VERSION, "tensors": tensors})
}

/// Gives the tensors that `config` lists their real type and shape.
/// Another quantisation method is left to whoever reads the config.
///
/// # Errors
/// [`Error::Unexpected`] where the list is none, or names what is not there or of other bytes.
pub fn apply_quantization(
    file: &str,
    config: &Value,
    tensors: &mut BTreeMap<String, TensorInfo>,
) -> Result<(), Error> {
    let Some(quantization) = config.get("quantization_config") else {
        return Ok(());
    };
    if quantization.get("quant_method").and_then(Value::as_str) != Some(METHOD) {
        return Ok(());
    }
    let version = quantization.get("version");
    if version.and_then(Value::as_u64) != Some(VERSION) {
        let found = version.map_or("nothing".to_owned(), Value::to_string);
        return Err(Error::unexpected(
            file,
            "quantization_config.version",
            VERSION.to_string(),
            found,
        ));
    }
    let listed = quantization.get("tensors");
    let Some(Value::Object(listed)) = listed else {
        let found = listed.map_or("nothing", kind);
        return Err(Error::unexpected(
            file,
            "quantization_config.tensors",
            "an object",
            found,
        ));
    };
    for (name, value) in listed {
        let dtype = DType::ALL
            .into_iter()
            .find(|dtype| dtype.is_quantized() && value.as_str() == Some(dtype.name()));
        let dtype = dtype.ok_or_else(|| {
            let what = format!("quantization_config.tensors: {:?}", brief(name));
            Error::unexpected(file, what, "the name of a block format", value)
        })?;
        let tensor = tensors.get_mut(name).ok_or_else(|| {
            let what = format!("quantization_config.tensors: {:?}", brief(name));
            Error::unexpected(
                file,
                what,
                "the name of a tensor of this model",
                "no such tensor",
            )
        })?;
        tensor.shape = logical_shape(tensor, dtype).ok_or_else(|| {
            let expected = format!("U8 rows of {dtype} blocks of {} bytes", dtype.block_bytes());
            let found = format!("{} {}", tensor.dtype, tensor.shape);
            Error::unexpected(file, format!("tensor {:?}", brief(name)), expected, found)
        })?;
        tensor.dtype = ElementType::Known(dtype);
    }
    Ok(())
}

fn logical_shape(tensor: &TensorInfo, dtype: DType) -> Option<Shape> {
    let ([rows, row_bytes], true) = (
        &tensor.shape.0[..],
        tensor.dtype == ElementType::Other("U8".to_owned()),
    ) else {
        return None;
    };
    if !row_bytes.is_multiple_of(dtype.block_bytes()) {
        return None;
    }
    let cols = (row_bytes / dtype.block_bytes()).checked_mul(dtype.block_len())?;
    Some(Shape(vec![*rows, cols]))
}
