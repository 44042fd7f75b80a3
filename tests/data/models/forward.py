"""The forward pass of Llama, Mistral, Qwen2 and Qwen3 in numpy float64, written from the formulas.

It shares no code with transformers: make.py compares the two, and also uses it to show that each
feature of a fixture changes its logits. It reads the stored files, not the model that wrote them.
"""
import json
import math
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open


def read_folder(folder, config_name="config.json"):
    """The config as a dict and the weights as float64, as stored in a Hugging Face folder."""
    folder = Path(folder)
    config = json.loads((folder / config_name).read_text())
    weights = {}
    for file in sorted(folder.glob("model*.safetensors")):
        with safe_open(file, "pt") as tensors:
            for name in tensors.keys():
                weights[name] = tensors.get_tensor(name).to(torch.float64).numpy()
    return config, weights


def rope_settings(config):
    """(theta, scaling) from transformers 5's `rope_parameters` or transformers 4's two keys."""
    rope = config.get("rope_parameters")
    if rope:
        return rope["rope_theta"], rope
    return config.get("rope_theta", 10000.0), config.get("rope_scaling") or {}


def inverse_frequencies(config, head_dim):
    theta, rope = rope_settings(config)
    freqs = theta ** -(np.arange(0, head_dim, 2) / head_dim)
    kind = rope.get("rope_type", rope.get("type", "default"))
    if kind == "default":
        return freqs
    factor = rope["factor"]
    if kind == "linear":
        return freqs / factor
    assert kind == "llama3", kind
    low, high = rope["low_freq_factor"], rope["high_freq_factor"]
    turns = rope["original_max_position_embeddings"] * freqs / (2 * math.pi)
    blend = np.clip((turns - low) / (high - low), 0, 1)
    return blend * freqs + (1 - blend) * freqs / factor


def window_of(config, layer):
    """The number of keys that a query sees, itself included, or None."""
    window = config.get("sliding_window")
    kinds = config.get("layer_types")
    if window is None or config["model_type"] == "llama":
        return None
    if config["model_type"] == "mistral":
        return window
    if not config.get("use_sliding_window"):
        return None
    if kinds:
        return window if kinds[layer] == "sliding_attention" else None
    return window if layer >= config["max_window_layers"] else None


def rms_norm(x, weight, eps):
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + eps) * weight


def rotate(x, cos, sin):
    a, b = np.split(x, 2, axis=-1)
    return np.concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1)


def forward(config, weights, ids):
    """Logits [n, vocab] of every position."""
    dim, n_heads = config["hidden_size"], config["num_attention_heads"]
    n_kv = config.get("num_key_value_heads") or n_heads
    head_dim = config.get("head_dim") or dim // n_heads
    eps, n = config["rms_norm_eps"], len(ids)
    angles = np.arange(n)[:, None] * inverse_frequencies(config, head_dim)[None, :]
    cos, sin = np.cos(angles)[:, None, :], np.sin(angles)[:, None, :]
    back = np.arange(n)[:, None] - np.arange(n)[None, :]

    def linear(x, name):
        y = x @ weights[name + ".weight"].T
        return y + weights[name + ".bias"] if name + ".bias" in weights else y

    head = weights.get("lm_head.weight")
    table = weights.get("model.embed_tokens.weight")
    x = (head if table is None else table)[ids]
    for layer in range(config["num_hidden_layers"]):
        p = f"model.layers.{layer}."
        h = rms_norm(x, weights[p + "input_layernorm.weight"], eps)
        q = linear(h, p + "self_attn.q_proj").reshape(n, n_heads, head_dim)
        k = linear(h, p + "self_attn.k_proj").reshape(n, n_kv, head_dim)
        v = linear(h, p + "self_attn.v_proj").reshape(n, n_kv, head_dim)
        if p + "self_attn.q_norm.weight" in weights:
            q = rms_norm(q, weights[p + "self_attn.q_norm.weight"], eps)
            k = rms_norm(k, weights[p + "self_attn.k_norm.weight"], eps)
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        k, v = (np.repeat(t, n_heads // n_kv, axis=1) for t in (k, v))
        scores = np.einsum("qhd,khd->hqk", q, k) / math.sqrt(head_dim)
        window = window_of(config, layer)
        seen = (back >= 0) & (back < (window or n))
        scores = np.where(seen, scores, -np.inf)
        probs = np.exp(scores - scores.max(-1, keepdims=True))
        probs /= probs.sum(-1, keepdims=True)
        mixed = np.einsum("hqk,khd->qhd", probs, v).reshape(n, -1)
        x = x + linear(mixed, p + "self_attn.o_proj")
        h = rms_norm(x, weights[p + "post_attention_layernorm.weight"], eps)
        gate = linear(h, p + "mlp.gate_proj")
        up = linear(h, p + "mlp.up_proj")
        x = x + linear(gate / (1 + np.exp(-gate)) * up, p + "mlp.down_proj")
    x = rms_norm(x, weights["model.norm.weight"], eps)
    return x @ (table if head is None else head).T
