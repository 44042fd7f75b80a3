//! Element types, shapes and block formats: what a tensor is made of.

pub mod quant;

use std::fmt;

/// The type of a tensor's elements, as files store it.
///
/// Block formats keep `block_len` neighbouring elements of a row together in
/// `block_bytes` bytes; the layouts are those of GGUF and stand in [`quant`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DType {
    /// IEEE single precision.
    F32,
    /// IEEE half precision.
    F16,
    /// The upper half of an `F32`.
    BF16,
    /// 32 signed bytes and one f16 scale (GGUF `Q8_0`).
    Q8_0,
    /// 32 nibbles less 8 and one f16 scale (GGUF `Q4_0`).
    Q4_0,
    /// 32 nibbles, an f16 scale and an f16 minimum (GGUF `Q4_1`).
    Q4_1,
    /// 32 five-bit values less 16 and one f16 scale (GGUF `Q5_0`).
    Q5_0,
    /// 256 nibbles in eight sub-blocks with 6-bit scales and minima (GGUF `Q4_K`).
    Q4K,
    /// As `Q4K` with five-bit values (GGUF `Q5_K`).
    Q5K,
    /// 256 six-bit values in sixteen sub-blocks with 8-bit scales (GGUF `Q6_K`).
    Q6K,
}

impl DType {
    /// Every type, for tests and listings.
    pub const ALL: [DType; 10] = [
        DType::F32,
        DType::F16,
        DType::BF16,
        DType::Q8_0,
        DType::Q4_0,
        DType::Q4_1,
        DType::Q5_0,
        DType::Q4K,
        DType::Q5K,
        DType::Q6K,
    ];

    /// Lower-case name, as shader parts and messages write it.
    pub const fn name(self) -> &'static str {
        match self {
            DType::F32 => "f32",
            DType::F16 => "f16",
            DType::BF16 => "bf16",
            DType::Q8_0 => "q8_0",
            DType::Q4_0 => "q4_0",
            DType::Q4_1 => "q4_1",
            DType::Q5_0 => "q5_0",
            DType::Q4K => "q4_k",
            DType::Q5K => "q5_k",
            DType::Q6K => "q6_k",
        }
    }

    /// Elements in a block; 1 for plain types.
    pub const fn block_len(self) -> usize {
        match self {
            DType::F32 | DType::F16 | DType::BF16 => 1,
            DType::Q8_0 | DType::Q4_0 | DType::Q4_1 | DType::Q5_0 => 32,
            DType::Q4K | DType::Q5K | DType::Q6K => 256,
        }
    }

    /// Bytes of a block in a file.
    pub const fn block_bytes(self) -> usize {
        match self {
            DType::F32 => 4,
            DType::F16 | DType::BF16 => 2,
            DType::Q8_0 => 34,
            DType::Q4_0 => 18,
            DType::Q4_1 => 20,
            DType::Q5_0 => 22,
            DType::Q4K => 144,
            DType::Q5K => 176,
            DType::Q6K => 210,
        }
    }

    /// Bytes of a row of `cols` elements in a file, or `None` if a block would be cut or the size overflows.
    pub const fn row_bytes(self, cols: usize) -> Option<usize> {
        if !cols.is_multiple_of(self.block_len()) {
            return None;
        }
        (cols / self.block_len()).checked_mul(self.block_bytes())
    }

    /// Whether elements share a scale.
    pub const fn is_quantized(self) -> bool {
        self.block_len() > 1
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Extents of a tensor, row-major: the last one varies fastest.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct Shape(pub Vec<usize>);

impl Shape {
    /// Number of elements, or `None` where it overflows.
    pub fn n_elements(&self) -> Option<usize> {
        self.0.iter().try_fold(1usize, |n, &d| n.checked_mul(d))
    }

    /// `(rows, cols)`: the last extent and the product of the others; a vector is one row.
    pub fn rows_cols(&self) -> Option<(usize, usize)> {
        let (&cols, rest) = self.0.split_last()?;
        let rows = rest.iter().try_fold(1usize, |n, &d| n.checked_mul(d))?;
        Some((rows, cols))
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl<const N: usize> From<[usize; N]> for Shape {
    fn from(dims: [usize; N]) -> Self {
        Self(dims.to_vec())
    }
}
