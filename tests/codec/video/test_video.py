"""Video in and out: every frame once, at its time, in its own colour."""

import io
import os
import threading
from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from bitstream.header import Color
from codec import video
from codec.errors import OutputError, VideoError
from codec.video.color import SRGB, color_of, rgb_converter, yuv_color, yuv_converter
from codec.video.timing import Presentation, constant_rate, timed
from tests.samples import full_disk, write_video

Array = NDArray[Any]

CLIPS = Path(__file__).resolve().parents[3].parent / "shared" / "clips"
BT709 = Color(1, 1, 1, False)
STEADY = Presentation(Fraction(25), Fraction(1, 25), None, Fraction(1), BT709)
LOSSLESS_H264 = {"qp": "0", "preset": "ultrafast", "bf": "2"}


def picture(planes: Sequence[Array], pixel_format: str, color: Color = BT709) -> av.VideoFrame:
    """A frame with the given samples in its planes."""
    height, width = planes[0].shape
    frame = av.VideoFrame(width, height, pixel_format)
    for plane, samples in zip(frame.planes, planes, strict=True):
        size = samples.dtype.itemsize
        rows = np.zeros((plane.height, plane.line_size // size), samples.dtype)
        rows[:, : samples.shape[1]] = samples
        plane.update(rows.tobytes())
    tag(frame, color)
    return frame


def tag(target: Any, color: Color) -> None:
    target.colorspace, target.color_primaries, target.color_trc = color.matrix, color.primaries, color.transfer
    target.color_range = 2 if color.full_range else 1


def numbered(count: int, height: int = 48, width: int = 64) -> list[av.VideoFrame]:
    """Grey frames whose brightness is their number, with a bright corner top left."""
    frames = []
    for index in range(count):
        luma = np.full((height, width), 20 + index, np.uint8)
        luma[: height // 4, : width // 4] = 235
        frames.append(picture([luma, np.full_like(luma, 128), np.full_like(luma, 128)], "yuv444p"))
    return frames


def numbers(frames: Iterable[Array]) -> list[int]:
    """The numbers of `numbered` frames from their RGB."""
    return [round(int(frame[-1, -1, 1]) * 219 / 255 + 16 - 20) for frame in frames]


def store(
    path: Path,
    frames: Sequence[av.VideoFrame],
    codec: str = "libx264",
    rate: Fraction = Fraction(25),
    time_base: Fraction | None = None,
    pts: Sequence[int] | None = None,
    container_format: str | None = None,
    prepare: Callable[[Any], None] = lambda stream: None,
    sound: bool = False,
) -> Path:
    """Code frames without loss. pts in time_base, 1 / rate apart unless given; `prepare` sees the stream first."""
    time_base = time_base or 1 / rate
    with av.open(str(path), "w", format=container_format) as container:
        options = LOSSLESS_H264 if codec == "libx264" else {}
        stream = container.add_stream(codec, rate=rate, options=options)
        assert isinstance(stream, av.VideoStream)
        stream.height, stream.width = frames[0].height, frames[0].width
        stream.pix_fmt = frames[0].format.name
        stream.codec_context.time_base = time_base
        for name in ("colorspace", "color_primaries", "color_trc", "color_range"):
            setattr(stream.codec_context, name, getattr(frames[0], name))
        prepare(stream)
        audio = container.add_stream("aac", rate=44100, layout="mono") if sound else None
        for index, frame in enumerate(frames):
            frame.pts, frame.time_base = pts[index] if pts else index, time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
        if audio is not None:
            silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
            silence.rate = 44100
            container.mux([*audio.encode(silence), *audio.encode()])
    return path


def exact_rgb(luma: Array, chroma: Sequence[Array], color: Color, bits: int = 8) -> Array:
    """RGB in 0..255, not rounded, by the formulas of H.273; samples as stored, chroma already as large as luma."""
    kr, kb = {1: (0.2126, 0.0722), 6: (0.299, 0.114), 5: (0.299, 0.114), 7: (0.212, 0.087), 9: (0.2627, 0.0593)}[
        color.matrix
    ]
    unit = 2 ** (bits - 8)
    top = 2**bits - 1
    black, luma_span, chroma_span = (0, top, top) if color.full_range else (16 * unit, 219 * unit, 224 * unit)
    y = (luma.astype(float) - black) / luma_span
    pb, pr = ((plane.astype(float) - 128 * unit) / chroma_span for plane in chroma)
    r, b = y + 2 * (1 - kr) * pr, y + 2 * (1 - kb) * pb
    g = (y - kr * r - kb * b) / (1 - kr - kb)
    rgb: Array = np.clip(255 * np.stack([r, g, b], axis=-1), 0, 255)
    return rgb


# Frames: all, once, in order


@pytest.mark.parametrize("name", ["a.mkv", "a.mp4", "a.ts", "a.avi", "a.h264"])
@pytest.mark.parametrize("count", [1, 2, 37])
def test_every_frame_once_in_order(tmp_path: Path, name: str, count: int) -> None:
    path = store(tmp_path / name, numbered(count))
    assert numbers(video.frames(path)) == list(range(count))
    info = video.scan(path)
    assert (info.frames, info.height, info.width, info.timestamps) == (count, 48, 64, None)
    if count > 1 or name != "a.ts":  # one frame alone has no rate in a transport stream
        assert info.fps == 25
        assert info.duration == Fraction(count, 25)


def test_parts_of_a_source(tmp_path: Path) -> None:
    path = store(tmp_path / "a.mkv", numbered(11))
    assert numbers(video.read(path, 3, 7)) == [3, 4, 5, 6]
    assert numbers(video.frames(path, start=8)) == [8, 9, 10]
    runs = list(video.segments(path, 4))
    assert [numbers(run) for run in runs] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10]]
    for start, stop in ((9, 12), (11, 13), (4, 4), (-1, 3)):
        with pytest.raises(VideoError, match=f"{start}:{stop}"):
            video.read(path, start, stop)


def test_the_digest_is_of_the_pixels(tmp_path: Path) -> None:
    frames = numbered(5)
    digests = [video.scan(store(tmp_path / name, frames)).digest for name in ("a.mkv", "b.mp4")]
    assert digests[0] == digests[1]
    assert video.scan(store(tmp_path / "c.mkv", frames[:4])).digest != digests[0]
    assert video.scan(tmp_path / "a.mkv", crop=(40, 40)).digest != digests[0]


# Time


@pytest.mark.parametrize("rate", [Fraction(24000, 1001), Fraction(30000, 1001), Fraction(60), Fraction(25, 2)])
@pytest.mark.parametrize("name", ["a.mkv", "a.mp4"])
def test_a_constant_rate_is_exact_whatever_the_ticks(tmp_path: Path, name: str, rate: Fraction) -> None:
    info = video.scan(store(tmp_path / name, numbered(40), rate=rate))
    assert (info.fps, info.time_base, info.timestamps) == (rate, 1 / rate, None)


@pytest.mark.parametrize(("name", "time_base"), [("a.mkv", Fraction(1, 1000)), ("a.mp4", Fraction(1, 90000))])
def test_a_variable_rate_keeps_its_timestamps(tmp_path: Path, name: str, time_base: Fraction) -> None:
    pts = [7, 47, 87, 400, 401, 1000, 1040]
    info = video.scan(store(tmp_path / name, numbered(7), pts=pts, time_base=time_base))
    assert info.timestamps is not None
    assert [tick * info.time_base for tick in info.timestamps] == [(tick - 7) * time_base for tick in pts]
    assert info.frames == 7


@given(
    rate=st.fractions(1, 240, max_denominator=1001),
    ticks=st.sampled_from([1000, 12800, 30000, 90000]),
    count=st.integers(2, 300),
    first=st.integers(0, 10**9),
)
def test_a_constant_rate_is_found_through_rounding(rate: Fraction, ticks: int, count: int, first: int) -> None:
    pts = [first + round(index * ticks / rate) for index in range(count)]
    assert constant_rate(pts, Fraction(1, ticks), [Fraction(0), rate]) == rate
    found = constant_rate(pts, Fraction(1, ticks), [])  # from the timestamps alone
    if found is not None:
        even = [Fraction(first, ticks) + index / found for index in range(count)]
        assert all(abs(Fraction(tick, ticks) - time) <= Fraction(1, 1000) for tick, time in zip(pts, even, strict=True))


def test_a_frame_left_out_is_no_rounding() -> None:
    frame = Fraction(1, 25)
    assert constant_rate([0, 1, 2, 3], frame, [Fraction(25)]) == 25
    assert constant_rate([0, 1, 3, 4], frame, [Fraction(25), Fraction(20)]) is None


@given(steps=st.lists(st.integers(1, 10**6), min_size=1, max_size=50), last=st.integers(0, 10**6))
def test_timestamps_are_exact_or_evenly_spaced(steps: list[int], last: int) -> None:
    time_base = Fraction(1, 48000)
    pts = np.cumsum([5, *steps]).tolist()
    shown = timed(pts, time_base, last * time_base, [], Fraction(1), BT709)
    if shown.timestamps is None:
        assert all(abs((tick - 5) * time_base - i * shown.time_base) < Fraction(2, 1000) for i, tick in enumerate(pts))
    else:
        assert [tick + 5 for tick in shown.timestamps] == pts
        assert shown.time_base == time_base
        if last:
            assert len(pts) / shown.fps == pytest.approx((pts[-1] + last - 5) / 48000, rel=1e-5)


def test_a_cut_of_a_presentation_starts_at_zero() -> None:
    shown = timed([0, 100, 250, 900], Fraction(1, 1000), Fraction(1, 10), [], Fraction(1), BT709)
    middle = shown.cut(1, 3)
    assert middle.timestamps == (0, 150)
    assert 2 / middle.fps == Fraction(800, 1000)
    end = shown.cut(2, 4)
    assert end.timestamps == (0, 650)
    assert 2 / end.fps == Fraction(750, 1000)


# Geometry


@pytest.mark.parametrize(
    ("rotation", "turn"),
    [
        ((90, False, False), lambda a: np.rot90(a)),
        ((180, False, False), lambda a: np.rot90(a, 2)),
        ((270, False, False), lambda a: np.rot90(a, 3)),
        ((0, True, False), lambda a: a[:, ::-1]),
        ((0, False, True), lambda a: a[::-1]),
        ((90, True, False), lambda a: np.rot90(a)[:, ::-1]),
        ((90, False, True), lambda a: np.rot90(a)[::-1]),
    ],
)
def test_rotation_is_applied(tmp_path: Path, rotation: tuple[int, bool, bool], turn: Callable[[Array], Array]) -> None:
    def prepare(stream: Any) -> None:
        stream.set_display_rotation(*rotation)
        stream.codec_context.sample_aspect_ratio = Fraction(4, 3)

    frames = numbered(2)
    lying = video.read(store(tmp_path / "lying.mp4", frames), 0, 2)
    path = store(tmp_path / "turned.mp4", frames, prepare=prepare)
    for got, source in zip(video.frames(path), lying, strict=True):
        np.testing.assert_array_equal(got, turn(source))
    info = video.scan(path)
    assert (info.height, info.width) == turn(lying[0]).shape[:2]
    assert info.sar == (Fraction(3, 4) if info.height > info.width else Fraction(4, 3))


def test_a_slanted_rotation_is_left_with_a_warning(tmp_path: Path) -> None:
    path = store(tmp_path / "a.mp4", numbered(1), prepare=lambda stream: stream.set_display_rotation(30))
    info = video.scan(path)
    assert (info.height, info.width) == (48, 64)
    assert any("rotation" in warning for warning in info.warnings)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 7), (33, 57), (2, 2)])
