"""Payload <-> bytes: the .nerv file format, on numpy and constriction alone. FORMAT.md is the normative page."""

from bitstream.container import VERSION
from bitstream.entropy import Decoder, Encoder, best_rows, code_length
from bitstream.errors import (
    BitstreamError,
    ChecksumMismatch,
    DigestMismatch,
    LimitExceeded,
    MalformedChunk,
    MissingBase,
    NotANervFile,
    TrailingBytes,
    TruncatedFile,
    UnknownRequiredChunk,
    UnsupportedVersion,
)
from bitstream.file import FileReader, Nerv, SegmentEntry, Verification, assemble, read, verify, write
from bitstream.frame_table import MAX_DEPTH, QUALITIES, CodedFrame
from bitstream.frames import FrameSegment, chain, write_frames
from bitstream.header import Architecture, Color, Header, Predictive, Quality, Teacher
from bitstream.limits import OPERATIONS_A_BYTE, Limits
from bitstream.segment import Part, QuantizedTensor, Segment, read_segment, write_segment
from bitstream.tables import FLAGS, MAX_VALUE, PEAKED, RANKS, STEPS, bit_costs, frequencies, nearest_step_index, step

__all__ = [
    "FLAGS",
    "MAX_DEPTH",
    "MAX_VALUE",
    "OPERATIONS_A_BYTE",
    "PEAKED",
    "QUALITIES",
    "RANKS",
    "STEPS",
    "VERSION",
    "Architecture",
    "BitstreamError",
    "ChecksumMismatch",
    "CodedFrame",
    "Color",
    "Decoder",
    "DigestMismatch",
    "Encoder",
    "FileReader",
    "FrameSegment",
    "Header",
    "LimitExceeded",
    "Limits",
    "MalformedChunk",
    "MissingBase",
    "Nerv",
    "NotANervFile",
    "Part",
    "Predictive",
    "Quality",
    "QuantizedTensor",
    "Segment",
    "SegmentEntry",
    "Teacher",
    "TrailingBytes",
    "TruncatedFile",
    "UnknownRequiredChunk",
    "UnsupportedVersion",
    "Verification",
    "assemble",
    "best_rows",
    "bit_costs",
    "chain",
    "code_length",
    "frequencies",
    "nearest_step_index",
    "read",
    "read_segment",
    "step",
    "verify",
    "write",
    "write_frames",
    "write_segment",
]
