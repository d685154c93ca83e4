"""Standard output that is closed, full or no longer read: said once, not again at the end."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tuner.core.errors import TunerError


def standing() -> None:
    """Makes sure that descriptors 0 to 2 are taken: the next file to be opened would get what is printed."""
    for number, flags in ((0, os.O_RDONLY), (1, os.O_WRONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, flags)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123, SIM115


@contextmanager
def settled() -> Iterator[None]:
    """Writes out what was printed before it is left.

    Raises:
        BrokenPipeError: nobody reads any more.
        TunerError: it cannot be written.
    """
    standing_out = sys.stdout, sys.stderr
    try:
        try:
            yield
        except SystemExit:
            if sys.stdout is standing_out[0]:
                raise
            # The option parser met the broken pipe, wrapped both streams and would exit with 1.
            sys.stdout, sys.stderr = standing_out
            raise BrokenPipeError from None
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        _drop()
        raise
    except OSError as error:
        if not _is_output(error):
            raise
        _drop()
        raise TunerError(
            f"standard output cannot be written: {(error.strerror or str(error)).lower()}"
        ) from None


def _is_output(error: OSError) -> bool:
    """Whether an error without a file's name is of standard output: writing an empty line there fails too."""
    if error.filename is not None:
        return False
    try:
        os.write(sys.stdout.fileno(), b"\n")
        return False
    except OSError:
        return True


def _drop() -> None:
    """What is still in the buffer goes nowhere, so that the interpreter's end does not fail on it."""
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, sys.stdout.fileno())
    os.close(silent)
