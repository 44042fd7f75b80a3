//! The tensor types of ggml by number.

use crate::file::ElementType;
use crate::tensor::DType;

/// A tensor type as ggml stores it.
pub(super) struct GgmlType {
    pub(super) element: ElementType,
    /// Elements and bytes of a block, or `None` for a number that is not known.
    pub(super) block: Option<(u64, u64)>,
}

/// Types that deputy computes with: ggml's number of each.
const KNOWN: [(u32, DType); 10] = [
    (0, DType::F32),
    (1, DType::F16),
    (2, DType::Q4_0),
    (3, DType::Q4_1),
    (6, DType::Q5_0),
    (8, DType::Q8_0),
    (12, DType::Q4K),
    (13, DType::Q5K),
    (14, DType::Q6K),
    (30, DType::BF16),
];

/// Other types of ggml.h, so that their extents can be checked: number, name, elements and bytes of a block.
const OTHER: [(u32, &str, u64, u64); 24] = [
    (7, "Q5_1", 32, 24),
    (9, "Q8_1", 32, 36),
    (10, "Q2_K", 256, 84),
    (11, "Q3_K", 256, 110),
    (15, "Q8_K", 256, 292),
    (16, "IQ2_XXS", 256, 66),
    (17, "IQ2_XS", 256, 74),
    (18, "IQ3_XXS", 256, 98),
    (19, "IQ1_S", 256, 50),
    (20, "IQ4_NL", 32, 18),
    (21, "IQ3_S", 256, 110),
    (22, "IQ2_S", 256, 82),
    (23, "IQ4_XS", 256, 136),
    (24, "I8", 1, 1),
    (25, "I16", 1, 2),
    (26, "I32", 1, 4),
    (27, "I64", 1, 8),
    (28, "F64", 1, 8),
    (29, "IQ1_M", 256, 56),
    (34, "TQ1_0", 256, 54),
    (35, "TQ2_0", 256, 66),
    (39, "MXFP4", 32, 17),
    (40, "NVFP4", 64, 36),
    (41, "Q1_0", 128, 18),
];

/// The type that ggml numbers `number`.
pub(super) fn from_number(number: u32) -> GgmlType {
    if let Some(&(_, dtype)) = KNOWN.iter().find(|(n, _)| *n == number) {
        let block = (dtype.block_len() as u64, dtype.block_bytes() as u64);
        return GgmlType {
            element: ElementType::Known(dtype),
            block: Some(block),
        };
    }
    match OTHER.iter().find(|(n, ..)| *n == number) {
        Some(&(_, name, len, bytes)) => GgmlType {
            element: ElementType::Other(name.to_owned()),
            block: Some((len, bytes)),
        },
        None => GgmlType {
            element: ElementType::Other(format!("ggml type {number}")),
            block: None,
        },
    }
}

/// ggml's number of a type.
pub(super) fn number(dtype: DType) -> u32 {
    KNOWN
        .iter()
        .find(|(_, d)| *d == dtype)
        .expect("every DType is listed")
        .0
}
