"""The conversations that the default model learns from, and those that it is tested on.

A *part* is a question with its answer, or several turns that hang together. A conversation is one or more parts. What
people say in a part decides by its hash whether it is held out: no held-out part is ever trained on, in any
conversation.
"""

import argparse
import hashlib
import json
import random
import re
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from . import stories, tables
from .phrases import a, ask, capital, listed, pick, request, typed

HELD_OUT = 16
"""One part in so many is held out."""


@dataclass(frozen=True)
class Check:
    """What a right answer holds: all of `all`, `least` of `some`, as whole words; or `exact` and nothing
    beside. Case does not count."""

    exact: str | None = None
    all: list[str] = field(default_factory=list)
    some: list[str] = field(default_factory=list)
    least: int = 1


@dataclass(frozen=True)
class Part:
    """Turns (user, assistant), and what the last answer must hold."""

    family: str
    turns: list[tuple[str, str]]
    check: Check

    def said(self) -> list[str]:
        """What the user says, without what `typed` may change."""
        return [user.lower().strip("?.! ") for user, _ in self.turns]

    def held_out(self) -> bool:
        """Whether it is a case to test on."""
        return is_held_out(self.said())

    def trains(self) -> bool:
        """Whether it may be trained on: not where any of its turns, or of their runs, is a case to test on."""
        said = self.said()
        n = len(said)
        return not any(is_held_out(said[i:j]) for i in range(n) for j in range(i + 1, n + 1))


def is_held_out(said: list[str]) -> bool:
    """Whether these turns of a user, as a part of their own, are held out."""
    return hashlib.sha256("\n".join(said).encode()).digest()[0] % HELD_OUT == 0


def one(family: str, rng: random.Random, question: str, answer: str, check: Check) -> Part:
    return Part(family, [(typed(rng, question), answer)], check)


def small_talk(rng: random.Random) -> Part:
    said, answers, words = rng.choice(tables.SMALL_TALK)
    return one("small talk", rng, pick(rng, said), rng.choice(answers), Check(some=words))


def general(rng: random.Random) -> Part:
    said, answer, words = rng.choice(tables.FACTS)
    return one("facts", rng, ask(rng, said), answer, Check(all=words))


def capital_of(rng: random.Random) -> Part:
    country, city = rng.choice(list(tables.CAPITALS.items()))
    if rng.random() < 0.2:
        q = f"{{{city} is the capital of which country|Which country has {city} as its capital}}"
        return one("capitals", rng, ask(rng, q), f"{city} is the capital of {country}.", Check(all=[country]))
    q = ask(rng, f"{{What is|What's|Which city is|Name}} the capital {{|city }}of {country}")
    first = (typed(rng, q), f"The capital of {country} is {city}.")
    if rng.random() < 0.6:
        return Part("capitals", [first], Check(all=[city]))
    other, its = rng.choice([c for c in tables.CAPITALS.items() if c[0] != country])
    then = pick(rng, f"{{And of {other}|And {other}|What about {other}|And the capital of {other}|How about {other}}}?")
    return Part("follow-up", [first, (typed(rng, then), f"The capital of {other} is {its}.")], Check(all=[its]))


