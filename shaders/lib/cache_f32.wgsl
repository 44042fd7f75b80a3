// Four neighbouring elements of the key/value cache, kept in f32.

alias Cached4 = vec4<f32>;

fn cache_load(cached: Cached4) -> vec4<f32> {
    return cached;
}

fn cache_store(values: vec4<f32>) -> Cached4 {
    return values;
}
