//! Text that appears while it is generated.

use deputy::tokenizer::{DecodeStream, StopStrings, Tokenizer};

use crate::support::{fixture_tokenizer, gguf_tokenizer, shared, shared_tokenizer};

const TEXTS: [&str; 8] = [
    "plain words",
    " leading space",
    "",
    "🦙 🦙🏽 👨‍👩‍👧 \u{1f1e9}\u{1f1ea}",
    "mixed é ü ß 世界 привет \u{10ffff}",
    "\u{fffd} replacement",
    "a\u{0}b\r\n\tc",
    "…ends in an emoji 😀",
];

fn tokenizers() -> Vec<(&'static str, Tokenizer)> {
    let mut all = vec![
        ("byte_level", fixture_tokenizer("byte_level")),
        ("sentence_piece", fixture_tokenizer("sentence_piece")),
    ];
    if shared("tokenizers").is_some() {
        all.push((
            "qwen3",
            shared_tokenizer("qwen3").expect("checked to be there"),
        ));
        all.push((
            "phi-3",
            shared_tokenizer("phi-3").expect("checked to be there"),
        ));
        all.push((
            "phi-3.gguf",
            gguf_tokenizer("tokenizers/vectors/ggml-vocab-phi-3.gguf")
                .expect("checked to be there"),
        ));
    }
    all
}

/// A small generator of pseudo-random numbers (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
}

#[test]
fn streamed_text_is_the_decoded_text_in_whole_characters() {
    for (name, tokenizer) in tokenizers() {
        for text in TEXTS {
            let ids = tokenizer.encode(text, false).expect("encodes");
            let mut stream = DecodeStream::new(&tokenizer);
            let mut streamed = String::new();
            for &id in &ids {
                let Some(part) = stream.push(id) else {
                    continue;
                };
                assert!(
                    !part.is_empty() && (text.contains('\u{fffd}') || !part.contains('\u{fffd}')),
                    "{name}: {part:?}"
                );
                streamed += &part;
                assert!(
                    text.starts_with(&streamed),
                    "{name}: {streamed:?} of {text:?}"
                );
            }
            assert_eq!(
                stream.finish(),
                "",
                "{name}: {text:?} ends in a whole character"
            );
            assert_eq!(streamed, text, "{name}");
        }
    }
}

#[test]
fn streamed_text_equals_the_decoded_text_for_any_ids() {
    for (name, tokenizer) in tokenizers() {
        let mut random = Random(7);
        for _ in 0..200 {
            let len = random.below(30);
            // Past the end of the vocabulary too.
            let n = tokenizer.n_tokens() as u64 + 5;
            let ids: Vec<u32> = (0..len).map(|_| random.below(n) as u32).collect();
            let mut bytes = Vec::new();
            let shown = ids.iter().filter(|&&id| !is_hidden(&tokenizer, id));
            shown.for_each(|&id| bytes.extend(tokenizer.token_bytes(id).unwrap_or_default()));
            let all = String::from_utf8_lossy(&bytes).into_owned();
            let mut stream = DecodeStream::continuing(&tokenizer);
            let mut streamed: String = ids.iter().filter_map(|&id| stream.push(id)).collect();
            streamed += &stream.finish();
            assert_eq!(streamed, all, "{name}: {ids:?}");
            let decoded = tokenizer.decode(&ids);
            assert!(
                all == decoded || all.strip_prefix(' ') == Some(&decoded),
                "{name}: {ids:?}"
            );
        }
    }
}

/// Special tokens; markup such as `<think>` is control, but shown.
fn is_hidden(tokenizer: &Tokenizer, id: u32) -> bool {
    tokenizer.is_control(id) && tokenizer.decode(&[id]).is_empty()
}

#[test]
fn half_a_character_waits_for_its_other_half() {
    let tokenizer = fixture_tokenizer("sentence_piece");
    let byte = |b: u8| {
        tokenizer
            .token_id(&format!("<0x{b:02X}>"))
            .expect("a token")
    };
    let mut stream = DecodeStream::new(&tokenizer);
    assert_eq!(stream.push(byte(0xF0)), None);
    assert_eq!(stream.push(byte(0x9F)), None);
    assert_eq!(stream.push(byte(0x98)), None);
    assert_eq!(stream.push(byte(0x80)).as_deref(), Some("😀"));
    // A start without its rest: shown as soon as it cannot be completed.
    assert_eq!(stream.push(byte(0xE2)), None);
    assert_eq!(stream.push(byte(b'x')).as_deref(), Some("\u{fffd}x"));
    assert_eq!(stream.push(byte(0xC3)), None);
    assert_eq!(stream.finish(), "\u{fffd}");
}

#[test]
fn only_the_first_space_of_a_text_is_dropped() {
    let tokenizer = fixture_tokenizer("sentence_piece");
    let ids = tokenizer.encode("  two", false).expect("encodes");
    assert_eq!(tokenizer.decode(&ids), "  two");
    let the = tokenizer.encode("the", false).expect("encodes");
    let mut stream = DecodeStream::continuing(&tokenizer);
    let text: String = the.iter().filter_map(|&id| stream.push(id)).collect();
    assert_eq!(text, " the");
}

/// Feeds `text` in pieces of at most `step` characters.
fn stopped(stops: &[&str], text: &str, mut next: impl FnMut() -> u64) -> (String, Option<String>) {
    let mut watch = StopStrings::new(stops.iter().copied());
    let mut shown = String::new();
    let mut chars = text.chars().peekable();
    while chars.peek().is_some() {
        let n = next() as usize + 1;
        let piece: String = chars.by_ref().take(n).collect();
        shown += &watch.push(&piece);
    }
    let matched = watch.matched().map(str::to_owned);
    (shown + &watch.finish(), matched)
}

#[test]
fn stop_strings_end_the_text_wherever_it_is_cut() {
    let cases: [(&[&str], &str, &str, Option<&str>); 9] = [
        (&["STOP"], "go on STOP here", "go on ", Some("STOP")),
        (&["STOP"], "go on STO", "go on STO", None),
        (&["\n\n"], "a\nb\n\nc", "a\nb", Some("\n\n")),
        (&["aab"], "aaab", "a", Some("aab")),
        (&["abcd", "bc"], "xabcd", "xa", Some("bc")),
        (&["b", "ab"], "xab", "x", Some("ab")),
        (
            &["</s>", "User:"],
            "text </User: hi",
            "text </",
            Some("User:"),
        ),
        (&["世界"], "你好世人世界", "你好世人", Some("世界")),
        (&[""], "nothing stops", "nothing stops", None),
    ];
    let mut random = Random(3);
    for (stops, text, expected, stop) in cases {
        for _ in 0..50 {
            let (shown, matched) = stopped(stops, text, || random.below(5));
            assert_eq!(shown, expected, "{stops:?} in {text:?}");
            assert_eq!(matched.as_deref(), stop, "{stops:?} in {text:?}");
        }
    }
}

#[test]
fn the_start_of_a_stop_string_is_held_back() {
    let mut watch = StopStrings::new(["<end>"]);
    assert_eq!(watch.push("text <e"), "text ");
    assert_eq!(watch.push("n"), "");
    assert_eq!(watch.push("x <"), "<enx ");
    assert_eq!(watch.push("end> after"), "");
    assert_eq!(watch.matched(), Some("<end>"));
    assert_eq!(watch.push("more"), "");
    assert_eq!(watch.finish(), "");
}
