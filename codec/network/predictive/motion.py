"""Motion: a vector for each block of a frame -> what its reference shows there.

Blocks move as they are: edges of things that move differently stay sharp, which vectors that are interpolated between
blocks smear. Where a frame says so, blocks then overlap: near a side each is mixed with what the block beyond it would
show there (Orchard and Sullivan, "Overlapped block motion compensation: an estimation-theoretic approach", IEEE
Transactions on Image Processing, 1994), as what moves seldom ends where a block does.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from codec.network.predictive.transform import DETAIL, DETAILS, LEVEL, PIXEL

Pictures = tuple[Tensor, Tensor]

CELL = 8  # pixels, the sides of a block
UNITS = 4  # of a displacement, to the pixel
TAPS = (
    (0, 0, 0, 64, 0, 0, 0, 0),
    (-1, 4, -10, 58, 17, -5, 1, 0),
    (-1, 4, -11, 40, 40, -11, 4, -1),
    (0, 1, -5, 17, 58, -10, 4, -1),
)  # of 64, by quarter pixels, for the pixels from BEFORE before: the filters of HEVC (Ugur et al., 2013)
NEAR_SIDES = (6, 4, 2, 1)  # of 16: what pixels, from a side of their block inwards, take of the block beyond
BEFORE, AFTER = 3, 4  # pixels that a filter reads on either side
PATCH = CELL + BEFORE + AFTER
_SIDES = ((-1, 0), (1, 0), (0, -1), (0, 1))  # of a block: where, in blocks, the one beyond lies
MIDDLE = [BEFORE + row for first in range(DETAIL) for row in range(first, CELL, DETAIL)]  # rows of a patch: its block's
BORDER = CELL + BEFORE + AFTER - 1  # pixels beyond the edges of a frame after which nothing new comes


def motion_size(height: int, width: int) -> tuple[int, int]:
    """Rows and columns of the motion grid of a frame."""
    return math.ceil(height / CELL), math.ceil(width / CELL)


def compensate(
    references: Tensor, motion: Tensor, sides: Tensor, multiple: int = CELL, overlapping: bool = False
) -> Pictures:
    """The two pictures that a frame is predicted from: what its one or two references show where motion points.

    references: uint8 [B, R, C, H, W], which repeat their edges; motion: whole quarter pixels (y, x), [B, R, 2, h, w];
    sides: [B, R - 1, h, w], see `Symbols`: where one side alone shows a block, both pictures do as it does.
    overlapping: whether blocks are mixed with those beyond their sides, by NEAR_SIDES.
    -> `to_detail` of each `to_layers`, float32 [B, 4 C, ...] in channels_last, edges repeated to a multiple of so many
    pixels; the same values twice where there is one reference.
    """
    shown = _Blocks.where(references, motion, sides, overlapping)
    if overlapping:
        shown.mix()
    return shown.pictures(references.shape[3:], multiple)


def compensate_both_ways(
    references: Tensor, motion: Tensor, sides: Tensor, multiple: int = CELL
) -> tuple[Pictures, Pictures]:
    """`compensate` with blocks as they are, and with blocks that overlap."""
    shown, size = _Blocks.where(references, motion, sides, overlapping=True), references.shape[3:]
    plain = shown.pictures(size, multiple)
    shown.mix()
    return plain, shown.pictures(size, multiple)


def mean_of(first: Tensor, second: Tensor) -> Tensor:
    """What a frame is predicted to be, by both pictures of `compensate`."""
    return torch.lerp(first, second, 0.5)


@dataclass(frozen=True, eq=False)
class _Blocks:
    """What blocks of several pictures show, and what those beyond their sides would show in their places."""

    found: Tensor  # rows of DETAILS sites, float32 [..., DETAILS 4 C]
    rows: Tensor  # which of them each block has, int64 [R, B, h, w, DETAILS]: first pictures, then second
    changed: Tensor  # which of `found` those are that overlapping changes, int64 [m DETAILS]
    beyond: Tensor  # and those that they are mixed with
    across: Tensor  # which of _SIDES lies between, int64 [m]

    @classmethod
    def where(cls, references: Tensor, motion: Tensor, sides: Tensor, overlapping: bool) -> _Blocks:
        """Where motion points: see `compensate`. Without overlapping none is said to change."""
        channels, height, width = references.shape[2:]
        moves = _moves(motion, sides)
        size, moves = moves.shape[:4], moves.flatten(0, 3)
        blocks = torch.arange(len(moves), device=moves.device)
        recorded = moves.is_cuda and torch.cuda.is_current_stream_capturing()
        at, like, across = _beside(size, moves, recorded) if overlapping else blocks.new_empty(3, 0)
        place, (frame, down, right) = torch.cat((blocks, at)), moves[torch.cat((blocks, like))].unbind(1)
        y, phase_y = _places(place // size[3] % size[2], down, height)
        x, phase_x = _places(place % size[3], right, width)
        lines = (y + torch.arange(PATCH, device=y.device)[:, None]).clamp_(0, height - 1)
        lines = (frame * height + lines) * (width + 2 * BORDER) + x + BORDER
        filtered = _each if references.is_cuda else _by_phase
        found, rows = filtered(_windows(references.flatten(0, 1)), lines, phase_y * UNITS + phase_x, channels)
        rows, beyond = rows.split((len(blocks), len(at)))
        return cls(found, rows.view(*size, DETAILS), rows[at].flatten(), beyond.flatten(), across)

    def mix(self) -> None:
        """Let blocks overlap."""
        change = self.found[self.beyond].sub_(self.found[self.changed]).unflatten(0, (-1, DETAILS))
        change *= _shares(change.shape[2] // (4 * DETAILS), change.device)[self.across]
        # multiples of 2**-22, exact below 4: in whatever order they are added
        self.found.index_add_(0, self.changed, change.flatten(0, 1))

    def pictures(self, size: Sequence[int], multiple: int = CELL) -> Pictures:
        """As `compensate` returns them, of frames of height and width."""
        height, width = size
        rows = self.rows.transpose(3, 4).flatten(2, 3)
        padded = [math.ceil(side / multiple) * multiple for side in (height, width)]
        for axis, length in enumerate((padded[0] // DETAIL, padded[1] // CELL), 2):  # beyond the blocks: any of them
            rows = rows.index_select(axis, torch.arange(length, device=rows.device).clamp_max(rows.shape[axis] - 1))
        sites = self.found.index_select(0, rows.flatten())
        sites = sites.view(-1, padded[0] // DETAIL, padded[1] // DETAIL, sites.shape[1] // DETAILS)
        _repeat_edges(sites.unflatten(3, (-1, DETAIL, DETAIL)), height, width)
        pictures = sites.permute(0, 3, 1, 2).unflatten(0, rows.shape[:2])
        return pictures[0], pictures[-1]


def _moves(motion: Tensor, sides: Tensor) -> Tensor:
    """Which of all references shows a block of a picture, and where: int64 [R, B, h, w, 3]. See `compensate`."""
    count, given = motion.shape[:2]
    shown = torch.cat((sides < 0, sides <= 0), 1).long() if given > 1 else torch.zeros_like(motion[:, :, 0]).long()
    vectors = motion.gather(1, shown[:, :, None].expand_as(motion)).long()
    frames = shown + given * torch.arange(count, device=shown.device)[:, None, None, None]
    return torch.cat((frames[:, :, None], vectors), 2).permute(1, 0, 3, 4, 2)


def _beside(size: tuple[int, ...], moves: Tensor, every: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Blocks that move otherwise than the one beyond a side of theirs: their numbers, those beyond, which of _SIDES.

    size: [R, B, h, w] of blocks. moves: integers [blocks, n]. every: whether to name all blocks, which
    comes to the same: how many they are may not depend on values where a GPU records (`codec.base.moves`).
    """
    h, w = size[2:]
    numbers = torch.arange(len(moves), device=moves.device).view(-1, h, w)
    rows, columns = (torch.arange(n, device=moves.device) for n in (h, w))
    beyond = torch.stack(
        [numbers[:, (rows + dy).clamp(0, h - 1)][:, :, (columns + dx).clamp(0, w - 1)].flatten() for dy, dx in _SIDES]
    )
    which = torch.arange(beyond.numel(), device=moves.device)
    if not every:
        which = which[(moves[beyond] != moves).any(2).flatten()]
    return which % len(moves), beyond.flatten()[which], which // len(moves)


