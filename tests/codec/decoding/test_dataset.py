"""The dataset: windows, batches, what is asked for alone, many files, workers, and errors before training starts."""

from __future__ import annotations

import pickle
import re
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from codec import NervDataset, NervReader, encode
from codec.settings import PRESETS
from tests.samples import Encoded, moving_frames, write_images

README = Path(__file__).resolve().parents[3] / "README.md"


@pytest.fixture(scope="module")
def everything(encoded: Encoded) -> NDArray[np.uint8]:
    return NervReader(encoded.path, "cpu")[:]


@pytest.fixture(scope="module")
def features(encoded: Encoded) -> NDArray[np.float32]:
    return NervReader(encoded.path, "cpu").features()


def near(a: Any, b: Any) -> bool:
    return bool(np.abs(np.asarray(a).astype(int) - np.asarray(b)).max() <= 1)


def fail(*arguments: Any) -> Any:
    raise AssertionError("this head has no business here")


def test_items_are_frames_and_features(
    encoded: Encoded, everything: NDArray[np.uint8], features: NDArray[np.float32]
) -> None:
    dataset = NervDataset(encoded.path)
    assert len(dataset) == 12
    item = dataset[7]
    assert near(item["frame"].permute(1, 2, 0), everything[7])
    assert item["features"].numpy() == pytest.approx(features[7], abs=1e-5)
    assert (item["t"].item(), item["file"].item()) == (7, 0)
    assert torch.equal(dataset[-1]["t"], torch.tensor(11))
    with pytest.raises(IndexError):
        dataset[12]
    assert len(list(dataset)) == 12  # type: ignore[call-overload]


@pytest.mark.parametrize(("window", "stride", "starts"), [(5, 3, [0, 3, 6]), (12, 1, [0]), (1, 4, [0, 4, 8])])
def test_windows(encoded: Encoded, everything: NDArray[np.uint8], window: int, stride: int, starts: list[int]) -> None:
    dataset = NervDataset(encoded.path, window=window, stride=stride)
    assert len(dataset) == len(starts)
    for number, start in enumerate(starts):
        item = dataset[number]
        assert item["t"].tolist() == list(range(start, start + window))
        assert near(item["frame"].permute(0, 2, 3, 1), everything[start : start + window])
        assert item["features"].shape == (window, 8, 32)


def test_a_batch_decodes_each_frame_once(encoded: Encoded, monkeypatch: pytest.MonkeyPatch) -> None:
    read: Counter[int] = Counter()
    item = NervReader.__getitem__

    def spy(reader: NervReader, key: Any) -> NDArray[np.uint8]:
        read.update(key)
        return item(reader, key)

    dataset = NervDataset(encoded.path, window=4, only="frame")
    monkeypatch.setattr(NervReader, "__getitem__", spy)
    batch = next(iter(DataLoader(dataset, batch_size=5)))
    assert batch["frame"].shape == (5, 4, 3, 45, 63)
    assert read == Counter(range(8))


def test_features_alone_leave_the_rgb_head_alone(encoded: Encoded, features: NDArray[np.float32]) -> None:
    dataset = NervDataset(encoded.path, only="features", window=3)
    for number in range(3):
        dataset.readers[0].network(number).frames = fail  # type: ignore[method-assign, assignment]
    item = dataset[4]
    assert set(item) == {"features", "t", "file"}
    assert item["features"].numpy() == pytest.approx(features[4:7], abs=1e-5)


def test_frames_alone_leave_the_clip_head_alone(encoded: Encoded) -> None:
    dataset = NervDataset(encoded.path, only="frame")
    dataset.readers[0].network(0).features = fail  # type: ignore[method-assign, assignment]
    assert set(dataset[1]) == {"frame", "t", "file"}


def test_one_patch(encoded: Encoded) -> None:
    reader = NervReader(encoded.path, "cpu")
    dataset = NervDataset(encoded.path, patch=(1, 2), window=2, stride=2)
    assert set(dataset[0]) == {"patch", "features", "t", "file"}
    for number in range(6):
        patches = dataset[number]["patch"].permute(0, 2, 3, 1)
        assert near(patches, np.stack([reader.patch(2 * number + i, 1, 2) for i in range(2)]))


