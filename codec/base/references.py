"""Predicted frames of a clip beside their references as a coder left them: what a base learns prediction from.

Two coders. x265, before there is a base: its errors look like those of any block transform. And an earlier base itself,
with the product's own motion search and order of frames: the errors that the next base will meet, of known quality.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import av
import numpy as np
import torch
from numpy.typing import NDArray

from bitstream.frames import CodedFrame
from codec.base.model import load_codec
from codec.encoding.predictive.block_match import Shown
from codec.encoding.predictive.flow import Flows, luma
from codec.encoding.predictive.frame import FrameEncoder, Reference
from codec.encoding.predictive.gop import GopSettings, order
from codec.encoding.predictive.motion_search import SearchSettings, search
from codec.errors import BaseError
from codec.network.predictive.motion import compensate
from codec.network.predictive.quality import lagrangian
from codec.network.predictive.store import digest_of

Frame = NDArray[np.uint8]  # RGB [H, W, 3]
Planes = NDArray[np.uint8]  # [C, H, W]


@dataclass(frozen=True)
class Sample:
    """A predicted frame."""

    planes: Planes  # [9, H, W]: the frame, and its two references moved to it; one reference alone stands twice
    quality: float  # highest quality index that it is trained at
    spread: float  # how far below that


class Coder(Protocol):
    """A source of references."""

    def samples(self, frames: Sequence[Frame], rng: np.random.Generator) -> Iterator[Sample]:
        """Predicted frames of a clip, chosen at random."""

    def about(self) -> dict[str, Any]:
        """What decides the samples, as JSON."""


# (frames back to the first reference, frames on to the second; 0 for none): share of the targets
DISTANCES = {
    (1, 1): 0.27, (2, 2): 0.19, (4, 4): 0.12, (8, 8): 0.06,
    (1, 0): 0.06, (2, 0): 0.04, (4, 0): 0.08, (8, 0): 0.12, (16, 0): 0.06,
}  # fmt: skip

# x265's constant rate factor: highest quality index of frames whose references are of that kind
CRF_QUALITY = {20: 63.0, 26: 54.0, 32: 45.0, 38: 36.0}
LEVELS = 31.0  # quality indices that a frame may lie below that: leaves of a group of frames lie deep


@dataclass(frozen=True)
class X265Coder:
    """References as x265 leaves them; motion as an encoder finds it."""

    targets: int = 12  # of each clip
    preset: str = "superfast"
    jitter: float = 5.0  # quality indices around the one that motion is searched at

    def about(self) -> dict[str, Any]:
        return {"coder": "x265"} | asdict(self)

    def samples(self, frames: Sequence[Frame], rng: np.random.Generator) -> Iterator[Sample]:
        coded = {crf: code(frames, crf, self.preset) for crf in CRF_QUALITY}
        flows = Flows([luma(f) for f in frames])
        usable = {d: share for d, share in DISTANCES.items() if sum(d) < len(frames)}
        shares = np.fromiter(usable.values(), float)
        for _ in range(self.targets if usable else 0):
            crf = int(rng.choice(list(CRF_QUALITY)))
            back, on = list(usable)[rng.choice(len(usable), p=shares / shares.sum())]
            t = int(rng.integers(back, len(frames) - on))
            quality = float(CRF_QUALITY[crf] - LEVELS * rng.random())
            places = [t - back] + ([t + on] if on else [])
            shown = [Shown(luma(coded[crf][r])) for r in places]
            starts = [[flows.between(t, r)] for r in places]
            ratio = (places[-1] - t) / (places[0] - t)
            found = search(luma(frames[t]), shown, starts, ratio, lagrangian(quality))
            highest = min(CRF_QUALITY[crf], quality + self.jitter)
            planes = _planes(frames[t], [coded[crf][r] for r in places], found.motion, found.sides)
            yield Sample(planes, highest, highest - quality + self.jitter)


@dataclass(frozen=True)
class BaseCoder:
    """References and motion as an encoder with a base has them."""

    base: Path
    lowest: float = 30.0  # quality index of key frames
    highest: float = 58.0
    anchors: tuple[int, ...] = (4, 8, 8, 16)  # frames between anchors, one of them for each clip
    share: float = 0.75  # of the predicted frames
    leaves: float = 0.4  # of the frames that no other refers to: there are most of these
    jitter: float = 3.0  # quality indices around the one that the frame was coded at

    def about(self) -> dict[str, Any]:
        return {"coder": "base"} | asdict(self) | {"base": digest_of(self.base).hex()}

    @torch.inference_mode()
    def samples(self, frames: Sequence[Frame], rng: np.random.Generator) -> Iterator[Sample]:
        codec = load_codec(self.base)
        encoder = FrameEncoder(codec.network, codec.analysis, SearchSettings())
        top = rng.uniform(self.lowest, self.highest)
        structure = GopSettings(anchor=int(rng.choice(self.anchors)))
        for frame in encoded_frames(encoder, frames, structure, top, lambda: rng.random() < self.leaves):
            if frame.references and rng.random() < self.share:
                shown = [r.shown for r in frame.references.values()]
                decoded = frame.decoded
                planes = _planes(frames[frame.coded.number], shown, decoded.moved.motion, decoded.sides)
                yield Sample(planes, frame.coded.quality + self.jitter, 2 * self.jitter)


@dataclass(frozen=True, eq=False)
class EncodedFrame:
    """A frame of a clip as an encoder has it."""

    coded: CodedFrame
    references: dict[int, Reference]
    decoded: Reference


def encoded_frames(
    encoder: FrameEncoder,
    frames: Sequence[Frame],
    structure: GopSettings,
    quality: float,
    leaf: Callable[[], bool] = lambda: True,
) -> Iterator[EncodedFrame]:
    """Frames of a clip in coding order. leaf: asked of each that no other refers to, whether to encode it."""
    flows = Flows([luma(f) for f in frames])
    planned = [p for group in order(len(frames), structure) for p in group]
    needed = {r for p in planned for r in p.references}
    kept: dict[int, Reference] = {}
    for p in planned:
        if p.number in needed or leaf():
            references = {r: kept[r] for r in p.references}
            index = structure.quality(quality, p)
            encoded, kept[p.number], _ = encoder.encode(p.number, frames[p.number], references, index, flows)
            yield EncodedFrame(encoded.coded, references, kept[p.number])


def coder_of(name: str) -> Coder:
    """`x265`, or the path of a base. Raises BaseError."""
    if name == "x265":
        return X265Coder()
    if not Path(name).is_file():
        raise BaseError(f"there is no coder '{name}': give x265, or the file of a base")
    return BaseCoder(Path(name))


def code(frames: Sequence[Frame], crf: int, preset: str) -> list[Frame]:
    """Frames as x265 leaves them at a constant rate factor; on one thread, since its output depends on their number."""
    file = io.BytesIO()
    rows, columns = frames[0].shape[0] % 2, frames[0].shape[1] % 2  # 4:2:0 wants even sides
    with av.open(file, "w", format="matroska") as container:
        stream = container.add_stream("libx265", rate=25)
        stream.height, stream.width, stream.pix_fmt = frames[0].shape[0] + rows, frames[0].shape[1] + columns, "yuv420p"
        stream.options = {"crf": str(crf), "preset": preset, "x265-params": "log-level=none:pools=none:frame-threads=1"}
        for frame in frames:
            even = np.pad(frame, ((0, rows), (0, columns), (0, 0)), mode="edge")
            container.mux(stream.encode(av.VideoFrame.from_ndarray(even, format="rgb24")))
        container.mux(stream.encode())
    file.seek(0)
    with av.open(file) as container:
        coded = [picture.to_ndarray(format="rgb24") for picture in container.decode(video=0)]
    return [frame[: frame.shape[0] - rows, : frame.shape[1] - columns] for frame in coded]


def _planes(frame: Frame, references: Sequence[Frame], motion: NDArray[np.int16], sides: NDArray[np.int16]) -> Planes:
    """A frame and its references, moved: uint8 [9, H, W]. motion, sides: of `Symbols`."""
    planes = torch.from_numpy(np.stack([to_planes(r) for r in references]))[None]
    moved = compensate(planes, torch.from_numpy(motion)[None], torch.from_numpy(sides)[None])
    return np.concatenate([to_planes(frame), *(m[0].round().clamp(0, 255).byte().numpy() for m in moved)])


def to_planes(frame: Frame) -> Planes:
    """[H, W, 3] -> [3, H, W]."""
    return np.ascontiguousarray(frame.transpose(2, 0, 1))