def _by_phase(windows: Tensor, lines: Tensor, phase: Tensor, channels: int) -> tuple[Tensor, Tensor]:
    """Blocks from their patches, those of one phase together, and along an axis without a phase no more than they show.

    windows: of `_windows`; lines: which of them each patch is, int64 [PATCH, n]; phase: quarters down x UNITS + across,
    int64 [n]. -> rows of DETAILS sites, float32 [DETAILS n, DETAILS 4 C], and which of them a block has, int64
    [n, DETAILS]. All sums are of multiples of 2**-18 below 2**4, which float32 holds exactly, whatever their order.
    """
    down, across = _filters(channels, windows.device)
    order = phase.argsort()
    counts = phase.bincount(minlength=UNITS**2)
    sizes = counts.tolist()
    found = torch.empty(DETAILS * len(order), across.shape[-1], device=windows.device)
    parts = zip(lines[:, order].split(sizes, 1), found.split([DETAILS * n for n in sizes]), strict=True)
    for number, (part, out) in enumerate(parts):
        if not len(out):
            continue
        quarters_down, quarters_across = divmod(number, UNITS)
        wide = slice(None) if quarters_across else slice(BEFORE * channels, (BEFORE + CELL) * channels)
        pixels = windows[:, wide].index_select(0, (part if quarters_down else part[MIDDLE]).flatten()).float()
        if quarters_down:
            pixels = torch.mm(down[quarters_down], pixels.view(PATCH, -1))
        even, odd = pixels.view(DETAIL, len(out), -1)
        left, right = across[quarters_across, :, wide]
        torch.mm(even, left, out=out).addmm_(odd, right)
    rows = torch.empty(len(order), DETAILS, dtype=torch.long, device=order.device)
    phase = phase[order]  # of each, the first rows of all its blocks, then the second ones, and so on
    first = torch.arange(len(order), device=order.device) + (DETAILS - 1) * (counts.cumsum(0) - counts)[phase]
    rows[order] = first[:, None] + torch.arange(DETAILS, device=order.device) * counts[phase][:, None]
    return found, rows


