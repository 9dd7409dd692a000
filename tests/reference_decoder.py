"""A second decoder, written from bitstream/FORMAT.md, sections Network and Features, in numpy and float64: slow, plain,
without torch.

It shares only the integers with the codec's own decoder; that both give the same pictures is what pins either.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from bitstream import Architecture, FrameSegment, Header, Nerv, QuantizedTensor, Segment, read_segment, step

Array = NDArray[np.float64]


def decode(nerv: Nerv) -> tuple[NDArray[np.uint8], Array | None]:
    """Frames uint8 [T, H, W, 3] and features float64 [T, patches, D] of a whole file."""
    frames, features = [], []
    for segment in nerv.segments:
        for t in range(segment.frames):
            frame, found = _frame(nerv.header, segment, t)
            frames.append(frame)
            features.append(found)
    held = nerv.header.architecture.clip_dim > 0
    return np.stack(frames), np.stack(features) if held else None


def coded_features(header: Header, segment: FrameSegment) -> Array:
    """Features float64 [T, patches, D] of a segment of coded frames."""
    mean, *along = read_segment(segment.features, "features").tensors
    patches = header.grid[0] * header.grid[1]
    found = np.empty((segment.frames, patches, header.architecture.clip_dim))
    for t in range(segment.frames):
        for p in range(patches):
            feature = _values(mean)[0].copy()
            if along:
                vectors, first, *changes = along
                for k, vector in enumerate(_values(vectors)):
                    c = _values(first)[k, p] + sum(_values(changed)[k, p, :t].sum() for changed in changes)
                    feature += c * vector
            length = np.linalg.norm(feature)
            found[t, p] = feature / length if length else feature
    return found


def _frame(header: Header, segment: Segment, t: int) -> tuple[NDArray[np.uint8], Array]:
    arch, (rows, columns) = header.architecture, header.grid
    size = math.ceil(header.height / rows), math.ceil(header.width / columns)
    whole = arch.embed.startswith("grid")
    frame = np.zeros((rows * size[0], columns * size[1], 3))
    features = []
    for row in range(rows):
        for column in range(columns):
            if whole and (row, column) != (0, 0):
                continue
            tile = (header.height, header.width) if whole else size
            trunk, rgb, tensors = _tile(header, segment, t, row, column, tile)
            top, left = row * size[0], column * size[1]
            frame[top : top + tile[0], left : left + tile[1]] = rgb.transpose(1, 2, 0)[: tile[0], : tile[1]]
            head = [_values(tensor) for tensor in tensors]  # what is left: the CLIP head
            if head and whole:
                features += [_clip(_cut(trunk, header, r, c), head) for r in range(rows) for c in range(columns)]
            elif head:
                features.append(_clip(trunk, head))
    pixels = np.rint(np.clip(frame[: header.height, : header.width], 0, 1) * 255).astype(np.uint8)
    return pixels, np.array(features)


def _tile(
    header: Header, segment: Segment, t: int, row: int, column: int, tile: tuple[int, int]
) -> tuple[Array, Array, Iterator[QuantizedTensor]]:
    """The map before the RGB head, the tile's pixels [3, h, w], and the tensors that are left."""
    arch, tensors = header.architecture, iter(segment.tensors)
    total = math.prod(arch.dec_strds) * arch.head_strd
    first = math.ceil(tile[0] / total), math.ceil(tile[1] / total)
    x = _embedding(header, segment.frames, tensors, first, t, row, column)
    x = _act(arch.act, _conv(x, tensors))
    if arch.embed.startswith("pe"):
        x = _average(x.reshape(arch.fc_dim, *arch.fc_hw), first)
    width = arch.fc_dim
    for i, (stride, blocks) in enumerate(zip(arch.dec_strds, arch.dec_blks, strict=True)):
        q = math.sqrt(stride) if arch.reduce == -1 else arch.reduce
        after = max(round(width / q), arch.lower_width)
        kernel = min(arch.ks[0] + 2 * i, arch.ks[1])
        for j in range(blocks):
            x = _block(arch, x, tensors, stride if j == 0 else 1, after, kernel)
        width = after
    rgb = _shuffle(_conv(x, tensors), arch.head_strd)
    if arch.out_bias == "tanh":
        return x, np.tanh(rgb) / 2 + 0.5, tensors
    if arch.out_bias == "sigmoid":
        return x, 1 / (1 + np.exp(-rgb)), tensors
    return x, rgb + float(arch.out_bias), tensors


def _embedding(
    header: Header, frames: int, tensors: Iterator[QuantizedTensor], first: tuple[int, int], t: int, row: int, col: int
) -> Array:
    kind, *fields = header.architecture.embed.split("_")
    rows, columns = header.grid
    if kind == "hnerv":
        latent: Array = _values(next(tensors))[:, (t * rows + row) * columns + col]
        return latent
    if kind == "pe":
        base, levels = float(fields[0]), int(fields[1])
        places = [
            np.float32(n) / np.float32(max(count - 1, 1)) for n, count in ((t, frames), (row, rows), (col, columns))
        ]
        waves: list[float] = []
        for v in places:
            angles = [base**k * math.pi * float(v) for k in range(levels)]
            waves += [math.sin(a) for a in angles] + [math.cos(a) for a in angles]
        return np.array(waves)[:, None, None]
    maps = []
    for _ in fields:
        planes = _values(next(tensors))  # [c, n, h, w]
        place = t / max(frames - 1, 1) * (planes.shape[1] - 1)
        before = min(int(place), max(planes.shape[1] - 2, 0))
        after = min(before + 1, planes.shape[1] - 1)
        plane = planes[:, before] + (planes[:, after] - planes[:, before]) * (place - before)
        maps.append(_resized(plane, first))
    return np.concatenate(maps)


