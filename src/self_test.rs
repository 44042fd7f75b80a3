//! Each kernel on small shapes against its CPU twin: what `deputy devices --test` runs, to find
//! the kernels that a driver compiles wrong.

mod cases;

use crate::engine::{DeviceChoice, open};
use crate::error::Error;
use crate::gpu::{self, Gpu};
use crate::kernels::{CacheType, Call, Shader, shader};
use crate::reference::run_call;
use cases::Case;

/// What a device made of every kernel.
#[derive(Clone, Debug)]
pub struct SelfTest {
    /// The device's name.
    pub device: String,
    /// One a kernel and variant.
    pub checks: Vec<Check>,
}

/// What a device made of one kernel.
#[derive(Clone, Debug)]
pub struct Check {
    /// Kernel and variant.
    pub label: String,
    /// Normalised mean square error of its outputs against the twin's; of drawn tokens the share that differs.
    pub nmse: f64,
    /// The largest error that rounding explains.
    pub limit: f64,
    /// What the driver said instead of running it.
    pub failure: Option<String>,
}

impl Check {
    /// Whether the kernel runs and computes what it should.
    pub fn ok(&self) -> bool {
        // An error that is no number is no success.
        self.failure.is_none() && self.nmse <= self.limit
    }
}

/// Runs each kernel that `device` could take, each variant of it, against the CPU.
///
/// # Errors
/// [`gpu::Error::NoAdapter`] where the choice comes to the CPU; a device that cannot be opened or is lost.
pub async fn self_test(device: &DeviceChoice) -> Result<SelfTest, Error> {
    let (Some(gpu), _) = open(device).await? else {
        return Err(gpu::Error::NoAdapter.into());
    };
    let mut checks: Vec<Check> = vec![];
    for case in cases::all() {
        for capabilities in gpu.capabilities.choices() {
            let check = check(&gpu, &case, &shader(&case.call, &capabilities)).await?;
            if checks.iter().all(|known| known.label != check.label) {
                checks.push(check);
            }
        }
    }
    Ok(SelfTest {
        device: format!(
            "{} ({}), {}",
            gpu.adapter.name, gpu.adapter.backend, gpu.adapter.driver
        ),
        checks,
    })
}

async fn check(gpu: &Gpu, case: &Case, shader: &Shader) -> Result<Check, Error> {
    let mut check = Check {
        label: shader.label.clone(),
        nmse: f64::NAN,
        limit: limit(&case.call),
        failure: None,
    };
    match gpu.run_call(&case.call, shader, &case.bindings).await {
        Ok(got) => check.nmse = error(&case.call, &got, &expected(case)),
        Err(error @ gpu::Error::Lost { .. }) => return Err(error.into()),
        Err(error) => check.failure = Some(error.to_string()),
    }
    Ok(check)
}

fn expected(case: &Case) -> Vec<Vec<u32>> {
    let first = case.bindings.len() - case.call.n_written();
    let words: Vec<Vec<u32>> = case
        .bindings
        .iter()
        .map(|(_, words)| words.clone())
        .collect();
    let (inputs, outputs) = words.split_at(first);
    let mut outputs = outputs.to_vec();
    let inputs: Vec<&[u32]> = inputs.iter().map(Vec::as_slice).collect();
    let mut slices: Vec<&mut [u32]> = outputs.iter_mut().map(Vec::as_mut_slice).collect();
    run_call(&case.call, &inputs, &mut slices);
    outputs
}

fn limit(call: &Call) -> f64 {
    match call {
        Call::Sample(_) => 0.0,
        // A value that f32 computes a hair apart may round to its neighbour in f16.
        Call::CacheWrite(CacheType::F16, _) => 1e-6,
        Call::MatVec(..) | Call::MatMul(..) | Call::Attention(..) => 1e-10,
        _ => 1e-12,
    }
}

fn error(call: &Call, got: &[Vec<u32>], want: &[Vec<u32>]) -> f64 {
    if let Call::Sample(_) = call {
        // The scores between are the kernel's own.
        let drawn = |outputs: &[Vec<u32>]| [&outputs[0][..], &outputs[2][..]].concat();
        let (got, want) = (drawn(got), drawn(want));
        let n_wrong = got
            .iter()
            .zip(&want)
            .filter(|(got, want)| got != want)
            .count();
        return n_wrong as f64 / want.len() as f64;
    }
    let is_f16 = matches!(call, Call::CacheWrite(CacheType::F16, _));
    let values = |words: &[u32]| -> Vec<f64> {
        if is_f16 {
            let halves: &[half::f16] = bytemuck::cast_slice(words);
            return halves.iter().map(|x| x.to_f64()).collect();
        }
        words
            .iter()
            .map(|&word| f64::from(f32::from_bits(word)))
            .collect()
    };
    let (got, want) = (values(&got[0]), values(&want[0]));
    let squares = got
        .iter()
        .zip(&want)
        .map(|(got, want)| (got - want).powi(2));
    squares.sum::<f64>() / want.iter().map(|want| want.powi(2)).sum::<f64>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::DType;

    /// bf16 words read as f16: the same sizes, other numbers.
    #[test]
    fn a_wrong_kernel_is_caught() {
        let opened =
            pollster::block_on(open(&DeviceChoice::Auto)).expect("auto is the CPU at least");
        let Some(gpu) = opened.0 else {
            let required = std::env::var("DEPUTY_GPU").is_ok_and(|value| value == "required");
            assert!(!required, "DEPUTY_GPU=required, and there is no adapter");
            // The kernels' own tests say that they are skipped.
            return;
        };
        let mut n_caught = 0;
        for case in cases::all() {
            let wrong = match case.call {
                Call::Embed(DType::BF16, p) => Call::Embed(DType::F16, p),
                Call::MatVec(DType::BF16, p) => Call::MatVec(DType::F16, p),
                Call::MatMul(DType::BF16, p) => Call::MatMul(DType::F16, p),
                Call::CacheWrite(CacheType::F16, p) => Call::CacheWrite(CacheType::F32, p),
                Call::Attention(CacheType::F16, p) => Call::Attention(CacheType::F32, p),
                _ => continue,
            };
            for (call, ok) in [(case.call, true), (wrong, false)] {
                let check =
                    pollster::block_on(check(&gpu, &case, &shader(&call, &gpu.capabilities)));
                assert_eq!(check.expect("the device lives").ok(), ok, "{call:?}");
            }
            n_caught += 1;
        }
        assert_eq!(n_caught, 5);
    }
}
