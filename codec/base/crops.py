"""Prepared crops: what a training reads instead of videos, made once.

A folder holds, for crops of S x S pixels,
    key.npy        uint8 [N, 3, S, S]    frames, coded without references
    predicted.npy  uint8 [M, 9, S, S]    frames, and their two references moved to them: see `references.Sample`
    quality.npy    float32 [M]           highest quality index that each is trained at
    spread.npy     float32 [M]           how far below that
    crops.json     what they were made of
"""

from __future__ import annotations

import json
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from codec.atomic import atomic_output
from codec.base.corpus import Corpus, Item
from codec.base.references import Coder, Frame, Planes, to_planes
from codec.encoding.predictive.flow import one_thread
from codec.errors import BaseError
from codec.network.predictive.network import CELL
from codec.video import frames as read_frames

TRAINING, HELD = "train", "held"  # the two parts of a prepared folder
FILES = "*.[jn][sp][oy]*"  # .json and .npy: what a folder of crops holds
Say = Callable[[str], object]


@dataclass(frozen=True)
class CropSettings:
    """Which crops, and how many."""

    size: int = 192  # pixels along each side
    places: int = 4  # crops of each predicted frame
    keys: int = 8  # crops of key frames, of each clip
    photo_crops: int = 4  # of each photograph
    frames: int = 48  # most of a clip
    seed: int = 1

    def __post_init__(self) -> None:
        if self.size < CELL or self.size % CELL:
            raise BaseError(f"crops of {self.size} pixels do not fit the network: give a multiple of {CELL}")


@dataclass(frozen=True)
class Crops:
    """The crops of one folder."""

    key: NDArray[np.uint8]
    predicted: NDArray[np.uint8]
    quality: NDArray[np.float32]
    spread: NDArray[np.float32]
    about: dict[str, Any]

    @property
    def size(self) -> int:
        return self.key.shape[-1]


def prepare(corpus: Corpus, out: Path, coder: Coder, settings: CropSettings, say: Say, force: bool = False) -> None:
    """Write the crops of a corpus: out/train, and out/held of the clips held back. What is there already stays.

    The same corpus, coder and settings give the same files, and a clip's crops do not depend on the other clips. An
    interrupt leaves whole folders or none. Raises BaseError, OutputError, VideoError.
    """
    out.mkdir(parents=True, exist_ok=True)
    for part, clips, photos in ((TRAINING, corpus.clips, corpus.photos), (HELD, corpus.held, ())):
        if not clips:
            say(f"{part}: no clips of its own")
            continue
        about = _about(clips, photos, coder, settings)
        if (out / part).is_dir() and not force:
            if open_crops(out / part).about["made_of"] != about["made_of"]:
                raise BaseError(f"{out / part} was prepared of other things: choose a new folder, or --force")
            say(f"{part}: prepared already")
            continue
        say(f"{part}: {len(clips)} clips, {len(photos)} photographs")
        with atomic_output(out / part, force, FILES) as folder:
            _write(folder, clips, photos, coder, settings, about, say)


def open_crops(folder: Path) -> Crops:
    """Prepared crops, read from disk as they are asked for. Raises BaseError."""
    try:
        about = json.loads((folder / "crops.json").read_text())
        key, predicted = (np.load(folder / f"{n}.npy", mmap_mode="r") for n in ("key", "predicted"))
        quality, spread = (np.load(folder / f"{n}.npy") for n in ("quality", "spread"))
    except (OSError, ValueError) as error:
        raise BaseError(f"{folder} does not hold prepared crops ({error}): python -m {__package__} prepare") from error
    size = key.shape[-1]
    fits = key.shape[1:] == (3, size, size) and predicted.shape[1:] == (9, size, size)
    if not fits or not len(predicted) == len(quality) == len(spread) or not len(key) or not len(predicted):
        raise BaseError(f"{folder}: its files do not belong together, or there are no crops; prepare it anew")
    return Crops(key, predicted, quality, spread, about)


