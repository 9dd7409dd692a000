"""Encode: a video or a directory of images -> a .nerv file that has been read back, compared and measured.

    scan -> per segment: teacher, fit, code -> assemble -> read back, compare, measure -> write

Nothing is written to the output before all of that has held; what has been trained lies in OUTPUT.ckpt until then.
"""

from __future__ import annotations

import hashlib
import json
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from bitstream import Header, Limits, Quality, Segment, assemble, write_segment
from bitstream.header import write_header
from codec import video
from codec.atomic import atomic_output, check_outputs
from codec.decoding.reader import NervReader
from codec.encoding.job import Job, directory
from codec.encoding.logs import Log
from codec.encoding.plan import FILE_OVERHEAD, plan, target_bytes
from codec.errors import CodecError
from codec.features.teacher import CLIPManager, load_teacher
from codec.kinds import parse_architecture
from codec.network.backend import pick_device
from codec.network.dual_head import DualHeadHNeRV, blueprint
from codec.quality import Measured, cosine, measure, split_mean
from codec.settings import Settings
from codec.specs import DualHeadSpec, Geometry
from codec.training.fit import Fitted, Status, fit
from codec.versions import installed

SEGMENT_FRAMES = 300  # in one network, where nothing is asked
SEGMENT_BYTES = 2**31  # of raw frames in one network, likewise
SIZE_TOLERANCE = 0.15  # of the size asked for, before a warning
LIMITS = Limits()  # of readers that were not told to take more

Warn = Callable[[str], None]


class EncodeError(CodecError):
    """The settings do not fit the source, or what was coded did not come back as it was."""


class Progress(Protocol):
    """What is told of an encode while it runs."""

    def phase(self, name: str) -> None:
        """Another phase begins: scan, teacher, train, code or check."""

    def segment(self, start: int, total: int, frames: int, parameters: int) -> None:
        """Training of a network for `frames` frames from frame `start` of `total` begins."""

    def training(self, status: Status) -> None:
        """About once a second while training."""

    def evaluated(self, epoch: int, scores: dict[str, float]) -> None:
        """Every eval_freq epochs."""


class Silent:
    """Progress that nobody watches."""

    def phase(self, name: str) -> None:
        pass

    def segment(self, start: int, total: int, frames: int, parameters: int) -> None:
        pass

    def training(self, status: Status) -> None:
        pass

    def evaluated(self, epoch: int, scores: dict[str, float]) -> None:
        pass


