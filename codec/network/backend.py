"""Where and in which number format the network runs: chosen by what is there and what a measurement shows."""

from __future__ import annotations

import time
from functools import cache

import torch
import torch.nn.functional as F

from codec.errors import DeviceError


def pick_device(name: str = "auto") -> torch.device:
    """`auto` (CUDA, else MPS, else CPU), `cpu`, `cuda`, `cuda:1` or `mps` -> device. DeviceError if it is not there."""
    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    if name == "auto":
        return torch.device("cuda" if cuda else "mps" if mps else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise DeviceError(f"unknown device '{name}': choose auto, cpu, cuda, cuda:N or mps") from None
    there = {"cpu": True, "cuda": cuda and (device.index or 0) < torch.cuda.device_count(), "mps": mps}
    if not there.get(device.type, False):
        raise DeviceError(f"device '{name}' is not available here: use --device cpu, or auto for the best there is")
    return device


def pick_dtype(device: torch.device) -> torch.dtype:
    """The faster of float32 and bfloat16 for convolutions on this device."""
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    return _measured_dtype() if device.type == "cpu" else torch.float32


@cache
def _measured_dtype() -> torch.dtype:
    """bfloat16 wins only where the processor has instructions for it (AVX-512 BF16, AMX): one look takes ~50 ms."""

    def seconds(dtype: torch.dtype) -> float:
        x = torch.randn(2, 48, 48, 80).to(dtype=dtype, memory_format=torch.channels_last).requires_grad_()
        w = torch.randn(48, 48, 3, 3).to(dtype=dtype, memory_format=torch.channels_last).requires_grad_()
        best = float("inf")
        for _ in range(4):
            start = time.perf_counter()
            F.conv2d(x, w, padding=1).sum().backward()
            best = min(best, time.perf_counter() - start)
        return best

    return min((torch.float32, torch.bfloat16), key=seconds)
