//! Which shader runs a call on a device: the parts that are joined, and their constants.

use super::linear::{Arm, Form, Input, Output, has_int8};
use super::parts::{
    attention_latent_parts, attention_parts, cache_copy_parts, cache_write_parts, form_name,
    kernel_part, lane_row_parts, lane_tile_parts, latent_keys_parts, linear_parts, reduce_part,
    route_parts, text, weight_parts,
};
use super::{
    CacheType, Call, Slots, attention, attention_latent, cache_copy, cache_write, latent_keys,
};
use crate::tensor::DType;

/// What the kernels may use of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Smallest size of a subgroup; 0 without subgroup operations in compute shaders.
    pub subgroups: u32,
    /// The device is a CPU in disguise, on which an invocation is a lane of a vector register:
    /// reading is dear and neighbours need not read neighbouring memory.
    pub software: bool,
    /// Shaders have integers of 64 bits. Only software adapters are asked for them: their lanes take turns at
    /// reading, and wider words are fewer turns.
    pub int64: bool,
}

impl Capabilities {
    /// Every choice that runs on a device with these capabilities, for tests: what is optional is
    /// used or left out, and kernels shaped for either kind of device run on both.
    pub fn choices(self) -> Vec<Self> {
        let mut subgroups = vec![0, self.subgroups];
        subgroups.dedup();
        let kinds = [(false, false), (true, false), (true, true)];
        let all = subgroups.iter().flat_map(|&subgroups| {
            kinds.map(|(software, int64)| Self {
                subgroups,
                software,
                int64,
            })
        });
        let narrow = Self {
            subgroups: NARROW,
            software: true,
            int64: false,
        };
        all.filter(|choice| self.int64 || !choice.int64)
            .chain((self.subgroups > NARROW).then_some(narrow))
            .collect()
    }

    /// A software adapter whose vectors are narrow and whose compiler is simple, as SwiftShader.
    pub(super) fn is_narrow(self) -> bool {
        self.software && self.subgroups == NARROW
    }

    /// Those that a user wishes for, as far as the device has them.
    pub(crate) fn limited_to(self, wanted: Option<Self>) -> Self {
        let Some(wanted) = wanted else { return self };
        Self {
            subgroups: wanted.subgroups.min(self.subgroups),
            int64: wanted.int64 && self.int64,
            ..wanted
        }
    }
}

/// Subgroups of software adapters with the narrowest vectors.
const NARROW: u32 = 4;

/// One pipeline: WGSL parts to join, and the constants that override theirs.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Shader {
    /// Entry point and file stem.
    pub kernel: &'static str,
    /// Kernel and variant, for messages: `matvec_q4_0_subgroup`.
    pub label: String,
    /// Paths under `shaders/`, the kernel's own last.
    pub parts: Vec<&'static str>,
    /// Values of the overrides.
    pub constants: Vec<(&'static str, u32)>,
}

impl Shader {
    /// The whole WGSL text. Declarations of a module may stand in any order, so joining the
    /// files is nearly all the templating that the shaders need.
    pub fn source(&self) -> String {
        let mut source: String = self.parts.iter().map(|path| text(path)).collect();
        // The sizes of an invocation's own arrays cannot be overrides.
        if self.kernel == "matmul_lane" {
            let rows = self.constant("ROWS");
            source += &format!("\nconst MAX_ROWS: u32 = {rows}u;\n");
        }
        source
    }

    /// Whether it uses subgroup operations.
    pub fn has_subgroups(&self) -> bool {
        self.parts.iter().any(|part| part.contains("_subgroup"))
    }

    /// Whether it uses integers of 64 bits, which WebGPU does not have.
    pub fn has_int64(&self) -> bool {
        self.parts.iter().any(|part| part.ends_with("_long.wgsl"))
    }

