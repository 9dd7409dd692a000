"""Search results as pictures: a contact sheet of moments, labels over time. All are uint8 [H, W, 3]."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from codec.atomic import atomic_output
from codec.errors import OutputError
from codec.features.moments import Moment, Stretch, timecode
from codec.patches import Grid, patch_size

Picture = NDArray[np.uint8]

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
_THUMB = 320  # pixels, the longer side
_COLUMNS = 4
_MARGIN = 8  # pixels
_LINE = 20  # pixels, of text
_FRAME = (255, 210, 0)  # round the patch that was found
_PAPER, _INK = (250, 250, 250), (30, 30, 30)
_TIMELINE = 1200  # pixels, width of the bars


def check_picture_name(path: str | Path) -> None:
    """Raise OutputError unless the name says what kind of picture to write."""
    if Path(path).suffix.lower() not in SUFFIXES:
        raise OutputError(f"cannot write {path}: a picture's name ends in one of {', '.join(SUFFIXES)}")


def write_picture(path: str | Path, picture: Picture, force: bool = False) -> None:
    """Raises OutputError."""
    with atomic_output(path, force) as temporary:
        Image.fromarray(picture).save(temporary)


def contact_sheet(moments: Sequence[Moment], frames: Sequence[Picture], grids: Sequence[Grid]) -> Picture:
    """The frame of each moment with its patch framed and a caption under it, best first, in rows.

    frames: one for each moment, uint8 [H, W, 3] of any size; grids: rows and columns of its patches.
    """
    thumbs = [_thumb(*args) for args in zip(moments, frames, grids, strict=True)]
    columns = max(1, min(_COLUMNS, len(thumbs)))
    rows = [thumbs[i : i + columns] for i in range(0, len(thumbs), columns)]
    cell = _THUMB + _MARGIN
    heights = [max(thumb.height for thumb in row) + 2 * _LINE + _MARGIN for row in rows]
    sheet = Image.new("RGB", (columns * cell + _MARGIN, sum(heights) + _MARGIN), _PAPER)
    draw = ImageDraw.Draw(sheet)
    y, number = _MARGIN, 0
    for row, height in zip(rows, heights, strict=True):
        for column, thumb in enumerate(row):
            moment, x = moments[number], _MARGIN + column * cell
            sheet.paste(thumb, (x, y))
            title = f"{number + 1}  {moment.timecode}  frame {moment.frame}  {moment.score:.3f}"
            _write(draw, (x, y + thumb.height + 2), title, _THUMB)
            _write(draw, (x, y + thumb.height + 2 + _LINE), Path(moment.name).name, _THUMB)
            number += 1
        y += height
    return np.asarray(sheet)


def timeline(stretches: Sequence[Stretch], labels: Sequence[str], frames: int, fps: float) -> Picture:
    """One line a label, its stretches as bars over time."""
    font = ImageFont.load_default(14)
    left = min(400, max(round(font.getlength(label)) for label in labels)) + 2 * _MARGIN
    height = _LINE * (len(labels) + 1) + 2 * _MARGIN
    picture = Image.new("RGB", (left + _TIMELINE + _MARGIN, height), _PAPER)
    draw = ImageDraw.Draw(picture)
    for number, label in enumerate(labels):
        y = _MARGIN + number * _LINE
        _write(draw, (_MARGIN, y), label, left - 2 * _MARGIN)
        draw.line((left, y + _LINE - 1, left + _TIMELINE, y + _LINE - 1), (225, 225, 225))
        red, green, blue = colorsys.hsv_to_rgb(number / len(labels), 0.65, 0.75)
        colour = round(255 * red), round(255 * green), round(255 * blue)
        for stretch in stretches:
            if stretch.label == label:
                x0, x1 = (left + _TIMELINE * t // frames for t in (stretch.start, stretch.stop))
                draw.rectangle((x0, y + 2, max(x0, x1 - 1), y + _LINE - 4), colour)
    y = _MARGIN + len(labels) * _LINE
    for quarter in range(5):
        text = timecode(frames / fps * quarter / 4)
        x = left + _TIMELINE * quarter / 4 - font.getlength(text) * quarter / 4
        draw.text((x, y), text, _INK, font)
    return np.asarray(picture)


def _thumb(moment: Moment, frame: Picture, grid: Grid) -> Image.Image:
    height, width = frame.shape[:2]
    scale = _THUMB / max(height, width)
    image = Image.fromarray(frame).resize((max(1, round(width * scale)), max(1, round(height * scale))))
    h, w = patch_size(height, width, grid)
    top, left = moment.patch[0] * h, moment.patch[1] * w
    # A patch may reach past the frame, or, on a tiny one, lie outside of it.
    box = [min(scale * at, end - 1) for at, end in zip((left, top, left + w, top + h), 2 * image.size, strict=True)]
    ImageDraw.Draw(image).rectangle(box, outline=_FRAME, width=3)
    return image


def _write(draw: ImageDraw.ImageDraw, at: tuple[int, int], text: str, width: int) -> None:
    """Text in one line, cut to so many pixels; characters that the font lacks show as boxes."""
    font = ImageFont.load_default(14)
    if font.getlength(text) > width:
        while text and font.getlength(text + "…") > width:
            text = text[:-1]
        text += "…"
    draw.text(at, text, _INK, font)
