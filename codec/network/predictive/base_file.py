"""A base in a file: the weights of decoder and encoder that all videos start from, in safetensors.

Tensors of the decoder are named network.*, those of the encoder analysis.*. All are float16 but those of the scale
networks, which hold the very integers that parsing depends on: weights int8, biases int32, as in `IntegerLayer`. So
whoever reads the file parses alike, whatever it then computes in.

The file's metadata is one entry, "base", of JSON: kind, version, shape (`Shape`) and about, which says where the
weights are from.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from codec.errors import BaseError
from codec.network.predictive.network import PredictiveNetwork, Shape
from codec.network.predictive.scales import BIAS_UNIT, WEIGHT_SHIFT, TrainedLayer

KIND, VERSION = "predictive", 4
LARGEST_WIDTH = 1024  # of anything in a shape


@dataclass(frozen=True)
class Base:
    """The content of a base's file."""

    shape: Shape
    about: dict[str, Any]  # JSON: what it was trained on, for how long, with what result
    tensors: dict[str, Tensor]  # float32, by the names that they have in training

    def part(self, name: str) -> dict[str, Tensor]:
        """The tensors of `network` or `analysis`, named as within it."""
        return {k.removeprefix(f"{name}."): v for k, v in self.tensors.items() if k.startswith(f"{name}.")}


def write_base(path: Path, network: PredictiveNetwork, analysis: nn.Module, about: Mapping[str, Any]) -> None:
    """Write a base; the same weights and `about` give the same bytes.

    Raises BaseError for weights that no file can hold, and OSError.
    """
    tensors = {f"analysis.{k}": _half(k, v) for k, v in analysis.state_dict().items()}
    tensors |= {f"network.{k}": _half(k, v) for k, v in network.state_dict().items() if not _is_scale(network, k)}
    for name, module in network.named_modules():
        if isinstance(module, TrainedLayer):
            try:
                layer = module.integers()
            except ValueError as error:
                raise BaseError(f"{name}: {error}") from error
            tensors[f"network.{name}.weight"] = torch.from_numpy(layer.weight)
            tensors[f"network.{name}.bias"] = torch.from_numpy(layer.bias)
    meta = {"kind": KIND, "version": VERSION, "shape": asdict(network.shape), "about": about}
    path.write_bytes(save(tensors, {"base": json.dumps(meta, sort_keys=True)}))


def read_base(path: Path) -> Base:
    """Inverse of `write_base`, but for what float16 rounds away. Raises BaseError where there is no whole base."""
    try:
        with safe_open(path, framework="pt") as file:
            meta = json.loads((file.metadata() or {})["base"])
            if (meta["kind"], meta["version"]) != (KIND, VERSION):
                raise ValueError(f"it is of kind {meta['kind']!r}, version {meta['version']}")
            tensors = {k: _trained(file.get_tensor(k)) for k in file.keys()}  # noqa: SIM118 (not a dict)
        shape = Shape(**meta["shape"])
        if not all(type(n) is int and 0 < n <= LARGEST_WIDTH for n in asdict(shape).values()):
            raise ValueError("its shape is out of range")
        if damaged := [name for name, tensor in tensors.items() if not tensor.isfinite().all()]:
            raise ValueError(f"{damaged[0]} has values that are no numbers")
        return Base(shape, dict(meta["about"]), tensors)
    except OSError as error:
        raise BaseError(f"cannot read the base {path}: {error.strerror or error}") from error
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise BaseError(f"{path} is not a base that this version reads ({error})") from error


def load_part(module: nn.Module, tensors: Mapping[str, Tensor], where: Path) -> None:
    """Give a module exactly the tensors that it has parameters for. Raises BaseError."""
    try:
        module.load_state_dict(tensors)
    except RuntimeError as error:
        raise BaseError(f"{where} is damaged: its tensors are not those of its shape") from error


def _is_scale(network: PredictiveNetwork, name: str) -> bool:
    return isinstance(network.get_submodule(name.rpartition(".")[0]), TrainedLayer)


def _half(name: str, tensor: Tensor) -> Tensor:
    half = tensor.detach().cpu().to(torch.float16).contiguous()
    if not half.isfinite().all():
        raise BaseError(f"{name} has values that float16 cannot hold: the training has diverged")
    return half


def _trained(stored: Tensor) -> Tensor:
    """A tensor of the file as training has it: integers become the parameters of a `TrainedLayer` that give them."""
    if stored.dtype == torch.int8:
        return stored.float() / 2**WEIGHT_SHIFT
    if stored.dtype == torch.int32:
        return stored.float() / BIAS_UNIT  # exact: below 2**23, divided by a power of two
    return stored.float()