    /// With other values of its overrides.
    pub fn with(&self, constants: &[(&'static str, u32)]) -> Self {
        Self {
            constants: constants.to_vec(),
            ..self.clone()
        }
    }

    /// With a tile of an invocation that compiles in a moment where it has a large one, which takes a CPU's compiler
    /// up to ten seconds. Tests of what does not depend on it may have that.
    pub fn with_small_tile(&self) -> Self {
        match self.kernel {
            "matmul_lane" => self.with(&[("WG", 16), ("OUTS", 4), ("ROWS", 4)]),
            _ => self.clone(),
        }
    }

    /// The value of an override.
    pub fn constant(&self, name: &str) -> u32 {
        self.constants
            .iter()
            .find(|(n, _)| *n == name)
            .map(|(_, value)| *value)
            .expect("a shader names the constants that its workgroup count needs")
    }
}

/// The shader for a call.
pub fn shader(call: &Call, capabilities: &Capabilities) -> Shader {
    let software = capabilities.software;
    let kernel = kernel(call, capabilities);
    let of_shape; // Constants that depend on the call's shape.
    let (variant, parts, constants): (String, Vec<&'static str>, &[(&'static str, u32)]) =
        match *call {
            Call::Embed(dtype, _) => (
                dtype.name().to_owned(),
                [&["lib/rows.wgsl"], weight_parts(dtype)].concat(),
                &[("WG", 32)],
            ),
            // As wide as one vector register there is nothing to wait for at barriers.
            Call::RmsNorm(_) | Call::FlattenRows(_) if software => (
                "lane".to_owned(),
                vec![reduce_part(capabilities)],
                &[("WG", 8)],
            ),
            Call::RmsNorm(_) | Call::FlattenRows(_) => (
                String::new(),
                vec![reduce_part(capabilities)],
                &[("WG", 64)],
            ),
            Call::MatVec(form, _) => {
                let (together, choices) = if software {
                    let choices = match (form.input, form.output) {
                        (Input::Latents, Output::Gated) => MATVEC_LANE_PAIR,
                        _ => MATVEC_LANE,
                    };
                    (lane_row_parts(capabilities), choices)
                } else {
                    (vec![reduce_part(capabilities)], MATVEC)
                };
                let parts = [linear_parts(form, capabilities), together].concat();
                (form_name(form), parts, choices[0])
            }
            Call::MatMul(form, p) => {
                let (tile, constants) = match kernel {
                    "matmul" => (vec![], MATMUL[usize::from(p.rows <= 32)]),
                    "matmul_lane" => (
                        lane_tile_parts(form, capabilities),
                        matmul_lane_choice(form, p.rows),
                    ),
                    "matmul_narrow" => (vec!["lib/x_octets_subgroup_4.wgsl"], MATMUL_NARROW),
                    _ => (
                        vec!["lib/byte_tile.wgsl"],
                        MATMUL[usize::from(p.rows <= 32)],
                    ),
                };
                // Those for GPUs are kernels of their own.
                let integers = match form.input {
                    Input::Int8 if software => "int8_",
                    Input::Flat if software => "flat_",
                    _ => "",
                };
                let variant = format!("{integers}{}", form_name(form));
                (
                    variant,
                    [linear_parts(form, capabilities), tile].concat(),
                    constants,
                )
            }
            Call::CacheWrite(form, ref p) => {
                of_shape = cache_write::constants(p);
                let norm = if p.has_norm != 0 { "_norm" } else { "" };
                (
                    format!("{}_{}{norm}", form.name(), p.head_dim),
                    cache_write_parts(form, p, capabilities),
                    &of_shape,
                )
            }
            Call::CacheCopy(form, _) => (
                format!("{}_{}", form.values.name(), form.latents.name()),
                cache_copy_parts(form),
                &[("WG", 64)],
            ),
            Call::Attention(form, ref p) => {
                of_shape = attention::constants(p, capabilities);
                (
                    format!("{}_{}", form.name(), attention::shape(p, capabilities)),
                    attention_parts(form, p, capabilities),
                    &of_shape,
                )
            }
            Call::AttentionLatent(form, ref p) => {
                of_shape = attention_latent::constants(p);
                (
                    format!(
                        "{}_{}_{}",
                        form.keys.name(),
                        form.latents.name(),
                        p.head_dim
                    ),
                    attention_latent_parts(form, p, capabilities),
                    &of_shape,
                )
            }
            Call::AttentionMerge(_) => (String::new(), vec!["lib/input_merge.wgsl"], &[("WG", 64)]),
            Call::LatentKeys(form, ref p) => {
                of_shape = latent_keys::constants(p);
                let names = [form.dtype.name(), form.latents.name(), form.keys.name()];
                (
                    format!("{}_{}", names.join("_"), of_shape[1].1),
                    latent_keys_parts(form, capabilities),
                    &of_shape,
                )
            }
            Call::LatentValues(dtype, _) => (
                dtype.name().to_owned(),
                weight_parts(dtype).to_vec(),
                &[("WG", 64)],
            ),
            Call::GatedAct(_) => (String::new(), vec!["lib/activation.wgsl"], &[("WG", 64)]),
            Call::Add(_) | Call::GatherRows(_) | Call::QuantizeRows(_) => {
                (String::new(), vec![], &[("WG", 64)])
            }
            Call::Route(_) | Call::PlaceRows(_) => {
                let mut parts = route_parts().to_vec();
                if let Call::Route(_) = call {
                    parts.push(reduce_part(capabilities));
                }
                if software {
                    ("lane".to_owned(), parts, &[("WG", 8)])
                } else {
                    (String::new(), parts, &[("WG", 64)])
                }
            }
            Call::Sample(_) => (String::new(), vec!["lib/rows.wgsl"], &[("WG", 256)]),
        };
    let mut shader = Shader {
        kernel,
        label: kernel.to_owned(),
        parts,
        constants: constants.to_vec(),
    };
    if !variant.is_empty() {
        shader.label = format!("{}_{variant}", shader.label);
    }
    if shader.has_subgroups() {
        shader.label.push_str("_subgroup");
        if shader.parts.iter().any(|part| part.ends_with("_4.wgsl")) {
            shader.label.push_str("_4");
        }
    }
    if shader.has_int64() {
        shader.label.push_str("_long");
    }
    shader.parts.push(kernel_part(kernel));
    shader
}