def test_odd_sizes(tmp_path: Path, height: int, width: int) -> None:
    info = video.scan(store(tmp_path / "a.mkv", numbered(3, height, width)))
    assert (info.frames, info.height, info.width) == (3, height, width)


def test_crop_is_central_and_comes_before_resize(tmp_path: Path) -> None:
    path = store(tmp_path / "a.mkv", numbered(2))
    whole = video.read(path, 0, 1)[0]
    np.testing.assert_array_equal(video.read(path, 0, 1, crop=(20, 31))[0], whole[14:34, 16:47])
    small = video.read(path, 0, 1, crop=(20, 30), resize=(10, 60))[0]
    expected = Image.fromarray(whole[14:34, 17:47]).resize((60, 10), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(small, np.asarray(expected))
    info = video.scan(path, crop=(20, 30), resize=(10, 60))
    assert (info.height, info.width, info.sar) == (10, 60, Fraction(1, 4))
    assert video.read(path, 0, 1, resize=24).shape == (1, 24, 32, 3)
    assert video.scan(path, resize=24).sar == 1
    with pytest.raises(VideoError, match="49x64"):
        video.scan(path, crop=(49, 64))
    with pytest.raises(VideoError, match="0x5"):
        video.scan(path, resize=(0, 5))


# Colour


@pytest.mark.parametrize("matrix", [1, 5, 6, 7, 9])
@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv444p", "yuv422p", "yuv420p10le"])
def test_conversion_by_the_streams_matrix_and_range(
    tmp_path: Path, matrix: int, full_range: bool, pixel_format: str
) -> None:
    bits = 10 if pixel_format.endswith("10le") else 8
    kind: type = np.uint16 if bits > 8 else np.uint8
    color = Color(matrix, matrix, 16 if matrix == 9 else 1, full_range)  # an HDR curve is not to be undone
    rng = np.random.default_rng(matrix)
    frames, expected = [], []
    blank = av.VideoFrame(48, 32, pixel_format)
    for _ in range(4):  # luma differs from pixel to pixel, chroma from frame to frame: its interpolation has no say
        luma: Array = (rng.integers(16, 236, (32, 48)) << (bits - 8)).astype(kind)
        chroma = rng.integers(64, 192, 2) << (bits - 8)
        planes: list[Array] = [
            np.full((p.height, p.width), c, kind) for p, c in zip(blank.planes[1:], chroma, strict=True)
        ]
        frames.append(picture([luma, *planes], pixel_format, color))
        expected.append(exact_rgb(luma, [np.full_like(luma, c) for c in chroma], color, bits))
    path = store(tmp_path / "a.mkv", frames, codec="ffv1")
    info = video.scan(path)
    assert info.color == color
    assert any("10-bit" in warning for warning in info.warnings) == (bits > 8)
    error = np.abs(video.read(path, 0, 4) - np.stack(expected))
    assert error.max() < (0.52 if bits == 8 else 1.3)  # rounding alone is 0.5


def bicubic(samples: int, per_sample: int, offset: float) -> Array:
    """The matrix that puts `samples` chroma samples at `offset` + k * `per_sample` on the luma grid; B = 0, C = 0.6."""
    x = np.abs((np.arange(samples * per_sample)[:, None] - offset) / per_sample - np.arange(-2, samples + 2))
    near, far = 1.4 * x**3 - 2.4 * x**2 + 1, -0.6 * x**3 + 3 * x**2 - 4.8 * x + 2.4
    weights = np.where(x < 1, near, np.where(x < 2, far, 0))
    weights[:, 2] += weights[:, :2].sum(axis=1)  # the edge is repeated
    weights[:, -3] += weights[:, -2:].sum(axis=1)
    return weights[:, 2:-2]


@pytest.mark.parametrize("codec", ["libx264", "ffv1"])
def test_chroma_lies_left_whether_the_stream_says_so_or_not(tmp_path: Path, codec: str) -> None:
    rng = np.random.default_rng(0)
    luma = np.full((48, 64), 120, np.uint8)
    blue, red = (
        np.asarray(Image.fromarray(rng.integers(90, 170, (6, 8), np.uint8)).resize((32, 24))) for _ in range(2)
    )
    path = store(tmp_path / "a.mkv", [picture([luma, blue, red], "yuv420p")], codec=codec)
    up = [bicubic(24, 2, 0.5) @ plane @ bicubic(32, 2, 0.0).T for plane in (blue, red)]
    error = np.abs(video.read(path, 0, 1)[0] - exact_rgb(luma, up, BT709))
    assert error.max() < 1.5
    centred = [bicubic(24, 2, 0.5) @ plane @ bicubic(32, 2, 0.5).T for plane in (blue, red)]
    assert np.abs(video.read(path, 0, 1)[0] - exact_rgb(luma, centred, BT709)).max() > 4  # the test can tell


@pytest.mark.parametrize(("size", "matrix"), [((576, 720), 6), ((480, 1280), 1), ((578, 64), 1)])
def test_a_missing_matrix_goes_by_the_size(size: tuple[int, int], matrix: int) -> None:
    frame = av.VideoFrame(size[1], size[0], "yuv420p")
    assert color_of(frame) == Color(matrix, 2, 2, False)


def test_grey_is_full_range_unless_it_says_otherwise() -> None:
    ramp = np.arange(256, dtype=np.uint8).reshape(16, 16)
    to_rgb = rgb_converter()
    frame = picture([ramp], "gray", Color(2, 2, 2, False))
    np.testing.assert_allclose(to_rgb(frame)[:, :, 0], np.clip((ramp - 16.0) * 255 / 219, 0, 255), atol=0.52)
    frame.color_range = 0
    np.testing.assert_array_equal(to_rgb(frame), ramp[:, :, None].repeat(3, axis=2))


@pytest.mark.parametrize(
    ("pixel_format", "codec"), [("gbrp", "magicyuv"), ("bgra", "ffv1"), ("rgb24", "png"), ("gbrp10le", "ffv1")]
)
def test_rgb_sources_stay_exact(tmp_path: Path, pixel_format: str, codec: str) -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (3, 34, 50, 3), np.uint8)
    frames = [av.VideoFrame.from_ndarray(frame, "rgb24").reformat(format=pixel_format) for frame in rgb]
    path = store(tmp_path / "a.avi", frames, codec=codec)
    np.testing.assert_array_equal(video.read(path, 0, 3), rgb)
    info = video.scan(path)
    assert (info.color.matrix, info.color.full_range) == (0, True)
    assert any("transparency" in warning for warning in info.warnings) == (pixel_format == "bgra")


