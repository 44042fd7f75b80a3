//! Adapters, devices, pipelines, and getting bytes back.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Error;
use crate::kernels::{Capabilities, Shader};

/// A device that plans can run on, as `deputy devices` lists it.
#[derive(Clone, Debug)]
pub struct Adapter {
    /// Position in the list; `--device N` takes it.
    pub index: usize,
    /// The name that the driver gives.
    pub name: String,
    /// Vulkan, Metal, DX12 or browser WebGPU.
    pub backend: String,
    /// Discrete, integrated, virtual or software.
    pub kind: String,
    /// Driver and its version.
    pub driver: String,
    /// Largest buffer that can be bound, in bytes.
    pub max_binding: u64,
    /// Half precision in shaders.
    pub shader_f16: bool,
    /// Subgroup operations, with the smallest and largest size.
    pub subgroups: Option<(u32, u32)>,
    /// Timestamps for profiling.
    pub timestamps: bool,
    adapter: wgpu::Adapter,
}

fn instance() -> wgpu::Instance {
    wgpu::Instance::new(wgpu::InstanceDescriptor {
        // Not GL: its compute lacks what the kernels need, and lists software adapters twice.
        backends: wgpu::Backends::PRIMARY,
        ..wgpu::InstanceDescriptor::new_without_display_handle()
    })
}

/// All adapters, the fastest kind first.
pub async fn adapters() -> Vec<Adapter> {
    let mut found = instance().enumerate_adapters(wgpu::Backends::PRIMARY).await;
    found.sort_by_key(|adapter| match adapter.get_info().device_type {
        wgpu::DeviceType::DiscreteGpu => 0,
        wgpu::DeviceType::IntegratedGpu => 1,
        wgpu::DeviceType::VirtualGpu | wgpu::DeviceType::Other => 2,
        wgpu::DeviceType::Cpu => 3,
    });
    let describe = |(index, adapter): (usize, wgpu::Adapter)| {
        let info = adapter.get_info();
        let features = adapter.features();
        Adapter {
            index,
            name: info.name,
            backend: info.backend.to_string(),
            kind: match info.device_type {
                wgpu::DeviceType::DiscreteGpu => "discrete",
                wgpu::DeviceType::IntegratedGpu => "integrated",
                wgpu::DeviceType::VirtualGpu => "virtual",
                wgpu::DeviceType::Cpu => "software",
                wgpu::DeviceType::Other => "other",
            }
            .to_owned(),
            driver: format!("{} {}", info.driver, info.driver_info)
                .trim()
                .to_owned(),
            max_binding: adapter.limits().max_storage_buffer_binding_size,
            shader_f16: features.contains(wgpu::Features::SHADER_F16),
            subgroups: features
                .contains(wgpu::Features::SUBGROUP)
                .then_some((info.subgroup_min_size, info.subgroup_max_size)),
            timestamps: features.contains(wgpu::Features::TIMESTAMP_QUERY),
            adapter,
        }
    };
    found.into_iter().enumerate().map(describe).collect()
}

/// An open device with the pipelines made so far.
pub struct Gpu {
    pub(super) device: wgpu::Device,
    pub(super) queue: wgpu::Queue,
    /// The adapter that it was opened on.
    pub adapter: Adapter,
    /// What the kernels may use.
    pub capabilities: Capabilities,
    failures: Arc<Mutex<Failures>>,
    pipelines: Mutex<HashMap<Shader, Arc<wgpu::ComputePipeline>>>,
}

