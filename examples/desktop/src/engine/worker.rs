//! What the engine's thread does: load, answer.

use std::sync::mpsc::Receiver;

use deputy::file::ModelFile;
use deputy::{Engine, Error, Progress, Session, SessionOptions};

use super::{Command, Event, LoadRequest, ModelInfo, Outbox, estimate};
use crate::problem::Problem;
use crate::settings::ModelRef;
use crate::store::cache_folder;

pub(super) struct Worker {
    pub(super) outbox: Outbox,
    pub(super) session: Option<Session>,
}

impl Worker {
    pub(super) fn new(outbox: Outbox) -> Self {
        Self {
            outbox,
            session: None,
        }
    }

    /// Until the window is closed.
    pub(super) fn run(mut self, commands: &Receiver<Command>) {
        for command in commands {
            match command {
                Command::Load(request) => {
                    // Two models at a time may not fit.
                    self.session = None;
                    let event = match pollster::block_on(self.load(&request)) {
                        Ok(info) => Event::Loaded(Box::new(info)),
                        Err(Error::Cancelled) => Event::LoadCancelled,
                        Err(error) => Event::LoadFailed(Problem::from(&error)),
                    };
                    self.outbox.send(event);
                }
                Command::Answer(request) => pollster::block_on(self.answer(request)),
                #[cfg(test)]
                Command::LoseDevice => {
                    if let Some(session) = &self.session {
                        session.engine().destroy_device();
                    }
                }
            }
        }
    }

    async fn load(&mut self, request: &LoadRequest) -> Result<ModelInfo, Error> {
        let file = open(&request.model).await?;
        let model_ctx = deputy::model::Config::read(&file)?.n_ctx;
        let mut options = request.settings.options(model_ctx, cache_folder());
        options.cancel = request.cancel.clone();
        options.memory = estimate::free_memory(&options.device).await;
        let outbox = self.outbox.clone();
        let mut on_progress = |Progress { done, total }| {
            outbox.send(Event::Progress { done, total });
        };
        let engine = Engine::from_file(file, options, &mut on_progress).await?;
        engine.tokenizer()?;
        let session = engine.session(SessionOptions::default()).await?;
        self.session = Some(session);
        Ok(ModelInfo {
            model: request.model.clone(),
            settings: request.settings.clone(),
            device: engine.device(),
            fallback: engine.fallback(),
            footprint: engine.footprint(),
            n_ctx: engine.n_ctx(),
            model_ctx,
            sampler: engine.config().sampler,
            effort: engine
                .branches()
                .filter(|_| engine.model().graph.is_routed())
                .map(|branches| branches.effort.default_effort()),
            has_template: engine.template().is_some(),
        })
    }
}

pub(super) async fn open(model: &ModelRef) -> Result<ModelFile, Error> {
    match model {
        ModelRef::Default => deputy::default_model().await,
        ModelRef::Path(path) => Ok(ModelFile::open_path(path).await?),
    }
}