def test_hdr_is_named(tmp_path: Path) -> None:
    planes = [np.full((32, 32), 500, np.uint16)] * 3
    path = store(tmp_path / "a.mkv", [picture(planes, "yuv444p10le", Color(9, 9, 16, False))], codec="ffv1")
    info = video.scan(path)
    assert info.color == Color(9, 9, 16, False)
    assert any("HDR (PQ)" in warning for warning in info.warnings)


def test_a_matrix_that_cannot_be_converted_is_an_error(tmp_path: Path) -> None:
    path = store(tmp_path / "a.mkv", [picture([np.zeros((16, 16), np.uint8)] * 3, "yuv444p", Color(8, 1, 1, False))])
    with pytest.raises(VideoError, match="matrix"):
        video.scan(path)


@pytest.mark.parametrize("color", [BT709, Color(6, 6, 6, True), Color(9, 9, 14, False), Color(0, 1, 13, True)])
def test_to_yuv_and_back(color: Color) -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (32, 48, 3), np.uint8)
    there = yuv_converter(32, 48, "yuv444p", yuv_color(color))(rgb)
    assert np.abs(rgb_converter()(there).astype(int) - rgb).max() <= 3  # 8-bit YCbCr has fewer levels than RGB


# Sound and odd streams


def test_sound_is_dropped_with_a_warning(tmp_path: Path) -> None:
    info = video.scan(store(tmp_path / "a.mp4", numbered(3), sound=True))
    assert (info.frames, info.has_audio) == (3, True)
    assert any("sound" in warning for warning in info.warnings)


