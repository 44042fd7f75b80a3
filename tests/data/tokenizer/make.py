#!/usr/bin/env python3
"""Writes the fixtures of tests/tokenizer.rs beside this file.

    make.py [SHARED]    SHARED: the folder of third-party data, ../shared by default

byte_level.json, sentence_piece.json   two tiny tokenizers, trained here on the text below
ids.json         their ids and decoded texts, by the Python library
chats.json       ids of conversations under templates of our own, and of a tokenizer with `legacy: false`
snippets.json    small templates of our own and what transformers renders
templates.json   what transformers makes of the third-party templates: the renders as hashes
                 of their lines (no third-party text is kept), ids of whole conversations in full

Needs: pip install tokenizers transformers jinja2.
"""
import datetime
import json
import os
import shutil
import sys
import tempfile

import tokenizers
import transformers
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer
from transformers.utils import chat_template_utils

HERE = os.path.dirname(os.path.abspath(__file__))
SHARED = sys.argv[1] if len(sys.argv) > 1 else os.path.join(HERE, "../../../../shared")
NOW = datetime.datetime(2024, 7, 26, 9, 5, 7)

TEXT = """The tiny tokenizer learns from this text. The text is small, and so is the tokenizer that it makes.
Words repeat: the cat and the dog, the dog and the cat, the cat sat on the mat and the dog sat on the cat.
Numbers 0 1 2 3 4 5 6 7 8 9 repeat too: 2024, 2023, 1999, 2001. Don't, can't, won't, it's, they're, we'll.
Über Straße naïve café; the same for the other scripts: привет мир, こんにちは世界, 你好世界.
""" * 4

TEXTS = [
    "", " ", "  ", "\n", "\t\n ", "the cat", " the cat", "The cat  and   the dog.", "don't can't",
    "2024 and 12345", "Über naïve café", "привет, мир!", "こんにちは世界", "\U0001f600 and \U0001f468‍\U0001f469‍\U0001f467 emoji",
    "e\u0301 is not é", "\u00a0nbsp\u3000wide", "line one\nline two\r\n\r\n  three", "<|im_start|>user\nhi<|im_end|>",
    "a<think>b</think> c", "<s>the cat</s>", "x <mask> y", "the\u0000zero", "trailing spaces   ", "tabs\tand\ttabs",
    "\U0010ffff\ue000 private", "no<|im_end|><|im_end|>twice", "   <|im_start|>   ",
]


def write(name, value):
    with open(os.path.join(HERE, name), "w", encoding="utf-8") as f:
        json.dump(value, f, ensure_ascii=False, indent=0, separators=(",", ":"))
        f.write("\n")


def byte_level():
    t = Tokenizer(models.BPE())
    t.normalizer = normalizers.NFC()
    t.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(tokenizers.Regex(r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ])
    t.decoder = decoders.ByteLevel()
    t.train_from_iterator(TEXT.splitlines(), trainers.BpeTrainer(
        vocab_size=380, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), show_progress=False))
    t.add_special_tokens(["<s>", "</s>", "<|im_start|>", "<|im_end|>"])
    t.add_tokens([AddedToken("<think>", normalized=False), AddedToken("</think>", normalized=False),
                  AddedToken("   ", normalized=False)])
    t.add_special_tokens([AddedToken("<mask>", lstrip=True, rstrip=False, special=True)])
    t.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", t.token_to_id("<s>"))])
    return t


