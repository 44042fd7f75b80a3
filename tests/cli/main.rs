//! The program itself, run as a person runs it. On the CPU, but for the one test that takes what adapter there is.

mod batch;
mod chat;
#[cfg(feature = "default-model")]
mod default_model;
mod devices;
mod errors;
mod files;
#[cfg(feature = "fit")]
mod fit;
mod flatten;
mod generate;
mod measure;
mod program;
mod routes;
mod sidecar;
