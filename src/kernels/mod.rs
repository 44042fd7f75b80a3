//! What runs on the device: one file a kernel with its shader, its `Params` and its workgroups.
//!
//! A [`Call`] is a kernel with its parameters: plain data that the GPU executor turns into a
//! dispatch and the reference into a call of the kernel's CPU twin. `choose.rs` turns a call and a
//! device's [`Capabilities`] into the [`Shader`] to run.

pub mod add;
pub mod attention;
pub mod cache_write;
mod choose;
pub mod embed;
pub mod gated_act;
pub mod gather_rows;
pub mod linear;
pub mod rms_norm;
pub mod rope;
pub mod sample;

pub use choose::{Capabilities, Shader, every_shader, shader};

use crate::tensor::DType;

/// How the key/value cache stores its elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CacheType {
    /// Single precision.
    F32,
    /// Half precision.
    F16,
}

impl CacheType {
    /// Lower-case name, as shader parts and messages write it.
    pub const fn name(self) -> &'static str {
        match self {
            CacheType::F32 => "f32",
            CacheType::F16 => "f16",
        }
    }

    /// Bytes of one element.
    pub const fn n_bytes(self) -> usize {
        match self {
            CacheType::F32 => 4,
            CacheType::F16 => 2,
        }
    }
}

/// Most workgroups in one dimension of a dispatch (WebGPU's default limit).
pub const MAX_WORKGROUPS: u32 = 65535;

/// The position of a row that only fills up its bucket: it has no token, no cache and no effect.
pub const PADDING: u32 = u32::MAX;

/// One row of a step: which token of which sequence. Mirrors `Row` in `shaders/lib/rows.wgsl`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Row {
    /// Index of the sequence in its session.
    pub sequence: u32,
    /// Position of the token in the sequence, or [`PADDING`].
    pub position: u32,
}

/// A kernel with its parameters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Call {
    /// See [`embed`].
    Embed(DType, embed::Params),
    /// See [`rms_norm`].
    RmsNorm(rms_norm::Params),
    /// See [`linear`]: few rows.
    MatVec(DType, linear::Params),
    /// See [`linear`]: many rows.
    MatMul(DType, linear::Params),
    /// See [`rope`].
    Rope(rope::Params),
    /// See [`cache_write`].
    CacheWrite(CacheType, cache_write::Params),
    /// See [`attention`].
    Attention(CacheType, attention::Params),
    /// See [`gated_act`].
    GatedAct(gated_act::Params),
    /// See [`add`].
    Add(add::Params),
    /// See [`gather_rows`].
    GatherRows(gather_rows::Params),
    /// See [`sample`].
    Sample(sample::Params),
}

impl Call {
    /// The kernel's name: entry point, file stem and name of the CPU twin.
    pub fn kernel(&self) -> &'static str {
        match self {
            Call::Embed(..) => "embed",
            Call::RmsNorm(_) => "rms_norm",
            Call::MatVec(..) => "matvec",
            Call::MatMul(..) => "matmul",
            Call::Rope(_) => "rope",
            Call::CacheWrite(..) => "cache_write",
            Call::Attention(..) => "attention",
            Call::GatedAct(_) => "gated_act",
            Call::Add(_) => "add",
            Call::GatherRows(_) => "gather_rows",
            Call::Sample(_) => "sample",
        }
    }

    /// How many of the last bindings are written: one, but for the sampler.
    pub fn n_written(&self) -> usize {
        match self {
            Call::Sample(_) => 3, // The tokens, its scores, what was drawn.
            _ => 1,
        }
    }

    /// The uniform that the shader reads.
    pub fn params(&self) -> &[u8] {
        match self {
            Call::Embed(_, p) => bytemuck::bytes_of(p),
            Call::RmsNorm(p) => bytemuck::bytes_of(p),
            Call::MatVec(_, p) | Call::MatMul(_, p) => bytemuck::bytes_of(p),
            Call::Rope(p) => bytemuck::bytes_of(p),
            Call::CacheWrite(_, p) => bytemuck::bytes_of(p),
            Call::Attention(_, p) => bytemuck::bytes_of(p),
            Call::GatedAct(p) => bytemuck::bytes_of(p),
            Call::Add(p) => bytemuck::bytes_of(p),
            Call::GatherRows(p) => bytemuck::bytes_of(p),
            Call::Sample(p) => bytemuck::bytes_of(p),
        }
    }

    /// Workgroups to dispatch, for a shader with these constants.
    pub fn workgroups(&self, shader: &Shader) -> [u32; 3] {
        let wg = shader.constant("WG");
        match self {
            Call::Embed(_, p) => embed::workgroups(p, wg),
            Call::RmsNorm(p) => rms_norm::workgroups(p),
            Call::MatVec(_, p) => {
                let outs = wg / shader.constant("LANES") * shader.constant("OUTS");
                linear::matvec_workgroups(p, outs)
            }
            Call::MatMul(_, p) if shader.kernel == "matmul_private" => {
                let [outs, rows] = ["OUTS", "ROWS"].map(|name| shader.constant(name));
                linear::matmul_workgroups(p, wg * outs, rows)
            }
            Call::MatMul(_, p) => linear::matmul_workgroups(p, linear::TILE, linear::TILE),
            Call::Rope(p) => rope::workgroups(p, wg),
            Call::CacheWrite(_, p) => cache_write::workgroups(p, wg),
            Call::Attention(_, p) => attention::workgroups(p),
            Call::GatedAct(p) => gated_act::workgroups(p, wg),
            Call::Add(p) => add::workgroups(p, wg),
            Call::GatherRows(p) => gather_rows::workgroups(p, wg),
            Call::Sample(p) => sample::workgroups(p),
        }
    }
}

/// `n` workgroups over two dimensions: the shader's index is `x + y * 65535`.
pub(crate) fn spread(n: u32) -> [u32; 3] {
    [n.min(MAX_WORKGROUPS), n.div_ceil(MAX_WORKGROUPS), 1]
}
