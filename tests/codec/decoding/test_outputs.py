"""Decoding to files, pipes and features: what is asked for, all of it or nothing."""

import io
import re
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import bitstream
from bitstream import ChecksumMismatch
from codec import decode, video
from codec.decoding.reader import NervReader
from codec.errors import CodecError, OutputError
from codec.network.dual_head import DualHeadHNeRV
from tests.samples import Encoded, full_disk
from tests.tiny_clip import EMBED_DIM

README = Path(__file__).resolve().parents[3] / "README.md"


@pytest.fixture(scope="module")
def everything(encoded: Encoded) -> NDArray[np.uint8]:
    return NervReader(encoded.path, "cpu")[:]


def images(folder: Path) -> NDArray[np.uint8]:
    return np.stack([np.asarray(Image.open(p)) for p in sorted(folder.iterdir())])


def near(a: NDArray[Any], b: NDArray[Any], levels: int = 1) -> bool:
    return a.shape == b.shape and int(np.abs(a.astype(int) - b).max()) <= levels


@pytest.mark.parametrize(
    ("name", "crf", "error"),  # y4m cannot name its matrix, and players assume another for small frames
    [("out.mp4", 0, 2), ("out.mkv", 0, 2), ("out.mp4", 45, 20), ("out.y4m", None, 8), ("out/", None, 0.01)],
)
def test_every_frame_once_in_every_kind_of_output(
    encoded: Encoded, everything: NDArray[np.uint8], tmp_path: Path, name: str, crf: int | None, error: float
) -> None:
    seen: list[tuple[int, int]] = []

    def progress(done: int, total: int) -> None:
        seen.append((done, total))

    assert decode(encoded.path, f"{tmp_path}/{name}", crf=crf, device="cpu", progress=progress) == 12
    assert seen == [(n, 12) for n in range(1, 13)]
    info = video.scan(tmp_path / name)
    assert (info.frames, info.height, info.width, info.fps) == (12, 45, 63, Fraction(25))
    found = np.stack(list(video.frames(tmp_path / name)))
    assert np.abs(found.astype(int) - everything).mean() <= error
    assert [p.name for p in tmp_path.iterdir()] == [name.rstrip("/")]


@pytest.mark.parametrize(("pipe_format", "header"), [("rgb24", b""), ("y4m", b"YUV4MPEG2 W63 H45 F25:1")])
def test_pipes(encoded: Encoded, everything: NDArray[np.uint8], pipe_format: str, header: bytes) -> None:
    class Pipe(io.BytesIO):
        pass

    pipe = Pipe()
    assert decode(encoded.path, pipe, frames=(3, 8), pipe_format=pipe_format, device="cpu") == 5
    data = pipe.getvalue()
    assert data.startswith(header)
    if pipe_format == "rgb24":
        assert near(np.frombuffer(data, np.uint8).reshape(5, 45, 63, 3), everything[3:8])


@pytest.mark.parametrize(
    ("frames", "chosen"), [((3, 8), slice(3, 8)), ((10, None), slice(10, 12)), ((6, 7), slice(6, 7))]
)
def test_a_range_of_frames_is_that_slice(
    encoded: Encoded, everything: NDArray[np.uint8], tmp_path: Path, frames: tuple[int, int | None], chosen: slice
) -> None:
    decode(encoded.path, tmp_path / "out", frames=frames, device="cpu")
    assert near(images(tmp_path / "out"), everything[chosen])


def test_a_patch_of_every_frame(encoded: Encoded, everything: NDArray[np.uint8], tmp_path: Path) -> None:
    decode(encoded.path, tmp_path / "out", frames=(4, 7), patch=(1, 3), device="cpu")
    assert near(images(tmp_path / "out"), everything[4:7, 23:45, 48:63])


def test_features_with_coordinates_and_teacher(
    encoded: Encoded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DualHeadHNeRV, "rgb", lambda *arguments: pytest.fail("the RGB head ran"))
    assert decode(encoded.path, features=tmp_path / "f.npz", frames=(2, 9), device="cpu") == 7
    reader = NervReader(encoded.path, "cpu")
    with np.load(tmp_path / "f.npz", allow_pickle=False) as found:
        assert sorted(found) == ["coords", "features", "frames", "teacher"]
        np.testing.assert_allclose(found["features"], reader.features(2, 9), atol=1e-2)
        np.testing.assert_array_equal(found["coords"], reader.coords()[2:9])
        assert found["frames"].tolist() == list(range(2, 9))
        assert str(found["teacher"]) == "tiny tiny.safetensors"


def test_features_are_as_the_readme_says(encoded: Encoded, tmp_path: Path) -> None:
    decode(encoded.path, features=tmp_path / "f.npz", frames=(2, 9), device="cpu")
    sizes = {"n": 7, "patches": 8, "D": EMBED_DIM, "3": 3}
    rows = re.findall(r"^\| `(\w+)` \| (.+) \| (float32|int64|str) \|", README.read_text(), re.MULTILINE)
    told = {name: (tuple(sizes[s] for s in shape.split(", ") if s != "-"), dtype) for name, shape, dtype in rows}
    with np.load(tmp_path / "f.npz", allow_pickle=False) as found:
        assert told == {name: (a.shape, str(a.dtype) if a.dtype.kind != "U" else "str") for name, a in found.items()}


