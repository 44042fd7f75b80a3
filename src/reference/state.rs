//! Buffers in host memory, and calls dispatched to the twins.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use bytemuck::{cast_slice, cast_slice_mut};

use super::{Inputs, Packed, Router};
use crate::graph::{Graph, WeightId};
use crate::kernels::linear::{Arm, Input, Output};
use crate::kernels::{Call, Row, Slots, sample::Sampler};
use crate::plan::{
    Buffer, Growth, Part, Plan, Settings, Size, Slot, WeightLayout, session_buffers,
};

/// Packed parameters, shared by all sessions of a model.
#[derive(Debug)]
pub struct Weights {
    buffers: HashMap<(WeightId, u32, Part), Vec<u32>>,
    layouts: Vec<WeightLayout>,
}

impl Weights {
    /// Allocates every parameter.
    pub fn new(layouts: &[WeightLayout]) -> Self {
        let mut buffers = HashMap::new();
        for (i, layout) in layouts.iter().enumerate() {
            for chunk in 0..layout.chunks.len() {
                let words = layout.piece_words(chunk);
                for (part, n) in [(Part::Values, words.q_words), (Part::Scales, words.s_words)] {
                    buffers.insert((WeightId(i as u32), chunk as u32, part), vec![0; n]);
                }
            }
        }
        Self {
            buffers,
            layouts: layouts.to_vec(),
        }
    }

    /// Writes packed rows from `first_row` on; they may cross pieces.
    pub fn write(&mut self, id: WeightId, first_row: u32, q: &[u32], s: &[u32]) {
        let layout = &self.layouts[id.0 as usize];
        let row = layout.packed_row();
        let end_row = first_row + (q.len() / row.q_words) as u32;
        // What others put behind a vector must stay.
        let own = layout.n_words();
        for (on, chunk, at, rows) in layout.places(id, first_row..end_row) {
            for (part, words, own, at, data) in [
                (Part::Values, row.q_words, own.q_words, at.q_words, q),
                (Part::Scales, row.s_words, own.s_words, at.s_words, s),
            ] {
                let buffer = self.buffers.get_mut(&(on, chunk, part));
                let buffer = buffer.expect("every piece was allocated");
                let source = |row: u32| (row - first_row) as usize * words;
                let data = &data[source(rows.start)..source(rows.end)];
                let data = &data[..data.len().min(own)];
                buffer[at..][..data.len()].copy_from_slice(data);
            }
        }
    }
}

/// Everything that a session keeps.
#[derive(Debug)]
pub struct State {
    weights: Arc<Weights>,
    buffers: HashMap<Buffer, Vec<u32>>,
}

impl State {
    /// Allocates the buffers for steps up to `size`.
    pub fn new(
        weights: Arc<Weights>,
        graph: &Graph,
        settings: &Settings,
        slots: &[Slot],
        size: Size,
    ) -> Self {
        let buffers = session_buffers(graph, settings, slots, size);
        Self {
            weights,
            buffers: buffers
                .into_iter()
                // The sampler's twin keeps its own scores.
                .map(|(key, n_bytes)| match key {
                    Buffer::Scores => (key, vec![]),
                    _ => (key, vec![0; n_bytes as usize / 4]),
                })
                .collect(),
        }
    }

    /// Writes a buffer from byte `offset` on.
    pub fn write(&mut self, buffer: Buffer, offset: u64, bytes: &[u8]) {
        let words = self
            .buffers
            .get_mut(&buffer)
            .expect("a buffer of this session");
        cast_slice_mut(words)[offset as usize..][..bytes.len()].copy_from_slice(bytes);
    }