def animal(rng: random.Random) -> Part:
    def about(kind: str, name: str) -> tuple[str, str, list[str]]:
        sound, baby, home, food, legs = tables.ANIMALS[name]
        its = a(name)
        return {
            "sound": (f"{{What sound does {its} make|Which sound does {its} make|What does {its} say|How does {its} sound}}",
                      f"{capital(its)} {sound}.", [sound]),
            "baby": (f"{{What is a baby {name} called|What do you call a baby {name}|What's the young of {its} called|What is the name of a young {name}}}",
                     f"A baby {name} is called {a(baby)}.", [baby]),
            "home": (f"{{Where does {its} live|What is the home of {its}|Where do you find {its}|Where can I see {its}}}",
                     f"{capital(its)} lives {home}.", [home]),
            "food": (f"{{What does {its} eat|What do you feed {its}|What does {its} like to eat|What is the food of {its}}}",
                     f"{capital(its)} eats {food}.", [food]),
            "legs": (f"{{How many legs does {its} have|How many legs has {its}|What number of legs does {its} have}}",
                     f"{capital(its)} has {legs or 'no'} legs.", [str(legs or "no")]),
        }[kind]  # fmt: skip

    kind, name = rng.choice(["sound", "baby", "home", "food", "legs"]), rng.choice(list(tables.ANIMALS))
    q, answer, words = about(kind, name)
    first = (typed(rng, ask(rng, q)), answer)
    way = rng.random()
    if way < 0.5:
        return Part("animals", [first], Check(all=words))
    if way < 0.75:
        other = rng.choice([n for n in tables.ANIMALS if n != name])
        _, answer, words = about(kind, other)
        then = pick(rng, f"{{And {a(other)}|What about {a(other)}|And {a(other)}, then|How about {a(other)}}}?")
        return Part("follow-up", [first, (typed(rng, then), answer)], Check(all=words))
    then = rng.choice([k for k in ["sound", "baby", "home", "food", "legs"] if k != kind])
    _, answer, words = about(then, name)
    q = {
        "sound": "{|And }{what sound does it make|what does it say}?", "baby": "{|And }{what is its baby called|what are its young called}?",
        "home": "{|And }{where does it live|where is its home}?", "food": "{|And }{what does it eat|what does it like to eat}?",
        "legs": "{|And }{how many legs does it have|how many legs has it}?",
    }[then]  # fmt: skip
    return Part("follow-up", [first, (typed(rng, capital(pick(rng, q))), answer)], Check(all=words))


def colour(rng: random.Random) -> Part:
    word = pick(rng, "{colour|color}")
    if rng.random() < 0.35:
        (x, y), z = rng.choice(list(tables.MIXES.items()))
        x, y = rng.sample([x, y], 2)
        q = f"{{What {word} do you get when you mix|Which {word} do you get if you mix|What do you get from|What is the mix of|Which {word} is a mix of|What happens when I mix}} {x} and {y}"
        return one("colours", rng, ask(rng, q), f"{capital(x)} and {y} make {z}.", Check(all=[z]))

    def about(thing: str) -> tuple[str, list[str]]:
        return f"{capital(thing)} is {tables.COLOURED[thing]}.", [tables.COLOURED[thing]]

    thing = rng.choice(list(tables.COLOURED))
    answer, words = about(thing)
    first = (
        typed(rng, ask(rng, f"{{What {word} is|Which {word} is|What {word} has|What is the {word} of}} {thing}")),
        answer,
    )
    if rng.random() < 0.6:
        return Part("colours", [first], Check(all=words))
    other = rng.choice([t for t in tables.COLOURED if t != thing])
    answer, words = about(other)
    then = pick(rng, f"{{And {other}|What about {other}|How about {other}|And what {word} is {other}}}?")
    return Part("follow-up", [first, (typed(rng, then), answer)], Check(all=words))


def named_list(rng: random.Random) -> Part:
    kind, items = rng.choice(list(tables.CATEGORIES.items()))
    n = rng.choice([2, 3, 4])
    number = rng.choice([str(n), ["two", "three", "four"][n - 2]])
    q = f"{{Name|List|Tell me|Give me|Say}} {number} {kind}s"
    chosen = rng.sample(items, n)
    return one("lists", rng, request(rng, q), f"{capital(listed(chosen))}.", Check(some=items, least=n))


def category(rng: random.Random) -> Part:
    x, y = rng.sample(list(tables.CATEGORIES), 2)
    word = rng.choice(tables.CATEGORIES[x])
    x_, y_ = rng.sample([x, y], 2)
    q = f"{{Is {a(word)} {a(x_)} or {a(y_)}|What is {a(word)}, {a(x_)} or {a(y_)}}}"
    if x == "colour":
        q = f"{{Is {word} {a(x_)} or {a(y_)}|What is {word}, {a(x_)} or {a(y_)}}}"
        return one("kinds", rng, ask(rng, q), f"{capital(word)} is a colour.", Check(all=["a colour"]))
    return one("kinds", rng, ask(rng, q), f"{capital(a(word))} is {a(x)}.", Check(all=[f"is {a(x)}"]))


