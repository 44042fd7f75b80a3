//! What runs on the device: one file a kernel with its shader, its `Params` and its workgroups.
//!
//! A [`Call`] is a kernel with its parameters: plain data that the GPU executor turns into a
//! dispatch and the reference into a call of the kernel's CPU twin. `choose.rs` turns a call and a
//! device's [`Capabilities`] into the [`Shader`] to run.

pub mod add;
pub mod attention;
pub mod attention_latent;
pub mod attention_merge;
mod bounds;
pub mod cache_copy;
pub mod cache_write;
mod choose;
pub mod embed;
pub mod flatten_rows;
pub mod gated_act;
pub mod gather_rows;
pub mod latent_keys;
pub mod latent_values;
pub mod linear;
mod parts;
pub mod paths;
pub mod quantize_rows;
pub mod rms_norm;
pub mod route;
pub mod sample;

pub use bounds::Bounds;
pub(crate) use choose::forms;
pub use choose::{Capabilities, Shader, candidates, every_shader, shader};

use crate::tensor::DType;

/// How the key/value cache stores its elements; the words of each are defined in `reference/cache_write.rs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CacheType {
    /// Single precision.
    F32,
    /// Half precision.
    F16,
    /// Blocks of 32 signed bytes with an f32 scale.
    Q8,
    /// Blocks of 32 signed nibbles with an f32 scale.
    Q4,
}

impl CacheType {
    /// All of them, the largest first.
    pub const ALL: [Self; 4] = [Self::F32, Self::F16, Self::Q8, Self::Q4];

    /// Lower-case name, as shader parts and messages write it.
    pub const fn name(self) -> &'static str {
        match self {
            CacheType::F32 => "f32",
            CacheType::F16 => "f16",
            CacheType::Q8 => "q8",
            CacheType::Q4 => "q4",
        }
    }

    /// Elements that are stored together; the width of a head must be a multiple.
    pub const fn block_len(self) -> u32 {
        match self {
            CacheType::F32 | CacheType::F16 => 1,
            CacheType::Q8 | CacheType::Q4 => 32,
        }
    }

    /// Bytes of so many elements, whole heads.
    pub const fn row_bytes(self, n_elements: u64) -> u64 {
        match self {
            CacheType::F32 => 4 * n_elements,
            CacheType::F16 => 2 * n_elements,
            CacheType::Q8 => n_elements / 32 * (32 + 4),
            CacheType::Q4 => n_elements / 32 * (16 + 4),
        }
    }
}

