// The input of a product in blocks of signed bytes, as quantize_rows.wgsl makes them.
// Joins: lib/linear.wgsl.

@group(0) @binding(3) var<storage, read> x: array<u32>;             // [rows, blocks, 9]
