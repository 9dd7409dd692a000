"""Scale networks fitted once more, to the integers that an encoder codes.

In the training of a base these are rounded beside networks that move, in crops, all luma as latents. An encoder's are
of whole frames, at the qualities of its levels, towards averages along the motion, and where cells tell their luma
otherwise, networks see what it comes to. Here they are held, and networks of the entropy model alone move: what a
decoder shows does not change.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from codec.atomic import atomic_output
from codec.base.model import load_codec, read_weights
from codec.base.optimisers import rate_at
from codec.base.parsed import Parsed, Parser
from codec.base.scenes import Frame, Say
from codec.network.predictive.base_file import write_base
from codec.network.predictive.cell_transforms import as_latents_seen
from codec.network.predictive.frames import moving_of
from codec.network.predictive.network import (
    CODED,
    FIRST,
    MOVING,
    PredictiveNetwork,
    around,
    as_cells,
    checkerboard,
    globals_of,
    halves,
    magnitudes,
    places,
)
from codec.network.predictive.scales import row_bits
from codec.network.predictive.store import digest_of
from codec.network.predictive.transform import LUMA
from codec.training.interrupts import deferred_interrupts

BATCH = 4  # frames of a step
PEAK = 1e-3  # learning rate
DECAY = 0.998  # of the moving average of the weights, which is what is kept
TOLD_OTHERWISE = 0.1  # what bits of luma count where a cell has it in other values, under rows that these only promise
SMALL = 500.0  # bits: frames are drawn by the root of theirs and this
REPORT = 500  # steps


@dataclass(frozen=True, eq=False)
class Example:
    """A frame as scale networks see it."""

    hyper: NDArray[np.int16]
    seen: NDArray[np.int8]  # [LATENTS, h, w]: residuals, and in place of other values what they come to
    otherwise: NDArray[np.bool_]  # [h, w]: where that is so
    moved: NDArray[np.uint8]  # [MOVING, h, w]
    quality: int
    predicted: bool


def example(parsed: Parsed) -> Example:
    symbols, predicted = parsed.symbols, parsed.ratio is not None
    seen, otherwise = symbols.residuals.copy(), symbols.transforms != 0
    if otherwise.any():
        values, told = (torch.from_numpy(x[..., otherwise].T) for x in (seen[:LUMA], symbols.transforms))
        seen[:LUMA, otherwise] = as_latents_seen(values.float(), told.long()).numpy().T
    none = np.zeros((MOVING, *otherwise.shape), np.uint8)
    moved = moving_of(symbols)[0].numpy().astype(np.uint8) if predicted else none
    return Example(symbols.hyper, seen.astype(np.int8), otherwise, moved, parsed.quality, predicted)


def bits_of(network: PredictiveNetwork, examples: Sequence[Example]) -> Tensor:
    """Bits of frames of one size and kind under a network's rows, with gradients: [B]."""

    def stacked(name: str) -> Tensor:
        return torch.from_numpy(np.stack([getattr(e, name) for e in examples])).float()

    hyper, seen, moved, otherwise = (stacked(name) for name in ("hyper", "seen", "moved", "otherwise"))
    quality, predicted = torch.tensor([float(e.quality) for e in examples]), examples[0].predicted
    told = globals_of(quality, predicted)[:, None].expand(-1, seen[0, 0].numel(), -1)
    told = torch.cat((network.context(hyper).flatten(1, 2), as_cells(moved), told), -1)
    size = seen.shape[2:]
    near = as_cells(around(magnitudes(seen * checkerboard(*size, seen.device))))
    cells = as_cells(seen).index_select(2, places(CODED, seen.device))
    counts = torch.ones_like(cells)  # in the order of CODED
    luma = [n for n, c in enumerate(CODED) if c < LUMA]
    counts[..., luma] -= (1 - TOLD_OTHERWISE) * otherwise.flatten(1)[..., None]
    bits = network.hyper_bits(hyper, quality, predicted)
    for number, where in enumerate(halves(*size, seen.device)):
        parts = [told] if number == 0 else [told, near]
        inputs = torch.cat([part.index_select(1, where) for part in parts], -1)
        values, low = cells.index_select(1, where), cells[:, where, : len(FIRST)]
        networks = network.scales[2 * number : 2 * number + 2]
        rows = torch.cat((networks[0](inputs), networks[1](torch.cat((inputs, magnitudes(low)), -1))), -1)
        free = (rows < 0.5) & (values == 0)  # a value whose row is 0 is not coded
        bits = bits + (row_bits(values, rows) * ~free * counts.index_select(1, where)).sum((1, 2))
    return bits


