//! The C interface, of which cbindgen makes `include/deputy.h`.
//!
//! Pointers are checked for null and texts for UTF-8. Structs begin with their size, so that a program that was compiled
//! against an older header goes on working. No panic leaves this module.

#![expect(
    unsafe_code,
    reason = "pointers from C; each function says what it asks of them"
)]

mod structs;

pub use structs::*;

use std::cell::RefCell;
use std::ffi::{CStr, CString, c_char, c_void};
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::sync::Arc;
use std::time::Duration;

use crate::{Conversation, DeputyError, Engine, Message, OnProgress, Source};

/// Changes where something is no longer as it was; what is new behind the old changes nothing.
pub const DEPUTY_ABI_VERSION: u32 = 1;

/// How a call ended; deputy_last_error has the words.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It did what it was asked.
    Ok = 0,
    /// A pointer is null, a text is not UTF-8, or a number is none of its enum.
    Argument = 1,
    /// A file cannot be read, or is not what it should be.
    File = 2,
    /// The model is not supported, or its files do not fit together.
    Model = 3,
    /// More memory is needed than is allowed or there.
    Memory = 4,
    /// There is no such device, or it failed. A lost device is opened again by the next answer.
    Device = 5,
    /// The conversation is longer than the context.
    TooLong = 6,
    /// A setting is out of its range.
    Setting = 7,
    /// The conversation is being answered.
    Busy = 8,
    /// The engine was closed.
    Closed = 9,
    /// The call waits for the engine, and came from one of its callbacks.
    InCallback = 10,
    /// A defect of the library. The engine goes on.
    Panic = 11,
    /// Anything else.
    Other = 12,
}

impl Status {
    fn of(error: &DeputyError) -> Self {
        match error {
            DeputyError::File { .. } => Self::File,
            DeputyError::Model { .. } => Self::Model,
            DeputyError::Memory { .. } => Self::Memory,
            DeputyError::Device { .. } => Self::Device,
            DeputyError::TooLong { .. } => Self::TooLong,
            DeputyError::Setting { .. } => Self::Setting,
            DeputyError::Busy => Self::Busy,
            DeputyError::Closed => Self::Closed,
            DeputyError::InCallback => Self::InCallback,
            DeputyError::Panic { .. } => Self::Panic,
            DeputyError::Callback { .. } | DeputyError::Other { .. } => Self::Other,
        }
    }
}

/// Why a call cannot go on: the library's reasons, or an argument that is none.
enum Fail {
    Argument(String),
    Deputy(DeputyError),
}

impl From<DeputyError> for Fail {
    fn from(error: DeputyError) -> Self {
        Self::Deputy(error)
    }
}

thread_local! {
    static LAST_ERROR: RefCell<CString> = RefCell::default();
}

/// Where every call comes in: panics and errors become a status, their words are kept.
fn border(call: impl FnOnce() -> Result<(), Fail>) -> Status {
    let (status, text) = match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(())) => return Status::Ok,
        Ok(Err(Fail::Argument(text))) => (Status::Argument, text),
        Ok(Err(Fail::Deputy(error))) => (Status::of(&error), error.to_string()),
        Err(payload) => (Status::Panic, DeputyError::panicked(&*payload).to_string()),
    };
    LAST_ERROR.with(|last| *last.borrow_mut() = c_text(&text));
    status
}

/// A text for C, which ends at the first NUL; so NULs are left out.
fn c_text(text: &str) -> CString {
    CString::new(text.replace('\0', "")).expect("it has no NUL")
}

/// A callback's last argument.
#[derive(Clone, Copy)]
struct User(*mut c_void);

// SAFETY: the pointer is only handed back to the program, which the header tells on which thread.
unsafe impl Send for User {}

impl User {
    fn get(self) -> *mut c_void {
        self.0
    }
}

/// Sees how far loading is, in bytes of weights. Called on the engine's thread.
pub type OnProgressFn = Option<unsafe extern "C" fn(user: *mut c_void, done: u64, total: u64)>;

/// Sees a piece of an answer: whole characters in UTF-8, ending with a NUL, valid during the call. Returns whether the
/// answer goes on. Called on the engine's thread, unless DeputyAnswerOptions.callback_here says otherwise.
pub type OnTextFn =
    Option<unsafe extern "C" fn(user: *mut c_void, text: *const c_char, n_bytes: usize) -> bool>;

