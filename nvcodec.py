"""The program, `nvcodec` or `python -m nvcodec`, and what `from nvcodec import ...` offers: the names of codec.

The program is what a command line needs of its process, then the command line. It comes before anything else is
imported, so that an interrupt ends it with 130 and no traceback from its first moment on, and so that closed or full
standard streams are errors like any other. Installed, this is the package that holds all the others (setup.py).
"""

import os
import signal
import sys
from types import FrameType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from codec import PRESETS, NervDataset, NervReader, decode, encode, estimate, register_imageio

__all__ = ["PRESETS", "NervDataset", "NervReader", "decode", "encode", "estimate", "main", "register_imageio"]


def main() -> None:
    """Run the command line of this process; exits with its code."""
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # as under nohup
        signal.signal(signal.SIGINT, _stop)
    _open_standard_streams()
    # numpy's products are small here: threads gain nothing, and while they wait they take the time of other programs
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    import cli

    try:
        cli.main(prog_name="nvcodec")
    except OSError as error:  # files are the commands' own business: what is left are the standard streams
        _give_up_stdout()
        print(f"Error: cannot write to standard output: {error.strerror or error}", file=sys.stderr)
        sys.exit(1)


def _stop(number: int, frame: FrameType | None) -> None:
    """Before and after a command there is nothing to clean up, and half-imported modules must not see an exception."""
    os.write(2, b"interrupted\n")
    os._exit(130)


def _open_standard_streams() -> None:
    """Take the places of closed streams, or the next files opened would: a warning would end up in a video.

    What is printed to a closed standard output fails, as it should; what is printed to standard error is lost. File
    names that are not in the encoding of the streams are printed byte for byte.
    """
    for number, name, flags in ((0, "stdin", os.O_WRONLY), (1, "stdout", os.O_RDONLY), (2, "stderr", os.O_WRONLY)):
        if getattr(sys, name) is None:
            os.open(os.devnull, flags)  # gets the lowest number that is free, which is this one
            if number:
                setattr(sys, name, open(number, "w", closefd=False))  # noqa: SIM115 (for the whole process)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="surrogateescape")  # type: ignore[union-attr]


def _give_up_stdout() -> None:
    """What is left in the buffer must go somewhere, or closing standard output at the end fails again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    import codec

    return getattr(codec, name)


if __name__ == "__main__":
    main()
