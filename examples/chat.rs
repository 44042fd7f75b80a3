//! Answers one question: `cargo run --release --example chat -- 'Why is the sky blue?' [path/to/model]`

use std::io::Write;
use std::ops::ControlFlow;

use deputy::file::ModelFile;
use deputy::tokenizer::{Message, RenderOptions};
use deputy::{Engine, Error, GenerateOptions, LoadOptions, Piece, Progress, SessionOptions};

fn main() {
    let mut args = std::env::args().skip(1);
    let Some(question) = args.next() else {
        eprintln!("usage: chat QUESTION [MODEL]");
        std::process::exit(2);
    };
    let model = args.next();
    if let Err(error) = pollster::block_on(answer(&question, model.as_deref())) {
        eprintln!("error: {error}");
        std::process::exit(1);
    }
}

async fn answer(question: &str, model: Option<&str>) -> Result<(), Error> {
    let file = match model {
        Some(path) => ModelFile::open_path(path.as_ref()).await?,
        None => deputy::default_model().await?,
    };
    let mut show = |progress: Progress| {
        eprint!(
            "\rloading {:3} %",
            100 * progress.done / progress.total.max(1)
        );
    };
    let engine = Engine::from_file(file, LoadOptions::default(), &mut show).await?;
    eprintln!("\rloaded {} on {}", engine.name(), engine.device());

    let messages = [Message::new("user", question)];
    let prompt = engine.encode_chat(&messages, &RenderOptions::default())?;
    let mut session = engine.session(SessionOptions::default()).await?;
    let mut print = |piece: Piece<'_>| {
        print!("{}", piece.text);
        let _ = std::io::stdout().flush();
        ControlFlow::Continue(())
    };
    let answer = session
        .generate(&prompt, &GenerateOptions::default(), &mut print)
        .await?;
    println!();
    eprintln!(
        "{} tokens at {:.1} tok/s",
        answer.ids.len(),
        answer.decode_tps()
    );
    Ok(())
}
