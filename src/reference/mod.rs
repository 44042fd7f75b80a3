//! Runs plans on the CPU: a twin of each kernel, written from its formula in plain loops and f64.
//!
//! The oracle of the tests, and the device of machines that have no GPU. A twin has its kernel's
//! name and takes the same `Params` and the same buffers.

mod add;
mod attention;
mod attention_latent;
mod bandwidth;
mod cache_copy;
mod cache_write;
mod embed;
mod flatten_rows;
mod gated_act;
mod gather_rows;
mod latent_keys;
mod latent_values;
mod linear;
mod packed;
mod quantize_rows;
mod rms_norm;
mod route;
mod sample;
mod state;

pub use add::add;
pub use attention::{attention, merge};
pub use attention_latent::attention_latent;
pub use bandwidth::copy_bandwidth;
pub use cache_copy::cache_copy;
pub use cache_write::{cache_read, cache_write};
pub use embed::embed;
pub use flatten_rows::flatten_rows;
pub use gated_act::gated_act;
pub use gather_rows::gather_rows;
pub use latent_keys::latent_keys;
pub use latent_values::latent_values;
pub use linear::{Inputs, linear};
pub use packed::Packed;
pub use quantize_rows::quantize_rows;
pub use rms_norm::rms_norm;
pub use route::{Router, place_rows, route};
pub use sample::{sample, sampler_params};
pub use state::{State, Weights, run_call};
