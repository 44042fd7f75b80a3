#!/usr/bin/env python3
"""Make the fixtures of this folder: tiny seeded random models, what transformers computes with them, and
configs that must be refused. See README.md.

    make.py [NAME ...]      all of them, or the named folders only

Every model is checked before it is kept: transformers agrees with the float64 forward pass of forward.py
on the files as stored, the largest logit of every position leads clearly, and each feature that a folder
is there for changes its logits.
"""
import json
import shutil
import sys
from pathlib import Path

import gguf
import numpy as np
import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, MistralConfig, Qwen2Config, Qwen3Config

import forward
import ggufs
import vocabularies
from refused import REFUSED

HERE = Path(__file__).parent
MIN_LEAD = 5e-3  # of the logits' standard deviation, between the two largest logits of a row
MAX_ERROR = 2e-5  # of the logits' standard deviation, float32 transformers against float64 numpy
N_GREEDY = 32
PROMPTS = ["Once upon a time", "the boy lit the lamp", "Straße, café: 7 × 86 = 602!\n  ok?"]
MESSAGES = [
    {"role": "user", "content": "Who lit the lamp?"},
    {"role": "assistant", "content": "The boy."},
    {"role": "user", "content": "and the fish?"},
]


def without(*keys):
    """An edit of a config that drops keys."""
    return lambda config, weights: [config.pop(k, None) for k in keys]


def setting(**values):
    return lambda config, weights: config.update(values)


def rope(**values):
    return lambda config, weights: config.update(rope_parameters=config["rope_parameters"] | values)


def zeroed(part):
    return lambda config, weights: weights.update({k: 0 * v for k, v in weights.items() if part in k})


def plain_norm(part):
    return lambda config, weights: weights.update({k: 0 * v + 1 for k, v in weights.items() if part in k})


BASE = dict(hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
            vocab_size=80, max_position_embeddings=128, rms_norm_eps=1e-3, bos_token_id=1, eos_token_id=2,
            tie_word_embeddings=True)
THETA = dict(rope_type="default", rope_theta=500.0)
LLAMA3 = dict(rope_type="llama3", rope_theta=500.0, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
              original_max_position_embeddings=64)
LINEAR = dict(rope_type="linear", rope_theta=500.0, factor=4.0)
UNSCALED = ("rope scaling", rope(rope_type="default"))
QKV_BIAS = [(f"{x} bias", zeroed(f"{x}_proj.bias")) for x in "qkv"]


class Model:
    """One folder: a config, how it is stored, and the edits that must change the logits."""

    def __init__(self, name, covers, kind, matters=(), *, n=40, store=torch.float32, gguf=False, vocabulary=None,
                 shards=None, head_only=False, v4=None, **config):
        self.name, self.covers, self.kind, self.n, self.store = name, covers, kind, n, store
        self.matters, self.gguf, self.shards, self.head_only, self.v4 = list(matters), gguf, shards, head_only, v4
        config = BASE | dict(rope_parameters=THETA) | config
        self.vocabulary = vocabulary(config["vocab_size"]) if vocabulary else None
        if self.vocabulary:
            v = self.vocabulary
            config |= dict(bos_token_id=v.ids(v.bos)[0] if v.bos else None, eos_token_id=v.ids(v.ends[0])[0])
        self.config = kind(**config, attn_implementation="eager")
        self.config.dtype = store