def test_features_of_one_patch(encoded: Encoded, tmp_path: Path) -> None:
    decode(encoded.path, features=tmp_path / "f.npz", patch=(1, 2), device="cpu")
    reader = NervReader(encoded.path, "cpu")
    with np.load(tmp_path / "f.npz") as found:
        np.testing.assert_allclose(found["features"], reader.features()[:, 6:7], atol=1e-2)
        np.testing.assert_array_equal(found["coords"], reader.coords()[:, 6:7])


def test_frames_and_features_together(encoded: Encoded, tmp_path: Path) -> None:
    assert decode(encoded.path, tmp_path / "out", features=tmp_path / "f.npz", device="cpu") == 12
    assert len(images(tmp_path / "out")) == 12
    assert (tmp_path / "f.npz").exists()


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"frames": (12, 13)}, "frames 12:13 are not in this file of 12 frames: give A:B with 0 <= A < B <= 12"),
    ({"frames": (5, 5)}, "frames 5:5 are not in this file"),
    ({"frames": (0, 13)}, "frames 0:13 are not in this file"),
    ({"patch": (2, 0)}, "patch 2,0 is not on this file's grid of 2 rows and 4 columns"),
    ({"output": "out.avi"}, "out.avi: .avi is not supported"),
    ({"output": "none/out.mp4"}, "there is no directory"),
    ({"features": "none/f.npz"}, "there is no directory"),
    ({"device": "cuda:99"}, "device 'cuda:99' is not available here"),
    ({"device": "abacus"}, "unknown device 'abacus': choose auto, cpu, cuda"),
]


