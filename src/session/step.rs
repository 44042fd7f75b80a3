//! Steps: rows computed on the device, what they read, and what is done where one fails.

use std::ops::Range;
use std::sync::Arc;

use super::{Out, RUN_AHEAD, Sequence, Session, new_state};
use crate::engine::{State, Ticket};
use crate::error::Error;
use crate::graph::{FlatId, RopeId};
use crate::kernels::{PADDING, Row};
use crate::plan::{Buffer, Dispatch, Held, Plan, Size, lower};

impl Session {
    /// Hands the tokens of new rows to the device.
    pub(super) fn write_tokens(&mut self, rows: &[Row]) {
        for run in rows.chunk_by(|a, b| a.sequence == b.sequence && a.position + 1 == b.position) {
            let Row { sequence, position } = run[0];
            let tokens =
                &self.sequences[sequence as usize].tokens[position as usize..][..run.len()];
            let offset =
                4 * (u64::from(sequence) * u64::from(self.settings.n_ctx) + u64::from(position));
            self.state
                .write(Buffer::Tokens, offset, bytemuck::cast_slice(tokens));
        }
    }

    /// Computes some rows, whose tokens the device knows; returns their logits, or the tokens drawn.
    pub(super) async fn step(
        &mut self,
        rows: &[Row],
        out: Out<'_>,
        sample: bool,
    ) -> Result<Vec<u8>, Error> {
        let result = match self.try_step(rows, out, sample).await {
            Err(error) if error.is_device_lost() => {
                log::warn!("{error}; loading again");
                self.recover().await?;
                self.try_step(rows, out, sample).await
            }
            result => result,
        };
        if result.is_ok() {
            for row in rows {
                let sequence = &mut self.sequences[row.sequence as usize];
                sequence.n_cached = sequence.n_cached.max(row.position as usize + 1);
            }
        }
        result
    }

    pub(super) async fn try_step(
        &mut self,
        rows: &[Row],
        out: Out<'_>,
        sample: bool,
    ) -> Result<Vec<u8>, Error> {
        let plan = self.prepare(rows, out, sample).await?;
        let read = match out {
            Out::None => None,
            Out::Rows(out) if sample => Some((Buffer::Sampled, 4 * out.len() as u64)),
            Out::Rows(out) => {
                let vocab_size = u64::from(self.engine.config().vocab_size);
                Some((Buffer::Logits, 4 * out.len() as u64 * vocab_size))
            }
        };
        match self.cpu_kernel() {
            Some(kernel) => self.state.run_with_cpu_kernel(&plan, &kernel, read).await,
            None => self.state.run(&plan, 0..plan.dispatches.len(), read).await,
        }
    }

    /// Submits rows, where `samples` with a draw from the last one; see [`Self::submit_drawing`].
    pub(super) async fn submit(&mut self, rows: &[Row], samples: bool) -> Result<Ticket, Error> {
        let last = [rows.len() as u32 - 1];
        let drawn: &[u32] = if samples { &last } else { &[] };
        self.submit_drawing(rows, drawn).await
    }

    /// Submits rows with a draw from each that `drawn` names by index; on a GPU without waiting. Its result is the
    /// tokens drawn, or nothing of use where there are none.
    pub(super) async fn submit_drawing(
        &mut self,
        rows: &[Row],
        drawn: &[u32],
    ) -> Result<Ticket, Error> {
        let out = match drawn {
            [] => Out::None,
            drawn => Out::Rows(drawn),
        };
        let plan = self.prepare(rows, out, !drawn.is_empty()).await?;
        let read = (Buffer::Sampled, 4 * drawn.len().max(1) as u64);
        match self.cpu_kernel() {
            Some(kernel) => {
                let run = self.state.run_with_cpu_kernel(&plan, &kernel, Some(read));
                Ok(Ticket::Done(run.await?))
            }
            None => self.state.submit(&plan, read).await,
        }
    }

    /// Steps in flight at most.
    pub(super) fn run_ahead(&self) -> usize {
        match &self.state {
            State::Gpu(state) if self.cpu_kernel().is_none() => {
                let default = if state.is_software() { 1 } else { RUN_AHEAD };
                self.run_ahead.unwrap_or(default) as usize
            }
            _ => 1,
        }
    }

    /// Tokens drafted at a time.
    pub(super) fn n_drafts(&self) -> usize {
        // A bisected kernel is looked for in plain steps.
        match self.cpu_kernel() {
            None => self.n_drafts as usize,
            Some(_) => 0,
        }
    }

    /// The kernel that runs on the CPU while the others run on a GPU.
    fn cpu_kernel(&self) -> Option<String> {
        let kernel = self.engine.options().cpu_kernel.clone();
        kernel.filter(|_| self.state.is_gpu())
    }

    /// Makes room for a step's rows, writes what it reads, and finds its plan.
    pub(super) async fn prepare(
        &mut self,
        rows: &[Row],
        out: Out<'_>,
        sample: bool,
    ) -> Result<Arc<Plan>, Error> {
        self.make_room(rows).await?;
        let bucket = rows.len().next_power_of_two();
        let padding = Row {
            sequence: 0,
            position: PADDING,
        };
        let mut padded = rows.to_vec();
        padded.resize(bucket, padding);
        self.state
            .write(Buffer::Rows, 0, bytemuck::cast_slice(&padded));
        let mut n_out = 0;
        if let Out::Rows(out) = out {
            // One row of logits, or a bucket of them: repeating the last row changes nothing.
            n_out = if sample {
                out.len()
            } else {
                out.len().next_power_of_two()
            };
            let mut out = out.to_vec();
            out.resize(n_out, out[out.len() - 1]);
            self.state
                .write(Buffer::OutRows, 0, bytemuck::cast_slice(&out));
        }
        let size = Size {
            rows: bucket as u32,
            n_out: n_out as u32,
            sample: sample && n_out > 0,
            all_full: self.all_full,
        };
        let (engine, settings) = (&self.engine, &self.settings);
        let make = || {
            let plan = lower(&engine.model().graph, engine.layouts(), settings, size);
            log::debug!("{plan}");
            Arc::new(plan)
        };
        Ok(self.plans.entry(size).or_insert_with(make).clone())
    }