def fit_scales(
    base: Path,
    out: Path,
    sequences: Iterable[Sequence[Frame]],
    held: Iterable[Sequence[Frame]],
    qualities: Sequence[float],
    steps: int,
    say: Say,
    force: bool = False,
) -> bytes:
    """Write a base with its scale networks fitted to what it makes of sequences -> its digest.

    sequences: of frames RGB [H, W, 3], each coded at the next of the qualities; held: likewise, to see what it brings.
    KeyboardInterrupt ends the fitting early. Raises BaseError, OutputError.
    """
    codec, before = load_codec(base), read_weights(base)
    examples, watched = (_examples(Parser(codec), some, qualities, say) for some in (sequences, held))
    network = codec.network
    moved = [p for part in (network.scale_context, network.hyper_scales, network.scales) for p in part.parameters()]
    for p in moved:
        p.requires_grad_(True)
    reached = _fit(network, moved, examples, steps, say)
    stage: dict[str, Any] = {
        "script": "python -m codec.base scales",
        **reached,
        "device": "cpu",
        "settings": {"frames": len(examples), "batch": BATCH, "rate": PEAK, "quality": list(qualities)},
        "start": digest_of(base).hex(),
    }
    if watched:
        kept = load_codec(base).network
        with torch.no_grad():
            was, now = (sum(float(bits_of(n, [e])) for e in watched) for n in (kept, network))
        say(f"held: {len(watched)} frames, bits {was:,.0f} to {now:,.0f}, {100 * (now / was - 1):+.2f} %")
    about = {key: value for key, value in before.about.items() if key != "held"}  # figures of other rows
    with atomic_output(out, force) as path:
        write_base(path, network, codec.analysis, about | {"stages": [*about.get("stages", ()), stage]})
    return digest_of(out)


def _examples(
    parser: Parser, sequences: Iterable[Sequence[Frame]], qualities: Sequence[float], say: Say
) -> list[Example]:
    """Frames that have residuals."""
    found: list[Example] = []
    for number, frames in enumerate(sequences):
        for parsed in parser(frames, qualities[number % len(qualities)]):
            if parsed.symbols.residuals.any():
                found.append(example(parsed))
        if number % 20 == 19:
            say(f"encoded {number + 1} sequences: {len(found)} frames with residuals")
    return found


def _fit(
    network: PredictiveNetwork, moved: list[nn.Parameter], examples: Sequence[Example], steps: int, say: Say
) -> dict[str, Any]:
    """Move parameters, whose moving average is then left in them. -> steps and seconds that it took."""
    alike: dict[tuple[Any, ...], list[Example]] = {}
    for e in examples:
        alike.setdefault((e.seen.shape, e.predicted), []).append(e)
    groups = list(alike.values())
    with torch.no_grad():
        sizes = [np.array([float(bits_of(network, [e])) + SMALL for e in group]) ** 0.5 for group in groups]
    shares = np.array([size.sum() for size in sizes]) / sum(size.sum() for size in sizes)
    rng, adam = np.random.default_rng(1), torch.optim.Adam(moved, lr=PEAK, betas=(0.9, 0.99))
    averaged = [copy.deepcopy(p.detach()) for p in moved]
    told: list[float] = []
    began, step = time.perf_counter(), 0
    with deferred_interrupts() as interrupted:
        while step < steps and not interrupted():
            group = rng.choice(len(groups), p=shares)
            drawn = rng.choice(len(groups[group]), BATCH, p=sizes[group] / sizes[group].sum())
            weights = torch.tensor(1 / sizes[group][drawn], dtype=torch.float32)
            adam.param_groups[0]["lr"] = PEAK * rate_at(step / steps)
            loss = (bits_of(network, [groups[group][n] for n in drawn]) * weights).mean() / 100
            loss.backward()
            nn.utils.clip_grad_norm_(moved, 1.0)
            adam.step()
            adam.zero_grad(set_to_none=True)
            step += 1
            torch._foreach_lerp_(averaged, [p.detach() for p in moved], 1 - min(DECAY, step / (step + 20)))
            told.append(loss.item())
            if step % REPORT == 0:
                say(f"step {step} of {steps}: {np.mean(told):.4f}")
                told.clear()
    with torch.no_grad():
        for p, average in zip(moved, averaged, strict=True):
            p.copy_(average)
    return {"seconds": round(time.perf_counter() - began), "steps": step}