/// Where a layer's cache has the row of a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Slots {
    /// At the position.
    Positions,
    /// In one of two arenas, see [`paths`].
    Paths,
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
    MatVec(linear::Form, linear::Params),
    /// See [`linear`]: many rows.
    MatMul(linear::Form, linear::Params),
    /// See [`quantize_rows`].
    QuantizeRows(quantize_rows::Params),
    /// See [`flatten_rows`].
    FlattenRows(flatten_rows::Params),
    /// See [`cache_write`].
    CacheWrite(cache_write::Form, cache_write::Params),
    /// See [`cache_copy`].
    CacheCopy(cache_copy::Form, cache_copy::Params),
    /// See [`attention`].
    Attention(attention::Form, attention::Params),
    /// See [`attention_latent`].
    AttentionLatent(attention_latent::Form, attention::Params),
    /// See [`attention_merge`].
    AttentionMerge(attention_merge::Params),
    /// See [`latent_keys`].
    LatentKeys(latent_keys::Form, latent_keys::Params),
    /// See [`latent_values`]; with the format of `B_v`.
    LatentValues(DType, latent_values::Params),
    /// See [`gated_act`].
    GatedAct(gated_act::Params),
    /// See [`add`].
    Add(add::Params),
    /// See [`gather_rows`].
    GatherRows(gather_rows::Params),
    /// See [`route`].
    Route(route::Params),
    /// See [`route`]: the second half of its work, where rows are many.
    PlaceRows(route::Params),
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
            Call::MatMul(form, _) if form.input == linear::Input::Int8 => "matmul_int8",
            Call::MatMul(form, _) if form.input == linear::Input::Flat => "matmul_flat",
            Call::MatMul(..) => "matmul",
            Call::QuantizeRows(_) => "quantize_rows",
            Call::FlattenRows(_) => "flatten_rows",
            Call::CacheWrite(..) => "cache_write",
            Call::CacheCopy(..) => "cache_copy",
            Call::Attention(..) => "attention",
            Call::AttentionLatent(..) => "attention_latent",
            Call::AttentionMerge(_) => "attention_merge",
            Call::LatentKeys(..) => "latent_keys",
            Call::LatentValues(..) => "latent_values",
            Call::GatedAct(_) => "gated_act",
            Call::Add(_) => "add",
            Call::GatherRows(_) => "gather_rows",
            Call::Route(_) => "route",
            Call::PlaceRows(_) => "place_rows",
            Call::Sample(_) => "sample",
        }
    }

    /// How many of the last bindings are written: one, but for the sampler and the cache.
    pub fn n_written(&self) -> usize {
        match self {
            Call::Sample(_) => 3, // The tokens, its scores, what was drawn.
            Call::CacheWrite(form, _) if form.slots == Slots::Paths => 2, // The queries and keys.
            Call::CacheWrite(..) => 3, // The queries, keys and values.
            // The routes and the paths, of which only the decisions stand before the rows are placed.
            Call::Route(_) | Call::PlaceRows(_) => 2,
            Call::MatVec(form, _) | Call::MatMul(form, _) if form.arm == linear::Arm::Split => 2,
            Call::CacheCopy(..) => 2, // Latents and values.
            _ => 1,
        }
    }

    /// The uniform that the shader reads.
    pub fn params(&self) -> &[u8] {
        match self {
            Call::Embed(_, p) => bytemuck::bytes_of(p),
            Call::RmsNorm(p) => bytemuck::bytes_of(p),
            Call::MatVec(_, p) | Call::MatMul(_, p) => bytemuck::bytes_of(p),
            Call::QuantizeRows(p) => bytemuck::bytes_of(p),
            Call::FlattenRows(p) => bytemuck::bytes_of(p),
            Call::CacheWrite(_, p) => bytemuck::bytes_of(p),
            Call::CacheCopy(_, p) => bytemuck::bytes_of(p),
            Call::Attention(_, p) => bytemuck::bytes_of(p),
            Call::AttentionLatent(_, p) => bytemuck::bytes_of(p),
            Call::AttentionMerge(p) => bytemuck::bytes_of(p),
            Call::LatentKeys(_, p) => bytemuck::bytes_of(p),
            Call::LatentValues(_, p) => bytemuck::bytes_of(p),
            Call::GatedAct(p) => bytemuck::bytes_of(p),
            Call::Add(p) => bytemuck::bytes_of(p),
            Call::GatherRows(p) => bytemuck::bytes_of(p),
            Call::Route(p) | Call::PlaceRows(p) => bytemuck::bytes_of(p),
            Call::Sample(p) => bytemuck::bytes_of(p),
        }
    }

    /// Workgroups to dispatch, for a shader with these constants.
    pub fn workgroups(&self, shader: &Shader) -> [u32; 3] {
        let wg = shader.constant("WG");
        match self {
            Call::Embed(_, p) => embed::workgroups(p, wg),
            Call::RmsNorm(p) => rms_norm::workgroups(p),
            Call::MatVec(_, p) => linear::matvec_workgroups(p, shader),
            Call::MatMul(form, p) => linear::matmul_workgroups(*form, p, shader),
            Call::QuantizeRows(p) => quantize_rows::workgroups(p, wg),
            Call::FlattenRows(p) => flatten_rows::workgroups(p),
            Call::CacheWrite(form, p) => cache_write::workgroups(*form, p),
            Call::CacheCopy(_, p) => cache_copy::workgroups(p, wg),
            Call::Attention(_, p) => attention::workgroups(p, shader),
            Call::AttentionLatent(_, p) => attention_latent::workgroups(p),
            Call::AttentionMerge(p) => attention_merge::workgroups(p, wg),
            Call::LatentKeys(_, p) => latent_keys::workgroups(p, shader),
            Call::LatentValues(_, p) => latent_values::workgroups(p, wg),
            Call::GatedAct(p) => gated_act::workgroups(p, wg),
            Call::Add(p) => add::workgroups(p, wg),
            Call::GatherRows(p) => gather_rows::workgroups(p, wg),
            Call::Route(p) => route::workgroups(p),
            Call::PlaceRows(p) => route::place_workgroups(p, shader),
            Call::Sample(p) => sample::workgroups(p),
        }
    }
}

/// `n` workgroups over two dimensions: the shader's index is `x + y * 65535`.
pub(crate) fn spread(n: u32) -> [u32; 3] {
    [n.min(MAX_WORKGROUPS), n.div_ceil(MAX_WORKGROUPS), 1]
}
