//! Adapters, devices, and getting bytes back.

#[cfg(not(target_arch = "wasm32"))]
use std::panic::resume_unwind;
#[cfg(not(target_arch = "wasm32"))]
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Error;
use super::pipelines::Pipelines;
use super::tune::{Tuned, Tuning};
use crate::file::CacheFolder;
use crate::kernels::Capabilities;

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

impl Adapter {
    /// Whether it computes on the processor.
    pub fn is_software(&self) -> bool {
        self.kind == SOFTWARE
    }
}

const SOFTWARE: &str = "software";

/// What stands before a shader with subgroup operations: browsers ask for it, naga does not know it.
pub(super) const ENABLE_SUBGROUPS: &str = if cfg!(target_arch = "wasm32") {
    "enable subgroups;\n"
} else {
    ""
};

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
                wgpu::DeviceType::Cpu => SOFTWARE,
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
    pub(super) pipelines: Pipelines,
    pub(super) tuned: Tuned,
    failures: Arc<Mutex<Failures>>,
    n_objects: AtomicU64,
}

/// How a device is opened.
#[derive(Clone, Debug, Default)]
pub struct GpuOptions {
    /// Have shaders check every index, as a browser does in any case. Natively the host proves
    /// beforehand that none is out of bounds; the results are the same.
    pub checked: bool,
    /// How the constants of products are chosen.
    pub tuning: Tuning,
    /// What kernels may use, where it is not all that the device has; for tests. In a browser
    /// it says also what the device has beyond what wgpu asks for: a page that adds `subgroups` to
    /// every request of a device gives their smallest size here.
    pub capabilities: Option<Capabilities>,
    /// Where compiled pipelines and tuned constants are kept from run to run.
    pub cache: Option<CacheFolder>,
}

#[derive(Default)]
struct Failures {
    lost: Option<String>,
    uncaptured: Option<String>,
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Gpu {
    /// Opens an adapter with WebGPU's default limits, which every kernel keeps.
    ///
    /// # Errors
    /// [`Error::Open`] with what the driver said.
    pub async fn open(adapter: Adapter, options: GpuOptions) -> Result<Self, Error> {
        let wanted = if cfg!(target_arch = "wasm32") {
            // Of subgroups wgpu's web backend knows nothing: see `GpuOptions::capabilities`.
            wgpu::Features::empty()
        } else {
            wgpu::Features::SUBGROUP
                | wgpu::Features::TIMESTAMP_QUERY
                | wgpu::Features::PIPELINE_CACHE
                | match adapter.kind.as_str() {
                    SOFTWARE => wgpu::Features::SHADER_INT64,
                    _ => wgpu::Features::empty(),
                }
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
        let info = adapter.adapter.get_info();
        let capabilities = Capabilities {
            subgroups: if features.contains(wgpu::Features::SUBGROUP) {
                info.subgroup_min_size
            } else if cfg!(target_arch = "wasm32") {
                options.capabilities.map_or(0, |given| given.subgroups)
            } else {
                0
            },
            software: info.device_type == wgpu::DeviceType::Cpu,
            int64: features.contains(wgpu::Features::SHADER_INT64),
        };
        Ok(Self {
            capabilities: capabilities.limited_to(options.capabilities),
            tuned: Tuned::new(options.tuning, &info, options.cache.clone()),
            pipelines: Pipelines::new(&device, &info, options.cache, options.checked).await,
            device,
            queue,
            adapter,
            failures,
            n_objects: AtomicU64::new(0),
        })
    }

    /// Destroys the device, as a crashed driver would; to test recovery.
    pub fn destroy(&self) {
        self.device.destroy();
        lock(&self.failures)
            .lost
            .get_or_insert("destroyed".to_owned());
    }

    /// Buffers, bind groups and pipelines made so far.
    pub fn n_objects(&self) -> u64 {
        self.n_objects.load(Ordering::Relaxed)
    }

    fn count_object(&self) {
        self.n_objects.fetch_add(1, Ordering::Relaxed);
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

    /// What a failure means. A browser may say that the device is lost after it has failed what was
    /// under way, so that everything submitted is waited for before it is asked.
    pub(super) async fn failure(&self, cause: String) -> Error {
        let settled = match cfg!(target_arch = "wasm32") {
            true => self.finish().await,
            false => self.check(),
        };
        settled.err().unwrap_or_else(|| Error::Driver {
            adapter: self.adapter.name.clone(),
            cause,
        })
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
        self.count_object();
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
        match invalid.await {
            Some(cause) => Err(self.failure(cause.to_string()).await),
            None => Ok(buffer),
        }
    }

    /// The buffers that a dispatch binds.
    pub(super) fn bind_group(
        &self,
        pipeline: &wgpu::ComputePipeline,
        label: &str,
        entries: &[wgpu::BindGroupEntry<'_>],
    ) -> wgpu::BindGroup {
        self.count_object();
        self.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some(label),
            layout: &pipeline.get_bind_group_layout(0),
            entries,
        })
    }

    /// Hands what was written so far to the device.
    pub(super) fn submit(&self) -> Submission {
        let index = self.queue.submit([]);
        let (sender, done) = signal();
        self.queue.on_submitted_work_done(move || sender.send(()));
        Submission { index, done }
    }

    /// Waits until a submission is done, and its staging memory free again.
    pub(super) async fn done(&self, submission: Submission) -> Result<(), Error> {
        self.wait(Some(submission.index))?;
        submission.done.await;
        self.check()
    }

    /// Waits until everything written and submitted so far is done.
    pub(super) async fn finish(&self) -> Result<(), Error> {
        self.done(self.submit()).await
    }

    /// Natively blocks until a submission is done, or all of them; in a browser callbacks come from
    /// the event loop.
    #[cfg_attr(target_arch = "wasm32", expect(unused_variables, reason = "see above"))]
    pub(super) fn wait(&self, submission: Option<wgpu::SubmissionIndex>) -> Result<(), Error> {
        #[cfg(not(target_arch = "wasm32"))]
        if let Err(cause) = self.device.poll(wgpu::PollType::Wait {
            submission_index: submission,
            timeout: None,
        }) {
            self.check()?;
            return Err(Error::Driver {
                adapter: self.adapter.name.clone(),
                cause: cause.to_string(),
            });
        }
        Ok(())
    }
}

/// A function of each item, begun at once: natively on as many threads as run at a time.
#[cfg(not(target_arch = "wasm32"))]
pub(super) struct Begun<R>(Option<std::thread::JoinHandle<Vec<R>>>);

#[cfg(not(target_arch = "wasm32"))]
impl<R: Send + 'static> Begun<R> {
    pub(super) fn new<T: Send + Sync + 'static>(
        items: Vec<T>,
        f: impl Fn(&T) -> R + Send + Sync + 'static,
    ) -> Self {
        if items.is_empty() {
            return Self(None);
        }
        let n_threads = std::thread::available_parallelism().map_or(1, usize::from);
        Self(Some(std::thread::spawn(move || {
            let next = AtomicUsize::new(0);
            let work = || -> Vec<R> {
                let items = std::iter::from_fn(|| items.get(next.fetch_add(1, Ordering::Relaxed)));
                items.map(&f).collect()
            };
            std::thread::scope(|scope| {
                let threads = (0..n_threads.min(items.len())).map(|_| scope.spawn(work));
                let threads: Vec<_> = threads.collect();
                let done = threads.into_iter().map(|thread| thread.join());
                done.flat_map(|done| done.unwrap_or_else(|panic| resume_unwind(panic)))
                    .collect()
            })
        })))
    }

