"""GGUF files laid out as llama.cpp's convert_hf_to_gguf writes them, and K-quant encoders in numpy."""
import math

import gguf
import numpy as np

Type = gguf.GGMLQuantizationType
NAMES = {
    "model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output",
    "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output", "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm",
    "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
}
FILE_TYPES = {"F32": 0, "F16": 1, "Q4_0": 2, "Q4_1": 3, "Q8_0": 7, "Q5_0": 8, "Q4_K": 14, "Q5_K": 16,
              "Q4_K_M": 15, "Q6_K": 18, "BF16": 32}


def gguf_name(name):
    stem, kind = name.rsplit(".", 1)
    if stem in NAMES:
        return f"{NAMES[stem]}.{kind}"
    _, _, layer, part = stem.split(".", 3)
    return f"blk.{layer}.{NAMES[part]}.{kind}"


def permute(w, n_heads):
    """Rotate-half row order to the interleaved order of llama.cpp's `llama` architecture."""
    return w.reshape(n_heads, 2, w.shape[0] // n_heads // 2, *w.shape[1:]).swapaxes(1, 2).reshape(w.shape)


def unpermute(w, n_heads):
    return w.reshape(n_heads, w.shape[0] // n_heads // 2, 2, *w.shape[1:]).swapaxes(1, 2).reshape(w.shape)


def heads_of(name, config):
    """The head count by which a tensor is permuted in the `llama` architecture, or None."""
    if "q_proj" in name:
        return config["num_attention_heads"]
    return config["num_key_value_heads"] if "k_proj" in name else None


def llama3_factors(config, head_dim):
    rope = config["rope_parameters"]
    low, high = rope["low_freq_factor"], rope["high_freq_factor"]
    context, factors = rope["original_max_position_embeddings"], []
    for i in range(0, head_dim, 2):
        wavelength = 2 * math.pi * rope["rope_theta"] ** (i / head_dim)
        if wavelength < context / high:
            factors.append(1.0)
        elif wavelength > context / low:
            factors.append(rope["factor"])
        else:
            smooth = (context / wavelength - low) / (high - low)
            factors.append(1 / ((1 - smooth) / rope["factor"] + smooth))
    return np.array(factors, np.float32)


def write(path, config, weights, vocabulary, kind="F32", type_of=lambda name: Type.F32):
    """Write `weights` (Hugging Face names, float32); `type_of` names each matrix's format."""
    arch = {"llama": "llama", "mistral": "llama"}.get(config["model_type"], config["model_type"])
    n_heads, dim = config["num_attention_heads"], config["hidden_size"]
    head_dim = config.get("head_dim") or dim // n_heads
    rope = config["rope_parameters"]
    w = gguf.GGUFWriter(path, arch)
    w.add_type("model")
    w.add_name(path.parent.name)
    w.add_block_count(config["num_hidden_layers"])
    w.add_context_length(config["max_position_embeddings"])
    w.add_embedding_length(dim)
    w.add_feed_forward_length(config["intermediate_size"])
    w.add_head_count(n_heads)
    w.add_head_count_kv(config["num_key_value_heads"])
    w.add_rope_freq_base(rope["rope_theta"])
    w.add_layer_norm_rms_eps(config["rms_norm_eps"])
    if config.get("head_dim"):
        w.add_key_length(head_dim)
        w.add_value_length(head_dim)
    w.add_file_type(FILE_TYPES[kind])
    if config.get("sliding_window") and config["model_type"] == "mistral":
        w.add_sliding_window(config["sliding_window"])
    if arch == "llama":
        w.add_vocab_size(config["vocab_size"])
        w.add_rope_dimension_count(head_dim)
    vocabulary(w)
    w.add_quantization_version(gguf.GGML_QUANT_VERSION)
    if rope["rope_type"] == "llama3":
        w.add_tensor("rope_freqs.weight", llama3_factors(config, head_dim))
    for name, values in weights.items():
        if arch == "llama" and heads_of(name, config):
            values = permute(values, heads_of(name, config))
        target = Type.F32 if values.ndim == 1 else type_of(name)
        # astype copies, so that a permuted view is contiguous when it is written
        values = np.ascontiguousarray(values, np.float32)
        if target != Type.F32:
            values = K_ENCODERS.get(target, lambda v: gguf.quants.quantize(v, target))(values)
        raw = None if target in (Type.F32, Type.F16) else target
        w.add_tensor(gguf_name(name), values, raw_dtype=raw)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def read_weights(path, config, names):
    """The weights of a GGUF file under their Hugging Face names, dequantised to float32."""
    stored = {t.name: t for t in gguf.GGUFReader(path).tensors}
    weights = {}
    for name in names:
        t = stored[gguf_name(name)]
        values = gguf.quants.dequantize(t.data, t.tensor_type).astype(np.float32).reshape(t.shape[::-1])
        if config["model_type"] in ("llama", "mistral") and heads_of(name, config):
            values = unpermute(values, heads_of(name, config))
        weights[name] = np.ascontiguousarray(values)
    return weights


def f16_bytes(x):
    return x.astype(np.float16).reshape(-1, 1).view(np.uint8)


def scaled_sub_blocks(x, top):
    """(header bytes, quants [n, 8, 32]) of Q4_K (top 15) and Q5_K (top 31): w = d * sc * q - dmin * m."""
    blocks = x.reshape(-1, 8, 32)
    low = np.minimum(blocks.min(-1), 0)
    step = (blocks.max(-1) - low) / top
    d, dmin = (np.float16(v.max(-1) / 63).astype(np.float32) for v in (step, -low))
    sc, m = (np.clip(np.rint(v / s[:, None]), 0, 63).astype(np.uint8) for v, s in ((step, d), (-low, dmin)))
    scale, offset = ((s[:, None] * v)[..., None] for s, v in ((d, sc), (dmin, m)))
    q = np.clip(np.rint((blocks + offset) / np.maximum(scale, 1e-30)), 0, top).astype(np.uint8)
    packed = np.concatenate([
        sc[:, :4] | (sc[:, 4:] >> 4) << 6, m[:, :4] | (m[:, 4:] >> 4) << 6, sc[:, 4:] & 15 | (m[:, 4:] & 15) << 4,
    ], axis=-1)
    return [f16_bytes(d), f16_bytes(dmin), packed], q


def low_nibbles(q):
    pairs = (q & 15).reshape(-1, 4, 2, 32)
    return (pairs[:, :, 0] | pairs[:, :, 1] << 4).reshape(-1, 128)


def rows(parts, x):
    return np.concatenate(parts, axis=-1).reshape(*x.shape[:-1], -1)


def encode_q4_k(x):
    header, q = scaled_sub_blocks(x, 15)
    return rows([*header, low_nibbles(q)], x)


def encode_q5_k(x):
    header, q = scaled_sub_blocks(x, 31)
    high = np.bitwise_or.reduce((q >> 4) << np.arange(8, dtype=np.uint8)[:, None], axis=1)
    return rows([*header, high, low_nibbles(q)], x)


def encode_q6_k(x):
    blocks = x.reshape(-1, 16, 16)
    peak = np.take_along_axis(blocks, np.abs(blocks).argmax(-1)[..., None], -1)[..., 0]
    d = np.float16(np.abs(peak).max(-1) / 32 / 127).astype(np.float32)
    sc = np.clip(np.rint(peak / -32 / d[:, None]), -128, 127).astype(np.int8)
    scale = d[:, None] * sc
    q = np.rint(blocks / np.where(scale == 0, 1, scale)[..., None])
    q = (np.clip(q, -32, 31) + 32).astype(np.uint8).reshape(-1, 2, 4, 32)
    low = np.concatenate([q[:, :, 0] & 15 | (q[:, :, 2] & 15) << 4, q[:, :, 1] & 15 | (q[:, :, 3] & 15) << 4], -1)
    high = np.bitwise_or.reduce((q >> 4) << (2 * np.arange(4, dtype=np.uint8))[:, None], axis=2)
    return rows([low.reshape(-1, 128), high.reshape(-1, 64), sc.view(np.uint8), f16_bytes(d)], x)


K_ENCODERS = {Type.Q4_K: encode_q4_k, Type.Q5_K: encode_q5_k, Type.Q6_K: encode_q6_k}