def opposite(rng: random.Random) -> Part:
    x, y = rng.sample(rng.choice(tables.OPPOSITES), 2)
    q = f"{{What is|What's|Tell me|Do you know|Name}} the {{opposite|contrary}} of {{|the word }}{x}"
    first = (typed(rng, ask(rng, q)), f"The opposite of {x} is {y}.")
    if rng.random() < 0.6:
        return Part("opposites", [first], Check(all=[y]))
    v, w = rng.sample(rng.choice(tables.OPPOSITES), 2)
    then = pick(rng, f"{{And of {v}|And {v}|What about {v}|How about {v}|And the opposite of {v}}}?")
    return Part("follow-up", [first, (typed(rng, then), f"The opposite of {v} is {w}.")], Check(all=[w]))


def job(rng: random.Random) -> Part:
    who, does = rng.choice(list(tables.JOBS.items()))
    if rng.random() < 0.5:
        return one(
            "jobs",
            rng,
            ask(rng, f"{{What does|What's the job of|What is the work of}} {a(who)}{{| do}}"),
            f"{capital(a(who))} {does}.",
            Check(all=[does]),
        )
    return one(
        "jobs",
        rng,
        ask(rng, f"{{Who|Which person|What do you call somebody who}} {does}"),
        f"{capital(a(who))} {does}.",
        Check(all=[who]),
    )


def use(rng: random.Random) -> Part:
    thing, what = rng.choice(list(tables.USES.items()))
    it = thing if thing in ("soap", "scissors") else a(thing)
    q = f"{{What do you use {it} for|What is {it} for|What can I do with {it}|What do people do with {it}|What is the use of {it}}}"
    return one("uses", rng, ask(rng, q), f"You use {it} to {what}.", Check(all=[what]))


def how_many(rng: random.Random) -> Part:
    what, n = rng.choice(list(tables.HOW_MANY.items()))
    return one("numbers", rng, ask(rng, f"How many {what}"), f"{n}.", Check(all=[str(n)]))


def body(rng: random.Random) -> Part:
    what, part = rng.choice(list(tables.BODY.items()))
    q = f"{{What do we {what} with|What do you {what} with|Which part of the body do we use to {what}|What part of us can {what}}}"
    return one("facts", rng, ask(rng, q), f"We {what} with the {part}.", Check(all=[part]))


def landmark(rng: random.Random) -> Part:
    what, where = rng.choice(list(tables.PLACES_OF.items()))
    q = f"{{Where is the {what}|In which place is the {what}|Where can I see the {what}|Where do I find the {what}}}"
    return one("facts", rng, ask(rng, q), f"The {what} is in {where}.", Check(all=[where]))


def order(rng: random.Random) -> Part:
    names = rng.choice([tables.DAYS, tables.DAYS, tables.MONTHS, tables.MONTHS, tables.PLANETS, tables.SEASONS])
    what = {7: "day", 12: "month", 8: "planet", 4: "season"}[len(names)]
    after = rng.random() < 0.6
    ring = what != "planet"
    i = rng.randrange(len(names) - (not ring)) + (not ring and not after)
    j = (i + (1 if after else -1)) % len(names)
    side = "after" if after else "before"
    q = f"{{Which|What}} {what} {{comes|is}} {{|right }}{side} {names[i]}"
    first = (typed(rng, ask(rng, q)), f"{capital(names[j])} comes {side} {names[i]}.")
    k = (j + (1 if after else -1)) % len(names)
    if rng.random() < 0.6 or not ring:
        return Part("order", [first], Check(all=[names[j] + " comes"]))
    then = pick(
        rng,
        f"{{And {side} that|And then|What comes {side} that}}?"
        if after
        else f"{{And {side} that|What comes {side} that}}?",
    )
    return Part(
        "follow-up",
        [first, (typed(rng, then), f"{capital(names[k])} comes {side} {names[j]}.")],
        Check(all=[names[k] + " comes"]),
    )


