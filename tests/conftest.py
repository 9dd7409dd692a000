"""Fixtures that more than one directory of tests uses."""

from collections.abc import Iterator

import pytest

from tests.tiny_clip import TinyClip, write_tiny_clip


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


def pytest_addoption(parser: pytest.Parser) -> None:
    """A changed file format must be wanted: the golden files change behind this switch alone."""
    parser.addoption("--regenerate-golden", action="store_true", help="write the golden files of tests/data anew")
