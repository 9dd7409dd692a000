"""Pictures that are drawn, and captions for them: what the stand-in teacher learns from, and clips to search in."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

COLOURS = {
    "red": (220, 40, 40),
    "green": (40, 170, 60),
    "blue": (50, 80, 220),
    "yellow": (235, 210, 50),
    "white": (240, 240, 240),
    "purple": (150, 60, 180),
}
SHAPES = ("circle", "square", "triangle", "cross", "ring")
PLACES = {"left": (0.3, 0.5), "right": (0.7, 0.5), "top": (0.5, 0.3), "bottom": (0.5, 0.7), "middle": (0.5, 0.5)}
OVERSAMPLE = 4  # pictures are drawn larger and reduced, so that edges are smooth


@dataclass(frozen=True)
class Thing:
    """One drawn shape. Its centre and radius are shares of the picture's width and height."""

    colour: str
    shape: str
    x: float = 0.5
    y: float = 0.5
    radius: float = 0.3

    @property
    def words(self) -> str:
        return f"a {self.colour} {self.shape}"


def draw(things: list[Thing], height: int, width: int, background: tuple[int, int, int]) -> NDArray[np.uint8]:
    """uint8 [height, width, 3]."""
    image = Image.new("RGB", (OVERSAMPLE * width, OVERSAMPLE * height), background)
    pen = ImageDraw.Draw(image)
    side = min(image.size)
    for thing in things:
        x, y, r = thing.x * image.width, thing.y * image.height, thing.radius * side
        colour, box = COLOURS[thing.colour], (x - r, y - r, x + r, y + r)
        if thing.shape == "circle":
            pen.ellipse(box, colour)
        elif thing.shape == "square":
            pen.rectangle((x - 0.85 * r, y - 0.85 * r, x + 0.85 * r, y + 0.85 * r), colour)
        elif thing.shape == "triangle":
            pen.polygon([(x, y - r), (x - r, y + 0.8 * r), (x + r, y + 0.8 * r)], colour)
        elif thing.shape == "cross":
            pen.rectangle((x - r, y - r / 3.5, x + r, y + r / 3.5), colour)
            pen.rectangle((x - r / 3.5, y - r, x + r / 3.5, y + r), colour)
        else:
            pen.ellipse(box, outline=colour, width=max(1, round(r / 3)))
    return np.asarray(image.resize((width, height), Image.Resampling.BOX))


def captioned(rng: np.random.Generator, count: int, side: int) -> tuple[NDArray[np.uint8], list[str]]:
    """Pictures of one thing, or of none, on dark backgrounds: uint8 [count, side, side, 3], and what each shows."""
    pictures, captions = np.empty((count, side, side, 3), np.uint8), []
    for i in range(count):
        shade = rng.integers(10, 90)
        background = tuple(int(v) for v in np.clip(shade + rng.integers(-15, 16, 3), 0, 255))
        things, caption = [], "nothing"
        if rng.random() > 0.1:
            place = str(rng.choice(list(PLACES)))
            x, y = np.array(PLACES[place]) + rng.uniform(-0.1, 0.1, 2)
            size = float(rng.uniform(0.15, 0.42))
            thing = Thing(str(rng.choice(list(COLOURS))), str(rng.choice(SHAPES)), float(x), float(y), size)
            things, caption = [thing], thing.words
            if rng.random() < 0.3:
                caption += f" on the {place}" if place in ("left", "right") else f" in the {place}"
        pictures[i] = draw(things, side, side, background)  # type: ignore[arg-type]
        captions.append(caption)
    return pictures, captions


def scenes(
    rng: np.random.Generator, count: int, length: int, height: int, width: int
) -> tuple[NDArray[np.uint8], list[str]]:
    """A clip of `count` scenes of `length` frames: uint8 [T, H, W, 3]; in each, one thing, no two alike, drifts through
    a patch of the codec's 2x4 grid. Returns the clip and a caption for every scene.
    """
    kinds = [(colour, shape) for colour in COLOURS for shape in SHAPES]
    frames, captions = [], []
    for kind in rng.permutation(len(kinds))[:count]:
        colour, shape = kinds[kind]
        row, column = rng.integers(2), rng.integers(4)
        background = tuple(int(v) for v in rng.integers(10, 90) + rng.integers(-15, 16, 3))
        radius = 0.32 * min(height / 2, width / 4) / min(height, width)
        for t in range(length):
            drift = 0.12 * (t / max(1, length - 1) - 0.5)
            x, y = (column + 0.5 + drift) / 4, (row + 0.5 + drift / 2) / 2
            frames.append(draw([Thing(colour, shape, x, y, radius)], height, width, background))  # type: ignore[arg-type]
        captions.append(Thing(colour, shape).words)
    return np.stack(frames), captions