def test_only_sound_is_an_error(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.m4a"), "w", format="ipod") as container:
        audio = container.add_stream("aac", rate=44100, layout="mono")
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        silence.rate = 44100
        container.mux([*audio.encode(silence), *audio.encode()])
    with pytest.raises(VideoError, match="only sound"):
        video.scan(tmp_path / "a.m4a")


# Bad sources


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("gone.mp4", None, "no such file"),
        ("n" * 300, None, "no such file|name too long"),
        ("empty.mp4", b"", "not a video"),
        ("text.mp4", b"hello world\n" * 500, "not a video"),
        ("text.txt", b"hello world\n" * 500, "text, not a video"),
    ],
)
def test_what_is_no_video(tmp_path: Path, name: str, content: bytes | None, words: str) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(VideoError, match=words):
        video.scan(path)


def test_a_pipe_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(VideoError, match="not a regular file"):
        video.scan(tmp_path / "pipe")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission(tmp_path: Path) -> None:
    path = store(tmp_path / "a.mkv", numbered(1))
    path.chmod(0)
    with pytest.raises(VideoError, match="permission"):
        video.scan(path)


def noise(count: int) -> list[av.VideoFrame]:
    rng = np.random.default_rng(0)
    return [picture([rng.integers(16, 235, (64, 64), np.uint8) for _ in range(3)], "yuv444p") for _ in range(count)]


