//! The parameters of a model, in device memory.

use std::collections::HashMap;

use super::{Error, Gpu};
use crate::graph::{Graph, WeightId};
use crate::plan::{Part, WeightLayout};

/// Packed parameters and rotary tables; shared by all sessions of a model.
#[derive(Debug)]
pub struct Weights {
    pub(super) buffers: HashMap<(WeightId, u32, Part), wgpu::Buffer>,
    layouts: Vec<WeightLayout>,
    /// Bytes written since the device was last known to have taken them.
    pending: u64,
}

/// Bytes in flight from host to device, at most: bounds the staging memory.
const MAX_PENDING: u64 = 32 << 20;

impl Weights {
    /// Allocates every parameter.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] with the tensor's name; what was allocated before is freed.
    pub async fn new(gpu: &Gpu, graph: &Graph, layouts: &[WeightLayout]) -> Result<Self, Error> {
        let mut buffers = HashMap::new();
        for (i, layout) in layouts.iter().enumerate() {
            let row = layout.packed_row();
            for (chunk, rows) in layout.chunks.iter().enumerate() {
                for (part, words) in [(Part::Values, row.q_words), (Part::Scales, row.s_words)] {
                    if words == 0 {
                        continue;
                    }
                    let n_bytes = 4 * words as u64 * u64::from(rows.end - rows.start);
                    let usage = wgpu::BufferUsages::STORAGE
                        | wgpu::BufferUsages::COPY_DST
                        | wgpu::BufferUsages::COPY_SRC;
                    let buffer = gpu.buffer(&graph.weights()[i].name, n_bytes, usage).await?;
                    buffers.insert((WeightId(i as u32), chunk as u32, part), buffer);
                }
            }
        }
        Ok(Self {
            buffers,
            layouts: layouts.to_vec(),
            pending: 0,
        })
    }

    /// Writes packed rows from `first_row` on; they may cross pieces.
    ///
    /// # Errors
    /// What the device reports.
    pub async fn write(
        &mut self,
        gpu: &Gpu,
        id: WeightId,
        first_row: u32,
        q: &[u32],
        s: &[u32],
    ) -> Result<(), Error> {
        let layout = &self.layouts[id.0 as usize];
        let row = layout.packed_row();
        let end_row = first_row + (q.len() / row.q_words) as u32;
        for (chunk, rows, at) in layout.pieces(first_row..end_row) {
            for (part, words, data) in [
                (Part::Values, row.q_words, q),
                (Part::Scales, row.s_words, s),
            ] {
                let Some(buffer) = self.buffers.get(&(id, chunk, part)) else {
                    continue;
                };
                let source = |row: u32| (row - first_row) as usize * words;
                let data = &data[source(rows.start)..source(rows.end)];
                let offset = 4 * words as u64 * u64::from(at);
                gpu.queue
                    .write_buffer(buffer, offset, bytemuck::cast_slice(data));
            }
        }
        self.pending += 4 * (q.len() + s.len()) as u64;
        if self.pending >= MAX_PENDING {
            self.flush(gpu).await?;
        }
        Ok(())
    }

    /// Waits until the device has everything.
    ///
    /// # Errors
    /// What the device reports.
    pub async fn flush(&mut self, gpu: &Gpu) -> Result<(), Error> {
        self.pending = 0;
        gpu.queue.submit([]);
        gpu.finish().await
    }
}
