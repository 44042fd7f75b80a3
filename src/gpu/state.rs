//! One session's buffers, and the plans bound to them.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use super::{Error, Gpu, Weights};
use crate::graph::{Graph, RopeId};
use crate::kernels::{Row, sample::Sampler, shader};
use crate::plan::{Buffer, Plan, Settings, Size, Slot};

/// Everything that a session keeps on the device.
pub struct State {
    gpu: Arc<Gpu>,
    weights: Arc<Weights>,
    buffers: HashMap<Buffer, wgpu::Buffer>,
    bound: HashMap<Size, Vec<Bound>>,
    read: wgpu::Buffer,
}

/// A dispatch with its pipeline and bind group.
struct Bound {
    pipeline: Arc<wgpu::ComputePipeline>,
    group: wgpu::BindGroup,
    workgroups: [u32; 3],
}

/// Alignment of a dispatch's parameters within their buffer (WebGPU's default limit).
const UNIFORM_ALIGN: usize = 256;

impl State {
    /// Allocates the buffers for steps up to `size`.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] and what else the device reports.
    pub async fn new(
        gpu: Arc<Gpu>,
        weights: Arc<Weights>,
        graph: &Graph,
        settings: &Settings,
        slots: &[Slot],
        size: Size,
    ) -> Result<Self, Error> {
        let vocab = graph
            .result()
            .map_or(0, |id| graph.values()[id.0 as usize].cols);
        let (rows, n_out) = (u64::from(size.rows), u64::from(size.n_out));
        let sequences = u64::from(settings.n_sequences);
        let positions = u64::from(settings.n_ctx) * sequences;
        let mut wanted = vec![
            (Buffer::Zero, 4),
            (Buffer::Rows, rows * size_of::<Row>() as u64),
            (Buffer::OutRows, n_out * 4),
            (Buffer::Tokens, positions * 4),
            (Buffer::Samplers, sequences * size_of::<Sampler>() as u64),
            (Buffer::Logits, n_out * u64::from(vocab) * 4),
            // Only the last row of each sequence is ever drawn from.
            (Buffer::Scores, sequences.min(n_out) * u64::from(vocab) * 4),
            (Buffer::Sampled, n_out * 4),
        ];
        for (slot, shape) in slots.iter().enumerate() {
            wanted.push((Buffer::Slot(slot as u32), shape.n_bytes(size)));
        }
        for (layer, &dim) in graph.cache_dims().iter().enumerate() {
            let n_bytes = positions * u64::from(dim) * settings.cache.n_bytes() as u64;
            wanted.push((Buffer::Keys(layer as u32), n_bytes));
            wanted.push((Buffer::Values(layer as u32), n_bytes));
        }
        for (i, rope) in graph.ropes().iter().enumerate() {
            let n_bytes = u64::from(settings.n_ctx) * rope.inv_freq.len() as u64 * 8;
            wanted.push((Buffer::RopeTable(RopeId(i as u32)), n_bytes));
        }
        let storage = wgpu::BufferUsages::STORAGE
            | wgpu::BufferUsages::COPY_DST
            | wgpu::BufferUsages::COPY_SRC;
        let mut buffers = HashMap::new();
        for (key, n_bytes) in wanted {
            buffers.insert(
                key,
                gpu.buffer(&format!("{key:?}"), n_bytes, storage).await?,
            );
        }
        let read = read_buffer(&gpu, n_out * 4).await?;
        Ok(Self {
            gpu,
            weights,
            buffers,
            bound: HashMap::new(),
            read,
        })
    }

    /// Writes a buffer from byte `offset` on. Ordered with the steps around it.
    pub fn write(&self, buffer: Buffer, offset: u64, bytes: &[u8]) {
        self.gpu
            .queue
            .write_buffer(self.buffer(buffer), offset, bytes);
    }

