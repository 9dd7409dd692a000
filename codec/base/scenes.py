"""Prepared scenes: what a training reads instead of videos, made once.

A folder holds, for every clip,
    NAME.frames.npy  uint8 [T, 3, H, W]    its frames; NAME is that of its file
    NAME.motion.npz  motion int16 [T, 2, 2, h, w], sides int8 [T, h, w]: as an encoder finds them (see `Symbols`)
                     references int16 [T, 2]: frames that each is made from; twice the same where it is one, -1 for none
                     anchor, quality: frames between anchors, and the quality of key frames, of that search
and of photographs
    photos.npy       uint8 [N, 3, S, S]    the middle of each
    scenes.json      what all were made of

Motion is searched in references that x265 coded at a like quality: its errors look like those of any block transform.
"""

from __future__ import annotations

import io
import json
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import av
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from codec.atomic import atomic_output
from codec.base.corpus import Corpus, Item
from codec.encoding.predictive.block_match import Shown
from codec.encoding.predictive.flow import Flows, luma, one_thread
from codec.encoding.predictive.gop import GopSettings, needed, order
from codec.encoding.predictive.motion_search import search
from codec.errors import BaseError
from codec.network.predictive.motion import motion_size
from codec.network.predictive.network import CELL
from codec.network.predictive.quality import lagrangian
from codec.rate.carried import Moved, carry
from codec.video import frames as read_frames

TRAINING, HELD = "train", "held"  # the two parts of a prepared folder
FRAMES, MOTION, PHOTOS, ABOUT = ".frames.npy", ".motion.npz", "photos.npy", "scenes.json"
FILES = "*.[jn][sp][oyz]*"  # all of these
NARROWEST = 64  # pixels: coding narrower pictures damages memory (x265 4.2 of PyAV 18.1)
Say = Callable[[str], object]
Frame = NDArray[np.uint8]  # RGB [H, W, 3]


@dataclass(frozen=True)
class SceneSettings:
    """Which scenes, and how they are searched. Raises BaseError for sizes that do not fit the network."""

    size: int = 224  # pixels: smaller clips and photographs are left out
    photo: int = 320  # pixels along the sides of a photograph's middle
    frames: int = 33  # most of a clip
    anchors: tuple[int, ...] = (4, 8, 8, 16)  # frames between anchors, one of them for each clip
    lowest: float = 30.0  # quality index of key frames that motion is searched for
    highest: float = 62.0
    preset: str = "superfast"  # of x265
    seed: int = 1

    def __post_init__(self) -> None:
        if not CELL <= self.size <= self.photo or self.size % CELL:
            raise BaseError(f"crops of {self.size} pixels: give a multiple of {CELL}, {self.photo} at most")

    @property
    def shortest(self) -> int:
        """Frames that a walk along a scene takes at least."""
        return 2 * min(self.anchors) + 1


@dataclass(frozen=True, eq=False)
class Scene:
    """A clip and its motion; see above."""

    frames: Tensor
    motion: Tensor
    sides: Tensor
    references: NDArray[np.int16]
    anchor: int
    quality: float

    def to(self, device: torch.device) -> Scene:
        frames, motion, sides = (x.to(device) for x in (self.frames, self.motion, self.sides))
        return replace(self, frames=frames, motion=motion, sides=sides)


@dataclass(frozen=True, eq=False)
class Scenes:
    """The content of one folder."""

    scenes: tuple[Scene, ...]
    photos: Tensor | None  # uint8 [N, 3, S, S]
    size: int  # pixels, of the crops that all are large enough for
    about: dict[str, Any]

    def to(self, device: torch.device) -> Scenes:
        """The same on a device, 23 MB a clip of 640x360: to a GPU, crops would come too slowly from elsewhere."""
        photos = None if self.photos is None else self.photos.to(device)
        return replace(self, scenes=tuple(scene.to(device) for scene in self.scenes), photos=photos)


