//! Language models on any GPU through WebGPU, and on the CPU where there is none.
//!
//! An [`Engine`] is a model on a device, a [`Session`] holds sequences with their caches, and
//! [`Session::generate`] answers a prompt. Everything is async, so that the same code serves a
//! browser; natively any executor will do, `pollster::block_on` for one.
//!
//! ```
//! use std::ops::ControlFlow;
//!
//! use deputy::tokenizer::{Message, RenderOptions};
//! use deputy::{DeviceChoice, Engine, GenerateOptions, LoadOptions, SessionOptions};
//!
//! # pollster::block_on(async {
//! // A folder as Hugging Face lays it out, or a GGUF file. `DeviceChoice::Auto` prefers a GPU.
//! let options = LoadOptions { device: DeviceChoice::Cpu, ..Default::default() };
//! let engine = Engine::load("tests/data/models/qwen3", options, &mut |_progress| {}).await?;
//! let mut session = engine.session(SessionOptions::default()).await?;
//!
//! let messages = [Message::new("user", "Hello!")];
//! let prompt = engine.encode_chat(&messages, &RenderOptions::default())?;
//! let options = GenerateOptions { max_tokens: Some(16), ..Default::default() };
//! let answer = session
//!     .generate(&prompt, &options, &mut |piece| {
//!         print!("{}", piece.text);
//!         ControlFlow::Continue(())
//!     })
//!     .await?;
//! println!("\n{} tokens, {}", answer.ids.len(), answer.stop.name());
//! # Ok::<(), deputy::Error>(())
//! # }).expect("the example runs");
//! ```
//!
//! Below the engine each stage is plain data that can be looked at: [`file::ModelFile`] (named
//! tensors), [`model::Model`] (configuration and [`graph::Graph`]), [`plan::Plan`] (kernel calls),
//! run by [`gpu`] or [`reference`](mod@reference). ARCHITECTURE.md has the map.

#![deny(clippy::unwrap_used)]

pub mod branch;
#[cfg(feature = "default-model")]
mod default_model;
mod engine;
mod error;
pub mod file;
#[cfg(feature = "fit")]
pub mod fit;
pub mod gpu;
pub mod graph;
pub mod kernels;
pub mod model;
pub mod plan;
pub mod reference;
pub mod sampler;
mod self_test;
mod session;
pub mod tensor;
pub mod tokenizer;

#[cfg(feature = "default-model")]
pub use default_model::*;
pub use engine::*;
pub use error::{Error, ErrorKind};
pub use self_test::*;
pub use session::*;