@dataclass
class Clock:
    """Seconds by phase."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def __call__(self, phase: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[phase] = self.seconds.get(phase, 0.0) + time.perf_counter() - start


def encode(
    source: str | Path,
    output: str | Path,
    settings: Settings = Settings(),
    *,
    device: str = "auto",
    force: bool = False,
    resume: bool = False,
    report: str | Path | None = None,
    log_dir: str | Path | None = None,
    fps: Fraction | None = None,
    progress: Progress = Silent(),
    warn: Warn = lambda message: None,
) -> dict[str, Any]:
    """Encode a video file or a directory of images; returns the report: settings, measurements, bytes and seconds.

    resume: go on from OUTPUT.ckpt where an earlier encode with the same settings stopped. force: replace `output` and
    `report` where they exist. report: write it to this JSON file as well. log_dir: for TensorBoard. fps: of a directory
    of images. Raises CodecError (and its kinds) for anything a user can mend, ValueError for settings that do not fit
    together.
    """
    settings.check()
    output = Path(output)
    teacher = settings.teacher
    written = [path for path in (output, report) if path is not None]
    check_outputs(
        [(path, None) for path in written], [*video.files(source), teacher.clip_model, teacher.clip_pretrained], force
    )
    directory(output)  # has a name, or the work of hours could not be kept
    encoding = _Encoding(source, output, settings, pick_device(device), progress, warn)
    result = encoding.run(force, resume, log_dir, fps)
    if report is not None:
        with atomic_output(report, force) as temporary:
            temporary.write_text(json.dumps(result, indent=2) + "\n")
    return result


class _Encoding:
    """One encode, and what its phases hand on."""

    def __init__(
        self, source: str | Path, output: Path, settings: Settings, device: torch.device, progress: Progress, warn: Warn
    ) -> None:
        self.source, self.output, self.settings, self.device = source, output, settings, device
        self.progress, self.warn = progress, warn
        self.clock = Clock()
        self.cut: dict[str, Any] = {"crop": settings.source.crop, "resize": settings.source.resize}

    def run(self, force: bool, resume: bool, log_dir: str | Path | None, fps: Fraction | None) -> dict[str, Any]:
        started = time.perf_counter()
        self._enter("scan")
        with self.clock("scan"):
            info = video.scan(self.source, fps=fps, **self.cut)
        for warning in info.warnings:
            self.warn(warning)
        length = _segment_length(self.settings.source.segment, info)
        chosen = self.settings.teacher
        if chosen.clip != "off":
            self._enter("teacher")
        with self.clock("teacher"):
            teacher = load_teacher(chosen.clip, chosen.clip_model, chosen.clip_pretrained, self.device, warn=self.warn)  # type: ignore[arg-type]
        header = self._header(info, length, teacher)
        key = hashlib.sha256(repr((self.settings, header, info.digest)).encode()).hexdigest()

        coded: list[bytes] = []
        features: list[NDArray[np.float32]] = []
        facts: list[dict[str, Any]] = []
        with Job(self.output, key, resume, force) as job:
            with Log(log_dir) as log:
                for number, frames in enumerate(video.segments(self.source, length, **self.cut)):
                    if teacher is not None:
                        self._enter("teacher")
                        with self.clock("teacher"):
                            place = f"{number * length}+{len(frames)}"
                            features.append(teacher.features(frames, header.grid, info.digest, place))
                    done = job.finished(number)
                    if done is None:
                        wanted = features[-1] if features else None
                        done = self._segment(number, number * length, frames, wanted, header, job, log)
                        job.finish(number, *done)
                    coded.append(done[0])
                    facts.append(done[1])

            self._enter("check")
            data, quality, measured = self._check(header, info, coded, features, [f["integers"] for f in facts])
            with atomic_output(self.output, force) as temporary:
                temporary.write_bytes(data)
            job.remove()
        asked = target_bytes(self.settings, info.frames, info.height, info.width)
        if asked and abs(len(data) / asked - 1) > SIZE_TOLERANCE:
            self.warn(f"the file has {len(data):,} bytes where {round(asked):,} were asked for")
        self.clock.seconds["total"] = time.perf_counter() - started
        return self._report(info, header, data, quality, measured, facts)

    def _enter(self, phase: str) -> None:
        self.progress.phase(phase)

    def _header(self, info: video.SourceInfo, length: int, teacher: CLIPManager | None) -> Header:
        settings = self.settings
        grid = _fitting_grid(settings.source.grid, info.height, info.width, self.warn)
        size = target_bytes(settings, info.frames, info.height, info.width)
        geometry = Geometry(length, info.height, info.width, grid)
        clip_dim = teacher.identity.dim if teacher else 0
        try:
            spec = plan(settings, geometry, clip_dim, size and size * length / info.frames)
            model = blueprint(spec, geometry)
        except ValueError as error:
            raise EncodeError(str(error)) from error
        if settings.model.fc_hw and model.map != spec.fc_hw:
            (h, w), (fit_h, fit_w) = spec.fc_hw, model.map
            self.warn(
                f"fc_hw {h}_{w} makes maps larger than the {model.tile[0]}x{model.tile[1]} patch: they are resized "
                f"down to {fit_h}_{fit_w}; --fc-hw {fit_h}_{fit_w} fits, with fewer weights"
            )
        header = Header(
            frames=info.frames,
            height=info.height,
            width=info.width,
            fps=info.fps,
            time_base=info.time_base,
            grid=grid,
            architecture=spec.architecture(),
            encoder=f"nvcodec {installed('nvcodec')}",
            sar=info.sar,
            color=info.color,
            teacher=teacher.identity if teacher else None,
            split=settings.source.split,
        )
        _check_readable(header, model)  # now, not after hours of training
        return header

    def _segment(
        self,
        number: int,
        start: int,
        frames: NDArray[np.uint8],
        features: NDArray[np.float32] | None,
        header: Header,
        job: Job,
        log: Log,
    ) -> tuple[bytes, dict[str, Any]]:
        """Train and code one segment: its chunk's payload, and what the report wants to know."""
        geometry = Geometry(len(frames), header.height, header.width, header.grid)
        size = target_bytes(self.settings, header.frames, header.height, header.width)
        target = size and max(size * len(frames) / header.frames - FILE_OVERHEAD, 1.0)
        self._enter("train")
        watcher = _Watcher(self.progress, log, frames, features, self.settings, number, self.device)
        spec = parse_architecture(header.architecture)
        assert isinstance(spec, DualHeadSpec)
        parameters = sum(p.numel() for p in blueprint(spec, geometry).parameters())
        self.progress.segment(start, header.frames, len(frames), parameters)
        with self.clock("train"):
            try:
                fitted = fit(
                    spec,
                    geometry,
                    frames,
                    features,
                    self.settings,
                    self.device,
                    watcher,
                    target,
                    job.training(number),
                    self.warn,
                )
            except ValueError as error:
                raise EncodeError(str(error)) from error
        self._enter("code")
        with self.clock("code"):
            segment = Segment(start, len(frames), fitted.tensors)
            payload = write_segment(segment)
        return payload, {"integers": _fingerprint(segment), "parameters": parameters, **_training(fitted)}

    def _check(
        self,
        header: Header,
        info: video.SourceInfo,
        coded: list[bytes],
        features: list[NDArray[np.float32]],
        integers: list[str],
    ) -> tuple[bytes, Quality, Measured]:
        """Assemble the file, read it back, compare every integer, decode, measure; the file, quality filled in."""
        data = assemble(header, coded, info.timestamps, Quality())
        reader = NervReader(data, self.device)
        with self.clock("decode_symbols"):
            for number, expected in enumerate(integers):
                if _fingerprint(reader.file.segment(number)) != expected:
                    raise EncodeError(f"segment {number} does not decode to what was coded: nothing was written")
                reader.network(number)

        def decoded() -> Iterator[NDArray[np.uint8]]:
            batches = reader.frames()
            while True:
                with self.clock("decode"):
                    batch = next(batches, None)
                if batch is None:
                    return
                yield batch

        with self.clock("measure"):
            measured = measure(decoded(), video.frames(self.source, **self.cut), self.device)
        self.clock.seconds["measure"] -= self.clock.seconds["decode"]
        if features:
            with self.clock("decode_features"):
                found = reader.features()
            measured = Measured(measured.psnr, measured.ms_ssim, cosine(found, np.concatenate(features)))
        segment = reader.file.index[0].frames

        def mean(values: NDArray[np.float64] | None, part: str) -> float | None:
            return split_mean(values, header.split, part, segment)

        quality = Quality(
            psnr=mean(measured.psnr, "all"),
            ms_ssim=mean(measured.ms_ssim, "all"),
            clip_sim=mean(measured.clip_sim, "all"),
            train_psnr=mean(measured.psnr, "train"),
            val_psnr=mean(measured.psnr, "val"),
            train_clip_sim=mean(measured.clip_sim, "train"),
            val_clip_sim=mean(measured.clip_sim, "val"),
        )
        return assemble(header, coded, info.timestamps, quality), quality, measured

    def _report(
        self,
        info: video.SourceInfo,
        header: Header,
        data: bytes,
        quality: Quality,
        measured: Measured,
        facts: list[dict[str, Any]],
    ) -> dict[str, Any]:
        seconds = {k: round(v, 3) for k, v in self.clock.seconds.items()}
        trained = sum(f["frames_trained"] for f in facts)
        training = sum(f["seconds"] for f in facts)
        return {
            "source": Path(self.source).name,
            "frames": info.frames,
            "height": info.height,
            "width": info.width,
            "fps": float(info.fps),
            "bytes": len(data),
            "bpp": 8 * len(data) / (info.frames * info.height * info.width),
            **asdict(quality),
            "psnr_per_frame": [round(v, 4) for v in measured.psnr.tolist()],
            "bytes_by_part": NervReader(data, self.device).file.bytes_by_part(),
            "seconds": seconds,
            "segments": len(facts),
            "parameters": sum(f["parameters"] for f in facts),
            "epochs": max(f["epochs"] for f in facts),
            "train_fps": round(trained / max(training, 1e-9), 2),
            "decode_fps": round(info.frames / max(self.clock.seconds["decode"], 1e-9), 2),
            "grid": list(header.grid),
            "architecture": asdict(header.architecture),
            "teacher": asdict(header.teacher) if header.teacher else None,
            "device": str(self.device),
            "settings": asdict(self.settings),
            "versions": {
                "python": platform.python_version(),
                "torch": torch.__version__,
                "nvcodec": installed("nvcodec"),
            },
        }


