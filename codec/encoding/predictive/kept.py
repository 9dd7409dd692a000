"""What the encoding of a segment has done so far, on disk: interrupted, it goes on from there.

Whatever is tried again is the same again, so all that is kept are the frames of each try. Resumed, the tries run as
before; frames that are there are decoded, not searched again.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bitstream import CodedFrame
from codec.encoding.predictive.frame import Encoded
from codec.encoding.predictive.gop import GopSettings
from codec.errors import CheckpointError
from codec.training import checkpoint

SECONDS = 60.0  # between checkpoints


@dataclass(frozen=True)
class Key:
    """Which frame of which try."""

    quality: float
    structure: GopSettings
    lineage: str  # of `gop.lineages`


class Kept:
    """The frames of all tries."""

    def __init__(self, state: Path | None) -> None:
        """state: where they are kept, and come from if something is there; None: nowhere. Raises CheckpointError."""
        self._state, self._saved = state, time.monotonic()
        self._frames: dict[Key, Encoded] = {}
        if state is not None and state.exists():
            tensors, meta = checkpoint.load(state)
            try:
                self._frames = _read(tensors, meta)
            except (KeyError, TypeError) as error:
                message = f"checkpoint {state} is of another version of nvcodec: start again with --force"
                raise CheckpointError(message) from error

    def get(self, key: Key) -> Encoded | None:
        return self._frames.get(key)

    def add(self, key: Key, encoded: Encoded, interrupted: bool) -> None:
        """Keep a frame; a checkpoint where it is time. Raises OutputError, and KeyboardInterrupt after a last one."""
        self._frames[key] = encoded
        if interrupted or time.monotonic() - self._saved > SECONDS:
            if self._state is not None:
                checkpoint.save(self._state, *_write(self._frames))
            self._saved = time.monotonic()
        if interrupted:
            raise KeyboardInterrupt


def _write(frames: dict[Key, Encoded]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """-> tensors and JSON of a checkpoint."""
    records = b"".join(e.coded.record for e in frames.values())
    entries = [
        asdict(key) | asdict(e) | {"coded": {**asdict(e.coded), "record": len(e.coded.record)}}
        for key, e in frames.items()
    ]
    return {"records": torch.from_numpy(np.frombuffer(records, np.uint8).copy())}, {"frames": entries}


def _read(tensors: dict[str, Tensor], meta: dict[str, Any]) -> dict[Key, Encoded]:
    """Inverse of `_write`."""
    records, place, found = tensors["records"].numpy().tobytes(), 0, {}
    for entry in meta["frames"]:
        coded = entry["coded"]
        record = records[place : place + coded["record"]]
        place += len(record)
        coded = CodedFrame(**coded | {"references": tuple(coded["references"]), "record": record})
        key = Key(entry["quality"], GopSettings(**entry["structure"]), entry["lineage"])
        found[key] = Encoded(coded, entry["bits"], entry["error"])
    return found
