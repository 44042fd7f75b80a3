//! Whole models against transformers and against the goldens of real ones, on the CPU and on a GPU.

mod ahead;
mod arenas;
mod batch;
#[cfg(feature = "default-model")]
mod default_model;
mod device;
mod golden;
mod hostile;
mod logits;
mod profile;
mod quality;
mod routed;
mod routes;
mod session;
mod support;
