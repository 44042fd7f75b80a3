//! The whole window without a display, with the real engine behind it.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use eframe::egui::{Key, Modifiers, Role, vec2};
use egui_kittest::Harness;
use egui_kittest::kittest::{NodeT, Queryable};
use serde_json::Value;
use tempfile::TempDir;

use super::store;
use crate::app::App;
use crate::settings::ModelRef;
use crate::store::Store;
use crate::ui::theme;

type Window = Harness<'static, App>;

fn window_with(store: Store, model: Option<ModelRef>) -> Window {
    let app = App::new(store, model, Arc::new(|| {}));
    let harness = Harness::builder()
        .with_size(vec2(1240.0, 800.0))
        .with_context_setup(theme::install);
    harness.build_ui_state(|ui, app: &mut App| app.show(ui), app)
}

fn window() -> (TempDir, Window) {
    let (folder, store) = store();
    let mut window = window_with(store, None);
    until(&mut window, "the model is loaded", |app| {
        app.ready().is_some()
    });
    (folder, window)
}

fn until(window: &mut Window, what: &str, is_so: impl Fn(&App) -> bool) {
    let start = Instant::now();
    while !is_so(window.state()) {
        window.step();
        thread::sleep(Duration::from_millis(3));
        assert!(
            start.elapsed() < Duration::from_secs(120),
            "not yet: {what}"
        );
    }
    window.run_steps(3);
}

fn until_answered(window: &mut Window) {
    until(window, "the answer is there", |app| app.running.is_none());
}

fn type_and_send(window: &mut Window, text: &str) {
    field(window, text);
    window.key_press(Key::Enter);
    window.run_steps(2);
}

/// Types into the field that has the focus.
fn field(window: &mut Window, text: &str) {
    window.event(eframe::egui::Event::Text(text.to_owned()));
    window.run_steps(2);
}

