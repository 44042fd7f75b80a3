"""A model of the same function whose activations have outliers, for trying quantisation on: some columns of what the
linear layers read become larger, by the norm's gain or the rows of `up`, and the weights that read them smaller."""

import argparse
import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

READERS = {
    "input_layernorm": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "post_attention_layernorm": ("mlp.gate_proj", "mlp.up_proj"),
}
"""The linear layers behind each norm of a Llama, Mistral or Qwen."""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", type=Path, help="a Hugging Face folder: Llama, Mistral or Qwen, not quantised")
    parser.add_argument("--out", type=Path, required=True, help="folder for the model, in f32 and without a sidecar")
    parser.add_argument("--share", type=float, default=0.01, help="part of the columns")
    parser.add_argument("--factor", type=float, default=30.0, help="how much larger they become")


def run(args: argparse.Namespace) -> None:
    """Writes the model."""
    config = json.loads((args.model / "config.json").read_text(encoding="utf-8"))
    if "quantization_config" in config:
        raise SystemExit(f"outliers: {args.model / 'config.json'}: expected a model that is not quantised")
    tensors: dict[str, torch.Tensor] = {}
    for path in sorted(args.model.glob("*.safetensors")):
        if path.name != "deputy.safetensors":
            tensors |= {name: tensor.float() for name, tensor in load_file(path).items()}
    for n in range(config["num_hidden_layers"]):
        spread(tensors, f"model.layers.{n}.", args.share, args.factor)
    args.out.mkdir(parents=True, exist_ok=True)
    for path in args.model.iterdir():
        is_index = path.name.endswith(".safetensors.index.json")
        if path.suffix in (".json", ".jinja", ".model") and path.name != "deputy.json" and not is_index:
            shutil.copyfile(path, args.out / path.name)
    config["torch_dtype"] = config["dtype"] = "float32"
    (args.out / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    save_file(tensors, args.out / "model.safetensors", {"format": "pt"})
    print(f"written to {args.out}")


def spread(tensors: dict[str, torch.Tensor], layer: str, share: float, factor: float) -> None:
    """Makes a layer's outliers, the same columns in each."""

    def outliers(n: int) -> torch.Tensor:
        """One in a hundred, evenly, and at least one."""
        count = max(1, round(share * n))
        return ((torch.arange(count) + 0.5) * n / count).long()

    for norm, readers in READERS.items():
        gain = tensors[f"{layer}{norm}.weight"]
        columns = outliers(len(gain))
        gain[columns] *= factor
        for reader in readers:
            tensors[f"{layer}{reader}.weight"][:, columns] /= factor
    up = tensors[f"{layer}mlp.up_proj.weight"]
    rows = outliers(len(up))
    up[rows] *= factor
    if (bias := tensors.get(f"{layer}mlp.up_proj.bias")) is not None:
        bias[rows] *= factor
    tensors[f"{layer}mlp.down_proj.weight"][:, rows] /= factor
