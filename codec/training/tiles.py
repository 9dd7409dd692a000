"""The frames of a segment as training targets on the device: uint8, in the layout of the RGB head's output."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from codec import patches
from codec.network.dual_head import DualHeadHNeRV


class Tiles:
    """All tiles of a segment, frame by frame.

    cells: uint8 [N, 3 * r * r, h, w], r = head_strd; mask: bool, as one frame's tiles, None if all pixels are real.
    """

    def __init__(self, model: DualHeadHNeRV, frames: np.ndarray, device: torch.device) -> None:
        geometry = model.geometry
        self.stride = model.spec.head_strd
        height, width = (side * model.spec.cell for side in model.map)
        whole = model.spec.embed.whole_frame
        self.per_frame = model.spec.tiles_of_a_frame(geometry)

        def cells(tiles: np.ndarray) -> Tensor:  # [n, th, tw, 3] -> [n, 3 * r * r, h, w]
            bottom, right = height - tiles.shape[1], width - tiles.shape[2]
            padded = np.pad(tiles, ((0, 0), (0, bottom), (0, right), (0, 0)), mode="edge")
            return F.pixel_unshuffle(torch.from_numpy(padded).permute(0, 3, 1, 2), self.stride)

        h, w = height // self.stride, width // self.stride
        shape = (len(frames) * self.per_frame, 3 * self.stride**2, h, w)
        self.cells = torch.empty(shape, dtype=torch.uint8, device=device, memory_format=torch.channels_last)
        for i, frame in enumerate(frames):  # frame by frame: no second copy of the whole segment
            tiles = frame[None] if whole else patches.split(frame[None], geometry.grid)[0]
            self.cells[i * self.per_frame : (i + 1) * self.per_frame] = cells(tiles).to(device)
        self.coords = model.tile_coords(torch.arange(geometry.frames)).to(device)
        self.mask = self._mask(model, height, width, device)

    def _mask(self, model: DualHeadHNeRV, height: int, width: int, device: torch.device) -> Tensor | None:
        geometry = model.geometry
        grid = (1, 1) if self.per_frame == 1 else geometry.grid
        real = torch.from_numpy(patches.mask(geometry.height, geometry.width, grid))[:, None]
        real = F.pad(real, (0, width - real.shape[-1], 0, height - real.shape[-2]))
        mask = F.pixel_unshuffle(real.expand(-1, 3, -1, -1), self.stride).to(device)
        return None if bool(mask.all()) else mask

    def masks(self, index: Tensor) -> Tensor | None:
        """The masks of tiles `index`, bool [n, 3 * r * r, h, w]."""
        return None if self.mask is None else self.mask[index % self.per_frame]

    def pixels(self, index: Tensor) -> Tensor:
        """The pixels of tiles `index`, padding included: float32 [n, 3, H, W] in [0, 1]."""
        return F.pixel_shuffle(self.cells[index], self.stride).float().mul_(1 / 255)