class _Watcher:
    """Passes a training's progress on, and evaluates its snapshots."""

    def __init__(
        self,
        progress: Progress,
        log: Log,
        frames: NDArray[np.uint8],
        features: NDArray[np.float32] | None,
        settings: Settings,
        number: int,
        device: torch.device,
    ) -> None:
        self._progress, self._log, self._frames, self._features = progress, log, frames, features
        self._split, self._device = settings.source.split, device
        self._prefix = f"segment_{number}/" if number else ""

    def status(self, status: Status) -> None:
        self._progress.training(status)
        self._log.scalars({"batch_psnr": status.psnr, "estimated_bits": status.bits}, self._prefix, status.epoch)

    @torch.no_grad()
    def evaluate(self, epoch: int, model: DualHeadHNeRV) -> None:
        """Every frame, all patches, as a decoder would see them now."""
        numbers = torch.arange(len(self._frames), device=self._device).split(8)
        batches = (model.frames(t).cpu().numpy() for t in numbers)
        measured = measure(batches, iter(self._frames), self._device)
        similarity = None
        if self._features is not None:
            found = torch.cat([model.features(t) for t in numbers]).cpu().numpy()
            similarity = cosine(found, self._features)
        means = {
            name: split_mean(values, self._split, part, len(self._frames))
            for name, values, part in (
                ("train_psnr", measured.psnr, "train"),
                ("val_psnr", measured.psnr, "val"),
                ("ms_ssim", measured.ms_ssim, "all"),
                ("train_clip_sim", similarity, "train"),
                ("val_clip_sim", similarity, "val"),
            )
        }
        scores = {name: mean for name, mean in means.items() if mean is not None}
        self._progress.evaluated(epoch, scores)
        if self._log.active:
            self._log.scalars(scores, self._prefix, epoch)
            middle = len(self._frames) // 2
            shown = model.frames(torch.tensor([middle], device=self._device))[0].cpu().numpy()
            self._log.picture(shown, self._frames[middle], model.geometry.grid, self._prefix, epoch)


