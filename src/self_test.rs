//! Each kernel on small shapes against its CPU twin: what `deputy devices --test` runs, to find
//! the kernels that a driver compiles wrong.

mod cases;

use crate::engine::{DeviceChoice, open};
use crate::error::Error;
use crate::gpu::{self, Gpu, GpuOptions};
use crate::kernels::flatten_rows::row_words;
use crate::kernels::quantize_rows::BLOCK_WORDS;
use crate::kernels::{CacheType, Call, Shader, shader};
use crate::reference::{cache_read, run_call};
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

/// Runs each kernel that `device` could take, each variant of it, against the CPU; with bounds
/// checks where `checked`. `Auto` is the first adapter, a software one too.
///
/// # Errors
/// [`gpu::Error::NoAdapter`] where the choice comes to the CPU; a device that cannot be opened or is lost.
pub async fn self_test(device: &DeviceChoice, checked: bool) -> Result<SelfTest, Error> {
    let options = GpuOptions {
        checked,
        ..Default::default()
    };
    let first = DeviceChoice::Index(0);
    let device = match device {
        DeviceChoice::Auto => &first,
        named => named,
    };
    let (Some(gpu), _) = open(device, options).await? else {
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
    match gpu
        .run_call(&case.call, shader, &cases::BOUNDS, &case.bindings)
        .await
    {
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
        Call::Sample(_) | Call::Route(_) | Call::PlaceRows(_) => 0.0,
        // A value that f32 computes a hair apart may be stored as its neighbour.
        Call::CacheWrite(form, _) => stored_limit(form.cache),
        Call::LatentKeys(form, _) => stored_limit(form.keys).max(1e-10),
        Call::CacheCopy(form, _) => stored_limit(form.values).max(stored_limit(form.latents)),
        Call::QuantizeRows(_) | Call::FlattenRows(_) => 1e-6,
        Call::MatVec(..)
        | Call::MatMul(..)
        | Call::Attention(..)
        | Call::AttentionLatent(..)
        | Call::AttentionMerge(..)
        | Call::LatentValues(..) => 1e-10,
        _ => 1e-12,
    }
}

fn stored_limit(cache: CacheType) -> f64 {
    match cache {
        CacheType::F32 => 1e-12,
        CacheType::F16 | CacheType::Q8 => 1e-6,
        CacheType::Q4 => 1e-4,
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
    if let Call::Route(_) | Call::PlaceRows(_) = call {
        return f64::from(got != want);
    }
    let (got, want) = (values(call, got), values(call, want));
    let squares = got
        .iter()
        .zip(&want)
        .map(|(got, want)| (got - want).powi(2));
    squares.sum::<f64>() / want.iter().map(|want| want.powi(2)).sum::<f64>()
}

/// What a call's outputs mean.
fn values(call: &Call, outputs: &[Vec<u32>]) -> Vec<f64> {
    let mut values: Vec<f32> = outputs[0]
        .iter()
        .map(|&bits| f32::from_bits(bits))
        .collect();
    if let Call::QuantizeRows(_) = call {
        let blocks = outputs[0].chunks_exact(BLOCK_WORDS as usize);
        return blocks
            .flat_map(|block| {
                let scale = f64::from(f32::from_bits(block[8]));
                let bytes: &[i8] = bytemuck::cast_slice(&block[..8]);
                bytes.iter().map(move |&q| scale * f64::from(q))
            })
            .collect();
    }
    if let Call::FlattenRows(p) = call {
        let rows = outputs[0].chunks_exact(row_words(p.blocks, p.extra_blocks) as usize);
        return rows
            .flat_map(|row| {
                let scale = f64::from(f32::from_bits(row[row.len() - 1]));
                let bytes: &[i8] = bytemuck::cast_slice(&row[..row.len() - 1]);
                bytes.iter().map(move |&q| scale * f64::from(q))
            })
            .collect();
    }
    if let Call::MatVec(..) | Call::MatMul(..) = call {
        // The products, and the latents that a split one makes.
        return outputs
            .iter()
            .flatten()
            .map(|&bits| f64::from(f32::from_bits(bits)))
            .collect();
    }
    let stored = match call {
        Call::CacheWrite(form, p) => vec![(form.cache, p.head_dim); outputs.len() - 1],
        Call::CacheCopy(form, p) => {
            values.clear();
            vec![
                (form.latents, p.k_cols + p.v_cols),
                (form.values, p.head_dim),
            ]
        }
        _ => vec![],
    };
    let first = outputs.len() - stored.len();
    for ((cache, cols), words) in stored.into_iter().zip(&outputs[first..]) {
        let mut cached = vec![0.0; cols as usize];
        let row_words = cache.row_bytes(u64::from(cols)) as usize / 4;
        for row in 0..words.len() / row_words {
            cache_read(cache, words, row, &mut cached);
            values.extend_from_slice(&cached);
        }
    }
    values.into_iter().map(f64::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::linear::Form;
    use crate::kernels::{attention, cache_write};
    use crate::tensor::DType;
    use rayon::prelude::*;

    /// The first adapter; the kernels' own tests say where there is none.
    fn gpu(checked: bool) -> Option<Gpu> {
        let options = GpuOptions {
            checked,
            ..Default::default()
        };
        let opened = pollster::block_on(open(&DeviceChoice::Index(0), options));
        let gpu = opened.ok().and_then(|(gpu, _)| gpu);
        let required = std::env::var("DEPUTY_GPU").is_ok_and(|value| value == "required");
        assert!(
            gpu.is_some() || !required,
            "DEPUTY_GPU=required, and there is no adapter"
        );
        gpu
    }

    #[test]
    fn kernels_give_the_same_bits_with_and_without_checks() {
        let (Some(checked), Some(unchecked)) = (gpu(true), gpu(false)) else {
            return;
        };
        // Compiling takes nearly all of the time.
        cases::all().par_iter().for_each(|case| {
            for capabilities in checked.capabilities.choices() {
                let shader = shader(&case.call, &capabilities).with_small_tile();
                let [want, got] = [&checked, &unchecked].map(|gpu| {
                    let run = gpu.run_call(&case.call, &shader, &cases::BOUNDS, &case.bindings);
                    pollster::block_on(run).expect("the device lives")
                });
                assert!(got == want, "{}", shader.label);
            }
        });
    }

    /// The cases bind buffers without a word to spare, and the twins check every index.
    #[test]
    fn needs_are_all_that_a_kernel_reaches() {
        for case in cases::all() {
            let exact: Vec<(u32, u64)> = case
                .bindings
                .iter()
                .map(|(binding, words)| (*binding, 4 * words.len() as u64))
                .collect();
            assert_eq!(case.call.needs(&cases::BOUNDS), exact, "{:?}", case.call);
            expected(&case);
            for i in 0..exact.len() {
                let mut short = exact.clone();
                short[i].1 -= 4;
                assert!(
                    !case.call.fits(&cases::BOUNDS, &short),
                    "{:?}: a word less at binding {}",
                    case.call,
                    short[i].0
                );
            }
        }
    }

    /// Else a kernel that writes nothing would pass, or one that is right fail.
    #[test]
    fn every_output_has_something_to_compare() {
        for case in cases::all() {
            for (i, output) in expected(&case).iter().enumerate() {
                let is_scores = i == 1 && matches!(case.call, Call::Sample(_));
                assert!(
                    is_scores || output.iter().any(|&word| word != 0),
                    "{:?}: output {i}",
                    case.call
                );
            }
        }
    }

    /// bf16 words read as f16: the same sizes, other numbers.
    #[test]
    fn a_wrong_kernel_is_caught() {
        let Some(gpu) = gpu(false) else { return };
        let bf16 = Form::plain(DType::BF16);
        let mut n_caught = 0;
        for case in cases::all() {
            let wrong = match case.call {
                Call::Embed(DType::BF16, p) => Call::Embed(DType::F16, p),
                Call::MatVec(form, p) if form == bf16 => Call::MatVec(Form::plain(DType::F16), p),
                Call::MatMul(form, p) if form == bf16 => Call::MatMul(Form::plain(DType::F16), p),
                Call::CacheWrite(form, p) if form.cache == CacheType::F16 => {
                    let cache = CacheType::F32;
                    Call::CacheWrite(cache_write::Form { cache, ..form }, p)
                }
                Call::Attention(form, p) if form.cache == CacheType::F16 => {
                    let cache = CacheType::F32;
                    Call::Attention(attention::Form { cache, ..form }, p)
                }
                _ => continue,
            };
            for (call, ok) in [(case.call, true), (wrong, false)] {
                let check =
                    pollster::block_on(check(&gpu, &case, &shader(&call, &gpu.capabilities)));
                assert_eq!(check.expect("the device lives").ok(), ok, "{call:?}");
            }
            n_caught += 1;
        }
        assert_eq!(n_caught, 13);
    }
}
