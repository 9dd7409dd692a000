"""Motion: a vector for each block of a frame -> what its reference shows there.

Blocks move as they are and do not overlap: edges of things that move differently stay sharp, which vectors that are
interpolated between blocks smear. What seams that leaves lie where the layers after it expect them.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

from codec.network.predictive.transform import DETAIL, DETAILS, LEVEL, PIXEL

CELL = 8  # pixels, the sides of a block
UNITS = 4  # of a displacement, to the pixel
TAPS = (
    (0, 0, 0, 64, 0, 0, 0, 0),
    (-1, 4, -10, 58, 17, -5, 1, 0),
    (-1, 4, -11, 40, 40, -11, 4, -1),
    (0, 1, -5, 17, 58, -10, 4, -1),
)  # of 64, by quarter pixels, for the pixels from BEFORE before: the filters of HEVC (Ugur et al., 2013)
BEFORE, AFTER = 3, 4  # pixels that a filter reads on either side
PATCH = CELL + BEFORE + AFTER
MIDDLE = [BEFORE + row for first in range(DETAIL) for row in range(first, CELL, DETAIL)]  # rows of a patch: its block's
BORDER = CELL + BEFORE + AFTER - 1  # pixels beyond the edges of a frame after which nothing new comes


def motion_size(height: int, width: int) -> tuple[int, int]:
    """Rows and columns of the motion grid of a frame."""
    return math.ceil(height / CELL), math.ceil(width / CELL)


def compensate(references: Tensor, motion: Tensor, sides: Tensor, multiple: int = CELL) -> tuple[Tensor, Tensor]:
    """The two pictures that a frame is predicted from: what its one or two references show where motion points.

    references: uint8 [B, R, C, H, W], which repeat their edges; motion: whole quarter pixels (y, x), [B, R, 2, h, w];
    sides: [B, R - 1, h, w], see `Symbols`: where one side alone shows a block, both pictures do as it does.
    -> `to_detail` of each `to_layers`, float32 [B, 4 C, ...] in channels_last, edges repeated to a multiple of so many
    pixels; the same values twice where there is one reference.
    """
    count, given, channels, height, width = references.shape
    shown = torch.cat((sides < 0, sides <= 0), 1).long() if given > 1 else torch.zeros_like(motion[:, :, 0]).long()
    motion = motion.gather(1, shown[:, :, None].expand_as(motion)).transpose(0, 1).flatten(0, 1)
    frames = shown + given * torch.arange(count, device=shown.device)[:, None, None, None]
    frames = frames.transpose(0, 1).flatten(0, 1)  # by picture, as motion is: [R B, h, w]

    y, phase_y = _places(motion[:, 0].mT, height)
    x, phase_x = _places(motion[:, 1], width)
    lines = y.mT.flatten() + torch.arange(PATCH, device=y.device)[:, None]
    lines = (frames.flatten() * height + lines.clamp_(0, height - 1)) * (width + 2 * BORDER) + x.flatten() + BORDER
    filtered = _each if references.is_cuda else _by_phase
    found, rows = filtered(
        _windows(references.flatten(0, 1)), lines, (phase_y.mT * UNITS + phase_x).flatten(), channels
    )

    rows = rows.view(*frames.shape, DETAILS).transpose(2, 3).flatten(1, 2)
    size = [math.ceil(side / multiple) * multiple for side in (height, width)]
    for axis, length in enumerate((size[0] // DETAIL, size[1] // CELL), 1):  # what is beyond the blocks: any of them
        rows = rows.index_select(axis, torch.arange(length, device=rows.device).clamp_max(rows.shape[axis] - 1))
    sites = found.index_select(0, rows.flatten()).view(len(frames), size[0] // DETAIL, size[1] // DETAIL, -1)
    _repeat_edges(sites.unflatten(3, (channels, DETAIL, DETAIL)), height, width)
    pictures = sites.permute(0, 3, 1, 2)
    return pictures[:count], pictures[-count:]


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


def _places(motion: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """One axis of motion [..., cells], quarter pixels -> (first pixel of each patch, -BORDER or more; phase)."""
    whole = torch.div(motion, UNITS, rounding_mode="floor").long()
    first = torch.arange(motion.shape[-1], device=motion.device) * CELL + whole
    return first.clamp(1 - CELL - AFTER, size - 1 + BEFORE) - BEFORE, (motion - whole * UNITS).long()


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


def _repeat_edges(sites: Tensor, height: int, width: int) -> None:
    """Let what is beyond height x width pixels repeat the edges, in place: [n, rows, columns, C, DETAIL, DETAIL]."""
    for axis, size in ((1, height), (2, width)):
        site, pixel = divmod(size - 1, DETAIL)
        edge = sites.narrow(axis, site, 1).narrow(axis + 3, pixel, 1)
        sites.narrow(axis, site, 1).narrow(axis + 3, pixel + 1, DETAIL - pixel - 1).copy_(edge)
        sites.narrow(axis, site + 1, sites.shape[axis] - site - 1).copy_(edge)
