//! deputy in a web page: the library behind JavaScript's types. Elsewhere the crate is empty.
//!
//! The package around it (`web/js`) runs it in a worker: JavaScript brings files and messages,
//! everything else is the library's.

#![deny(clippy::unwrap_used)]

#[cfg(target_arch = "wasm32")]
mod answer;
#[cfg(target_arch = "wasm32")]
mod convert;
#[cfg(target_arch = "wasm32")]
mod engine;
#[cfg(target_arch = "wasm32")]
mod hash;
#[cfg(target_arch = "wasm32")]
mod options;
#[cfg(target_arch = "wasm32")]
mod source;

#[cfg(target_arch = "wasm32")]
pub use engine::WebEngine;
#[cfg(target_arch = "wasm32")]
pub use hash::Sha256;
