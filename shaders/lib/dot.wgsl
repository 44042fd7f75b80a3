// Scalar products of 32 and of 16 values, and their sum.

fn dot_32(w: array<vec4<f32>, 8>, x: array<vec4<f32>, 8>) -> f32 {
    return sum_4(w[0] * x[0] + w[1] * x[1] + w[2] * x[2] + w[3] * x[3]
        + w[4] * x[4] + w[5] * x[5] + w[6] * x[6] + w[7] * x[7]);
}

fn dot_16(w: array<vec4<f32>, 4>, x: array<vec4<f32>, 4>) -> f32 {
    return sum_4(w[0] * x[0] + w[1] * x[1] + w[2] * x[2] + w[3] * x[3]);
}

fn sum_32(x: array<vec4<f32>, 8>) -> f32 {
    return sum_4(x[0] + x[1] + x[2] + x[3] + x[4] + x[5] + x[6] + x[7]);
}

fn sum_4(v: vec4<f32>) -> f32 {
    return v.x + v.y + v.z + v.w;
}
