"""One point measured: encode, decode, compare, as a Row. The definitions of every number are here and in Row."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks import ffmpeg, machine, process
from benchmarks.clips import CHUNK, Clip, map_rgb
from benchmarks.codecs import Codec
from benchmarks.rows import Row
from codec import quality
from codec.side_by_side import torch_threads

Extract = Callable[[np.ndarray], np.ndarray]  # teacher: uint8 [T, H, W, 3] -> float32 [T, patches, D]

CLAIM_TOLERANCE = 0.02  # dB between an encoder's own report and what is measured here
_BY = "bytes_by_"  # of an encoder's report
DECODE_RUNS = 3  # the median of them counts
MOTION_FRAMES = 12  # of the moving side-by-side
DECODE_ENOUGH = 6.0  # seconds after which no further run is started


def measure(codec: Codec, settings: str, clip: Clip, folder: Path, row: Row, extract: Extract | None = None) -> Row:
    """Encode `clip` at `settings`, keep the stream and the middle frame under `folder`, and fill `row` in.

    Raises process.CommandError where a command fails, ValueError where what comes out does not fit the clip.
    """
    stream = stream_path(folder, clip.name, codec, settings)
    stream.parent.mkdir(parents=True, exist_ok=True)
    encode_command = codec.encode(settings, clip, stream)
    encoded = process.run(encode_command, cwd=machine.ROOT)
    decode_command = codec.decode(stream)
    decoded = process.median_run(decode_command, DECODE_RUNS, DECODE_ENOUGH, cwd=machine.ROOT)
    first = process.median_run(codec.decode(stream, first_only=True), DECODE_RUNS, DECODE_ENOUGH, cwd=machine.ROOT)

    size = stream.stat().st_size
    with tempfile.TemporaryDirectory(prefix="nvcodec-rd-") as scratch:
        out = Path(scratch) / "decoded.rgb"
        frames = codec.write_frames(stream, clip, out)
        if frames != clip.frames:
            raise ValueError(f"decoded {frames} frames of {clip.frames}")
        pictures = map_rgb(out, clip.height, clip.width)
        psnr, ms_ssim = mean_quality(clip.reference(), pictures)
        row = replace(row, psnr=psnr, ms_ssim=ms_ssim, vmaf=vmaf(clip, out))
        if extract is not None:
            truth, held = extract(clip.reference()), codec.features(stream, clip)
            row = replace(
                row,
                clip_sim=None if held is None else float(quality.cosine(held, truth).mean()),
                clip_sim_decoded=float(quality.cosine(extract(pictures), truth).mean()),
            )
        save_frame(frame_path(folder, row), pictures[clip.frames // 2])
        save_motion(frame_path(folder, row), pictures)
    said = codec.report(stream)
    return replace(
        row,
        bytes=size,
        bpp=8 * size / (clip.frames * clip.height * clip.width),
        encode_seconds=encoded.seconds,
        encode_mib=encoded.peak_mib,
        decode_seconds=decoded.seconds,
        decode_mib=decoded.peak_mib,
        first_frame_seconds=first.seconds,
        container=codec.container,
        encode_command=process.shown(encode_command),
        decode_command=process.shown(decode_command),
        note="; ".join(filter(None, (codec.note, _doubt(said.get("psnr"), psnr)))),
        epochs=said.get("epochs"),
        epochs_wanted=said.get("settings", {}).get("train", {}).get("epochs"),
        bytes_by={name.removeprefix(_BY): sizes for name, sizes in said.items() if name.startswith(_BY)} or None,
    )


def blank(codec: Codec, settings: str, clip: Clip, version: str, teacher: str | None) -> Row:
    """The row of a point before it is measured: everything known without encoding."""
    return Row(
        clip=clip.name,
        clip_hash=clip.digest,
        frames=clip.frames,
        height=clip.height,
        width=clip.width,
        codec=codec.name,
        settings=settings,
        version=version,
        teacher=teacher,
        commit=machine.commit(),
        machine=machine.describe(),
        measured_at=datetime.now(timezone.utc).isoformat(timespec="seconds"),
    )


def mean_quality(reference: np.ndarray, decoded: np.ndarray) -> tuple[float, float | None]:
    """PSNR in dB and MS-SSIM, each per frame and then the mean. uint8 [T, H, W, 3] both.

    MS-SSIM is None where a side is too short for its five scales.
    """

    def compare(start: int) -> tuple[np.ndarray, np.ndarray | None]:
        pair = reference[start : start + CHUNK], decoded[start : start + CHUNK]
        return quality.psnr(*pair), quality.ms_ssim(*pair)

    # The filters of MS-SSIM are small: beside other work, more threads wait for each other for ten times as long.
    with torch_threads(1), ThreadPoolExecutor(os.cpu_count()) as pool:
        psnr, ms_ssim = zip(*pool.map(compare, range(0, len(reference), CHUNK)), strict=True)
    known = [values for values in ms_ssim if values is not None]
    return float(np.concatenate(psnr).mean()), float(np.concatenate(known).mean()) if known else None


def vmaf(clip: Clip, decoded: Path) -> float | None:
    """VMAF (model v0.6.1, mean over frames) of a raw rgb24 file, by ffmpeg's libvmaf; None where ffmpeg lacks it.

    Both sides go from RGB to 4:2:0 by the same conversion, so that no codec gains by being handed in as planes.
    """
    if not ffmpeg.has_vmaf():
        return None
    shape = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{clip.width}x{clip.height}"]
    convert = f"scale=out_color_matrix={clip.color.matrix}:out_range=tv:flags=bicubic+accurate_rnd,format=yuv420p"
    compare = f"libvmaf=log_fmt=json:log_path=vmaf.json:n_threads={os.cpu_count()}"
    graph = f"[0:v]{convert}[test];[1:v]{convert}[source];[test][source]{compare}"
    inputs = [word for file in (decoded, clip.rgb) for word in (*shape, "-i", str(file.resolve()))]
    with tempfile.TemporaryDirectory() as folder:
        command = [ffmpeg.binary(), "-loglevel", "error", "-nostdin", *inputs, "-lavfi", graph, "-f", "null", "-"]
        process.run(command, cwd=Path(folder))
        log = json.loads((Path(folder) / "vmaf.json").read_text(encoding="utf-8"))
    return float(log["pooled_metrics"]["vmaf"]["mean"])


def stream_path(folder: Path, clip: str, codec: Codec, settings: str) -> Path:
    return folder / "streams" / f"{clip}.{codec.name}.{_slug(settings)}{codec.extension}"


def frame_path(folder: Path, row: Row) -> Path:
    """Where the middle frame of a point is kept for the report."""
    return folder / "frames" / f"{row.clip}.{row.codec}.{_slug(row.settings)}.png"


def source_frame_path(folder: Path, clip: str) -> Path:
    return folder / "frames" / f"{clip}.source.png"


def save_frame(path: Path, frame: np.ndarray) -> None:
    """frame: uint8 [H, W, 3]."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(frame)).save(path)


def save_motion(frame: Path, pictures: np.ndarray) -> None:
    """Frames around the middle one, uint8 [T, H, W, 3], as a moving picture beside `frame`, the middle one's file."""
    start = max(0, len(pictures) // 2 - MOTION_FRAMES // 2)
    shown = [Image.fromarray(np.asarray(picture)) for picture in pictures[start : start + MOTION_FRAMES]]
    shown[0].save(motion_path(frame), save_all=True, append_images=shown[1:], quality=92, method=2)


def motion_path(frame: Path) -> Path:
    return frame.with_suffix(".webp")


def _doubt(claimed: float | None, measured: float) -> str:
    if claimed is None or abs(claimed - measured) <= CLAIM_TOLERANCE:
        return ""
    return f"its encoder reported {claimed:.2f} dB, measured here {measured:.2f} dB"


def _slug(settings: str) -> str:
    return settings.replace("=", "").replace(" ", "-")
