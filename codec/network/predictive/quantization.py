"""Latents to integers, in the order of coding: what an encoder runs, and training with gradients.

Each residual is rounded to the integer of least error x weight + bits under the row that its context gives.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from codec.network.predictive.cell_transforms import as_latents_seen, to_latents
from codec.network.predictive.network import (
    CODED,
    FIRST,
    FIRST_LUMA,
    MOVING,
    SECOND,
    PredictiveNetwork,
    around,
    as_cells,
    checkerboard,
    globals_of,
    halves,
    magnitudes,
    places,
)
from codec.network.predictive.scales import LARGEST_SYMBOL, row_bits, row_ratio
from codec.network.predictive.transform import LUMA


class ChooseTransforms(Protocol):
    """Tells in what transforms cells have their luma (`cell_transforms`)."""

    def __call__(self, wanted: Tensor, cost: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """-> transforms int64 [n], values [n, LUMA] of cells with others than DCT8, in their steps; 0 elsewhere.

        wanted: luma latents of cells less their means, in units of a pixel, [n, LUMA]. cost: bits of these as latents
        and what their errors weigh, [n]. rows: of those of them that are in FIRST, [n, FIRST_LUMA].
        """


@dataclass(frozen=True, eq=False)
class Quantized:
    """What `quantize` makes of frames."""

    residuals: Tensor  # as a file holds them, [B, LATENTS, h, w]
    transforms: Tensor  # integers [B, h, w]
    latents: Tensor  # as a decoder has them, in steps, [B, LATENTS, h, w]
    bits: Tensor  # of the latents where they were all coded, [B]


def quantize(
    network: PredictiveNetwork,
    latents: Tensor,
    hyper: Tensor,
    moved: Tensor | None,
    features: Tensor,
    quality: Tensor,
    weight: Tensor,
    choose: ChooseTransforms | None = None,
) -> Quantized:
    """Latents in steps, float32 [B, LATENTS, h, w], to integers, and back. Gradients reach means and scales.

    moved: of `network.moving`; None for key frames. weight: bits that a squared error of one step is worth,
    [B, LATENTS, 1, 1]. choose: tells what a cell has its luma in, of a single frame; None for latents everywhere.
    """
    predicted = moved is not None
    if moved is None:
        moved = latents.new_zeros(len(latents), MOVING, *latents.shape[2:])
    told = globals_of(quality, predicted)[:, None].expand(-1, latents[0, 0].numel(), -1)
    told = torch.cat((network.context(hyper).flatten(1, 2), as_cells(moved), told), -1)
    seen = network.hyper_features(hyper)
    units, steps = network.units(quality, predicted), network.steps(quality, predicted)
    weights = weight.flatten(1)[:, None].index_select(2, places(CODED, latents.device))

    def coded(number: int, means: Tensor, inputs: Tensor) -> tuple[_Pass, Tensor]:
        """A pass, and its latents."""
        run = _Pass(network, number, latents.detach() - means, inputs, weights)
        if choose is None:  # and nothing waits for a GPU to tell whether there are others
            return run, run.placed(run.residuals) + means
        run.choose(choose, steps[0])
        residuals = to_latents(run.placed(run.residuals), run.placed(run.transforms)[:, 0], steps, quality)
        return run, residuals + means

    board = checkerboard(*latents.shape[2:], latents.device)
    means = network.first_means(hyper, seen, features, units, predicted)
    first, found = coded(0, means, told)
    kept = found * board
    means = network.second_means(kept, seen, features, units, predicted)
    second, found = coded(1, means, torch.cat((told, as_cells(around(magnitudes(first.placed(first.seen))))), -1))
    residuals = first.placed(first.residuals) + second.placed(second.residuals)
    transforms = first.placed(first.transforms) + second.placed(second.transforms)
    return Quantized(residuals, transforms[:, 0], torch.where(board, kept, found), first.bits + second.bits)


class _Pass:
    """Half of the cells. Its tensors are [B, n, channels], channels by number unless stated otherwise."""

    def __init__(self, network: PredictiveNetwork, number: int, wanted: Tensor, told: Tensor, weights: Tensor) -> None:
        """wanted: latents less their means [B, LATENTS, h, w]. told: to scale networks, of all cells. weights: [B, 1,
        LATENTS] in the order of CODED.
        """
        self._shape, device = wanted.shape, wanted.device
        self._where = halves(*wanted.shape[2:], device)[number]
        self._networks, self._weights = network.scales[2 * number : 2 * number + 2], weights
        self._wanted = as_cells(wanted).index_select(1, self._where).index_select(2, places(CODED, device))  # as CODED
        self._told = told.index_select(1, self._where)
        low, self._rows = self._rounded(0, ())
        high, rows = self._rounded(1, (low,))
        self._coded = torch.cat((low, high), -1)  # as CODED
        self._costs = row_bits(self._coded, torch.cat((self._rows, rows), -1))
        self.bits = self._costs.sum((1, 2))  # [B]
        self._by_number = places(CODED, device).argsort()
        self.residuals = self._coded.index_select(2, self._by_number)  # as a file holds them
        self.seen = self.residuals  # as scale networks see them
        self.transforms = self.residuals.new_zeros(*self.residuals.shape[:2], 1)

    def _rounded(self, part: int, before: tuple[Tensor, ...], cells: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """FIRST or SECOND, of all cells or some -> integers, rows. before: the integers of FIRST."""
        channels = slice(len(FIRST)) if part == 0 else slice(len(FIRST), None)
        told, wanted = (x if cells is None else x[:, cells] for x in (self._told, self._wanted))
        rows = self._networks[part](torch.cat((told, *map(magnitudes, before)), -1))
        return _nearest_in_cost(wanted[..., channels], rows, self._weights[..., channels]), rows

    def choose(self, choose: ChooseTransforms, steps: Tensor) -> None:
        """Let cells have their luma otherwise, which chroma coded after it sees. steps: [LATENTS, 1, 1]."""
        costs = self._costs + (self._wanted - self._coded).square() * self._weights
        costs, wanted = (x.index_select(2, self._by_number)[0, :, :LUMA] for x in (costs, self._wanted))
        transforms, values = choose(wanted * steps[:LUMA, 0, 0], costs.sum(1), self._rows[0, :, :FIRST_LUMA])
        self.transforms = transforms[None, :, None].to(self.residuals.dtype)
        here = transforms.nonzero()[:, 0]
        if len(here) == 0:
            return
        self.seen = self.residuals.clone()
        self.seen[0, here, :LUMA] = as_latents_seen(values[here], transforms[here])
        low = self.seen[:, here].index_select(2, places(FIRST, here.device))
        high, _ = self._rounded(1, (low,), here)
        chroma = slice(LUMA - FIRST_LUMA, None)  # of SECOND
        self.seen[0, here[:, None], places(SECOND, here.device)[chroma]] = high[0, :, chroma]
        self.residuals = self.seen.clone()
        self.residuals[0, here, :LUMA] = values[here]

    def placed(self, cells: Tensor) -> Tensor:
        """[B, n, C] -> [B, C, h, w], 0 at the other cells."""
        b, _, h, w = self._shape
        out = cells.new_zeros(b, h * w, cells.shape[2])
        return out.index_copy(1, self._where, cells).mT.unflatten(2, (h, w))


def _nearest_in_cost(x: Tensor, rows: Tensor, weight: Tensor) -> Tensor:
    """The integers of least weight x squared error + bits; the gradient passes straight through.

    A magnitude more costs the same at every magnitude, -log2 of the row's ratio, so this is rounding with a dead zone
    of cost / (2 weight) on top of the half.
    """
    with torch.no_grad():
        dead = -row_ratio(rows).log2() / (2 * weight)
        magnitude = (x.abs() + 0.5 - dead).floor().clamp(0, LARGEST_SYMBOL) * (rows > 0)
    return x + (x.sign() * magnitude - x).detach()