def larger(rng: random.Random) -> Part:
    if rng.random() < 0.5:
        x, y = rng.sample(range(0, 100), 2)
        word, z = rng.choice(
            [("bigger", max(x, y)), ("larger", max(x, y)), ("smaller", min(x, y)), ("less", min(x, y))]
        )
        q = f"{{Which is {word}, {x} or {y}|Which number is {word}: {x} or {y}|What is {word}, {x} or {y}|Is {x} or {y} {word}}}"
        return one("larger", rng, ask(rng, q), f"{z} is {word}.", Check(all=[f"{z} is"]))
    x, y = rng.sample(tables.SIZES, 2)
    big, small = sorted([x, y], key=tables.SIZES.index, reverse=True)
    word, z = rng.choice([("bigger", big), ("larger", big), ("smaller", small)])
    q = f"{{Which is {word}, {a(x)} or {a(y)}|What is {word}, {a(x)} or {a(y)}|Is {a(x)} or {a(y)} {word}}}"
    return one("larger", rng, ask(rng, q), f"{capital(a(z))} is {word}.", Check(all=[f"{a(z)} is"]))


def count(rng: random.Random) -> Part:
    lo = rng.choice([1, 1, 1, rng.randrange(0, 20)])
    hi = lo + rng.randrange(2, 12 if lo > 1 else 20)
    up = [str(n) for n in range(lo, hi + 1)]
    down = up[::-1]
    forward = (
        request(
            rng,
            f"{{Count from {lo} to {hi}|Count up from {lo} to {hi}|Say the numbers from {lo} to {hi}|Count {lo} to {hi}}}",
        ),
        ", ".join(up) + ".",
    )
    backward = (
        request(
            rng, f"{{Count from {hi} {{|down }}to {lo}|Count backwards from {hi} to {lo}|Count down from {hi} to {lo}}}"
        ),
        ", ".join(down) + ".",
    )
    if lo == 1 and rng.random() < 0.4:
        forward = (request(rng, f"Count to {hi}"), forward[1])
    way = rng.random()
    if way < 0.45:
        return one("counting", rng, *forward, Check(exact=forward[1]))
    if way < 0.75:
        return one("counting", rng, *backward, Check(exact=backward[1]))
    then = pick(
        rng,
        "{Now backwards|And backwards|Now count backwards|And now the other way round|And back again}{.|, please.|?|}",
    )
    return Part(
        "follow-up", [(typed(rng, forward[0]), forward[1]), (typed(rng, then), backward[1])], Check(exact=backward[1])
    )


def neighbour(rng: random.Random) -> Part:
    n = rng.randrange(1, 100)
    side, m = rng.choice([("after", n + 1), ("before", n - 1)])
    q = f"{{What number comes {side}|Which number comes {side}|What comes {side}|Which number is right {side}}} {n}"
    return one("counting", rng, ask(rng, q), f"{m} comes {side} {n}.", Check(all=[f"{m} comes"]))


def sums(rng: random.Random) -> Part:
    x, y = rng.randrange(0, 11), rng.randrange(0, 11)
    if rng.random() < 0.5:
        q, answer, z = (
            f"{{What is {x} plus {y}|What's {x} + {y}|How much is {x} plus {y}|What is {x} and {y}|What do you get when you add {x} and {y}}}",
            f"{x} plus {y} is {x + y}.",
            x + y,
        )
    else:
        x += y
        q, answer, z = (
            f"{{What is {x} minus {y}|What's {x} - {y}|How much is {x} minus {y}|What is {x} take away {y}|What is {x} less {y}}}",
            f"{x} minus {y} is {x - y}.",
            x - y,
        )
    first = (typed(rng, ask(rng, q)), answer)
    if rng.random() < 0.7:
        return Part("sums", [first], Check(all=[f"is {z}."]))
    w = rng.randrange(1, 6)
    then = pick(rng, f"{{And plus {w}|And {w} more|Now add {w}|Add {w} to that}}?")
    return Part("follow-up", [first, (typed(rng, then), f"{z} plus {w} is {z + w}.")], Check(all=[f"is {z + w}."]))