def _about(clips: Sequence[Item], photos: Sequence[Item], coder: Coder, settings: CropSettings) -> dict[str, Any]:
    names = {"clips": [c.path.name for c in clips], "photos": [p.path.name for p in photos]}
    made_of = json.loads(json.dumps({"settings": asdict(settings), **coder.about(), **names}))
    licences = {
        kind: dict(sorted(Counter(item.licence for item in items).items()))
        for kind, items in (("clips", clips), ("photos", photos))
    }
    credits = sorted({item.attribution for item in (*clips, *photos) if "BY" in item.licence})
    return {"made_of": made_of, "licences": licences, "attributions": credits}


def _write(
    folder: Path,
    clips: Sequence[Item],
    photos: Sequence[Item],
    coder: Coder,
    settings: CropSettings,
    about: dict[str, Any],
    say: Say,
) -> None:
    size = settings.size
    quality: list[float] = []
    spread: list[float] = []
    with _Stack(folder / "key.npy", (3, size, size)) as keys, _Stack(folder / "predicted.npy", (9, size, size)) as seen:
        with one_thread():
            for number, item in enumerate(clips):
                rng = _rng(settings.seed, item)
                frames = list(islice(read_frames(item.path), settings.frames))
                if min(frames[0].shape[:2]) < size:
                    say(f"{item.path.name}: smaller than a crop, left out")
                    continue
                for _ in range(settings.keys):
                    keys.add(_cut(to_planes(frames[rng.integers(len(frames))]), size, rng))
                for sample in coder.samples(frames, rng):
                    for _ in range(settings.places):
                        seen.add(_cut(sample.planes, size, rng))
                        quality.append(sample.quality)
                        spread.append(sample.spread)
                say(f"{number + 1}/{len(clips)} {item.path.name}: {seen.count} crops")
        for item in photos:
            rng, photo = _rng(settings.seed, item), _photo(item.path)
            if min(photo.shape[:2]) >= size:
                for _ in range(settings.photo_crops):
                    keys.add(_cut(to_planes(photo), size, rng))
        if not seen.count or not keys.count:
            raise BaseError(f"no clip of {size}x{size} pixels and two frames or more: nothing to train on")
    np.save(folder / "quality.npy", np.asarray(quality, np.float32))
    np.save(folder / "spread.npy", np.asarray(spread, np.float32))
    (folder / "crops.json").write_text(json.dumps(about, indent=1) + "\n")


class _Stack:
    """An .npy file that grows: crops are appended, their number stands in the header at the end."""

    def __init__(self, path: Path, shape: tuple[int, ...]) -> None:
        self.count, self._shape = 0, shape
        self._file: BinaryIO = path.open("wb")

    def __enter__(self) -> _Stack:
        self._header()
        return self

    def __exit__(self, *error: object) -> None:
        with self._file:
            self._file.seek(0)
            self._header()  # of the same length: numpy leaves room for the first axis to grow

    def add(self, crop: Planes) -> None:
        self._file.write(np.ascontiguousarray(crop).tobytes())
        self.count += 1

    def _header(self) -> None:
        shape = {"descr": "|u1", "fortran_order": False, "shape": (self.count, *self._shape)}
        np.lib.format.write_array_header_1_0(self._file, shape)


def _rng(seed: int, item: Item) -> np.random.Generator:
    return np.random.default_rng((seed, zlib.crc32(item.path.name.encode())))


def _photo(path: Path) -> Frame:
    try:
        return np.asarray(Image.open(path).convert("RGB"))
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise BaseError(f"cannot read the photograph {path}: {error}") from error


def _cut(planes: Planes, size: int, rng: np.random.Generator) -> Planes:
    y, x = (int(rng.integers(side - size + 1)) for side in planes.shape[1:])
    return planes[:, y : y + size, x : x + size]