def test_damage_is_an_error_that_names_the_frame(tmp_path: Path) -> None:
    path = store(tmp_path / "a.mp4", noise(20))
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 64] = bytes(range(64))
    path.write_bytes(data)
    with pytest.raises(VideoError, match=r"frame (\d+), or one soon after it") as caught:
        video.scan(path)
    assert 5 <= int(str(caught.value).split("frame ")[1].split(",")[0]) <= 12


def test_a_cut_off_file_does_not_pass_in_silence(tmp_path: Path) -> None:
    for name, start in (("a.mp4", 20), ("a.avi", 20)):
        whole = store(tmp_path / name, noise(start))
        whole.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
        with pytest.raises(VideoError, match=r"never finished|cannot be decoded"):
            video.scan(whole)
    whole = store(tmp_path / "a.mkv", noise(20))
    whole.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    assert any("cut off" in warning for warning in video.scan(whole).warnings)


def test_a_size_that_changes_is_an_error(tmp_path: Path) -> None:
    parts = [store(tmp_path / f"{size}.h264", numbered(3, size, size)).read_bytes() for size in (32, 48)]
    (tmp_path / "both.h264").write_bytes(b"".join(parts))
    with pytest.raises(VideoError, match=r"frame 3 is 48x48 .*frame 0 is 32x32"):
        video.scan(tmp_path / "both.h264")


# Directories of images


def save_images(directory: Path, *images: Image.Image, names: Sequence[str] = ()) -> Path:
    directory.mkdir()
    for index, image in enumerate(images):
        image.save(directory / (names[index] if names else f"{index:03d}.png"))
    return directory


