//! Which shader runs a call on a device: the parts that are joined, and their constants.

use super::{CacheType, Call};
use crate::tensor::DType;

/// What the kernels may use of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Subgroup operations in compute shaders.
    pub subgroups: bool,
    /// The device is a CPU in disguise, on which an invocation is a lane of a vector register:
    /// reading is dear and neighbours need not read neighbouring memory.
    pub software: bool,
}

impl Capabilities {
    /// Every choice that runs on a device with these capabilities, for tests: what is optional is
    /// used or left out, and kernels shaped for either kind of device run on both.
    pub fn choices(self) -> Vec<Self> {
        let subgroups: &[bool] = if self.subgroups {
            &[false, true]
        } else {
            &[false]
        };
        let both = subgroups.iter().flat_map(|&subgroups| {
            [false, true].map(|software| Self {
                subgroups,
                software,
            })
        });
        both.collect()
    }
}

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
    /// files is all the templating that the shaders need.
    pub fn source(&self) -> String {
        self.parts.iter().map(|path| text(path)).collect()
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
    let (variant, parts, constants): (&str, Vec<&'static str>, &[(&'static str, u32)]) = match *call
    {
        Call::Embed(dtype, _) => (
            dtype.name(),
            [&["lib/rows.wgsl"], weight_parts(dtype)].concat(),
            &[("WG", 32)],
        ),
        Call::RmsNorm(_) => ("", vec![], &[("WG", 64)]),
        Call::MatVec(dtype, _) => (
            dtype.name(),
            [
                &["lib/linear.wgsl", "lib/x_block.wgsl"],
                weight_parts(dtype),
            ]
            .concat(),
            // An invocation alone with eight outputs: 7x over 16 lanes and one output on llvmpipe.
            if capabilities.software {
                &[("WG", 16), ("LANES", 1), ("OUTS", 8)]
            } else {
                &[("WG", 64), ("LANES", 16), ("OUTS", 2)]
            },
        ),
        Call::MatMul(dtype, _) if capabilities.software => (
            dtype.name(),
            [
                &["lib/linear.wgsl", "lib/x_block.wgsl"],
                weight_parts(dtype),
            ]
            .concat(),
            // Reading x is what costs: 32 outputs are 1.6x over 16 on llvmpipe.
            &[("WG", 16), ("OUTS", 32), ("ROWS", 4)],
        ),
        Call::MatMul(dtype, _) => (
            dtype.name(),
            [&["lib/linear.wgsl"], weight_parts(dtype)].concat(),
            &[("WG", 64)],
        ),
        Call::Rope(_) => ("", vec!["lib/rows.wgsl"], &[("WG", 64)]),
        Call::CacheWrite(cache, _) => (
            cache.name(),
            vec!["lib/rows.wgsl", cache_part(cache)],
            &[("WG", 64)],
        ),
        Call::Attention(cache, _) => (
            cache.name(),
            vec!["lib/rows.wgsl", cache_part(cache)],
            &[("WG", 128)],
        ),
        Call::GatedAct(_) | Call::Add(_) | Call::GatherRows(_) => ("", vec![], &[("WG", 64)]),
        Call::Sample(_) => ("", vec!["lib/rows.wgsl"], &[("WG", 256)]),
    };
    let kernel = match call {
        Call::MatMul(..) if capabilities.software => "matmul_private",
        _ => call.kernel(),
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
    let alone = matches!(call, Call::MatVec(..)) && capabilities.software;
    if alone {
        shader.parts.push("lib/reduce.wgsl"); // Named, and never called: each output has one lane.
        shader.label.push_str("_software");
    } else if matches!(
        call,
        Call::RmsNorm(_) | Call::MatVec(..) | Call::Attention(..)
    ) {
        if capabilities.subgroups {
            shader.parts.push("lib/reduce_subgroup.wgsl");
            shader.label.push_str("_subgroup");
        } else {
            shader.parts.push("lib/reduce.wgsl");
        }
    }
    shader.parts.push(kernel_part(kernel));
    shader
}

