//! Answers one question: `cargo run --release --example chat -- path/to/model 'Why is the sky blue?'`

use std::io::Write;
use std::ops::ControlFlow;

use deputy::tokenizer::{Message, RenderOptions};
use deputy::{Engine, Error, GenerateOptions, LoadOptions, Piece, SessionOptions};

fn main() {
    let mut args = std::env::args().skip(1);
    let (Some(model), Some(question)) = (args.next(), args.next()) else {
        eprintln!("usage: chat MODEL QUESTION");
        std::process::exit(2);
    };
    if let Err(error) = pollster::block_on(answer(&model, &question)) {
        eprintln!("error: {error}");
        std::process::exit(1);
    }
}

async fn answer(model: &str, question: &str) -> Result<(), Error> {
    let engine = Engine::load(model, LoadOptions::default(), &mut |progress| {
        eprint!(
            "\rloading {:3} %",
            100 * progress.done / progress.total.max(1)
        );
    })
    .await?;
    eprintln!("\rloaded {model} on {}", engine.device());

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