def _each(windows: Tensor, lines: Tensor, phase: Tensor, channels: int) -> tuple[Tensor, Tensor]:
    """What `_by_phase` gives, to the bit, without asking a GPU how many blocks are of a phase: it would wait."""
    down, across = _filters(channels, windows.device)
    pixels = windows.index_select(0, lines.T.flatten()).float().view(-1, PATCH, PATCH * channels)
    even, odd = torch.bmm(down[phase // UNITS], pixels).view(-1, DETAIL, DETAILS, PATCH * channels).transpose(0, 1)
    left, right = across.permute(1, 2, 0, 3).flatten(2)  # all phases
    found = torch.addmm(torch.mm(even.flatten(0, 1), left), odd.flatten(0, 1), right).view(
        len(phase), DETAILS, UNITS, -1
    )
    of = (phase % UNITS)[:, None, None, None].expand(-1, DETAILS, 1, found.shape[-1])
    rows = torch.arange(DETAILS * len(phase), device=phase.device)
    return found.gather(2, of).flatten(0, 2), rows.view(-1, DETAILS)


def _places(cells: Tensor, motion: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """One axis of blocks: cells and quarter pixels -> (first pixel of each patch, -BORDER or more; phase)."""
    whole = torch.div(motion, UNITS, rounding_mode="floor")
    return (cells * CELL + whole).clamp_(1 - CELL - AFTER, size - 1 + BEFORE) - BEFORE, motion - whole * UNITS


def _windows(references: Tensor) -> Tensor:
    """PATCH pixels from each one of a row on, of rows with borders: uint8 [N, C, H, W] -> int8, 0 for grey.

    [N H (W + 2 BORDER), PATCH C]; those that would reach into the next row are of no use, the last ones are left out.
    """
    count, channels, height, width = references.shape
    pixels = references.permute(0, 2, 3, 1)
    rows = references.new_empty(count, height, width + 2 * BORDER, channels)
    rows[:, :, BORDER:-BORDER] = pixels
    rows[:, :, :BORDER], rows[:, :, -BORDER:] = pixels[:, :, :1], pixels[:, :, -1:]
    grey = rows.bitwise_xor_(LEVEL).view(torch.int8)  # less LEVEL
    return grey.view(-1).as_strided((rows.numel() // channels - PATCH + 1, PATCH * channels), (channels, 1))


@lru_cache(8)
def _filters(channels: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """What makes sites of patches, by quarter pixels, float32.

    Down, [UNITS, CELL, PATCH]: rows of a block from those of a patch, the even ones first. Across, [UNITS, DETAIL,
    PATCH C, DETAILS 4 C]: what an even and what an odd row of pixels adds to a row of sites.
    """
    with torch.inference_mode(False):
        taps = torch.zeros(UNITS, CELL, PATCH)
        for row in range(CELL):
            taps[:, row, row : row + len(TAPS[0])] = torch.tensor(TAPS) / 64
        across = torch.zeros(UNITS, DETAIL, PATCH, channels, DETAILS, channels, DETAIL, DETAIL)
        for row in range(DETAIL):
            for c in range(channels):
                across[:, row, :, c, :, c, row] = taps.mT.unflatten(2, (DETAILS, DETAIL))
        across /= PIXEL
        down = taps.unflatten(1, (DETAILS, DETAIL)).transpose(1, 2).flatten(1, 2)
        return down.to(device), across.flatten(4).flatten(2, 3).to(device)


@lru_cache(8)
def _shares(channels: int, device: torch.device) -> Tensor:
    """What sites of a block take of the block beyond each of _SIDES: float32 [4, DETAILS, DETAILS 4 C]."""
    with torch.inference_mode(False):
        near = torch.zeros(CELL)
        near[: len(NEAR_SIDES)] = torch.tensor(NEAR_SIDES) / 16
        down = near[:, None].expand(CELL, CELL)
        pixels = torch.stack((down, down.flip(0), down.mT, down.mT.flip(1)))
        sites = pixels.view(4, DETAILS, 1, DETAIL, DETAILS, DETAIL).expand(-1, -1, channels, -1, -1, -1)
        return sites.permute(0, 1, 4, 2, 3, 5).reshape(4, DETAILS, -1).to(device)


def _repeat_edges(sites: Tensor, height: int, width: int) -> None:
    """Let what is beyond height x width pixels repeat the edges, in place: [n, rows, columns, C, DETAIL, DETAIL]."""
    for axis, size in ((1, height), (2, width)):
        site, pixel = divmod(size - 1, DETAIL)
        edge = sites.narrow(axis, site, 1).narrow(axis + 3, pixel, 1)
        sites.narrow(axis, site, 1).narrow(axis + 3, pixel + 1, DETAIL - pixel - 1).copy_(edge)
        sites.narrow(axis, site + 1, sites.shape[axis] - site - 1).copy_(edge)
