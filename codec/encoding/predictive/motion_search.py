"""Motion of a frame to its references: found block by block, by what it shows and what it takes to say it.

1. Blocks are matched from where motion may begin: standing still, motion that goes on, flow, translations (`flow`,
   `block_match`).
2. With two references each is matched to what the other lacks, in turns, so that their mean fits the frame; then blocks
   that one of them shows better alone are told apart.
3. Each vector becomes the one of a few that takes least error x lambda + bits (`motion_choice`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from codec.encoding.predictive.block_match import (
    Blocks,
    Levels,
    Shown,
    Worth,
    beside_at,
    coded_error,
    in_blocks,
    match,
)
from codec.encoding.predictive.compiled import compiled
from codec.encoding.predictive.flow import Field, Plane, straight, translations
from codec.encoding.predictive.motion_choice import choose
from codec.network.predictive.motion import UNITS, motion_size
from codec.rate.motion import along

NEAR: Levels = ((1, (2, 1)),)  # of a search from where motion is nearly right
SWEEPS = 2


@dataclass(frozen=True)
class SearchSettings:
    """How hard motion is looked for."""

    levels: Levels = ((4, (16, 8, 4, 2)), (2, (8, 4, 2, 1)), (1, (4, 2, 1)))
    share: tuple[float, float] = (0.8, 1.0)  # of lambda, that motion to one and to two references is chosen by
    turns: int = 2  # of matching each of two references to what the other lacks
    change: float = 1.0  # bits that a vector is taken to cost, times log2(1 + how far it is from each beside it)
    side: float = 3.0  # bits that a block takes which one of two references shows alone, beside others
    sweeps: int = 2  # of choosing by what coding takes
    coded: tuple[float, float] = (1.5, 8.0)  # likewise, of `coded_error`: above it a coefficient will be coded
    rough: float = 0.4  # the same of the mean error of a block


@dataclass(frozen=True, eq=False)
class Found:
    """Motion of a frame."""

    motion: NDArray[np.int16]  # [R, 2, rows, columns]
    sides: NDArray[np.int16]  # [R - 1, rows, columns]; see `Symbols`
    carried: NDArray[np.int16] | None  # what the motion is to be coded with, of `code_motion`


def search(
    target: Plane,
    references: Sequence[Shown],
    starts: Sequence[Sequence[Field]],
    ratio: float,
    lagrangian: float,
    carried: NDArray[np.int16] | None = None,
    settings: SearchSettings = SearchSettings(),
) -> Found:
    """Motion of a frame to one or two references, coded with `carried`, or without where that says it worse.

    starts: for each reference, fields to begin from beside standing still and straight flow. ratio, carried: see
    `code_motion`.
    """
    kind = len(references) - 1
    lagrangian *= settings.share[kind]
    worth = Worth(lagrangian, settings.coded[kind] * coded_error(lagrangian), settings.rough * coded_error(lagrangian))
    wanted = in_blocks(target)
    still = np.zeros((2, *motion_size(*target.shape)), np.int64)
    ahead = still.astype(np.int16) if carried is None else carried
    options: list[list[Field]] = []
    for reference, own, way in zip(references, starts, (1.0, ratio), strict=False):
        moves = [still + np.array(m)[:, None, None] * UNITS for m in translations(target, reference.plane)]
        flow = straight(target, reference.plane)
        options.append([*own, flow, still, along(ahead, way).astype(np.int64), *moves])
    if len(references) == 1:
        fields = [match(references[0], wanted, 1.0, options[0], worth, settings.change, settings.levels)]
        shares = np.ones((1, *still.shape[1:]), np.float32)
    else:
        fields = _match_both(wanted, references, options, worth, settings)
        fields, shares = _sides(wanted, references, fields, worth, settings)
    guesses = [None] if carried is None else [None, carried]

    def chosen(guess: NDArray[np.int16] | None, sweeps: int) -> tuple[float, NDArray[np.int16]]:
        return choose(wanted, references, fields, shares, ratio, worth, guess, sweeps)

    best = min(guesses, key=lambda guess: chosen(guess, 0)[0]) if len(guesses) > 1 else None
    _, motion = chosen(best, settings.sweeps)
    sides = np.rint(shares[:1] - shares[1:]).astype(np.int16)
    return Found(motion, sides[: len(references) - 1], best)


def _match_both(
    wanted: Blocks,
    references: Sequence[Shown],
    options: Sequence[Sequence[Field]],
    worth: Worth,
    settings: SearchSettings,
) -> list[Field]:
    """Fields to two references, so that the mean of what they show fits: each matched to what the other lacks."""
    fields = [o[0] for o in options]
    for turn in range(settings.turns):
        levels = NEAR if turn else settings.levels
        for k, reference in enumerate(references):
            lacking = 2 * wanted - references[1 - k].blocks(fields[1 - k])
            fields[k] = match(reference, lacking, 0.5, [fields[k], *options[k]], worth, settings.change, levels)
    return fields


def _sides(
    wanted: Blocks, references: Sequence[Shown], fields: list[Field], worth: Worth, settings: SearchSettings
) -> tuple[list[Field], NDArray[np.float32]]:
    """Which blocks one reference alone shows better than the mean of both.

    Returns the fields, better ones where a side is alone, and what share of each block is of each reference, float32
    [2, rows, columns]: 1 and 0, 0 and 1, or a half each.
    """
    alone = [
        match(reference, wanted, 1.0, [field], worth, settings.change, NEAR)
        for reference, field in zip(references, fields, strict=True)
    ]
    both = [r.blocks(f) for r, f in zip(references, fields, strict=True)]
    costs = np.stack(
        [worth(0.5 * (both[0] + both[1]) - wanted)]
        + [worth(r.blocks(f) - wanted) + settings.side for r, f in zip(references, alone, strict=True)]
    )
    chosen = costs.argmin(0)
    _settle_sides(costs.astype(np.float32), np.float32(settings.change), SWEEPS, chosen)
    shares = np.array([[0.5, 1.0, 0.0], [0.5, 0.0, 1.0]], np.float32)[:, chosen]
    kept = [np.where(chosen == 1 + k, alone[k], fields[k]) for k in range(2)]
    return kept, shares


@compiled
def _settle_sides(costs: NDArray[np.float32], change: np.float32, sweeps: int, chosen: NDArray[np.int64]) -> None:
    """Let each block in turn, to and fro, take what costs least beside what those around it take, in place."""
    rows, columns = chosen.shape
    for sweep in range(sweeps):
        for k in range(rows * columns):
            y, x = divmod(k if sweep % 2 == 0 else rows * columns - 1 - k, columns)
            best, least = 0, np.float32(np.inf)
            for side in range(len(costs)):
                cost = costs[side, y, x]
                for n in range(4):
                    a, b = beside_at(rows, columns, y, x, n)
                    if chosen[a, b] != side:
                        cost += change
                if cost < least:
                    best, least = side, cost
            chosen[y, x] = best