def sentence_piece():
    t = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    t.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    t.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    # Rare characters have no token: they are spelt in bytes.
    t.train_from_iterator(TEXT.splitlines(), trainers.BpeTrainer(
        vocab_size=600, limit_alphabet=90, show_progress=False,
        special_tokens=["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)]))
    # The library calls every token of that list special; bytes are not.
    j = json.loads(t.to_str())
    j["added_tokens"] = [a for a in j["added_tokens"] if not a["content"].startswith("<0x")]
    t = Tokenizer.from_str(json.dumps(j))
    t.add_special_tokens(["<|im_start|>", "<|im_end|>"])
    t.add_tokens([AddedToken("<think>", normalized=True), AddedToken("</think>", normalized=False)])
    return t


def ids():
    out = {}
    for name, t in (("byte_level", byte_level()), ("sentence_piece", sentence_piece())):
        with open(os.path.join(HERE, name + ".json"), "w", encoding="utf-8") as f:
            f.write(t.to_str())
        cases = []
        for text in TEXTS:
            t.encode_special_tokens = False
            special = t.encode(text, add_special_tokens=False).ids
            framed = t.encode(text).ids
            t.encode_special_tokens = True
            plain = t.encode(text, add_special_tokens=False).ids
            cases.append({"text": text, "special": special, "framed": framed, "plain": plain,
                          "decoded": t.decode(plain), "shown": t.decode(special, skip_special_tokens=True)})
        out[name] = cases
    write("ids.json", out)


CHAT_TEMPLATES = {
    "byte_level": "{{ bos_token }}{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}",
    "sentence_piece": "{% for m in messages %}{% if m.role == 'user' %}{{ bos_token + '<|im_start|> ' + m.content | trim + ' <|im_end|>' }}{% else %}{{ m.role + ': ' + m.content + ' ' + eos_token }}{% endif %}{% endfor %}",
}


def chats():
    """What transformers makes of the two tokenizers with a configuration beside them."""
    out = {"legacy": [], "chats": []}
    for name, template in CHAT_TEMPLATES.items():
        config = {"bos_token": "<s>", "eos_token": "</s>", "chat_template": template, "tokenizer_class": "PreTrainedTokenizerFast"}
        if name == "sentence_piece":
            config |= {"tokenizer_class": "LlamaTokenizer", "legacy": False, "unk_token": "<unk>"}
        with tempfile.TemporaryDirectory() as folder:
            shutil.copy(os.path.join(HERE, name + ".json"), os.path.join(folder, "tokenizer.json"))
            with open(os.path.join(folder, "tokenizer_config.json"), "w", encoding="utf-8") as f:
                json.dump(config, f)
            t = AutoTokenizer.from_pretrained(folder)
        if name == "sentence_piece":
            # This class does not double a space that a text starts with, unlike SentencePiece itself.
            out["legacy"] = [{"text": text, "special": t(text, add_special_tokens=False)["input_ids"]}
                             for text in TEXTS if not text.startswith(" ")]
        for conversation in ("one", "system", "turns", "ends", "spaces", "unicode", "empty", "long"):
            for prompt in (True, False):
                ids = t.apply_chat_template(CONVERSATIONS[conversation], tokenize=True, return_dict=False, add_generation_prompt=prompt)
                out["chats"].append({"tokenizer": name, "conversation": conversation, "add_generation_prompt": prompt, "ids": ids})
        out[name] = config
    out["conversations"] = CONVERSATIONS
    write("chats.json", out)


class Clock(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return NOW


def fnv(text):
    h = 0x811C9DC5
    for byte in text.encode():
        h = (h ^ byte) * 0x01000193 % 2**32
    return f"{h:08x}"


def render(source, messages, variables):
    """The rendered text, or how transformers fails: refused (the template's own words) or error."""
    options = {k: v for k, v in variables.items() if k not in ("tools", "add_generation_prompt")}
    # As apply_chat_template does before rendering.
    messages = [{k: v for k, v in m.items() if v is not None} for m in messages]
    try:
        texts, _ = chat_template_utils.render_jinja_template(
            conversations=[messages], tools=variables.get("tools"), chat_template=source,
            add_generation_prompt=variables.get("add_generation_prompt", False), **options)
        return "text", texts[0]
    except chat_template_utils.jinja2.exceptions.TemplateError as e:
        own = type(e) is chat_template_utils.jinja2.exceptions.TemplateError
        return ("refused", str(e)) if own else ("error", "")
    except Exception:
        return "error", ""


TOOL = {"type": "function", "function": {
    "name": "weather", "description": "Tells the weather of a <city> & more; \"quoted\", Zürich, 東京.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 1, "default": 2.0}},
                   "required": ["city"], "flags": [True, False, None, 1e20, 1.5, -3]}}}
CALL = {"id": "abcdefghi", "type": "function", "function": {"name": "weather", "arguments": {"city": "Zürich", "days": 2}}}

CONVERSATIONS = {
    "one": [{"role": "user", "content": "Hello, who are you?"}],
    "system": [{"role": "system", "content": "You are brief."}, {"role": "user", "content": "2 + 2?"}],
    "turns": [{"role": "system", "content": "Answer in French."}, {"role": "user", "content": "Good morning"},
              {"role": "assistant", "content": "Bonjour !"}, {"role": "user", "content": "And\nat night?"}],
    "ends": [{"role": "user", "content": "Say yes"}, {"role": "assistant", "content": "yes"}],
    "spaces": [{"role": "system", "content": "  \n padded \t\n"}, {"role": "user", "content": "\n\n  two  spaces  \n"},
               {"role": "assistant", "content": "\n answer \u00a0\u2003\n\n"}, {"role": "user", "content": "   "}],
    "unicode": [{"role": "user", "content": "Grüße, 世界! \U0001f999\U0001f468‍\U0001f469‍\U0001f467 e\u0301 \"quotes\" 'single' <b>&amp;</b> {{ braces }} {% tag %}"}],
    "empty": [{"role": "user", "content": ""}, {"role": "assistant", "content": ""}, {"role": "user", "content": "still there?"}],
    "thought": [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "<think>\nlet me see\n</think>\n\nBecause."},
                {"role": "user", "content": "Really?"}, {"role": "assistant", "content": "<think>hm</think>Yes."}],
    "reasoning": [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "Because.", "reasoning_content": "\nfirst, this\n"}],
    "thinking": [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "Because.", "thinking": "then that"}],
    "no_think": [{"role": "system", "content": "Short. /no_think"}, {"role": "user", "content": "Hi"}],
    "call": [{"role": "user", "content": "Weather?"}, {"role": "assistant", "content": None, "tool_calls": [CALL]},
             {"role": "tool", "content": "{\"sky\": \"clear\"}", "tool_call_id": "abcdefghi", "name": "weather"},
             {"role": "assistant", "content": "Clear."}, {"role": "user", "content": "Thanks"}],
    "two_calls": [{"role": "user", "content": "Both?"}, {"role": "assistant", "content": "Let me look.", "tool_calls": [CALL, CALL]},
                  {"role": "tool", "content": "one", "tool_call_id": "abcdefghi"}, {"role": "tool", "content": "two", "tool_call_id": "abcdefghi"}],
    "text_call": [{"role": "user", "content": "Do"}, {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "f", "arguments": "{\"a\": 1}"}}]}],
    "wrong_order": [{"role": "assistant", "content": "Hi"}, {"role": "user", "content": "Hi"}],
    "odd_role": [{"role": "narrator", "content": "Once"}, {"role": "user", "content": "Go on"}],
    "tool_text": [{"role": "user", "content": "<tool_response>as text</tool_response>"}, {"role": "assistant", "content": "ok"}],
    "long": [{"role": r, "content": f"turn {i}"} for i in range(6) for r in ("user", "assistant")],
}
OPTIONS = [
    {"add_generation_prompt": True},
    {"add_generation_prompt": False},
    {"add_generation_prompt": True, "enable_thinking": False},
    {"add_generation_prompt": True, "enable_thinking": True, "open_thinking": True},
    {"add_generation_prompt": True, "tools": [TOOL]},
    {"add_generation_prompt": False, "tools": [TOOL, TOOL], "tools_in_user_message": False},
]
# Transformers' ids of these are those of a user who writes control tokens.
NOT_PLAIN = {"tool_text"}


