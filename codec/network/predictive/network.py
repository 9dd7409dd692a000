"""The predictive network: a frame from references, motion and latents. What a decoder runs of a base.

    references, motion --warp--> w0, w1: prediction p = (w0 + w1) / 2 --1/8--> features f
    hyper-latents h (integers, 1/32) --> context features, for scales in integers and for means in floats
    residuals r (integers, 1/8), two checkerboard passes: y = r + mean
    s = p + synthesis(y x step);  trunk (y, f) at 1/8;  frame = s + in-loop filter(s, trunk) at 1/2

Most layers run at 1/8 of the frame's resolution. One pair runs at 1/2, where seams of blocks can be seen: it takes out
of the frame what coding put in, before other frames are made from it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from codec.network.predictive.layers import Residual, act, zeroed
from codec.network.predictive.motion import mean_of
from codec.network.predictive.quality import KNOTS, knot_quality, knot_weights, matched_steps
from codec.network.predictive.scales import LARGEST_SYMBOL, MAGNITUDES, TrainedLayer, row_bits, scale_network
from codec.network.predictive.transform import (
    BLOCK,
    CHROMA,
    DC,
    DETAIL,
    DETAILS,
    LATENTS,
    LUMA,
    PIXEL,
    block_basis,
)

HYPER = 4  # latent cells to a cell of the hyper-latents, along each axis
CELL = BLOCK * HYPER  # pixels: frames are padded to a multiple


@dataclass(frozen=True)
class Shape:
    """Widths of a predictive network. Stored with a base; a file names the base."""

    features: int = 64  # of prediction and trunk
    detail: int = 24  # hidden, of the in-loop filter, at 1/2
    guide: int = 8  # channels that it sees of the features at 1/8
    means: int = 64  # hidden, of the mean networks
    hyper: int = 16  # channels of the hyper-latents
    context: int = 24  # channels that scale networks see of the hyper-latents
    hidden: int = 96  # of the scale networks
    blocks: int = 1  # residual blocks of the trunk


# Channels coded first in a cell: low frequencies of each colour. The others are coded knowing them.
FIRST_LUMA, _FIRST_CHROMA = 13, 3
FIRST = (
    *range(FIRST_LUMA),
    *range(LUMA, LUMA + _FIRST_CHROMA),
    *range(LUMA + CHROMA, LUMA + CHROMA + _FIRST_CHROMA),
)
SECOND = tuple(c for c in range(LATENTS) if c not in FIRST)
CODED = FIRST + SECOND  # as they are coded
MOVING = 5  # what scale networks of residuals see of the motion of a cell
GLOBALS = KNOTS + 1  # what every scale network sees: knot weights of the quality, and whether the frame is predicted


def globals_of(quality: Tensor, predicted: bool) -> Tensor:
    """Integers float32 [B, GLOBALS]: knot weights in 64ths, 64 for a predicted frame."""
    knots = torch.floor(64 * knot_weights(quality) + 0.5)
    return F.pad(knots, (0, 1), value=64.0 * predicted)


def moving(motion: Tensor, sides: Tensor, height: int, width: int) -> Tensor:
    """What scale networks see of motion: integers 0..255, float32 [B, MOVING, height, width], 0 beyond the frame.

    motion: integers [B, R, 2, h, w]; sides: [B, R - 1, h, w]. By reference, how far a block moves and how differently
    from those around it, both as MAGNITUDES; then 64 where one of two references shows it alone. What moves oddly is
    predicted badly, and this is known before the residuals are.
    """
    both = torch.cat((motion[:, 0], motion[:, -1]), 1).float()
    p = F.pad(both, (1, 1, 1, 1), mode="replicate")
    around = (p[..., 1:-1, :-2], p[..., 1:-1, 2:], p[..., :-2, 1:-1], p[..., 2:, 1:-1])
    rough = torch.stack([(x - both).abs() for x in around]).sum(0)
    told = [magnitudes(x.unflatten(1, (2, 2)).sum(2).clamp_max(LARGEST_SYMBOL)) for x in (both.abs(), rough)]
    alone = F.pad(64.0 * sides[:, :1].abs(), (0, 0) * 2 + (0, 1 - sides[:, :1].shape[1]))
    found = torch.cat((*told, alone), 1)
    return F.pad(found, (0, width - found.shape[3], 0, height - found.shape[2]))


@lru_cache(16)
def checkerboard(height: int, width: int, device: torch.device) -> Tensor:
    """Cells of the first pass: bool [height, width]."""
    with torch.inference_mode(False):
        return ((torch.arange(height)[:, None] + torch.arange(width)) % 2 == 0).to(device)


@lru_cache(16)
def halves(height: int, width: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Numbers of the cells of the first pass, and of the second: int64 each."""
    with torch.inference_mode(False):
        board = checkerboard(height, width, device).flatten()
        return board.nonzero()[:, 0], (~board).nonzero()[:, 0]