#[derive(Default)]
struct Failures {
    lost: Option<String>,
    uncaptured: Option<String>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Gpu {
    /// Opens an adapter with WebGPU's default limits, which every kernel keeps.
    ///
    /// # Errors
    /// [`Error::Open`] with what the driver said.
    pub async fn open(adapter: Adapter) -> Result<Self, Error> {
        let wanted = if cfg!(target_arch = "wasm32") {
            // wgpu's web backend does not offer subgroups, and `enable subgroups;` would be needed there.
            wgpu::Features::empty()
        } else {
            wgpu::Features::SUBGROUP
        };
        let features = adapter.adapter.features() & wanted;
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("deputy"),
            required_features: features,
            required_limits: wgpu::Limits::default(),
            ..Default::default()
        };
        let opened = adapter.adapter.request_device(&descriptor).await;
        let (device, queue) = opened.map_err(|cause| Error::Open {
            adapter: adapter.name.clone(),
            cause: cause.to_string(),
        })?;
        let failures = Arc::new(Mutex::new(Failures::default()));
        let on_error = failures.clone();
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| {
            lock(&on_error).uncaptured.get_or_insert(error.to_string());
        }));
        let on_lost = failures.clone();
        device.set_device_lost_callback(move |reason, message| {
            lock(&on_lost)
                .lost
                .get_or_insert(format!("{reason:?}: {message}"));
        });
        Ok(Self {
            capabilities: Capabilities {
                subgroups: features.contains(wgpu::Features::SUBGROUP),
                software: adapter.adapter.get_info().device_type == wgpu::DeviceType::Cpu,
            },
            device,
            queue,
            adapter,
            failures,
            pipelines: Mutex::default(),
        })
    }

    /// Destroys the device, as a crashed driver would; to test recovery.
    pub fn destroy(&self) {
        self.device.destroy();
        lock(&self.failures)
            .lost
            .get_or_insert("destroyed".to_owned());
    }

    /// The failure that the driver has reported since the last call, if any.
    pub(super) fn check(&self) -> Result<(), Error> {
        let mut failures = lock(&self.failures);
        let adapter = self.adapter.name.clone();
        if let Some(cause) = failures.lost.clone() {
            return Err(Error::Lost { adapter, cause });
        }
        match failures.uncaptured.take() {
            Some(cause) => Err(Error::Driver { adapter, cause }),
            None => Ok(()),
        }
    }

    /// A buffer of zeros.
    pub(super) async fn buffer(
        &self,
        what: &str,
        n_bytes: u64,
        usage: wgpu::BufferUsages,
    ) -> Result<wgpu::Buffer, Error> {
        self.check()?;
        let size = n_bytes.max(16).next_multiple_of(4);
        let out_of_memory = || Error::OutOfMemory {
            adapter: self.adapter.name.clone(),
            what: what.to_owned(),
            n_bytes,
        };
        if size > self.device.limits().max_buffer_size {
            return Err(out_of_memory());
        }
        let memory = self.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let validation = self.device.push_error_scope(wgpu::ErrorFilter::Validation);
        let buffer = self.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some(what),
            size,
            usage,
            mapped_at_creation: false,
        });
        let (invalid, no_memory) = (validation.pop(), memory.pop());
        if no_memory.await.is_some() {
            return Err(out_of_memory());
        }
        if let Some(cause) = invalid.await {
            self.check()?;
            return Err(Error::Driver {
                adapter: self.adapter.name.clone(),
                cause: cause.to_string(),
            });
        }
        Ok(buffer)
    }

    /// The pipeline of a shader, compiled on first use.
    pub(super) async fn pipeline(
        &self,
        shader: &Shader,
    ) -> Result<Arc<wgpu::ComputePipeline>, Error> {
        if let Some(pipeline) = lock(&self.pipelines).get(shader) {
            return Ok(pipeline.clone());
        }
        let scope = self.device.push_error_scope(wgpu::ErrorFilter::Validation);
        let module = self
            .device
            .create_shader_module(wgpu::ShaderModuleDescriptor {
                label: Some(&shader.label),
                source: wgpu::ShaderSource::Wgsl(shader.source().into()),
            });
        let constants: Vec<(&str, f64)> = shader
            .constants
            .iter()
            .map(|&(name, value)| (name, value.into()))
            .collect();
        let pipeline = self
            .device
            .create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
                label: Some(&shader.label),
                layout: None,
                module: &module,
                entry_point: Some(shader.kernel),
                compilation_options: wgpu::PipelineCompilationOptions {
                    constants: &constants,
                    ..Default::default()
                },
                cache: None,
            });
        if let Some(cause) = scope.pop().await {
            self.check()?;
            return Err(Error::Shader {
                adapter: self.adapter.name.clone(),
                shader: shader.label.clone(),
                cause: cause.to_string(),
            });
        }
        let pipeline = Arc::new(pipeline);
        lock(&self.pipelines).insert(shader.clone(), pipeline.clone());
        Ok(pipeline)
    }

    /// Waits until everything submitted so far is done, so that its staging memory is free again.
    pub(super) async fn finish(&self) -> Result<(), Error> {
        let (sender, done) = signal();
        self.queue.on_submitted_work_done(move || sender.send(()));
        self.wait()?;
        done.await;
        self.check()
    }

    /// The first `n_bytes` of a mappable buffer, once all work that writes it is done.
    pub(super) async fn map(&self, buffer: &wgpu::Buffer, n_bytes: u64) -> Result<Vec<u8>, Error> {
        let (sender, mapped) = signal();
        buffer.map_async(wgpu::MapMode::Read, 0..n_bytes, move |result| {
            sender.send(result)
        });
        self.wait()?;
        let result = mapped.await;
        self.check()?;
        let driver = |cause: String| Error::Driver {
            adapter: self.adapter.name.clone(),
            cause,
        };
        result.map_err(|cause| driver(cause.to_string()))?;
        let view = buffer
            .get_mapped_range(0..n_bytes)
            .map_err(|cause| driver(cause.to_string()))?;
        let bytes = view.to_vec();
        drop(view);
        buffer.unmap();
        Ok(bytes)
    }

    /// Natively blocks until the device is idle; in a browser callbacks come from the event loop.
    fn wait(&self) -> Result<(), Error> {
        #[cfg(not(target_arch = "wasm32"))]
        if let Err(cause) = self.device.poll(wgpu::PollType::wait_indefinitely()) {
            self.check()?;
            return Err(Error::Driver {
                adapter: self.adapter.name.clone(),
                cause: cause.to_string(),
            });
        }
        Ok(())
    }
}

/// A value that a callback delivers once.
struct Signal<T>(Arc<Mutex<(Option<T>, Option<std::task::Waker>)>>);

/// The callback's end of a [`Signal`].
struct Sender<T>(Signal<T>);

fn signal<T>() -> (Sender<T>, Signal<T>) {
    let shared = Arc::new(Mutex::new((None, None)));
    (Sender(Signal(shared.clone())), Signal(shared))
}

impl<T> Sender<T> {
    fn send(&self, value: T) {
        let mut slot = lock(&self.0.0);
        slot.0 = Some(value);
        if let Some(waker) = slot.1.take() {
            waker.wake();
        }
    }
}

impl<T> Future for Signal<T> {
    type Output = T;

    fn poll(
        self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<T> {
        let mut slot = lock(&self.0);
        match slot.0.take() {
            Some(value) => std::task::Poll::Ready(value),
            None => {
                slot.1 = Some(context.waker().clone());
                std::task::Poll::Pending
            }
        }
    }
}

impl std::fmt::Debug for Gpu {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gpu")
            .field("adapter", &self.adapter.name)
            .finish_non_exhaustive()
    }
}
