//! Model files: what is read from good ones, and why bad ones are refused.

#[path = "../common/files.rs"]
#[macro_use]
mod common;

mod bad_folders;
mod bad_gguf;
mod bad_sidecars;
mod costs;
mod efforts_and_hashes;
mod good;
mod lora;
mod mutations;
mod paths;
mod sidecar;
mod written;