@pytest.mark.parametrize(("options", "message"), REFUSED, ids=[str(o) for o, _ in REFUSED])
def test_what_cannot_be_had_is_refused_and_leaves_nothing(
    encoded: Encoded, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    for name in ("output", "features"):
        if name in options:
            options = options | {name: tmp_path / options[name]}
    with pytest.raises(CodecError, match=message):
        given: dict[str, Any] = {"output": tmp_path / "out.mp4", "device": "cpu"} | options
        decode(encoded.path, **given)
    assert list(tmp_path.iterdir()) == []


def test_a_file_without_features_says_so(encoded: Encoded, tmp_path: Path) -> None:
    plain = without_features(encoded, tmp_path)
    with pytest.raises(CodecError, match="this file holds no features"):
        decode(plain, features=tmp_path / "f.npz", device="cpu")
    assert list(tmp_path.iterdir()) == [plain]
    with pytest.raises(ValueError, match="this file holds no features"):
        NervReader(plain).features()


def without_features(encoded: Encoded, folder: Path) -> Path:
    """The same file with its CLIP head taken out."""
    nerv = bitstream.read(encoded.path)
    arch = replace(nerv.header.architecture, clip_dim=0, clip_rank=0)
    segments = tuple(
        replace(s, tensors=tuple(t for t in s.tensors if t.part is not bitstream.Part.CLIP)) for s in nerv.segments
    )
    header = replace(nerv.header, architecture=arch, teacher=None)
    path = folder / "plain.nerv"
    path.write_bytes(bitstream.write(replace(nerv, header=header, segments=segments)))
    return path


def test_an_output_that_is_there_stays_without_force(encoded: Encoded, tmp_path: Path) -> None:
    (tmp_path / "out.mp4").write_bytes(b"precious")
    with pytest.raises(OutputError, match="exists already"):
        decode(encoded.path, tmp_path / "out.mp4", device="cpu")
    assert (tmp_path / "out.mp4").read_bytes() == b"precious"
    decode(encoded.path, tmp_path / "out.mp4", force=True, device="cpu")
    assert video.scan(tmp_path / "out.mp4").frames == 12


def test_the_file_itself_is_never_an_output(encoded: Encoded, tmp_path: Path) -> None:
    path = tmp_path / "v.nerv"
    path.write_bytes(encoded.path.read_bytes())
    with pytest.raises(OutputError, match="which is read: choose another output"):
        decode(path, features=path, force=True, device="cpu")
    assert path.read_bytes() == encoded.path.read_bytes()


@pytest.mark.parametrize("name", ["out.mp4", "out.y4m", "out/", "f.npz"])
def test_a_full_disk_leaves_nothing_behind(encoded: Encoded, tmp_path: Path, name: str) -> None:
    target = {"features" if name == "f.npz" else "output": f"{tmp_path}/{name}"}
    with pytest.raises(OutputError, match="make room"), full_disk(700):
        decode(encoded.path, device="cpu", **target)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def damaged(encoded: Encoded, folder: Path, *segments: int) -> Path:
    data = bytearray(encoded.path.read_bytes())
    index = NervReader(encoded.path, "cpu").file.index
    for number in segments:
        data[index[number].offset + 40] ^= 4
    path = folder / "damaged.nerv"
    path.write_bytes(data)
    return path


def test_a_part_of_a_file_is_read_alone(encoded: Encoded, tmp_path: Path) -> None:
    """Damage elsewhere is of no matter to it, and no byte of elsewhere is read."""
    path = damaged(encoded, tmp_path, 1)
    assert decode(path, tmp_path / "first", frames=(0, 5), device="cpu") == 5
    assert decode(path, tmp_path / "last", frames=(10, 12), device="cpu") == 2
    for frames in ((4, 6), (0, None)):
        with pytest.raises(ChecksumMismatch, match=r"segment 1, frames 5\.\.9"):
            decode(path, io.BytesIO(), frames=frames, device="cpu")


def test_damage_costs_the_frames_of_its_segment_alone(
    encoded: Encoded, everything: NDArray[np.uint8], tmp_path: Path
) -> None:
    path = damaged(encoded, tmp_path, 1)
    with pytest.raises(ChecksumMismatch, match=r"segment 1, frames 5\.\.9"):
        decode(path, tmp_path / "out", device="cpu")
    assert not (tmp_path / "out").exists()
    warnings: list[str] = []
    assert decode(path, tmp_path / "out", skip_damaged=True, device="cpu", warn=warnings.append) == 7
    assert near(images(tmp_path / "out"), np.concatenate([everything[:5], everything[10:]]))
    assert warnings[0] == "frames 5..9 are lost: their segment is damaged"
    decode(path, features=tmp_path / "f.npz", skip_damaged=True, device="cpu")
    with np.load(tmp_path / "f.npz") as found:
        assert found["frames"].tolist() == [0, 1, 2, 3, 4, 10, 11]
        np.testing.assert_array_equal(found["coords"], NervReader(encoded.path).coords()[[0, 1, 2, 3, 4, 10, 11]])


def test_frames_after_a_gap_keep_their_time(encoded: Encoded, tmp_path: Path) -> None:
    path = damaged(encoded, tmp_path, 1)
    decode(path, tmp_path / "out.mkv", skip_damaged=True, device="cpu")
    info = video.scan(tmp_path / "out.mkv")
    assert info.timestamps is not None
    seconds = [float(tick * info.time_base) for tick in info.timestamps]
    assert seconds == pytest.approx([t / 25 for t in (0, 1, 2, 3, 4, 10, 11)], abs=2e-3)


def test_frames_that_are_all_lost_are_refused(encoded: Encoded, tmp_path: Path) -> None:
    path = damaged(encoded, tmp_path, 0, 2)
    with pytest.raises(CodecError, match="every one of the frames 0:4 is lost"):
        decode(path, tmp_path / "out", frames=(0, 4), skip_damaged=True, device="cpu")
    assert decode(path, tmp_path / "out", frames=(5, 7), skip_damaged=True, device="cpu") == 2


def test_rate_and_pixel_shape_are_the_files(encoded: Encoded, tmp_path: Path) -> None:
    nerv = bitstream.read(encoded.path)
    rate = Fraction(30000, 1001)
    ticks = tuple(1001 * t + (500 if t > 3 else 0) for t in range(12))
    header = replace(nerv.header, fps=rate, time_base=1 / (rate * 1001), sar=Fraction(4, 3))
    path = tmp_path / "v.nerv"
    path.write_bytes(bitstream.write(replace(nerv, header=header, timestamps=ticks)))
    decode(path, tmp_path / "out.mp4", frames=(2, 6), device="cpu")
    info = video.scan(tmp_path / "out.mp4")
    assert info.sar == Fraction(4, 3)
    assert info.timestamps is not None
    seconds = [float(tick * info.time_base) for tick in info.timestamps]
    assert seconds == pytest.approx([float((ticks[t] - ticks[2]) * header.time_base) for t in range(2, 6)], abs=1e-4)
    warnings: list[str] = []
    decode(path, tmp_path / "out", warn=warnings.append, device="cpu")
    assert len(warnings) == 2, "PNGs have neither times nor pixel shape"
    with pytest.warns(UserWarning, match="pixels are 4/3 as wide as high"):
        decode(path, tmp_path / "again", device="cpu")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"crf": 99}, "crf 99 is not a whole number from 0 to 51"),
        ({"crf": 2.5}, "crf 2.5 is not"),
        ({"crf": "12"}, "crf '12' is not"),
        ({"pipe_format": "bogus"}, "pipe_format 'bogus' is none of rgb24, y4m"),
        ({"batch": 0}, "batch 0 is not"),
        ({"batch": 1.5}, "batch 1.5 is not"),
        ({"frames": (0.5, 3)}, "frames .* are not two whole numbers"),
        ({"patch": (0.5, 0)}, "patch .* are not two whole numbers"),
        ({"patch": (0, 1, 2)}, "patch .* are not two whole numbers"),
    ],
)
def test_arguments_out_of_range_are_named(
    encoded: Encoded, tmp_path: Path, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        decode(encoded.path, tmp_path / "out.mp4", device="cpu", **arguments)
    assert list(tmp_path.iterdir()) == []
