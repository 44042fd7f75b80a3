//! Shaders to pipelines: several at a time, each once, and kept from run to run where the driver
//! has a cache.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use web_time::Instant;

use super::device::{Begun, ENABLE_SUBGROUPS, lock};
use super::{Error, Gpu};
use crate::file::CacheFolder;
use crate::kernels::Shader;

/// The pipelines made so far.
pub(super) struct Pipelines {
    made: Mutex<HashMap<Shader, Arc<wgpu::ComputePipeline>>>,
    kept: Option<Kept>,
    /// Whether shaders check their indices, divisors and loops.
    checked: bool,
}

/// The driver's own form of pipelines, in a file.
struct Kept {
    cache: wgpu::PipelineCache,
    folder: CacheFolder,
    name: String,
    /// Bytes that the file has.
    n_bytes: Mutex<usize>,
}

impl Pipelines {
    pub(super) async fn new(
        device: &wgpu::Device,
        info: &wgpu::AdapterInfo,
        folder: Option<CacheFolder>,
        checked: bool,
    ) -> Self {
        let has_cache = device.features().contains(wgpu::Features::PIPELINE_CACHE);
        let name = wgpu::util::pipeline_cache_key(info).filter(|_| has_cache);
        let kept = match folder.zip(name) {
            Some((folder, name)) => Kept::open(device, folder, name).await,
            None => None,
        };
        Self {
            made: Mutex::default(),
            kept,
            checked,
        }
    }

    fn get(&self, shader: &Shader) -> Option<Arc<wgpu::ComputePipeline>> {
        lock(&self.made).get(shader).cloned()
    }
}

impl Kept {
    /// What an earlier run kept; nothing can be kept where wgpu refuses it.
    async fn open(device: &wgpu::Device, folder: CacheFolder, name: String) -> Option<Self> {
        let data = folder.read(&name);
        let descriptor = wgpu::PipelineCacheDescriptor {
            label: Some(&name),
            data: data.as_deref(),
            fallback: true,
        };
        let scope = device.push_error_scope(wgpu::ErrorFilter::Validation);
        // SAFETY: the data is what `get_data` gave: `CacheFolder::read` returns nothing but what
        // `CacheFolder::write` was given, by its checksum, and only `Kept::keep` writes under this
        // name. What another driver made, wgpu itself refuses by its header.
        #[expect(unsafe_code, reason = "the only way to a pipeline cache")]
        let cache = unsafe { device.create_pipeline_cache(&descriptor) };
        if let Some(cause) = scope.pop().await {
            log::debug!("{name}: {cause}");
            return None;
        }
        Some(Self {
            cache,
            folder,
            name,
            n_bytes: Mutex::new(data.map_or(0, |data| data.len())),
        })
    }

    /// Writes the file again where pipelines have come in.
    fn keep(&self) {
        let mut n_bytes = lock(&self.n_bytes);
        if let Some(data) = self.cache.get_data().filter(|data| data.len() != *n_bytes) {
            *n_bytes = data.len();
            self.folder.write(&self.name, &data);
        }
    }
}

/// A pipeline, and what the driver says of it.
struct Compiled<F> {
    shader: Shader,
    pipeline: wgpu::ComputePipeline,
    failure: F,
    at: Instant,
}

impl Gpu {
    /// Makes the pipelines of `shaders` that there are not yet. Natively other threads begin at
    /// once, and the future waits for them; it gives the time that they took.
    pub(crate) fn compile(
        self: &Arc<Self>,
        shaders: &[Shader],
    ) -> impl Future<Output = Result<Duration, Error>> + use<> {
        let start = Instant::now();
        let mut missing: Vec<Shader> = vec![];
        for shader in shaders {
            if !missing.contains(shader) && self.pipelines.get(shader).is_none() {
                missing.push(shader.clone());
            }
        }
        let gpu = self.clone();
        let begun = Begun::new(missing, {
            let gpu = gpu.clone();
            move |shader: &Shader| gpu.begin(shader)
        });
        async move {
            let compiled = begun.finish();
            let Some(end) = compiled.iter().map(|compiled| compiled.at).max() else {
                return Ok(Duration::ZERO);
            };
            for compiled in compiled {
                gpu.end(compiled).await?;
            }
            if let Some(kept) = &gpu.pipelines.kept {
                kept.keep();
            }
            Ok(end - start)
        }
    }

