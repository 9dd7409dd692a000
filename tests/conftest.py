"""Fixtures that more than one directory of tests uses."""

import signal
from collections.abc import Iterator
from typing import Any

import hypothesis
import pytest
import torch

from codec.encoding.pipeline import encode
from codec.settings import PRESETS
from tests.samples import Encoded, moving_frames, write_images
from tests.tiny_clip import TinyClip, write_tiny_clip

# how long an example takes says how busy the machine is
hypothesis.settings.register_profile("unhurried", deadline=None)
hypothesis.settings.load_profile("unhurried")


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Tiny networks gain nothing from more threads, and results are then the same from run to run."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def interruptible() -> Iterator[None]:
    """A shell that runs the tests in the background has them ignore signals; tests of interruption need them heard."""
    heard: dict[signal.Signals, Any] = {signal.SIGINT: signal.default_int_handler, signal.SIGHUP: signal.SIG_DFL}
    before = {number: signal.signal(number, handler) for number, handler in heard.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test reads or fills the cache of whoever runs it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NVCODEC_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def tiny_clip(tmp_path_factory: pytest.TempPathFactory) -> TinyClip:
    """Files of a tiny teacher, loaded through the same path as a user's."""
    return write_tiny_clip(tmp_path_factory.mktemp("tiny_clip"))


@pytest.fixture(scope="session")
def encoded(tmp_path_factory: pytest.TempPathFactory, tiny_clip: TinyClip) -> Encoded:
    """Twelve frames of odd size in three segments, with features; the last row and column of patches are smaller."""
    folder = tmp_path_factory.mktemp("encoded")
    frames = moving_frames(12, 45, 63)
    source = write_images(folder / "frames", frames)
    settings = PRESETS["grid"].override(
        fc_dim=8,
        epochs=30,
        segment=5,
        split=(2, 2, 3),
        clip="on",
        clip_model=tiny_clip.model,
        clip_pretrained=tiny_clip.pretrained,
    )
    report = encode(source, folder / "clip.nerv", settings, device="cpu")
    return Encoded(folder / "clip.nerv", source, frames, report)


def pytest_addoption(parser: pytest.Parser) -> None:
    """A changed file format must be wanted: the golden files change behind this switch alone."""
    parser.addoption("--regenerate-golden", action="store_true", help="write the golden files of tests/data anew")
