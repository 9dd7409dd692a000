"""The reader under a coverage-guided fuzzer: `python -m benchmarks.fuzz_atheris [CORPUS] [options of libFuzzer]`.

Needs `pip install atheris`. Files are mutated chunk by chunk behind right checksums, where there are chunks.
"""

from __future__ import annotations

import struct
import sys

import atheris

with atheris.instrument_imports(include=["bitstream", "codec"]):
    from benchmarks.fuzz import read_file
    from benchmarks.wild import file, join, split


def mutated(data: bytes, most: int, seed: int) -> bytes:
    """A file with one chunk's payload mutated; what has no chunks starts from a file that is right."""
    try:
        chunks = split(data)
        place = seed % len(chunks)
    except (struct.error, ZeroDivisionError):
        return file("right", seed)[:most]
    kind, payload = chunks[place]
    chunks[place] = (kind, atheris.Mutate(payload, most))
    return join(chunks)[:most]


if __name__ == "__main__":
    atheris.Setup(sys.argv, read_file, custom_mutator=mutated)
    atheris.Fuzz()
