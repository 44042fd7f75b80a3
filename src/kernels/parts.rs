//! The files under `shaders/` that a kernel joins.

use super::linear::{Arm, Form, Input, Output};
use super::{
    CacheType, Capabilities, Slots, attention, attention_latent, cache_copy, cache_write,
    latent_keys,
};
use crate::tensor::DType;

pub(super) fn cache_write_parts(
    form: cache_write::Form,
    params: &cache_write::Params,
    capabilities: &Capabilities,
) -> Vec<&'static str> {
    let mut parts = vec!["lib/rows.wgsl"];
    match form.slots {
        Slots::Positions => {
            parts.push("lib/place_positions.wgsl");
            parts.extend(store_parts(form.cache, Some(form.cache)));
        }
        Slots::Paths => {
            parts.extend(["lib/paths.wgsl", "lib/place_paths.wgsl"]);
            parts.extend(store_parts(form.cache, None));
        }
    }
    if params.has_norm != 0 {
        parts.extend([reduce_part(capabilities), "lib/head_norm.wgsl"]);
    } else {
        parts.push("lib/head_plain.wgsl");
    }
    parts
}

pub(super) fn cache_copy_parts(form: cache_copy::Form) -> Vec<&'static str> {
    let mut parts = vec!["lib/rows.wgsl", "lib/paths.wgsl"];
    parts.extend(store_parts(form.latents, Some(form.values)));
    parts
}

pub(super) fn latent_keys_parts(
    form: latent_keys::Form,
    capabilities: &Capabilities,
) -> Vec<&'static str> {
    let mut parts = vec![
        "lib/rows.wgsl",
        "lib/paths.wgsl",
        reduce_part(capabilities),
        values_part(form.latents),
    ];
    match form.latents {
        CacheType::F16 => parts.push("lib/unpack_quad.wgsl"),
        CacheType::Q4 => parts.push("lib/cache_nibbles.wgsl"),
        CacheType::F32 | CacheType::Q8 => {}
    }
    parts.extend(store_parts(form.keys, None));
    parts.extend(weight_parts(form.dtype));
    parts
}

/// Writers of what a kernel keeps, and of values where it keeps them too.
fn store_parts(stored: CacheType, values: Option<CacheType>) -> Vec<&'static str> {
    let mut parts = vec![match stored {
        CacheType::F32 => "lib/store_f32.wgsl",
        CacheType::F16 => "lib/store_f16.wgsl",
        CacheType::Q8 => "lib/store_q8.wgsl",
        CacheType::Q4 => "lib/store_q4.wgsl",
    }];
    parts.extend(values.map(|values| match values {
        CacheType::F32 => "lib/store_values_f32.wgsl",
        CacheType::F16 => "lib/store_values_f16.wgsl",
        CacheType::Q8 => "lib/store_values_q8.wgsl",
        CacheType::Q4 => "lib/store_values_q4.wgsl",
    }));
    for (cache, pack) in [
        (CacheType::F16, "lib/pack_f16.wgsl"),
        (CacheType::Q8, "lib/pack_q8.wgsl"),
        (CacheType::Q4, "lib/pack_q4.wgsl"),
    ] {
        if stored == cache || values == Some(cache) {
            parts.push(pack);
        }
    }
    parts
}

pub(super) fn attention_parts(
    form: attention::Form,
    params: &attention::Params,
    capabilities: &Capabilities,
) -> Vec<&'static str> {
    let kernel = attention::kernel(params, capabilities);
    let together = match (kernel, capabilities.subgroups) {
        ("attention_lane", 0..8) => "lib/share.wgsl",
        ("attention_lane", _) => "lib/share_subgroup.wgsl",
        _ => reduce_part(capabilities),
    };
    let keys: &[&str] = match form.slots {
        Slots::Positions => &["lib/keys_positions.wgsl"],
        Slots::Paths => &["lib/paths.wgsl", "lib/keys_dense.wgsl"],
    };
    let mut parts = vec!["lib/rows.wgsl", "lib/attention.wgsl", together];
    parts.extend(keys);
    parts.extend(cached_parts(form.cache, params.head_dim, form.cache));
    if kernel == "attention_lane" && params.head_dim.is_multiple_of(32) {
        for part in &mut parts {
            *part = match (*part, capabilities.int64) {
                (KEYS_F16_BLOCKS, true) => "lib/cache_keys_f16_long.wgsl",
                (VALUES_F16, false) => "lib/cache_values_f16_blocks.wgsl",
                (VALUES_F16, true) => "lib/cache_values_f16_long.wgsl",
                (part, _) => part,
            };
        }
    }
    parts
}

