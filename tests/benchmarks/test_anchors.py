from pathlib import Path

import av
import pytest

from benchmarks import process
from benchmarks.anchors import ANCHORS, Anchor
from benchmarks.clips import Clip
from benchmarks.codecs import UnavailableError

_ALL = pytest.mark.parametrize("anchor", ANCHORS.values(), ids=ANCHORS)


@_ALL
def test_one_intra_frame_at_the_start_and_every_frame_kept(anchor: Anchor, clip: Clip, tmp_path: Path) -> None:
    stream = tmp_path / f"a{anchor.extension}"
    process.run(anchor.encode(anchor.points[0], clip, stream))
    with av.open(str(stream)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    assert [packet.is_keyframe for packet in packets] == [True] + [False] * (len(packets) - 1)
    assert anchor.write_frames(stream, clip, tmp_path / "a.rgb") == clip.frames
    assert (tmp_path / "a.rgb").stat().st_size == clip.rgb.stat().st_size


@_ALL
def test_says_what_it_is(anchor: Anchor) -> None:
    encoder, _, ffmpeg = anchor.version.partition(" in ffmpeg ")
    assert any(letter.isdigit() for letter in encoder)
    assert ffmpeg
    assert len(anchor.points) >= 5
    assert len(set(anchor.points)) == len(anchor.points)


def test_streams_carry_no_text_about_their_encoder(clip: Clip, tmp_path: Path) -> None:
    for name in ("x264-veryslow", "x265-medium"):
        stream = tmp_path / name
        process.run(ANCHORS[name].encode(ANCHORS[name].points[0], clip, stream))
        assert b"options" not in stream.read_bytes()


def test_bytes_are_told_apart_by_type_of_frame(clip: Clip, tmp_path: Path) -> None:
    for name in ("x264-veryslow", "x265-medium"):
        stream = tmp_path / name
        process.run(ANCHORS[name].encode(ANCHORS[name].points[0], clip, stream))
        sizes = ANCHORS[name].report(stream)["bytes_by_type"]
        assert sum(sizes.values()) == stream.stat().st_size
        assert 0 < sizes["I"] < stream.stat().st_size
    assert ANCHORS["svtav1-p4"].report(stream) == {}


def test_an_encoder_that_ffmpeg_lacks_is_named() -> None:
    anchor = Anchor("none", "none", "libnothing", (), "crf", (30,), "h264", ".264", "raw", "(.*)")
    with pytest.raises(UnavailableError, match="libnothing"):
        _ = anchor.version
