"""Several files that belong together, put into a folder at once: where one cannot be written, none is."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def staged(folder: Path) -> Iterator[Path]:
    """A folder to write into in place of `folder`; at the end its files take their places there.

    Other files in `folder` stay. Files are renamed, not written into: a program may have an old one loaded.

    Args:
        folder: may exist.

    Raises:
        OSError: a file cannot be written, and nothing in `folder` has changed; or it cannot be renamed.
    """
    folder = folder.absolute()
    # In it or beside it, so that both are on one file system, and where one may write.
    there = next(place for place in (folder, *folder.parents) if place.is_dir())
    fresh = there / f".{folder.name}.{os.getpid()}.new"
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir()
    try:
        yield fresh
        for file in sorted(path for path in fresh.rglob("*") if path.is_file()):
            place = folder / file.relative_to(fresh)
            place.parent.mkdir(parents=True, exist_ok=True)
            file.replace(place)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
