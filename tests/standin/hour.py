"""How long a search of an hour takes: `python -m tests.standin.hour`; needs 885 MB of disk and memory for its index.

108,000 frames of 8 patches of 512 random values stand for a file, and a random vector for what a text tower says.
"""

from __future__ import annotations

import os
import tempfile
import time
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bitstream.header import Teacher
from codec.features import search

FRAMES, PATCHES, DIM = 108_000, 8, 512
SEARCHES = 9


class Hour:
    """What a search asks of a reader."""

    name, digest = "hour", "hour"
    header: Any = SimpleNamespace(grid=(2, 4), teacher=Teacher("random", "random", DIM, ""), fps=Fraction(30))
    presentation: Any = SimpleNamespace(seconds=lambda frame: Fraction(frame, 30))

    def __len__(self) -> int:
        return FRAMES

    def features(self, start: int = 0, stop: int | None = None) -> NDArray[np.float32]:
        return _unit(np.random.default_rng(start).standard_normal((len(range(FRAMES)[start:stop]), PATCHES, DIM)))


def _unit(vectors: NDArray[np.float64]) -> NDArray[np.float32]:
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


def main() -> None:
    query = _unit(np.random.default_rng(1).standard_normal((1, DIM)))
    teacher: Any = SimpleNamespace(identity=Hour.header.teacher, text=lambda texts: query)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["NVCODEC_CACHE"] = folder
        times = []
        for _ in range(1 + SEARCHES):
            start = time.perf_counter()
            search([Hour()], "anything", teacher=teacher)
            times.append(time.perf_counter() - start)
    first, *ms = [1000 * seconds for seconds in times]
    print(f"index made and searched: {first / 1000:.1f} s, with {torch.get_num_threads()} threads")
    print(f"then {len(ms)} searches: {min(ms):.0f} to {max(ms):.0f} ms, median {np.median(ms):.0f}")


if __name__ == "__main__":
    main()
