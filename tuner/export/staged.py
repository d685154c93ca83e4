"""Several files that belong together, put into a folder at once: where one cannot be written, none is."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tuner.core.errors import TunerError


@contextmanager
def staged(folder: Path) -> Iterator[Path]:
    """A folder to write into in place of `folder`; at the end its files take their places there.

    Other files in `folder` stay. Files are renamed, not written into: a program may have an old one loaded.

    Args:
        folder: may exist.

    Raises:
        TunerError: nothing can be made there.
        OSError: a file cannot be written, and nothing in `folder` has changed; or it cannot be renamed.
    """
    folder = folder.absolute()
    # In it or beside it, so that both are on one file system, and where one may write.
    there = next(place for place in (folder, *folder.parents) if place.is_dir())
    fresh = there / f".{folder.name}.{os.getpid()}.new"
    shutil.rmtree(fresh, ignore_errors=True)
    try:
        if folder.exists() and not folder.is_dir():
            raise FileExistsError(errno.EEXIST, "it is a file, not a folder")
        fresh.mkdir()
    except OSError as error:  # said of what was asked for: `fresh` is a name of our own
        raise TunerError(
            f"folder {folder} cannot be written: {(error.strerror or str(error)).lower()}"
        ) from None
    try:
        yield fresh
        for file in sorted(path for path in fresh.rglob("*") if path.is_file()):
            place = folder / file.relative_to(fresh)
            place.parent.mkdir(parents=True, exist_ok=True)
            file.replace(place)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
