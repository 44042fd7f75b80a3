"""Phrases with alternatives, and how people really type."""

import random
import re

CHOICE = re.compile(r"\{([^{}]*)\}")


def pick(rng: random.Random, phrase: str) -> str:
    """One of the readings of a phrase: `{a|b}` is a or b, from the inside out."""
    while match := CHOICE.search(phrase):
        phrase = phrase[: match.start()] + rng.choice(match[1].split("|")) + phrase[match.end() :]
    return phrase


def ask(rng: random.Random, phrase: str) -> str:
    """A question as people put it, with and without politeness and its mark."""
    text = pick(rng, phrase)
    start = pick(
        rng, "{||||Please tell me: |Tell me, |I have a question: |Do you know: |Hey, |Now, |OK, |Can you tell me: }"
    )
    if start:
        text = text[0].lower() + text[1:] if text.split(" ")[0] not in ("I", "I'm") else text
    return start + text + pick(rng, "{?|?|?|?||??| please?}")


def request(rng: random.Random, phrase: str) -> str:
    """A request, with and without politeness."""
    text = pick(rng, phrase)
    start = pick(rng, "{||||Please |Can you |Could you please |Now |OK, }")
    if start:
        text = text[0].lower() + text[1:]
    end = "?" if start.startswith(("Can", "Could")) else pick(rng, "{.|.||!|, please.}")
    return start + text + end


def typed(rng: random.Random, text: str) -> str:
    """As it is typed: sometimes without capitals, sometimes without the last mark."""
    if rng.random() < 0.15:
        text = text.lower()
    if rng.random() < 0.1:
        text = text.rstrip("?.!")
    return text


def capital(text: str) -> str:
    """With a capital at the front and the rest as it is."""
    return text[:1].upper() + text[1:]


def a(word: str) -> str:
    """With its article."""
    return ("an " if word[0] in "aeiou" else "a ") + word


def listed(words: list[str]) -> str:
    """`red, blue and green`."""
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))
