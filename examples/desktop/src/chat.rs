//! A conversation, and what can be done to it.

use serde::{Deserialize, Serialize};

/// Letters of a title that is taken from the first question.
const MAX_TITLE: usize = 48;

/// A conversation as it lies on disk.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Chat {
    /// Names its file.
    #[serde(skip)]
    pub(crate) id: String,
    /// Given by the user; else the first question serves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) title: Option<String>,
    /// Milliseconds since 1970.
    pub(crate) created_ms: u64,
    /// Of its last change, in milliseconds since 1970.
    pub(crate) updated_ms: u64,
    pub(crate) messages: Vec<Message>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Message {
    pub(crate) role: Role,
    pub(crate) text: String,
    /// How an answer was made; `None` for one that was cut short by a failure, and for questions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) answer: Option<Answer>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Role {
    User,
    Assistant,
}

impl Role {
    /// As chat templates name it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Role::User => "user",
            Role::Assistant => "assistant",
        }
    }
}

/// How an answer was made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Answer {
    pub(crate) model: String,
    pub(crate) stop: Stop,
    pub(crate) n_tokens: usize,
    pub(crate) first_token_ms: f64,
    pub(crate) tokens_per_second: f64,
}

/// Why an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Stop {
    /// The model ended it.
    End,
    /// The context has no position left.
    ContextFull,
    /// The user stopped it.
    Stopped,
}

impl Message {
    fn new(role: Role, text: impl Into<String>) -> Self {
        Self {
            role,
            text: text.into(),
            answer: None,
        }
    }
}

impl Chat {
    pub(crate) fn new(id: String, now_ms: u64) -> Self {
        Self {
            id,
            created_ms: now_ms,
            updated_ms: now_ms,
            ..Self::default()
        }
    }

    /// What a list shows.
    pub(crate) fn title(&self) -> String {
        if let Some(title) = &self.title {
            return title.clone();
        }
        let Some(first) = self.messages.first() else {
            return "New chat".to_owned();
        };
        let words: Vec<&str> = first.text.split_whitespace().collect();
        let line = words.join(" ");
        match line.chars().count() > MAX_TITLE {
            true => line.chars().take(MAX_TITLE - 1).chain(['…']).collect(),
            false => line,
        }
    }

    /// Adds a question, and the message that its answer is written into.
    pub(crate) fn ask(&mut self, text: &str) {
        self.messages.push(Message::new(Role::User, text));
        self.begin_answer();
    }

    /// Whether there is a last question, answered or not.
    pub(crate) fn can_retry(&self) -> bool {
        self.messages.iter().any(|m| m.role == Role::User)
    }

    /// Forgets the last answer, if there is one, and makes room for another; `false` where nothing
    /// was asked.
    pub(crate) fn retry(&mut self) -> bool {
        let last = self.messages.iter().rposition(|m| m.role == Role::User);
        let Some(last) = last else {
            return false;
        };
        self.messages.truncate(last + 1);
        self.begin_answer();
        true
    }

    /// Asks another question in place of the one at `at`; what came behind it is forgotten.
    /// `false` where there is no question.
    pub(crate) fn edit(&mut self, at: usize, text: &str) -> bool {
        if self.messages.get(at).is_none_or(|m| m.role != Role::User) {
            return false;
        }
        self.messages.truncate(at);
        self.ask(text);
        true
    }

    fn begin_answer(&mut self) {
        self.messages.push(Message::new(Role::Assistant, ""));
    }

    /// The answer that is being written.
    pub(crate) fn open_answer(&mut self) -> Option<&mut Message> {
        let last = self.messages.last_mut();
        last.filter(|m| m.role == Role::Assistant)
    }

    /// Ends an answer that failed: what there is of it is kept, an empty one is not.
    pub(crate) fn abandon_answer(&mut self) {
        if self.open_answer().is_some_and(|m| m.text.is_empty()) {
            self.messages.pop();
        }
    }

    /// What the model is shown: system prompt, questions and answers, without the empty one that
    /// is to be written.
    pub(crate) fn prompt(&self, system: &str) -> Vec<(&'static str, String)> {
        let system = Some(system.trim()).filter(|text| !text.is_empty());
        let system = system.map(|text| ("system", text.to_owned()));
        let said = self.messages.iter().filter(|m| !m.text.is_empty());
        let said = said.map(|m| (m.role.name(), m.text.clone()));
        system.into_iter().chain(said).collect()
    }
}