MODELS = [
    Model("llama-mha-untied", "Llama 2: as many key/value heads as heads, own lm_head; minimal SPM vocabulary in GGUF",
          LlamaConfig, num_key_value_heads=4, num_hidden_layers=1, tie_word_embeddings=False, rms_norm_eps=1e-5,
          gguf=True),
    Model("llama-gqa-tied", "grouped heads, tied embeddings, byte-level BPE, template in tokenizer_config.json",
          LlamaConfig, vocabulary=vocabularies.Llama3Like, vocab_size=320, num_key_value_heads=1, n=24),
    Model("llama3-rope", "rope type llama3 with kept, blended and scaled frequencies; rope_freqs.weight in GGUF",
          LlamaConfig, [UNSCALED], rope_parameters=LLAMA3, num_attention_heads=2, num_key_value_heads=1, n=44,
          gguf=True, v4=dict(rope_theta=500.0, rope_scaling={k: v for k, v in LLAMA3.items() if k != "rope_theta"})),
    Model("llama-linear-rope", "rope type linear; config-v4.json spells it `type`", LlamaConfig, [UNSCALED],
          rope_parameters=LINEAR, num_hidden_layers=1,
          v4=dict(rope_theta=500.0, rope_scaling=dict(type="linear", factor=4.0))),
    Model("llama-bias", "attention_bias and mlp_bias", LlamaConfig,
          [(f"{x} bias", zeroed(f"{x}_proj.bias")) for x in ("q", "k", "v", "o", "gate", "up", "down")],
          attention_bias=True, mlp_bias=True, num_hidden_layers=1, gguf=True),
    Model("llama-head-dim", "head_dim 24 where hidden/heads is 16", LlamaConfig, head_dim=24, num_attention_heads=2,
          num_key_value_heads=1, num_hidden_layers=1),
    Model("llama-bf16", "stored as bfloat16; logits in float32 from those values", LlamaConfig, store=torch.bfloat16,
          n=24),
    Model("llama-f16", "stored as float16, untied; logits in float32 from those values", LlamaConfig,
          store=torch.float16, n=24, tie_word_embeddings=False),
    Model("llama-sharded", "three or more shards and an index, untied", LlamaConfig, shards="28KB", n=24,
          tie_word_embeddings=False),
    Model("llama-head-only", "tied, and only lm_head.weight is stored, no embed_tokens", LlamaConfig, head_only=True,
          num_hidden_layers=1, n=24),
    Model("smollm2", "SmolLM2's ratios: 3 heads to 1, ffn 8/3, tied, 3 layers, 72 ids; hidden 24 is no multiple of 32",
          LlamaConfig, hidden_size=24, num_attention_heads=3, num_key_value_heads=1, num_hidden_layers=3,
          rms_norm_eps=1e-5, n=72, rope_parameters=dict(rope_type="default", rope_theta=100000.0)),
    Model("mistral-window", "sliding window 7 in every layer; SPM-like BPE with byte fallback, [INST] template",
          MistralConfig, [("window", without("sliding_window")), ("window off by one", setting(sliding_window=8))],
          sliding_window=7, vocabulary=vocabularies.MistralLike, vocab_size=320, n=24, gguf=True,
          num_key_value_heads=1, intermediate_size=32),
    Model("mistral-head-dim", "Mistral Nemo: head_dim apart from hidden/heads, no window, untied", MistralConfig,
          sliding_window=None, head_dim=16, num_key_value_heads=1, num_hidden_layers=1, tie_word_embeddings=False),
    Model("qwen2", "biases on q, k, v; untied", Qwen2Config, QKV_BIAS, tie_word_embeddings=False, rms_norm_eps=1e-6,
          num_hidden_layers=1, gguf=True, bos_token_id=None),
    Model("qwen2.5-tied", "Qwen2.5: biases on q, k, v; tied, theta 1e6, 7 heads to 1", Qwen2Config, QKV_BIAS,
          hidden_size=56, intermediate_size=32, num_attention_heads=7, num_key_value_heads=1, num_hidden_layers=1,
          rms_norm_eps=1e-6, rope_parameters=dict(rope_type="default", rope_theta=1000000.0)),
    Model("qwen2-window-layers", "use_sliding_window from layer 1 on (max_window_layers, layer_types)", Qwen2Config,
          [("window", setting(use_sliding_window=False)),
           ("first layer full", setting(max_window_layers=0, layer_types=None))],
          use_sliding_window=True, sliding_window=6, max_window_layers=1),
    Model("qwen3", "q and k norms, own head_dim; byte-level BPE, ChatML in chat_template.jinja", Qwen3Config,
          [("q norm", plain_norm("q_norm")), ("k norm", plain_norm("k_norm"))], head_dim=16, num_key_value_heads=1,
          intermediate_size=32, n=20,
          vocabulary=vocabularies.QwenLike, vocab_size=320, gguf=True, rms_norm_eps=1e-6,
          v4=dict(rope_theta=500.0, rope_scaling=None)),
]

