"""`python -m tests.standin DIR`: the stand-in teacher's files and a drawn clip, where benchmarks can be given them."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from tests.samples import write_images
from tests.standin.pictures import scenes
from tests.standin.train import write_standin

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    folder.mkdir(parents=True)
    write_standin(folder)
    write_images(folder / "scenes", scenes(np.random.default_rng(5), 20, 12, 96, 192)[0])