def third_party():
    sources = {}
    for f in sorted(os.listdir(os.path.join(SHARED, "templates"))):
        with open(os.path.join(SHARED, "templates", f), encoding="utf-8", newline="") as src:
            sources["templates/" + f] = src.read(), {"bos_token": "<s>", "eos_token": "</s>"}, None
    for name in ("minimind", "phi-3", "qwen3"):
        tokenizer = AutoTokenizer.from_pretrained(os.path.join(SHARED, "tokenizers", name))
        sources["tokenizers/" + name] = tokenizer.chat_template, dict(tokenizer.special_tokens_map), tokenizer
    out = []
    for path, (source, tokens, tokenizer) in sources.items():
        for name, messages in CONVERSATIONS.items():
            for i, options in enumerate(OPTIONS):
                kind, text = render(source, messages, {**tokens, **options})
                case = {"template": path, "conversation": name, "options": i}
                if kind == "text":
                    case["lines"] = "".join(fnv(line) for line in text.split("\n"))
                else:
                    case[kind] = fnv(text)
                if kind == "text" and tokenizer is not None and i < 2 and name not in NOT_PLAIN:
                    case["ids"] = tokenizer.apply_chat_template(messages, tokenize=True, return_dict=False, **options)
                out.append(case)
    tokens = {path: {k: tokens[k] for k in ("bos_token", "eos_token") if k in tokens} for path, (_, tokens, _) in sources.items()}
    write("templates.json", {"options": OPTIONS, "tokens": tokens, "cases": out})


