//! One call by itself, for the self-test.

use super::{Error, Gpu};
use crate::kernels::{Call, Shader};

impl Gpu {
    /// Runs one call with `shader`. `bindings` are numbers and contents as in a
    /// [`crate::plan::Dispatch`]; returns what the last ones, those that the call writes, then hold.
    ///
    /// # Errors
    /// What the device reports.
    pub async fn run_call(
        &self,
        call: &Call,
        shader: &Shader,
        bindings: &[(u32, Vec<u32>)],
    ) -> Result<Vec<Vec<u32>>, Error> {
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
        let group = self.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some(&shader.label),
            layout: &pipeline.get_bind_group_layout(0),
            entries: &entries,
        });
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
            let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
            let read = self.buffer("readback", n_bytes, usage).await?;
            let mut encoder = self
                .device
                .create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
            encoder.copy_buffer_to_buffer(buffer, 0, &read, 0, n_bytes);
            self.queue.submit([encoder.finish()]);
            let bytes = self.map(&read, n_bytes).await?;
            written.push(bytemuck::pod_collect_to_vec(&bytes));
        }
        Ok(written)
    }
}
