import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from pytorch_msssim import ms_ssim

from benchmarks import ffmpeg, process
from benchmarks.anchors import ANCHORS
from benchmarks.clips import Clip, map_rgb, prepare, write_rgb
from benchmarks.measure import mean_quality, vmaf


@pytest.fixture(scope="module")
def decoded(clip: Clip, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An anchor's output, raw rgb24."""
    folder = tmp_path_factory.mktemp("decoded")
    process.run(ANCHORS["x264-veryslow"].encode("crf=34", clip, folder / "a.264"))
    assert write_rgb(folder / "a.264", folder / "a.rgb", clip.color) == clip.frames
    return folder / "a.rgb"


def test_psnr_equals_that_of_ffmpeg_on_the_same_planes(clip: Clip, decoded: Path) -> None:
    ours, _ = mean_quality(clip.reference(), map_rgb(decoded, clip.height, clip.width))
    shape = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{clip.width}x{clip.height}"]
    inputs = [word for path in (decoded, clip.rgb) for word in (*shape, "-i", str(path))]
    graph = "[0:v]format=gbrp[a];[1:v]format=gbrp[b];[a][b]psnr=stats_file=-"
    command = [ffmpeg.binary(), "-v", "error", *inputs, "-lavfi", graph, "-f", "null", "/dev/null"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    theirs = [float(value) for value in re.findall(r"psnr_avg:([\d.]+)", said)]
    assert len(theirs) == clip.frames
    assert 20 < ours < 40
    assert ours == pytest.approx(np.mean(theirs), abs=0.01)


def test_ms_ssim_equals_pytorch_msssim(clip: Clip, decoded: Path) -> None:
    reference, pictures = clip.reference(), map_rgb(decoded, clip.height, clip.width)
    _, ours = mean_quality(reference, pictures)
    a, b = (torch.tensor(np.array(frames)).permute(0, 3, 1, 2).float() for frames in (reference, pictures))
    assert ours == pytest.approx(ms_ssim(a, b, data_range=255, size_average=False).mean().item(), abs=1e-5)
    assert ours is not None
    assert 0.5 < ours < 1


def test_vmaf_is_high_for_the_source_itself_and_lower_for_a_coded_clip(clip: Clip, decoded: Path) -> None:
    best, coded = vmaf(clip, clip.rgb), vmaf(clip, decoded)
    assert best is not None
    assert coded is not None
    assert best > 95
    assert 10 < coded < best - 5


def test_the_same_planes_give_the_same_rgb_whatever_stream_carried_them(clip: Clip, tmp_path: Path) -> None:
    """AV1 says nothing of where chroma lies, H.264 says left: a conversion that listened would differ by decibels."""
    anchor, av1, h264 = ANCHORS["svtav1-p4"], tmp_path / "a.obu", tmp_path / "a.264"
    process.run(anchor.encode("crf=46", clip, av1))
    process.run([ffmpeg.binary(), "-i", str(av1), "-c:v", "libx264", "-qp", "0", "-f", "h264", str(h264)])
    write_rgb(av1, tmp_path / "a.rgb", clip.color)
    write_rgb(h264, tmp_path / "b.rgb", clip.color)
    assert (tmp_path / "a.rgb").read_bytes() == (tmp_path / "b.rgb").read_bytes()


def test_crop_is_cut_from_the_centre(source: Path, clip: Clip, tmp_path: Path) -> None:
    cut = prepare(source, tmp_path, crop=(96, 128))
    assert (cut.frames, cut.height, cut.width) == (clip.frames, 96, 128)
    assert cut.digest != clip.digest
    inner = clip.reference()[:, 40:136, 24:152]
    assert np.abs(cut.reference().astype(int) - inner)[:, 4:-4, 4:-4].max() <= 1


def test_an_odd_row_and_column_are_cut_off_for_all(source: Path, clip: Clip, tmp_path: Path) -> None:
    odd = tmp_path / "odd.mkv"
    cut = "crop=175:173:0:0:exact=1"
    process.run([ffmpeg.binary(), "-i", str(source), "-vf", cut, "-frames:v", "2", "-c:v", "ffv1", str(odd)])
    even = prepare(odd, tmp_path / "clip")
    assert (even.frames, even.height, even.width) == (2, 172, 174)
    inner = clip.reference()[:2, :172, :174]
    assert np.abs(even.reference().astype(int) - inner)[:, :-4, :-4].max() <= 1
    for name, anchor in ANCHORS.items():
        stream = tmp_path / f"{name}{anchor.extension}"
        process.run(anchor.encode(anchor.points[0], even, stream))
        assert stream.stat().st_size > 0


def test_ms_ssim_of_a_clip_too_small_for_it_is_none() -> None:
    frames = np.zeros((2, 64, 64, 3), np.uint8)
    assert mean_quality(frames, frames) == (100.0, None)
