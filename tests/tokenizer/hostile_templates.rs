//! Bad templates: one error each, no panic, bounded memory and time.

use std::time::{Duration, Instant};

use deputy::tokenizer::{ChatTemplate, Error, MAX_TEMPLATE_BYTES, Message, RenderOptions};
use serde_json::json;

use crate::hostile::Random;
use crate::support::fixture;

#[test]
fn damaged_templates_never_panic() {
    let mut random = Random(5);
    let snippets = fixture("snippets.json");
    let messages: Vec<Message> =
        serde_json::from_value(snippets["messages"].clone()).expect("messages");
    let mut n_rendered = 0;
    for case in snippets["cases"].as_array().expect("a list") {
        let source: Vec<char> = case["source"].as_str().expect("a string").chars().collect();
        for _ in 0..60 {
            let mut damaged = source.clone();
            for _ in 0..=random.below(4) {
                let at = random.below(damaged.len());
                let c = "{}%-'\"()[]|~+*.,=: \n#aifend0189"
                    .chars()
                    .nth(random.below(33));
                match random.below(3) {
                    0 => damaged[at] = c.unwrap_or('x'),
                    1 => damaged.insert(at, c.unwrap_or('x')),
                    _ => drop(damaged.remove(at)),
                }
                if damaged.is_empty() {
                    damaged.push('x');
                }
            }
            let damaged: String = damaged.into_iter().collect();
            let options = RenderOptions {
                tools: Some(vec![json!({"a": 1})]),
                ..RenderOptions::default()
            };
            let template = ChatTemplate::new("damaged", &damaged);
            n_rendered +=
                usize::from(template.is_ok_and(|t| t.render(&messages, &options).is_ok()));
        }
    }
    assert!(
        n_rendered > 300,
        "only {n_rendered} damaged templates still rendered"
    );
}

