//! Which constants suit a product on this device: timed once, and remembered from run to run.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::Mutex;
use std::time::Duration;

use sha2::{Digest, Sha256};
use web_time::Instant;

use super::device::lock;
use super::state::{State, record};
use super::{Error, Gpu};
use crate::file::CacheFolder;
use crate::kernels::linear::Arm;
use crate::kernels::{Call, Shader, candidates, shader};
use crate::plan::Plan;

/// How the constants of products are chosen: how many invocations share an output, and the like.
/// They change the speed, and results by rounding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tuning {
    /// The fastest on this device for each shape, timed when the shape is first met and kept in the
    /// cache folder. Without one, as [`Tuning::Off`]. A new size of step spends about a second on it;
    /// what is left is timed by later runs.
    #[default]
    Auto,
    /// As [`Tuning::Auto`], with all the time that it takes: seconds, on software adapters half a minute.
    Full,
    /// Those for unknown devices.
    Off,
    /// The candidate of this number, modulo how many there are; for tests.
    Forced(usize),
}

impl FromStr for Tuning {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "auto" => Ok(Tuning::Auto),
            "full" => Ok(Tuning::Full),
            "off" => Ok(Tuning::Off),
            other => other.parse().map(Tuning::Forced).map_err(|_| {
                format!(
                    "tuning {other:?} is not one of auto, full, off, or the number of a candidate"
                )
            }),
        }
    }
}

/// The choices made so far.
pub(super) struct Tuned {
    tuning: Tuning,
    kept: Option<(CacheFolder, String)>,
    /// Values of the overrides by kernel and shape.
    known: Mutex<BTreeMap<String, BTreeMap<String, u32>>>,
}

/// Dispatches that a candidate is timed on: weights of several layers, so that no cache holds them.
const N_DISPATCHES: usize = 8;

/// How long [`Tuning::Auto`] keeps a step waiting, but for the last shape that it begins.
const PATIENCE: Duration = Duration::from_secs(1);

/// What part of the best one's time another must stay below.
const MARGIN: f64 = 0.95;

/// Runs of each candidate; the fastest counts.
const N_RUNS: usize = 4;

impl Tuned {
    pub(super) fn new(
        tuning: Tuning,
        info: &wgpu::AdapterInfo,
        folder: Option<CacheFolder>,
    ) -> Self {
        let name = format!(
            "tuning-{}-{}-{:x}-{:x}-{}.json",
            env!("CARGO_PKG_VERSION"),
            info.backend,
            info.vendor,
            info.device,
            info.driver_info
        );
        let plain = |c: char| {
            if c.is_ascii_alphanumeric() || "-.".contains(c) {
                c
            } else {
                '_'
            }
        };
        let name: String = name.chars().map(plain).collect();
        let kept = folder
            .filter(|_| matches!(tuning, Tuning::Auto | Tuning::Full))
            .map(|folder| (folder, name));
        let known = kept.as_ref().and_then(|(folder, name)| folder.read(name));
        let known = known.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        Self {
            tuning,
            kept,
            known: Mutex::new(known.unwrap_or_default()),
        }
    }

    /// Keeps a choice, in the file as well.
    fn learn(&self, key: String, shader: &Shader) {
        let constants = shader.constants.iter();
        let constants = constants
            .map(|&(name, value)| (name.to_owned(), value))
            .collect();
        let mut known = lock(&self.known);
        known.insert(key, constants);
        if let Some((folder, name)) = &self.kept
            && let Ok(bytes) = serde_json::to_vec(&*known)
        {
            folder.write(name, &bytes);
        }
    }
}

impl Gpu {
    /// The shader for a call on this device.
    pub(crate) fn shader(&self, call: &Call) -> Shader {
        let first = shader(call, &self.capabilities);
        match self.tuned.tuning {
            Tuning::Off => first,
            Tuning::Forced(n) => {
                let mut all = candidates(call, &self.capabilities);
                let n = n % all.len();
                all.swap_remove(n)
            }
            Tuning::Auto | Tuning::Full => {
                let Some(key) = key(call, &first) else {
                    return first;
                };
                let known = lock(&self.tuned.known);
                let Some(constants) = known.get(&key) else {
                    return first;
                };
                let is_chosen = |shader: &Shader| {
                    let mut own = shader.constants.iter();
                    own.all(|(name, value)| constants.get(*name) == Some(value))
                };
                // A file of another version may hold what there is no longer.
                let all = candidates(call, &self.capabilities);
                all.into_iter().find(is_chosen).unwrap_or(first)
            }
        }
    }
}

