"""A clip that ffmpeg generates: texture and motion, small enough to encode in a blink."""

from pathlib import Path

import pytest

from benchmarks import ffmpeg, process
from benchmarks.clips import Clip, prepare


def generate(path: Path, frames: int) -> Path:
    picture = "mandelbrot=size=176x176:rate=25:maxiter=200,format=yuv420p,setparams=colorspace=bt709:range=tv"
    process.run([ffmpeg.binary(), "-f", "lavfi", "-i", picture, "-frames:v", str(frames), "-c:v", "ffv1", str(path)])
    return path


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """30 frames at 25 frames a second: long enough for a second intra frame, if one were wrongly allowed."""
    return generate(tmp_path_factory.mktemp("source") / "mandel.mkv", 30)


@pytest.fixture(scope="session")
def brief(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """6 frames, for whole runs."""
    return generate(tmp_path_factory.mktemp("source") / "mandel.mkv", 6)


@pytest.fixture(scope="session")
def clip(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Clip:
    return prepare(source, tmp_path_factory.mktemp("clip"))
