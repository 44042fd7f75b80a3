// g / (1 + exp(-g)) (SiLU), or GELU in its tanh form (Hendrycks & Gimpel 2016).

fn activation(g: vec4<f32>, gelu: u32) -> vec4<f32> {
    if gelu != 0u {
        let inner = 0.7978845608 * (g + 0.044715 * g * g * g); // sqrt(2 / pi)
        // |inner| is clamped because tanh may be computed through exp(2x).
        return 0.5 * g * (1.0 + tanh(clamp(inner, vec4(-20.0), vec4(20.0))));
    }
    // exp(-g) may be infinite for very negative g: the quotient is then zero, as it should be.
    return g / (1.0 + exp(min(-g, vec4(88.0))));
}