/// Version of this interface: compare with DEPUTY_ABI_VERSION.
#[unsafe(no_mangle)]
pub extern "C" fn deputy_abi_version() -> u32 {
    DEPUTY_ABI_VERSION
}

/// What was wrong with the last call on this thread that failed. Valid until the next one; not to be freed.
#[unsafe(no_mangle)]
pub extern "C" fn deputy_last_error() -> *const c_char {
    LAST_ERROR.with(|last| last.borrow().as_ptr())
}

/// What a model is and what it would take; the one that is compiled in where model is null. Reads the headers of its
/// files and no weights. info is to be freed with deputy_model_info_free.
///
/// # Safety
/// Pointers are null or valid, texts end with a NUL, structs are as large as their size says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn deputy_model_info(
    model: *const c_char,
    options: *const EngineOptions,
    info: *mut ModelInfo,
) -> Status {
    border(|| {
        // SAFETY: as this function's.
        let (source, options) = unsafe { (source(model)?, EngineOptions::of(options)?) };
        // SAFETY: as this function's.
        let size = unsafe { size_of_out(info, "info", ModelInfo::FIRST_SIZE) }?;
        let found = crate::model_info(&source, &options)?;
        // SAFETY: info is not null and has `size` bytes.
        unsafe { fill(info, ModelInfo::new(found, size), size) };
        Ok(())
    })
}

/// Frees the texts of a model's information. Null is fine, and so is doing it twice.
///
/// # Safety
/// info is null or what deputy_model_info filled.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn deputy_model_info_free(info: *mut ModelInfo) {
    // SAFETY: as this function's.
    if let Some(info) = unsafe { info.as_mut() } {
        // SAFETY: both come from `give`, or are null.
        unsafe {
            take_back(&mut info.name);
            take_back(&mut info.architecture);
        }
    }
}

/// Loads a model from a folder or a .gguf file; the one that is compiled in where model is null. Waits until it is
/// loaded. options and on_progress may be null. engine is to be closed with deputy_engine_close.
///
/// # Safety
/// Pointers are null or valid, texts end with a NUL, structs are as large as their size says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn deputy_engine_open(
    model: *const c_char,
    options: *const EngineOptions,
    on_progress: OnProgressFn,
    user: *mut c_void,
    engine: *mut *mut Engine,
) -> Status {
    border(|| {
        // SAFETY: as this function's.
        let out = unsafe { out(engine, "engine") }?;
        // SAFETY: as this function's.
        let (source, options) = unsafe { (source(model)?, EngineOptions::of(options)?) };
        let user = User(user);
        let on_progress = on_progress.map(|call| -> OnProgress {
            // SAFETY: the program gave this function, and the pointer with it.
            Box::new(move |done, total| unsafe { call(user.get(), done, total) })
        });
        let engine = Engine::open(source, options, on_progress)?.wait()?;
        *out = Arc::into_raw(Arc::new(engine)).cast_mut();
        Ok(())
    })
}

/// Name of the device that an engine runs on. To be freed with deputy_text_free; null for a null engine.
///
/// # Safety
/// engine is null or open.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn deputy_engine_device(engine: *const Engine) -> *mut c_char {
    let mut text = ptr::null_mut();
    border(|| {
        // SAFETY: as this function's.
        text = give(&unsafe { handle(engine, "engine") }?.info().device);
        Ok(())
    });
    text
}

/// Holds answers before their next step: an app in the background may not use the GPU. Waits up to so many
/// milliseconds for the steps on their way; still, which may be null, says whether nothing is computed any more.
///
/// # Safety
/// engine is null or open, still is null or valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn deputy_engine_pause(
    engine: *const Engine,
    within_ms: u32,
    still: *mut bool,
) -> Status {
    border(|| {
        // SAFETY: as this function's.
        let engine = unsafe { handle(engine, "engine") }?;
        let is_still = engine.pause(Duration::from_millis(within_ms.into()));
        // SAFETY: as this function's.
        if let Some(still) = unsafe { still.as_mut() } {
            *still = is_still;
        }
        Ok(())
    })
}

/// Lets answers go on.
///
/// # Safety
/// engine is null or open.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn deputy_engine_resume(engine: *const Engine) -> Status {
    border(|| {
        // SAFETY: as this function's.
        unsafe { handle(engine, "engine") }?.resume();
        Ok(())
    })
}