    /// The results, in any order.
    pub(super) fn finish(mut self) -> Vec<R> {
        let done = self.0.take().map(|thread| thread.join());
        done.map_or(vec![], |done| {
            done.unwrap_or_else(|panic| resume_unwind(panic))
        })
    }
}

/// Drivers do not like a program to end while they compile.
#[cfg(not(target_arch = "wasm32"))]
impl<R> Drop for Begun<R> {
    fn drop(&mut self) {
        if let Some(thread) = self.0.take() {
            // Its panic, if any, is not this thread's.
            let _ = thread.join();
        }
    }
}

/// A function of each item. A browser compiles elsewhere by itself.
#[cfg(target_arch = "wasm32")]
pub(super) struct Begun<R>(Vec<R>);

#[cfg(target_arch = "wasm32")]
impl<R> Begun<R> {
    pub(super) fn new<T>(items: Vec<T>, f: impl Fn(&T) -> R) -> Self {
        Self(items.iter().map(f).collect())
    }

    pub(super) fn finish(self) -> Vec<R> {
        self.0
    }
}

/// Work that the device was given.
#[derive(Debug)]
pub(super) struct Submission {
    index: wgpu::SubmissionIndex,
    done: Signal<()>,
}

/// A value that a callback delivers once.
#[derive(Debug)]
pub(super) struct Signal<T>(Arc<Mutex<(Option<T>, Option<std::task::Waker>)>>);

/// The callback's end of a [`Signal`].
pub(super) struct Sender<T>(Signal<T>);

pub(super) fn signal<T>() -> (Sender<T>, Signal<T>) {
    let shared = Arc::new(Mutex::new((None, None)));
    (Sender(Signal(shared.clone())), Signal(shared))
}

impl<T> Sender<T> {
    pub(super) fn send(&self, value: T) {
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