    /// The pipeline of a shader, compiled on first use.
    pub(super) async fn pipeline(
        &self,
        shader: &Shader,
    ) -> Result<Arc<wgpu::ComputePipeline>, Error> {
        match self.pipelines.get(shader) {
            Some(pipeline) => Ok(pipeline),
            None => self.end(self.begin(shader)).await,
        }
    }

    fn begin(
        &self,
        shader: &Shader,
    ) -> Compiled<impl Future<Output = Option<wgpu::Error>> + use<>> {
        let scope = self.device.push_error_scope(wgpu::ErrorFilter::Validation);
        let module = self.module(shader);
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
                    // No kernel reads what it has not written; the tests run each over garbage.
                    zero_initialize_workgroup_memory: self.pipelines.checked,
                },
                cache: self.pipelines.kept.as_ref().map(|kept| &kept.cache),
            });
        Compiled {
            shader: shader.clone(),
            pipeline,
            failure: scope.pop(),
            at: Instant::now(),
        }
    }

    async fn end<F: Future<Output = Option<wgpu::Error>>>(
        &self,
        compiled: Compiled<F>,
    ) -> Result<Arc<wgpu::ComputePipeline>, Error> {
        if let Some(cause) = compiled.failure.await {
            self.check()?;
            return Err(Error::Shader {
                adapter: self.adapter.name.clone(),
                shader: compiled.shader.label,
                cause: cause.to_string(),
            });
        }
        let pipeline = Arc::new(compiled.pipeline);
        lock(&self.pipelines.made).insert(compiled.shader, pipeline.clone());
        Ok(pipeline)
    }

    fn module(&self, shader: &Shader) -> wgpu::ShaderModule {
        let mut source = shader.source();
        if shader.has_subgroups() {
            source.insert_str(0, ENABLE_SUBGROUPS);
        }
        let descriptor = wgpu::ShaderModuleDescriptor {
            label: Some(&shader.label),
            source: wgpu::ShaderSource::Wgsl(source.into()),
        };
        if self.pipelines.checked {
            return self.device.create_shader_module(descriptor);
        }
        // SAFETY: the shaders are this crate's own. Before anything is bound, `Call::fits`
        // compares each buffer with all that the kernel can reach with its Params, and with it
        // that no divisor is zero; rows and output rows, the only indices that kernels take from
        // buffers unseen, are compared with `Bounds` where `State::write` writes them; a token is
        // compared with the table or the vocabulary by the shader itself. Loops end: their bounds
        // are Params and positions, their steps are not zero. The sampler's tokens and a checked
        // mode that gives the same bits are for the tests to watch.
        #[expect(
            unsafe_code,
            reason = "bounds are proved on the host, once for each dispatch"
        )]
        unsafe {
            self.device
                .create_shader_module_trusted(descriptor, wgpu::ShaderRuntimeChecks::unchecked())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::{GpuOptions, adapters};
    use crate::kernels::every_shader;

    /// wgpu refuses such a file and every pipeline made with it.
    #[test]
    fn a_file_of_another_backend_is_no_hindrance() {
        let path = std::env::temp_dir().join(format!("deputy-other-{}", std::process::id()));
        let folder = CacheFolder::new(&path);
        let compile = || -> Option<Option<String>> {
            let adapter = pollster::block_on(adapters()).into_iter().next()?;
            let options = GpuOptions {
                cache: Some(folder.clone()),
                ..GpuOptions::default()
            };
            let gpu = pollster::block_on(Gpu::open(adapter, options)).expect("a device");
            let gpu = Arc::new(gpu);
            pollster::block_on(gpu.compile(&every_shader()[..1])).expect("compiles");
            Some(gpu.pipelines.kept.as_ref().map(|kept| kept.name.clone()))
        };
        // The kernels' own tests say where there is no adapter; not all have a cache.
        if let Some(Some(name)) = compile() {
            let mut data = folder.read(&name).expect("was kept");
            data[16] ^= 1; // The backend, behind a magic number and two versions.
            folder.write(&name, &data);
            assert_eq!(compile(), Some(None));
        }
        let _ = std::fs::remove_dir_all(&path);
    }
}
