"""Upper bounds on what a file may ask of its reader, checked before memory is allocated."""

from dataclasses import dataclass
from typing import Final

from bitstream.errors import LimitExceeded

__all__ = ["DEFAULT_LIMITS", "FREE_FRAMES", "FREE_VALUES", "OPERATIONS_A_BYTE", "Limits"]

# Zeros can take next to no room: a small file must not declare more of them than are decoded in a moment.
FREE_VALUES: Final = 2**20
FREE_FRAMES: Final = 2**15  # likewise coded frames that repeat others, of one segment

# A small file must not keep its reader busy; a large one may: its weights are there to be used. The preset `reference`
# takes 26,000 multiplications for each of its 77 million weights, most of them a few bits.
OPERATIONS_A_BYTE: Final = 2**22


@dataclass(frozen=True)
class Limits:
    """The most that a reader accepts. Raise one with, for example, ``Limits(frames=10**8)``."""

    file_bytes: int = 2**34  # bytes of the whole file
    chunk_bytes: int = 2**28  # bytes of one chunk, or part of one, that is held in memory
    frames: int = 2**24  # 194 hours at 24 frames/s
    segment_frames: int = 2**18  # coded frames of one segment, 3 hours; their table takes half a kilobyte each
    frame_density: int = 2**6  # of these frames for each byte of their segment, over FREE_FRAMES in all
    height: int = 2**14  # pixels
    width: int = 2**14  # pixels
    tensors: int = 2**12  # per segment
    values: int = 2**27  # integers in all tensors of one segment; decoding takes up to 16 bytes each
    density: int = 2**10  # of these values for each byte that they are coded in, over FREE_VALUES in all
    coordinates: int = 2**26  # patches of all frames
    activations: int = 2**29  # values in the largest map that a decoder computes at once; for the network to check
    operations: int = 2**36  # multiplications to decode a frame, over OPERATIONS_A_BYTE for each of the file; likewise

    def check(self, name: str, declared: int) -> None:
        """Raise LimitExceeded where `declared` is over the limit called `name`."""
        limit = getattr(self, name)
        if declared > limit:
            raise LimitExceeded(
                f"the file declares {name} = {declared}, over the limit of {limit}; "
                f"if you trust it, raise the limit: --limit {name}={declared}, or Limits({name}={declared})"
            )


DEFAULT_LIMITS: Final = Limits()