SNIPPETS = [
    "{{ 1 }} {{ 1.0 }} {{ 1.5 }} {{ none }} {{ true }} {{ false }} {{ undefined_name }}|",
    "{{ [1, 'a', none, true, 2.0] }} {{ {'a': 1, 'b': [\"it's\", 'say \"x\"']} }} {{ (1, 2) }} {{ (1,) }} {{ [] }} {{ {} }}",
    "{{ 'a' ~ 1 ~ none ~ true ~ 1.5 }} {{ 'a' + 'b' }} {{ 'ab' * 3 }} {{ [1] + [2] }} {{ [0] * 3 }} {{ 7 // 2 }} {{ -7 // 2 }} {{ 7 % 3 }} {{ -7 % 3 }} {{ 2 ** 10 }} {{ 7 / 2 }} {{ 2 * 3 }} {{ 1.5 * 2 }}",
    "{{ tools | tojson }}\n{{ tools | tojson(indent=2) }}\n{{ tools[0] | tojson(indent=4) }}",
    "{{ tools | tojson(sort_keys=true) }} {{ tools | tojson(ensure_ascii=true) }} {{ tools | tojson(separators=(',', ':')) }}",
    "{{ {'b': 1, 'a': [], 'c': {}, 1: 2, none: 4} | tojson(indent=1) }}",
    "{{ [1e20, 1e16, 123456789012345.0, 0.1, 1e-5, 0.0001, -0.0, 3.14, 100] | tojson }} {{ 1e20 }} {{ 1e-5 }}",
    "{{ 'tab\\t nl\\n quote\" back\\\\ nul\\x00 é \U0001f600' | tojson }}",
    "{{ 'tab\\t é \U0001f600' | tojson(ensure_ascii=true) }}",
    "[{{ messages[0].content.strip() }}][{{ messages[0].content.lstrip() }}][{{ messages[0].content.rstrip() }}][{{ messages[0].content | trim }}]",
    "[{{ 'xxaxx'.strip('x') }}][{{ '\\n\\na\\n'.lstrip('\\n') }}][{{ '\\n\\na\\n'.rstrip('\\n') }}][{{ '\\x1ca\\x1f'.strip() }}]",
    "{{ 'a,b,,c'.split(',') }} {{ ' a  b c '.split() }} {{ 'a b c'.split(' ', 1) }} {{ 'a,b,c'.rsplit(',', 1) }} {{ ' a b c '.rsplit(none, 1) }} {{ ''.split() }} {{ ''.split(',') }} {{ 'a  b  c'.split(none, 1) }}",
    "{{ '<think>a</think>b'.split('</think>')[0].split('<think>')[-1] }} {{ 'x'.split('y')[-1] }}",
    "{{ 'Hello'.upper() }} {{ 'Hello'.lower() }} {{ 'hello world'.title() }} {{ 'hello World'.capitalize() }} {{ 'hello' | capitalize }} {{ 'aXb' | lower }} {{ 'abc' | upper }} {{ 'a b' | title }}",
    "{{ 'abcabc'.replace('b', 'X') }} {{ 'abcabc'.replace('b', 'X', 1) }} {{ 'abc' | replace('a', 'z') }} {{ 'abc'.replace('', '-') }}",
    "{{ 'abc'.startswith('ab') }} {{ 'abc'.endswith(('x', 'c')) }} {{ 'abc'.find('c') }} {{ 'abc'.find('z') }} {{ 'abab'.count('ab') }} {{ '12'.isdigit() }} {{ 'é'.isalpha() }}",
    "{{ 'prefix-x'.removeprefix('prefix-') }} {{ 'x.txt'.removesuffix('.txt') }} {{ 'a=b=c'.partition('=') }} {{ 'a=b=c'.rpartition('=') }} {{ 'abc'.partition('=') }}",
    "{{ '-'.join(['a', 'b']) }} {{ ['a', 'b', 1] | join(', ') }} {{ messages | map(attribute='role') | join('|') }} {{ messages | join(',', attribute='role') }}",
    "{{ 'abc'[0] }}{{ 'abc'[-1] }} {{ 'abcdef'[1:3] }} {{ 'abcdef'[:-1] }} {{ 'abc'[::-1] }} {{ messages[1:] | length }} {{ messages[::-1][0].role }} {{ messages[-1].role }}",
    "{% for m in messages[::-1] %}{{ loop.index0 }}{{ m.role }}{{ loop.last }} {% endfor %}",
    "{% for m in messages if m.role == 'user' %}{{ loop.index }}/{{ loop.length }}:{{ m.content }};{% else %}none{% endfor %}",
    "{% for m in messages %}{% if loop.index0 == 1 %}{% continue %}{% endif %}{% if m.role == 'tool' %}{% break %}{% endif %}{{ m.role }} {{ loop.previtem.role if loop.previtem is defined else '-' }} {{ loop.nextitem.role if loop.nextitem is defined else '-' }};{% endfor %}",
    "{% for k, v in tools[0].function.items() %}{{ k }}={{ v if v is string else v | tojson }}{{ ', ' if not loop.last }}{% endfor %}",
    "{{ tools[0].keys() | list }} {{ tools[0].values() | list | length }} {{ tools[0].get('x') }} {{ tools[0].get('x', 'd') }} {{ tools[0]['type'] }} {{ 'type' in tools[0] }} {{ 'x' not in tools[0] }}",
    "{% set ns = namespace(n=0, s='') %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{% set ns.s = ns.s + m.role[0] %}{% endfor %}{{ ns.n }} {{ ns.s }}",
    "{% set x = 1 %}{% for m in messages %}{% set x = 2 %}{% endfor %}{{ x }}",
    "{% set x %}captured {{ 1 + 1 }}\n{% endset %}[{{ x }}]",
    "{% macro f(a, b='d') %}<{{ a }},{{ b }}>{% endmacro %}{{ f(1) }}{{ f('x', b=2) }}{{ f(a='y') | upper }}",
    "{% macro outer(x) %}{{ x }}{% if x > 0 %}{{ outer(x - 1) }}{% endif %}{% endmacro %}{{ outer(5) }}",
    "{% macro wrap() %}[{{ caller() }}]{% endmacro %}{% call wrap() %}inside{% endcall %}",
    "{% filter upper %}shout {{ 1 }}{% endfilter %}",
    "{% with a = 1, b = 2 %}{{ a + b }}{% endwith %}{{ a is defined }}",
    "{{ messages is sequence }} {{ messages is iterable }} {{ messages is mapping }} {{ 'a' is sequence }} {{ 'a' is iterable }} {{ tools[0] is mapping }} {{ tools[0] is sequence }} {{ 1 is number }} {{ true is number }} {{ 1 is string }} {{ 'a' is string }} {{ none is none }} {{ x is defined }} {{ x is undefined }} {{ true is boolean }} {{ 1 is integer }} {{ 1.0 is float }} {{ true is integer }} {{ 2 is even }} {{ 3 is odd }} {{ 6 is divisibleby 3 }} {{ true is true }} {{ none is false }}",
    "{{ x | default('d') }} {{ '' | default('d', true) }} {{ none | default('d') }} {{ x.y is defined if x is defined else 'no' }} {{ messages[0].nothing is defined }} [{{ messages[0].nothing }}]",
    "{{ x.y }}", "{{ none.y }}", "{{ x + 'a' }}", "{{ 'a' + none }}", "{{ messages[99] }}|", "{{ messages[99].role }}", "{{ 'a' + 1 }}",
    "{{ raise_exception('custom ' + messages[0].role) }}", "{% if x %}yes{% else %}no{% endif %}{% for i in x %}{{ i }}{% endfor %}|",
    "{{ strftime_now('%d %b %Y') }} {{ strftime_now('%Y-%m-%d %H:%M:%S') }} {{ strftime_now('%A %a %B %b %-d %j %y %I %p %w %e|%% %F %T') }}",
    "{% generation %}kept{% endgeneration %} {%- generation -%} trimmed {%- endgeneration %}\n{% generation %}\nline\n{% endgeneration %}\nend",
    "  {% if true %}\n    indented\n  {% endif %}\nnext\n  {#- comment -#}  \nlast\n",
    "a\n{%- if true %}\nb\n{%- endif %}\nc\n\n", "\n\nstart {{- ' x ' -}} end\n\n", "{% raw %}{{ not }} {% this %}{% endraw %}\n", "{%+ if true %}plus{%+ endif %}\n  {%+ if true %} keep{% endif %}",
    "{{ [3, 1, 2] | sort }} {{ ['b', 'A'] | sort }} {{ [1, 2] | first }} {{ [1, 2] | last }} {{ [1, 2, 2] | unique | list }} {{ {'b': 1, 'a': 2} | dictsort }} {{ [1, 2, 3] | max }} {{ [1, 2] | reverse | list }} {{ 'abc' | reverse }} {{ [1, 2] | length }} {{ 'abc' | length }} {{ 'abc' | list }} {{ -3 | abs }} {{ '3' | int + 1 }} {{ 3.7 | int }} {{ 2.567 | round(1) }}",
    "{{ messages | selectattr('role', 'equalto', 'user') | list | length }} {{ messages | rejectattr('role', 'equalto', 'user') | map(attribute='role') | list }} {{ messages | selectattr('tool_calls') | list }} {{ messages | selectattr('tool_calls', 'defined') | list }} {{ [1, 2, 3] | select('odd') | list }} {{ ['a', 'b'] | map('upper') | list }}",
    "{{ 'a\nb\n\nc' | indent }}|{{ 'a\nb' | indent(2, true) }}|{{ 'a\n\nb' | indent(2, first=true, blank=true) }}",
    "{{ '%s is %d' | format('x', 3) }} {{ '{} and {}'.format(1, 'b') }} {{ '{0}{1}{0}'.format('a', 'b') }} {{ '{n:>4}'.format(n=7) }}",
    "{{ 1 == 1.0 }} {{ 'a' == 'a' }} {{ [1] == [1] }} {{ {'a': 1} == {'a': 1} }} {{ messages[0] == messages[0] }} {{ 1 < 2 < 3 }} {{ 'a' < 'b' }} {{ not true }} {{ 1 and 0 }} {{ 0 or 'x' }} {{ 'in' in 'string' }} {{ 3 in [1, 2, 3] }}",
    "{{ 'yes' if true else 'no' }} {{ 'yes' if false }}| {{ ('a' if x else 'b') ~ 'c' }}",
    "{{ dict(a=1, b=2) | tojson }} {{ dict(a=1).a }} {{ range(3) | list }} {{ range(1, 10, 3) | list }}",
    "{% set a, b = [1, 2] %}{{ a }}{{ b }} {% set items = [] %}{{ items }} {% for a, b in [[1, 2], [3, 4]] %}{{ a }}{{ b }}{% endfor %}",
    "{{ \"it's\" }} {{ 'a\\'b' }} {{ '\\u00e9' }} {{ 'a' 'b' }}",
    "{{ messages[0] | tojson }}", "{{ messages[0] | string }}", "{{ messages[0]['content'] ~ messages[1]['role'] }}",
    "{{ messages | map(attribute='content') | list | tojson }}", "{{ messages[2] | tojson(indent=2) }}", "{{ tools | length }} {{ documents }} {{ add_generation_prompt }}",
    "{{ '<b>&\"' }} {{ '<b>&\"' | e }} {{ '<b>' | safe }} {{ ['<a>'] | join }}",
    "{% for i in range(3) %}{{ loop.cycle('a', 'b') }}{{ loop.first }}{{ loop.revindex }}{{ loop.depth }} {% endfor %}",
    "{% for x in [[1, [2]], [3]] recursive %}{{ loop(x) if x is iterable else x }},{% endfor %}",
    "{%- set loop_messages = messages %}{%- for message in loop_messages %}{%- set content = '<' + message['role'] + '>\\n\\n'+ message['content'] | trim + '<end>' %}{%- if loop.index0 == 0 %}{%- set content = 'BOS' + content %}{%- endif %}{{- content }}{%- endfor %}",
    "{%- if not date_string is defined %}{%- set date_string = strftime_now('%d %b %Y') %}{%- endif %}{{ date_string }}",
    "{{ messages[0].content.split('\n') | length }} {{ 'a\nb\r\nc'.splitlines() }} {{ 'x'.isupper() }}",
    "{% if messages[0]['role'] == 'system' and messages[0]['content'] is not none and messages[0]['content'] | length > 3 %}long{% elif true %}short{% endif %}",
]


def snippets():
    messages = [{"role": "system", "content": "  be \n kind\t "}, {"role": "user", "content": "Zürich <b>?"},
                {"role": "assistant", "content": "ok", "tool_calls": [CALL]}, {"role": "tool", "content": "x"}]
    out = []
    for source in SNIPPETS:
        kind, text = render(source, messages, {"tools": [TOOL], "add_generation_prompt": True})
        out.append({"source": source, kind: text})
    write("snippets.json", {"messages": messages, "tools": [TOOL], "cases": out})


if __name__ == "__main__":
    print("transformers", transformers.__version__, "tokenizers", tokenizers.__version__)
    chat_template_utils.datetime = Clock
    ids()
    chats()
    snippets()
    third_party()