pub(super) fn attention_latent_parts(
    form: attention_latent::Form,
    params: &attention::Params,
    capabilities: &Capabilities,
) -> Vec<&'static str> {
    let mut parts = vec![
        "lib/rows.wgsl",
        "lib/paths.wgsl",
        "lib/attention.wgsl",
        "lib/keys_latent.wgsl",
        reduce_part(capabilities),
    ];
    parts.extend(cached_parts(form.keys, params.head_dim, form.latents));
    parts
}

/// Readers of keys, in heads of so many elements, and of values.
pub(super) fn cached_parts(keys: CacheType, head_dim: u32, values: CacheType) -> Vec<&'static str> {
    let reader = match keys {
        CacheType::F32 => "lib/cache_keys_f32.wgsl",
        CacheType::F16 if head_dim.is_multiple_of(32) => KEYS_F16_BLOCKS,
        CacheType::F16 => "lib/cache_keys_f16.wgsl",
        CacheType::Q8 => "lib/cache_keys_q8.wgsl",
        CacheType::Q4 => "lib/cache_keys_q4.wgsl",
    };
    let mut parts = vec![reader, values_part(values)];
    if [keys, values].contains(&CacheType::F16) {
        parts.push("lib/unpack_quad.wgsl");
    }
    if [keys, values].contains(&CacheType::Q4) {
        parts.push("lib/cache_nibbles.wgsl");
    }
    parts
}

/// Reads keys of heads of whole blocks.
const KEYS_F16_BLOCKS: &str = "lib/cache_keys_f16_blocks.wgsl";

/// Reads values of heads of any width.
const VALUES_F16: &str = "lib/cache_values_f16.wgsl";

/// The reader of values.
pub(super) fn values_part(cache: CacheType) -> &'static str {
    match cache {
        CacheType::F32 => "lib/cache_values_f32.wgsl",
        CacheType::F16 => VALUES_F16,
        CacheType::Q8 => "lib/cache_values_q8.wgsl",
        CacheType::Q4 => "lib/cache_values_q4.wgsl",
    }
}

pub(super) fn route_parts() -> &'static [&'static str] {
    &[
        "lib/rows.wgsl",
        "lib/routes.wgsl",
        "lib/route.wgsl",
        "lib/place.wgsl",
    ]
}

pub(super) fn reduce_part(capabilities: &Capabilities) -> &'static str {
    match capabilities.subgroups {
        0 => "lib/reduce.wgsl",
        _ => "lib/reduce_subgroup.wgsl",
    }
}

/// A block is eight quads: as many invocations share the reading of one.
pub(super) fn x_block_part(capabilities: &Capabilities) -> &'static str {
    match capabilities.subgroups {
        0..4 => "lib/x_block.wgsl",
        4..8 => "lib/x_block_subgroup_4.wgsl",
        _ => "lib/x_block_subgroup.wgsl",
    }
}

pub(super) fn form_name(form: Form) -> String {
    let input = match form.input {
        Input::Plain => "",
        Input::Norm => "_norm",
        Input::Merge => "_merge",
        Input::Int8 | Input::Flat => "", // For the kernel to say.
        Input::Latents => "_latents",
    };
    let output = match form.output {
        Output::Plain => "",
        Output::Add => "_add",
        Output::Gated => "_gated",
    };
    let arm = match form.arm {
        Arm::All => "",
        Arm::Some => "_some",
        Arm::Split => "_split",
        Arm::Parts => "_parts",
    };
    format!("{}{input}{output}{arm}", form.dtype.name())
}

pub(super) fn linear_parts(form: Form, capabilities: &Capabilities) -> Vec<&'static str> {
    let input: &[&str] = match form.input {
        Input::Plain => &["lib/input_plain.wgsl"],
        Input::Norm => &["lib/input_norm.wgsl"],
        Input::Merge => &["lib/input_merge.wgsl"],
        Input::Int8 => &["lib/input_int8.wgsl"],
        Input::Flat => &["lib/input_flat.wgsl"],
        Input::Latents if form.output == Output::Gated => &["lib/input_latent_pair.wgsl"],
        Input::Latents if form.arm == Arm::Parts => &["lib/input_latent_parts.wgsl"],
        Input::Latents => &["lib/input_latents.wgsl"],
    };
    let output: &[&str] = match form.output {
        Output::Plain => &["lib/output_plain.wgsl"],
        Output::Add => &["lib/output_add.wgsl"],
        Output::Gated => &["lib/activation.wgsl", "lib/output_gated.wgsl"],
    };
    let arm: &[&str] = match form.arm {
        Arm::All => &["lib/arm_all.wgsl"],
        Arm::Some => &["lib/routes.wgsl", "lib/arms.wgsl", "lib/arm_some.wgsl"],
        Arm::Split => &["lib/routes.wgsl", "lib/arms.wgsl", "lib/arm_split.wgsl"],
        Arm::Parts => &["lib/routes.wgsl", "lib/arm_parts.wgsl"],
    };
    let weight = weight_parts(form.dtype);
    let mut parts = [&["lib/linear.wgsl"], input, output, arm, weight].concat();
    // Products alone: what else reads weights reads few.
    if capabilities.is_narrow() {
        for part in parts.iter_mut().filter(|part| **part == BYTES) {
            *part = "lib/bytes_narrow.wgsl";
        }
    }
    parts
}

