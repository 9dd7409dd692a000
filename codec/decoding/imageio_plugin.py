"""imageio reads .nerv files: after `register()`, `imageio.v3.imread("v.nerv", index=40)` and `imiter` work.

imageio is not needed otherwise: the extra `nvcodec[imageio]` installs it. It has no registry of installed plugins, so
each program registers once.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from imageio.config import FileExtension, PluginConfig, extension_list, known_extensions, known_plugins
from imageio.core.request import InitializationError, IOMode, Request
from imageio.core.v3_plugin_api import ImageProperties, PluginV3
from numpy.typing import NDArray

from bitstream import NotANervFile
from codec.decoding.reader import NervReader

if TYPE_CHECKING:
    from types import EllipsisType

    Index = int | EllipsisType | None

NAME = "nvcodec"
SUFFIX = ".nerv"


def register() -> None:
    """Make imageio open .nerv files with `NervPlugin`; a second call does nothing."""
    if NAME not in known_plugins:
        known_plugins[NAME] = PluginConfig(name=NAME, class_name="NervPlugin", module_name=__name__)
        extension = FileExtension(extension=SUFFIX, priority=[NAME], name="nvcodec video")
        extension_list.append(extension)
        known_extensions[SUFFIX] = [extension]


class NervPlugin(PluginV3):
    """A .nerv file for imageio: frames by index, a batch of all with `index=...`, no writing."""

    def __init__(self, request: Request, device: str = "auto") -> None:
        super().__init__(request)
        if request.mode.io_mode == IOMode.write:
            raise InitializationError("nvcodec encodes with `nvcodec encode` or nvcodec.encode, not through imageio")
        try:
            self._reader = NervReader(request.get_file().read(), device)
        except NotANervFile as error:
            raise InitializationError(str(error)) from error

    def read(self, *, index: Index = ...) -> NDArray[np.uint8]:
        """Frame `index`, uint8 [H, W, 3]; with ... or None all of them, [T, H, W, 3]."""
        return self._reader[index if isinstance(index, int) else slice(None)]

    def iter(self) -> Iterator[NDArray[np.uint8]]:
        """All frames, uint8 [H, W, 3] each, decoded a batch at a time."""
        return (frame for batch in self._reader.frames() for frame in batch)

    def write(self, ndimage: Any) -> bytes | None:
        raise NotImplementedError("nvcodec encodes with `nvcodec encode` or nvcodec.encode, not through imageio")

    def properties(self, index: Index = ...) -> ImageProperties:
        """Shape and type of what `read` gives, without decoding."""
        shape, dtype = self._reader.shape, np.dtype(np.uint8)
        if isinstance(index, int):
            return ImageProperties(shape=shape[1:], dtype=dtype)
        return ImageProperties(shape=shape, dtype=dtype, n_images=shape[0], is_batch=True)

    def metadata(self, index: Index = ..., exclude_applied: bool = True) -> dict[str, Any]:
        """fps, duration and teacher of the file; with an index, when that frame is shown, in seconds."""
        header = self._reader.header
        if isinstance(index, int):
            return {"time": float(self._reader.timestamps[index])}
        found: dict[str, Any] = {"fps": self._reader.fps, "duration": float(header.frames / header.fps)}
        return found | ({"teacher": header.teacher.model} if header.teacher else {})
