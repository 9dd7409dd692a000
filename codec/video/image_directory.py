"""A directory of images as a source of frames."""

import re
from collections.abc import Iterator
from fractions import Fraction
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, ImageOps

from codec.errors import VideoError
from codec.video.color import SRGB
from codec.video.timing import Presentation, constant

EXTENSIONS = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff")
DEFAULT_FPS = Fraction(25)
_SEVERAL = ("PNG", "TIFF", "WEBP")  # formats that can hold several pictures, which are no previews of the first


class ImageDirectory:
    """The images in a directory in the order of their names, numbers by value, as frames at a constant rate."""

    has_audio = False

    def __init__(self, path: Path, fps: Fraction = DEFAULT_FPS) -> None:
        try:
            entries = sorted(path.iterdir(), key=_natural)
        except OSError as error:
            raise VideoError(f"cannot read the directory {path}: {error.strerror}") from error
        self.paths = [entry for entry in entries if entry.suffix.lower() in EXTENSIONS and entry.name[0] != "."]
        if not self.paths:
            raise VideoError(f"there are no images in {path}: no file ends in {', '.join(EXTENSIONS)}")
        self.described = f"{len(self.paths)} images, from {self.paths[0].name} to {self.paths[-1].name}"
        self.fps = fps
        self.warnings: list[str] = []  # can repeat

    def pictures(self, start: int = 0, stop: int | None = None) -> Iterator[tuple[str, NDArray[np.uint8]]]:
        """Name and RGB, uint8 [H, W, 3], of the images start..stop-1, turned as their EXIF data says."""
        for path in islice(self.paths, start, stop):
            yield path.name, self._load(path)

    def presentation(self) -> Presentation:
        """How the frames are shown."""
        return constant(self.fps, Fraction(1), SRGB)

    def _load(self, path: Path) -> NDArray[np.uint8]:
        try:
            with Image.open(path) as image:
                return self._rgb(image)
        # Pillow has no error of its own for damage in each format.
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise VideoError(f"cannot read the image {path}: {error}; replace it or leave it out") from error

    def _rgb(self, image: ImageFile.ImageFile) -> NDArray[np.uint8]:
        if image.mode in ("I", "F"):
            raise ValueError("it has 32-bit samples; convert it to 8 or 16 bits")
        # Pillow reads 16-bit colour as 8-bit without a word: only the raw mode of the tiles tells.
        if image.mode.startswith("I;16") or any(";16" in str(tile.args) for tile in image.tile):
            self.warnings.append("16-bit samples are reduced to 8 bits")
        if image.format in _SEVERAL and getattr(image, "n_frames", 1) > 1:
            raise ValueError("it is animated, or has several pages; a directory holds one picture a file")
        if image.has_transparency_data:
            self.warnings.append("transparency is dropped")
        upright = ImageOps.exif_transpose(image)
        if upright.mode.startswith("I;16"):
            upright = Image.fromarray((np.asarray(upright) >> 8).astype(np.uint8))
        return np.asarray(upright.convert("RGB"))


def _natural(path: Path) -> list[tuple[int, str]]:
    """What sorts 2.png before 10.png, and 02.png beside 2.png."""
    parts = re.split("([0-9]+)", path.name)
    return [(int(part), part) if place % 2 else (0, part) for place, part in enumerate(parts)]
