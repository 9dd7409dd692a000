"""One move of the weights: frames coded, their loss, its gradients, a step of the optimisers.

A move is near two thousand small operations, and a processor takes longer to launch them than a GPU to carry them out.
All shapes of a training are fixed, so on CUDA each kind of move is recorded once, as a graph, and launched as a whole.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from codec.base.evaluate import SCORES, scores
from codec.base.losses import loss_of
from codec.base.model import Codec, Outcome, Seen
from codec.base.optimisers import set_rates, step

REPORTED = ("loss", *SCORES)
WARM_UP = 3  # moves of a kind before it is recorded: what they allocate or choose once may not be part of a recording

Made = tuple[Tensor, Tensor]  # frames as decoded, uint8 [B, 3, S, S]; means of what is REPORTED, float32


class Mover:
    """Moves the weights of a codec by frames, two kinds of them: key frames and predicted ones."""

    def __init__(self, codec: Codec, optimisers: Sequence[torch.optim.Optimizer], dtype: torch.dtype) -> None:
        """dtype: of convolutions. Weights and optimisers may be replaced by others only before the first move."""
        self._codec, self._optimisers, self._dtype = codec, optimisers, dtype
        self._moves: Counter[bool] = Counter()  # by whether frames are predicted
        self._recorded: dict[bool, _Recording] = {}

    def __call__(self, frame: Tensor, quality: Tensor, seen: Seen | None, progress: float) -> Made:
        """Code frames as `Codec` does and move the weights, at a share of the training. B may not change."""
        set_rates(self._optimisers, progress)
        given = (frame, quality) if seen is None else (frame, quality, seen.references, seen.motion, seen.sides)
        predicted = seen is not None
        self._moves[predicted] += 1
        if not frame.is_cuda or self._moves[predicted] <= WARM_UP:
            return self._move(*given)
        if predicted not in self._recorded:
            self._recorded[predicted] = _Recording(self._move, given, list(self._recorded.values()))
        return self._recorded[predicted](given)

    def _move(self, frame: Tensor, quality: Tensor, *seen: Tensor) -> Made:
        # entered here: what autocast has cast is of this move alone
        with torch.autocast(frame.device.type, self._dtype, enabled=self._dtype is torch.bfloat16):
            outcome: Outcome = self._codec(frame, quality, Seen(*seen) if seen else None)
        pixels = frame[0, 0].numel()
        loss = loss_of(outcome, quality, pixels)
        loss.backward()
        step(self._optimisers)
        told = [x.detach().mean() for x in (loss, *scores(outcome, pixels).values())]
        return outcome.frame, torch.stack(told)


class _Recording:
    """A function of tensors on a GPU, recorded: it reads and writes the same memory each time."""

    def __init__(self, function: Callable[..., Made], given: Sequence[Tensor], others: Sequence[_Recording]) -> None:
        """given: as those that will be. others: never at work at the same time; memory is shared with them."""
        self._given = [x.clone() for x in given]
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph, pool=others[0]._graph.pool() if others else None):
            self._made = function(*self._given)

    def __call__(self, given: Sequence[Tensor]) -> Made:
        for own, value in zip(self._given, given, strict=True):
            own.copy_(value)
        self._graph.replay()
        frame, told = (x.clone() for x in self._made)  # whose memory the others write, too
        return frame, told
