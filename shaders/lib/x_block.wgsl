// Reads blocks of the kernel's `x: array<vec4<f32>>`.

// 32 values of x. The last block of a row may be cut: past it w is zero, and x must not be read.
fn read_x(x_first: u32, at: u32, last: u32) -> array<vec4<f32>, 8> {
    if at + 7u <= last {
        let first = x_first + at;
        return array(
            x[first], x[first + 1u], x[first + 2u], x[first + 3u],
            x[first + 4u], x[first + 5u], x[first + 6u], x[first + 7u],
        );
    }
    var values: array<vec4<f32>, 8>;
    for (var i = 0u; at + i <= last; i += 1u) {
        values[i] = x[x_first + at + i];
    }
    return values;
}
