//! The two executors behind one face.

use std::ops::Range;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use web_time::Instant;

use super::{LoadOptions, LoadReport, MAX_ROWS, Progress, load, settings};
use crate::error::Error;
use crate::file::ModelFile;
use crate::gpu::{self, Gpu, GpuOptions};
use crate::graph::{Graph, WeightId};
use crate::kernels::Shader;
use crate::model::Model;
use crate::plan::{Buffer, Growth, Plan, Settings, Size, Slot, WeightLayout, lower};
use crate::reference;

/// Which device to run on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum DeviceChoice {
    /// The first adapter that is a GPU, or the CPU where there is none. A software adapter computes on the CPU as well,
    /// but first compiles for most of a minute what a GPU's driver compiles in milliseconds.
    #[default]
    Auto,
    /// The CPU executor.
    Cpu,
    /// An adapter by its number in [`gpu::adapters`].
    Index(usize),
    /// An adapter by part of its name, without regard to case.
    Name(String),
}

impl FromStr for DeviceChoice {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text {
            "auto" => DeviceChoice::Auto,
            "cpu" => DeviceChoice::Cpu,
            _ => match text.parse() {
                Ok(index) => DeviceChoice::Index(index),
                Err(_) => DeviceChoice::Name(text.to_owned()),
            },
        })
    }
}

/// Splits of an attention's keys on a GPU: a few workgroups for each of its cores.
pub(super) const MAX_SPLITS: u32 = 16;

/// On a software adapter: so that few key/value heads keep all of a processor's cores busy.
const SOFTWARE_SPLITS: u32 = 2;

fn n_splits(gpu: &Gpu) -> u32 {
    if gpu.capabilities.software {
        SOFTWARE_SPLITS
    } else {
        MAX_SPLITS
    }
}

/// A device that holds a model's weights.
pub(crate) struct Loaded {
    weights: Weights,
    /// Why this is the CPU though a GPU was welcome.
    pub(super) fallback: Option<String>,
    /// How long its phases of loading took.
    pub(super) report: LoadReport,
}

enum Weights {
    Gpu(Arc<Gpu>, Arc<gpu::Weights>),
    Cpu(Arc<reference::Weights>),
}