/// How bytes become numbers.
const BYTES: &str = "lib/bytes.wgsl";

/// What reads a row of x, and weights ahead, for an invocation of `matvec_lane`.
pub(super) fn lane_row_parts(capabilities: &Capabilities) -> Vec<&'static str> {
    let walk = match capabilities.subgroups {
        0..8 => "lib/walk_none.wgsl",
        _ => "lib/walk.wgsl",
    };
    vec![x_block_part(capabilities), walk]
}

/// What makes the tile of an invocation of `matmul_lane`.
pub(super) fn lane_tile_parts(form: Form, capabilities: &Capabilities) -> Vec<&'static str> {
    let x_halves = match capabilities.subgroups {
        0..4 => "lib/x_halves.wgsl",
        4..8 => "lib/x_halves_subgroup_4.wgsl",
        _ => "lib/x_halves_subgroup.wgsl",
    };
    let tile = match form.input {
        Input::Flat => "lib/lane_tile_flat.wgsl",
        _ => "lib/lane_tile.wgsl",
    };
    vec![x_halves, tile]
}

pub(super) fn weight_parts(dtype: DType) -> &'static [&'static str] {
    match dtype {
        DType::F32 => &["lib/dot.wgsl", "lib/weight_f32.wgsl"],
        DType::F16 => &[
            "lib/dot.wgsl",
            "lib/weight_16_bit.wgsl",
            "lib/weight_f16.wgsl",
        ],
        DType::BF16 => &[
            "lib/dot.wgsl",
            "lib/weight_16_bit.wgsl",
            "lib/weight_bf16.wgsl",
        ],
        DType::Q8_0 => &[
            BYTES,
            "lib/dot.wgsl",
            "lib/halves.wgsl",
            "lib/weight_q8_0.wgsl",
        ],
        DType::Q4_0 => &[
            BYTES,
            "lib/halves.wgsl",
            "lib/dot.wgsl",
            "lib/nibbles.wgsl",
            "lib/weight_q4_0.wgsl",
        ],
        DType::Q4_1 => &[
            BYTES,
            "lib/halves.wgsl",
            "lib/dot.wgsl",
            "lib/nibbles.wgsl",
            "lib/weight_q4_1.wgsl",
        ],
        DType::Q5_0 => &[
            BYTES,
            "lib/halves.wgsl",
            "lib/dot.wgsl",
            "lib/nibbles.wgsl",
            "lib/weight_q5_0.wgsl",
        ],
        DType::Q4K => &[
            BYTES,
            "lib/halves.wgsl",
            "lib/dot.wgsl",
            "lib/nibbles.wgsl",
            "lib/k_scales.wgsl",
            "lib/weight_q4_k.wgsl",
        ],
        DType::Q5K => &[
            BYTES,
            "lib/halves.wgsl",
            "lib/dot.wgsl",
            "lib/nibbles.wgsl",
            "lib/k_scales.wgsl",
            "lib/weight_q5_k.wgsl",
        ],
        DType::Q6K => &[
            BYTES,
            "lib/dot.wgsl",
            "lib/nibbles.wgsl",
            "lib/weight_q6_k.wgsl",
        ],
    }
}

macro_rules! texts {
    ($($path:literal),* $(,)?) => {
        /// The text of a file under `shaders/`.
        pub(super) fn text(path: &str) -> &'static str {
            match path {
                $($path => include_str!(concat!("../../shaders/", $path)),)*
                _ => unreachable!("no shader part {path}"),
            }
        }

        /// The path of the file that holds a kernel's entry point.
        pub(super) fn kernel_part(kernel: &str) -> &'static str {
            [$($path),*]
                .into_iter()
                .find(|path| path.strip_suffix(".wgsl") == Some(kernel))
                .expect("a kernel's file has its name")
        }
    };
}

