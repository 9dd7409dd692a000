"""Results as plain rows: one measured point each, appended to rows.jsonl (the record) and rows.tsv (for people).

A row that stands is never measured again, so an interrupted run goes on where it was, and a new codec is
added without redoing the rest. A row that failed does not stand: the next run tries it again.
"""

from __future__ import annotations

import dataclasses
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple


class Key(NamedTuple):
    """What makes two measurements the same one."""

    clip_hash: str
    codec: str
    settings: str
    version: str
    teacher: str | None


@dataclass(frozen=True)
class Row:
    """One codec at one setting on one clip. None: not measured, or not defined for that codec."""

    clip: str
    clip_hash: str  # first 16 hex digits of SHA-256 over the RGB frames
    frames: int
    height: int
    width: int
    codec: str
    settings: str  # words of name=value; the first sets the rate
    version: str  # of the encoder
    bytes: int | None = None  # the whole file on disk
    bpp: float | None = None  # 8 * bytes / (frames * height * width)
    psnr: float | None = None  # dB, RGB, mean over frames
    ms_ssim: float | None = None  # 0..1, RGB, mean over frames
    vmaf: float | None = None  # 0..100, mean over frames
    clip_sim: float | None = None  # cosine of the features in the file with the teacher's, mean
    clip_sim_decoded: float | None = None  # cosine of the teacher's features of the decoded frames, mean
    encode_seconds: float | None = None  # wall, whole process
    encode_mib: float | None = None  # peak resident memory
    decode_seconds: float | None = None  # wall, whole process, frames thrown away
    decode_mib: float | None = None
    first_frame_seconds: float | None = None  # wall, whole process that decodes the first frame only
    epochs: int | None = None  # trained, as the encoder reports
    epochs_wanted: int | None = None  # by its preset, had the budget allowed
    bytes_by: dict[str, dict[str, int]] | None = None  # {"part": {...}, ...}, as the encoder reports
    container: str = ""  # what `bytes` counts
    teacher: str | None = None
    encode_command: str = ""
    decode_command: str = ""
    commit: str = ""  # of this repository
    machine: str = ""
    measured_at: str = ""  # UTC, ISO 8601
    note: str = ""
    error: str = ""  # why there are no figures

    @property
    def key(self) -> Key:
        return Key(self.clip_hash, self.codec, self.settings, self.version, self.teacher)

    @property
    def budget(self) -> str:
        """The settings but the first, which sets the rate: what all points of a curve must share."""
        return self.settings.partition(" ")[2]

    @property
    def encode_seconds_per_frame(self) -> float | None:
        return None if self.encode_seconds is None else self.encode_seconds / self.frames

    @property
    def decode_fps(self) -> float | None:
        """Frames a second after the first one, so that the start of a process does not count; None for one frame."""
        if self.decode_seconds is None or self.first_frame_seconds is None:
            return None
        seconds = self.decode_seconds - self.first_frame_seconds
        return (self.frames - 1) / seconds if seconds > 0 and self.frames > 1 else None


_COLUMNS = [field.name for field in dataclasses.fields(Row)]


class RowFile:
    """The rows of one folder: loaded at start, appended to and flushed to disk one by one."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._jsonl = folder / "rows.jsonl"
        self._tsv = folder / "rows.tsv"
        if self._jsonl.exists():
            _cut_torn_line(self._jsonl)
        self.rows = load(folder)
        text = "".join(_tsv_line(row) for row in self.rows)
        self._tsv.write_text("\t".join(_COLUMNS) + "\n" + text, encoding="utf-8")

    def stands(self, key: Key) -> bool:
        """Whether the point was measured already, without an error."""
        return any(row.key == key and not row.error for row in self.rows)

    def append(self, row: Row) -> None:
        _append(self._jsonl, json.dumps(dataclasses.asdict(row), ensure_ascii=False) + "\n")
        _append(self._tsv, _tsv_line(row))
        self.rows.append(row)


def load(folder: Path) -> list[Row]:
    """Rows of `folder`/rows.jsonl in the order of measuring; a last line torn by a kill is left out.

    Raises ValueError that names the line where one cannot be read.
    """
    path = folder / "rows.jsonl"
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").split("\n")[:-1]  # what follows the last newline is torn or empty
    rows = []
    for number, line in enumerate(lines, start=1):
        try:
            rows.append(Row(**json.loads(line)))
        except (TypeError, ValueError) as error:
            raise ValueError(f"{path}:{number} is no result row ({error}); mend or remove that line") from error
    return rows


def latest(rows: list[Row]) -> list[Row]:
    """What plots and tables show: the last good row of each point, of the budget its curve was last measured at."""
    good = [row for row in rows if not row.error]
    budgets = {(row.clip_hash, row.codec): row.budget for row in good}
    points = {(row.clip_hash, row.codec, row.settings): row for row in good}
    return [row for row in points.values() if row.budget == budgets[row.clip_hash, row.codec]]


def failures(rows: list[Row]) -> list[Row]:
    """Rows that failed, and whose point no later row of the same codec and setting has measured."""
    good = {(row.clip_hash, row.codec, row.settings) for row in rows if not row.error}
    last = {(row.clip_hash, row.codec, row.settings): row for row in rows if row.error}
    return [row for point, row in last.items() if point not in good]


def _tsv_line(row: Row) -> str:
    values = dataclasses.asdict(row).values()
    return "\t".join("" if value is None else " ".join(str(value).split()) for value in values) + "\n"


def _append(path: Path, line: str) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(line)
        file.flush()
        os.fsync(file.fileno())


def _cut_torn_line(path: Path) -> None:
    data = path.read_bytes()
    whole = data.rfind(b"\n") + 1
    if whole < len(data):
        with path.open("r+b") as file:
            file.truncate(whole)
