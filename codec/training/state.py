"""A training between two steps as tensors and JSON, and back: what a checkpoint holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from codec.errors import CheckpointError
from codec.rate.quantize import Quantizer
from codec.training.optim import optimizer_tensors, restore_optimizers

if TYPE_CHECKING:
    from codec.training.fit import Trainer


def training_state(trainer: Trainer) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """All that `restore_state` needs to go on as if nothing had happened: tensors, and JSON."""
    parameters = trainer.parameters
    tensors = {f"model.{k}": v for k, v in trainer.model.state_dict().items()}
    if trainer.encoder is not None:
        tensors |= {f"encoder.{k}": v for k, v in trainer.encoder.state_dict().items()}
    tensors |= {f"mask.{k}": v for k, v in parameters.masks.items()}
    if parameters.quantizer is not None:
        tensors |= {f"index.{k}": torch.from_numpy(v) for k, v in parameters.quantizer.indices.items()}
    if parameters.sensitivity is not None:
        tensors |= {f"sensitivity.{k}": torch.from_numpy(v) for k, v in parameters.sensitivity.items()}
    tensors |= {f"optimizer.{k}": v for k, v in optimizer_tensors(trainer.optimizers).items()}
    meta = {"step": trainer.step, "elapsed": trainer.elapsed, "frozen": trainer.frozen, "pruned": parameters.pruned}
    return tensors, meta


def restore_state(trainer: Trainer, tensors: dict[str, Tensor], meta: dict[str, Any]) -> None:
    """Inverse of `training_state`, on a new trainer. Raises CheckpointError where it belongs to another network."""
    groups: dict[str, dict[str, Tensor]] = {}
    try:
        for name, tensor in tensors.items():
            group, rest = name.split(".", 1)
            groups.setdefault(group, {})[rest] = tensor
        if meta["frozen"]:
            trainer.freeze()
        trainer.model.load_state_dict(groups["model"])
        if trainer.encoder is not None:
            trainer.encoder.load_state_dict(groups["encoder"])
        restore_optimizers(trainer.optimizers, groups.get("optimizer", {}))
        parameters = trainer.parameters
        parameters.masks = {k: v.to(trainer.device) for k, v in groups.get("mask", {}).items()}
        parameters.pruned = meta["pruned"]
        if "index" in groups:
            indices = {k: v.numpy() for k, v in groups["index"].items()}
            parameters.quantizer = Quantizer.from_indices(indices, dict(trainer.model.named_parameters()))
        if "sensitivity" in groups:
            parameters.sensitivity = {k: v.numpy() for k, v in groups["sensitivity"].items()}
        trainer.step, trainer.elapsed = meta["step"], meta["elapsed"]
    except (RuntimeError, LookupError, ValueError, TypeError) as error:
        raise CheckpointError(
            "the checkpoint belongs to another network: give the settings it was made with, or --force a new start"
        ) from error