def apples(rng: random.Random) -> Part:
    x, y, thing, who = rng.randrange(2, 9), rng.randrange(1, 7), rng.choice(tables.THINGS), rng.choice(tables.NAMES)
    if rng.random() < 0.5 and y < x:
        said = (
            f"{{I have {x} {thing}|I had {x} {thing}}}{{.| and}} {{I give {who} {y}|I lose {y}|I give {y} to {who}}}."
        )
        z = x - y
    else:
        said = f"{{I have {x} {thing}|There are {x} {thing} in my bag}}{{.| and}} {{{who} gives me {y} more|I get {y} more from {who}|I find {y} more}}."
        z = x + y
    said = pick(rng, said).replace(". i", ". I").replace(" and I get", " and I get")
    q = pick(rng, f"{{How many {thing} do I have now|How many do I have|How many {thing} are there now}}?")
    return one("sums", rng, f"{said} {q}", f"You have {z} {thing}.", Check(all=[f" {z} "]))


def about_me(rng: random.Random) -> Part:
    """Something about the user that a later question asks for."""
    name, food, hobby, town, pet = (
        rng.choice(t) for t in (tables.NAMES, tables.FOODS, tables.HOBBIES, tables.TOWNS, tables.PETS)
    )
    called, hue, age = rng.choice(tables.PET_NAMES), rng.choice(tables.COLOURS), rng.randrange(5, 90)
    facts = {
        "name": (f"{{My name is {name}|I am {name}|I'm {name}|You can call me {name}|Hello, I am {name}|Hi, my name is {name}}}", f"{{Hello {name}! Nice to meet you.|Nice to meet you, {name}!}}",
                 "{What is my name|What's my name|Who am I|Do you know my name|Do you remember my name|How am I called}", f"Your name is {name}.", name),
        "food": (f"{{I like {food}|I love {food}|My favourite food is {food}|I like to eat {food}}}", f"{{{capital(food)}! That sounds good.|I see, you like {food}.}}",
                 "{What do I like to eat|What do I like|Which food do I like|What is my favourite food|What's my favourite food}", f"You like {food}.", food),
        "hobby": (f"{{I like {hobby}|I enjoy {hobby}|My hobby is {hobby}|I often go {hobby}|In my free time I like {hobby}}}", f"{{{capital(hobby)} is fun.|{capital(hobby)} sounds nice.}}",
                  "{What is my hobby|What's my hobby|What do I enjoy|What do I do in my free time}", f"You like {hobby}.", hobby),
        "town": (f"{{I live in {town}|I am from {town}|I come from {town}|My home is in {town}}}", f"{{{town} is a nice place.|I have heard of {town}.}}",
                 "{Where do I live|Where am I from|Which town do I live in|Where is my home}", f"You live in {town}.", town),
        "pet": (f"{{I have a {pet} called {called}|I have a {pet} named {called}|My {pet} is called {called}|My {pet}'s name is {called}}}", f"{{{called} is a nice name for a {pet}.|Say hello to {called} from me!}}",
                f"{{What is my {pet}'s name|What's the name of my {pet}|What is my {pet} called|How is my {pet} called|Do you remember the name of my {pet}}}", f"Your {pet} is called {called}.", called),
        "colour": (f"{{My favourite colour is {hue}|I like the colour {hue}|I love {hue}|The colour that I like best is {hue}}}", f"{{{capital(hue)} is a lovely colour.|{capital(hue)} is a good choice.}}",
                   "{What is my favourite colour|What's my favourite color|Which colour do I like|What colour do I like best}", f"Your favourite colour is {hue}.", hue),
        "age": (f"{{I am {age} years old|I'm {age} years old|I am {age}|My age is {age}}}", f"{{{age} is a good age.|{age} years, how nice!}}",
                "{How old am I|What is my age|What's my age|Do you remember how old I am}", f"You are {age} years old.", str(age)),
    }  # fmt: skip
    kinds = rng.sample(list(facts), rng.choice([1, 1, 2]))
    turns = []
    if len(kinds) == 2 and rng.random() < 0.4:
        said = " and ".join(pick(rng, facts[k][0]) for k in kinds) + "."
        turns.append((typed(rng, said), pick(rng, facts[kinds[0]][1])))
    else:
        for k in kinds:
            turns.append((typed(rng, pick(rng, facts[k][0]) + pick(rng, "{.|.|!|}")), pick(rng, facts[k][1])))
    if rng.random() < 0.3:
        between = rng.choice([small_talk, capital_of, colour, opposite])(rng)
        # What is held out stays held out, and the name of another may not come between.
        if len(between.turns) == 1 and between.trains():
            turns.append(between.turns[0])
    _, _, q, answer, word = facts[rng.choice(kinds)]
    question = pick(rng, f"{q}?")
    if start := pick(rng, "{|||And |So |Tell me, }"):
        question = start + question[0].lower() + question[1:]
    turns.append((typed(rng, question), answer))
    return Part("memory", turns, Check(all=[word]))