    /// Runs some dispatches of a plan, and reads `n_bytes` of a buffer behind them.
    pub fn run(
        &mut self,
        plan: &Plan,
        range: Range<usize>,
        read: Option<(Buffer, u64)>,
    ) -> Vec<u8> {
        for dispatch in &plan.dispatches[range] {
            let buffers: Vec<Buffer> = dispatch
                .bindings
                .iter()
                .map(|&(_, buffer)| buffer)
                .collect();
            // Written buffers leave the map for the call, so that the others can be borrowed.
            let mut written: Vec<(Buffer, Vec<u32>)> = buffers
                [buffers.len() - dispatch.call.n_written()..]
                .iter()
                .map(|&key| {
                    (
                        key,
                        self.buffers.remove(&key).expect("a buffer of this session"),
                    )
                })
                .collect();
            let inputs: Vec<&[u32]> = buffers
                .iter()
                .filter(|key| written.iter().all(|(w, _)| w != *key))
                .map(|&key| self.buffer(key))
                .collect();
            let mut outputs: Vec<&mut [u32]> = written
                .iter_mut()
                .map(|(_, words)| words.as_mut_slice())
                .collect();
            run_call(&dispatch.call, &inputs, &mut outputs);
            self.buffers.extend(written);
        }
        let Some((buffer, n_bytes)) = read else {
            return vec![];
        };
        cast_slice(self.buffer(buffer))[..n_bytes as usize].to_vec()
    }

    /// Replaces some buffers by larger ones.
    pub fn grow(&mut self, growths: &[Growth]) {
        for growth in growths {
            let mut new = vec![0; growth.n_bytes as usize / 4];
            let old = self.buffer(growth.buffer);
            for &(from, to, n) in &growth.parts {
                let [from, to, n] = [from, to, n].map(|n| n as usize / 4);
                new[to..][..n].copy_from_slice(&old[from..][..n]);
            }
            self.buffers.insert(growth.buffer, new);
        }
    }

    /// Reads parts of buffers, one behind the other: buffer, from byte, bytes.
    pub fn gather(&self, parts: &[(Buffer, u64, u64)]) -> Vec<u8> {
        let part = |&(buffer, from, n): &(Buffer, u64, u64)| {
            cast_slice::<u32, u8>(self.buffer(buffer))[from as usize..][..n as usize].to_vec()
        };
        parts.iter().flat_map(part).collect()
    }

    /// Size of a buffer in bytes.
    pub fn n_bytes(&self, buffer: Buffer) -> u64 {
        4 * self.buffer(buffer).len() as u64
    }

    fn buffer(&self, key: Buffer) -> &[u32] {
        let found = match key {
            Buffer::Weight { id, chunk, part } => self.weights.buffers.get(&(id, chunk, part)),
            other => self.buffers.get(&other),
        };
        found.expect("a plan names only buffers of its model and session")
    }
}

