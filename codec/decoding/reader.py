"""Random access to the frames and features of a .nerv file: `reader[t]`, `reader[a:b]`, `.patch`, `.features`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from bitstream import OPERATIONS_A_BYTE, FileReader, Header, Limits, MalformedChunk
from codec.kinds import parse_architecture
from codec.network.backend import pick_device, pick_dtype
from codec.network.interface import Network, load_network
from codec.patches import coords
from codec.specs import Geometry, NetworkSpec
from codec.video.timing import Presentation

if TYPE_CHECKING:
    from codec.features import Moment

BATCH_VALUES = 2**22  # in the largest map of the frames decoded together, where no batch is given
SEGMENTS_HELD = 2  # networks kept in memory


def frames_at_once(spec: NetworkSpec, geometry: Geometry) -> int:
    """How many frames are decoded together, where nothing is asked."""
    return max(1, BATCH_VALUES // spec.values_of_a_frame(geometry))


def operations_over(spec: NetworkSpec, geometry: Geometry, size: int) -> int:
    """What decoding a frame takes in multiplications over what is free for a file of so many bytes."""
    return max(0, spec.operations(geometry) - OPERATIONS_A_BYTE * size)


class NervReader:
    """A .nerv file as a sequence of frames.

    path: a file, or its bytes. device: see `backend.pick_device`. batch: frames decoded together, None for about as
    many as take 16 MB. salvage: read what is intact of a damaged file; frames in `lost` are then missing.
    Raises BitstreamError for a damaged file, OSError where it cannot be read. A reader can be pickled.
    """

    def __init__(
        self,
        path: str | Path | bytes,
        device: str | torch.device = "auto",
        batch: int | None = None,
        limits: Limits = Limits(),
        salvage: bool = False,
    ) -> None:
        if batch is not None and not (isinstance(batch, int) and batch >= 1):
            raise ValueError(f"batch {batch!r} is not a whole number of frames")
        self.name = "bytes" if isinstance(path, bytes) else str(path)
        self.file = FileReader(path, limits, salvage)
        self.device = device if isinstance(device, torch.device) else pick_device(device)
        self.dtype = pick_dtype(self.device)
        with _describing():
            self.spec = parse_architecture(self.header.architecture, self.header.base)
            geometry = self.geometry(len(self))
            limits.check("activations", self.spec.largest_map(geometry))
            limits.check("operations", operations_over(self.spec, geometry, self.file.size))
            self.batch = batch or frames_at_once(self.spec, geometry)
        self._network = lru_cache(SEGMENTS_HELD)(self._load)

    def __getstate__(self) -> dict[str, object]:
        return {name: value for name, value in self.__dict__.items() if name != "_network"}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__ |= state
        self._network = lru_cache(SEGMENTS_HELD)(self._load)

    @property
    def header(self) -> Header:
        return self.file.header

    @property
    def digest(self) -> str:
        """Of the file's bytes; "" where it is damaged."""
        return self.file.digest

    @property
    def presentation(self) -> Presentation:
        """When and how the frames are shown."""
        h = self.header
        return Presentation(h.fps, h.time_base, self.file.timestamps, h.sar, h.color)

    @property
    def lost(self) -> tuple[range, ...]:
        """Runs of frames that a damaged file no longer holds."""
        return self.file.lost

    def geometry(self, frames: int) -> Geometry:
        """That of a segment of so many frames."""
        return Geometry(frames, self.header.height, self.header.width, self.header.grid)

    def network(self, number: int) -> Network:
        """The network of segment `number`, on this reader's device. Raises BitstreamError."""
        return self._network(number)

    def _load(self, number: int) -> Network:
        segment = self.file.segment(number)
        with _describing():
            return load_network(self.spec, self.geometry(segment.frames), segment, self.device, self.dtype)

    def __len__(self) -> int:
        return self.header.frames

    def __repr__(self) -> str:
        h = self.header
        held = f"features of {h.teacher.model}" if h.teacher else "no features"
        grid = f"{h.grid[0]}x{h.grid[1]}"
        return (
            f"<NervReader {self.name}: {h.frames} frames of {h.width}x{h.height}, {self.fps:.6g} frames/s, "
            f"patches {grid}, {held}, on {self.device}>"
        )

    @property
    def fps(self) -> float:
        """Frames a second, the average where the rate varies."""
        return float(self.header.fps)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Of all frames: T, H, W, 3."""
        return (len(self), self.header.height, self.header.width, 3)

    @property
    def timestamps(self) -> NDArray[np.float64]:
        """When each frame is shown, in seconds from the first: [T]."""
        shown = self.presentation
        return np.array([float(shown.seconds(t)) for t in range(len(self))])

    def close(self) -> None:
        """Let go of the networks in memory. No file is held open; what is read next loads its network again."""
        self._network.cache_clear()

    def __enter__(self) -> NervReader:
        return self

    def __exit__(self, *details: object) -> None:
        self.close()

    def __getitem__(self, key: int | slice | Sequence[int] | NDArray[np.integer[Any]]) -> NDArray[np.uint8]:
        """reader[t]: uint8 [H, W, 3]; reader[a:b], reader[[a, b]]: [n, H, W, 3]. Raises IndexError past the end."""
        if isinstance(key, int | np.integer):
            return self[[int(key)]][0]
        chosen = self._chosen(key)
        out = np.empty((len(chosen), *self.shape[1:]), np.uint8)
        for place, frames in self._batches(chosen, lambda model, t: model.frames(t)):
            out[place : place + len(frames)] = frames
        return out

    def _chosen(self, key: slice | Sequence[int] | NDArray[np.integer[Any]]) -> Sequence[int]:
        """Numbers of frames from 0, of a slice or of a list in which -1 is the last."""
        whole = range(len(self))
        return whole[key] if isinstance(key, slice) else [whole[t] for t in key]

    def frames(self, start: int = 0, stop: int | None = None) -> Iterator[NDArray[np.uint8]]:
        """Frames start..stop-1, as a slice, in batches uint8 [n, H, W, 3]; holds a batch and a segment at a time."""
        chosen = range(len(self))[start:stop]
        return (frames for _, frames in self._batches(chosen, lambda model, t: model.frames(t)))

    def patch(self, t: int, row: int, column: int) -> NDArray[np.uint8]:
        """One patch of frame t, uint8 [h, w, 3]; nothing else is decoded. IndexError for one that is not there."""
        t = range(len(self))[t]
        return next(self.patches(range(t, t + 1), row, column))[0]

    def patches(self, chosen: Sequence[int], row: int, column: int) -> Iterator[NDArray[np.uint8]]:
        """One patch of a run of frames, in batches uint8 [n, h, w, 3]. IndexError for one that is not there."""
        rows, columns = self.header.grid
        if not (0 <= row < rows and 0 <= column < columns):
            raise IndexError(f"patch {row},{column} is not on this file's grid of {rows} rows and {columns} columns")
        return (found for _, found in self._batches(chosen, lambda model, t: model.patch(t, row, column)))

    def features(
        self, start: int = 0, stop: int | None = None, *, at: Sequence[int] | None = None
    ) -> NDArray[np.float32]:
        """CLIP features of frames start..stop-1, or of the frames `at`: float32 [n, patches, D], of unit length.

        No pixels are computed: an overfitted network runs but for its RGB head, and a predictive file holds features
        apart from its frames, of which none is decoded. Raises ValueError where the file holds none.
        """
        if not self.spec.clip_dim:
            raise ValueError("this file holds no features: it was encoded without a teacher (--clip off)")
        chosen = self._chosen(slice(start, stop) if at is None else at)
        rows, columns = self.header.grid
        out = np.empty((len(chosen), rows * columns, self.spec.clip_dim), np.float32)
        for place, found in self._batches(chosen, lambda model, t: model.features(t)):
            out[place : place + len(found)] = found
        return out

    def search(
        self,
        text: str | None = None,
        *,
        image: NDArray[np.uint8] | None = None,
        without: str | None = None,
        top: int = 10,
    ) -> list[Moment]:
        """Moments that fit a text or a picture, best first: `codec.features.search` in this file alone.

        Needs the teacher's weights, as open_clip finds them by the file's name for them; a teacher that is already
        loaded, several files or a checkpoint: `codec.features.search`. Raises TeacherError.
        """
        from codec.features import search

        return search([self], text, image=image, without=without, top=top)

    def coords(self) -> NDArray[np.float32]:
        """(t, row, column) of every patch, in the order of `features`: float32 [frames, patches, 3], each in [0, 1]."""
        return coords(len(self), self.header.grid)

    def _batches(self, chosen: Sequence[int], run) -> Iterator[tuple[int, NDArray]]:  # type: ignore[no-untyped-def, type-arg]
        """(place of the first, results) for runs of `chosen` frames that one network answers together."""
        place = 0
        while place < len(chosen):
            number = self.file.number_of(chosen[place])
            entry = self.file.index[number]
            batch = list(takewhile(lambda t: entry.start <= t < entry.stop, chosen[place : place + self.batch]))  # noqa: B023
            with torch.inference_mode():
                t = torch.tensor(batch, device=self.device) - entry.start
                found = run(self.network(number), t).cpu().numpy()
            yield place, found  # outside: a mode held across a yield would be the caller's
            place += len(batch)


@contextmanager
def _describing() -> Iterator[None]:
    """Whatever keeps a header from being a network, as an error of the file."""
    try:
        yield
    except (ValueError, TypeError, ArithmeticError, RuntimeError) as error:
        raise MalformedChunk(f"the header describes no network: {error}") from error
