"""Makes quant.safetensors and sampler.json next to this script, from the packages gguf, numpy and transformers.

    python make.py

quant.safetensors
  NAME.bytes, NAME.values   rows of random blocks of each format and what gguf.quants.dequantize makes of them
  x                         [rows, 96] inputs for quantisation: normal, heavy-tailed, tiny, constant, zero, ties
  NAME.of_x                 what gguf.quants.quantize makes of x
sampler.json
  pcg4d       [[input words], [output words]] of the hash
  uniforms    seed, position, token id, and the variate ln(e) of the race, in double precision
  penalty     logits, history, p, logits after transformers' RepetitionPenaltyLogitsProcessor
  filters     logits, settings, and the ids that transformers' warpers keep
"""

import json
import math
from pathlib import Path

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType as Q
from gguf.quants import dequantize, quantize
from safetensors.numpy import save_file

HERE = Path(__file__).parent

# Offsets of the f16 scales in a block.
SCALES = {
    Q.Q8_0: [0],
    Q.Q4_0: [0],
    Q.Q4_1: [0, 2],
    Q.Q5_0: [0],
    Q.Q4_K: [0, 2],
    Q.Q5_K: [0, 2],
    Q.Q6_K: [208],
}


def quant():
    rng = np.random.default_rng(20240229)
    tensors = {}
    for kind, scales in SCALES.items():
        block_len, block_bytes = GGML_QUANT_SIZES[kind]
        n_blocks = 3 if block_len == 32 else 2
        blocks = rng.integers(0, 256, (2 * n_blocks, block_bytes), dtype=np.uint8)
        for at in scales:
            # Of either sign, a subnormal one among them.
            scale = rng.standard_normal(2 * n_blocks).astype(np.float16)
            scale[1] = np.float16(-3e-6)
            blocks[:, at : at + 2] = scale.reshape(-1, 1).view(np.uint8)
        rows = blocks.reshape(2, -1)
        tensors[f"{kind.name.lower()}.bytes"] = rows
        tensors[f"{kind.name.lower()}.values"] = dequantize(rows, kind)
    for kind, n_bytes in [(Q.F32, 4), (Q.F16, 2), (Q.BF16, 2)]:
        values = (rng.standard_normal((2, 37)) * 10.0 ** rng.integers(-6, 4, (2, 37))).astype(np.float32)
        rows = quantize(values, kind).view(np.uint8).reshape(2, 37 * n_bytes)
        tensors[f"{kind.name.lower()}.bytes"] = rows
        tensors[f"{kind.name.lower()}.values"] = dequantize(rows, kind).reshape(2, 37)

    x = rng.standard_normal((11, 96))
    x[2:4] = rng.standard_t(3, (2, 96))
    x[4] *= 1e-3
    x[5] *= 3e-8
    x[6] = 0.7
    x[7, :48] = 0.0
    x[8] = np.arange(-48, 48) / 2
    x[9] *= 100
    # With 127 the largest, Q8_0's step is 1 and halves are ties.
    x[10] = np.arange(-48, 48) + 0.5
    x[10, ::32] = -127
    x = x.astype(np.float32)
    tensors["x"] = x
    for kind in [Q.F16, Q.BF16, Q.Q8_0, Q.Q4_0]:
        tensors[f"{kind.name.lower()}.of_x"] = np.ascontiguousarray(quantize(x, kind)).view(np.uint8).reshape(len(x), -1)
    save_file(tensors, HERE / "quant.safetensors")


def pcg4d(v):
    """Jarzynski & Olano 2020, listing 'pcg4d'."""
    x, y, z, w = ((u * 1664525 + 1013904223) % 2**32 for u in v)
    for shift in (True, False):
        x = (x + y * w) % 2**32
        y = (y + z * x) % 2**32
        z = (z + x * y) % 2**32
        w = (w + y * z) % 2**32
        if shift:
            x, y, z, w = (u ^ (u >> 16) for u in (x, y, z, w))
    return [x, y, z, w]


def sampler():
    import torch
    from transformers import (
        MinPLogitsWarper,
        RepetitionPenaltyLogitsProcessor,
        TemperatureLogitsWarper,
        TopKLogitsWarper,
        TopPLogitsWarper,
    )

    rng = np.random.default_rng(7)
    words = [[0, 0, 0, 0], [1, 2, 3, 4], [2**32 - 1] * 4] + rng.integers(0, 2**32, (13, 4)).tolist()

    uniforms = []
    for seed, position, token in [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (2**64 - 1, 2**32 - 1, 151935)] + [
        (int(s), int(p), int(t))
        for s, p, t in zip(rng.integers(0, 2**63, 27), rng.integers(0, 4096, 27), rng.integers(0, 50000, 27))
    ]:
        bits = pcg4d([seed % 2**32, seed >> 32, position, token])[0]
        v = (bits + 0.5) / 2**32
        uniforms.append([str(seed), position, token, math.log(-math.log1p(-v))])

    penalty = []
    for p in (1.3, 0.8):
        logits = rng.standard_normal(24).astype(np.float32) * 3
        history = rng.integers(0, 24, 10).tolist() * 2
        after = RepetitionPenaltyLogitsProcessor(p)(torch.tensor([history]), torch.from_numpy(logits)[None])[0]
        penalty.append({"p": p, "logits": logits.tolist(), "history": history, "after": after.tolist()})

    filters = []
    for case in range(24):
        logits = torch.from_numpy(rng.standard_normal(40).astype(np.float32) * rng.choice([1.0, 3.0]))
        temperature = float(rng.choice([0.5, 1.0, 1.7]))
        top_k = int(rng.choice([0, 1, 5, 20, 100]))
        top_p = float(rng.choice([1.0, 0.1, 0.5, 0.9, 0.99]))
        min_p = float(rng.choice([0.0, 0.02, 0.1, 0.5]))
        scores = TemperatureLogitsWarper(temperature)(None, logits[None].clone())
        if top_k:
            scores = TopKLogitsWarper(top_k)(None, scores)
        if top_p < 1:
            scores = TopPLogitsWarper(top_p)(None, scores)
        if min_p:
            scores = MinPLogitsWarper(min_p)(None, scores)
        filters.append(
            {
                "temperature": temperature,
                "top_k": top_k,
                "top_p": top_p,
                "min_p": min_p,
                "logits": logits.tolist(),
                "kept": torch.isfinite(scores[0]).nonzero()[:, 0].tolist(),
            }
        )

    golden = {
        "pcg4d": [[w, pcg4d(w)] for w in words],
        "uniforms": uniforms,
        "penalty": penalty,
        "filters": filters,
    }
    lines = [f'"{key}": [\n' + ",\n".join(json.dumps(v) for v in values) + "\n]" for key, values in golden.items()]
    (HERE / "sampler.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    quant()
    sampler()