/// Calls the twin of a kernel: `inputs` are the read-only bindings in order, `outputs` the written ones.
///
/// # Panics
/// Where the buffers are not those of the kernel.
pub fn run_call(call: &Call, inputs: &[&[u32]], outputs: &mut [&mut [u32]]) {
    fn f32s(words: &[u32]) -> &[f32] {
        cast_slice(words)
    }
    fn rows(words: &[u32]) -> &[Row] {
        cast_slice(words)
    }
    let (last, others) = outputs.split_last_mut().expect("every call writes");
    let y: &mut [f32] = cast_slice_mut(last);
    match call {
        Call::Embed(dtype, p) => {
            let (w, rest) = weight(inputs, dtype.is_quantized());
            super::embed(*dtype, p, w, rows(rest[0]), rest[1], y);
        }
        Call::RmsNorm(p) => super::rms_norm(p, f32s(inputs[0]), f32s(inputs[1]), y),
        Call::MatVec(form, p) | Call::MatMul(form, p) => {
            let (w, rest) = weight(inputs, form.dtype.is_quantized());
            let mut rest = rest.iter().copied();
            let mut next = |is_there: bool| is_there.then(|| rest.next()).flatten().unwrap_or(&[]);
            let inputs = Inputs {
                x: f32s(next(true)),
                bias: f32s(next(true)),
                gains: f32s(next(form.input == Input::Norm)),
                table: next(form.input == Input::Flat),
                residual: f32s(next(form.output == Output::Add)),
                routes: next(form.arm != Arm::All),
            };
            match others {
                [] => super::linear(*form, p, w, inputs, y, &mut []),
                [made, ..] => super::linear(*form, p, w, inputs, cast_slice_mut(made), y),
            }
        }
        Call::QuantizeRows(p) => {
            super::quantize_rows(p, f32s(inputs[0]), bytemuck::cast_slice_mut(y));
        }
        Call::FlattenRows(p) => {
            let (x, gains) = (f32s(inputs[0]), f32s(inputs[1]));
            super::flatten_rows(p, x, gains, inputs[2], cast_slice_mut(y));
        }
        Call::CacheWrite(form, p) => {
            let (q, keys) = others.split_at_mut(1);
            let paths = inputs.get(5).copied().unwrap_or(&[]);
            let (keys, values): (&mut [u32], &mut [u32]) = match form.slots {
                Slots::Positions => (keys[0], last),
                Slots::Paths => (last, &mut []),
            };
            super::cache_write(
                *form,
                p,
                rows(inputs[0]),
                cast_slice(inputs[1]),
                f32s(inputs[2]),
                [f32s(inputs[3]), f32s(inputs[4])],
                paths,
                cast_slice_mut(q[0]),
                keys,
                values,
            );
        }
        Call::CacheCopy(form, p) => {
            let (qkv, latents) = (f32s(inputs[1]), f32s(inputs[2]));
            let rows = rows(inputs[0]);
            super::cache_copy(*form, p, rows, qkv, latents, inputs[3], others[0], last);
        }
        Call::Attention(form, p) => {
            let paths = inputs.get(4).copied().unwrap_or(&[]);
            let (q, k, v) = (f32s(inputs[1]), inputs[2], inputs[3]);
            super::attention(*form, p, rows(inputs[0]), q, k, v, paths, y);
        }
        Call::AttentionLatent(form, p) => {
            let (q, k, c) = (f32s(inputs[1]), inputs[2], inputs[3]);
            super::attention_latent(*form, p, rows(inputs[0]), q, k, c, inputs[4], y);
        }
        Call::AttentionMerge(p) => {
            let [n_rows, n_splits, n_apart] = [p.rows, p.n_splits, p.n_apart].map(|n| n as usize);
            let n_heads = (p.cols / p.head_dim) as usize;
            let records = f32s(inputs[0]);
            let y = &mut y[..n_rows * p.cols as usize];
            super::merge(n_rows, [n_splits, n_apart], n_heads, records, y);
        }
        Call::LatentKeys(form, p) => {
            let (w, rest) = weight(inputs, form.dtype.is_quantized());
            let (table, vector) = (cast_slice(rest[2]), f32s(rest[4]));
            let rows = rows(rest[0]);
            super::latent_keys(*form, p, w, rows, rest[1], table, rest[3], vector, last);
        }
        Call::LatentValues(dtype, p) => {
            let (w, rest) = weight(inputs, dtype.is_quantized());
            super::latent_values(*dtype, p, w, f32s(rest[0]), f32s(rest[1]), y);
        }
        Call::GatedAct(p) => super::gated_act(p, f32s(inputs[0]), y),
        Call::Add(p) => super::add(p, f32s(inputs[0]), f32s(inputs[1]), y),
        Call::GatherRows(p) => super::gather_rows(p, inputs[0], f32s(inputs[1]), y),
        Call::Route(p) => {
            let router = Router {
                x: f32s(inputs[1]),
                gains: f32s(inputs[2]),
                weight: f32s(inputs[3]),
                bias: f32s(inputs[4]),
            };
            let rows = rows(inputs[0]);
            super::route(p, rows, router, inputs[5], others[0], last);
        }
        Call::PlaceRows(p) => super::place_rows(p, rows(inputs[0]), others[0], last),
        Call::Sample(p) => {
            let samplers: &[Sampler] = cast_slice(inputs[2]);
            super::sample(
                p,
                rows(inputs[0]),
                inputs[1],
                samplers,
                f32s(inputs[3]),
                others[0],
                last,
            );
        }
    }
}

fn weight<'a>(inputs: &'a [&'a [u32]], has_scales: bool) -> (Packed<'a>, &'a [&'a [u32]]) {
    let n = 1 + usize::from(has_scales);
    let s = if has_scales { inputs[1] } else { &[] };
    (Packed { q: inputs[0], s }, &inputs[n..])
}
