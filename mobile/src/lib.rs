//! deputy as a library that an app links.
//!
//! An [`Engine`] is a model on a device: heavy, one of it. A [`Conversation`] is light. Work runs on a thread that
//! belongs to the engine, and callbacks come on it; whoever asks gets a [`Pending`], a future that may also be waited
//! for.
//!
//! ```
//! use std::ops::ControlFlow;
//!
//! use deputy_mobile::{AnswerOptions, ConversationOptions, Engine, EngineOptions, Source};
//!
//! # fn main() -> Result<(), deputy_mobile::DeputyError> {
//! let options = EngineOptions { device: Some("cpu".into()), ..Default::default() };
//! let engine = Engine::open(Source::of(None)?, options, None)?.wait()?;
//! let conversation = engine.conversation(ConversationOptions::default())?;
//! let options = AnswerOptions { max_tokens: Some(16), ..Default::default() };
//! let print = Box::new(|text: &str| {
//!     print!("{text}");
//!     Ok(ControlFlow::Continue(()))
//! });
//! let answer = conversation.send("Hello!", options, print)?.wait()?;
//! println!("\n{} tokens, {:?}", answer.n_tokens, answer.stop);
//! # Ok(())
//! # }
//! ```
//!
//! This crate has two faces for other languages: the C interface of `include/deputy.h` (feature `c`), and what the
//! generated bindings for Kotlin, Swift and Python call (feature `uniffi`).

#![deny(clippy::unwrap_used)]
// That a session is `Send` follows from types of wgpu that are nested more than 128 deep.
#![recursion_limit = "256"]

mod conversation;
mod engine;
mod error;
mod options;
mod worker;

pub use conversation::{Conversation, OnText};
pub use engine::{Engine, OnProgress, Source, model_info};
pub use error::DeputyError;
pub use options::*;
pub use worker::Pending;

#[cfg(feature = "uniffi")]
pub mod bindings;
#[cfg(feature = "c")]
pub mod c;

#[cfg(feature = "uniffi")]
uniffi::setup_scaffolding!("deputy");
