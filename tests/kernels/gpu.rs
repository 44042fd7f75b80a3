//! Runs one shader on the machine's adapter, with guards around what it may write.

use deputy::kernels::{Call, Capabilities, Shader, shader};
use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, OnceLock};
use wgpu::util::DeviceExt;

/// A word that nothing writes: what outputs hold at first, and what follows them.
pub(crate) const DIRT: u32 = 0x7fc0_dead;

/// Words after each buffer that must not be used: [`DIRT`] after outputs, [`POISON`] after inputs.
const GUARD: usize = 64;

/// As an f32 NaN, so that a sum over it shows, and other than [`DIRT`], because a NaN may hand its bits on.
const POISON: u32 = 0x7fc0_beef;

/// The adapter that all tests share, or `None`, with a word, where there is none.
///
/// # Panics
/// Without an adapter where the variable `DEPUTY_GPU` is `required`.
pub(crate) fn gpu() -> Option<&'static Gpu> {
    static GPU: OnceLock<Option<Gpu>> = OnceLock::new();
    let gpu = GPU.get_or_init(Gpu::new).as_ref();
    if gpu.is_none() {
        let required = std::env::var("DEPUTY_GPU").is_ok_and(|v| v == "required");
        assert!(!required, "DEPUTY_GPU=required, and there is no adapter");
        eprintln!("skipped: there is no adapter");
    }
    gpu
}

/// A device and the pipelines made on it.
pub(crate) struct Gpu {
    /// Smallest size of a subgroup, 0 without.
    pub(crate) subgroups: u32,
    /// Whether shaders have integers of 64 bits.
    int64: bool,
    device: wgpu::Device,
    queue: wgpu::Queue,
    pipelines: Mutex<HashMap<Program, wgpu::ComputePipeline>>,
}

/// A shader, or a copy of one that was broken on purpose.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Program {
    pub(crate) shader: Shader,
    pub(crate) source: String,
}

