//! Every kernel on the machine's adapter against its CPU twin, and broken copies of each against the same tests.
//!
//! Without an adapter the tests say so and pass; with `DEPUTY_GPU=required` they fail.

#[path = "../common/mod.rs"]
mod common;
mod gpu;

mod arenas;
mod attention;
mod attention_wrong;
mod cache_copy;
mod cache_write;
mod elementwise;
mod embed;
mod flat;
mod latent;
mod latent_keys;
mod linear;
mod linear_wrong;
mod rms_norm;
mod route;
mod sample;
mod weights;

use common::compare;
use deputy::kernels::{PADDING, Row};
use gpu::DIRT;

/// The limit for sums, see the twin's f64: a few hundred f32 roundings.
const SUMS: f64 = 1e-10;

/// The limit for results of single operations.
const ELEMENTWISE: f64 = 1e-12;

/// Compares what a kernel and its twin left of an output that was [`DIRT`] before: both wrote the same elements, and
/// what they wrote is equal but for rounding.
fn check(got: &[u32], want: &[f32], max_nmse: f64) -> Result<(), String> {
    assert_eq!(got.len(), want.len(), "the same output");
    for (i, (&got, want)) in got.iter().zip(want).enumerate() {
        if (got == DIRT) != (want.to_bits() == DIRT) {
            return Err(format!(
                "element {i} is {got:#x}, expected {:#x}",
                want.to_bits()
            ));
        }
    }
    let written = || (0..got.len()).filter(|&i| got[i] != DIRT);
    let got: Vec<f32> = written().map(|i| f32::from_bits(got[i])).collect();
    let want: Vec<f32> = written().map(|i| want[i]).collect();
    compare(&got, &want, max_nmse)
}

/// An output before a kernel runs.
fn dirt(n: usize) -> (Vec<u32>, Vec<f32>) {
    (vec![DIRT; n], vec![f32::from_bits(DIRT); n])
}

/// Bits of f32, or any plain words.
fn words<T: bytemuck::NoUninit>(values: &[T]) -> &[u32] {
    bytemuck::cast_slice(values)
}

fn row(sequence: u32, position: u32) -> Row {
    Row { sequence, position }
}

const PAD: Row = Row {
    sequence: 0,
    position: PADDING,
};

/// Panics where the test lets a broken program pass.
fn expect_caught(name: &str, mistake: &str, result: Result<(), String>) {
    assert!(result.is_err(), "{name}: not caught: {mistake}");
}
