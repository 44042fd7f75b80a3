"""Small vocabularies: byte-level BPE and SentencePiece-like BPE, as Hugging Face files and as GGUF metadata."""
import json

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

TEXT = """once upon a time there was a small lamp that stood in the window of a house by the sea.
every night the lamp was lit, and the boats that were late could see it and come home.
one night the wind blew the window open and the light went out. the boy who lived in the house
heard the sea and the wind, and he climbed the stairs in the dark and lit the lamp again.
in the morning there was a fish on the step, wrapped in a leaf, and nobody knew who had left it there.
the boy said that the sea had thanked him. his sister said that it was the baker. who can tell?"""
WORD = r"""(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"""
NORMAL, UNKNOWN, CONTROL, BYTE = 1, 2, 3, 6

CHATML = """{%- for message in messages %}
{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
{{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""
HEADERS = (
    "{{ bos_token }}{% for message in messages %}{{ '<|start_of_turn|>' + message['role'] + '\\n' "
    "+ message['content'] | trim + '<|end_of_turn|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_of_turn|>assistant\\n' }}{% endif %}"
)
INST = (
    "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' %}"
    "{{ '[INST] ' + message['content'] + ' [/INST]' }}{% else %}{{ ' ' + message['content'] + eos_token }}"
    "{% endif %}{% endfor %}"
)


class Vocabulary:
    """A tokenizer with its files: subclasses build it, give the chat template and the GGUF keys."""

    bos = unk = None
    template_in_config = True

    def ids(self, *tokens):
        return [self.tokenizer.token_to_id(t) for t in tokens]

    def save(self, folder):
        # One line: an indented vocabulary is three times as long
        (folder / "tokenizer.json").write_text(self.tokenizer.to_str() + "\n")
        config = {
            "added_tokens_decoder": {
                str(i): {"content": t.content, "lstrip": False, "normalized": t.normalized, "rstrip": False,
                         "single_word": False, "special": t.special}
                for i, t in sorted(self.tokenizer.get_added_tokens_decoder().items())
            },
            "add_bos_token": self.bos is not None,
            "bos_token": self.bos, "eos_token": self.ends[0], "unk_token": self.unk, "pad_token": self.ends[0],
            "clean_up_tokenization_spaces": False, "model_max_length": 128,
            "tokenizer_class": "PreTrainedTokenizerFast",
        }
        if self.template_in_config:
            config["chat_template"] = self.template
        else:
            (folder / "chat_template.jinja").write_text(self.template)
        (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=1) + "\n")

    def gguf(self, w):
        vocab = sorted(self.tokenizer.get_vocab(), key=self.tokenizer.token_to_id)
        w.add_tokenizer_model(self.gguf_model)
        w.add_tokenizer_pre(self.gguf_pre)
        w.add_token_list(vocab)
        if self.gguf_model == "llama":
            w.add_token_scores(self.scores)
        w.add_token_types([self.token_type(i, t) for i, t in enumerate(vocab)])
        if self.gguf_model == "gpt2":
            w.add_token_merges([" ".join(m) for m in json.loads(self.tokenizer.to_str())["model"]["merges"]])
        if self.bos:
            w.add_bos_token_id(self.ids(self.bos)[0])
        end, end_of_turn = self.ids(*self.ends)
        w.add_eos_token_id(end)
        w.add_eot_token_id(end_of_turn)
        w.add_pad_token_id(end)
        if self.unk:
            w.add_unk_token_id(self.ids(self.unk)[0])
        w.add_add_bos_token(self.bos is not None)
        w.add_chat_template(self.template)

    def token_type(self, token_id, token):
        if token == self.unk:
            return UNKNOWN
        added = self.tokenizer.get_added_tokens_decoder().get(token_id)
        if added and added.special:
            return CONTROL
        return BYTE if self.gguf_model == "llama" and token.startswith("<0x") else NORMAL


class ByteLevel(Vocabulary):
    """GPT-2's byte-level BPE with control tokens after the vocabulary, as Llama 3 and Qwen have it."""

    gguf_model = "gpt2"

    def __init__(self, size, control, digits):
        t = Tokenizer(models.BPE())
        t.pre_tokenizer = pre_tokenizers.Sequence([
            pre_tokenizers.Split(Regex(WORD % digits), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ])
        t.decoder = decoders.ByteLevel()
        alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
        trainer = trainers.BpeTrainer(vocab_size=size - len(control), initial_alphabet=alphabet, show_progress=False)
        t.train_from_iterator([TEXT], trainer)
        t.add_special_tokens([AddedToken(c, special=True, normalized=False) for c in control])
        if self.bos:
            single = [(self.bos, t.token_to_id(self.bos))]
            t.post_processor = processors.TemplateProcessing(single=f"{self.bos} $A", special_tokens=single)
        self.tokenizer = t


class Llama3Like(ByteLevel):
    gguf_pre, bos, ends, template = "llama-bpe", "<|begin_of_text|>", ["<|end_of_text|>", "<|end_of_turn|>"], HEADERS

    def __init__(self, size):
        super().__init__(size, [self.bos, *self.ends, "<|start_of_turn|>"], r"\p{N}{1,3}")


class QwenLike(ByteLevel):
    gguf_pre, ends, template, template_in_config = "qwen2", ["<|im_end|>", "<|endoftext|>"], CHATML, False

    def __init__(self, size):
        super().__init__(size, ["<|endoftext|>", "<|im_start|>", "<|im_end|>"], r"\p{N}")


class MistralLike(Vocabulary):
    """SentencePiece-like BPE with byte fallback: control tokens first, then 256 bytes, pieces, characters."""

    gguf_model, gguf_pre = "llama", "default"
    bos, unk, ends, template = "<s>", "<unk>", ["</s>", "[END]"], INST

    def __init__(self, size):
        control = [self.unk, self.bos, "</s>", "[INST]", "[/INST]", "[END]"]
        head = control + [f"<0x{b:02X}>" for b in range(256)]
        learner = Tokenizer(models.BPE())
        trainer = trainers.BpeTrainer(vocab_size=size - len(head), show_progress=False)
        # Word by word, so that a piece has its space in front only
        learner.train_from_iterator(["▁" + word for word in TEXT.split()], trainer)
        learnt = sorted(learner.get_vocab(), key=learner.token_to_id)
        pieces = [p for p in learnt if len(p) > 1]
        tokens = head + pieces + [p for p in learnt if len(p) == 1]
        vocab = {t: i for i, t in enumerate(tokens)}
        self.scores = [0.0] * len(head) + [float(-i) for i in range(len(tokens) - len(head))]
        # Every way to make a piece, not only the learnt one: SentencePiece knows scores, not pairs
        merges = []
        for piece in pieces:
            pairs = [(piece[:i], piece[i:]) for i in range(1, len(piece))]
            merges += sorted((p for p in pairs if set(p) <= set(vocab)), key=lambda p: (vocab[p[0]], vocab[p[1]]))
        t = Tokenizer(models.BPE(vocab, merges, unk_token=self.unk, fuse_unk=True, byte_fallback=True))
        t.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        t.decoder = decoders.Sequence([
            decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0),
        ])
        t.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
        t.add_special_tokens([AddedToken(c, special=True, normalized=False) for c in control])
        self.tokenizer = t


def minimal(size):
    """GGUF keys of a SentencePiece vocabulary of single characters, without byte tokens."""
    characters = "▁abcdefghijklmnopqrstuvwxyz.,!?'-0123456789:;()ABCDEFGHIJKLMNOPQRSTUVWXYZ&%$#@*+/=<>[]{}~|^_\"`\n"
    tokens = ["<unk>", "<s>", "</s>", *characters][:size]
    assert len(tokens) == size

    def keys(w):
        w.add_tokenizer_model("llama")
        w.add_tokenizer_pre("default")
        w.add_token_list(tokens)
        w.add_token_scores([0.0] * 3 + [float(-i) for i in range(size - 3)])
        w.add_token_types([UNKNOWN, CONTROL, CONTROL] + [NORMAL] * (size - 3))
        w.add_bos_token_id(1)
        w.add_eos_token_id(2)
        w.add_unk_token_id(0)
        w.add_add_bos_token(True)
    return keys