/// What stands at a binding: words that are read, or words that are written and come back.
pub(crate) enum Arg<'a> {
    In(u32, &'a [u32]),
    Out(u32, &'a [u32]),
}

impl Gpu {
    fn new() -> Option<Self> {
        let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
        if cfg!(target_os = "linux") {
            descriptor.backends = wgpu::Backends::VULKAN;
        }
        let instance = wgpu::Instance::new(descriptor);
        let options = wgpu::RequestAdapterOptions {
            power_preference: wgpu::PowerPreference::HighPerformance,
            ..Default::default()
        };
        let adapter = pollster::block_on(instance.request_adapter(&options)).ok()?;
        let wanted = wgpu::Features::SUBGROUP | wgpu::Features::SHADER_INT64;
        let required_features = adapter.features() & wanted;
        let (device, queue) = pollster::block_on(adapter.request_device(&wgpu::DeviceDescriptor {
            required_features,
            ..Default::default()
        }))
        .expect("an adapter gives a device with the default limits");
        let info = adapter.get_info();
        eprintln!(
            "adapter: {}, {}, {:?}",
            info.name, info.driver_info, required_features
        );
        Some(Self {
            subgroups: if required_features.contains(wgpu::Features::SUBGROUP) {
                info.subgroup_min_size
            } else {
                0
            },
            int64: required_features.contains(wgpu::Features::SHADER_INT64),
            device,
            queue,
            pipelines: Mutex::default(),
        })
    }

    /// The shaders for a call, with every set of capabilities that this device has.
    pub(crate) fn programs(&self, call: &Call) -> Vec<Program> {
        let mut programs: Vec<Program> = vec![];
        let capabilities = Capabilities {
            subgroups: self.subgroups,
            software: false,
            int64: self.int64,
        };
        for choice in capabilities.choices() {
            let program = Program::new(shader(call, &choice));
            if !programs.contains(&program) {
                programs.push(program);
            }
        }
        programs
    }

    /// Runs a program once. Returns the words at each [`Arg::Out`], in order.
    ///
    /// # Errors
    /// Where a word after an output was written.
    pub(crate) fn run(
        &self,
        program: &Program,
        call: &Call,
        args: &[Arg<'_>],
    ) -> Result<Vec<Vec<u32>>, String> {
        let params = self.buffer(call.params(), wgpu::BufferUsages::UNIFORM);
        let buffers: Vec<(u32, wgpu::Buffer)> = args
            .iter()
            .map(|arg| {
                let (binding, words, guard) = match arg {
                    Arg::In(binding, words) => (binding, words, POISON),
                    Arg::Out(binding, words) => (binding, words, DIRT),
                };
                let words = [*words, &[guard; GUARD]].concat();
                let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC;
                (*binding, self.buffer(bytemuck::cast_slice(&words), usage))
            })
            .collect();
        let layout = self.layout(args);
        let pipeline = self.pipeline(program, &layout);
        let entries: Vec<_> = std::iter::once((0, &params))
            .chain(buffers.iter().map(|(binding, buffer)| (*binding, buffer)))
            .map(|(binding, buffer)| wgpu::BindGroupEntry {
                binding,
                resource: buffer.as_entire_binding(),
            })
            .collect();
        let bind_group = self.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: None,
            layout: &layout,
            entries: &entries,
        });
        let mut encoder = self.device.create_command_encoder(&Default::default());
        {
            let mut pass = encoder.begin_compute_pass(&Default::default());
            pass.set_pipeline(&pipeline);
            pass.set_bind_group(0, &bind_group, &[]);
            let [x, y, z] = call.workgroups(&program.shader);
            pass.dispatch_workgroups(x, y, z);
        }
        let mut staged = vec![];
        for (arg, (_, buffer)) in args.iter().zip(&buffers) {
            if let Arg::Out(..) = arg {
                let stage = self.device.create_buffer(&wgpu::BufferDescriptor {
                    label: None,
                    size: buffer.size(),
                    usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
                    mapped_at_creation: false,
                });
                encoder.copy_buffer_to_buffer(buffer, 0, &stage, 0, buffer.size());
                staged.push(stage);
            }
        }
        let submission = self.queue.submit([encoder.finish()]);
        for stage in &staged {
            stage
                .slice(..)
                .map_async(wgpu::MapMode::Read, |result| result.expect("maps"));
        }
        self.device
            .poll(wgpu::PollType::Wait {
                submission_index: Some(submission),
                timeout: None,
            })
            .expect("the device finishes");
        staged
            .iter()
            .map(|stage| {
                let bytes = stage.slice(..).get_mapped_range().expect("is mapped");
                let mut words: Vec<u32> = bytemuck::cast_slice(&bytes).to_vec();
                let guard = words.split_off(words.len() - GUARD);
                if guard.iter().any(|&word| word != DIRT) {
                    return Err("wrote past its output".to_owned());
                }
                Ok(words)
            })
            .collect()
    }

    /// What the arguments are, not what the shader uses: a broken copy may leave one out.
    fn layout(&self, args: &[Arg<'_>]) -> wgpu::BindGroupLayout {
        let storage = |read_only| wgpu::BufferBindingType::Storage { read_only };
        let entries: Vec<_> = std::iter::once((0, wgpu::BufferBindingType::Uniform))
            .chain(args.iter().map(|arg| match arg {
                Arg::In(binding, _) => (*binding, storage(true)),
                Arg::Out(binding, _) => (*binding, storage(false)),
            }))
            .map(|(binding, ty)| wgpu::BindGroupLayoutEntry {
                binding,
                visibility: wgpu::ShaderStages::COMPUTE,
                ty: wgpu::BindingType::Buffer {
                    ty,
                    has_dynamic_offset: false,
                    min_binding_size: None,
                },
                count: None,
            })
            .collect();
        self.device
            .create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
                label: None,
                entries: &entries,
            })
    }

    fn pipeline(
        &self,
        program: &Program,
        bindings: &wgpu::BindGroupLayout,
    ) -> wgpu::ComputePipeline {
        let mut pipelines = self.pipelines.lock().expect("no test panics in here");
        if let Some(pipeline) = pipelines.get(program) {
            return pipeline.clone();
        }
        let Shader {
            kernel, constants, ..
        } = &program.shader;
        let module = self
            .device
            .create_shader_module(wgpu::ShaderModuleDescriptor {
                label: Some(kernel),
                source: wgpu::ShaderSource::Wgsl(with_garbage(&program.source).into()),
            });
        let constants: Vec<(&str, f64)> = constants
            .iter()
            .map(|(name, value)| (*name, f64::from(*value)))
            .collect();
        let layout = self
            .device
            .create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
                label: Some(kernel),
                bind_group_layouts: &[Some(bindings)],
                immediate_size: 0,
            });
        let descriptor = wgpu::ComputePipelineDescriptor {
            label: Some(kernel),
            layout: Some(&layout),
            module: &module,
            entry_point: Some(kernel),
            compilation_options: wgpu::PipelineCompilationOptions {
                constants: &constants,
                ..Default::default()
            },
            cache: None,
        };
        let pipeline = self.device.create_compute_pipeline(&descriptor);
        pipelines.insert(program.clone(), pipeline.clone());
        pipeline
    }

    fn buffer(&self, contents: &[u8], usage: wgpu::BufferUsages) -> wgpu::Buffer {
        let descriptor = wgpu::util::BufferInitDescriptor {
            label: None,
            contents,
            usage,
        };
        self.device.create_buffer_init(&descriptor)
    }
}