    /// Runs some dispatches of a plan in one pass, and reads `n_bytes` of a buffer behind them.
    ///
    /// # Errors
    /// What the device reports.
    pub async fn run(
        &mut self,
        plan: &Plan,
        range: Range<usize>,
        read: Option<(Buffer, u64)>,
    ) -> Result<Vec<u8>, Error> {
        self.gpu.check()?;
        self.bind(plan).await?;
        if let Some((_, n_bytes)) = read
            && n_bytes > self.read.size()
        {
            self.read = read_buffer(&self.gpu, n_bytes).await?;
        }
        let mut encoder = self
            .gpu
            .device
            .create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        if !range.is_empty() {
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
            let mut last: Option<&Arc<wgpu::ComputePipeline>> = None;
            for bound in &self.bound[&plan.size][range] {
                if !last.is_some_and(|last| Arc::ptr_eq(last, &bound.pipeline)) {
                    pass.set_pipeline(&bound.pipeline);
                    last = Some(&bound.pipeline);
                }
                pass.set_bind_group(0, &bound.group, &[]);
                let [x, y, z] = bound.workgroups;
                pass.dispatch_workgroups(x, y, z);
            }
        }
        let Some((buffer, n_bytes)) = read else {
            self.gpu.queue.submit([encoder.finish()]);
            return self.gpu.check().map(|()| vec![]);
        };
        encoder.copy_buffer_to_buffer(self.buffer(buffer), 0, &self.read, 0, n_bytes);
        self.gpu.queue.submit([encoder.finish()]);
        self.gpu.map(&self.read, n_bytes).await
    }

    /// Size of a buffer in bytes.
    pub fn n_bytes(&self, buffer: Buffer) -> u64 {
        self.buffer(buffer).size()
    }

    fn buffer(&self, key: Buffer) -> &wgpu::Buffer {
        let found = match key {
            Buffer::Weight { id, chunk, part } => self.weights.buffers.get(&(id, chunk, part)),
            other => self.buffers.get(&other),
        };
        found.expect("a plan names only buffers of its model and session")
    }

    /// Makes the pipelines and bind groups of a plan, once.
    async fn bind(&mut self, plan: &Plan) -> Result<(), Error> {
        if self.bound.contains_key(&plan.size) {
            return Ok(());
        }
        let mut params = vec![0u8; plan.dispatches.len() * UNIFORM_ALIGN];
        for (slot, dispatch) in params.chunks_exact_mut(UNIFORM_ALIGN).zip(&plan.dispatches) {
            let bytes = dispatch.call.params();
            slot[..bytes.len()].copy_from_slice(bytes);
        }
        let usage = wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST;
        let uniform = self
            .gpu
            .buffer("params", params.len() as u64, usage)
            .await?;
        self.gpu.queue.write_buffer(&uniform, 0, &params);
        let mut bound = vec![];
        for (i, dispatch) in plan.dispatches.iter().enumerate() {
            let shader = shader(&dispatch.call, &self.gpu.capabilities);
            let pipeline = self.gpu.pipeline(&shader).await?;
            let mut entries = vec![wgpu::BindGroupEntry {
                binding: 0,
                resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                    buffer: &uniform,
                    offset: (i * UNIFORM_ALIGN) as u64,
                    size: wgpu::BufferSize::new(dispatch.call.params().len() as u64),
                }),
            }];
            entries.extend(dispatch.bindings.iter().map(|&(binding, buffer)| {
                wgpu::BindGroupEntry {
                    binding,
                    resource: self.buffer(buffer).as_entire_binding(),
                }
            }));
            let group = self
                .gpu
                .device
                .create_bind_group(&wgpu::BindGroupDescriptor {
                    label: Some(&shader.label),
                    layout: &pipeline.get_bind_group_layout(0),
                    entries: &entries,
                });
            bound.push(Bound {
                pipeline,
                group,
                workgroups: dispatch.call.workgroups(&shader),
            });
        }
        self.gpu.check()?;
        self.bound.insert(plan.size, bound);
        Ok(())
    }
}

async fn read_buffer(gpu: &Gpu, n_bytes: u64) -> Result<wgpu::Buffer, Error> {
    gpu.buffer(
        "readback",
        n_bytes,
        wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
    )
    .await
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State")
            .field("n_buffers", &self.buffers.len())
            .finish_non_exhaustive()
    }
}