@lru_cache(16)
def places(channels: tuple[int, ...], device: torch.device) -> Tensor:
    with torch.inference_mode(False):
        return torch.tensor(channels, device=device)


class PredictiveNetwork(nn.Module):
    """All that a decoder needs of a base, in float32; see `TrainedLayer.integers` for the integer networks."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        c, m = shape.features, shape.means
        pixels = 3 * BLOCK**2
        colours, sites = 3 * DETAIL**2, shape.guide * DETAILS**2
        self.warped = nn.Conv2d(2 * pixels, c, 1)
        self.predict = Residual(c)

        self.expand = nn.Conv2d(shape.hyper, HYPER**2 * shape.context, 3, padding=1)  # hyper-latents to latent cells
        self.mean_first = nn.Conv2d(shape.context + c, m, 1)
        self.mean_first_out = zeroed(nn.Conv2d(m, LATENTS, 1))
        self.mean_second = nn.Conv2d(shape.context + c, m, 1)
        self.mean_around = nn.Conv2d(LATENTS, m, 3, padding=1)
        self.mean_second_out = zeroed(nn.Conv2d(m, LATENTS, 1))
        around = torch.zeros(2, LATENTS)
        around[0, list(DC)] = 1.0
        self.around = nn.Parameter(around)  # key, predicted: how much of a mean its neighbours' average is

        self.trunk = nn.Conv2d(LATENTS + c, c, 1)
        self.gain = nn.Parameter(torch.zeros(2, KNOTS, c))  # key, predicted: log of the trunk's gain by quality
        self.bias = nn.Parameter(torch.zeros(2, KNOTS, c))
        self.blocks = nn.Sequential(*[Residual(c) for _ in range(shape.blocks)])
        self.loop_guide = nn.Conv2d(c, sites, 1)
        self.loop = nn.Conv2d(colours + shape.guide, shape.detail, 3, padding=1)
        self.loop_out = zeroed(nn.Conv2d(shape.detail, colours, 3, padding=1))
        self.synthesis = nn.Parameter(block_basis().T.clone())  # [pixels, LATENTS]
        steps = matched_steps(torch.tensor([knot_quality(k) for k in range(KNOTS)])).log()
        self.log_step = nn.Parameter(steps[None, :, None].repeat(2, 1, LATENTS))  # key, predicted
        self.log_unit = nn.Parameter(torch.zeros(2, KNOTS, LATENTS))  # key, predicted: see `units`

        h, hidden = shape.hyper, shape.hidden
        self.hyper_scales = nn.ModuleList(
            [scale_network(GLOBALS, 32, h, 8.0), scale_network(GLOBALS + h, 32, h, 8.0)]
        )  # first cells, the others knowing their neighbours
        self.scale_context = TrainedLayer(9 * h, HYPER**2 * shape.context)
        inputs, first, second = shape.context + MOVING + GLOBALS, len(FIRST), len(SECOND)
        self.scales = nn.ModuleList(
            [
                scale_network(inputs, hidden, first),
                scale_network(inputs + first, hidden, second),
                scale_network(inputs + LATENTS, hidden, first),
                scale_network(inputs + LATENTS + first, hidden, second),
            ]
        )  # first cells: FIRST channels, then SECOND; the other cells: likewise

    def cast(self, dtype: torch.dtype) -> PredictiveNetwork:
        """Set the type that convolutions compute in, in place; all else stays float32."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                module.to(dtype)
                module.to(memory_format=torch.channels_last)
        return self

    def _cast(self, x: Tensor) -> Tensor:
        return x.to(self.warped.weight.dtype, memory_format=torch.channels_last)

    # ---- prediction ----

    def prediction(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        """Pictures of `motion.compensate`, float32 [B, 12, H/2, W/2] -> their mean, which is the prediction; features.

        H and W are multiples of 8. features: [B, C, H/8, W/8].
        """
        both = self._cast(torch.cat((first, second), 1))
        return mean_of(first, second), self.predict(act(_blocks_of(both, *self.warped.parameters())))

    def no_prediction(self, count: int, height: int, width: int) -> tuple[Tensor, Tensor]:
        """What `prediction` gives a key frame of height x width cells: grey, and no features."""
        weight = self.warped.weight
        grey = torch.zeros(1, 1, 1, 1, device=weight.device)
        return (
            grey.expand(count, 3 * DETAIL**2, height * DETAILS, width * DETAILS),
            grey.to(weight.dtype).expand(count, self.shape.features, height, width),
        )

    # ---- entropy model: means in floats ----

    def steps(self, quality: Tensor, predicted: bool) -> Tensor:
        """Step of every latent channel in units of a pixel: float32 [B, LATENTS, 1, 1]."""
        return _exp_between(self.log_step[int(predicted)], quality)

    def units(self, quality: Tensor, predicted: bool) -> Tensor:
        """What the mean networks count a latent in, in steps: float32 [B, LATENTS, 1, 1].

        They are not told the quality. Without units of their own, they could only be heard less at one quality by
        making the steps smaller there, for all that is coded.
        """
        return _exp_between(self.log_unit[int(predicted)], quality)

    def hyper_features(self, hyper: Tensor) -> Tensor:
        """Hyper-latents, integers [B, hyper, h, w] -> [B, context, 4 h, 4 w], for the means."""
        return F.pixel_shuffle(self.expand(self._cast(hyper / 4)), HYPER)

    def first_means(self, hyper: Tensor, context: Tensor, features: Tensor, units: Tensor, predicted: bool) -> Tensor:
        """Means of the first cells' latents, in steps: float32 [B, LATENTS, h, w], of use where they are."""
        x = act(self.mean_first(torch.cat((context, features), 1)))
        mean = self.mean_first_out(x).float() * units
        if not predicted:  # three hyper-latents begin as a thumbnail of the picture
            mean = mean.index_add(1, places(DC, mean.device), _thumbnail(hyper))
        return mean

    def second_means(self, first: Tensor, context: Tensor, features: Tensor, units: Tensor, predicted: bool) -> Tensor:
        """Means of the other cells' latents, likewise. first: the first cells' latents in steps, 0 elsewhere."""
        beside = self.mean_around(self._cast(first / (4 * units)))
        x = act(self.mean_second(torch.cat((context, features), 1)) + beside)
        near = _neighbours(first).mul_(self.around[int(predicted)][:, None, None])
        return near.add_(self.mean_second_out(x).float() * units)

    # ---- entropy model: scales in integers, as training sees them ----

    def hyper_bits(self, hyper: Tensor, quality: Tensor, predicted: bool) -> Tensor:
        """Bits of hyper-latents, integers [B, hyper, h, w]: [B]."""
        cells = as_cells(hyper)  # [B, h w, hyper]
        first, second = halves(*hyper.shape[2:], hyper.device)
        told = globals_of(quality, predicted)[:, None].expand(-1, cells.shape[1], -1)
        seen = as_cells(around(magnitudes(hyper * checkerboard(*hyper.shape[2:], hyper.device))))
        told_second = torch.cat((told, seen), -1).index_select(1, second)
        a = row_bits(cells.index_select(1, first), self.hyper_scales[0](told.index_select(1, first)))
        b = row_bits(cells.index_select(1, second), self.hyper_scales[1](told_second))
        return a.sum((1, 2)) + b.sum((1, 2))

    def context(self, hyper: Tensor) -> Tensor:
        """What scale networks see of the hyper-latents: integers [B, hyper, h, w] -> [B, 4 h, 4 w, context], 0..255."""
        signed = (hyper * 16).clamp(-127, 127)
        h, w = hyper.shape[2:]
        near = F.unfold(signed, 3, padding=1).mT  # [B, h w, 9 hyper]
        return F.pixel_shuffle(self.scale_context(near).mT.unflatten(2, (h, w)), HYPER).permute(0, 2, 3, 1)

    # ---- reconstruction ----

    def reconstruct(
        self, latents: Tensor, steps: Tensor, prediction: Tensor, features: Tensor, quality: Tensor, predicted: bool
    ) -> Tensor:
        """-> frame float32 [B, 12, H/2, W/2], as `prediction`, not rounded."""
        with torch.autocast(quality.device.type, enabled=False):  # a block mean has more digits than bfloat16
            values = latents.float() * (steps / PIXEL)
            coded = prediction + self.residual(values)
        return self.filtered(coded, values, features, quality, predicted)

    def residual(self, values: Tensor) -> Tensor:
        """Dequantized latents [B, LATENTS, h, w], in units of layers -> what they add to a prediction."""
        return _sites_of(values, self.synthesis[..., None, None])

    def filtered(self, coded: Tensor, values: Tensor, features: Tensor, quality: Tensor, predicted: bool) -> Tensor:
        """What the loop filter makes, in place, of predictions with their residuals, float32 [B, 12, H/2, W/2]."""
        trunk = self.features(values, features, quality, predicted)
        seen = torch.cat((self._cast(coded), _sites_of(trunk, *self.loop_guide.parameters())), 1)
        return coded.add_(self.loop_out(act(self.loop(seen))).float())

    @property
    def filters(self) -> list[nn.Parameter]:
        """The parameters that `filtered` alone has a use for."""
        modules = (self.trunk, self.blocks, self.loop_guide, self.loop, self.loop_out)
        return [self.gain, self.bias, *(p for module in modules for p in module.parameters())]

    def features(self, values: Tensor, features: Tensor, quality: Tensor, predicted: bool) -> Tensor:
        """Dequantized latents and features of the prediction -> those of the trunk, [B, C, h, w]."""
        x = self.trunk(torch.cat((self._cast(values), features), 1))
        kind = int(predicted)
        gain = _exp_between(self.gain[kind], quality).to(x.dtype)
        bias = (knot_weights(quality) @ self.bias[kind])[..., None, None].to(x.dtype)
        return self.blocks(act(x * gain + bias))


def _exp_between(knots: Tensor, quality: Tensor) -> Tensor:
    """Logarithms at the knots [KNOTS, C] -> what they stand for at quality indices [B]: float32 [B, C, 1, 1]."""
    with torch.autocast(quality.device.type, enabled=False):
        return (knot_weights(quality) @ knots).exp()[..., None, None]


def _blocks_of(sites: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """A 1x1 convolution of `to_blocks(sites)`, its weights in the order in which channels_last has the values.

    Weights are quicker to move than sites. (In bfloat16, oneDNN 3.13 gets the same as a strided convolution wrong.)
    """
    b, _, h, w = sites.shape
    weight = weight.view(len(weight), -1, DETAILS, DETAILS).permute(0, 2, 3, 1).flatten(1)
    rows = sites.permute(0, 2, 3, 1).reshape(b, h // DETAILS, DETAILS, w // DETAILS, -1).transpose(2, 3).flatten(3)
    return F.linear(rows, weight, bias).permute(0, 3, 1, 2)


def _sites_of(blocks: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`from_blocks` of a 1x1 convolution, likewise."""
    b, _, h, w = blocks.shape

    def moved(p: Tensor) -> Tensor:
        return p.unflatten(0, (-1, DETAILS**2)).transpose(0, 1).flatten(0, 1)

    rows = (
        F.conv2d(blocks, moved(weight), None if bias is None else moved(bias))
        .permute(0, 2, 3, 1)
        .unflatten(3, (DETAILS, -1))
        .transpose(2, 3)
    )
    return rows.reshape(b, h * DETAILS, w * DETAILS, -1).permute(0, 3, 1, 2)


def _thumbnail(hyper: Tensor) -> Tensor:
    """The first three hyper-latents in the cells of the latents: float32 [B, 3, 4 h, 4 w]."""
    return F.interpolate(2.0 * hyper[:, :3].float(), scale_factor=HYPER, mode="bilinear", align_corners=False)


def as_cells(x: Tensor) -> Tensor:
    """[B, C, h, w] -> [B, h w, C]."""
    return x.flatten(2).mT


@torch.no_grad()
def magnitudes(symbols: Tensor) -> Tensor:
    """What a context sees of coded integers -127..127: 32 log2(1 + |s|), rounded."""
    return _table(symbols.device)[symbols.abs().long()]


@lru_cache(4)
def _table(device: torch.device) -> Tensor:
    with torch.inference_mode(False):
        return torch.from_numpy(MAGNITUDES).to(device)


@torch.no_grad()
def around(x: Tensor) -> Tensor:
    """The rounded average of the four cells around each, zero beyond the edges: integers [B, C, h, w]."""
    p = F.pad(x, (1, 1, 1, 1))
    return torch.floor((p[..., 1:-1, :-2] + p[..., 1:-1, 2:] + p[..., :-2, 1:-1] + p[..., 2:, 1:-1] + 2) / 4)


def _neighbours(x: Tensor) -> Tensor:
    """The average of the four cells around each, edges repeated: [B, C, h, w]."""
    p = F.pad(x, (1, 1, 1, 1), mode="replicate")
    return (p[..., 1:-1, :-2] + p[..., 1:-1, 2:]).add_(p[..., :-2, 1:-1]).add_(p[..., 2:, 1:-1]).div_(4)
