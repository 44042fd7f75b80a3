//! LoRA adapters in PEFT's format, whose B may stand in the factors.
//!
//! With `W = W_pre + s·B·A` the low-rank branch is `B·(C + s·A)`, where `B·C ≈ W_pre` by least
//! squares: that is `B·B⁺·W`. So B is all that is taken from the adapter, and the model is the one
//! that the adapter has been merged into: its full branch is W.

use std::collections::HashMap;
use std::path::Path;

use faer::Mat;
use safetensors::SafeTensors;

use super::{Error, Linear};
use crate::file;
use crate::tensor::DType;
use crate::tensor::quant::dequantize_row;

/// The B of an adapter.
#[derive(Debug)]
pub struct Lora {
    file: String,
    /// `[d_out, r]` by layer and linear.
    b: HashMap<(u32, Linear), Mat<f64>>,
}

/// The adapter's weights in its folder.
const FILE: &str = "adapter_model.safetensors";

impl Lora {
    /// Reads `adapter_model.safetensors` of a folder.
    ///
    /// # Errors
    /// [`Error::Adapter`] where it has no B, or one of another type or shape; what reading reports.
    pub fn open(folder: &Path) -> Result<Self, Error> {
        let path = folder.join(FILE);
        let file = path.display().to_string();
        let bytes = std::fs::read(&path).map_err(|cause| file::Error::Io {
            file: file.clone(),
            cause,
        })?;
        let adapter = |what: &str, expected: &str, found: String| Error::Adapter {
            file: file.clone(),
            what: what.to_owned(),
            expected: expected.to_owned(),
            found,
        };
        let tensors = SafeTensors::deserialize(&bytes)
            .map_err(|cause| adapter("header", "safetensors", cause.to_string()))?;
        let mut b = HashMap::new();
        for (name, view) in tensors.iter() {
            let Some(key) = place(name) else { continue };
            let dtype = match view.dtype() {
                safetensors::Dtype::F32 => DType::F32,
                safetensors::Dtype::F16 => DType::F16,
                safetensors::Dtype::BF16 => DType::BF16,
                other => return Err(adapter(name, "F32, F16 or BF16", format!("{other:?}"))),
            };
            let &[rows, rank] = view.shape() else {
                return Err(adapter(name, "two extents", format!("{:?}", view.shape())));
            };
            let mut values = vec![0.0; rows * rank];
            dequantize_row(dtype, view.data(), &mut values);
            if values.iter().any(|value| !value.is_finite()) {
                return Err(adapter(name, "finite values", "NaN or infinity".to_owned()));
            }
            let matrix = Mat::from_fn(rows, rank, |i, j| f64::from(values[i * rank + j]));
            b.insert(key, matrix);
        }
        if b.is_empty() {
            let found = format!("{} tensors", tensors.len());
            return Err(adapter("tensors", "layers.N.….lora_B.weight", found));
        }
        Ok(Self { file, b })
    }

    /// Whether it has a B for a linear.
    pub fn has(&self, layer: u32, linear: Linear) -> bool {
        self.b.contains_key(&(layer, linear))
    }

    /// The B of a linear with `d_out` outputs.
    pub(super) fn b(
        &self,
        layer: u32,
        linear: Linear,
        d_out: usize,
    ) -> Result<Option<&Mat<f64>>, Error> {
        let Some(b) = self.b.get(&(layer, linear)) else {
            return Ok(None);
        };
        if b.nrows() != d_out {
            return Err(self.wrong(
                layer,
                linear,
                format!("{d_out} rows"),
                b.nrows().to_string(),
            ));
        }
        Ok(Some(b))
    }

    /// The error for a B that spans less than the kernels read at a time.
    pub(super) fn too_few(&self, layer: u32, linear: Linear) -> Error {
        let expected = "a rank of 4 at least".to_owned();
        self.wrong(layer, linear, expected, "less".to_owned())
    }

    fn wrong(&self, layer: u32, linear: Linear, expected: String, found: String) -> Error {
        Error::Adapter {
            file: self.file.clone(),
            what: format!("layers.{layer}.{}.lora_B", linear.module()),
            expected,
            found,
        }
    }
}

/// The layer and linear of `….layers.N.self_attn.q_proj.lora_B.weight`.
fn place(name: &str) -> Option<(u32, Linear)> {
    // PEFT puts the adapter's name between where there are several.
    let name = name
        .strip_suffix(".lora_B.weight")
        .or_else(|| name.strip_suffix(".lora_B.default.weight"))?;
    let (_, name) = name.rsplit_once("layers.")?;
    let (layer, module) = name.split_once('.')?;
    let linear = Linear::ALL.into_iter().find(|l| l.module() == module)?;
    Some((layer.parse().ok()?, linear))
}
