//! Options that several commands share, and how they are read.

use std::env;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args;
use deputy::gpu::Tuning;
use deputy::graph::CacheMode;
use deputy::kernels::linear::Activations;
use deputy::kernels::{CacheType, every_shader};
use deputy::sampler::SamplerParams;
use deputy::{Cancel, DeviceChoice, Engine, GenerateOptions, LoadOptions, Routes, WeightFormat};

/// Options of every command.
#[derive(Args)]
pub(crate) struct Global {
    /// Where to run: auto, cpu, or an adapter by number or part of its name (see `deputy devices`)
    #[arg(
        long,
        global = true,
        default_value = "auto",
        value_name = "auto|cpu|N|NAME"
    )]
    pub(crate) device: DeviceChoice,
    /// Format of the weights on the device: auto (as stored), f32, f16, q8 or q4
    #[arg(long, global = true, default_value = "auto", value_name = "FORMAT")]
    pub(crate) weights: WeightFormat,
    /// Positions of the context [default: the model's own, at most 4096]
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) ctx: Option<u32>,
    /// Type of the key/value cache: f32, f16, q8 or q4 (blocks of 32 with a scale)
    #[arg(long, global = true, default_value = "f16", value_name = "TYPE", value_parser = cache_type)]
    pub(crate) kv: CacheType,
    /// How the cache keeps tokens of the low-rank attention: dense (as any other), latent-v (keys as any other, values
    /// as latents) or latent [default: the sidecar's]
    #[arg(long, global = true, value_name = "MODE", value_parser = cache_mode, conflicts_with = "dense")]
    pub(crate) cache: Option<CacheMode>,
    /// What prefill multiplies q8 and q4 weights with: f32, int8 (with a scale for each 32), or auto: integers with one
    /// scale where the model is flattened, else f32
    #[arg(long, global = true, default_value = "auto", value_name = "TYPE")]
    pub(crate) activations: Activations,
    /// Run without the model's sidecar: every token on the full branches
    #[arg(long, global = true, conflicts_with_all = ["effort", "routes"])]
    pub(crate) dense: bool,
    /// How much the router lets tokens compute: 1 is everything, less is less [default: the sidecar's]
    #[arg(long, global = true, value_name = "0..1", conflicts_with = "routes")]
    pub(crate) effort: Option<f32>,
    /// Branches by another way than the router: full, low, skip, shares:A,L,S (parts of the tokens with
    /// low-rank attention, low-rank FFN, skipped FFN), or layers:AF,AF,… (a letter each of f, l, s)
    #[arg(long, global = true, value_name = "ROUTES")]
    pub(crate) routes: Option<Routes>,
    /// Tokens that the model drafts at a low effort at a time, to verify them in one step; changes no answer
    #[arg(long, global = true, default_value_t = 0, value_name = "N")]
    pub(crate) speculate: u32,
    /// How much the router lets drafts compute; changes no answer
    #[arg(
        long,
        global = true,
        default_value_t = 0.0,
        value_name = "0..1",
        requires = "speculate"
    )]
    pub(crate) draft_effort: f32,
    /// Seed of the sampler [default: from the clock]
    #[arg(long, global = true, value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// Refuse a model that would need more memory than this, such as 900M or 4G
    #[arg(long, global = true, value_name = "BYTES", value_parser = bytes)]
    pub(crate) memory: Option<u64>,
    /// Run this kernel on the CPU instead, to find out which one a driver computes wrong
    #[arg(long, global = true, value_name = "NAME", value_parser = kernel)]
    pub(crate) cpu_kernel: Option<String>,
    /// Have shaders check every index, to find out whether one is wrong; slower
    #[arg(long, global = true)]
    pub(crate) checked: bool,
    /// Constants of the products: auto (timed on this device and kept, about a second a run until all are),
    /// full (all at once), off, or a candidate's number
    #[arg(
        long,
        global = true,
        default_value = "auto",
        value_name = "auto|full|off|N"
    )]
    pub(crate) tune: Tuning,
    /// Keep nothing from run to run: compiled kernels and tuned constants are not read from the
    /// user's cache folder, nor written to it
    #[arg(long, global = true)]
    pub(crate) no_cache: bool,
    /// Print one JSON object
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Say more: the plan of each step, the time of each phase, the seed
    #[arg(short, long, global = true)]
    pub(crate) verbose: bool,
}

impl Global {
    pub(crate) fn load_options(&self) -> LoadOptions {
        LoadOptions {
            device: self.device.clone(),
            weights: self.weights,
            n_ctx: self.ctx,
            cache: Some(self.kv),
            cache_mode: self.cache,
            activations: self.activations,
            tuning: self.tune,
            memory: self.memory,
            cpu_kernel: self.cpu_kernel.clone(),
            checked: self.checked,
            capabilities: None,
            dense: self.dense,
            cache_dir: if self.no_cache { None } else { cache_dir() },
            cancel: Cancel::default(),
        }
    }

    /// The routes that were asked for.
    pub(crate) fn routes(&self) -> Option<Routes> {
        let effort = self.effort.map(Routes::Effort);
        self.routes.clone().or(effort)
    }

    /// The seed that was asked for, or one from the clock.
    pub(crate) fn seed(&self) -> u64 {
        self.seed.unwrap_or_else(|| {
            let now = SystemTime::now().duration_since(UNIX_EPOCH);
            let seed = now.map_or(0, |time| time.as_nanos() as u64);
            log::debug!("seed {seed}");
            seed
        })
    }
}

