//! `deputy generate --prompts`: continues many texts, several at a time.

use std::ops::ControlFlow;
use std::path::Path;
use std::time::Instant;

use deputy::{Engine, GenerateOptions, Generation, SessionOptions, StopReason};
use serde_json::json;

use crate::args::Global;
use crate::failure::Failure;
use crate::interrupt::Guard;
use crate::{model, output, text};

/// What is asked of a batch.
pub(crate) struct Batch<'a> {
    /// A file with a prompt on each line.
    pub(crate) file: &'a Path,
    /// Sequences at a time.
    pub(crate) n_sequences: u32,
    /// Control tokens in the texts are plain text.
    pub(crate) plain: bool,
    /// Print ids instead of text.
    pub(crate) ids: bool,
}

pub(crate) async fn run(
    batch: &Batch<'_>,
    engine: &Engine,
    mut options: GenerateOptions,
    global: &Global,
) -> Result<(), Failure> {
    let (lines, prompts) = prompts(batch, engine)?;
    let session_options = SessionOptions {
        n_sequences: batch.n_sequences.min(prompts.len() as u32),
        ..Default::default()
    };
    let mut session = model::session(engine, session_options, global).await?;
    let guard = Guard::new();
    options.cancel = guard.cancel.clone();
    options.continues = true;
    let most = options.max_tokens.map_or(0, |n| n * prompts.len());
    let bar = output::count_bar("answering", most);
    let start = Instant::now();
    let mut on_piece = |_: usize, _: deputy::Piece<'_>| {
        bar.inc(1);
        ControlFlow::Continue(())
    };
    let answers = session.generate_batch(&prompts, &options, &mut on_piece);
    let answers = answers.await;
    let time = start.elapsed();
    bar.finish_and_clear();
    drop(guard);
    let answers = answers?;

    let show_ids = batch.ids || engine.tokenizer().is_err();
    for (i, (answer, line)) in answers.iter().zip(&lines).enumerate() {
        if global.json {
            let mut json = output::generation_json(answer);
            json["prompt"] = json!(line);
            output::print_json(&json)?;
        } else if show_ids {
            output::print(&format!("{}\n", output::ids(&answer.ids)))?;
        } else {
            let between = if i == 0 { "" } else { "\n" };
            output::print_answer(&format!("{between}{line}{}\n", answer.text))?;
        }
    }
    let count = |n: fn(&Generation) -> usize| answers.iter().map(n).sum::<usize>();
    let n_tokens = count(|answer| answer.ids.len());
    output::remark(&format!(
        "{}, {}, {} in {}, {:.1} tok/s in all",
        output::number(answers.len(), "prompt"),
        output::number(count(|answer| answer.n_prompt), "prompt token"),
        output::number(n_tokens, "token"),
        output::duration(time),
        n_tokens as f64 / time.as_secs_f64(),
    ));
    if answers
        .iter()
        .any(|answer| answer.stop == StopReason::Cancelled)
    {
        return Err(Failure::Interrupted);
    }
    Ok(())
}

/// The lines that are not empty, and their tokens.
fn prompts(batch: &Batch<'_>, engine: &Engine) -> Result<(Vec<String>, Vec<Vec<u32>>), Failure> {
    let text = text::read(batch.file)?;
    let mut lines = vec![];
    let mut prompts = vec![];
    for (n, line) in text.lines().enumerate() {
        if line.is_empty() {
            continue;
        }
        let prompt = engine.encode_prompt(line, !batch.plain)?;
        // Before the first is answered, and with the line, which the session does not know.
        if prompt.len() >= engine.n_ctx() as usize {
            return Err(Failure::Content {
                file: format!("{}: line {}", batch.file.display(), n + 1),
                expected: format!("fewer than the context's {} tokens", engine.n_ctx()),
                found: prompt.len().to_string(),
            });
        }
        lines.push(line.to_owned());
        prompts.push(prompt);
    }
    if prompts.is_empty() {
        return Err(Failure::Content {
            file: batch.file.display().to_string(),
            expected: "a prompt on each line".to_owned(),
            found: "none".to_owned(),
        });
    }
    Ok((lines, prompts))
}