def test_many_files_follow_each_other(encoded: Encoded, tmp_path: Path) -> None:
    other = shutil.copy(encoded.path, tmp_path / "other.nerv")
    dataset = NervDataset([encoded.path, other], window=5, stride=5)
    assert [(dataset[i]["file"].tolist()[0], dataset[i]["t"].tolist()[0]) for i in range(4)] == [
        (0, 0),
        (0, 5),
        (1, 0),
        (1, 5),
    ]
    assert "4 items from 2 files" in repr(dataset)


@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_workers_give_what_one_process_gives(encoded: Encoded, context: str) -> None:
    dataset = NervDataset(encoded.path, window=2, stride=3)
    assert dataset[0]["t"].tolist() == [0, 1]  # its reader has been used
    order = dataset.order(seed=3)
    alone = list(DataLoader(dataset, batch_size=2, sampler=order))
    shared = list(DataLoader(dataset, batch_size=2, sampler=order, num_workers=1, multiprocessing_context=context))
    assert len(alone) == len(shared) == 2
    for one, other in zip(alone, shared, strict=True):
        assert {name: value.tolist() for name, value in one.items() if name in "tfile"} == {
            name: value.tolist() for name, value in other.items() if name in "tfile"
        }
        assert near(one["frame"], other["frame"])


def test_the_order_is_the_seeds_and_the_epochs(encoded: Encoded) -> None:
    dataset = NervDataset(encoded.path)
    assert dataset.order(1) == NervDataset(encoded.path).order(1)
    assert sorted(dataset.order(1)) == list(range(12))
    assert len({tuple(dataset.order(seed, epoch)) for seed in (1, 2) for epoch in (0, 1)}) == 4


def test_a_dataset_can_be_pickled_after_use(encoded: Encoded) -> None:
    dataset = NervDataset(encoded.path)
    before = dataset[2]
    assert torch.equal(pickle.loads(pickle.dumps(dataset))[2]["frame"], before["frame"])


def test_what_does_not_go_together_is_said_at_once(encoded: Encoded, tmp_path: Path) -> None:
    frames = write_images(tmp_path / "frames", moving_frames(3, 24, 40))
    other = tmp_path / "other.nerv"
    encode(frames, other, PRESETS["grid"].override(fc_dim=6, epochs=1, clip="off"), device="cpu")
    wrong: list[tuple[Any, dict[str, Any], str]] = [
        ([], {}, "no files"),
        (encoded.path, {"window": 0}, "window 0"),
        (encoded.path, {"stride": 0}, "stride 0"),
        (encoded.path, {"window": 13}, "no file has 13 frames"),
        (encoded.path, {"only": "patches"}, "neither 'features' nor 'frame'"),
        (encoded.path, {"patch": (2, 0)}, "not on the 2x4 grid"),
        (encoded.path, {"patch": (0, 0), "only": "features"}, "of pixels"),
        (other, {"only": "features"}, "other.nerv holds no features"),
        ([encoded.path, other], {}, "no batch holds both"),
        ([encoded.path, encoded.path, other], {"only": "features"}, "other.nerv holds no features"),
    ]
    for paths, options, message in wrong:
        with pytest.raises(ValueError, match=message):
            NervDataset(paths, **options)
    with pytest.raises(FileNotFoundError):
        NervDataset(tmp_path / "none.nerv")
    assert set(NervDataset(other)[0]) == {"frame", "t", "file"}


def test_the_probe_of_the_readme_learns(encoded: Encoded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (example,) = [
        text for text in re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL) if "NervDataset" in text
    ]
    shutil.copy(encoded.path, tmp_path / "v.nerv")
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    found: dict[str, Any] = {}
    exec(example, found)
    first = torch.nn.functional.binary_cross_entropy_with_logits(torch.zeros(2), torch.tensor([0.0, 1.0]))
    assert found["loss"] < first
