//! One call by itself, for the self-test.

use super::readback::Readback;
use super::{Error, Gpu};
use crate::kernels::{Bounds, Call, Shader};

impl Gpu {
    /// Runs one call with `shader`. `bindings` are numbers and contents as in a
    /// [`crate::plan::Dispatch`], the rows among them within `bounds`; returns what the last ones,
    /// those that the call writes, then hold.
    ///
    /// # Errors
    /// What the device reports.
    ///
    /// # Panics
    /// Where the call would reach beyond its buffers.
    pub(crate) async fn run_call(
        &self,
        call: &Call,
        shader: &Shader,
        bounds: &Bounds,
        bindings: &[(u32, Vec<u32>)],
    ) -> Result<Vec<Vec<u32>>, Error> {
        let have = |(binding, words): &(u32, Vec<u32>)| (*binding, 4 * words.len() as u64);
        let have: Vec<(u32, u64)> = bindings.iter().map(have).collect();
        assert!(call.fits(bounds, &have), "{call:?} beyond {have:?}");
        let storage = wgpu::BufferUsages::STORAGE
            | wgpu::BufferUsages::COPY_DST
            | wgpu::BufferUsages::COPY_SRC;
        let uniform = wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST;
        let params = self
            .buffer("params", call.params().len() as u64, uniform)
            .await?;
        self.queue.write_buffer(&params, 0, call.params());
        let mut buffers = vec![(0, params)];
        for (binding, words) in bindings {
            let buffer = self
                .buffer(&shader.label, 4 * words.len() as u64, storage)
                .await?;
            self.queue
                .write_buffer(&buffer, 0, bytemuck::cast_slice(words));
            buffers.push((*binding, buffer));
        }
        let pipeline = self.pipeline(shader).await?;
        let entries: Vec<_> = buffers
            .iter()
            .map(|(binding, buffer)| wgpu::BindGroupEntry {
                binding: *binding,
                resource: buffer.as_entire_binding(),
            })
            .collect();
        let group = self.bind_group(&pipeline, &shader.label, &entries);
        let mut encoder = self
            .device
            .create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
        pass.set_pipeline(&pipeline);
        pass.set_bind_group(0, &group, &[]);
        let [x, y, z] = call.workgroups(shader);
        pass.dispatch_workgroups(x, y, z);
        drop(pass);
        self.queue.submit([encoder.finish()]);

        let mut written = vec![];
        let first = bindings.len() - call.n_written();
        for ((_, words), (_, buffer)) in bindings[first..].iter().zip(&buffers[1 + first..]) {
            let n_bytes = 4 * words.len() as u64;
            let mut read = Readback::new(self, n_bytes).await?;
            let encoder = self
                .device
                .create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
            read.submit(self, encoder, buffer, n_bytes).await?;
            let bytes = read.receive(self).await?;
            written.push(bytemuck::pod_collect_to_vec(&bytes));
        }
        Ok(written)
    }
}