def prepare(corpus: Corpus, out: Path, settings: SceneSettings, say: Say, force: bool = False) -> None:
    """Write the scenes of a corpus: out/train, and out/held of the clips held back. What is there already stays.

    The same corpus and settings give the same files, and a clip's do not depend on the other clips. An interrupt
    leaves whole folders or none. Raises BaseError, OutputError, VideoError.
    """
    out.mkdir(parents=True, exist_ok=True)
    for part, clips, photos in ((TRAINING, corpus.clips, corpus.photos), (HELD, corpus.held, ())):
        if not clips:
            say(f"{part}: no clips of its own")
            continue
        about = _about(clips, photos, settings)
        if (out / part).is_dir() and not force:
            if open_scenes(out / part).about["made_of"] != about["made_of"]:
                raise BaseError(f"{out / part} was prepared of other things: choose a new folder, or prepare --force")
            say(f"{part}: prepared already")
            continue
        say(f"{part}: {len(clips)} clips, {len(photos)} photographs")
        with atomic_output(out / part, force, FILES) as folder, one_thread():
            written = [_write_clip(folder, c, settings, say, f"{n}/{len(clips)}") for n, c in enumerate(clips, 1)]
            if not any(written):
                raise BaseError(
                    f"no clip of {settings.size} pixels and {settings.shortest} frames or more: nothing to train on"
                )
            middles = [m for item in photos if (m := _middle(item.path, settings.photo)) is not None]
            if middles:
                np.save(folder / PHOTOS, np.stack(middles))
            (folder / ABOUT).write_text(json.dumps(about, indent=1) + "\n")


def open_scenes(folder: Path) -> Scenes:
    """Prepared scenes, read from disk as they are asked for. Raises BaseError."""
    try:
        about = json.loads((folder / ABOUT).read_text())
        names = sorted({p.name.removesuffix(end) for end in (FRAMES, MOTION) for p in folder.glob(f"*{end}")})
        scenes = tuple(_open(folder, name) for name in names)
        photos = torch.from_numpy(np.load(folder / PHOTOS)) if (folder / PHOTOS).exists() else None
        size = int(about["made_of"]["settings"]["size"])
    except (OSError, EOFError, ValueError, LookupError, TypeError, BadZipFile, zlib.error) as error:
        raise BaseError(f"{folder} does not hold prepared scenes ({error}): python -m {__package__} prepare") from error
    if not scenes or not all(_fits(scene, size) for scene in scenes):
        raise BaseError(f"{folder}: its files do not belong together, or there are no scenes; prepare it anew")
    return Scenes(scenes, photos, size, about)


def _open(folder: Path, name: str) -> Scene:
    frames = torch.from_numpy(np.load(folder / f"{name}{FRAMES}", mmap_mode="c"))
    with np.load(folder / f"{name}{MOTION}") as found:
        motion, sides = (torch.from_numpy(found[part]) for part in ("motion", "sides"))
        return Scene(frames, motion, sides, found["references"], int(found["anchor"]), float(found["quality"]))


def _fits(scene: Scene, size: int) -> bool:
    """Whether its parts are of one clip, large enough for crops of this size."""
    count, colours, height, width = scene.frames.shape
    grid = motion_size(height, width)
    shapes = [tuple(x.shape) for x in (scene.motion, scene.sides, scene.references)]
    return shapes == [(count, 2, 2, *grid), (count, *grid), (count, 2)] and colours == 3 and min(height, width) >= size


def _about(clips: Sequence[Item], photos: Sequence[Item], settings: SceneSettings) -> dict[str, Any]:
    names = {"clips": [c.path.name for c in clips], "photos": [p.path.name for p in photos]}
    made_of = json.loads(json.dumps({"settings": asdict(settings), **names}))
    licences = {
        kind: dict(sorted(Counter(item.licence for item in items).items()))
        for kind, items in (("clips", clips), ("photos", photos))
    }
    credits = sorted({item.attribution for item in (*clips, *photos) if "BY" in item.licence})
    return {"made_of": made_of, "licences": licences, "attributions": credits}