impl Loaded {
    pub(super) async fn new(
        file: &ModelFile,
        model: &Model,
        layouts: &[WeightLayout],
        options: &LoadOptions,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Self, Error> {
        let start = Instant::now();
        let mut lap = start;
        let mut report = LoadReport::default();
        let (gpu, fallback) = open(&options.device, options.gpu()).await?;
        let gpu = gpu.map(Arc::new);
        let compiling = gpu.as_ref().map(|gpu| {
            let settings = settings(model, options, 1, n_splits(gpu));
            gpu.compile(&shaders(&model.graph, layouts, &settings, gpu))
        });
        let mut upload = match gpu {
            Some(gpu) => {
                let weights = gpu::Weights::new(&gpu, &model.graph, layouts).await?;
                Upload::Gpu(gpu, weights)
            }
            None => Upload::Cpu(reference::Weights::new(layouts)),
        };
        load::lap(&mut lap, &mut report.device);
        let mut progress = |now| {
            progress(now);
            match options.cancel.is_cancelled() {
                true => Err(Error::Cancelled),
                false => Ok(()),
            }
        };
        load::weights(
            file,
            model,
            layouts,
            &mut upload,
            &mut report,
            &mut progress,
        )
        .await?;
        lap = Instant::now();
        let weights = match upload {
            Upload::Gpu(gpu, mut weights) => {
                weights.flush(&gpu).await?;
                Weights::Gpu(gpu, Arc::new(weights))
            }
            Upload::Cpu(weights) => Weights::Cpu(Arc::new(weights)),
        };
        load::lap(&mut lap, &mut report.upload);
        if let Some(compiling) = compiling {
            report.pipelines = compiling.await?;
        }
        report.total = start.elapsed();
        Ok(Self {
            weights,
            fallback,
            report,
        })
    }

    /// See [`Settings::n_splits`].
    pub(super) fn n_splits(&self) -> u32 {
        match &self.weights {
            Weights::Gpu(gpu, _) => n_splits(gpu),
            Weights::Cpu(_) => 1,
        }
    }

    pub(super) fn name(&self) -> String {
        match &self.weights {
            Weights::Gpu(gpu, _) => format!("{} ({})", gpu.adapter.name, gpu.adapter.backend),
            Weights::Cpu(_) => "CPU".to_owned(),
        }
    }

    pub(super) fn adapter(&self) -> Option<gpu::Adapter> {
        match &self.weights {
            Weights::Gpu(gpu, _) => Some(gpu.adapter.clone()),
            Weights::Cpu(_) => None,
        }
    }

    pub(super) async fn copy_bandwidth(&self) -> Result<f64, Error> {
        Ok(match &self.weights {
            Weights::Gpu(gpu, _) => gpu.copy_bandwidth().await?,
            Weights::Cpu(_) => reference::copy_bandwidth(),
        })
    }

    pub(super) fn n_objects(&self) -> u64 {
        match &self.weights {
            Weights::Gpu(gpu, _) => gpu.n_objects(),
            Weights::Cpu(_) => 0,
        }
    }

    pub(super) fn destroy(&self) {
        if let Weights::Gpu(gpu, _) = &self.weights {
            gpu.destroy();
        }
    }
}

/// What prompts and answers of one sequence take.
fn shaders(graph: &Graph, layouts: &[WeightLayout], settings: &Settings, gpu: &Gpu) -> Vec<Shader> {
    let plans = [1, MAX_ROWS].map(|rows| {
        let size = Size {
            rows,
            n_out: 1,
            sample: true,
            all_full: false,
        };
        lower(graph, layouts, settings, size)
    });
    let dispatches = plans.iter().flat_map(|plan| &plan.dispatches);
    dispatches
        .map(|dispatch| gpu.shader(&dispatch.call))
        .collect()
}

/// The chosen GPU, or `None` for the CPU and why.
pub(crate) async fn open(
    choice: &DeviceChoice,
    options: GpuOptions,
) -> Result<(Option<Gpu>, Option<String>), Error> {
    if *choice == DeviceChoice::Cpu {
        return Ok((None, None));
    }
    let mut adapters = gpu::adapters().await;
    let wanted = match choice {
        DeviceChoice::Auto | DeviceChoice::Cpu => {
            let Some(gpu) = adapters.iter().position(|a| !a.is_software()) else {
                return Ok((None, Some(no_gpu(&adapters))));
            };
            gpu
        }
        DeviceChoice::Index(index) => *index,
        DeviceChoice::Name(name) => {
            let name = name.to_lowercase();
            let found = adapters
                .iter()
                .position(|a| a.name.to_lowercase().contains(&name));
            found.unwrap_or(usize::MAX)
        }
    };
    if wanted >= adapters.len() {
        let found: Vec<String> = adapters
            .iter()
            .map(|a| format!("{} {}", a.index, a.name))
            .collect();
        let error = match choice {
            _ if adapters.is_empty() => gpu::Error::NoAdapter,
            DeviceChoice::Index(index) => gpu::Error::UnknownAdapter {
                wanted: index.to_string(),
                found: found.join(", "),
            },
            DeviceChoice::Name(name) => gpu::Error::UnknownAdapter {
                wanted: name.clone(),
                found: found.join(", "),
            },
            DeviceChoice::Auto | DeviceChoice::Cpu => gpu::Error::NoAdapter,
        };
        return Err(error.into());
    }
    match Gpu::open(adapters.swap_remove(wanted), options).await {
        Ok(gpu) => Ok((Some(gpu), None)),
        Err(error) if *choice == DeviceChoice::Auto => Ok((None, Some(error.to_string()))),
        Err(error) => Err(error.into()),
    }
}

/// Why no adapter was taken.
fn no_gpu(adapters: &[gpu::Adapter]) -> String {
    match adapters.first() {
        None => "no GPU adapter was found".to_owned(),
        Some(found) => {
            let (index, name) = (found.index, &found.name);
            format!("{name} is a software adapter; --device {index} takes it")
        }
    }
}

/// Weights while they are written.
pub(super) enum Upload {
    Gpu(Arc<Gpu>, gpu::Weights),
    Cpu(reference::Weights),
}

impl Upload {
    pub(super) async fn write(
        &mut self,
        id: WeightId,
        first_row: u32,
        q: &[u32],
        s: &[u32],
    ) -> Result<(), Error> {
        match self {
            Upload::Gpu(gpu, weights) => weights.write(gpu, id, first_row, q, s).await?,
            Upload::Cpu(weights) => weights.write(id, first_row, q, s),
        }
        Ok(())
    }
}

/// One session's buffers on either device.
pub(crate) enum State {
    Gpu(Box<gpu::State>),
    Cpu(Box<reference::State>),
}

/// A submitted step.
pub(crate) enum Ticket {
    /// On its way.
    Gpu(gpu::Ticket),
    /// Computed at once.
    Done(Vec<u8>),
}

impl State {
    pub(crate) async fn new(
        loaded: &Loaded,
        graph: &Graph,
        settings: &Settings,
        slots: &[Slot],
        size: Size,
    ) -> Result<Self, Error> {
        Ok(match &loaded.weights {
            Weights::Gpu(gpu, weights) => {
                let state =
                    gpu::State::new(gpu.clone(), weights.clone(), graph, settings, slots, size);
                State::Gpu(Box::new(state.await?))
            }
            Weights::Cpu(weights) => {
                let state = reference::State::new(weights.clone(), graph, settings, slots, size);
                State::Cpu(Box::new(state))
            }
        })
    }

