"""imageio opens .nerv files once the plugin is registered."""

from __future__ import annotations

from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest

from codec import NervReader, register_imageio
from tests.samples import Encoded


@pytest.fixture(autouse=True)
def registered() -> None:
    register_imageio()
    register_imageio()


def test_frames_by_index_all_at_once_and_one_after_another(encoded: Encoded) -> None:
    everything = NervReader(encoded.path)[:]

    def near(a: np.ndarray, b: np.ndarray) -> bool:
        return a.shape == b.shape and bool(np.abs(a.astype(int) - b).max() <= 1)

    assert near(iio.imread(encoded.path, index=7), everything[7])
    assert near(iio.imread(encoded.path, index=-1), everything[-1])
    assert near(iio.imread(encoded.path), everything)
    assert near(np.stack(list(iio.imiter(encoded.path))), everything)
    assert near(iio.imread(encoded.path.read_bytes(), extension=".nerv", index=3), everything[3])
    with pytest.raises(IndexError):
        iio.imread(encoded.path, index=12)


def test_facts_without_decoding(encoded: Encoded) -> None:
    facts = iio.improps(encoded.path)
    assert (facts.shape, facts.n_images) == ((12, 45, 63, 3), 12)
    assert facts.dtype == np.uint8
    assert iio.improps(encoded.path, index=2).shape == (45, 63, 3)
    assert iio.immeta(encoded.path) == {"fps": 25.0, "duration": 12 / 25, "teacher": "tiny"}
    assert iio.immeta(encoded.path, index=5) == {"time": pytest.approx(0.2)}


def test_other_files_and_writing_are_refused(encoded: Encoded, tmp_path: Path) -> None:
    other = tmp_path / "other.nerv"
    other.write_bytes(b"no file of ours at all")
    with pytest.raises(OSError, match="can not handle"):
        iio.imread(other, plugin="nvcodec")
    with pytest.raises(OSError):  # noqa: PT011 (its words are imageio's)
        iio.imwrite(tmp_path / "new.nerv", np.zeros((4, 4, 3), np.uint8), plugin="nvcodec")
