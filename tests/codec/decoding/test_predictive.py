"""Predicted frames: any of them, in any order, is the same frame, and only its chain is read."""

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from numpy.typing import NDArray

from bitstream import FileReader, FrameSegment, MissingBase, chain
from cli import main
from codec import NervDataset, encode
from codec.decoding import predictive, reader
from codec.decoding.reader import NervReader
from codec.encoding.plan import SIZE_REACHED
from codec.features.index import unit_vectors
from codec.network.predictive import store
from codec.quality import psnr
from codec.settings import PRESETS, Settings
from codec.side_by_side import torch_threads
from tests import reference_decoder
from tests.samples import Encoded, moving_frames, write_images
from tests.tiny_clip import TinyClip


def settings(**changes: Any) -> Settings:
    return PRESETS["fast"].override(**{"clip": "off", "motion_turns": 1} | changes)


@pytest.fixture(scope="module", autouse=True)
def in_float32() -> Iterator[None]:
    """bfloat16 has so few digits that the order of sums shows."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reader, "pick_dtype", lambda device: torch.float32)
        yield


@pytest.fixture(scope="module")
def predicted(tmp_path_factory: pytest.TempPathFactory, tiny_clip: TinyClip) -> Encoded:
    """Eleven frames of odd size in two segments, the first of more levels, with features that have vectors."""
    folder = tmp_path_factory.mktemp("predicted")
    frames = moving_frames(11, 45, 63)
    source = write_images(folder / "frames", frames)
    teacher = {"clip": "on", "clip_model": tiny_clip.model, "clip_pretrained": tiny_clip.pretrained}
    chosen = settings(anchor=(4,), segment=8, keyint=8, quality=34.0, clip_budget=0.3, **teacher)
    return Encoded(folder / "v.nerv", source, frames, encode(source, folder / "v.nerv", chosen, device="cpu"))


@pytest.fixture(scope="module")
def everything(predicted: Encoded) -> NDArray[np.uint8]:
    return NervReader(predicted.path, "cpu")[:]


def assert_same_picture(found: NDArray[np.uint8], wanted: NDArray[np.uint8]) -> None:
    """A convolution may add up otherwise in a batch of another size, and a pixel then round the other way."""
    apart = np.abs(found.astype(int) - wanted)
    assert apart.max() <= 1
    assert (apart > 0).mean() < 0.001


def test_it_shows_what_was_encoded(predicted: Encoded, everything: NDArray[np.uint8]) -> None:
    assert everything.shape == (11, 45, 63, 3)
    assert psnr(everything, predicted.frames).mean() == pytest.approx(predicted.report["psnr"], abs=0.01)
    assert predicted.report["psnr"] > 23


@pytest.mark.parametrize("order", [range(11), range(10, -1, -1), (7, 0, 10, 3, 3, 8, 1)], ids=["on", "back", "mixed"])
@pytest.mark.parametrize("batch", [1, 3])
def test_any_order_and_batch_gives_the_same_frames(
    predicted: Encoded, everything: NDArray[np.uint8], order: Any, batch: int
) -> None:
    reader = NervReader(predicted.path, "cpu", batch=batch)
    for t in order:
        assert_same_picture(reader[t], everything[t])
        assert_same_picture(reader[t : t + 3], everything[t : t + 3])


def test_frames_that_were_let_go_are_decoded_again(
    predicted: Encoded, everything: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predictive, "FRAMES_KEPT", 1)
    monkeypatch.setattr(predictive, "TOGETHER", 2)
    reader = NervReader(predicted.path, "cpu")
    for t in (5, 2, 7, 0, 5):
        assert_same_picture(reader[t], everything[t])


@pytest.mark.parametrize("batch", [1, 9])
def test_a_run_decodes_every_frame_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch: int) -> None:
    """A far anchor is made from for long after many other frames have been decoded."""
    source = write_images(tmp_path / "frames", moving_frames(40, 16, 24))
    encode(source, tmp_path / "v.nerv", settings(anchor=(32,), temporal_filter=(0,)), device="cpu")
    plain, read = FrameSegment.record, list[int]()

    def noted(self: FrameSegment, place: int) -> Any:
        read.append(place)
        return plain(self, place)

    monkeypatch.setattr(FrameSegment, "record", noted)
    monkeypatch.setattr(predictive, "FRAMES_KEPT", 20)
    shown = sum(len(frames) for frames in NervReader(tmp_path / "v.nerv", "cpu", batch=batch).frames())
    assert (shown, sorted(read)) == (40, list(range(40)))


def test_a_patch_is_the_crop_of_its_frame(predicted: Encoded, everything: NDArray[np.uint8]) -> None:
    reader = NervReader(predicted.path, "cpu")
    for row, column in ((0, 0), (1, 3)):
        y, x = (slice(*span) for span in reader.geometry(1).spans(row, column))
        assert_same_picture(reader.patch(6, row, column), everything[6, y, x])


def test_only_the_chain_of_a_frame_is_read(predicted: Encoded, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, read = FrameSegment.record, list[int]()

    def noted(self: FrameSegment, place: int) -> Any:
        read.append(place)
        return plain(self, place)

    segment = FileReader(predicted.path).segment(0)
    assert isinstance(segment, FrameSegment)
    monkeypatch.setattr(FrameSegment, "record", noted)
    for t in range(8):
        reader = NervReader(predicted.path, "cpu")
        read.clear()
        reader[t]
        assert sorted(read) == chain(segment.coded, t)
        read.clear()
        reader[t]
        assert read == [], "a frame at hand is not decoded again"
    assert len(chain(segment.coded, 0)) == 1


def test_features_are_of_their_frames(predicted: Encoded) -> None:
    reader = NervReader(predicted.path, "cpu")
    features = reader.features()
    assert features.shape == (11, 8, 32)
    np.testing.assert_allclose(np.linalg.norm(features, axis=-1), 1, rtol=1e-3)
    np.testing.assert_allclose(NervReader(predicted.path, "cpu", batch=1).features(6, 10), features[6:10], atol=1e-4)
    reader[:]
    np.testing.assert_allclose(reader.features(3, 4), features[3:4], atol=1e-4)
    assert predicted.report["clip_sim"] > 0.8


def test_features_are_those_of_a_second_reader(predicted: Encoded) -> None:
    """Which is written from FORMAT.md alone."""
    file = FileReader(predicted.path)
    features = [reference_decoder.coded_features(file.header, segment) for segment in file.segments()]
    np.testing.assert_allclose(np.concatenate(features), NervReader(predicted.path, "cpu").features(), atol=1e-6)


def test_features_need_no_frame_and_no_base(
    predicted: Encoded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that they, and an index of them, are read in no time."""
    features = NervReader(predicted.path, "cpu").features()
    predictive._base.cache_clear()
    monkeypatch.setattr(store, "SHIPPED", tmp_path)
    monkeypatch.setattr(FrameSegment, "record", lambda *_: pytest.fail("a frame is read"))
    np.testing.assert_array_equal(NervReader(predicted.path, "cpu").features(), features)
    run("decode", predicted.path, "--features", tmp_path / "v.npz", "--device", "cpu")
    np.testing.assert_array_equal(np.load(tmp_path / "v.npz")["features"], features)
    vectors = unit_vectors(NervReader(predicted.path, "cpu"), cache_dir=tmp_path / "index")
    np.testing.assert_allclose(vectors, features, atol=1e-3)
    np.testing.assert_array_equal(NervDataset(predicted.path, only="features")[3]["features"].numpy(), features[3])


