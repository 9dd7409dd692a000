"""Files as a torch dataset: frames, features or one patch of them, one by one or in windows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from codec.decoding.reader import NervReader

Item = dict[str, Tensor]
SIZES = ("height", "width", "grid")  # of a header: what items must share to be stacked


class NervDataset(Dataset[Item]):
    """Frames and features of one file or many, decoded when they are asked for.

    An item is a dict: "frame" uint8 [3, H, W], "features" float32 [patches, D] where the files hold them, "t" int64,
    the number of the frame in its file, and "file" int64, the place of that file among `paths`.

    window: an item is so many consecutive frames of a file, and each value has their number as its first axis; what is
    left at the end of a file is no item. stride: frames from one item to the next.
    only: "features": no pixels are computed. "frame": no features.
    patch: row and column: "patch" uint8 [3, h, w] in place of "frame"; nothing else is decoded.

    The files are opened here: raises BitstreamError and OSError for one that cannot be read, ValueError for one whose
    size, grid or features do not go with the others or with what is asked, and where no item is left.
    Safe to share among data-loader workers, forked or spawned. Data loaders ask for whole batches at once, which are
    decoded together.
    """

    def __init__(
        self,
        paths: str | Path | Sequence[str | Path],
        device: str = "cpu",
        *,
        window: int | None = None,
        stride: int = 1,
        only: Literal["features", "frame"] | None = None,
        patch: tuple[int, int] | None = None,
    ) -> None:
        named = [paths] if isinstance(paths, str | Path) else list(paths)
        if not named:
            raise ValueError("no files: give one path or several")
        if (window is not None and window < 1) or stride < 1:
            raise ValueError(f"window {window} and stride {stride} are numbers of frames, 1 or more")
        if only not in (None, "features", "frame"):
            raise ValueError(f"only {only!r} is neither 'features' nor 'frame'")
        if patch is not None and only == "features":
            raise ValueError("a patch is of pixels, of which only='features' has none")
        self.readers = [NervReader(path, device) for path in named]
        self.window, self.patch = window, patch
        first = self.readers[0].header
        for reader in self.readers:
            header = reader.header
            if only == "features" and header.teacher is None:
                raise ValueError(f"{reader.name} holds no features: it was encoded without a teacher (--clip off)")
            if only != "features" and any(getattr(header, name) != getattr(first, name) for name in SIZES):
                raise ValueError(
                    f"{reader.name} has frames of {header.width}x{header.height} in {header.grid} patches, "
                    f"{self.readers[0].name} of {first.width}x{first.height} in {first.grid}: no batch holds both"
                )
            if only != "frame" and header.teacher != first.teacher:
                raise ValueError(
                    f"{reader.name} and {self.readers[0].name} have features of different teachers: "
                    "take files of one, or only='frame'"
                )
            if patch is not None and not (0 <= patch[0] < header.grid[0] and 0 <= patch[1] < header.grid[1]):
                raise ValueError(f"patch {patch} is not on the {header.grid[0]}x{header.grid[1]} grid of {reader.name}")
        self.with_frames, self.with_features = only != "features", only != "frame" and first.teacher is not None
        starts = [range(0, len(reader) - (window or 1) + 1, stride) for reader in self.readers]
        self._ends = np.cumsum([len(of) for of in starts])  # of each file's items
        self._starts = starts
        if not len(self):
            raise ValueError(
                f"no file has {window} frames, as many as a window: the longest has {max(map(len, self.readers))}"
            )

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __repr__(self) -> str:
        return f"<NervDataset of {len(self)} items from {len(self.readers)} files>"

    def __getitem__(self, index: int) -> Item:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[Item]:
        """Several items: each frame among them is decoded once, those of a file together."""
        places = [self._place(index) for index in indices]
        wanted: dict[int, set[int]] = {}
        for file, frames in places:
            wanted.setdefault(file, set()).update(frames)
        decoded = {file: self._decoded(file, sorted(frames)) for file, frames in wanted.items()}
        return [self._item(file, frames, *decoded[file]) for file, frames in places]

    def order(self, seed: int, epoch: int = 0) -> list[int]:
        """All items shuffled, by the seed and the epoch alone: a `sampler` for a data loader."""
        order: list[int] = np.random.default_rng([seed, epoch]).permutation(len(self)).tolist()
        return order

    def _place(self, index: int) -> tuple[int, range]:
        """File and frames of an item."""
        index = range(len(self))[index]
        file = int(np.searchsorted(self._ends, index, side="right"))
        before = int(self._ends[file - 1]) if file else 0
        start = self._starts[file][index - before]
        return file, range(start, start + (self.window or 1))

    def _decoded(self, file: int, frames: list[int]) -> tuple[dict[str, NDArray[np.generic]], dict[int, int]]:
        """Values by name, each [n, ...], and where in them each frame is."""
        reader = self.readers[file]
        found: dict[str, NDArray[np.generic]] = {}
        if self.patch is not None:
            found["patch"] = np.concatenate(list(reader.patches(frames, *self.patch))).transpose(0, 3, 1, 2)
        elif self.with_frames:
            found["frame"] = reader[frames].transpose(0, 3, 1, 2)
        if self.with_features:
            found["features"] = reader.features(at=frames)
        return found, {t: place for place, t in enumerate(frames)}

    def _item(self, file: int, frames: range, values: dict[str, NDArray[np.generic]], where: dict[int, int]) -> Item:
        places = [where[t] for t in frames]
        item = {name: torch.from_numpy(np.ascontiguousarray(of[places])) for name, of in values.items()}
        item |= {"t": torch.tensor(frames), "file": torch.full((len(frames),), file)}
        return item if self.window else {name: value[0] for name, value in item.items()}