/// The program with workgroup memory full of numbers, as it may be found where it is not zeroed.
fn with_garbage(source: &str) -> String {
    let (head, body) = source
        .split_once("@compute")
        .and_then(|(head, entry)| Some((head, entry.split_once(") {")?)))
        .expect("an entry point");
    let mut fill = String::new();
    for declaration in source.split("var<workgroup> ").skip(1) {
        let declaration = declaration.split(';').next().expect("split gives one");
        let (name, ty) = declaration.split_once(": ").expect("a type");
        let array = ty
            .strip_prefix("array<")
            .and_then(|ty| ty.strip_suffix('>'));
        match array.and_then(|ty| ty.rsplit_once(", ")) {
            Some((element, n)) => {
                let store = garbage(&format!("{name}[i]"), element);
                fill += &format!("for (var i = lid; i < {n}; i += WG) {{ {store} }}\n");
            }
            None => fill += &format!("if lid == 0u {{ {} }}\n", garbage(name, ty)),
        }
    }
    if !fill.is_empty() {
        fill += "workgroupBarrier();\n";
    }
    let (signature, body) = body;
    format!("{head}@compute{signature}) {{\n{fill}{body}")
}

fn garbage(place: &str, ty: &str) -> String {
    match ty {
        "f32" => format!("{place} = 1.25e30;"),
        "u32" => format!("{place} = 0x7eadbeefu;"),
        "atomic<u32>" => format!("atomicStore(&{place}, 0x7eadbeefu);"),
        "vec2<u32>" => format!("{place} = vec2(0x7eadbeefu);"),
        "vec4<u32>" => format!("{place} = vec4(0x7eadbeefu);"),
        "vec4<f32>" => format!("{place} = vec4(1.25e30);"),
        "mat4x4<f32>" => (0..4)
            .map(|column| format!("{place}[{column}] = vec4(1.25e30);"))
            .collect(),
        _ => panic!("no garbage for {ty}"),
    }
}

impl Program {
    pub(crate) fn new(shader: Shader) -> Self {
        let source = shader.source();
        Self { shader, source }
    }

    /// With other values of some constants.
    pub(crate) fn with(&self, constants: &[(&str, u32)]) -> Self {
        let mut program = self.clone();
        for (name, value) in &mut program.shader.constants {
            if let Some((_, new)) = constants.iter().find(|(n, _)| n == name) {
                *value = *new;
            }
        }
        program
    }

    /// See [`Shader::with_small_tile`].
    pub(crate) fn with_small_tile(&self) -> Self {
        Self::new(self.shader.with_small_tile())
    }

    /// With a mistake in it.
    ///
    /// # Panics
    /// Where the text that is to be replaced is not there exactly once.
    pub(crate) fn broken(&self, from: &str, to: &str) -> Self {
        let n = self.source.matches(from).count();
        assert_eq!(n, 1, "{self} has this {n} times: {from}");
        let mut program = self.clone();
        program.source = self.source.replace(from, to);
        program
    }
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.shader.label, self.shader.constants)
    }
}