def _block(
    arch: Architecture, x: Array, tensors: Iterator[QuantizedTensor], stride: int, width: int, kernel: int
) -> Array:
    stays = stride == 1 and len(x) == width
    if arch.conv_type == "residual" and stays:
        return x + _conv(_gelu(_conv(x, tensors)), tensors)
    if arch.conv_type == "convnext" and stays:
        return x + _conv(_gelu(_conv(_conv(x, tensors, depthwise=True), tensors)), tensors)
    if arch.conv_type == "conv":
        return _act(arch.act, _transposed(x, tensors, stride, kernel))
    if arch.conv_type == "interpolate":
        return _act(arch.act, _conv(_resized(x, (x.shape[1] * stride, x.shape[2] * stride)), tensors))
    return _act(arch.act, _shuffle(_conv(x, tensors), stride))


def _values(tensor: QuantizedTensor) -> Array:
    steps = step(tensor.steps).astype(np.float64).reshape(-1, *[1] * (tensor.values.ndim - 1))
    found: Array = tensor.values * steps
    return found


def _conv(x: Array, tensors: Iterator[QuantizedTensor], depthwise: bool = False) -> Array:
    weight, bias = _values(next(tensors)), _values(next(tensors))[0]
    k = weight.shape[-1]
    padded = np.pad(x, ((0, 0), (k // 2, k // 2), (k // 2, k // 2)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (k, k), (1, 2))  # [C, h, w, k, k]
    if depthwise:
        return np.einsum("chwij,cij->chw", windows, weight[:, 0]) + bias[:, None, None]
    return np.einsum("chwij,ocij->ohw", windows, weight, optimize=True) + bias[:, None, None]


def _transposed(x: Array, tensors: Iterator[QuantizedTensor], stride: int, kernel: int) -> Array:
    weight, bias = _values(next(tensors)), _values(next(tensors))[0]
    (_, h, w), k = x.shape, weight.shape[-1]
    out = np.zeros((weight.shape[1], (h - 1) * stride + k, (w - 1) * stride + k))
    for i in range(h):
        for j in range(w):
            out[:, i * stride : i * stride + k, j * stride : j * stride + k] += np.tensordot(x[:, i, j], weight, 1)
    out = out[:, kernel // 2 :, kernel // 2 :] + bias[:, None, None]
    return out[:, : h * stride, : w * stride]


def _shuffle(x: Array, s: int) -> Array:
    channels, h, w = x.shape
    return x.reshape(channels // s**2, s, s, h, w).transpose(0, 3, 1, 4, 2).reshape(-1, h * s, w * s)


def _resized(x: Array, size: tuple[int, int]) -> Array:
    """Bilinear, half-pixel centres, edges repeated."""
    for axis, (count, cells) in enumerate(zip(size, x.shape[1:], strict=True), 1):
        place = np.clip((np.arange(count) + 0.5) * cells / count - 0.5, 0, cells - 1)
        low = np.floor(place).astype(int)
        share = (place - low).reshape([-1 if a == axis else 1 for a in range(3)])
        x = x.take(low, axis) * (1 - share) + x.take(np.minimum(low + 1, cells - 1), axis) * share
    return x


def _average(x: Array, size: tuple[int, int]) -> Array:
    """Each cell the mean of those that it reaches over."""
    for axis, (count, cells) in enumerate(zip(size, x.shape[1:], strict=True), 1):
        spans = [(i * cells // count, math.ceil((i + 1) * cells / count)) for i in range(count)]
        x = np.stack([x.take(range(a, b), axis).mean(axis) for a, b in spans], axis)
    return x


def _cut(trunk: Array, header: Header, row: int, column: int) -> Array:
    """The cells that hold the pixels of a patch."""
    r, (rows, columns) = header.architecture.head_strd, header.grid
    h, w = math.ceil(header.height / rows), math.ceil(header.width / columns)
    y, x = (row * h, min((row + 1) * h, header.height)), (column * w, min((column + 1) * w, header.width))
    return trunk[:, y[0] // r : math.ceil(y[1] / r), x[0] // r : math.ceil(x[1] / r)]


def _clip(trunk: Array, head: list[Array]) -> Array:
    hidden = _gelu(head[0] @ trunk.mean((1, 2)) + head[1][0])
    found: Array = head[2] @ hidden + head[3][0]
    return found / np.linalg.norm(found)


def _act(name: str, x: Array) -> Array:
    if name == "gelu":
        return _gelu(x)
    return np.maximum(x, 0) if name == "relu" else x / (1 + np.exp(-x))


def _gelu(x: Array) -> Array:
    found: Array = x * (1 + np.vectorize(math.erf)(x / math.sqrt(2))) / 2
    return found
