//! What the user has chosen, and what it means to the engine.

use std::path::{Path, PathBuf};

use deputy::graph::CacheMode;
use deputy::kernels::CacheType;
use deputy::sampler::SamplerParams;
use deputy::{DeviceChoice, LoadOptions, WeightFormat};
use serde::{Deserialize, Serialize};

/// Models that are remembered.
const MAX_RECENT: usize = 8;

/// Everything that is kept from run to run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Settings {
    pub(crate) theme: Theme,
    /// Of all that is drawn, beside the display's own scale.
    pub(crate) zoom: f32,
    pub(crate) show_chats: bool,
    pub(crate) show_engine: bool,
    /// The model that is opened at the start.
    pub(crate) model: ModelRef,
    /// Latest first.
    pub(crate) recent: Vec<PathBuf>,
    pub(crate) load: LoadSettings,
    pub(crate) answer: AnswerSettings,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            theme: Theme::System,
            zoom: 1.0,
            show_chats: true,
            show_engine: true,
            model: ModelRef::Default,
            recent: vec![],
            load: LoadSettings::default(),
            answer: AnswerSettings::default(),
        }
    }
}

impl Settings {
    /// Puts a model in front of the recent ones and opens it at the next start.
    pub(crate) fn remember(&mut self, model: &ModelRef) {
        self.model = model.clone();
        if let ModelRef::Path(path) = model {
            self.forget(path);
            self.recent.insert(0, path.clone());
            self.recent.truncate(MAX_RECENT);
        }
    }

    pub(crate) fn forget(&mut self, path: &Path) {
        self.recent.retain(|recent| recent != path);
    }

    /// Brings what a file may hold into the ranges that the window offers.
    pub(crate) fn clamped(mut self) -> Self {
        let zoom = if self.zoom.is_finite() {
            self.zoom
        } else {
            1.0
        };
        self.zoom = zoom.clamp(0.5, 3.0);
        let effort = self.answer.effort.filter(|effort| effort.is_finite());
        self.answer.effort = effort.map(|effort| effort.clamp(0.0, 1.0));
        self
    }
}

/// Which model.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ModelRef {
    /// The one that is compiled in.
    #[default]
    Default,
    /// A folder or a GGUF file.
    Path(PathBuf),
}

impl ModelRef {
    /// What the window calls it.
    pub(crate) fn label(&self) -> String {
        match self {
            ModelRef::Default => "Default model".to_owned(),
            ModelRef::Path(path) => match path.file_name() {
                Some(name) => name.to_string_lossy().into_owned(),
                None => path.display().to_string(),
            },
        }
    }
}

macro_rules! choices {
    ($(#[$doc:meta])* $name:ident { $($variant:ident = $label:literal),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub(crate) enum $name {
            $($variant),*
        }

        impl $name {
            pub(crate) const ALL: &'static [Self] = &[$(Self::$variant),*];

            pub(crate) fn label(self) -> &'static str {
                match self {
                    $(Self::$variant => $label),*
                }
            }
        }
    };
}

choices!(Theme {
    System = "As the system",
    Light = "Light",
    Dark = "Dark",
});

choices!(
    /// Format of the weights on the device.
    Weights {
        Auto = "As in the file",
        F32 = "f32",
        F16 = "f16",
        Q8 = "q8",
        Q4 = "q4",
    }
);

choices!(
    /// Type of the key/value cache.
    Cache {
        F32 = "f32",
        F16 = "f16",
        Q8 = "q8",
        Q4 = "q4",
    }
);

choices!(
    /// How the cache keeps tokens of the low-rank attention.
    Latents {
        Model = "As the model says",
        Dense = "dense",
        LatentV = "latent values",
        Latent = "latent",
    }
);

/// What takes effect when a model is loaded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct LoadSettings {
    /// `auto`, `cpu`, or an adapter's name.
    pub(crate) device: String,
    pub(crate) weights: Weights,
    pub(crate) cache: Cache,
    pub(crate) latents: Latents,
    /// Positions; the model's own where `None`, at most [`deputy::DEFAULT_CTX`].
    pub(crate) n_ctx: Option<u32>,
}

impl Default for LoadSettings {
    fn default() -> Self {
        Self {
            device: AUTO.to_owned(),
            weights: Weights::Auto,
            cache: Cache::F16,
            latents: Latents::Model,
            n_ctx: None,
        }
    }
}

pub(crate) const AUTO: &str = "auto";
pub(crate) const CPU: &str = "cpu";

impl LoadSettings {
    pub(crate) fn device(&self) -> DeviceChoice {
        match self.device.as_str() {
            AUTO => DeviceChoice::Auto,
            CPU => DeviceChoice::Cpu,
            name => DeviceChoice::Name(name.to_owned()),
        }
    }

    /// The engine's options, for a model that has `model_ctx` positions.
    pub(crate) fn options(&self, model_ctx: u32, cache_dir: Option<PathBuf>) -> LoadOptions {
        LoadOptions {
            device: self.device(),
            weights: match self.weights {
                Weights::Auto => WeightFormat::Auto,
                Weights::F32 => WeightFormat::F32,
                Weights::F16 => WeightFormat::F16,
                Weights::Q8 => WeightFormat::Q8,
                Weights::Q4 => WeightFormat::Q4,
            },
            // One setting serves all models, so it is an upper bound.
            n_ctx: self.n_ctx.map(|n_ctx| n_ctx.clamp(1, model_ctx)),
            cache: Some(match self.cache {
                Cache::F32 => CacheType::F32,
                Cache::F16 => CacheType::F16,
                Cache::Q8 => CacheType::Q8,
                Cache::Q4 => CacheType::Q4,
            }),
            cache_mode: match self.latents {
                Latents::Model => None,
                Latents::Dense => Some(CacheMode::Dense),
                Latents::LatentV => Some(CacheMode::LatentV),
                Latents::Latent => Some(CacheMode::Latent),
            },
            cache_dir,
            ..LoadOptions::default()
        }
    }
}

/// What takes effect with the next answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct AnswerSettings {
    pub(crate) system: String,
    /// Of the routers, 0 to 1; the model's own where `None`.
    pub(crate) effort: Option<f32>,
    /// The model's own where `None`.
    pub(crate) sampling: Option<Sampling>,
    /// From the clock where `None`.
    pub(crate) seed: Option<u64>,
}

/// How tokens are drawn.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Sampling {
    pub(crate) temperature: f32,
    pub(crate) top_k: u32,
    pub(crate) top_p: f32,
    pub(crate) min_p: f32,
    pub(crate) repeat_penalty: f32,
}

impl From<SamplerParams> for Sampling {
    fn from(params: SamplerParams) -> Self {
        Self {
            temperature: params.temperature,
            top_k: params.top_k,
            top_p: params.top_p,
            min_p: params.min_p,
            repeat_penalty: params.repeat_penalty,
        }
    }
}

impl Default for Sampling {
    fn default() -> Self {
        SamplerParams::default().into()
    }
}

impl AnswerSettings {
    /// How the engine draws, where the model itself would draw as `model` says.
    pub(crate) fn sampler(&self, model: SamplerParams, seed: u64) -> SamplerParams {
        let sampling = self.sampling.clone().unwrap_or_else(|| model.into());
        SamplerParams {
            temperature: sampling.temperature,
            top_k: sampling.top_k,
            top_p: sampling.top_p,
            min_p: sampling.min_p,
            repeat_penalty: sampling.repeat_penalty,
            seed,
        }
    }
}