# The same everywhere


def test_more_threads_read_the_same_symbols(predicted: Encoded, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, found = predictive.PredictiveDecoder._parsed, dict[int, Any]()

    def noted(self: predictive.PredictiveDecoder, n: int, moved: Any) -> Any:
        found[n] = plain(self, n, moved)
        return found[n]

    monkeypatch.setattr(predictive.PredictiveDecoder, "_parsed", noted)
    runs = []
    for count in (1, 2):
        with torch_threads(count):
            NervReader(predicted.path, "cpu")[:8]
        runs.append({n: {name: np.asarray(v) for name, v in vars(found.pop(n)).items()} for n in range(8)})
    for n, symbols in runs[0].items():
        for name, values in symbols.items():
            np.testing.assert_array_equal(values, runs[1][n][name], err_msg=f"{name} of frame {n}")


def test_more_threads_encode_the_same_file(tmp_path: Path) -> None:
    source = write_images(tmp_path / "frames", moving_frames(9, 130, 190))
    for count in (1, 3):
        with torch_threads(count):
            encode(source, tmp_path / f"{count}.nerv", settings(quality=50, anchor=(4,)), device="cpu")
    assert (tmp_path / "1.nerv").read_bytes() == (tmp_path / "3.nerv").read_bytes()


def test_half_the_precision_shows_as_much(predicted: Encoded, everything: NDArray[np.uint8]) -> None:
    reader = NervReader(predicted.path, "cpu")
    reader.dtype = torch.bfloat16
    brief = psnr(reader[:], predicted.frames).mean()
    assert abs(brief - psnr(everything, predicted.frames).mean()) <= 0.05


# One part ahead


def test_a_result_is_worked_out_ahead_and_no_more_than_one() -> None:
    begun = [threading.Event() for _ in range(5)]

    def square(n: int) -> int:
        begun[n].set()
        return n * n

    found = []
    for n, result in enumerate(predictive.ahead(square, range(5))):
        assert begun[min(n + 1, 4)].wait(10), "the next is begun while this one is used"
        assert not any(event.is_set() for event in begun[n + 2 :])
        found.append(result)
    assert found == [0, 1, 4, 9, 16]
    assert list(predictive.ahead(square, [])) == []


def test_what_goes_wrong_ahead_is_raised_in_its_turn() -> None:
    found = []
    with pytest.raises(ZeroDivisionError):
        for result in predictive.ahead(lambda n: 6 // n, (3, 2, 0, 1)):
            found.append(result)
    assert found == [2, 3]


# Any size, any count


@pytest.mark.parametrize(("count", "height", "width"), [(1, 1, 1), (1, 48, 64), (2, 17, 33), (3, 1, 9), (2, 64, 2)])
def test_frames_of_any_size_and_number(tmp_path: Path, count: int, height: int, width: int) -> None:
    source = write_images(tmp_path / "frames", moving_frames(count, height, width))
    report = encode(source, tmp_path / "v.nerv", settings(), device="cpu")
    assert (report["frames"], report["height"], report["width"]) == (count, height, width)
    assert NervReader(tmp_path / "v.nerv", "cpu")[:].shape == (count, height, width, 3)


# Size


@pytest.mark.parametrize("changes", [{"size": 5_000}, {"bpp": 1.5}, {"size": 4_700, "clip": "on"}], ids=str)
def test_the_size_asked_for_comes_out(tmp_path: Path, tiny_clip: TinyClip, changes: dict[str, Any]) -> None:
    noise = np.random.default_rng(1).normal(0, 6, (8, 45, 63, 3))  # so that a frame can take as many bytes as wanted
    frames = (moving_frames(8, 45, 63) + noise).clip(0, 255).astype(np.uint8)
    source = write_images(tmp_path / "frames", frames)
    warnings: list[str] = []
    teacher = {"clip_model": tiny_clip.model, "clip_pretrained": tiny_clip.pretrained}
    report = encode(source, tmp_path / "v.nerv", settings(**changes, **teacher), warn=warnings.append, device="cpu")
    size = changes.get("size") or changes["bpp"] * 8 * 45 * 63 / 8
    assert SIZE_REACHED <= report["bytes"] / size <= 1
    assert [w for w in warnings if "bytes" in w] == []


# Damage


def run(*words: object, code: int = 0) -> Any:
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exception is None or isinstance(result.exception, SystemExit), repr(result.exception)
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    return result


def test_a_damaged_record_costs_at_most_its_segment(
    predicted: Encoded, everything: NDArray[np.uint8], tmp_path: Path
) -> None:
    data = bytearray(predicted.path.read_bytes())
    entry = FileReader(predicted.path).index[0]
    data[entry.offset + entry.length - 30] ^= 1
    path = tmp_path / "damaged.nerv"
    path.write_bytes(data)
    assert "damaged" in run("verify", path, code=1).stdout
    message = run("decode", path, "-o", tmp_path / "out.y4m", code=1).stderr
    assert "Error: " in message
    assert not (tmp_path / "out.y4m").exists()
    result = run("decode", path, "-o", "-", "--skip-damaged", "--device", "cpu")
    shown = np.frombuffer(result.stdout_bytes, np.uint8).reshape(-1, 45, 63, 3)
    assert "warning: frames " in result.stderr
    assert_same_picture(shown[-3:], everything[8:])


def test_a_missing_base_is_named(predicted: Encoded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digest = NervReader(predicted.path, "cpu").header.base
    predictive._base.cache_clear()
    monkeypatch.setattr(store, "SHIPPED", tmp_path / "none")
    for words in (("decode", predicted.path, "-o", tmp_path / "out.y4m"), ("verify", predicted.path)):
        said = run(*words, code=1).output
        assert f"needs the base network {digest.hex()}" in said
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(MissingBase):
        NervReader(predicted.path, "cpu")[0]
    source = next(Path(predictive.__file__).parents[1].glob("network/predictive/bases/base-*.safetensors"))
    shutil.copy(source, tmp_path / "mine.safetensors")
    monkeypatch.setenv(store.VARIABLE, str(tmp_path / "mine.safetensors"))
    assert NervReader(predicted.path, "cpu")[0].shape == (45, 63, 3)


def test_info_needs_no_base(predicted: Encoded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "SHIPPED", tmp_path)
    told = run("info", predicted.path).stdout
    assert "11 frames of 63x45" in told
    held = sum(len(segment.features) for segment in FileReader(predicted.path).segments())
    assert f"features {held:,}" in told
    assert predicted.report["bytes_by_part"]["features"] == held
