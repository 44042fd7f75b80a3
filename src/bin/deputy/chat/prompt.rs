//! Reading lines from a person.

use rustyline::Editor;
use rustyline::config::Config;
use rustyline::error::ReadlineError;
use rustyline::history::MemHistory;

use crate::output;

/// A line editor with a history that ends with the program.
pub(super) struct Prompt(Editor<(), MemHistory>);

/// What a person entered.
pub(super) enum Line {
    Text(String),
    /// Ctrl-C.
    Interrupted,
    /// Ctrl-D.
    End,
}

impl Prompt {
    pub(super) fn new() -> rustyline::Result<Self> {
        let config = Config::builder().auto_add_history(true).build();
        Editor::with_history(config, MemHistory::new()).map(Self)
    }

    /// A line, or several where all but the last end with a backslash.
    pub(super) fn read(&mut self) -> rustyline::Result<Line> {
        let mut text = String::new();
        let mut prompt = "> ";
        let styled = |prompt: &str| {
            if output::colours() {
                format!("\x1b[1;36m{prompt}\x1b[0m")
            } else {
                prompt.to_owned()
            }
        };
        loop {
            match self.0.readline(&(prompt, styled(prompt))) {
                Ok(line) => match line.strip_suffix('\\') {
                    Some(line) => {
                        text.push_str(line);
                        text.push('\n');
                        prompt = "… ";
                    }
                    None => return Ok(Line::Text(text + &line)),
                },
                Err(ReadlineError::Interrupted) => return Ok(Line::Interrupted),
                Err(ReadlineError::Eof) => return Ok(Line::End),
                Err(error) => return Err(error),
            }
        }
    }
}
