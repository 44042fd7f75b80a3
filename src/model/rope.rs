//! Rotary frequencies.

use super::{Config, Error, Layout, RopeScaling};
use crate::file::{ElementType, ModelFile};
use crate::graph::Rope;
use crate::tensor::DType;

/// The name under which GGUF files store divisors of the frequencies.
const FACTORS: &str = "rope_freqs.weight";

/// The table for all layers: `theta^(-2i / head_dim)` (Su et al. 2021), stretched as the
/// configuration says (`llama3` as in Llama 3.1's reference code).
pub(super) fn table(config: &Config) -> Rope {
    let n_pairs = config.head_dim / 2;
    let base = |pair: u32| {
        let exponent = f64::from(2 * pair) / f64::from(config.head_dim);
        config.rope_theta.powf(-exponent)
    };
    let mut inv_freq: Vec<f64> = (0..n_pairs)
        .map(|pair| scaled(base(pair), config.rope_scaling))
        .collect();
    if let Some(factors) = &config.rope_factors {
        for (frequency, &factor) in inv_freq.iter_mut().zip(factors) {
            *frequency /= f64::from(factor);
        }
    }
    Rope {
        inv_freq,
        // llama.cpp's converter permutes the rows of q and k of these files to rotate neighbours.
        interleaved: config.layout == Layout::Gguf && config.architecture.gguf == "llama",
    }
}

fn scaled(frequency: f64, scaling: RopeScaling) -> f64 {
    match scaling {
        RopeScaling::None => frequency,
        RopeScaling::Linear { factor } => frequency / factor,
        RopeScaling::Llama3 {
            factor,
            low_freq_factor,
            high_freq_factor,
            original_n_ctx,
        } => {
            let turns = original_n_ctx * frequency / std::f64::consts::TAU;
            let ramp = (turns - low_freq_factor) / (high_freq_factor - low_freq_factor);
            let kept = ramp.clamp(0.0, 1.0);
            frequency * (kept + (1.0 - kept) / factor)
        }
    }
}

/// Reads `rope_freqs.weight`, if the file has it.
pub(super) async fn stored_factors(
    file: &ModelFile,
    config: &Config,
) -> Result<Option<Vec<f32>>, Error> {
    let Some(tensor) = file.tensors.get(FACTORS) else {
        return Ok(None);
    };
    let n = config.head_dim as usize / 2;
    if tensor.shape.0 != [n] || tensor.dtype != ElementType::Known(DType::F32) {
        return Err(Error::Shape {
            file: file.name.clone(),
            tensor: FACTORS.to_owned(),
            expected: format!("[{n}] of f32"),
            found: format!("{} of {}", tensor.shape, tensor.dtype),
        });
    }
    let mut bytes = vec![0; 4 * n];
    file.read(tensor, 0..4 * n as u64, &mut bytes).await?;
    let factors: Vec<f32> = bytemuck::pod_collect_to_vec(&bytes);
    if !factors.iter().all(|&f| f.is_finite() && f > 0.0) {
        return Err(Error::NotFinite {
            file: file.name.clone(),
            tensor: FACTORS.to_owned(),
            row: 0,
        });
    }
    Ok(Some(factors))
}