def test_images_in_the_order_of_their_names(tmp_path: Path) -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (3, 9, 7, 3), np.uint8)
    path = save_images(tmp_path / "d", *map(Image.fromarray, rgb), names=["b.png", "a.bmp", "c.TIFF"])
    (path / "notes.txt").write_text("not an image")
    (path / ".hidden.png").write_text("nor this")
    np.testing.assert_array_equal(video.read(path, 0, 3), rgb[[1, 0, 2]])
    info = video.scan(path)
    assert (info.frames, info.height, info.width, info.timestamps) == (3, 9, 7, None)
    assert info.fps == 25
    assert info.color == Color(0, 1, 13, True)
    assert info.warnings == ()
    assert video.scan(path, fps=Fraction(24000, 1001)).fps == Fraction(24000, 1001)
    assert video.scan(path, crop=(4, 4)).height == 4


def test_images_of_all_kinds_become_rgb(tmp_path: Path) -> None:
    ramp = np.arange(64, dtype=np.uint8).reshape(8, 8)
    grey = Image.fromarray(ramp)
    deep = Image.fromarray(ramp.astype(np.uint16) * 257)
    path = save_images(tmp_path / "d", grey, deep, grey.convert("RGBA"), grey.convert("P"), grey.convert("LA"))
    for frame in video.frames(path):
        np.testing.assert_array_equal(frame, ramp[:, :, None].repeat(3, axis=2))
    info = video.scan(path)
    assert len(info.warnings) == 2
    assert any("16-bit" in warning for warning in info.warnings)
    assert any("transparency" in warning for warning in info.warnings)


def test_sixteen_bit_colour_is_noticed(tmp_path: Path) -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (8, 6, 3), np.uint8)
    frame = av.VideoFrame.from_ndarray(rgb.astype(np.uint16) * 257, "rgb48le").reformat(format="rgb48be")
    (tmp_path / "d").mkdir()
    store(tmp_path / "d" / "0.png", [frame], codec="png", container_format="image2")
    np.testing.assert_array_equal(video.read(tmp_path / "d", 0, 1)[0], rgb)
    assert video.scan(tmp_path / "d").warnings == ("16-bit samples are reduced to 8 bits",)


def test_exif_orientation_is_applied(tmp_path: Path) -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (8, 6, 3), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned a quarter clockwise
    (tmp_path / "d").mkdir()
    Image.fromarray(rgb).save(tmp_path / "d" / "0.png", exif=exif)
    np.testing.assert_array_equal(video.read(tmp_path / "d", 0, 1)[0], np.rot90(rgb, -1))


def test_bad_directories(tmp_path: Path) -> None:
    path = save_images(tmp_path / "sizes", *(Image.new("RGB", size) for size in ((8, 6), (8, 6), (6, 8))))
    with pytest.raises(VideoError, match=r"002\.png is 8x6 .*000\.png is 6x8"):
        video.scan(path)
    (tmp_path / "none").mkdir()
    with pytest.raises(VideoError, match="no images"):
        video.scan(tmp_path / "none")
    path = save_images(tmp_path / "broken", Image.new("RGB", (64, 64), "red"))
    (path / "000.png").write_bytes((path / "000.png").read_bytes()[:-40])
    with pytest.raises(VideoError, match=r"000\.png"):
        video.scan(path)
    with pytest.raises(VideoError, match="has its own"):
        video.scan(store(tmp_path / "a.mkv", numbered(1)), fps=Fraction(25))


# Writing


def smooth(count: int, height: int, width: int) -> Array:
    """Moving colours without sharp edges: uint8 [count, height, width, 3]."""
    t, y, x = np.meshgrid(np.arange(count), np.arange(height) / 30, np.arange(width) / 40, indexing="ij")
    waves = [np.sin(x + t / 9), np.cos(y - t / 7), np.sin(x + y + t / 5)]
    return np.round(128 + 90 * np.stack(waves, axis=-1)).astype(np.uint8)