/// The entry point that runs a call on a device.
fn kernel(call: &Call, capabilities: &Capabilities) -> &'static str {
    match call {
        Call::MatVec(..) if capabilities.software => "matvec_lane",
        Call::MatMul(form, _) if capabilities.is_narrow() && form.input != Input::Flat => {
            "matmul_narrow"
        }
        Call::MatMul(..) if capabilities.software => "matmul_lane",
        Call::Attention(_, p) => attention::kernel(p, capabilities),
        _ => call.kernel(),
    }
}

/// Values of overrides that suit one shape or another, the one for unknown devices first. Which is
/// best depends on the shape and the device; none changes what is computed.
type Choices = &'static [&'static [(&'static str, u32)]];

const MATVEC: Choices = &[
    &[("WG", 128), ("LANES", 16), ("OUTS", 4)],
    &[("WG", 128), ("LANES", 32), ("OUTS", 4)],
    &[("WG", 128), ("LANES", 8), ("OUTS", 4)],
    &[("WG", 64), ("LANES", 32), ("OUTS", 2)],
    &[("WG", 64), ("LANES", 16), ("OUTS", 2)],
    &[("WG", 64), ("LANES", 64), ("OUTS", 4)],
    &[("WG", 256), ("LANES", 32), ("OUTS", 2)],
    &[("WG", 256), ("LANES", 16), ("OUTS", 8)],
];

const MATVEC_LANE: Choices = &[
    &[("WG", 16), ("OUTS", 8)],
    &[("WG", 8), ("OUTS", 8)],
    &[("WG", 32), ("OUTS", 8)],
    &[("WG", 16), ("OUTS", 4)],
];

/// With two inputs a row, each of which serves half of the outputs.
const MATVEC_LANE_PAIR: Choices = &[&[("WG", 16), ("OUTS", 16)]];

const MATMUL: Choices = &[&[("WG", 256), ("ROWS", 64)], &[("WG", 128), ("ROWS", 32)]];

const MATMUL_LANE: Choices = &[
    &[("WG", 16), ("OUTS", 8), ("ROWS", 32)],
    &[("WG", 16), ("OUTS", 8), ("ROWS", 16)],
    &[("WG", 16), ("OUTS", 8), ("ROWS", 8)],
    &[("WG", 8), ("OUTS", 8), ("ROWS", 32)],
    &[("WG", 8), ("OUTS", 8), ("ROWS", 16)],
];

/// Rows on several branches end several tiles early, and a row that fills up a tile costs as much as another.
fn matmul_lane_choice(form: Form, rows: u32) -> &'static [(&'static str, u32)] {
    MATMUL_LANE[match rows {
        ..=8 => 2,
        9..32 => 1,
        _ => usize::from(form.arm != Arm::All),
    }]
}

const MATMUL_NARROW: &[(&str, u32)] = &[("WG", 16)];

/// The shaders that can run a call on a device, [`shader`] first, for timing one against the other.
pub fn candidates(call: &Call, capabilities: &Capabilities) -> Vec<Shader> {
    let first = shader(call, capabilities);
    let choices = match first.kernel {
        "matvec" => MATVEC,
        "matvec_lane" => MATVEC_LANE,
        "matmul" | "matmul_flat" | "matmul_int8" => MATMUL,
        "matmul_lane" => MATMUL_LANE,
        _ => &[],
    };
    let mut shaders = vec![first];
    for constants in choices {
        let other = shaders[0].with(constants);
        if !shaders.contains(&other) {
            shaders.push(other);
        }
    }
    shaders
}

