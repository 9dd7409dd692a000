"""Verifying: one pass over an intact file and its source, every problem of a damaged one."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bitstream
from codec import quality, video
from codec.decoding.reader import NervReader
from codec.decoding.verify import verify
from codec.errors import VideoError
from tests.samples import Encoded, write_images


def test_frames_are_measured_against_their_source(encoded: Encoded, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each integer is decoded once, and each frame of the source."""
    reads: list[str] = []
    frames, segment = video.frames, bitstream.FileReader.segment

    def counted(name: str, function: Any) -> Any:
        def call(*arguments: Any) -> Any:
            reads.append(name)
            return function(*arguments)

        return call

    monkeypatch.setattr(video, "frames", counted("source", frames))
    monkeypatch.setattr(bitstream.FileReader, "segment", counted("segment", segment))
    result = verify(encoded.path, encoded.source, device="cpu")
    assert sorted(reads) == ["segment"] * 3 + ["source"]
    psnr = quality.psnr(NervReader(encoded.path, "cpu")[:], encoded.frames)
    assert result["ok"]
    assert result["psnr_per_frame"] == pytest.approx(psnr.tolist(), abs=0.02)
    assert result["psnr"] == pytest.approx(psnr.mean(), abs=0.02)


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        (np.s_[:11], "has 11 frames: compare with what was encoded, 12 frames of 45x63"),
        (np.s_[[*range(12), 0]], "has more than 12 frames: compare with what was encoded"),
        (np.s_[:, :44], "has frames of 44x63: compare with what was encoded, 12 frames of 45x63"),
    ],
)
def test_another_source_is_refused(encoded: Encoded, tmp_path: Path, chosen: Any, message: str) -> None:
    source = write_images(tmp_path / "other", encoded.frames[chosen])
    with pytest.raises(VideoError, match=message):
        verify(encoded.path, source, device="cpu")


def test_every_damaged_segment_is_named(encoded: Encoded, tmp_path: Path) -> None:
    data = bytearray(encoded.path.read_bytes())
    for entry in bitstream.FileReader(encoded.path).index[::2]:
        data[entry.offset + 40] ^= 4
    (tmp_path / "damaged.nerv").write_bytes(data)
    result = verify(tmp_path / "damaged.nerv", device="cpu")
    assert not result["ok"]
    assert [p.partition(",")[0] for p in result["problems"][:2]] == ["segment 0", "segment 2"]
    assert "digest" in result["problems"][2]