def story(rng: random.Random) -> Part:
    hero = rng.choice(stories.HEROES + stories.PEOPLE)
    name = rng.choice(tables.NAMES)
    ask_for = "{Tell me|Tell|Write|Make up|Give me} {a|a short|a little|another} {story|tale|fairy tale}"
    way = rng.random()
    if way < 0.15:
        told = stories.tell(rng)
        return one("stories", rng, request(rng, ask_for), told.text, Check(some=["Once", "Long ago"]))
    if way < 0.55:
        told = stories.tell(rng, hero)
        said, check = f"{ask_for} about {a(hero)}", Check(all=[hero])
    elif way < 0.85:
        told = stories.tell(rng, hero, name)
        said, check = f"{ask_for} about {a(hero)} {{named|called}} {name}", Check(all=[hero, name])
    else:
        thing = rng.choice(stories.OBJECTS)
        told = stories.tell(rng, hero, None, thing)
        said, check = f"{ask_for} about {a(hero)} and {thing}", Check(all=[hero, thing.split(" ", 1)[1]])
    first = (typed(rng, request(rng, said)), told.text)
    if rng.random() < 0.55:
        return Part("stories", [first], check)
    q, answer, word = rng.choice([
        (f"{{What was the name of the {told.hero}|What was the {told.hero} called|Who was the {told.hero}|How was the {told.hero} called}}?", f"The {told.hero} was called {told.name}.", told.name),
        (f"{{Where did {told.name} live|Where was {told.name}'s home}}?", f"{told.name} lived {told.place}.", told.place),
        (f"{{Which animal did {told.name} meet|Who was {told.name}'s friend|Which other animal is in the story|Who else was in the story}}?", f"It was {a(told.friend)}.", told.friend),
    ])  # fmt: skip
    return Part("follow-up", [first, (typed(rng, pick(rng, q)), answer)], Check(all=[word]))


def repeat(rng: random.Random) -> Part:
    animal = rng.choice(list(tables.ANIMALS))
    phrase = rng.choice([
        f"the {rng.choice(tables.ADJECTIVES)} {animal} {tables.ANIMALS[animal][0]}",
        f"{rng.choice(tables.NAMES)} likes {rng.choice(tables.FOODS)}",
        f"I see {a(rng.choice(tables.COLOURS))} {rng.choice(['house', 'ball', 'hat', 'bird', 'flower', 'boat'])}",
        f"{rng.choice(tables.NAMES)} lives in {rng.choice(tables.TOWNS)}",
    ])  # fmt: skip
    q = pick(rng, f"{{Repeat after me: |Repeat: |Say after me: |Please repeat: |Say: }}{phrase}{{.|}}")
    # What is repeated keeps its letters, so it is not typed in another way.
    return Part("repeating", [(q, capital(phrase) + ".")], Check(all=[phrase]))


