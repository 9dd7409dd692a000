"""What can be wrong with a .nerv file. Every failure to read one is a subclass of BitstreamError:

BitstreamError
├── NotANervFile            empty, or does not begin with the magic bytes
├── UnsupportedVersion      a format version that this reader does not know
├── TruncatedFile           the file ends before what it declares
├── TrailingBytes           bytes after the end chunk
├── UnknownRequiredChunk    a chunk that must be understood, of a type that this reader does not know
├── ChecksumMismatch        the CRC-32 of a chunk or segment does not fit its bytes
├── DigestMismatch          the digest in the end chunk does not fit the bytes before it
├── LimitExceeded           a declared size over a limit of the reader; nothing was allocated
├── MalformedChunk          checksum right, content wrong: field out of range, chunk missing, twice or out of order
└── MissingBase             frames are decoded with a base network that this reader does not have

Reading also raises OSError where the file itself cannot be read. Writing raises ValueError for a payload that has no
legal file.
"""

__all__ = [
    "BitstreamError",
    "ChecksumMismatch",
    "DigestMismatch",
    "LimitExceeded",
    "MalformedChunk",
    "MissingBase",
    "NotANervFile",
    "TrailingBytes",
    "TruncatedFile",
    "UnknownRequiredChunk",
    "UnsupportedVersion",
]


class BitstreamError(Exception):
    """Base of everything that can be wrong with a .nerv file."""


class NotANervFile(BitstreamError):
    """The file is empty or does not begin with the magic bytes."""


class UnsupportedVersion(BitstreamError):
    """The file has a format version that this reader does not know."""


class TruncatedFile(BitstreamError):
    """The file ends before what it declares."""


class TrailingBytes(BitstreamError):
    """There are bytes after the end chunk."""


class UnknownRequiredChunk(BitstreamError):
    """A chunk that must be understood has a type that this reader does not know."""


class ChecksumMismatch(BitstreamError):
    """The CRC-32 of a chunk or segment does not fit its bytes."""


class DigestMismatch(BitstreamError):
    """The digest in the end chunk does not fit the bytes before it."""


class LimitExceeded(BitstreamError):
    """The file declares a size over a limit of the reader; nothing was allocated for it."""


class MalformedChunk(BitstreamError):
    """A chunk whose checksum is right has illegal content, is missing, appears twice or stands out of order."""


class MissingBase(BitstreamError):
    """Frames are decoded with a base network that this reader does not have. Raised by who knows which are there."""
