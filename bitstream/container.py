"""The frame of a file: magic bytes and version, then chunks of type, length, payload and CRC-32."""

import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from bitstream.errors import ChecksumMismatch, MalformedChunk, NotANervFile, TruncatedFile, UnsupportedVersion

__all__ = [
    "MAGIC",
    "PREAMBLE",
    "VERSION",
    "Chunk",
    "Origin",
    "Source",
    "check_crc",
    "check_preamble",
    "chunk_at",
    "find",
    "is_required",
    "payload_of",
    "read_payload",
    "write_chunk",
]

# A byte above 127 shows a 7-bit channel, CR LF and the lone LF show converted line ends.
MAGIC: Final = b"\x8eNERV\r\n\n"
VERSION: Final = 1
PREAMBLE: Final = MAGIC + bytes([VERSION])

_HEAD = struct.Struct("<4sI")  # type, payload length
_CRC = struct.Struct("<I")
_BLOCK: Final = 2**20  # bytes read at a time where a payload need not be held

Origin = bytes | str | os.PathLike[str]


class Source:
    """Random access to a file's bytes, in memory or by path.

    A path is opened anew for each read, so that a reader holds no handle and can be pickled and shared by processes.
    """

    def __init__(self, origin: Origin) -> None:
        self._origin: bytes | Path = origin if isinstance(origin, bytes) else Path(origin)
        self.size = len(origin) if isinstance(origin, bytes) else Path(origin).stat().st_size  # bytes

    def read(self, offset: int, length: int) -> bytes:
        """Exactly `length` bytes from `offset`. Raises TruncatedFile where the file ends before."""
        if offset + length > self.size:
            raise TruncatedFile(f"the file ends at byte {self.size}, {offset + length - self.size} bytes too early")
        if isinstance(self._origin, bytes):
            return self._origin[offset : offset + length]
        with self._origin.open("rb") as file:
            file.seek(offset)
            data = file.read(length)
        if len(data) < length:
            raise TruncatedFile(f"the file lost bytes while it was read: {len(data)} of {length} came")
        return data

    def blocks(self, start: int, end: int) -> Iterator[bytes]:
        """The bytes start..end in blocks, so that memory stays bounded."""
        for offset in range(start, end, _BLOCK):
            yield self.read(offset, min(_BLOCK, end - offset))


@dataclass(frozen=True)
class Chunk:
    """Where a chunk lies in its file."""

    type: bytes  # four ASCII letters
    offset: int  # of its first byte
    length: int  # of its payload, bytes
    name: str = field(default="", compare=False)  # what errors call it, beside type and offset

    @property
    def end(self) -> int:
        """The offset of the first byte after it."""
        return self.offset + _HEAD.size + self.length + _CRC.size

    def __str__(self) -> str:
        chunk = f"chunk {self.type.decode('ascii', 'backslashreplace')} at byte {self.offset}"
        return f"{self.name} ({chunk})" if self.name else chunk


def write_chunk(kind: bytes, payload: bytes) -> bytes:
    """A whole chunk. Raises ValueError for a payload of 4 GiB or more."""
    if len(payload) >= 2**32:
        raise ValueError(f"chunk {kind.decode()} would hold {len(payload)} bytes, 4 GiB or more: use shorter segments")
    body = _HEAD.pack(kind, len(payload)) + payload
    return body + _CRC.pack(zlib.crc32(body))


def chunk_at(source: Source, offset: int) -> Chunk:
    """The chunk at `offset`, from its type and length. Raises TruncatedFile where it does not fit the file."""
    kind, length = _HEAD.unpack(source.read(offset, _HEAD.size))
    chunk = Chunk(kind, offset, length)
    if chunk.end > source.size:
        missing = chunk.end - source.size
        raise TruncatedFile(f"{chunk} declares {length} bytes, but the file ends {missing} bytes before its end")
    if not (kind.isalpha() and kind.isascii()):
        raise MalformedChunk(f"{chunk}: the type is not four letters")
    return chunk


def is_required(chunk: Chunk) -> bool:
    """Whether a reader that does not know the chunk must refuse the file: an upper-case first letter."""
    return chunk.type[:1].isupper()


def check_crc(source: Source, chunk: Chunk) -> None:
    """Raise ChecksumMismatch where the CRC-32 does not fit type, length and payload. Memory is bounded by a block."""
    crc = 0
    for block in source.blocks(chunk.offset, chunk.end - _CRC.size):
        crc = zlib.crc32(block, crc)
    _compare_crc(chunk, crc, source.read(chunk.end - _CRC.size, _CRC.size))


def payload_of(chunk: Chunk) -> range:
    """The bytes of the file that are its payload."""
    return range(chunk.offset + _HEAD.size, chunk.end - _CRC.size)


def read_payload(source: Source, chunk: Chunk) -> bytes:
    """The payload. Raises ChecksumMismatch."""
    body = source.read(chunk.offset, chunk.end - chunk.offset)
    _compare_crc(chunk, zlib.crc32(memoryview(body)[: -_CRC.size]), body[-_CRC.size :])
    return body[_HEAD.size : -_CRC.size]


def _compare_crc(chunk: Chunk, computed: int, stored: bytes) -> None:
    if _CRC.pack(computed) != stored:
        raise ChecksumMismatch(
            f"{chunk} is damaged: its CRC-32 is {computed:08x}, the file says {_CRC.unpack(stored)[0]:08x}"
        )


def check_preamble(source: Source) -> None:
    """Check magic bytes and version. Raises NotANervFile, TruncatedFile and UnsupportedVersion."""
    start = source.read(0, min(len(PREAMBLE), source.size))
    if not start:
        raise NotANervFile("the file is empty")
    if not start.startswith(MAGIC[: len(start)]):
        if start.startswith(MAGIC[:5]) or b"NERV" in start:
            raise NotANervFile("the magic bytes are damaged, as by a transfer in text mode: copy the file as binary")
        raise NotANervFile(f"this is not a .nerv file: it begins with {start.hex(' ')}")
    if len(start) < len(PREAMBLE):
        raise TruncatedFile(f"the file ends after {len(start)} bytes, before its version")
    if start[-1] != VERSION:
        raise UnsupportedVersion(
            f"the file has format version {start[-1]}, this reader knows version {VERSION}: "
            "decode it with a newer version of the program"
        )


def find(source: Source, pattern: bytes, start: int) -> int:
    """The offset of the first `pattern` at or after `start`, or -1."""
    while start < source.size:
        block = source.read(start, min(_BLOCK, source.size - start))
        found = block.find(pattern)
        if found >= 0:
            return start + found
        if start + len(block) == source.size:
            return -1
        start += len(block) - len(pattern) + 1
    return -1
