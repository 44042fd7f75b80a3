"""The engine's sidecar: `deputy.json` and `deputy.safetensors` beside a model. The format is documented in
`src/branch/schema.rs`."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from .routing import Routed
from .run import save_atomically

HASHED = 64 << 10
ELEMENTS = {"F32": "f32", "F16": "f16", "BF16": "bf16"}
BLOCKS = {"q8_0": (32, 34), "q4_0": (32, 18), "q4_1": (32, 20)}
"""Elements and bytes of a block."""


def shape_of(config: dict) -> dict:
    """The numbers that a sidecar names its model by."""
    n_heads = config["num_attention_heads"]
    return {
        "architecture": config["model_type"],
        "n_layers": config["num_hidden_layers"],
        "dim": config["hidden_size"],
        "ffn_dim": config["intermediate_size"],
        "n_heads": n_heads,
        "n_kv_heads": config.get("num_key_value_heads") or n_heads,
        "head_dim": config.get("head_dim") or config["hidden_size"] // n_heads,
    }


def identity(folder: Path) -> dict:
    """The hash of a model folder, as the engine's `ModelIdentity::of` makes it, and its numbers."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    quantized = config.get("quantization_config", {}).get("tensors", {})
    shape = shape_of(config)
    tensors: dict[str, tuple[str, list[int], bytes, int]] = {}
    files = [f for f in sorted(folder.glob("*.safetensors")) if f.name != "deputy.safetensors"]
    for path in files:
        raw = path.read_bytes()
        n = int.from_bytes(raw[:8], "little")
        header = json.loads(raw[8 : 8 + n])
        for name, entry in header.items():
            if name == "__metadata__":
                continue
            begin, end = entry["data_offsets"]
            data = raw[8 + n + begin : 8 + n + min(end, begin + HASHED)]
            element, dims = ELEMENTS.get(entry["dtype"], entry["dtype"]), entry["shape"]
            if name in quantized:
                element = quantized[name]
                length, size = BLOCKS[element]
                dims = [*dims[:-1], dims[-1] // size * length]
            tensors[name] = (element, dims, data, end - begin)
    hasher = hashlib.sha256()
    text = f"deputy model 1\narchitecture {shape['architecture']}\n"
    for key in ("n_layers", "dim", "ffn_dim", "n_heads", "n_kv_heads", "head_dim"):
        text += f"{key} {shape[key]}\n"
    for name in sorted(tensors, key=str.encode):
        element, dims, data, size = tensors[name]
        text += f"{len(name.encode())} {name} {element} [{', '.join(map(str, dims))}] {size}\n"
        hasher.update(text.encode())
        hasher.update(data)
        text = ""
    hasher.update(text.encode())
    return {"hash": hasher.hexdigest(), **shape}


def write(routed: Routed, folder: Path, offsets: list[dict], default: float, cache: str, calibration: dict) -> None:
    """Writes the sidecar beside the model that already lies in `folder`. `offsets`: effort, attention, ffn, ascending."""
    tensors: dict[str, torch.Tensor] = {}
    for n, layer in enumerate(routed.projections):
        if not layer:
            continue
        for name, p in layer.items():
            tensors[f"layers.{n}.{name}.B"] = p.B.detach().to(torch.float16)
            tensors[f"layers.{n}.{name}.D"] = p.factor().detach().to(torch.float16)
        router = routed.routers[n]
        tensors[f"layers.{n}.router.norm"] = router.norm.detach().float()
        if router.hidden is not None:
            tensors[f"layers.{n}.router.hidden"] = router.hidden.detach().to(torch.float16)
            tensors[f"layers.{n}.router.hidden_norm"] = router.hidden_norm.detach().float()
        tensors[f"layers.{n}.router.weight"] = router.weight.detach().float()
        tensors[f"layers.{n}.router.bias"] = router.bias.detach().float()
    value = {
        "version": 1,
        "model": identity(folder),
        "dense_layers": routed.dense_layers,
        "dense_tokens": routed.dense_tokens,
        "router": {"kind": "mlp", "width": routed.width} if routed.width else {"kind": "linear"},
        "cache": cache,
        "factors": "auto",
        "effort": {"default": default, "offsets": offsets},
        "layers": routed.ranks,
        "calibration": calibration,
    }
    tensors = {name: t.cpu().contiguous() for name, t in tensors.items()}
    save_atomically(lambda file: save_file(tensors, file), folder / "deputy.safetensors")
    text = json.dumps(value, indent=2) + "\n"
    save_atomically(lambda file: file.write_text(text, encoding="utf-8"), folder / "deputy.json")


def read(folder: Path) -> dict:
    """What `deputy.json` says; it must be of the model that it lies beside."""
    value = json.loads((folder / "deputy.json").read_text(encoding="utf-8"))
    found, expected = value["model"]["hash"], identity(folder)["hash"]
    if found != expected:
        raise SystemExit(f"{folder / 'deputy.json'}: made for another model: expected hash {expected}, found {found}")
    return value


@torch.no_grad()
def load_tensors(routed: Routed, folder: Path) -> None:
    """Factors and routers of the sidecar in `folder`. A linear router's are left aside where an `mlp` one is trained."""
    if "quantization_config" in read(folder):
        raise SystemExit(f"{folder / 'deputy.json'}: quantised: start from the model before `deputy quantize`")
    tensors = load_file(folder / "deputy.safetensors")
    for n, layer in enumerate(routed.projections):
        if not layer:
            continue
        for name, p in layer.items():
            p.B.copy_(tensors[f"layers.{n}.{name}.B"])
            p.D.copy_(tensors[f"layers.{n}.{name}.D"])
        router = routed.routers[n]
        if (router.hidden is None) != (f"layers.{n}.router.hidden" not in tensors):
            continue
        for name, parameter in router.named_parameters():
            parameter.copy_(tensors[f"layers.{n}.router.{name}"])