    pub(crate) fn is_gpu(&self) -> bool {
        matches!(self, State::Gpu(_))
    }

    pub(crate) fn write(&mut self, buffer: Buffer, offset: u64, bytes: &[u8]) {
        match self {
            State::Gpu(state) => state.write(buffer, offset, bytes),
            State::Cpu(state) => state.write(buffer, offset, bytes),
        }
    }

    pub(crate) async fn run(
        &mut self,
        plan: &Plan,
        range: Range<usize>,
        read: Option<(Buffer, u64)>,
    ) -> Result<Vec<u8>, Error> {
        Ok(match self {
            State::Gpu(state) => state.run(plan, range, read).await?,
            State::Cpu(state) => state.run(plan, range, read),
        })
    }

    /// Replaces some buffers by larger ones, all or none.
    pub(crate) async fn grow(&mut self, growths: &[Growth]) -> Result<(), Error> {
        match self {
            State::Gpu(state) => state.grow(growths).await?,
            State::Cpu(state) => state.grow(growths),
        }
        Ok(())
    }

    /// Reads parts of buffers, one behind the other: buffer, from byte, bytes.
    pub(crate) async fn gather(&mut self, parts: &[(Buffer, u64, u64)]) -> Result<Vec<u8>, Error> {
        Ok(match self {
            State::Gpu(state) => state.gather(parts).await?,
            State::Cpu(state) => state.gather(parts),
        })
    }

    /// Runs a plan; returns the shader (on the CPU the kernel) and the time of each dispatch.
    pub(crate) async fn profile(&mut self, plan: &Plan) -> Result<Vec<(String, Duration)>, Error> {
        let state = match self {
            State::Gpu(state) => return Ok(state.profile(plan).await?),
            State::Cpu(state) => state,
        };
        let mut times = vec![];
        for (i, dispatch) in plan.dispatches.iter().enumerate() {
            let start = Instant::now();
            state.run(plan, i..i + 1, None);
            times.push((dispatch.call.kernel().to_owned(), start.elapsed()));
        }
        Ok(times)
    }

    /// Runs a plan and reads a buffer behind it; on a GPU without waiting.
    pub(crate) async fn submit(
        &mut self,
        plan: &Plan,
        read: (Buffer, u64),
    ) -> Result<Ticket, Error> {
        Ok(match self {
            State::Gpu(state) => Ticket::Gpu(state.submit(plan, read).await?),
            State::Cpu(state) => {
                Ticket::Done(state.run(plan, 0..plan.dispatches.len(), Some(read)))
            }
        })
    }

    pub(crate) async fn wait(&mut self, ticket: Ticket) -> Result<Vec<u8>, Error> {
        match (self, ticket) {
            (State::Gpu(state), Ticket::Gpu(ticket)) => Ok(state.wait(ticket).await?),
            (_, Ticket::Done(bytes)) => Ok(bytes),
            (State::Cpu(_), Ticket::Gpu(_)) => unreachable!("tickets end with their state"),
        }
    }

    /// Runs a plan with every dispatch of `kernel` on the CPU, whatever the device.
    pub(crate) async fn run_with_cpu_kernel(
        &mut self,
        plan: &Plan,
        kernel: &str,
        read: Option<(Buffer, u64)>,
    ) -> Result<Vec<u8>, Error> {
        let mut done = 0;
        for (i, dispatch) in plan.dispatches.iter().enumerate() {
            if dispatch.call.kernel() != kernel {
                continue;
            }
            self.run(plan, done..i, None).await?;
            let mut contents = vec![];
            for &(_, buffer) in &dispatch.bindings {
                let n_bytes = self.n_bytes(buffer);
                let bytes = self.run(plan, i..i, Some((buffer, n_bytes))).await?;
                contents.push(bytemuck::pod_collect_to_vec::<u8, u32>(&bytes));
            }
            let n_written = dispatch.call.n_written();
            let (inputs, outputs) = contents.split_at_mut(dispatch.bindings.len() - n_written);
            let inputs: Vec<&[u32]> = inputs.iter().map(Vec::as_slice).collect();
            let mut outputs: Vec<&mut [u32]> = outputs.iter_mut().map(Vec::as_mut_slice).collect();
            reference::run_call(&dispatch.call, &inputs, &mut outputs);
            let written = &dispatch.bindings[dispatch.bindings.len() - n_written..];
            for (&(_, buffer), words) in written.iter().zip(&outputs) {
                self.write(buffer, 0, bytemuck::cast_slice(words));
            }
            done = i + 1;
        }
        self.run(plan, done..plan.dispatches.len(), read).await
    }

    pub(crate) fn n_bytes(&self, buffer: Buffer) -> u64 {
        match self {
            State::Gpu(state) => state.n_bytes(buffer),
            State::Cpu(state) => state.n_bytes(buffer),
        }
    }
}
