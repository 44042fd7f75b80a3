"""Tokens to learn from: prose from files, conversations from `conversations.write`."""

import json
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

START, END, TEXT = "<|im_start|>", "<|im_end|>", "<|endoftext|>"

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)

IGNORED = -100
"""The label of a token that is not learned: what the user says."""

HELD_OUT = 0.05
"""Part at the end of each text that is not trained on."""


def read_texts(files: list[Path]) -> tuple[list[str], list[str]]:
    """The part of each text to train on, and the part that is held out."""
    train, held = [], []
    for file in files:
        text = file.read_text(encoding="utf-8", errors="replace")
        cut = int(len(text) * (1 - HELD_OUT))
        train.append(text[:cut])
        held.append(text[cut:])
    return train, held


def read_conversations(file: Path) -> list[list[dict[str, str]]]:
    """The messages of each line."""
    return [json.loads(line)["messages"] for line in file.read_text(encoding="utf-8").splitlines()]


def train_tokenizer(texts: list[str], vocab_size: int, n_ctx: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE with single digits, and a chat template of the ChatML kind."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[TEXT, START, END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=True,
    )
    bpe.train_from_iterator(texts, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe, eos_token=END, pad_token=TEXT, model_max_length=n_ctx, clean_up_tokenization_spaces=False
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def load_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    """The tokenizer as its `tokenizer.json` says, which is what the engine reads; some classes of transformers build
    another from its vocabulary."""
    return PreTrainedTokenizerFast.from_pretrained(folder)


def first_tokens(tokenizer: PreTrainedTokenizerFast, folder: Path) -> list[int]:
    """What begins a prompt: the token at its front, where the tokenizer or its configuration sets one there."""
    first = tokenizer.encode("", add_special_tokens=True)
    config = folder / "tokenizer_config.json"
    adds = config.exists() and json.loads(config.read_text(encoding="utf-8")).get("add_bos_token")
    return [tokenizer.bos_token_id] if not first and adds else first


def encode_conversation(tokenizer: PreTrainedTokenizerFast, said: list[dict[str, str]]) -> tuple[list[int], list[int]]:
    """Ids as the chat template makes them, and labels: what the assistant says, to its end."""
    ids: list[int] = []
    labels: list[int] = []
    for message in said:
        head = tokenizer.encode(f"{START}{message['role']}\n", add_special_tokens=False)
        content = tokenizer.encode(f"{message['content']}{END}", add_special_tokens=False)
        tail = tokenizer.encode("\n", add_special_tokens=False)
        ids += head + content + tail
        learned = content if message["role"] == "assistant" else [IGNORED] * len(content)
        labels += [IGNORED] * len(head) + learned + [IGNORED] * len(tail)
    return ids, labels


class Prose:
    """Windows at random places of texts."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, texts: list[str]):
        first = tokenizer.convert_tokens_to_ids(TEXT)
        ids: list[int] = []
        for text in texts:
            ids += [first, *tokenizer.encode(text, add_special_tokens=False)]
        self.ids = np.array(ids, dtype=np.int32)

    def window(self, rng: random.Random, n: int) -> tuple[np.ndarray, np.ndarray]:
        """`n` ids and their labels."""
        at = rng.randrange(max(1, len(self.ids) - n))
        ids = self.ids[at : at + n]
        return ids, ids


class Chats:
    """Windows that start with a conversation and go on with others."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, conversations: list[list[dict[str, str]]]):
        encoded = [encode_conversation(tokenizer, said) for said in conversations]
        self.starts = np.cumsum([0] + [len(ids) for ids, _ in encoded])[:-1]
        self.ids = np.concatenate([np.array(ids, dtype=np.int32) for ids, _ in encoded])
        self.labels = np.concatenate([np.array(labels, dtype=np.int32) for _, labels in encoded])

    def window(self, rng: random.Random, n: int) -> tuple[np.ndarray, np.ndarray]:
        """`n` ids and their labels."""
        last = int(np.searchsorted(self.starts, len(self.ids) - n, side="right"))
        at = self.starts[rng.randrange(max(1, last))]
        return self.ids[at : at + n], self.labels[at : at + n]


def batches(
    prose: Prose | None, chats: Chats | None, chat_share: float, n_rows: int, n: int, seed: int, start: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Batches of ids and labels `[n_rows, n]`; batch `i` depends on the seed and `i` alone, so a run can go on."""
    step = start
    while True:
        rng = random.Random(f"{seed} {step}")
        rows = []
        for row in range(n_rows):
            # Rounded by the row, so that each batch holds its share.
            chat = prose is None or (chats is not None and (row + rng.random()) / n_rows < chat_share)
            rows.append((chats if chat else prose).window(rng, n))
        ids, labels = (torch.from_numpy(np.stack(of)).long() for of in zip(*rows, strict=True))
        yield ids, labels
        step += 1