def _write_clip(folder: Path, item: Item, settings: SceneSettings, say: Say, count: str) -> bool:
    """Write one clip's files; False where it is too small or short."""
    frames = list(islice(read_frames(item.path), settings.frames))
    if min(frames[0].shape[:2]) < settings.size or len(frames) < settings.shortest:
        say(f"{item.path.name} is smaller than a crop, or shorter than {settings.shortest} frames: left out")
        return False
    rng = np.random.default_rng((settings.seed, zlib.crc32(item.path.name.encode())))
    quality = float(rng.uniform(settings.lowest, settings.highest))
    structure = GopSettings(anchor=int(rng.choice([a for a in settings.anchors if 2 * a < len(frames)])))
    motion, sides, references = find_motion(frames, structure, quality, settings.preset)
    np.save(folder / f"{item.path.name}{FRAMES}", np.stack(frames).transpose(0, 3, 1, 2))
    np.savez_compressed(
        folder / f"{item.path.name}{MOTION}",
        motion=motion, sides=sides, references=references, anchor=structure.anchor, quality=quality,
    )  # fmt: skip
    say(f"{count} {item.path.name}")
    return True


def find_motion(
    frames: Sequence[Frame], structure: GopSettings, quality: float, preset: str
) -> tuple[NDArray[np.int16], NDArray[np.int8], NDArray[np.int16]]:
    """Motion, sides and references of the frames of a clip, as the files hold them."""
    crf = int(np.clip(round(20 + (63 - quality) * 18 / 27), 16, 40))  # of x265, for a like quality
    shown = [Shown(luma(f)) for f in code(frames, crf, preset)]
    planes = [luma(f) for f in frames]
    flows = Flows(planes)
    rows, columns = motion_size(*planes[0].shape)
    motion = np.zeros((len(frames), 2, 2, rows, columns), np.int16)
    sides = np.zeros((len(frames), rows, columns), np.int8)
    references = np.full((len(frames), 2), -1, np.int16)
    moved: dict[int, Moved] = {}
    for p in (p for group in order(len(frames), structure) for p in group):
        t, seen = p.number, needed(p, planes)
        moved[t] = Moved(seen, motion[t, : len(seen)])
        if seen:
            starts = [[flows.between(t, r)] for r in seen]
            carried = carry(t, seen, {r: moved[r] for r in seen})
            ratio = (seen[-1] - t) / (seen[0] - t)
            index = structure.quality(quality, p)
            found = search(planes[t], [shown[r] for r in seen], starts, ratio, lagrangian(index), carried)
            moved[t] = Moved(seen, found.motion)
            motion[t], references[t] = found.motion[[0, -1]], (seen[0], seen[-1])
            if len(seen) == 2:
                sides[t] = found.sides[0]
    return motion, sides, references


def code(frames: Sequence[Frame], crf: int, preset: str) -> list[Frame]:
    """Frames as x265 leaves them at a constant rate factor; on one thread, since its output depends on their number."""
    file = io.BytesIO()
    height, width = frames[0].shape[:2]
    rows, columns = height % 2, max(width % 2, NARROWEST - width)  # more of them than there are: 4:2:0 wants even sides
    with av.open(file, "w", format="matroska") as container:
        stream = container.add_stream("libx265", rate=25)
        stream.height, stream.width, stream.pix_fmt = height + rows, width + columns, "yuv420p"
        stream.options = {"crf": str(crf), "preset": preset, "x265-params": "log-level=none:pools=none:frame-threads=1"}
        for frame in frames:
            even = np.pad(frame, ((0, rows), (0, columns), (0, 0)), mode="edge")
            container.mux(stream.encode(av.VideoFrame.from_ndarray(even, format="rgb24")))
        container.mux(stream.encode())
    file.seek(0)
    with av.open(file) as container:
        coded = [picture.to_ndarray(format="rgb24") for picture in container.decode(video=0)]
    return [frame[:height, :width] for frame in coded]


def _middle(path: Path, size: int) -> NDArray[np.uint8] | None:
    """The middle of a photograph, [3, size, size]; None of a smaller one."""
    try:
        photo = np.asarray(Image.open(path).convert("RGB"))
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise BaseError(f"cannot read the photograph {path}: {error}") from error
    y, x = ((side - size) // 2 for side in photo.shape[:2])
    return photo[y : y + size, x : x + size].transpose(2, 0, 1) if min(y, x) >= 0 else None
