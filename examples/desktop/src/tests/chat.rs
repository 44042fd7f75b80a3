use crate::chat::{Chat, Role};

/// Asks, and answers in the engine's place.
fn turn(chat: &mut Chat, question: &str, answer: &str) {
    chat.ask(question);
    chat.open_answer().expect("there is one").text = answer.to_owned();
}

fn texts(chat: &Chat) -> Vec<(Role, &str)> {
    let messages = chat.messages.iter();
    messages.map(|m| (m.role, m.text.as_str())).collect()
}

fn two_turns() -> Chat {
    let mut chat = Chat::new("1".to_owned(), 7);
    turn(&mut chat, "first?", "one");
    turn(&mut chat, "second?", "two");
    chat
}

#[test]
fn a_prompt_has_the_system_message_and_no_open_answer() {
    let mut chat = two_turns();
    chat.ask("third?");
    let prompt = chat.prompt("  Be brief. ");
    let expected = [
        ("system", "Be brief."),
        ("user", "first?"),
        ("assistant", "one"),
        ("user", "second?"),
        ("assistant", "two"),
        ("user", "third?"),
    ];
    assert_eq!(prompt, expected.map(|(role, text)| (role, text.to_owned())));
    assert_eq!(chat.prompt(" \n").first().map(|m| m.0), Some("user"));
}

#[test]
fn retry_forgets_the_last_answer_alone() {
    let mut chat = two_turns();
    assert!(chat.retry());
    let expected = [
        (Role::User, "first?"),
        (Role::Assistant, "one"),
        (Role::User, "second?"),
        (Role::Assistant, ""),
    ];
    assert_eq!(texts(&chat), expected);
}

#[test]
fn retry_answers_a_question_whose_answer_failed() {
    let mut chat = two_turns();
    chat.ask("third?");
    chat.abandon_answer();
    assert_eq!(chat.messages.len(), 5);
    assert!(chat.retry());
    assert_eq!(
        texts(&chat)[4..],
        [(Role::User, "third?"), (Role::Assistant, "")]
    );
    assert!(!Chat::default().retry(), "nothing was asked");
}

#[test]
fn an_edited_question_replaces_what_came_behind_it() {
    let mut chat = two_turns();
    assert!(chat.edit(0, "other?"));
    assert_eq!(
        texts(&chat),
        [(Role::User, "other?"), (Role::Assistant, "")]
    );
}

#[test]
fn only_questions_can_be_edited() {
    let mut chat = two_turns();
    let before = chat.clone();
    assert!(!chat.edit(1, "an answer"));
    assert!(!chat.edit(9, "nothing"));
    assert_eq!(chat, before);
}

#[test]
fn a_failed_answer_keeps_the_text_that_it_has() {
    let mut chat = two_turns();
    chat.ask("third?");
    chat.open_answer().expect("there is one").text = "thr".to_owned();
    chat.abandon_answer();
    assert_eq!(texts(&chat)[5], (Role::Assistant, "thr"));
    assert_eq!(chat.messages[5].answer, None);
}

#[test]
fn a_title_is_one_short_line_unless_given() {
    let mut chat = Chat::default();
    assert_eq!(chat.title(), "New chat");
    chat.ask(&format!("What\n is   {}?", "ü".repeat(90)));
    assert!(chat.title().starts_with("What is ü"));
    assert_eq!(chat.title().chars().count(), 48);
    chat.title = Some("Letters".to_owned());
    assert_eq!(chat.title(), "Letters");
}
