//! Getting bytes back from the device, at once or while it goes on computing.

use super::device::{Signal, signal};
use super::{Error, Gpu};

/// A buffer that results are copied to and mapped from, over and over.
pub(super) struct Readback {
    buffer: wgpu::Buffer,
    pending: Option<Pending>,
}

/// A result on its way to the host.
struct Pending {
    n_bytes: u64,
    submission: wgpu::SubmissionIndex,
    mapped: Signal<Result<(), wgpu::BufferAsyncError>>,
}

impl Readback {
    /// For results of up to `n_bytes`.
    pub(super) async fn new(gpu: &Gpu, n_bytes: u64) -> Result<Self, Error> {
        let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
        Ok(Self {
            buffer: gpu.buffer("readback", n_bytes, usage).await?,
            pending: None,
        })
    }

    /// Bytes that it has room for.
    pub(super) fn n_bytes(&self) -> u64 {
        self.buffer.size()
    }

    /// Submits `encoder` and behind it the copy of a buffer's first `n_bytes`. Waits first for a
    /// result that nobody has received: a buffer cannot be written while it is mapped.
    pub(super) async fn submit(
        &mut self,
        gpu: &Gpu,
        mut encoder: wgpu::CommandEncoder,
        source: &wgpu::Buffer,
        n_bytes: u64,
    ) -> Result<(), Error> {
        if self.pending.is_some() {
            self.receive(gpu).await?;
        }
        encoder.copy_buffer_to_buffer(source, 0, &self.buffer, 0, n_bytes);
        let submission = gpu.queue.submit([encoder.finish()]);
        let (sender, mapped) = signal();
        self.buffer
            .map_async(wgpu::MapMode::Read, 0..n_bytes, move |result| {
                sender.send(result)
            });
        self.pending = Some(Pending {
            n_bytes,
            submission,
            mapped,
        });
        Ok(())
    }

    /// Waits for the bytes submitted last, and for nothing submitted after them.
    pub(super) async fn receive(&mut self, gpu: &Gpu) -> Result<Vec<u8>, Error> {
        gpu.check()?;
        let pending = self.pending.as_mut().expect("something was submitted");
        gpu.wait(Some(pending.submission.clone()))?;
        // Not taken out before: who drops this future leaves the buffer mapped.
        let result = (&mut pending.mapped).await;
        let n_bytes = pending.n_bytes;
        self.pending = None;
        gpu.check()?;
        if let Err(cause) = result {
            return Err(gpu.failure(cause.to_string()).await);
        }
        let view = match self.buffer.get_mapped_range(0..n_bytes) {
            Ok(view) => view,
            Err(cause) => return Err(gpu.failure(cause.to_string()).await),
        };
        let bytes = view.to_vec();
        drop(view);
        self.buffer.unmap();
        Ok(bytes)
    }
}