def _check_readable(header: Header, model: DualHeadHNeRV) -> None:
    """Raise EncodeError where no file can hold the header, or readers would refuse the file without higher limits."""
    try:
        write_header(header)
    except ValueError as error:
        raise EncodeError(f"no .nerv file can hold this: {error}") from error
    sizes = {
        "frames": header.frames,
        "height": header.height,
        "width": header.width,
        "values": sum(p.numel() for p in model.parameters()),
        "activations": model.spec.largest_map(model.geometry),
    }
    for name, size in sizes.items():
        if size > (limit := getattr(LIMITS, name)):
            raise EncodeError(
                f"{size:,} {name} are more than the {limit:,} that readers take: use smaller frames (--resize-list), "
                "shorter segments (--segment) or a narrower network (--fc-dim, --bpp)"
            )


def _training(fitted: Fitted) -> dict[str, Any]:
    return {"epochs": fitted.epochs, "frames_trained": fitted.frames, "seconds": fitted.seconds}


def _fingerprint(segment: Segment) -> str:
    """Stands for every integer of a segment."""
    digest = hashlib.sha256()
    for tensor in segment.tensors:
        digest.update(repr((tensor.part.name, tensor.values.shape)).encode())
        digest.update(tensor.values.astype("<i2").tobytes() + tensor.steps.astype(np.uint8).tobytes())
    return digest.hexdigest()


def _segment_length(asked: int | None, info: video.SourceInfo) -> int:
    """Frames per segment, all alike but for the last: a short rest would cost a network of its own."""
    most = asked or max(1, min(SEGMENT_FRAMES, SEGMENT_BYTES // (3 * info.height * info.width)))
    return min(asked, info.frames) if asked else -(-info.frames // -(-info.frames // most))


def _fitting_grid(grid: tuple[int, int], height: int, width: int, warn: Warn) -> tuple[int, int]:
    """The grid asked for, or the finest below it whose every patch holds pixels of the frame."""

    def fitting(count: int, side: int) -> int:
        return next(n for n in range(min(count, side), 0, -1) if (n - 1) * -(-side // n) < side)

    found = fitting(grid[0], height), fitting(grid[1], width)
    if found != grid:
        warn(
            f"a grid of {grid[0]}x{grid[1]} leaves patches of {height}x{width} frames empty: "
            f"using {found[0]}x{found[1]}"
        )
    return found