impl State {
    /// Times the candidates for the products of a plan whose shapes are new. Leaves garbage in
    /// activations and logits, which the plan writes before it reads them.
    pub(super) async fn tune(&self, plan: &Plan) -> Result<(), Error> {
        if self.gpu.tuned.kept.is_none() {
            return Ok(());
        }
        let mut shapes: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (i, dispatch) in plan.dispatches.iter().enumerate() {
            let first = shader(&dispatch.call, &self.gpu.capabilities);
            if let Some(key) = key(&dispatch.call, &first)
                && !lock(&self.gpu.tuned.known).contains_key(&key)
            {
                shapes.entry(key).or_default().push(i);
            }
        }
        let start = Instant::now();
        for (key, dispatches) in shapes {
            if self.gpu.tuned.tuning == Tuning::Auto && start.elapsed() > PATIENCE {
                log::debug!("{key} and more are timed another time");
                break;
            }
            let call = &plan.dispatches[dispatches[0]].call;
            let all = candidates(call, &self.gpu.capabilities);
            self.gpu.compile(&all).await?;
            self.write_full_routes(plan, &dispatches);
            let mut best: Option<(Duration, &Shader)> = None;
            for shader in &all {
                let dispatches = dispatches.iter().take(N_DISPATCHES);
                let calls = dispatches.map(|&i| (&plan.dispatches[i], shader.clone()));
                let bound = self.bind_calls(&calls.collect::<Vec<_>>()).await?;
                let mut least = Duration::MAX;
                for _ in 0..N_RUNS {
                    let start = Instant::now();
                    let mut encoder = self
                        .gpu
                        .device
                        .create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
                    let mut pass =
                        encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
                    record(&mut pass, &bound);
                    drop(pass);
                    self.gpu.queue.submit([encoder.finish()]);
                    self.gpu.finish().await?;
                    least = least.min(start.elapsed());
                }
                log::debug!("{key}: {:?} takes {least:?}", shader.constants);
                // Timings swing: the first one stays unless another is clearly better.
                if best.is_none_or(|(time, _)| least.as_secs_f64() < MARGIN * time.as_secs_f64()) {
                    best = Some((least, shader));
                }
            }
            if let Some((_, shader)) = best {
                self.gpu.tuned.learn(key, shader);
            }
        }
        Ok(())
    }
}

impl State {
    /// Has every row take the full branches, so that products in routed layers have something to do.
    fn write_full_routes(&self, plan: &Plan, dispatches: &[usize]) {
        let rows = plan.size.rows;
        let words = |r: u32| [0, r, r, if r == 0 || r == 2 { rows } else { 0 }];
        let words: Vec<[u32; 4]> = (0..rows).map(words).collect();
        for dispatch in dispatches.iter().map(|&i| &plan.dispatches[i]) {
            if let Call::MatVec(form, _) | Call::MatMul(form, _) = dispatch.call
                && form.arm != Arm::All
            {
                let routes = dispatch.bindings.iter().find(|(binding, _)| *binding == 7);
                let (_, routes) = routes.expect("an arm reads the routes");
                self.write(*routes, 0, bytemuck::cast_slice(&words));
            }
        }
    }
}

/// Calls of one key are best served by the same constants; `None` where there is no choice. What was chosen for
/// another text of the shader says nothing.
fn key(call: &Call, shader: &Shader) -> Option<String> {
    let (p, rows) = match call {
        Call::MatVec(_, p) => (p, ""),
        Call::MatMul(_, p) if p.rows <= 32 => (p, " few"),
        Call::MatMul(_, p) => (p, " many"),
        _ => return None,
    };
    let text = Sha256::digest(shader.source());
    let text = u32::from_be_bytes([text[0], text[1], text[2], text[3]]);
    Some(format!(
        "{} {text:08x} {}x{}{rows}",
        shader.label, p.outs, p.cols
    ))
}
