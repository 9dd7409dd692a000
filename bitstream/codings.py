"""How the integers of a tensor are coded: every coding by its number, which the tensor's record holds.

Another coding is a module with a class like these and a line in `CODINGS`. What a training estimates (`bits`) and what
the coder writes (`put`) stand side by side and use the same tables.
"""

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from bitstream.channel_rows import ChannelRows
from bitstream.entropy import Decoder, Encoder
from bitstream.fields import Cursor

__all__ = ["CODINGS", "Coding"]


class Coding(Protocol):
    """One way of coding a tensor. A *side* is what its reader must know before the stream: the fields of the record."""

    def put(self, encoder: Encoder, values: NDArray[np.int16], steps: NDArray[np.uint8]) -> Any:
        """Append values [C, ...] and step indices [C] or [1] to a stream; the side."""

    def get(
        self, decoder: Decoder, side: Any, shape: tuple[int, ...], where: str
    ) -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
        """Inverse of `put`: values and step indices. Raises MalformedChunk."""

    def bits(self, values: NDArray[np.int16], steps: NDArray[np.uint8]) -> float:
        """What `put` appends and the side takes, in bits."""

    def write_side(self, side: Any) -> tuple[int, bytes]:
        """Three bits 0..7 for the record's flags, and the bytes after the shape."""

    def read_side(self, cursor: Cursor, flags: int, shape: tuple[int, ...]) -> Any:
        """Inverse of `write_side`. Raises ValueError."""


CODINGS: dict[int, Coding] = {0: ChannelRows()}