/// Gives back memory, a DeputyTrim; what an answer uses that is being made follows at its end. What is needed is made
/// again later.
///
/// # Safety
/// engine is null or open.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn deputy_engine_trim_memory(engine: *const Engine, trim: u32) -> Status {
    border(|| {
        use crate::Trim::{Caches, Weights};
        let trim = one_of("trim", trim, &[Caches, Weights])?;
        // SAFETY: as this function's.
        unsafe { handle(engine, "engine") }?.trim_memory(trim)?;
        Ok(())
    })
}

/// Cancels what is being answered, gives back everything and ends the handle; its conversations are closed by
/// themselves, before or after. Null is fine.
///
/// # Safety
/// engine is null or open, and not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn deputy_engine_close(engine: *mut Engine) {
    border(|| {
        if !engine.is_null() {
            // SAFETY: it comes from `Arc::into_raw` in deputy_engine_open.
            unsafe { Arc::from_raw(engine) }.close();
        }
        Ok(())
    });
}

/// Begins a conversation. options may be null. It is to be closed with deputy_conversation_close.
///
/// # Safety
/// engine is null or open, other pointers are null or valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn deputy_conversation_open(
    engine: *const Engine,
    options: *const ConversationOptions,
    conversation: *mut *mut Conversation,
) -> Status {
    border(|| {
        // SAFETY: as this function's.
        let out = unsafe { out(conversation, "conversation") }?;
        // SAFETY: as this function's.
        let (engine, options) =
            unsafe { (handle(engine, "engine")?, ConversationOptions::of(options)?) };
        *out = Arc::into_raw(Arc::new(engine.conversation(options)?)).cast_mut();
        Ok(())
    })
}

/// Adds a message of a DeputyRole without answering it: to go on with a conversation that the program has kept.
///
/// # Safety
/// conversation is null or open, text is null or ends with a NUL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn deputy_conversation_add(
    conversation: *const Conversation,
    role: u32,
    text: *const c_char,
) -> Status {
    border(|| {
        use crate::Role::{Assistant, System, User};
        let role = one_of("role", role, &[System, User, Assistant])?;
        // SAFETY: as this function's.
        let (conversation, text) =
            unsafe { (handle(conversation, "conversation")?, string(text, "text")?) };
        conversation.add(Message { role, text })?;
        Ok(())
    })
}

/// Adds the person's message and waits for its answer; where that fails, the conversation is as it was before. options,
/// on_text and answer may be null; answer is to be freed with deputy_answer_free. An answer that was stopped is
/// DEPUTY_STATUS_OK: DeputyAnswer.stop says so.
///
/// # Safety
/// conversation is null or open, other pointers are null or valid, texts end with a NUL, structs are as large as their
/// size says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn deputy_conversation_send(
    conversation: *const Conversation,
    text: *const c_char,
    options: *const AnswerOptions,
    on_text: OnTextFn,
    user: *mut c_void,
    answer: *mut Answer,
) -> Status {
    border(|| {
        // SAFETY: as this function's. The count keeps the conversation while another thread closes its handle.
        let conversation = unsafe {
            handle(conversation, "conversation")?;
            Arc::increment_strong_count(conversation);
            Arc::from_raw(conversation)
        };
        // SAFETY: as this function's.
        let (text, (options, here)) =
            unsafe { (string(text, "text")?, AnswerOptions::of(options)?) };
        let size = match answer.is_null() {
            true => 0,
            // SAFETY: as this function's.
            false => unsafe { size_of_out(answer, "answer", Answer::FIRST_SIZE) }?,
        };
        let user = User(user);
        let mut show = move |text: &str| {
            let text = c_text(text);
            let goes_on = on_text.is_none_or(|call| {
                // SAFETY: the program gave this function, and the pointer with it.
                unsafe { call(user.get(), text.as_ptr(), text.as_bytes().len()) }
            });
            Ok(match goes_on {
                true => ControlFlow::Continue(()),
                false => ControlFlow::Break(()),
            })
        };
        let made = match here {
            true => conversation.send_here(&text, options, &mut show)?,
            false => conversation.send_and_wait(&text, options, Box::new(show))?,
        };
        if !answer.is_null() {
            // SAFETY: answer is not null and has `size` bytes.
            unsafe { fill(answer, Answer::new(made, size), size) };
        }
        Ok(())
    })
}

