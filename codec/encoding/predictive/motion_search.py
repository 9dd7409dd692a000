"""Motion of a frame to its references: found block by block, by what it shows and what it takes to say it.

1. Blocks are matched from where motion may begin: standing still, motion that goes on, flow, translations (`flow`,
   `block_match`).
2. With two references each is matched to what the other lacks, in turns, so that their mean fits the frame; then each
   to the frame, for blocks that it shows better alone.
3. Squares of blocks take whichever motion, of these and of squares around, takes least error x lambda + bits
   (`motion_squares`).
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
    coded_error,
    in_blocks,
    match,
)
from codec.encoding.predictive.flow import Field, Plane, straight, translations
from codec.encoding.predictive.motion_squares import SWEEPS, settle
from codec.network.predictive.motion import UNITS, motion_size
from codec.rate.carried import all_along

NEAR: Levels = ((1, (2, 1)),)  # of a search from where motion is nearly right


@dataclass(frozen=True)
class SearchSettings:
    """How hard motion is looked for."""

    levels: Levels = ((4, (16, 8, 4, 2)), (2, (8, 4, 2, 1)), (1, (4, 2, 1)))
    share: tuple[float, float] = (0.9, 1.4)  # of lambda, that motion to one and to two references is chosen by
    turns: int = 2  # of matching each of two references to what the other lacks; and of settling squares, to `SWEEPS`
    change: float = 0.5  # bits that a vector is taken to cost, times log2(1 + how far it is from each beside it)
    coded: tuple[float, float] = (1.5, 8.0)  # likewise, of `coded_error`: above it a coefficient will be coded
    rough: float = 0.4  # the same of the mean error of a block


@dataclass(frozen=True, eq=False)
class Found:
    """Motion of a frame."""

    motion: NDArray[np.int16]  # [R, 2, rows, columns]
    sides: NDArray[np.int16]  # [R - 1, rows, columns]; see `Symbols`


def search(
    target: Plane,
    references: Sequence[Shown],
    starts: Sequence[Sequence[Field]],
    ratio: float,
    lagrangian: float,
    carried: NDArray[np.int16] | None = None,
    settings: SearchSettings = SearchSettings(),
) -> Found:
    """Motion of a frame to one or two references.

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
        options.append([*own, flow, still, all_along(ahead, way).astype(np.int64), *moves])
    if len(references) == 1:
        found = match(references[0], wanted, None, options[0], worth, settings.change, settings.levels)
        suggested = [_suggestion(found, still, 0)]
    else:
        first, second = _match_both(wanted, references, options, worth, settings)
        suggested = [_suggestion(first, second, 0)]
        first = match(references[0], wanted, None, [first], worth, settings.change, NEAR)
        suggested.append(_suggestion(first, all_along(first, ratio).astype(np.int64), 1))
        second = match(references[1], wanted, None, [second], worth, settings.change, NEAR)
        suggested.append(_suggestion(all_along(second, 1 / ratio).astype(np.int64), second, -1))
    sweeps = min(settings.turns, SWEEPS)
    return Found(*settle(wanted, references, suggested, ratio, worth, carried, sweeps)[:2])


def _suggestion(first: Field, second: Field, side: int) -> NDArray[np.int64]:
    """Motion of blocks as `settle` takes it."""
    return np.stack((*first, *second, np.full_like(first[0], side)), -1)


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
            beside = references[1 - k].blocks(fields[1 - k])
            fields[k] = match(reference, wanted, beside, [fields[k], *options[k]], worth, settings.change, levels)
    return fields