def difference(a: Array, b: Array) -> float:
    """PSNR in dB."""
    return float(10 * np.log10(255**2 / max(np.mean((a.astype(float) - b) ** 2), 1e-9)))


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.y4m"])
@pytest.mark.parametrize(("height", "width"), [(64, 96), (33, 57), (1, 1)])
@pytest.mark.parametrize("color", [Color(6, 6, 6, False), Color(1, 1, 13, True), Color(9, 9, 16, False)])
def test_what_is_written_reads_back(tmp_path: Path, name: str, height: int, width: int, color: Color) -> None:
    rgb = smooth(12, height, width)
    shown = Presentation(Fraction(30000, 1001), Fraction(1001, 30000), None, Fraction(16, 11), color)
    assert video.write(tmp_path / name, iter(rgb), shown) == ()
    info = video.scan(tmp_path / name)
    assert (info.frames, info.height, info.width, info.fps) == (12, height, width, Fraction(30000, 1001))
    assert info.timestamps is None
    assert info.sar == Fraction(16, 11) or height == 1  # H.264 readers ignore it on one row
    assert info.color.full_range == color.full_range
    if name != "a.y4m":
        assert info.color == color
    assert difference(video.read(tmp_path / name, 0, 12), rgb) > 38
    assert [entry.name for entry in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("color", [Color(6, 6, 6, False), Color(1, 1, 1, False), Color(9, 9, 14, False), SRGB])
@pytest.mark.parametrize(("size", "red", "blue"), [((32, 32), 0.299, 0.114), ((720, 1280), 0.2126, 0.0722)])
def test_y4m_is_what_its_readers_assume(
    tmp_path: Path, color: Color, size: tuple[int, int], red: float, blue: float
) -> None:
    """It names no matrix: BT.601, or BT.709 for large pictures, whatever the source was."""
    rgb = np.full((1, *size, 3), (253, 20, 60), np.uint8)
    shown = Presentation(Fraction(25), Fraction(1, 25), None, Fraction(1), color)
    video.write(tmp_path / "a.y4m", iter(rgb), shown)
    header, _, planes = (tmp_path / "a.y4m").read_bytes().partition(b"\nFRAME\n")
    y, cb, cr = (np.frombuffer(planes, np.uint8).reshape(3, -1)[:, 0].astype(float) - (16, 128, 128)) / (219, 112, 112)
    assert b"XCOLORRANGE=LIMITED" in header
    found = [y + (1 - red) * cr, 0.0, y + (1 - blue) * cb]
    found[1] = (y - red * found[0] - blue * found[2]) / (1 - red - blue)
    assert np.abs(np.array(found) * 255 - (253, 20, 60)).max() < 2


def test_pngs_are_exact(tmp_path: Path) -> None:
    rgb = smooth(3, 17, 9)
    video.write(tmp_path / "d", iter(rgb), STEADY)
    assert sorted(entry.name for entry in (tmp_path / "d").iterdir()) == ["000000.png", "000001.png", "000002.png"]
    np.testing.assert_array_equal(video.read(tmp_path / "d", 0, 3), rgb)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_a_variable_rate_survives(tmp_path: Path, name: str) -> None:
    pts = [0, 40, 80, 90, 1000, 1033, 1500, 1501]
    shown = timed(pts, Fraction(1, 1000), Fraction(1, 4), [], Fraction(1), BT709)
    assert video.write(tmp_path / name, iter(smooth(8, 32, 32)), shown) == ()
    info = video.scan(tmp_path / name)
    assert info.timestamps is not None
    assert [tick * info.time_base for tick in info.timestamps] == [Fraction(tick, 1000) for tick in pts]
    assert info.duration == Fraction(1751, 1000)


def test_what_an_output_cannot_hold_is_told(tmp_path: Path) -> None:
    shown = timed([0, 40, 900], Fraction(1, 1000), Fraction(0), [], Fraction(2), BT709)
    rgb = smooth(3, 16, 16)
    assert len(video.write(tmp_path / "a.y4m", iter(rgb), shown)) == 1
    assert len(video.write(tmp_path / "d", iter(rgb), shown)) == 2


def test_a_failure_while_writing_leaves_nothing(tmp_path: Path) -> None:
    def broken() -> Iterable[Array]:
        yield from smooth(3, 32, 32)
        raise KeyboardInterrupt

    for name in ("a.mp4", "a.mkv", "a.y4m", "d"):
        with pytest.raises(KeyboardInterrupt):
            video.write(tmp_path / name, broken(), STEADY)
        with pytest.raises(OutputError, match="no frames"):
            video.write(tmp_path / name, [], STEADY)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.y4m", "d"])
def test_a_full_disk(tmp_path: Path, name: str) -> None:
    noisy = np.random.default_rng(0).integers(0, 256, (30, 64, 64, 3), np.uint8)
    with pytest.raises(OutputError, match="File too large"), full_disk(10_000):
        video.write(tmp_path / name, iter(noisy), STEADY)
    assert list(tmp_path.iterdir()) == []


def test_bad_targets(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"\.mp4, \.mkv or \.y4m"):
        video.contents_of(tmp_path / "a.avi")
    assert [video.contents_of(tmp_path / name) for name in ("a.mp4", "a.MKV", "no/a.y4m")] == [None] * 3
    assert video.contents_of(f"{tmp_path}/a.mp4/") == video.contents_of(tmp_path) == "[0-9]*.png"
    shown = Presentation(Fraction(2**32 - 1), Fraction(1, 2**32 - 1), None, Fraction(1), BT709)
    with pytest.raises(OutputError, match="libx264"):
        video.write(tmp_path / "b.mp4", iter(smooth(1, 16, 16)), shown)


def test_pipes(tmp_path: Path) -> None:
    rgb = smooth(3, 17, 24)
    shown = Presentation(Fraction(24000, 1001), Fraction(1001, 24000), None, Fraction(1), Color(6, 6, 6, False))
    bare, y4m = io.BytesIO(), io.BytesIO()
    video.write_stream(bare, iter(rgb), shown, "rgb24")
    assert bare.getvalue() == rgb.tobytes()
    video.write_stream(y4m, iter(rgb), shown, "y4m")
    (tmp_path / "a.y4m").write_bytes(y4m.getvalue())
    info = video.scan(tmp_path / "a.y4m")
    assert (info.frames, info.height, info.width, info.fps) == (3, 17, 24, Fraction(24000, 1001))


@pytest.mark.parametrize("pipe_format", video.PIPE_FORMATS)
def test_a_reader_that_leaves_early_is_no_error(pipe_format: str) -> None:
    reader, writer = os.pipe()
    written = 0

    def leave() -> None:
        os.read(reader, 100)
        os.close(reader)

    def frames() -> Iterable[Array]:
        nonlocal written
        for frame in smooth(1, 64, 64).repeat(1000, axis=0):
            written += 1
            yield frame

    leaving = threading.Thread(target=leave)
    leaving.start()
    with os.fdopen(writer, "wb") as pipe:
        video.write_stream(pipe, frames(), STEADY, pipe_format)
    leaving.join()
    assert written < 1000


# Real video


@pytest.mark.skipif(not CLIPS.is_dir(), reason="the test clips are not here")
@pytest.mark.parametrize(
    ("name", "frames", "fps", "matrix"),
    [
        ("bunny", 96, Fraction(25), 1),
        ("dog_fetch", 132, Fraction(30000, 1001), 1),
        ("highway", 96, Fraction(25), 6),
        ("arena_dark", 96, Fraction(50), 1),
    ],
)
def test_clips(name: str, frames: int, fps: Fraction, matrix: int) -> None:
    path = CLIPS / f"{name}.mkv"
    info = video.scan(path)
    assert (info.frames, info.height, info.width, info.fps) == (frames, 360, 640, fps)
    assert (info.timestamps, info.color.matrix, info.has_audio) == (None, matrix, False)
    with av.open(str(path)) as container:
        planes = next(container.decode(video=0)).to_ndarray()
    luma, blue, red = planes[:360], planes[360:450].reshape(180, 320), planes[450:].reshape(180, 320)
    up = [bicubic(180, 2, 0.5) @ plane @ bicubic(320, 2, 0.0).T for plane in (blue, red)]
    error = np.abs(video.read(path, 0, 1)[0] - exact_rgb(luma, up, info.color))
    assert error.max() < 2.5
    assert error.mean() < 0.4  # rounding alone is 0.25


def test_images_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for number in range(1, 13):
        Image.new("RGB", (8, 8), (number, 0, 0)).save(tmp_path / f"{number}.png")
    assert [int(frame[0, 0, 0]) for frame in video.frames(tmp_path)] == list(range(1, 13))
    assert video.scan(tmp_path).described == "12 images, from 1.png to 12.png"


@pytest.mark.parametrize("extension", ["webp", "png", "tiff"])
def test_an_animation_is_no_image(tmp_path: Path, extension: str) -> None:
    pictures = [Image.new("RGB", (16, 16), (50 * n, 0, 0)) for n in range(3)]
    pictures[0].save(tmp_path / f"a.{extension}", save_all=True, append_images=pictures[1:])
    with pytest.raises(VideoError, match=rf"a\.{extension}: it is animated, or has several pages"):
        video.scan(tmp_path)


def test_an_animated_webp_is_not_called_damaged(tmp_path: Path) -> None:
    pictures = [Image.new("RGB", (16, 16), (50 * n, 0, 0)) for n in range(3)]
    pictures[0].save(tmp_path / "a.webp", save_all=True, append_images=pictures[1:])
    with pytest.raises(VideoError, match="is WebP, of which only still pictures are read"):
        video.scan(tmp_path / "a.webp")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.ffconcat", "ffconcat version 1.0\nfile secret.mkv\n"),
        ("a.m3u8", "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nsecret.mkv\n#EXT-X-ENDLIST\n"),
        ("%01d.png", ""),
    ],
)
def test_nothing_is_read_that_was_not_given(tmp_path: Path, name: str, text: str) -> None:
    """Neither the files of a list nor those of a pattern."""
    write_video(tmp_path / "secret.mkv", smooth(2, 16, 16))
    Image.new("RGB", (16, 16)).save(tmp_path / "1.png")
    (tmp_path / name).write_text(text)
    with pytest.raises(VideoError, match="is not a video that can be read"):
        video.scan(tmp_path / name)