    /// Rope tables, tables of copies and sampling settings.
    pub(super) fn write_constants(&mut self) {
        let engine = self.engine.clone();
        for (i, rope) in engine.model().graph.ropes().iter().enumerate() {
            let mut table: Vec<[f32; 2]> = vec![];
            for position in 0..self.settings.n_ctx {
                table.extend(rope.inv_freq.iter().map(|frequency| {
                    let (sin, cos) = (f64::from(position) * frequency).sin_cos();
                    [cos as f32, sin as f32]
                }));
            }
            let buffer = Buffer::RopeTable(RopeId(i as u32));
            self.state.write(buffer, 0, bytemuck::cast_slice(&table));
        }
        for (i, flat) in engine.model().graph.flats().iter().enumerate() {
            let buffer = Buffer::FlatTable(FlatId(i as u32));
            self.state
                .write(buffer, 0, bytemuck::cast_slice(&flat.table()));
        }
        self.write_samplers();
        self.write_routing();
    }

    /// The words of a whole buffer.
    pub(super) async fn read(&mut self, buffer: Buffer) -> Result<Vec<u32>, Error> {
        let n_bytes = self.state.n_bytes(buffer);
        let plan = Plan {
            size: Size {
                rows: 0,
                n_out: 0,
                sample: false,
                all_full: false,
            },
            dispatches: vec![],
            slots: vec![],
        };
        let bytes = self.state.run(&plan, 0..0, Some((buffer, n_bytes))).await?;
        Ok(bytemuck::pod_collect_to_vec(&bytes))
    }

    pub(super) fn write_samplers(&mut self) {
        self.state
            .write(Buffer::Samplers, 0, bytemuck::cast_slice(&self.samplers));
    }

    /// After a lost device: loads again, hands over all known tokens and computes the caches anew.
    pub(super) async fn recover(&mut self) -> Result<(), Error> {
        self.loaded = self.engine.reload(&self.loaded).await?;
        self.settings = self.engine.settings(self.settings.n_sequences);
        self.held.fill(Held::default());
        self.plans.clear();
        self.state = new_state(&self.engine, &self.loaded, &self.settings, self.max).await?;
        self.write_constants();
        let n_ctx = self.settings.n_ctx as usize;
        let rows_of = |n: &dyn Fn(&Sequence) -> usize| -> Vec<Row> {
            (0..)
                .zip(&self.sequences)
                .flat_map(|(index, sequence)| rows(index, 0..n(sequence)))
                .collect()
        };
        // The last token of a full context has no position.
        let known = rows_of(&|sequence| sequence.tokens.len().min(n_ctx));
        let cached = rows_of(&|sequence| sequence.n_cached);
        self.write_tokens(&known);
        for piece in cached.chunks(self.max.rows as usize) {
            self.try_step(piece, Out::None, false).await?;
        }
        Ok(())
    }

    /// The error for non-finite logits: runs the step again, looking at every result.
    pub(super) async fn not_finite(&mut self, rows: &[Row], position: u32) -> Result<Error, Error> {
        let last = [rows.len() as u32 - 1];
        let plan = self.prepare(rows, Out::Rows(&last), false).await?;
        // Steps behind the failed one may have left NaN in any part of these.
        let results = |buffer: &Buffer| {
            use Buffer::{LatentSums, Logits, Records, Slot};
            matches!(buffer, Slot(_) | Logits | LatentSums | Records)
        };
        let written = |dispatch: &Dispatch| -> Vec<Buffer> {
            let first = dispatch.bindings.len() - dispatch.call.n_written();
            let buffers = dispatch.bindings[first..].iter().map(|&(_, buffer)| buffer);
            buffers.filter(results).collect()
        };
        for buffer in plan.dispatches.iter().flat_map(written) {
            let n_bytes = self.state.n_bytes(buffer);
            self.state.write(buffer, 0, &vec![0; n_bytes as usize]);
        }
        let mut origin = "no single part".to_owned();
        'plan: for (i, dispatch) in plan.dispatches.iter().enumerate() {
            self.state.run(&plan, i..i + 1, None).await?;
            for buffer in written(dispatch) {
                let read = (buffer, self.state.n_bytes(buffer));
                let bytes = self.state.run(&plan, i..i, Some(read)).await?;
                let values: Vec<f32> = bytemuck::pod_collect_to_vec(&bytes);
                if values.iter().any(|v| !v.is_finite()) {
                    origin = format!("{} ({})", dispatch.label, dispatch.call.kernel());
                    break 'plan;
                }
            }
        }
        Ok(Error::NotFinite {
            model: self.engine.name().to_owned(),
            position,
            origin,
        })
    }
}

/// Rows of consecutive positions of a sequence.
pub(super) fn rows(sequence: u32, positions: Range<usize>) -> Vec<Row> {
    let row = |position| Row {
        sequence,
        position: position as u32,
    };
    positions.map(row).collect()
}
