"""How often a text finds its moment: `python -m tests.standin.recall --quality 48`, `--preset grid --minutes 2`.

A clip of scenes is drawn, encoded with the stand-in teacher, and searched by the caption of every scene three times
over: in the features that the file holds, in the teacher's features of the source frames, and in those of the decoded
frames. R@k: the share of captions for which one of the first k moments lies in its scene.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from codec import NervReader, encode, quality
from codec.features import search
from codec.features.index import unit_vectors
from codec.features.teacher import CLIPManager
from codec.settings import PRESETS
from tests.samples import write_images
from tests.standin.pictures import scenes
from tests.standin.train import write_standin


class Instead(NervReader):
    """A file with other features in place of its own."""

    def __init__(self, path: Path, features: NDArray[np.float32]) -> None:
        super().__init__(path, "cpu")
        self._features = features

    @property
    def digest(self) -> str:
        return ""  # or the index of the file itself would be taken

    def features(
        self, start: int = 0, stop: int | None = None, *, at: Sequence[int] | None = None
    ) -> NDArray[np.float32]:
        return self._features[start:stop] if at is None else self._features[list(at)]


def recall(reader: NervReader, teacher: CLIPManager, captions: list[str], length: int, k: int) -> float:
    """R@k of the captions of consecutive scenes of `length` frames."""
    found = 0
    for number, caption in enumerate(captions):
        moments = search([reader], caption, top=k, teacher=teacher)
        found += any(moment.frame // length == number for moment in moments)
    return found / len(captions)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenes", type=int, default=20)
    parser.add_argument("--length", type=int, default=12)
    parser.add_argument("--preset", choices=PRESETS, default="fast")
    parser.add_argument("--quality", type=float, help="of fast, medium and slow")
    parser.add_argument("--minutes", type=float, help="of the other presets, as --bpp")
    parser.add_argument("--bpp", type=float)
    parser.add_argument("--set", action="append", default=[], metavar="NAME=JSON", help="further settings")
    given = parser.parse_args()
    clip, captions = scenes(np.random.default_rng(5), given.scenes, given.length, 96, 192)
    with tempfile.TemporaryDirectory() as folder:
        standin = write_standin(Path(folder))
        source = write_images(Path(folder) / "frames", clip)
        more = {name: json.loads(value) for name, _, value in (word.partition("=") for word in given.set)}
        settings = PRESETS[given.preset].override(
            quality=given.quality,
            minutes=given.minutes,
            bpp=given.bpp,
            clip="on",
            clip_model=standin.model,
            clip_pretrained=standin.pretrained,
            **more,
        )
        path = Path(folder) / "clip.nerv"
        report = encode(source, path, settings, device="cpu")
        teacher = CLIPManager(standin.model, standin.pretrained)
        reader = NervReader(path, "cpu")
        truth = teacher.features(clip, reader.header.grid)
        held = reader.features()
        constant = truth.mean((0, 1)) / np.linalg.norm(truth.mean((0, 1)))
        print(f"{report['bytes']} bytes, {report['bpp']:.4f} bpp, {report['psnr']:.2f} dB, {report['bytes_by_part']}")
        print(f"clip_sim {quality.cosine(held, truth).mean():.4f}, of the mean vector {(truth @ constant).mean():.4f}")
        readers: dict[str, Callable[[], NervReader]] = {
            "source frames": lambda: Instead(path, truth),
            "decoded frames": lambda: Instead(path, teacher.features(reader[:], reader.header.grid)),
            "file": lambda: reader,
        }
        for name, make in readers.items():
            found = make()
            scores = [recall(found, teacher, captions, given.length, k) for k in (1, 5)]
            print(f"{name:15} R@1 {scores[0]:.2f}  R@5 {scores[1]:.2f}")
        times = []
        for caption in captions:
            start = time.perf_counter()
            search([reader], caption, teacher=teacher)
            times.append(1000 * (time.perf_counter() - start))
        print(f"search: median {np.median(times):.1f} ms, index {unit_vectors(reader).nbytes / 1e6:.3f} MB")


if __name__ == "__main__":
    main()
