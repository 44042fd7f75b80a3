//! One session's buffers, and the plans bound to them.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use super::readback::Readback;
use super::{Error, Gpu, Weights};
use crate::graph::Graph;
use crate::kernels::{Bounds, Row, Shader};
use crate::plan::{Buffer, Dispatch, Growth, Plan, Settings, Size, Slot, session_buffers};

/// Everything that a session keeps on the device.
pub struct State {
    pub(super) gpu: Arc<Gpu>,
    weights: Arc<Weights>,
    buffers: HashMap<Buffer, wgpu::Buffer>,
    pub(super) bound: HashMap<Size, Vec<Bound>>,
    read: Readback,
    /// Results of submitted steps, one after the other around.
    ring: Vec<Readback>,
    n_submitted: u64,
    bounds: Bounds,
}

/// Steps whose results may be on their way at a time.
pub const MAX_IN_FLIGHT: u32 = 8;

/// A submitted step, to be waited for.
#[derive(Debug)]
#[must_use = "a step's result is there once it is waited for"]
pub struct Ticket(u64);

/// A dispatch with its pipeline and bind group.
pub(super) struct Bound {
    /// Of its shader.
    pub(super) label: String,
    pub(super) pipeline: Arc<wgpu::ComputePipeline>,
    pub(super) group: wgpu::BindGroup,
    pub(super) workgroups: [u32; 3],
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
        let storage = wgpu::BufferUsages::STORAGE
            | wgpu::BufferUsages::COPY_DST
            | wgpu::BufferUsages::COPY_SRC;
        let mut buffers = HashMap::new();
        for (key, n_bytes) in session_buffers(graph, settings, slots, size) {
            buffers.insert(
                key,
                gpu.buffer(&format!("{key:?}"), n_bytes, storage).await?,
            );
        }
        let n_out_bytes = u64::from(size.n_out) * 4;
        let read = Readback::new(&gpu, n_out_bytes).await?;
        let mut ring = vec![];
        for _ in 0..MAX_IN_FLIGHT {
            ring.push(Readback::new(&gpu, n_out_bytes).await?);
        }
        Ok(Self {
            gpu,
            weights,
            buffers,
            bound: HashMap::new(),
            read,
            ring,
            n_submitted: 0,
            bounds: Bounds {
                rows: size.rows,
                n_sequences: settings.n_sequences,
                n_ctx: settings.n_ctx,
            },
        })
    }

    /// Writes a buffer from byte `offset` on. Ordered with the steps around it.
    ///
    /// # Panics
    /// Where rows name a sequence, a position or a row that there is not.
    pub fn write(&self, buffer: Buffer, offset: u64, bytes: &[u8]) {
        // The shaders take these as they are.
        let sound = match buffer {
            Buffer::Rows => {
                let rows: Vec<Row> = bytemuck::pod_collect_to_vec(bytes);
                let aligned = offset.is_multiple_of(size_of::<Row>() as u64);
                aligned && rows.iter().all(|&row| self.bounds.contain(row))
            }
            Buffer::OutRows => {
                let rows: Vec<u32> = bytemuck::pod_collect_to_vec(bytes);
                rows.iter().all(|&row| row < self.bounds.rows)
            }
            _ => true,
        };
        assert!(sound, "{buffer:?} beyond {:?}", self.bounds);
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
        let encoder = self.encode(plan, range).await?;
        let Some((buffer, n_bytes)) = read else {
            self.gpu.queue.submit([encoder.finish()]);
            return self.gpu.check().map(|()| vec![]);
        };
        if n_bytes > self.read.n_bytes() {
            self.read = Readback::new(&self.gpu, n_bytes).await?;
        }
        let source = self.buffer(buffer).clone();
        self.read
            .submit(&self.gpu, encoder, &source, n_bytes)
            .await?;
        self.read.receive(&self.gpu).await
    }

    /// Submits a whole plan, and a read of the first `n_bytes` of a buffer behind it, at most 4 for
    /// each row of logits. Makes nothing and waits for nothing, unless [`MAX_IN_FLIGHT`] steps are
    /// on their way: then it waits for the oldest.
    ///
    /// # Errors
    /// What the device reports.
    pub async fn submit(
        &mut self,
        plan: &Plan,
        (buffer, n_bytes): (Buffer, u64),
    ) -> Result<Ticket, Error> {
        let encoder = self.encode(plan, 0..plan.dispatches.len()).await?;
        let source = self.buffer(buffer).clone();
        let ticket = Ticket(self.n_submitted);
        self.ring[ticket.slot()]
            .submit(&self.gpu, encoder, &source, n_bytes)
            .await?;
        self.n_submitted += 1;
        Ok(ticket)
    }

    /// Waits for a submitted step, not for those behind it, and returns what it reads.
    ///
    /// # Errors
    /// What the device reports.
    ///
    /// # Panics
    /// Where [`MAX_IN_FLIGHT`] more steps have been submitted since.
    pub async fn wait(&mut self, ticket: Ticket) -> Result<Vec<u8>, Error> {
        assert!(
            self.n_submitted - ticket.0 <= u64::from(MAX_IN_FLIGHT),
            "at most MAX_IN_FLIGHT steps are waited for"
        );
        self.ring[ticket.slot()].receive(&self.gpu).await
    }

    /// Some dispatches of a plan in one pass.
    async fn encode(
        &mut self,
        plan: &Plan,
        range: Range<usize>,
    ) -> Result<wgpu::CommandEncoder, Error> {
        self.gpu.check()?;
        self.bind(plan).await?;
        let mut encoder = self
            .gpu
            .device
            .create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        if range.is_empty() {
            return Ok(encoder);
        }
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
        record(&mut pass, &self.bound[&plan.size][range]);
        drop(pass);
        Ok(encoder)
    }

    /// Replaces some buffers by larger ones; every plan is bound anew.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] and what else the device reports; then all of them stay as they were.
    pub async fn grow(&mut self, growths: &[Growth]) -> Result<(), Error> {
        self.gpu.check()?;
        let descriptor = wgpu::CommandEncoderDescriptor::default();
        let mut encoder = self.gpu.device.create_command_encoder(&descriptor);
        let mut grown = vec![];
        for growth in growths {
            let old = self.buffer(growth.buffer);
            let label = format!("{:?}", growth.buffer);
            let new = self.gpu.buffer(&label, growth.n_bytes, old.usage()).await?;
            for &(from, to, n) in &growth.parts {
                encoder.copy_buffer_to_buffer(old, from, &new, to, n);
            }
            grown.push((growth.buffer, new));
        }
        self.gpu.queue.submit([encoder.finish()]);
        self.gpu.check()?;
        self.buffers.extend(grown);
        self.bound.clear();
        Ok(())
    }

    /// Reads parts of buffers, one behind the other: buffer, from byte, bytes.
    ///
    /// # Errors
    /// What the device reports.
    pub async fn gather(&mut self, parts: &[(Buffer, u64, u64)]) -> Result<Vec<u8>, Error> {
        self.gpu.check()?;
        let n_bytes = parts.iter().map(|&(.., n)| n).sum::<u64>();
        if n_bytes == 0 {
            return Ok(vec![]);
        }
        let usage = wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::COPY_SRC;
        let gathered = self.gpu.buffer("gathered", n_bytes, usage).await?;
        let descriptor = wgpu::CommandEncoderDescriptor::default();
        let mut encoder = self.gpu.device.create_command_encoder(&descriptor);
        let mut to = 0;
        for &(buffer, from, n) in parts {
            encoder.copy_buffer_to_buffer(self.buffer(buffer), from, &gathered, to, n);
            to += n;
        }
        if n_bytes > self.read.n_bytes() {
            self.read = Readback::new(&self.gpu, n_bytes).await?;
        }
        self.read
            .submit(&self.gpu, encoder, &gathered, n_bytes)
            .await?;
        self.read.receive(&self.gpu).await
    }

    /// Whether the adapter computes on the host's processor.
    pub fn is_software(&self) -> bool {
        self.gpu.capabilities.software
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
    ///
    /// # Panics
    /// Where a call would reach beyond its buffers.
    pub(super) async fn bind(&mut self, plan: &Plan) -> Result<(), Error> {
        if self.bound.contains_key(&plan.size) {
            return Ok(());
        }
        self.tune(plan).await?;
        let calls = plan.dispatches.iter();
        let calls: Vec<(&Dispatch, Shader)> = calls
            .map(|dispatch| (dispatch, self.gpu.shader(&dispatch.call)))
            .collect();
        let bound = self.bind_calls(&calls).await?;
        self.bound.insert(plan.size, bound);
        Ok(())
    }

    /// Makes the pipelines and bind groups of some calls.
    ///
    /// # Panics
    /// Where a call would reach beyond its buffers.
    pub(super) async fn bind_calls(
        &self,
        calls: &[(&Dispatch, Shader)],
    ) -> Result<Vec<Bound>, Error> {
        let shaders: Vec<Shader> = calls.iter().map(|(_, shader)| shader.clone()).collect();
        self.gpu.compile(&shaders).await?;
        let mut params = vec![0u8; calls.len() * UNIFORM_ALIGN];
        for (slot, (dispatch, _)) in params.chunks_exact_mut(UNIFORM_ALIGN).zip(calls) {
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
        for (i, (dispatch, shader)) in calls.iter().enumerate() {
            let have = |&(binding, buffer): &(u32, Buffer)| (binding, self.buffer(buffer).size());
            let have: Vec<(u32, u64)> = dispatch.bindings.iter().map(have).collect();
            assert!(
                dispatch.call.fits(&self.bounds, &have),
                "{} {:?} reaches beyond {have:?}",
                dispatch.label,
                dispatch.call
            );
            let pipeline = self.gpu.pipeline(shader).await?;
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
            bound.push(Bound {
                label: shader.label.clone(),
                group: self.gpu.bind_group(&pipeline, &shader.label, &entries),
                pipeline,
                workgroups: dispatch.call.workgroups(shader),
            });
        }
        self.gpu.check()?;
        Ok(bound)
    }
}

/// Records calls one after the other.
pub(super) fn record(pass: &mut wgpu::ComputePass<'_>, bound: &[Bound]) {
    let mut last: Option<&Arc<wgpu::ComputePipeline>> = None;
    for bound in bound {
        if !last.is_some_and(|last| Arc::ptr_eq(last, &bound.pipeline)) {
            pass.set_pipeline(&bound.pipeline);
            last = Some(&bound.pipeline);
        }
        pass.set_bind_group(0, &bound.group, &[]);
        let [x, y, z] = bound.workgroups;
        pass.dispatch_workgroups(x, y, z);
    }
}

impl Ticket {
    fn slot(&self) -> usize {
        (self.0 % u64::from(MAX_IN_FLIGHT)) as usize
    }
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State")
            .field("n_buffers", &self.buffers.len())
            .finish_non_exhaustive()
    }
}