/// The only chat on disk.
fn saved(folder: &TempDir) -> (PathBuf, Value) {
    let mut files: Vec<PathBuf> = fs::read_dir(folder.path().join("chats"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert_eq!(files.len(), 1, "{files:?}");
    let file = files.remove(0);
    let chat = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    (file, chat)
}

fn texts(chat: &Value) -> Vec<&str> {
    let messages = chat["messages"].as_array().unwrap();
    messages
        .iter()
        .map(|m| m["text"].as_str().unwrap())
        .collect()
}

#[test]
fn a_typed_question_is_answered_and_saved() {
    let (folder, mut window) = window();
    type_and_send(&mut window, "What is the capital of France?");
    assert_eq!(window.state().view.draft, "");
    until_answered(&mut window);
    let (_, chat) = saved(&folder);
    let [question, answer] = texts(&chat)[..] else {
        panic!("{chat}");
    };
    assert_eq!(question, "What is the capital of France?");
    assert!(answer.contains("Paris"), "{answer}");
    assert_eq!(chat["messages"][1]["answer"]["stop"], "end");
    window.get_by_label_contains("Paris");
    // The next question is told apart by what was said before it.
    type_and_send(&mut window, "And of Italy?");
    until_answered(&mut window);
    let (_, chat) = saved(&folder);
    assert!(texts(&chat)[3].contains("Rome"), "{chat}");
}

#[test]
fn shift_enter_makes_a_line_and_enter_sends() {
    let (folder, mut window) = window();
    field(&mut window, "My name is Anna.");
    window.key_press_modifiers(Modifiers::SHIFT, Key::Enter);
    window.run_steps(2);
    assert_eq!(window.state().view.draft, "My name is Anna.\n");
    assert!(window.state().running.is_none());
    type_and_send(&mut window, "What is my name?");
    until_answered(&mut window);
    let (_, chat) = saved(&folder);
    assert_eq!(texts(&chat)[0], "My name is Anna.\nWhat is my name?");
}

#[test]
fn escape_stops_and_retry_begins_again() {
    let (folder, mut window) = window();
    type_and_send(&mut window, "Tell me a story about a fox.");
    until(&mut window, "a word is there", |app| {
        let chat = app.chat().expect("one is shown");
        chat.messages.last().is_some_and(|m| !m.text.is_empty()) || app.running.is_none()
    });
    window.key_press(Key::Escape);
    until_answered(&mut window);
    let (_, chat) = saved(&folder);
    assert_eq!(chat["messages"][1]["answer"]["stop"], "stopped");
    let begun = texts(&chat)[1].to_owned();
    window.get_by_label("Retry").click();
    window.run_steps(2);
    until_answered(&mut window);
    let (_, chat) = saved(&folder);
    assert_eq!(chat["messages"].as_array().unwrap().len(), 2);
    assert_eq!(chat["messages"][1]["answer"]["stop"], "end");
    assert!(texts(&chat)[1].starts_with(begun.trim_end()), "{chat}");
}

#[test]
fn an_edited_question_is_answered_in_place_of_the_old_one() {
    let (folder, mut window) = window();
    type_and_send(&mut window, "What is the capital of France?");
    until_answered(&mut window);
    window.get_by_label("Edit").click();
    window.run_steps(3);
    window.key_press_modifiers(Modifiers::COMMAND, Key::A);
    field(&mut window, "What is the capital of Italy?");
    window.key_press(Key::Enter);
    window.run_steps(2);
    until_answered(&mut window);
    let (_, chat) = saved(&folder);
    let [question, answer] = texts(&chat)[..] else {
        panic!("{chat}");
    };
    assert_eq!(question, "What is the capital of Italy?");
    assert!(answer.contains("Rome"), "{answer}");
}

#[test]
fn keys_open_chats_and_dialogs() {
    let (_folder, mut window) = window();
    type_and_send(&mut window, "What is the capital of Italy?");
    until_answered(&mut window);
    let first = window.state().current.clone();
    window.key_press_modifiers(Modifiers::COMMAND, Key::N);
    window.run_steps(2);
    assert_ne!(window.state().current, first);
    assert!(
        window
            .state()
            .chat()
            .expect("one is shown")
            .messages
            .is_empty()
    );
    window.key_press_modifiers(Modifiers::COMMAND, Key::O);
    window.run_steps(3);
    window.get_by_label("Choose a model");
    window.key_press(Key::Escape);
    window.run_steps(3);
    assert!(window.state().dialog.is_none());
    window
        .get_by_role_and_label(Role::Button, "What is the capital of Italy?")
        .click();
    window.run_steps(2);
    assert_eq!(window.state().current, first);
}

#[test]
fn a_model_that_is_gone_is_said_and_the_default_helps() {
    let (folder, store) = store();
    let gone = folder.path().join("gone.gguf");
    let mut window = window_with(store, Some(ModelRef::Path(gone)));
    until(&mut window, "loading has failed", |app| {
        !app.notices.is_empty()
    });
    window.get_by_label_contains("gone.gguf");
    window.get_by_label("Use the default model").click();
    window.run_steps(2);
    until(&mut window, "the model is loaded", |app| {
        app.ready().is_some()
    });
    assert!(window.state().notices.is_empty());
    type_and_send(&mut window, "What is the capital of France?");
    until_answered(&mut window);
    assert!(texts(&saved(&folder).1)[1].contains("Paris"));
}

#[test]
fn a_chat_that_cannot_be_saved_stays_in_the_window() {
    let (folder, mut window) = window();
    fs::remove_dir_all(folder.path().join("chats")).unwrap();
    type_and_send(&mut window, "What is the capital of France?");
    until_answered(&mut window);
    let chat = window.state().chat().expect("one is shown");
    assert!(chat.messages[1].text.contains("Paris"));
    window.get_by_label("The chat cannot be saved");
}

#[test]
fn what_the_engine_does_is_drawn() {
    let (_folder, mut window) = window();
    type_and_send(&mut window, "What is the capital of France?");
    until_answered(&mut window);
    window.get_by_label("tokens a second");
    window.get_by_label("Time to first token");
    window.get_by_label("If all were dense");
    window.get_by_label("low-rank");
    let last = window.state().last.as_ref().expect("there was an answer");
    let path = last.report.as_ref().and_then(|report| report.path.as_ref());
    assert!(path.is_some_and(|path| !path.tokens.is_empty()));
}

#[test]
fn every_widget_has_a_name() {
    let (_folder, mut window) = window();
    window.run_steps(2);
    let nameless: Vec<String> = window
        .root()
        .children_recursive()
        .filter(|node| node.accesskit_node().role() == Role::Button)
        .filter(|node| {
            node.accesskit_node()
                .label()
                .is_none_or(|label| label.is_empty())
        })
        .map(|node| format!("{node:?}"))
        .collect();
    assert!(nameless.is_empty(), "{nameless:?}");
}