/// Templates that would take all memory or time.
fn bombs() -> Vec<(&'static str, String)> {
    let doubling = |step: &str| {
        format!(
            "{{% set ns = namespace(s='ab', l=['ab'], n=0) %}}{{% for i in range(60) %}}{step}{{% endfor %}}{{{{ ns.n }}}}"
        )
    };
    let loops = |depth: usize, body: &str| {
        let open: String = (0..depth)
            .map(|i| format!("{{% for i{i} in range(100000) %}}"))
            .collect();
        format!("{open}{body}{}", "{% endfor %}".repeat(depth))
    };
    vec![
        ("nested loops", loops(4, "")),
        ("nested loops with text", loops(3, "some text")),
        ("a loop in a capture", format!("{{% set x %}}{}{{% endset %}}", loops(2, &"long text ".repeat(2000)))),
        ("a loop in a macro", format!("{{% macro m() %}}{}{{% endmacro %}}{{% set x = m() %}}", loops(2, &"y".repeat(9000)))),
        ("a loop in a filter", format!("{{% filter upper %}}{}{{% endfilter %}}", loops(2, &"y".repeat(9000)))),
        ("a huge range", "{% for i in range(10 ** 12) %}x{% endfor %}".into()),
        ("doubling by ~", doubling("{% set ns.s = ns.s ~ ns.s %}")),
        ("doubling by +", doubling("{% set ns.s = ns.s + ns.s %}")),
        ("doubling by *", doubling("{% set ns.s = ns.s * 2 %}")),
        ("doubling by join", doubling("{% set ns.s = [ns.s, ns.s] | join %}")),
        ("doubling by replace", doubling("{% set ns.s = ns.s.replace('a', 'aa') %}")),
        ("doubling by the filter", doubling("{% set ns.s = ns.s | replace('a', 'aa') %}")),
        ("doubling by format", doubling("{% set ns.s = '{}{}'.format(ns.s, ns.s) %}")),
        ("doubling by printf", doubling("{% set ns.s = '%s%s' | format(ns.s, ns.s) %}")),
        ("doubling by capture", doubling("{% set x %}{{ ns.s }}{{ ns.s }}{% endset %}{% set ns.s = x %}")),
        ("doubling a list", doubling("{% set ns.l = ns.l + ns.l %}") + "{{ ns.l | list | length }}"),
        ("doubling a list by *", doubling("{% set ns.l = ns.l * 2 %}") + "{{ ns.l | list | length }}"),
        ("a list of itself", doubling("{% set ns.l = [ns.l, ns.l] %}") + "{{ ns.l == ns.l }}{{ ns.l }}"),
        ("a map of itself", doubling("{% set ns.l = {'a': ns.l, 'b': ns.l} %}") + "{{ ns.l | tojson }}"),
        ("deep nesting", "{% set ns = namespace(l=[]) %}{% for i in range(90000) %}{% set ns.l = [ns.l] %}{% endfor %}{{ ns.l }}".into()),
        ("a namespace in itself", "{% set ns = namespace() %}{% set ns.a = ns %}{{ ns }}".into()),
        ("a namespace in a list in itself", "{% set ns = namespace() %}{% set ns.a = [{'x': ns}] %}{{ ns | string }}".into()),
        ("one large product", "{{ 'a' * 99999999 }}".into()),
        ("constant products", format!("{{% set x = [{}] %}}", "'a' * 99999999, ".repeat(150))),
        ("a repeated list", "{{ [0] * 99999999 | list | length }}{{ ([0] * 99999999) | list | length }}".into()),
        ("a wide indent", "{{ ('a\n' * 5000) | indent(100000) }}".into()),
        ("a wide indent by name", "{{ 'a\nb' | indent(width=10 ** 12) }}".into()),
        ("a wide format", "{{ '{:>99999999}'.format(1) }}".into()),
        ("a wide printf", "{{ '%99999999d' | format(1) }}".into()),
        ("a dynamic width", "{{ '{:{}}'.format(1, 99999999) }}".into()),
        ("a dynamic printf width", "{{ '%*d' | format(99999999, 1) }}".into()),
        ("joins of joins", "{{ range(100000) | join('x' * 100000) }}".into()),
        ("a map of joins", "{{ (['x' * 1000] * 1000) | map('replace', 'x', 'y' * 1000) | list | length }}".into()),
        ("json in json", doubling("{% set ns.s = ns.s | tojson | tojson %}")),
        ("recursion", "{% macro f(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}".into()),
        ("mutual recursion", "{% macro f(x) %}{{ g(x) ~ g(x) }}{% endmacro %}{% macro g(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}".into()),
        ("a recursive loop", "{% for x in [1] recursive %}{{ loop([x]) }}{% endfor %}".into()),
        ("searching forever", "{% set s = 'a' * 1000000 %}".to_owned() + &loops(3, "{% if 'b' in s %}{% endif %}")),
        ("deep parentheses", format!("{{{{ {}1{} }}}}", "(".repeat(60_000), ")".repeat(60_000))),
        ("deep lists", format!("{{{{ {}{} }}}}", "[".repeat(60_000), "]".repeat(60_000))),
        ("a chain of attributes", format!("{{{{ x{} }}}}", ".a".repeat(120_000))),
        ("a chain of sums", format!("{{{{ 1{} }}}}", "+1".repeat(120_000))),
        ("a chain of filters", format!("{{{{ 1{} }}}}", "|e".repeat(120_000))),
        ("a chain of nots", format!("{{{{ {}1 }}}}", "not ".repeat(60_000))),
        ("a chain of ifs", format!("{{{{ {}1 }}}}", "1 if 0 else ".repeat(20_000))),
        ("a chain of elifs", format!("{{% if 0 %}}{}{{% endif %}}", "{% elif 0 %}".repeat(20_000))),
        ("deep blocks", "{% if 1 %}".repeat(20_000)),
        (
            "unrolled doubling by ~",
            "{% set x = 'ab' %}".to_owned() + &"{% set x = x ~ x %}".repeat(60),
        ),
        (
            "unrolled doubling by +",
            "{% set x = ['ab'] %}".to_owned() + &"{% set x = x + x %}".repeat(60) + "{{ x | list }}",
        ),
        ("includes", "{% include 'x' %}".into()),
        ("unclosed", "{% for x in ".into()),
    ]
}