def again(rng: random.Random) -> Part:
    first = rng.choice([capital_of, colour, opposite, how_many, job])(rng)
    if len(first.turns) > 1 or not first.trains():
        return again(rng)
    user, answer = first.turns[0]
    then = pick(
        rng,
        "{Say that again|Can you repeat that|Please say that again|What did you say|Sorry, what|Once more, please|Come again}{?|.|}",
    )
    return Part("follow-up", [(user, answer), (typed(rng, then), answer)], Check(exact=answer))


FAMILIES: list[tuple[int, Callable[[random.Random], Part]]] = [
    (14, small_talk), (9, general), (5, capital_of), (8, animal), (7, colour), (3, named_list), (3, category), (4, opposite),
    (2, job), (3, use), (3, how_many), (1, body), (1, landmark), (5, order), (4, larger), (6, count), (2, neighbour), (7, sums),
    (2, apples), (12, about_me), (9, story), (4, repeat), (3, again),
]  # fmt: skip
"""How often each comes, and its maker."""


def parts(rng: random.Random) -> Iterator[Part]:
    """Parts without end."""
    weights, makers = zip(*FAMILIES, strict=True)
    while True:
        yield rng.choices(makers, weights)[0](rng)


def conversation(rng: random.Random, source: Iterator[Part]) -> list[dict[str, str]]:
    """A conversation of one to five parts, none of them held out."""
    said = [{"role": "system", "content": rng.choice(tables.SYSTEMS)}] if rng.random() < 0.15 else []
    for _ in range(rng.choice([1, 1, 2, 2, 3, 4, 5])):
        part = next(p for p in source if p.trains())
        said += messages(part)
    return said


def messages(part: Part) -> list[dict[str, str]]:
    """A part as messages."""
    return [{"role": r, "content": t} for turn in part.turns for r, t in zip(("user", "assistant"), turn, strict=True)]


def held_out(n: int, seed: int) -> list[dict]:
    """`n` held-out parts, no two alike, as many of each family as there are."""
    rng = random.Random(seed)
    found: dict[str, dict[str, Part]] = {}
    for part, _ in zip(parts(rng), range(400 * n), strict=False):
        if part.held_out():
            said = "\n".join(part.said())
            found.setdefault(part.family, {}).setdefault(said, part)
    queues = {family: list(of.values()) for family, of in sorted(found.items())}
    chosen: list[Part] = []
    while len(chosen) < n and any(queues.values()):
        for queue in queues.values():
            if queue and len(chosen) < n:
                chosen.append(queue.pop(0))
    return [
        {"family": p.family, "messages": messages(p)[:-1], "answer": p.turns[-1][1], "check": asdict(p.check)}
        for p in chosen
    ]


def right(check: dict, answer: str) -> bool:
    """Whether an answer passes its check."""

    def has(words: str) -> bool:
        return re.search(rf"(?<!\w){re.escape(words.strip())}(?!\w)", answer, re.IGNORECASE) is not None

    if check["exact"] is not None:
        return answer.strip().lower() == check["exact"].strip().lower()
    if not all(map(has, check["all"])):
        return False
    return not check["some"] or sum(map(has, check["some"])) >= check["least"]


def write(out: Path, n_train: int, n_held_out: int, seed: int) -> None:
    """Writes `train.jsonl` and `held_out.jsonl`."""
    out.mkdir(parents=True, exist_ok=True)
    rng = random.Random(seed)
    source = parts(rng)
    with open(out / "train.jsonl", "w", encoding="utf-8") as file:
        for _ in range(n_train):
            file.write(json.dumps({"messages": conversation(rng, source)}, ensure_ascii=False) + "\n")
    with open(out / "held_out.jsonl", "w", encoding="utf-8") as file:
        for case in held_out(n_held_out, seed + 1):
            file.write(json.dumps(case, ensure_ascii=False) + "\n")


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, required=True, help="folder for train.jsonl and held_out.jsonl")
    parser.add_argument("--train", type=int, default=60_000, help="conversations to train on")
    parser.add_argument("--held-out", type=int, default=400, help="cases that are held out")
    parser.add_argument("--seed", type=int, default=1)


def run(args: argparse.Namespace) -> None:
    """Writes both."""
    write(args.out, args.train, args.held_out, args.seed)
