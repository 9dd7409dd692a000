"""What can go wrong between a video and a .nerv file, each with a message that says what to do next.

CodecError
├── VideoError       a source cannot be read, or not in the way asked
├── OutputError      a result cannot be written where asked
├── TeacherError     the CLIP teacher or its weights cannot be had
├── DeviceError      the device asked for is not there
├── BaseError        a base network, or what one is trained on, is missing or damaged
├── EncodeError      settings do not fit the source, or what was coded does not decode to itself
├── CheckpointError  what an interrupted encode left cannot be gone on from
└── DecodeError      a file does not hold what was asked for

The errors of a .nerv file itself are those of bitstream/errors.py.
"""


class CodecError(Exception):
    """Base of the errors a user can mend; the command line shows the message and exits with 1."""


class VideoError(CodecError):
    """A source is missing, damaged or no video, or does not hold what was asked of it."""


class OutputError(CodecError):
    """An output exists already, or cannot be written."""


class TeacherError(CodecError):
    """The CLIP teacher, or weights for it, cannot be had."""


class DeviceError(CodecError):
    """The device asked for is not there."""


class BaseError(CodecError):
    """A base network, or what one is trained on, is missing, damaged or of another shape."""


class EncodeError(CodecError):
    """The settings do not fit the source, or what was coded did not come back as it was."""


class CheckpointError(CodecError):
    """A checkpoint cannot be used."""


class DecodeError(CodecError):
    """The file does not hold what was asked for."""
