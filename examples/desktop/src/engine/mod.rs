//! The engine on a thread of its own. The window sends [`Command`]s and takes [`Event`]s; neither
//! waits for the other.

mod answer;
mod estimate;
mod worker;

pub(crate) use answer::{AnswerRequest, Path, Report};
pub(crate) use estimate::Estimate;

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Instant;

use deputy::plan::Footprint;
use deputy::sampler::SamplerParams;
use deputy::{Cancel, gpu};

use crate::problem::Problem;
use crate::settings::{LoadSettings, ModelRef};
use worker::Worker;

/// Has the window look at its events.
pub(crate) type Wake = Arc<dyn Fn() + Send + Sync>;

/// What the window asks for. Each is done before the next one begins.
pub(crate) enum Command {
    Load(LoadRequest),
    Answer(AnswerRequest),
    /// Destroys the device, as a driver's crash would.
    #[cfg(test)]
    LoseDevice,
}

/// Which model, and how.
#[derive(Clone)]
pub(crate) struct LoadRequest {
    pub(crate) model: ModelRef,
    pub(crate) settings: LoadSettings,
    pub(crate) cancel: Cancel,
}

/// What has happened. Events of answers bear the number of their request.
pub(crate) enum Event {
    Progress {
        done: u64,
        total: u64,
    },
    Loaded(Box<ModelInfo>),
    LoadFailed(Problem),
    LoadCancelled,
    /// The prompt has so many tokens; they are being read.
    Reading {
        id: u64,
        n_prompt: usize,
    },
    Piece {
        id: u64,
        text: String,
        at: Instant,
    },
    Answered {
        id: u64,
        report: Box<Report>,
    },
    Failed {
        id: u64,
        problem: Problem,
    },
    Estimated {
        id: u64,
        estimate: Result<Box<Estimate>, Problem>,
    },
    Devices(Vec<String>),
    /// A dialog ended with a choice.
    Picked(ModelRef),
}

/// A model that is ready to answer.
#[derive(Clone)]
pub(crate) struct ModelInfo {
    pub(crate) model: ModelRef,
    pub(crate) settings: LoadSettings,
    pub(crate) device: String,
    /// Why it runs on the CPU though a GPU was welcome.
    pub(crate) fallback: Option<String>,
    pub(crate) footprint: Footprint,
    pub(crate) n_ctx: u32,
    /// Positions that the model could have.
    pub(crate) model_ctx: u32,
    pub(crate) sampler: SamplerParams,
    /// What its routers take where nothing is asked for; `None` without routers.
    pub(crate) effort: Option<f32>,
    pub(crate) has_template: bool,
}

/// The thread, as the window sees it.
pub(crate) struct Engine {
    commands: Sender<Command>,
    events: Receiver<Event>,
    sender: Sender<Event>,
    wake: Wake,
    worker: thread::JoinHandle<()>,
}

impl Engine {
    /// Starts the thread.
    pub(crate) fn start(wake: Wake) -> Self {
        let (commands, received) = channel();
        let (sender, events) = channel();
        let outbox = Outbox {
            events: sender.clone(),
            wake: wake.clone(),
        };
        let worker = thread::spawn(move || Worker::new(outbox).run(&received));
        Self {
            commands,
            events,
            sender,
            wake,
            worker,
        }
    }

    pub(crate) fn send(&self, command: Command) {
        // A thread that has ended is noticed by `next_event`.
        let _ = self.commands.send(command);
    }

    /// The next event, if there is one.
    pub(crate) fn next_event(&self) -> Option<Event> {
        // This end keeps a sender, so there is no error but that nothing is there.
        self.events.try_recv().ok()
    }

    /// Whether the thread has ended, which only a defect can bring about.
    pub(crate) fn is_dead(&self) -> bool {
        self.worker.is_finished()
    }

    /// What other threads report through.
    pub(crate) fn outbox(&self) -> Outbox {
        Outbox {
            events: self.sender.clone(),
            wake: self.wake.clone(),
        }
    }

    /// Looks for devices on a thread of its own: drivers may take a second.
    pub(crate) fn list_devices(&self) {
        let outbox = self.outbox();
        thread::spawn(move || {
            let adapters = pollster::block_on(gpu::adapters());
            let names = adapters.into_iter().map(|adapter| adapter.name);
            outbox.send(Event::Devices(names.collect()));
        });
    }

    /// Finds out what a model would need, on a thread of its own, since the engine may be
    /// answering.
    pub(crate) fn estimate(&self, id: u64, request: LoadRequest) {
        let outbox = self.outbox();
        thread::spawn(move || {
            let estimate = pollster::block_on(Estimate::new(request)).map(Box::new);
            outbox.send(Event::Estimated { id, estimate });
        });
    }
}

/// Where a thread puts its events.
#[derive(Clone)]
pub(crate) struct Outbox {
    events: Sender<Event>,
    wake: Wake,
}

impl Outbox {
    pub(crate) fn send(&self, event: Event) {
        // A window that is closed needs no events.
        if self.events.send(event).is_ok() {
            (self.wake)();
        }
    }
}
