//! How fast a device moves bytes, to compare kernels with.

use web_time::Instant;

use super::{Error, Gpu};

/// Bytes of a buffer: more than any cache, less than any device's limit.
const N_BYTES: u64 = 128 << 20;

/// Where a model has left no room for that: caches begin to count below.
const LEAST_BYTES: u64 = 8 << 20;

/// A timed run copies for at least this long.
const LEAST_SECONDS: f64 = 0.05;

/// Timed runs, of which the best counts.
const N_RUNS: usize = 5;

impl Gpu {
    /// Bytes a second that a copy between two buffers reads and writes together.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] and what else the device reports.
    pub async fn copy_bandwidth(&self) -> Result<f64, Error> {
        let mut n_bytes = N_BYTES;
        let (from, to) = loop {
            match self.pair(n_bytes).await {
                Err(Error::OutOfMemory { .. }) if n_bytes > LEAST_BYTES => n_bytes /= 2,
                made => break made?,
            }
        };
        let mut n_copies = 1;
        let mut best: f64 = 0.0;
        let mut runs = 0;
        while runs < N_RUNS {
            let start = Instant::now();
            let mut encoder = self
                .device
                .create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
            for _ in 0..n_copies {
                encoder.copy_buffer_to_buffer(&from, 0, &to, 0, n_bytes);
            }
            self.queue.submit([encoder.finish()]);
            self.finish().await?;
            let seconds = start.elapsed().as_secs_f64();
            if seconds < LEAST_SECONDS && n_copies < 1024 {
                n_copies *= 2;
                continue;
            }
            best = best.max((2 * n_copies * n_bytes) as f64 / seconds);
            runs += 1;
        }
        Ok(best)
    }

    async fn pair(&self, n_bytes: u64) -> Result<(wgpu::Buffer, wgpu::Buffer), Error> {
        let usage = wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
        let from = self.buffer("copied from", n_bytes, usage).await?;
        Ok((from, self.buffer("copied to", n_bytes, usage).await?))
    }
}