/// The user's folder for what may be lost, as the system has it.
fn cache_dir() -> Option<PathBuf> {
    let folder = |variable| {
        let path = env::var_os(variable).map(PathBuf::from);
        // The XDG specification has relative paths ignored.
        path.filter(|path| path.is_absolute())
    };
    let user = if cfg!(windows) {
        folder("LOCALAPPDATA")
    } else if cfg!(target_os = "macos") {
        folder("HOME").map(|home| home.join("Library/Caches"))
    } else {
        folder("XDG_CACHE_HOME").or_else(|| folder("HOME").map(|home| home.join(".cache")))
    };
    user.map(|user| user.join("deputy"))
}

/// How an answer is made.
#[derive(Args)]
#[command(next_help_heading = "Sampling")]
pub(crate) struct Sampling {
    /// Tokens at most [default: until an end token or the end of the context]
    #[arg(short, long = "n-tokens", value_name = "N")]
    n: Option<usize>,
    /// Divides the logits; 0 always takes the likeliest token [default: the model's, else 0.8]
    #[arg(long, value_name = "T")]
    temp: Option<f32>,
    /// How many of the likeliest tokens stay; 0 is all [default: the model's, else 40]
    #[arg(long, value_name = "K")]
    top_k: Option<u32>,
    /// Probability that the tokens that stay make up together; 1 is all [default: the model's, else 0.95]
    #[arg(long, value_name = "P")]
    top_p: Option<f32>,
    /// Least probability of a token that stays, as a part of the likeliest one's; 0 is none [default: the model's, else 0.05]
    #[arg(long, value_name = "P")]
    min_p: Option<f32>,
    /// Lessens the logits of tokens that have come up; 1 leaves them [default: the model's, else 1]
    #[arg(long, value_name = "X")]
    repeat_penalty: Option<f32>,
    /// Ends the answer before this text; may be given several times
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    stop: Vec<String>,
    /// Go on past the model's end tokens
    #[arg(long)]
    ignore_eos: bool,
}

impl Sampling {
    /// Refuses what no model could do.
    pub(crate) fn check(&self) -> Result<(), deputy::sampler::Error> {
        self.over(SamplerParams::default()).validate()
    }

    /// The options of an answer: what was asked for, and the model's own for the rest.
    pub(crate) fn options(&self, global: &Global, engine: &Engine) -> GenerateOptions {
        let mut sampler = self.over(engine.config().sampler);
        if !sampler.is_greedy() {
            sampler.seed = global.seed();
        }
        GenerateOptions {
            max_tokens: self.n,
            sampler: Some(sampler),
            stop: self.stop.clone(),
            ignore_eos: self.ignore_eos,
            ..Default::default()
        }
    }

    fn over(&self, model: SamplerParams) -> SamplerParams {
        SamplerParams {
            temperature: self.temp.unwrap_or(model.temperature),
            top_k: self.top_k.unwrap_or(model.top_k),
            top_p: self.top_p.unwrap_or(model.top_p),
            min_p: self.min_p.unwrap_or(model.min_p),
            repeat_penalty: self.repeat_penalty.unwrap_or(model.repeat_penalty),
            seed: 0,
        }
    }
}

/// One id of a list such as `1,2,3`.
pub(crate) fn id(text: &str) -> Result<u32, String> {
    let text = text.trim();
    text.parse()
        .map_err(|_| format!("{text:?} is not a token id; a list of ids is written 1,2,3"))
}

fn cache_mode(text: &str) -> Result<CacheMode, String> {
    let mut known = CacheMode::ALL.into_iter();
    known.find(|mode| mode.name() == text).ok_or_else(|| {
        let names = CacheMode::ALL.map(CacheMode::name);
        format!("the modes are {}", names.join(", "))
    })
}

fn cache_type(text: &str) -> Result<CacheType, String> {
    let known = CacheType::ALL.into_iter();
    known
        .clone()
        .find(|cache| cache.name() == text)
        .ok_or_else(|| {
            let names: Vec<&str> = known.map(CacheType::name).collect();
            format!("the types are {}", names.join(", "))
        })
}

fn kernel(text: &str) -> Result<String, String> {
    let mut known: Vec<&str> = every_shader().iter().map(|shader| shader.kernel).collect();
    known.sort_unstable();
    known.dedup();
    if known.contains(&text) {
        return Ok(text.to_owned());
    }
    Err(format!("the kernels are {}", known.join(", ")))
}

/// `4096`, `900M`, `1.5G`, `4GiB`: powers of 1024.
fn bytes(text: &str) -> Result<u64, String> {
    let upper = text.trim().to_ascii_uppercase();
    let digits = upper.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match upper[digits.len()..]
        .trim_end_matches("IB")
        .trim_end_matches('B')
    {
        "" => 0,
        "K" => 10,
        "M" => 20,
        "G" => 30,
        "T" => 40,
        _ => return Err("write a number of bytes, such as 900M or 4G".to_owned()),
    };
    match digits.trim().parse::<f64>() {
        Ok(n) if n.is_finite() && n >= 0.0 => Ok((n * (1u64 << shift) as f64) as u64),
        _ => Err("write a number of bytes, such as 900M or 4G".to_owned()),
    }
}
