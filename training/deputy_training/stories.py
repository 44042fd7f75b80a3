"""Short stories on request, from plots with blanks."""

import random
from dataclasses import dataclass

from . import tables
from .phrases import pick

HEROES = "dog cat mouse rabbit bear fox owl duck frog horse pig hen lion monkey goat elephant wolf bee".split()
PEOPLE = "girl boy king queen farmer baker sailor princess prince".split()
PLACES = ["in a green forest", "on a small farm", "near a blue lake", "in an old castle", "by the sea",
          "on a high hill", "in a quiet village", "at the edge of a wood"]  # fmt: skip
OBJECTS = ["a golden key", "a red ball", "a shiny stone", "an old map", "a small boat", "a blue hat", "a silver bell",
           "a big book", "a warm coat", "a green bottle"]  # fmt: skip
WISHES = ["to see the world", "to find a friend", "to learn to sing", "to fly like a bird", "to climb the highest hill",
          "to bake a big cake", "to see the sea"]  # fmt: skip
LESSONS = ["a friend is better than gold", "it is good to share", "it is good to be kind", "small friends can be a great help",
           "one should never give up", "it is best to tell the truth"]  # fmt: skip


@dataclass(frozen=True)
class Story:
    """A story, and what one may ask about it."""

    text: str
    hero: str
    name: str
    place: str
    found: str
    friend: str


def tell(rng: random.Random, hero: str | None = None, name: str | None = None, thing: str | None = None) -> Story:
    """A story about `hero`, called `name`, in which `thing` turns up."""
    hero = hero or rng.choice(HEROES + PEOPLE)
    name = name or rng.choice(tables.NAMES)
    place = rng.choice(PLACES)
    thing = thing or rng.choice(OBJECTS)
    friend = rng.choice([h for h in HEROES if h != hero])
    wish, lesson = rng.choice(WISHES), rng.choice(LESSONS)
    adjective = rng.choice(tables.ADJECTIVES)
    a = "an" if adjective[0] in "aeiou" else "a"
    the_thing = "the " + thing.split(" ", 1)[1]
    fr = "an" if friend[0] in "aeiou" else "a"
    opening = pick(
        rng,
        f"{{Once upon a time there was|Once there was|Long ago there lived}} {a} {adjective} {hero} "
        f"{{named|called}} {name}. {name} lived {place}.",
    )
    plots = [
        f'{{One day|One morning}} {name} found {thing}. {{"What is this?" said {name}.|{name} had never seen anything like it.}} '
        f'Then came {fr} {friend}, who looked very sad. "I have lost {the_thing}," said the {friend}. '
        f"{name} gave it back {{at once|with a smile}}, and the {friend} was {{so happy|full of joy}}. From that day on they were friends.",
        f"{name} wanted {wish}, but did not know how. {{One day|One evening}} {name} met {fr} {friend}. "
        f'"I will help you," said the {friend}. They {{went|set out}} together, and on the way they found {thing}. '
        f"With it everything was easy. In the end {name} learned that {lesson}.",
        f"{{One night|One day}} there was a great storm, and {name} was afraid. {fr.capitalize()} {friend} knocked at the door. "
        f'"May I come in?" asked the {friend}. {name} let it in, and they sat by the fire. '
        f"In the morning the {friend} gave {name} {thing} to say thank you. {name} was very glad.",
        f"{name} had {thing} and loved it more than anything. But one day it was gone! {name} looked "
        f"{{under the bed and behind the door|everywhere}}. At last {name} asked the {friend}. "
        f'"{{Look up|Look behind you}}!" said the {friend}, and there it was. {name} laughed and learned that {lesson}.',
    ]
    ending = pick(rng, "{| They lived happily ever after.| And that is the end of the story.| And they were happy.}")
    return Story(opening + " " + pick(rng, rng.choice(plots)) + ending, hero, name, place, thing, friend)