/// Every shader that any call on any device can take, for tests and for `deputy devices --test`.
pub fn every_shader() -> Vec<Shader> {
    use bytemuck::Zeroable;
    let mut calls = vec![
        Call::RmsNorm(Zeroable::zeroed()),
        Call::Rope(Zeroable::zeroed()),
        Call::GatedAct(Zeroable::zeroed()),
        Call::Add(Zeroable::zeroed()),
        Call::GatherRows(Zeroable::zeroed()),
        Call::Sample(Zeroable::zeroed()),
    ];
    for dtype in DType::ALL {
        calls.push(Call::Embed(dtype, Zeroable::zeroed()));
        calls.push(Call::MatVec(dtype, Zeroable::zeroed()));
        calls.push(Call::MatMul(dtype, Zeroable::zeroed()));
    }
    for cache in [CacheType::F32, CacheType::F16] {
        calls.push(Call::CacheWrite(cache, Zeroable::zeroed()));
        calls.push(Call::Attention(cache, Zeroable::zeroed()));
    }
    let all = Capabilities {
        subgroups: true,
        software: false,
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

fn cache_part(cache: CacheType) -> &'static str {
    match cache {
        CacheType::F32 => "lib/cache_f32.wgsl",
        CacheType::F16 => "lib/cache_f16.wgsl",
    }
}

fn weight_parts(dtype: DType) -> &'static [&'static str] {
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
        DType::Q8_0 => &["lib/dot.wgsl", "lib/halves.wgsl", "lib/weight_q8_0.wgsl"],
        DType::Q4_0 => &[
            "lib/halves.wgsl",
            "lib/dot.wgsl",
            "lib/nibbles.wgsl",
            "lib/weight_q4_0.wgsl",
        ],
        DType::Q4_1 => &[
            "lib/halves.wgsl",
            "lib/dot.wgsl",
            "lib/nibbles.wgsl",
            "lib/weight_q4_1.wgsl",
        ],
        DType::Q5_0 => &[
            "lib/halves.wgsl",
            "lib/dot.wgsl",
            "lib/nibbles.wgsl",
            "lib/weight_q5_0.wgsl",
        ],
        DType::Q4K => &[
            "lib/halves.wgsl",
            "lib/dot.wgsl",
            "lib/nibbles.wgsl",
            "lib/k_scales.wgsl",
            "lib/weight_q4_k.wgsl",
        ],
        DType::Q5K => &[
            "lib/halves.wgsl",
            "lib/dot.wgsl",
            "lib/nibbles.wgsl",
            "lib/k_scales.wgsl",
            "lib/weight_q5_k.wgsl",
        ],
        DType::Q6K => &["lib/dot.wgsl", "lib/nibbles.wgsl", "lib/weight_q6_k.wgsl"],
    }
}

macro_rules! texts {
    ($($path:literal),* $(,)?) => {
        /// The text of a file under `shaders/`.
        fn text(path: &str) -> &'static str {
            match path {
                $($path => include_str!(concat!("../../shaders/", $path)),)*
                _ => unreachable!("no shader part {path}"),
            }
        }

        /// The path of the file that holds a kernel's entry point.
        fn kernel_part(kernel: &str) -> &'static str {
            [$($path),*]
                .into_iter()
                .find(|path| path.strip_suffix(".wgsl") == Some(kernel))
                .expect("a kernel's file has its name")
        }
    };
}

texts![
    "lib/cache_f16.wgsl",
    "lib/cache_f32.wgsl",
    "lib/dot.wgsl",
    "lib/halves.wgsl",
    "lib/k_scales.wgsl",
    "lib/linear.wgsl",
    "lib/nibbles.wgsl",
    "lib/reduce.wgsl",
    "lib/reduce_subgroup.wgsl",
    "lib/rows.wgsl",
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
    "add.wgsl",
    "attention.wgsl",
    "cache_write.wgsl",
    "embed.wgsl",
    "gated_act.wgsl",
    "gather_rows.wgsl",
    "matmul.wgsl",
    "matmul_private.wgsl",
    "matvec.wgsl",
    "rms_norm.wgsl",
    "rope.wgsl",
    "sample.wgsl",
];
