//! Times of single dispatches, from timestamp queries.

use std::time::Duration;

use super::readback::Readback;
use super::{Error, State};
use crate::plan::Plan;

/// Dispatches that share a query set, which holds two timestamps for each.
const DISPATCHES: usize = wgpu::QUERY_SET_MAX_QUERIES as usize / 2;

impl State {
    /// Runs a plan with each dispatch in a pass of its own; returns the label of each one's shader
    /// and its time.
    ///
    /// In one pass, as [`State::run`] has it, dispatches may overlap; here each waits for the last.
    ///
    /// # Errors
    /// [`Error::NoTimestamps`] and what the device reports.
    pub async fn profile(&mut self, plan: &Plan) -> Result<Vec<(String, Duration)>, Error> {
        let gpu = self.gpu.clone();
        if !gpu
            .device
            .features()
            .contains(wgpu::Features::TIMESTAMP_QUERY)
        {
            return Err(Error::NoTimestamps {
                adapter: gpu.adapter.name.clone(),
            });
        }
        gpu.check()?;
        self.bind(plan).await?;
        let bound = &self.bound[&plan.size];
        let n_queries = 2 * bound.len().min(DISPATCHES) as u32;
        let n_bytes = u64::from(n_queries) * u64::from(wgpu::QUERY_SIZE);
        let usage = wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC;
        let resolved = gpu.buffer("timestamps", n_bytes, usage).await?;
        let mut read = Readback::new(&gpu, n_bytes).await?;
        let ns_per_tick = f64::from(gpu.queue.get_timestamp_period());

        let mut times = vec![];
        for bound in bound.chunks(DISPATCHES) {
            let queries = gpu.device.create_query_set(&wgpu::QuerySetDescriptor {
                label: Some("timestamps"),
                ty: wgpu::QueryType::Timestamp,
                count: n_queries,
            });
            let mut encoder = gpu
                .device
                .create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
            for (at, bound) in (0..).zip(bound) {
                let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
                    label: Some(&bound.label),
                    timestamp_writes: Some(wgpu::ComputePassTimestampWrites {
                        query_set: &queries,
                        beginning_of_pass_write_index: Some(2 * at),
                        end_of_pass_write_index: Some(2 * at + 1),
                    }),
                });
                pass.set_pipeline(&bound.pipeline);
                pass.set_bind_group(0, &bound.group, &[]);
                let [x, y, z] = bound.workgroups;
                pass.dispatch_workgroups(x, y, z);
            }
            let n = 2 * bound.len() as u32;
            let n_bytes = u64::from(n) * u64::from(wgpu::QUERY_SIZE);
            encoder.resolve_query_set(&queries, 0..n, &resolved, 0);
            read.submit(&gpu, encoder, &resolved, n_bytes).await?;
            let ticks: Vec<u64> = bytemuck::pod_collect_to_vec(&read.receive(&gpu).await?);
            for (bound, ticks) in bound.iter().zip(ticks.chunks_exact(2)) {
                let ns = ticks[1].saturating_sub(ticks[0]) as f64 * ns_per_tick;
                times.push((bound.label.clone(), Duration::from_nanos(ns as u64)));
            }
        }
        Ok(times)
    }
}