SMALL = dict(hidden_size=64, intermediate_size=32, num_attention_heads=4, num_key_value_heads=2)
# Rows of one and of two K-quant blocks. attn_output and ffn_down have rows of 32, which K-quants cannot hold.
WIDE = dict(hidden_size=256, intermediate_size=32, num_attention_heads=2, num_key_value_heads=1, head_dim=16)
WIDER = WIDE | dict(hidden_size=512)
QUANTISED = [
    # name, shape, format of matrices, format of rows that are no multiple of 256, exceptions by part of the name
    ("F16", SMALL, "F16", "F16", {}),
    ("BF16", SMALL, "BF16", "BF16", {}),
    ("Q8_0", SMALL, "Q8_0", "Q8_0", {}),
    ("Q4_0", SMALL, "Q4_0", "Q4_0", {}),
    ("Q4_1", SMALL, "Q4_1", "Q4_1", {}),
    ("Q5_0", SMALL, "Q5_0", "Q5_0", {}),
    ("Q4_K", WIDE, "Q4_K", "Q5_0", {}),
    ("Q5_K", WIDE, "Q5_K", "Q5_0", {}),
    ("Q6_K", WIDE, "Q6_K", "Q8_0", {}),
    ("Q4_K_M", WIDER, "Q4_K", "Q5_0", {"v_proj": "Q6_K", "lm_head": "Q6_K"}),
]


def fill(model, rng, store=torch.float32):
    """Seeded weights, rounded to what is stored, that leave no part of the forward pass without effect.

    Only parameters are rounded: `model.to(bfloat16)` would round the rotary frequencies too.
    """
    tied = model.config.tie_word_embeddings
    with torch.no_grad():
        for name, p in model.named_parameters():
            if name.endswith("norm.weight"):
                values = rng.uniform(0.5, 1.6, p.shape)
            elif name.endswith("bias"):
                values = 0.4 * rng.standard_normal(p.shape)
            elif "embed_tokens" in name:
                values = rng.standard_normal(p.shape) * (1.3 / p.shape[1] ** 0.5 if tied else 0.5)
            else:
                gain = 1.5 if "q_proj" in name or "k_proj" in name else 1.0
                values = rng.standard_normal(p.shape) * gain / p.shape[1] ** 0.5
            p.copy_(torch.from_numpy(values.astype(np.float32)).to(store))


@torch.no_grad()
def logits_of(model, ids):
    return model(torch.from_numpy(ids)[None]).logits[0].float().numpy()


def lead(rows):
    top = np.sort(rows, axis=-1)
    return float((top[:, -1] - top[:, -2]).min() / rows.std())


def error(a, b):
    return float(np.abs(a - b).max() / b.std())


def float32_model(config, state):
    """A transformers model with these weights, computing in float32 with plain attention."""
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32, attn_implementation="eager").eval()
    if state is None:
        return model
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert not unexpected and all(m == "lm_head.weight" for m in missing), (missing, unexpected)
    model.tie_weights()
    return model


def stored_weights(model):
    tied = model.config.tie_word_embeddings
    return {k: v for k, v in model.state_dict().items() if not (tied and k == "lm_head.weight")}


def build(spec):
    """The model, ids and logits of the first seed whose largest logits all lead clearly."""
    for seed in range(1000):
        rng = np.random.default_rng([seed, *spec.name.encode()])
        model = float32_model(spec.config, None)
        fill(model, rng, spec.store)
        ids = rng.integers(3, spec.config.vocab_size, spec.n)
        logits = logits_of(model, ids)
        if lead(logits) < MIN_LEAD:
            continue
        golden = golden_of(spec, model) if spec.vocabulary else None
        if spec.vocabulary and golden is None:
            continue
        return model, ids, logits, golden, seed
    sys.exit(f"{spec.name}: no seed found")