texts![
    "lib/activation.wgsl",
    "lib/arm_all.wgsl",
    "lib/arm_parts.wgsl",
    "lib/arm_some.wgsl",
    "lib/arm_split.wgsl",
    "lib/arms.wgsl",
    "lib/attention.wgsl",
    "lib/byte_tile.wgsl",
    "lib/bytes.wgsl",
    "lib/bytes_narrow.wgsl",
    "lib/cache_keys_f16.wgsl",
    "lib/cache_keys_f16_blocks.wgsl",
    "lib/cache_keys_f16_long.wgsl",
    "lib/cache_keys_f32.wgsl",
    "lib/cache_keys_q4.wgsl",
    "lib/cache_keys_q8.wgsl",
    "lib/cache_nibbles.wgsl",
    "lib/cache_values_f16.wgsl",
    "lib/cache_values_f16_blocks.wgsl",
    "lib/cache_values_f16_long.wgsl",
    "lib/cache_values_f32.wgsl",
    "lib/cache_values_q4.wgsl",
    "lib/cache_values_q8.wgsl",
    "lib/dot.wgsl",
    "lib/halves.wgsl",
    "lib/input_flat.wgsl",
    "lib/input_int8.wgsl",
    "lib/input_latent_pair.wgsl",
    "lib/input_latent_parts.wgsl",
    "lib/input_latents.wgsl",
    "lib/input_merge.wgsl",
    "lib/input_norm.wgsl",
    "lib/input_plain.wgsl",
    "lib/head_norm.wgsl",
    "lib/head_plain.wgsl",
    "lib/k_scales.wgsl",
    "lib/keys_dense.wgsl",
    "lib/keys_latent.wgsl",
    "lib/keys_positions.wgsl",
    "lib/lane_tile.wgsl",
    "lib/lane_tile_flat.wgsl",
    "lib/linear.wgsl",
    "lib/nibbles.wgsl",
    "lib/output_add.wgsl",
    "lib/output_gated.wgsl",
    "lib/output_plain.wgsl",
    "lib/pack_f16.wgsl",
    "lib/pack_q4.wgsl",
    "lib/pack_q8.wgsl",
    "lib/paths.wgsl",
    "lib/place_paths.wgsl",
    "lib/place_positions.wgsl",
    "lib/reduce.wgsl",
    "lib/reduce_subgroup.wgsl",
    "lib/place.wgsl",
    "lib/route.wgsl",
    "lib/routes.wgsl",
    "lib/rows.wgsl",
    "lib/share.wgsl",
    "lib/share_subgroup.wgsl",
    "lib/store_f16.wgsl",
    "lib/store_f32.wgsl",
    "lib/store_q4.wgsl",
    "lib/store_q8.wgsl",
    "lib/store_values_f16.wgsl",
    "lib/store_values_f32.wgsl",
    "lib/store_values_q4.wgsl",
    "lib/store_values_q8.wgsl",
    "lib/unpack_quad.wgsl",
    "lib/walk.wgsl",
    "lib/walk_none.wgsl",
    "lib/weight_16_bit.wgsl",
    "lib/weight_bf16.wgsl",
    "lib/weight_f16.wgsl",
    "lib/weight_f32.wgsl",
    "lib/weight_q4_0.wgsl",
    "lib/weight_q4_1.wgsl",
    "lib/weight_q4_k.wgsl",
    "lib/weight_q5_0.wgsl",
    "lib/weight_q5_k.wgsl",
    "lib/weight_q6_k.wgsl",
    "lib/weight_q8_0.wgsl",
    "lib/x_block.wgsl",
    "lib/x_block_subgroup.wgsl",
    "lib/x_block_subgroup_4.wgsl",
    "lib/x_halves.wgsl",
    "lib/x_halves_subgroup.wgsl",
    "lib/x_halves_subgroup_4.wgsl",
    "lib/x_octets_subgroup_4.wgsl",
    "add.wgsl",
    "attention.wgsl",
    "attention_lane.wgsl",
    "attention_latent.wgsl",
    "attention_merge.wgsl",
    "attention_tile.wgsl",
    "cache_copy.wgsl",
    "cache_write.wgsl",
    "embed.wgsl",
    "flatten_rows.wgsl",
    "gated_act.wgsl",
    "gather_rows.wgsl",
    "latent_keys.wgsl",
    "latent_values.wgsl",
    "matmul.wgsl",
    "matmul_flat.wgsl",
    "matmul_int8.wgsl",
    "matmul_lane.wgsl",
    "matmul_narrow.wgsl",
    "matvec.wgsl",
    "matvec_lane.wgsl",
    "place_rows.wgsl",
    "quantize_rows.wgsl",
    "rms_norm.wgsl",
    "route.wgsl",
    "sample.wgsl",
];
