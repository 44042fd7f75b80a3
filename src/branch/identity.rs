//! Which model a sidecar was made for.

use std::fmt::Write;

use sha2::{Digest, Sha256};

use crate::file::{self, ModelFile};
use crate::graph::PREFIX;

/// The numbers of a model that shape its projections. Names as in its configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelShape {
    /// Our name for its kind: `llama`.
    pub architecture: String,
    /// Number of layers.
    pub n_layers: u32,
    /// Width of the residual stream.
    pub dim: u32,
    /// Inner width of the FFN.
    pub ffn_dim: u32,
    /// Heads of the queries.
    pub n_heads: u32,
    /// Heads of keys and values.
    pub n_kv_heads: u32,
    /// Width of a head.
    pub head_dim: u32,
}

/// What tells a model from every other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelIdentity {
    /// SHA-256 in hexadecimal digits; see [`ModelIdentity::of`].
    pub hash: String,
    /// Its numbers.
    pub shape: ModelShape,
}

/// Bytes of each tensor that go into the hash: enough to tell weights apart, few enough to be read
/// before each start (17 MB of a model of 272 tensors, 20 ms on a CPU with SHA instructions).
const HASHED: u64 = 64 << 10;

impl ModelShape {
    /// Outputs and inputs of a projection, by its name in a sidecar.
    ///
    /// # Panics
    /// For any other name.
    pub fn projection(&self, name: &str) -> (u32, u32) {
        let q_dim = self.n_heads.saturating_mul(self.head_dim);
        let kv_dim = self.n_kv_heads.saturating_mul(self.head_dim);
        match name {
            "q" => (q_dim, self.dim),
            "k" | "v" => (kv_dim, self.dim),
            "o" => (self.dim, q_dim),
            "gate" | "up" => (self.ffn_dim, self.dim),
            "down" => (self.dim, self.ffn_dim),
            other => panic!("{other:?} is no projection"),
        }
    }

    /// The numbers with their keys.
    pub(super) fn numbers(&self) -> [(&'static str, u32); 6] {
        [
            ("n_layers", self.n_layers),
            ("dim", self.dim),
            ("ffn_dim", self.ffn_dim),
            ("n_heads", self.n_heads),
            ("n_kv_heads", self.n_kv_heads),
            ("head_dim", self.head_dim),
        ]
    }
}

impl ModelIdentity {
    /// Reads the beginning of every tensor. The hash is that of this text, in UTF-8, with bytes
    /// between its lines:
    ///
    /// ```text
    /// deputy model 1
    /// architecture llama
    /// n_layers 16                   and so dim, ffn_dim, n_heads, n_kv_heads, head_dim
    /// 14 lm_head.weight f16 [32000, 2048] 131072000
    /// ```
    ///
    /// The last line stands for each tensor by ascending name: bytes of the name, the name, the
    /// element type, the shape, bytes of the tensor. Its first 64 KiB follow at once. Tensors
    /// that a sidecar has brought do not count.
    ///
    /// # Errors
    /// Where reading fails.
    pub async fn of(file: &ModelFile, shape: ModelShape) -> Result<Self, file::Error> {
        let mut hasher = Sha256::new();
        let mut text = format!("deputy model 1\narchitecture {}\n", shape.architecture);
        for (key, number) in shape.numbers() {
            line(&mut text, format_args!("{key} {number}"));
        }
        let mut bytes = vec![];
        for (name, tensor) in &file.tensors {
            if name.starts_with(PREFIX) {
                continue;
            }
            let n_bytes = tensor.n_bytes();
            line(
                &mut text,
                format_args!(
                    "{} {name} {} {} {n_bytes}",
                    name.len(),
                    tensor.dtype,
                    tensor.shape
                ),
            );
            hasher.update(&text);
            text.clear();
            let n_hashed = n_bytes.min(HASHED);
            bytes.resize(n_hashed as usize, 0);
            file.read(tensor, 0..n_hashed, &mut bytes).await?;
            hasher.update(&bytes);
        }
        hasher.update(&text);
        let mut hash = String::new();
        for byte in hasher.finalize() {
            write!(hash, "{byte:02x}").expect("a string takes all");
        }
        Ok(Self { hash, shape })
    }
}

fn line(text: &mut String, line: std::fmt::Arguments<'_>) {
    writeln!(text, "{line}").expect("a string takes all");
}