/// Stops the answer that is being made, within a token. From any thread, callbacks included.
///
/// # Safety
/// conversation is null or open.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn deputy_conversation_cancel(conversation: *const Conversation) -> Status {
    border(|| {
        // SAFETY: as this function's.
        unsafe { handle(conversation, "conversation") }?.cancel();
        Ok(())
    })
}

/// Cancels its answer, gives back its cache and ends the handle. Null is fine.
///
/// # Safety
/// conversation is null or open, and not used again but by a deputy_conversation_send that has begun.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn deputy_conversation_close(conversation: *mut Conversation) {
    border(|| {
        if !conversation.is_null() {
            // SAFETY: it comes from `Arc::into_raw` in deputy_conversation_open.
            unsafe { Arc::from_raw(conversation) }.close();
        }
        Ok(())
    });
}

/// Frees an answer's text. Null is fine, and so is doing it twice.
///
/// # Safety
/// answer is null or what deputy_conversation_send filled.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn deputy_answer_free(answer: *mut Answer) {
    // SAFETY: as this function's.
    if let Some(answer) = unsafe { answer.as_mut() } {
        // SAFETY: it comes from `give`, or is null.
        unsafe { take_back(&mut answer.text) };
    }
}

/// Frees a text that a function returned. Null is fine.
///
/// # Safety
/// text is null or what a function of this header returned to be freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn deputy_text_free(mut text: *mut c_char) {
    // SAFETY: as this function's.
    unsafe { take_back(&mut text) };
}

/// Panics, on the engine's thread or, for a null engine, on the caller's: for tests.
///
/// # Safety
/// engine is null or open.
#[cfg(feature = "test-hooks")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn deputy_test_panic(engine: *const Engine) -> Status {
    border(|| {
        // SAFETY: as this function's.
        match unsafe { engine.as_ref() } {
            Some(engine) => Ok(engine.test_panic().wait()?),
            None => panic!("on purpose"),
        }
    })
}

fn null(name: &str) -> Fail {
    Fail::Argument(format!("{name}: expected a pointer, found null"))
}

/// What a handle points at.
///
/// # Safety
/// It is null or open.
unsafe fn handle<'a, T>(pointer: *const T, name: &str) -> Result<&'a T, Fail> {
    // SAFETY: as this function's.
    unsafe { pointer.as_ref() }.ok_or_else(|| null(name))
}

/// Where a handle is to be written, for now null.
///
/// # Safety
/// It is null or valid.
unsafe fn out<'a, T>(pointer: *mut *mut T, name: &str) -> Result<&'a mut *mut T, Fail> {
    // SAFETY: as this function's.
    let out = unsafe { pointer.as_mut() }.ok_or_else(|| null(name))?;
    *out = ptr::null_mut();
    Ok(out)
}

/// # Safety
/// It is null or ends with a NUL.
unsafe fn source(model: *const c_char) -> Result<Source, Fail> {
    // SAFETY: as this function's.
    let path = unsafe { optional(model, "model") }?;
    Ok(Source::of(path.as_deref())?)
}

/// # Safety
/// It is null or ends with a NUL.
unsafe fn optional(text: *const c_char, name: &str) -> Result<Option<String>, Fail> {
    if text.is_null() {
        return Ok(None);
    }
    // SAFETY: as this function's.
    let text = unsafe { CStr::from_ptr(text) }.to_str();
    let text =
        text.map_err(|error| Fail::Argument(format!("{name}: expected UTF-8, found {error}")))?;
    Ok(Some(text.to_owned()))
}

/// # Safety
/// It is null or ends with a NUL.
unsafe fn string(text: *const c_char, name: &str) -> Result<String, Fail> {
    // SAFETY: as this function's.
    unsafe { optional(text, name) }?.ok_or_else(|| null(name))
}

fn one_of<T: Copy>(name: &str, number: u32, all: &[T]) -> Result<T, Fail> {
    let found = all.get(number as usize).copied();
    found.ok_or_else(|| {
        let last = all.len() - 1;
        Fail::Argument(format!("{name}: expected 0 to {last}, found {number}"))
    })
}

/// A text that the program frees.
fn give(text: &str) -> *mut c_char {
    c_text(text).into_raw()
}

/// # Safety
/// It comes from [`give`], or is null.
unsafe fn take_back(text: &mut *mut c_char) {
    if !text.is_null() {
        // SAFETY: as this function's.
        drop(unsafe { CString::from_raw(*text) });
        *text = ptr::null_mut();
    }
}
