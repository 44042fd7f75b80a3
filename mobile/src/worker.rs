//! The thread that an engine's work runs on, and what holds it.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::thread::{self, JoinHandle, ThreadId};
use std::time::{Duration, Instant};

use deputy::Cancel;
use futures_channel::oneshot;

use crate::DeputyError;

type Job = Box<dyn FnOnce() + Send>;

/// A lock that a panic elsewhere does not spoil: what it guards is replaced whole or not at all.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A result that comes from the engine's thread: a future, or something to [wait](Pending::wait) for.
#[must_use = "the work is done all the same, but its result is lost"]
pub struct Pending<T> {
    receiver: oneshot::Receiver<Result<T, DeputyError>>,
    worker: ThreadId,
}

impl<T> Pending<T> {
    /// Blocks until it is there.
    ///
    /// # Errors
    /// What the work ended with; [`DeputyError::InCallback`] on the engine's own thread.
    pub fn wait(self) -> Result<T, DeputyError> {
        if thread::current().id() == self.worker {
            return Err(DeputyError::InCallback);
        }
        pollster::block_on(self)
    }
}

impl<T> Future for Pending<T> {
    type Output = Result<T, DeputyError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let received = Pin::new(&mut self.receiver).poll(context);
        received.map(|result| result.unwrap_or(Err(DeputyError::Closed)))
    }
}

/// A thread that does one job after another.
pub(crate) struct Worker {
    jobs: Mutex<Option<Sender<Job>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    id: ThreadId,
    pub(crate) gate: Arc<Gate>,
}

impl Worker {
    pub(crate) fn start() -> io::Result<Self> {
        let (sender, jobs) = mpsc::channel::<Job>();
        let gate = Arc::new(Gate::default());
        let at = gate.clone();
        let thread = thread::Builder::new()
            .name("deputy".into())
            .spawn(move || {
                for job in jobs {
                    at.set(|state| state.works = true);
                    job();
                    at.set(|state| state.works = false);
                }
            })?;
        Ok(Self {
            jobs: Mutex::new(Some(sender)),
            id: thread.thread().id(),
            thread: Mutex::new(Some(thread)),
            gate,
        })
    }

    /// Does this after everything that was asked for before. A panic becomes an error.
    pub(crate) fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, DeputyError> + Send + 'static,
    ) -> Pending<T> {
        let (sender, receiver) = oneshot::channel();
        let job = move || {
            let done = catch_unwind(AssertUnwindSafe(work));
            let result = done.unwrap_or_else(|payload| Err(DeputyError::panicked(&*payload)));
            // Nobody may be waiting any more.
            let _ = sender.send(result);
        };
        if let Some(jobs) = &*lock(&self.jobs) {
            // It fails once the thread has ended; then the receiver finds no sender.
            let _ = jobs.send(Box::new(job));
        }
        Pending {
            receiver,
            worker: self.id,
        }
    }

    /// Whether this is its thread.
    pub(crate) fn is_here(&self) -> bool {
        thread::current().id() == self.id
    }

    /// Takes no more jobs; waits for the thread unless this is it.
    pub(crate) fn stop(&self) {
        drop(lock(&self.jobs).take());
        let thread = lock(&self.thread).take();
        if let Some(thread) = thread.filter(|_| !self.is_here()) {
            thread.join().expect("jobs catch their panics");
        }
    }
}

/// Where answers are held while the engine is paused.
#[derive(Default)]
pub(crate) struct Gate {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    paused: bool,
    /// The thread is on a job.
    works: bool,
    /// The job is held here.
    held: bool,
}

impl Gate {
    fn set(&self, change: impl FnOnce(&mut State)) {
        change(&mut lock(&self.state));
        self.changed.notify_all();
    }

    /// Returns once the engine is not paused or the answer was cancelled.
    pub(crate) fn pass(&self, cancel: &Cancel) {
        let mut state = lock(&self.state);
        while state.paused && !cancel.is_cancelled() {
            if !state.held {
                state.held = true;
                self.changed.notify_all();
            }
            state = wait(&self.changed, state, None);
        }
        state.held = false;
    }

    pub(crate) fn pause(&self) {
        self.set(|state| state.paused = true);
    }

    pub(crate) fn resume(&self) {
        self.set(|state| state.paused = false);
    }

    /// Has the one that is held look whether it was cancelled.
    pub(crate) fn look(&self) {
        self.set(|_| {});
    }

    /// Waits until nothing is computed, and says whether that came in time.
    pub(crate) fn is_still(&self, within: Duration) -> bool {
        let end = Instant::now() + within;
        let mut state = lock(&self.state);
        while state.works && !state.held {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            state = wait(&self.changed, state, Some(left));
        }
        true
    }
}

fn wait<'a, T>(
    changed: &Condvar,
    guard: MutexGuard<'a, T>,
    within: Option<Duration>,
) -> MutexGuard<'a, T> {
    match within {
        None => changed.wait(guard).unwrap_or_else(PoisonError::into_inner),
        Some(time) => {
            let waited = changed.wait_timeout(guard, time);
            waited.unwrap_or_else(PoisonError::into_inner).0
        }
    }
}