/// Every format, input and output of a product at least once. What is before and behind it knows
/// nothing of the format, nor of each other: not all of them need be tried together.
pub(crate) fn forms(dtype: DType) -> Vec<Form> {
    let mut forms = vec![Form::plain(dtype)];
    if dtype == DType::Q4_0 {
        for (input, output, arm) in [
            (Input::Norm, Output::Gated, Arm::All),
            (Input::Merge, Output::Add, Arm::All),
            (Input::Norm, Output::Gated, Arm::Split),
            (Input::Plain, Output::Add, Arm::Split),
            (Input::Plain, Output::Plain, Arm::Some),
            (Input::Latents, Output::Plain, Arm::Some),
            (Input::Latents, Output::Gated, Arm::Some),
            (Input::Latents, Output::Plain, Arm::Parts),
        ] {
            forms.push(Form {
                dtype,
                input,
                output,
                arm,
            });
        }
    }
    forms
}

/// Every shader that any call on any device can take, with the forms of products of which each part is tried once;
/// for tests and for `deputy devices --test`.
pub fn every_shader() -> Vec<Shader> {
    use bytemuck::Zeroable;
    let mut calls = vec![
        Call::RmsNorm(Zeroable::zeroed()),
        Call::AttentionMerge(Zeroable::zeroed()),
        Call::GatedAct(Zeroable::zeroed()),
        Call::Add(Zeroable::zeroed()),
        Call::GatherRows(Zeroable::zeroed()),
        Call::QuantizeRows(Zeroable::zeroed()),
        Call::FlattenRows(Zeroable::zeroed()),
        Call::Route(Zeroable::zeroed()),
        Call::PlaceRows(Zeroable::zeroed()),
        Call::Sample(Zeroable::zeroed()),
    ];
    for dtype in DType::ALL {
        calls.push(Call::Embed(dtype, Zeroable::zeroed()));
        calls.push(Call::LatentValues(dtype, Zeroable::zeroed()));
        let form = latent_keys::Form {
            dtype,
            latents: CacheType::F16,
            keys: CacheType::F32,
        };
        let params = latent_keys::Params {
            head_dim: 32,
            ..Zeroable::zeroed()
        };
        calls.push(Call::LatentKeys(form, params));
        for form in forms(dtype) {
            calls.push(Call::MatVec(form, Zeroable::zeroed()));
            // Many rows take their input as it is.
            let input = match form.input {
                Input::Latents => Input::Latents,
                _ => Input::Plain,
            };
            let form = Form { input, ..form };
            calls.push(Call::MatMul(form, Zeroable::zeroed()));
            if has_int8(dtype) && input == Input::Plain {
                for input in [Input::Int8, Input::Flat] {
                    // The table takes the place of what a ninth buffer would be.
                    if (input, form.arm) != (Input::Flat, Arm::Split) {
                        let form = Form { input, ..form };
                        calls.push(Call::MatMul(form, Zeroable::zeroed()));
                    }
                }
            }
        }
    }
    for cache in CacheType::ALL {
        // The shapes choose the variants; small heads compile sooner.
        for has_norm in [0, 1] {
            let params = cache_write::Params {
                head_dim: 32,
                has_norm,
                ..Zeroable::zeroed()
            };
            calls.push(Call::CacheWrite(cache_write::Form::plain(cache), params));
            let slots = Slots::Paths;
            calls.push(Call::CacheWrite(cache_write::Form { cache, slots }, params));
        }
        let form = cache_copy::Form {
            values: cache,
            latents: CacheType::F16,
        };
        calls.push(Call::CacheCopy(form, Zeroable::zeroed()));
        let form = attention_latent::Form {
            keys: cache,
            latents: CacheType::F16,
        };
        let params = attention::Params {
            head_dim: 32,
            v_cols: 32,
            ..Zeroable::zeroed()
        };
        calls.push(Call::AttentionLatent(form, params));
        for (rows, n_heads, head_dim) in [(1, 4, 32), (1, 8, 32), (32, 4, 32), (1, 4, 36)] {
            let params = attention::Params {
                rows,
                n_heads,
                n_kv_heads: 1,
                head_dim,
                n_splits: 1,
                ..Zeroable::zeroed()
            };
            calls.push(Call::Attention(attention::Form::plain(cache), params));
            let form = attention::Form {
                cache,
                slots: Slots::Paths,
            };
            // What the keys are kept in does not matter to where they lie.
            if cache == CacheType::F16 {
                calls.push(Call::Attention(form, params));
            }
        }
    }
    let all = Capabilities {
        subgroups: 8,
        software: false,
        int64: true,
    };
    let mut shaders: Vec<Shader> = vec![];
    for call in &calls {
        for capabilities in all.choices() {
            let shader = shader(call, &capabilities);
            if !shaders.contains(&shader) {
                shaders.push(shader);
            }
        }
    }
    shaders
}
