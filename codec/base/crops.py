"""Training data of a base, prepared once: crops of frames beside what motion makes of coded references.

A crop of a predicted frame holds nine planes: the frame, and its two references as a coder left them, moved to it by
the motion that an encoder would send. A crop of a key frame holds the frame alone.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import av
import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from codec.network.predictive.motion import UNITS, motion_size, warp

Frames = Sequence[NDArray[np.uint8]]  # RGB [H, W, 3] each


@dataclass(frozen=True)
class CropSettings:
    """Which crops, and how many."""

    size: int = 192  # pixels along each side
    triplets: int = 16  # target frames with references, for each clip
    places: int = 3  # crops of each
    keys: int = 8  # crops of key frames for each clip
    photo_crops: int = 4  # of each photograph
    crfs: tuple[int, ...] = (20, 26, 32, 38)  # of the coder that made the references
    seed: int = 1


# (frames back to the first reference, frames on to the second; 0 for none): share of the targets
DISTANCES = {
    (1, 1): 0.27, (2, 2): 0.19, (4, 4): 0.12, (8, 8): 0.06,
    (1, 0): 0.06, (2, 0): 0.04, (4, 0): 0.08, (8, 0): 0.12, (16, 0): 0.06,
}  # fmt: skip


def prepare(
    clips: Sequence[Path], photos: Sequence[Path], out: Path, settings: CropSettings, say: Callable[[str], None] = print
) -> None:
    """Write key.npy uint8 [N, 3, S, S], predicted.npy uint8 [M, 9, S, S] and crf.npy uint8 [M] into `out`."""
    rng = np.random.default_rng(settings.seed)
    keys: list[NDArray[np.uint8]] = []
    crfs: list[int] = []
    out.mkdir(parents=True, exist_ok=True)
    raw = out / "predicted.raw"
    with raw.open("wb") as file:
        for number, path in enumerate(clips):
            frames = _read(path)
            if min(frames[0].shape[:2]) < settings.size:
                say(f"{path.name}: smaller than a crop, left out")
                continue
            for _ in range(settings.keys):
                keys.append(_cut(_planes(frames[rng.integers(len(frames))]), settings.size, rng))
            coded = [code(frames, crf) for crf in settings.crfs]
            for _ in range(settings.triplets):
                which = int(rng.integers(len(coded)))
                if (planes := _moved(frames, coded[which], rng)) is None:
                    continue
                for _ in range(settings.places):
                    file.write(_cut(planes, settings.size, rng).tobytes())
                    crfs.append(settings.crfs[which])
            say(f"{number + 1}/{len(clips)} {path.name}: {len(crfs)} crops")
    for path in photos:
        photo = np.asarray(Image.open(path).convert("RGB"))
        if min(photo.shape[:2]) >= settings.size:
            keys += [_cut(_planes(photo), settings.size, rng) for _ in range(settings.photo_crops)]
    shape = (len(crfs), 9, settings.size, settings.size)
    np.save(out / "predicted.npy", np.memmap(raw, np.uint8, "r", shape=shape))
    raw.unlink()
    np.save(out / "key.npy", np.stack(keys))
    np.save(out / "crf.npy", np.asarray(crfs, np.uint8))
    (out / "crops.json").write_text(
        json.dumps(asdict(settings) | {"clips": [p.name for p in clips], "photos": [p.name for p in photos]}, indent=1)
    )


def code(frames: Frames, crf: int, preset: str = "superfast") -> list[NDArray[np.uint8]]:
    """Frames as x265 leaves them at a constant rate factor."""
    file = io.BytesIO()
    height, width = (side - side % 2 for side in frames[0].shape[:2])
    with av.open(file, "w", format="matroska") as container:
        stream = container.add_stream("libx265", rate=25)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.options = {"crf": str(crf), "preset": preset, "x265-params": "log-level=none:pools=none"}
        for frame in frames:
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame[:height, :width]), format="rgb24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    file.seek(0)
    with av.open(file) as container:
        coded = [picture.to_ndarray(format="rgb24") for picture in container.decode(video=0)]
    pad = ((0, frames[0].shape[0] - height), (0, frames[0].shape[1] - width), (0, 0))
    return [np.pad(frame, pad, mode="edge") for frame in coded]


def flow_motion(target: NDArray[np.uint8], reference: NDArray[np.uint8]) -> NDArray[np.int16]:
    """Motion of a frame to a reference, RGB [H, W, 3] both, by optical flow averaged over the cells: [2, rows, columns].

    DIS flow (Kroeger et al., 2016). In quarter pixels, (y, x).
    """
    grey = [cv2.cvtColor(f, cv2.COLOR_RGB2GRAY) for f in (target, reference)]
    flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM).calc(*grey, None)
    rows, columns = motion_size(*target.shape[:2])
    padded = np.pad(flow, ((0, rows * 16 - flow.shape[0]), (0, columns * 16 - flow.shape[1]), (0, 0)), mode="edge")
    cells = padded.reshape(rows, 16, columns, 16, 2).mean((1, 3))
    motion: NDArray[np.int16] = np.rint(cells[..., ::-1] * UNITS).astype(np.int16).transpose(2, 0, 1)
    return motion


def _moved(frames: Frames, coded: Frames, rng: np.random.Generator) -> NDArray[np.uint8] | None:
    """The planes of one predicted frame and its moved references: uint8 [9, H, W]; None where the clip is too short."""
    (back, on) = list(DISTANCES)[rng.choice(len(DISTANCES), p=np.fromiter(DISTANCES.values(), float))]
    if len(frames) <= back + on:
        return None
    t = int(rng.integers(back, len(frames) - on))
    moved = []
    for reference in [coded[t - back]] + ([coded[t + on]] if on else []):
        motion = torch.from_numpy(flow_motion(frames[t], reference))[None]
        pixels = torch.from_numpy(_planes(reference))[None].float()
        moved.append(warp(pixels, motion)[0].round().clamp(0, 255).byte().numpy())
    return np.concatenate([_planes(frames[t]), moved[0], moved[-1]])


def _read(path: Path) -> list[NDArray[np.uint8]]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def _planes(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """[H, W, 3] -> [3, H, W]."""
    return np.ascontiguousarray(frame.transpose(2, 0, 1))


def _cut(planes: NDArray[np.uint8], size: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    y, x = (int(rng.integers(side - size + 1)) for side in planes.shape[1:])
    return planes[:, y : y + size, x : x + size]


def licensed(corpus: Path) -> Iterator[Path]:
    """Clips and photographs of a corpus folder but those under share-alike licences, by its CORPUS.md."""
    listed = {}
    for line in (corpus / "CORPUS.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.split("|")]
        if len(cells) > 3:
            listed[cells[1]] = line
    for path in sorted([*(corpus / "clips").iterdir(), *(corpus / "photos").iterdir()]):
        line = listed.get(path.stem) or listed.get(path.name)
        if line is not None and "BY-SA" not in line:
            yield path
