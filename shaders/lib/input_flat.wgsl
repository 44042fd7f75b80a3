// The input of a product in signed bytes with one scale a row, as flatten_rows.wgsl makes them.
// Joins: lib/linear.wgsl.

@group(0) @binding(3) var<storage, read> x: array<u32>;             // [rows, (blocks + extra_blocks) * 8 + 1]
@group(0) @binding(5) var<storage, read> table: array<vec4<u32>>;   // [(blocks + extra_blocks) * 8]
