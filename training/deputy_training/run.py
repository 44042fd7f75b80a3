"""What every training run needs: a device, its precision, a schedule, files that are never half written."""

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

import torch


def device_of(name: str) -> torch.device:
    """The device of that name; `auto` is CUDA where there is one."""
    return torch.device("cuda" if name == "auto" and torch.cuda.is_available() else "cpu" if name == "auto" else name)


def autocast(device: torch.device) -> contextlib.AbstractContextManager:
    """bf16 products where the hardware has them: 1.5 x on CPUs with avx512_bf16."""
    if device.type == "cpu" and not torch.cpu._is_avx512_bf16_supported():
        return contextlib.nullcontext()
    return torch.autocast(device.type, torch.bfloat16)


def learning_rate(step: int, steps: int, warmup: int) -> float:
    """The part of the highest rate: up in a line, level to two fifths, down in a line."""
    if step < warmup:
        return (step + 1) / warmup
    level = steps * 2 // 5
    return 1.0 if step < level else max(0.02, (steps - step) / (steps - level))


def save_atomically(write: Callable[[Path], None], path: Path) -> None:
    """Writes beside the file, then renames: whoever reads finds the old one or the new one."""
    beside = path.with_suffix(path.suffix + ".new")
    write(beside)
    os.replace(beside, path)