#[test]
fn templates_that_take_all_memory_or_time_are_ended() {
    let messages = [Message::new("user", "hello")];
    for (name, source) in bombs() {
        let start = Instant::now();
        let result = ChatTemplate::new(name, &source)
            .and_then(|template| template.render(&messages, &RenderOptions::default()));
        let took = start.elapsed();
        let error = result.map(|text| text.len()).expect_err(name);
        let kind = matches!(error, Error::TemplateLimit { .. } | Error::Template { .. });
        assert!(kind, "{name}: {error}");
        assert!(
            took < Duration::from_secs(20),
            "{name}: took {took:?}, then {error}"
        );
    }
    // Other tests of this process load whole vocabularies at the same time.
    if let Some(peak) = peak_memory() {
        assert!(peak < 3 << 30, "peak memory {peak} bytes");
    }
}

/// The most memory this process ever had, where the system tells.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

#[test]
fn templates_just_inside_the_limits_do_not_overflow_the_stack() {
    let templates = [
        format!("{{{{ x{} }}}}", ".a".repeat(490)),
        format!("{{{{ 1{} }}}}", "+1".repeat(490)),
        format!("{{{{ 'a'{} }}}}", "~'a'".repeat(490)),
        format!("{{{{ 1{} }}}}", "|string".repeat(490)),
        format!("{{{{ 1{} }}}}", " * 1".repeat(490)),
        format!("{{{{ {}1{} }}}}", "(".repeat(140), ")".repeat(140)),
        format!("{{{{ {}1{} }}}}", "[".repeat(60), "]".repeat(60)),
        format!("{{{{ {}1 }}}}", "1 if 0 else ".repeat(140)),
        format!("{{% if 0 %}}{}{{% endif %}}", "{% elif 0 %}".repeat(199)),
        format!("{}{}", "{% if 1 %}".repeat(140), "{% endif %}".repeat(140)),
        format!(
            "{}{}",
            "{% for x in [1] %}".repeat(100),
            "{% endfor %}".repeat(100)
        ),
        "{% macro f(x) %}{% if x %}{{ f(x - 1) }}{% endif %}{% endmacro %}{{ f(30) }}".to_owned(),
    ];
    for source in templates {
        // A browser gives about this much.
        let thread = std::thread::Builder::new().stack_size(1 << 20);
        let run = move || {
            let template = ChatTemplate::new("deep", &source)?;
            template.render(&[], &RenderOptions::default())
        };
        let result = thread
            .spawn(run)
            .expect("a thread")
            .join()
            .expect("no panic");
        assert!(
            result.is_ok() || matches!(result, Err(Error::Template { .. })),
            "{result:?}"
        );
    }
}

#[test]
fn long_templates_and_long_results_are_refused() {
    let long = "x".repeat(MAX_TEMPLATE_BYTES);
    assert!(ChatTemplate::new("t", &long).is_ok());
    let error = ChatTemplate::new("t", &(long + "x"))
        .expect_err("must be refused")
        .to_string();
    assert!(
        error.contains("262145") && error.contains("262144"),
        "{error}"
    );

    let template = ChatTemplate::new("t", "{{ messages[0].content }}").expect("parses");
    let options = RenderOptions {
        max_output_bytes: 100,
        ..RenderOptions::default()
    };
    let render = |n| template.render(&[Message::new("user", "é".repeat(n))], &options);
    assert_eq!(render(50).expect("renders").len(), 100);
    let error = render(51).expect_err("must be refused").to_string();
    assert_eq!(error, "chat template t needs more than 100 bytes of output");
}
