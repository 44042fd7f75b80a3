use std::fs;

use serde_json::{Value, json};

use super::store;
use crate::chat::{Answer, Chat, Stop};
use crate::settings::{ModelRef, Settings, Theme};
use crate::store::Store;

fn answered(store: &Store) -> Chat {
    let mut chat = store.new_chat();
    chat.ask("What is 1 + 1?");
    let answer = chat.open_answer().expect("there is one");
    answer.text = "It is **2**.".to_owned();
    answer.answer = Some(Answer {
        model: "Default model".to_owned(),
        stop: Stop::Stopped,
        n_tokens: 5,
        first_token_ms: 12.5,
        tokens_per_second: 40.0,
    });
    chat
}

#[test]
fn a_chat_is_plain_json() {
    let (folder, store) = store();
    let chat = answered(&store);
    store.save_chat(&chat).unwrap();
    let file = folder.path().join(format!("chats/{}.json", chat.id));
    let found: Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
    let expected = json!({
        "created_ms": chat.created_ms,
        "updated_ms": chat.updated_ms,
        "messages": [
            {"role": "user", "text": "What is 1 + 1?"},
            {"role": "assistant", "text": "It is **2**.", "answer": {
                "model": "Default model", "stop": "stopped", "n_tokens": 5,
                "first_token_ms": 12.5, "tokens_per_second": 40.0,
            }},
        ],
    });
    assert_eq!(found, expected);
}

#[test]
fn chats_come_back_the_latest_first() {
    let (folder, store) = store();
    let mut first = answered(&store);
    first.updated_ms = 10;
    store.save_chat(&first).unwrap();
    let mut second = answered(&store);
    second.updated_ms = 20;
    store.save_chat(&second).unwrap();
    assert_ne!(first.id, second.id);
    let again = Store::open(Some(folder.path().to_owned())).unwrap();
    let (chats, errors) = again.chats();
    assert!(errors.is_empty(), "{errors:?}");
    assert_eq!(chats, [second.clone(), first.clone()]);
    store.delete_chat(&second.id).unwrap();
    store.delete_chat(&second.id).unwrap();
    assert_eq!(store.chats().0, [first]);
}

#[test]
fn a_file_that_is_no_chat_is_named_and_left_as_it_is() {
    let (folder, store) = store();
    store.save_chat(&answered(&store)).unwrap();
    for (name, text) in [
        ("cut.json", r#"{"created_ms": 1, "upd"#),
        (
            "other.json",
            r#"{"created_ms": 1, "updated_ms": 2, "messages": [], "more": 3}"#,
        ),
        (
            "role.json",
            r#"{"created_ms": 1, "updated_ms": 2, "messages": [{"role": "king", "text": ""}]}"#,
        ),
    ] {
        let file = folder.path().join("chats").join(name);
        fs::write(&file, text).unwrap();
        let (chats, errors) = store.chats();
        assert_eq!(chats.len(), 1);
        let [error] = errors.as_slice() else {
            panic!("{name}: {errors:?}");
        };
        assert!(error.to_string().contains(name), "{error}");
        assert_eq!(fs::read_to_string(&file).unwrap(), text);
        fs::remove_file(file).unwrap();
    }
}

#[test]
fn settings_come_back() {
    let (_folder, store) = store();
    let mut settings = Settings {
        theme: Theme::Dark,
        zoom: 1.25,
        ..Settings::default()
    };
    settings.remember(&ModelRef::Path("a/b.gguf".into()));
    settings.answer.effort = Some(0.25);
    settings.answer.seed = Some(u64::MAX);
    settings.load.n_ctx = Some(512);
    store.save_settings(&settings).unwrap();
    let (found, error) = store.settings();
    assert!(error.is_none(), "{error:?}");
    assert_eq!(found, settings);
}

#[test]
fn settings_that_cannot_be_read_are_set_aside() {
    let (folder, store) = store();
    let file = folder.path().join("settings.json");
    fs::write(&file, r#"{"theme": "pink"}"#).unwrap();
    let (found, error) = store.settings();
    assert_eq!(found, Settings::default());
    let error = error.expect("pink is no theme").to_string();
    assert!(
        error.contains("settings.json") && error.contains("pink"),
        "{error}"
    );
    store.save_settings(&found).unwrap();
    let aside = folder.path().join("settings.unreadable.json");
    assert!(fs::read_to_string(aside).unwrap().contains("pink"));
}

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    let (folder, _) = store();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let error = Store::open(Some(file.clone()))
        .err()
        .expect("a file is no folder");
    assert!(
        error.to_string().contains(&*file.to_string_lossy()),
        "{error}"
    );
}