def golden_of(spec, model):
    """Greedy continuations of the prompts and of a rendered conversation, or None where a choice is too close."""
    v = spec.vocabulary
    folder = HERE / spec.name
    v.save(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ends = v.ids(*v.ends)
    cases = []
    rendered = tokenizer.apply_chat_template(MESSAGES, tokenize=False, add_generation_prompt=True)
    for text in [*PROMPTS, rendered]:
        chat = text is rendered
        ids = tokenizer(text, add_special_tokens=not chat)["input_ids"]
        assert ids == v.tokenizer.encode(text, add_special_tokens=not chat).ids
        out = model.generate(torch.tensor([ids]), do_sample=False, max_new_tokens=N_GREEDY, eos_token_id=ends,
                             pad_token_id=ends[0], attention_mask=torch.ones(1, len(ids), dtype=torch.long),
                             output_logits=True, return_dict_in_generate=True)
        if lead(torch.cat(out.logits).numpy()) < MIN_LEAD:
            return None
        new = out.sequences[0, len(ids):].tolist()
        end = new.pop() if new[-1] in ends else None
        case = {"prompt_ids": ids, "greedy_ids": new, "stop": "length" if end is None else "eos", "eos_id": end,
                "text": tokenizer.decode(new, skip_special_tokens=True, clean_up_tokenization_spaces=False)}
        cases.append(({"messages": MESSAGES, "rendered": text} if chat else {"prompt": text}) | case)
    stops = {c["stop"] for c in cases}
    varied = all(len(set(c["greedy_ids"])) >= min(6, len(c["greedy_ids"])) for c in cases)
    return {"cases": cases} if stops == {"length", "eos"} and varied else None


def save_logits(folder, ids, logits):
    save_file({"ids": torch.from_numpy(ids.astype(np.int32)), "logits": torch.from_numpy(logits)},
              folder / "logits.safetensors")


def dump(path, value):
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def make_folder(spec):
    folder = HERE / spec.name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    model, ids, logits, golden, seed = build(spec)
    weights = stored_weights(model)
    model.config.dtype = spec.store
    model.to(spec.store).save_pretrained(folder, **({"max_shard_size": spec.shards} if spec.shards else {}))
    if spec.head_only:
        stored = load_file(folder / "model.safetensors")
        stored["lm_head.weight"] = stored.pop("model.embed_tokens.weight")
        save_file(stored, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "generation_config.json").unlink(missing_ok=True)
    save_logits(folder, ids, logits)
    if golden:
        dump(folder / "golden.json", golden)
        dump(folder / "generation_config.json", {
            "bos_token_id": spec.config.bos_token_id, "do_sample": False,
            "eos_token_id": spec.vocabulary.ids(*spec.vocabulary.ends), "transformers_version": transformers.__version__,
        })
    config = json.loads((folder / "config.json").read_text())
    if spec.v4:
        old = {k: v for k, v in config.items() if k not in ("rope_parameters", "dtype")}
        dump(folder / "config-v4.json", old | spec.v4 | {"torch_dtype": "float32", "transformers_version": "4.51.0"})
    if spec.gguf:
        numpy_weights = {k: v.float().numpy() for k, v in weights.items()}
        keys = spec.vocabulary.gguf if spec.vocabulary else vocabularies.minimal(spec.config.vocab_size)
        ggufs.write(folder / "model.gguf", config, numpy_weights, keys)
        back = ggufs.read_weights(folder / "model.gguf", config, numpy_weights)
        assert all((back[k] == numpy_weights[k]).all() for k in back)
        for t in gguf.GGUFReader(folder / "model.gguf").tensors:
            if t.name == "rope_freqs.weight":
                plain = forward.inverse_frequencies(config | {"rope_parameters": THETA}, 2 * len(t.data))
                assert np.allclose(plain / t.data, model.model.rotary_emb.inv_freq, rtol=1e-6)
    return check_folder(spec, ids, logits, golden) | {"covers": spec.covers, "seed": seed}


def check_folder(spec, ids, logits, golden):
    """Compare the logits with forward.py on the stored files; see every feature matter."""
    folder = HERE / spec.name
    names = ["config.json"] + (["config-v4.json"] if spec.v4 else [])
    for name in names:
        config, weights = forward.read_folder(folder, name)
        exact = forward.forward(config, weights, ids)
        assert error(logits, exact) < MAX_ERROR, (spec.name, name, error(logits, exact))
    matters = [("rope theta", rope(rope_theta=config.get("rope_theta", 500.0) * 1.5)), *spec.matters]
    config, weights = forward.read_folder(folder)
    effects = {}
    for label, edit in matters:
        edited, changed = dict(config), dict(weights)
        edit(edited, changed)
        effects[label] = error(forward.forward(edited, changed, ids), exact)
        assert effects[label] > 0.02, (spec.name, label, effects[label])
    for case in golden["cases"] if golden else []:
        history = case["prompt_ids"] + case["greedy_ids"] + ([case["eos_id"]] if case["eos_id"] is not None else [])
        rows = forward.forward(config, weights, np.array(history))[len(case["prompt_ids"]) - 1:-1]
        assert rows.argmax(-1).tolist() == history[len(case["prompt_ids"]):]
    loaded = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    if not spec.head_only:
        assert error(logits_of(loaded, ids), exact) < MAX_ERROR
    return facts(folder, logits, exact) | {"effects": {k: round(v, 3) for k, v in effects.items()}}


def facts(folder, logits, exact):
    size = sum(f.stat().st_size for f in folder.iterdir())
    return {"n": logits.shape[0], "vocab": logits.shape[1], "std": round(float(logits.std()), 4),
            "lead": round(lead(logits), 4), "error": float(f"{error(logits, exact):.1e}"), "bytes": size}


def make_quantised(label, shape, main, narrow, exceptions):
    """A GGUF file alone; its logits are those of its own dequantised weights."""
    name = f"gguf-{label.lower()}"
    folder = HERE / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    config = LlamaConfig(**(BASE | shape | dict(num_hidden_layers=1, vocab_size=64, rope_parameters=THETA,
                                                tie_word_embeddings="lm_head" not in exceptions)))
    settings = config.to_dict() | {"head_dim": shape.get("head_dim")}

    def type_of(weight):
        row = {k: v for k, v in exceptions.items() if k in weight}
        wide = "o_proj" not in weight and "down_proj" not in weight
        return ggufs.Type[next(iter(row.values()), main if wide or main == narrow else narrow)]

    for seed in range(1000):
        rng = np.random.default_rng([seed, *name.encode()])
        model = float32_model(config, None)
        fill(model, rng)
        state = {k: v.numpy() for k, v in stored_weights(model).items()}
        if "_K" in label:
            # Small weights as trained models have them: the float16 scales of ffn_up become subnormal
            state = {k: v * (0.1 if "up_proj" in k else 10 if "down_proj" in k else 1) for k, v in state.items()}
        ggufs.write(folder / "model.gguf", settings, state, vocabularies.minimal(64), label, type_of)
        weights = ggufs.read_weights(folder / "model.gguf", settings, state)
        loss = max(error(weights[k], state[k]) for k in state if state[k].ndim == 2)
        assert loss < {"F16": 0.01, "BF16": 0.02, "Q8_0": 0.02, "Q6_K": 0.15}.get(label, 0.6), (label, loss)
        ids = rng.integers(3, 64, 24)
        logits = logits_of(float32_model(config, {k: torch.from_numpy(v) for k, v in weights.items()}), ids)
        if lead(logits) >= MIN_LEAD:
            break
    save_logits(folder, ids, logits)
    exact = forward.forward(settings, {k: v.astype(np.float64) for k, v in weights.items()}, ids)
    assert error(logits, exact) < MAX_ERROR
    kinds = sorted({t.tensor_type.name for t in gguf.GGUFReader(folder / "model.gguf").tensors})
    covers = f"{label}: one layer, rows of {shape['hidden_size']}; tensor types {' '.join(kinds)}"
    return facts(folder, logits, exact) | {"covers": covers, "seed": seed}


def main(names):
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    report = HERE / "expected.json"
    found = json.loads(report.read_text()) if names and report.exists() else {"models": {}, "refused": {}}
    jobs = [(s.name, lambda s=s: make_folder(s)) for s in MODELS]
    jobs += [(f"gguf-{q[0].lower()}", lambda q=q: make_quantised(*q)) for q in QUANTISED]
    for name, job in jobs:
        if not names or name in names:
            found["models"][name] = job()
            print(name, json.dumps(found["models"][name]), flush=True)
    shutil.rmtree(HERE / "refused", ignore_errors=True)
    found["refused"] = {}
    for name, (says, config) in REFUSED.items():
        (HERE / "refused" / name).mkdir(parents=True)
        dump(HERE / "refused" / name / "config.json", config)
        found["refused"][name] = {"message_names": says}
    dump(report, found)


if __name__ == "__main__":
    main(sys.argv[1:])
