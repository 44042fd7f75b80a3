//! What sort of failure an error is, for callers that do not read messages.

use super::Error;
use crate::branch;
use crate::file;
use crate::gpu;
use crate::model;
use crate::tokenizer;

/// The sort of a failure: what a program does about it. Stable, where messages are not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// There is no adapter, or it opens no device.
    NoDevice,
    /// A buffer would be larger than a device can bind.
    Limits,
    /// Memory is short, on the device or by the limit that was set.
    OutOfMemory,
    /// The device is gone, and stayed so.
    DeviceLost,
    /// The prompt is longer than the context.
    ContextFull,
    /// A file is cut short, contradicts itself or holds what no model can.
    Damaged,
    /// Bytes could not be read.
    Io,
    /// No model, or one that this engine does not run.
    Unsupported,
    /// A setting or a text that cannot be used.
    Input,
    /// Loading was stopped from outside.
    Cancelled,
    /// The engine or the driver is at fault.
    Internal,
}

impl ErrorKind {
    /// In lower case with underscores: `context_full`.
    pub const fn name(self) -> &'static str {
        match self {
            ErrorKind::NoDevice => "no_device",
            ErrorKind::Limits => "limits",
            ErrorKind::OutOfMemory => "out_of_memory",
            ErrorKind::DeviceLost => "device_lost",
            ErrorKind::ContextFull => "context_full",
            ErrorKind::Damaged => "damaged",
            ErrorKind::Io => "io",
            ErrorKind::Unsupported => "unsupported",
            ErrorKind::Input => "input",
            ErrorKind::Cancelled => "cancelled",
            ErrorKind::Internal => "internal",
        }
    }
}

impl Error {
    /// What sort of failure it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Error::File(error) => of_file(error),
            Error::Model(error) => of_model(error),
            Error::Branch(error) => of_branch(error),
            Error::Tokenizer(error) => of_tokenizer(error),
            Error::Gpu(error) => of_gpu(error),
            Error::Memory { .. } => ErrorKind::OutOfMemory,
            Error::Binding { .. } => ErrorKind::Limits,
            Error::PromptTooLong { .. } | Error::TextTooLong { .. } => ErrorKind::ContextFull,
            Error::Cancelled => ErrorKind::Cancelled,
            Error::NotFinite { .. } => ErrorKind::Internal,
            Error::Sampler(_)
            | Error::Routes { .. }
            | Error::Snapshot { .. }
            | Error::Cache { .. }
            | Error::Context { .. }
            | Error::EmptyPrompt
            | Error::UnknownToken { .. }
            | Error::NoTokenizer { .. } => ErrorKind::Input,
        }
    }
}

fn of_file(error: &file::Error) -> ErrorKind {
    use file::Error::*;
    match error {
        Io { .. } => ErrorKind::Io,
        NotAModel { .. } | PytorchOnly { .. } | ElementType { .. } => ErrorKind::Unsupported,
        _ => ErrorKind::Damaged,
    }
}

fn of_model(error: &model::Error) -> ErrorKind {
    match error {
        model::Error::File(error) => of_file(error),
        model::Error::Graph { .. } | model::Error::Unsupported { .. } => ErrorKind::Unsupported,
        _ => ErrorKind::Damaged,
    }
}

fn of_branch(error: &branch::Error) -> ErrorKind {
    match error {
        branch::Error::File(error) => of_file(error),
        branch::Error::Effort { .. } => ErrorKind::Input,
        _ => ErrorKind::Damaged,
    }
}

fn of_tokenizer(error: &tokenizer::Error) -> ErrorKind {
    use tokenizer::Error::*;
    match error {
        Unsupported { .. } => ErrorKind::Unsupported,
        Encode { .. } | Template { .. } | Refused { .. } | TemplateLimit { .. } | NoMark => {
            ErrorKind::Input
        }
        _ => ErrorKind::Damaged,
    }
}

fn of_gpu(error: &gpu::Error) -> ErrorKind {
    use gpu::Error::*;
    match error {
        NoAdapter | UnknownAdapter { .. } | Open { .. } => ErrorKind::NoDevice,
        OutOfMemory { .. } => ErrorKind::OutOfMemory,
        Lost { .. } => ErrorKind::DeviceLost,
        NoTimestamps { .. } | Shader { .. } | Driver { .. } => ErrorKind::Internal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_each_part_have_their_kind() {
        let damaged = || file::Error::Truncated {
            file: String::new(),
            what: String::new(),
            need: 1,
            have: 0,
        };
        let lost = gpu::Error::Lost {
            adapter: String::new(),
            cause: String::new(),
        };
        let cases: [(Error, ErrorKind); 7] = [
            (damaged().into(), ErrorKind::Damaged),
            (model::Error::from(damaged()).into(), ErrorKind::Damaged),
            (branch::Error::from(damaged()).into(), ErrorKind::Damaged),
            (lost.into(), ErrorKind::DeviceLost),
            (gpu::Error::NoAdapter.into(), ErrorKind::NoDevice),
            (
                Error::PromptTooLong { found: 2, limit: 1 },
                ErrorKind::ContextFull,
            ),
            (Error::EmptyPrompt, ErrorKind::Input),
        ];
        for (error, kind) in cases {
            assert_eq!(error.kind(), kind, "{error}");
        }
    }
}
