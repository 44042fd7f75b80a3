//! A conversation in, an answer out, and what the engine did for it.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use deputy::tokenizer::{Message, RenderOptions};
use deputy::{
    CacheUse, Cancel, Error, GenerateOptions, Generation, LayerBranches, Piece, Routes, Session,
    StopReason,
};

use super::worker::Worker;
use super::{Event, Outbox};
use crate::chat::Stop;
use crate::problem::Problem;
use crate::settings::AnswerSettings;

/// What an answer is to be made of.
pub(crate) struct AnswerRequest {
    pub(crate) id: u64,
    /// Role and text.
    pub(crate) messages: Vec<(&'static str, String)>,
    pub(crate) settings: AnswerSettings,
    pub(crate) seed: u64,
    pub(crate) cancel: Cancel,
}

/// What a finished answer took.
#[derive(Clone, Debug)]
pub(crate) struct Report {
    pub(crate) stop: Stop,
    pub(crate) n_prompt: usize,
    /// Of the prompt, what the cache still held.
    pub(crate) n_reused: usize,
    pub(crate) n_tokens: usize,
    pub(crate) first_token: Duration,
    pub(crate) prefill_tps: f64,
    pub(crate) decode_tps: f64,
    pub(crate) cache: CacheUse,
    pub(crate) path: Option<Path>,
    /// The device was lost on the way and opened again.
    pub(crate) recovered: bool,
}

/// The branches that the tokens of prompt and answer took.
#[derive(Clone, Debug, Default)]
pub(crate) struct Path {
    /// What each token reads.
    pub(crate) tokens: Vec<String>,
    /// The first of the answer's.
    pub(crate) answer_at: usize,
    /// By layer, then by token; empty for layers without a router.
    pub(crate) layers: Vec<Vec<LayerBranches>>,
    /// Of the multiply-adds of the layers, the part that ran.
    pub(crate) compute: f64,
}

impl Worker {
    pub(super) async fn answer(&mut self, request: AnswerRequest) {
        let id = request.id;
        let outbox = self.outbox.clone();
        let result = match &mut self.session {
            Some(session) => answer(session, request, &outbox).await,
            None => {
                let problem = Problem::new("No model is loaded", "", "Choose one above.");
                return outbox.send(Event::Failed { id, problem });
            }
        };
        outbox.send(match result {
            Ok(report) => Event::Answered {
                id,
                report: Box::new(report),
            },
            Err(error) => Event::Failed {
                id,
                problem: Problem::from(&error),
            },
        });
    }
}

async fn answer(
    session: &mut Session,
    request: AnswerRequest,
    outbox: &Outbox,
) -> Result<Report, Error> {
    let id = request.id;
    let engine = session.engine().clone();
    let messages = request.messages.iter();
    let messages: Vec<Message> = messages
        .map(|(role, text)| Message::new(*role, text))
        .collect();
    let prompt = engine.encode_chat(&messages, &RenderOptions::default())?;
    let n_prompt = prompt.len();
    outbox.send(Event::Reading { id, n_prompt });
    if engine.model().graph.is_routed() {
        let effort = request.settings.effort;
        session.set_routes(&effort.map_or(Routes::Trained, Routes::Effort))?;
    }
    let options = GenerateOptions {
        sampler: Some(
            request
                .settings
                .sampler(engine.config().sampler, request.seed),
        ),
        cancel: request.cancel,
        ..GenerateOptions::default()
    };
    let before = engine.load_report();
    let mut on_piece = |piece: Piece<'_>| {
        outbox.send(Event::Piece {
            id,
            text: piece.text.to_owned(),
            at: Instant::now(),
        });
        ControlFlow::Continue(())
    };
    let generation = session.generate(&prompt, &options, &mut on_piece).await?;
    Ok(Report {
        stop: stop(&generation),
        n_prompt,
        n_reused: generation.n_reused,
        n_tokens: generation.ids.len(),
        first_token: generation.time_to_first_token,
        prefill_tps: generation.prefill_tps(),
        decode_tps: generation.decode_tps(),
        cache: session.cache_use().await?,
        path: path(session, n_prompt).await?,
        recovered: engine.load_report() != before,
    })
}

fn stop(generation: &Generation) -> Stop {
    match generation.stop {
        StopReason::Eos | StopReason::Stop(_) | StopReason::Length => Stop::End,
        StopReason::ContextFull => Stop::ContextFull,
        StopReason::Cancelled => Stop::Stopped,
    }
}

/// `None` for a model without routers.
async fn path(session: &mut Session, n_prompt: usize) -> Result<Option<Path>, Error> {
    let Some(taken) = session.taken_routes(0).await? else {
        return Ok(None);
    };
    let tokenizer = session.engine().tokenizer()?;
    let n = taken.layers.iter().map(Vec::len).max().unwrap_or(0);
    let text = |&id: &u32| {
        let bytes = tokenizer.token_bytes(id).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let tokens = session.tokens(0).iter().take(n).map(text).collect();
    Ok(Some(Path {
        tokens,
        // The last token of the prompt makes the first one of the answer.
        answer_at: n_prompt.min(n),
        layers: taken.layers,
        compute: taken.compute,
    }))
}
