"""What a file will hold, before any of it is trained: settings and a source -> segments, network and header."""

from __future__ import annotations

from importlib import import_module

from bitstream import Header, Limits, Quality, Segment, Teacher, assemble, write_segment
from bitstream.header import divides, write_header
from codec import video
from codec.encoding.plan import FILE_OVERHEAD, target_bytes
from codec.errors import EncodeError
from codec.kinds import kind_for
from codec.settings import Settings
from codec.specs import Geometry, NetworkSpec
from codec.training.task import Warn
from codec.versions import installed

SEGMENT_FRAMES = 300  # in one network, where nothing is asked
SEGMENT_BYTES = 2**31  # of raw frames in one network, likewise
LIMITS = Limits()  # of readers that were not told to take more


def plan_header(
    settings: Settings, info: video.SourceInfo, length: int, teacher: Teacher | None, warn: Warn
) -> tuple[Header, NetworkSpec]:
    """The header of a file with segments of `length` frames, and the network that it describes.

    Raises EncodeError where the settings describe no network for this source, or one that no file or reader takes.
    """
    grid = fitting_grid(settings.source.grid, info.height, info.width, warn)
    geometry = Geometry(length, info.height, info.width, grid)
    kind = kind_for(settings.model)
    clip_dim = teacher.dim if teacher else 0
    size = target_bytes(settings, info.frames, info.height, info.width)
    try:
        spec: NetworkSpec = import_module(kind.coder).plan(
            settings, geometry, clip_dim, size and max(size - FILE_OVERHEAD, 1) * length / info.frames, warn
        )
        values: int = import_module(kind.network).stored_values(spec, geometry)
    except ValueError as error:
        raise EncodeError(str(error)) from error
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
        teacher=teacher,
        split=settings.source.split,
        base=spec.base,
    )
    _check_readable(header, spec, geometry, values)  # now, not after hours of training
    return header, spec


def _check_readable(header: Header, spec: NetworkSpec, geometry: Geometry, values: int) -> None:
    """Raise EncodeError where no file can hold the header, or readers would refuse the file without higher limits."""
    try:
        write_header(header)
    except ValueError as error:
        raise EncodeError(f"no .nerv file can hold this: {error}") from error
    sizes = {
        "frames": header.frames,
        "height": header.height,
        "width": header.width,
        "values": values,
        "coordinates": header.frames * geometry.patches,
        "activations": spec.largest_map(geometry),
    }
    for name, size in sizes.items():
        if size > (limit := getattr(LIMITS, name)):
            raise EncodeError(
                f"{size:,} {name} are more than the {limit:,} that readers take: use smaller frames (--resize-list), "
                "shorter segments (--segment) or a narrower network (--fc-dim, --bpp)"
            )


def overhead(header: Header, length: int, timestamps: tuple[int, ...] | None) -> int:
    """Bytes of a file beside the payloads of its segments of `length` frames, at most."""
    starts = range(0, header.frames, length)
    empty = [write_segment(Segment(t, min(length, header.frames - t), ())) for t in starts]
    longer_index = 4 * len(empty)  # a length in it takes 5 bytes at most
    return len(assemble(header, empty, timestamps, Quality())) - sum(map(len, empty)) + longer_index


def segment_length(asked: int | None, info: video.SourceInfo) -> int:
    """Frames per segment, all alike but for the last: a short rest would cost a network of its own."""
    most = asked or max(1, min(SEGMENT_FRAMES, SEGMENT_BYTES // (3 * info.height * info.width)))
    return min(asked, info.frames) if asked else -(-info.frames // -(-info.frames // most))


def fitting_grid(grid: tuple[int, int], height: int, width: int, warn: Warn) -> tuple[int, int]:
    """The grid asked for, or the finest below it whose every patch holds pixels of the frame."""

    def fitting(count: int, side: int) -> int:
        return next(n for n in range(min(count, side), 0, -1) if divides(side, n))

    found = fitting(grid[0], height), fitting(grid[1], width)
    if found != grid:
        warn(
            f"a grid of {grid[0]}x{grid[1]} leaves patches of {height}x{width} frames empty: "
            f"using {found[0]}x{found[1]}"
        )
    return found
