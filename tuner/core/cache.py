"""Where compiled things are kept between runs: folders that are whole, or made anew."""

import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tuner.core.digest import digest_files
from tuner.core.errors import Unavailable
from tuner.core.private_folder import closed_to_others, require_private

_MANIFEST = "manifest.json"
# Of larger files only the size is checked: a precompiled header of 50 MB takes longer to read than it saves.
# Files that are loaded are read whatever their size.
_READ_BYTES = 4 * 2**20
_LOADED = (".so", ".cubin")
_OWN = "set TUNER_CACHE to a folder of your own"


def cache_folder() -> Path:
    """`$TUNER_CACHE`, else `~/.cache/kernel-tuner-lab`; it need not exist.

    Raises:
        Unavailable: there is neither the variable nor a home folder; or the folder belongs to somebody else,
            or others may write to it: what it holds is run.
    """
    chosen = os.environ.get("TUNER_CACHE")
    try:
        folder = Path(chosen) if chosen else Path.home() / ".cache" / "kernel-tuner-lab"
    except RuntimeError:
        raise Unavailable("no home folder for the cache of compiled files: set TUNER_CACHE") from None
    return require_private(folder, _OWN)


def entry(place: Path, fill: Callable[[Path], None]) -> Path:
    """A folder of the cache, whole: `place`, filled where it is missing or damaged.

    An entry has a manifest of its files' sizes and digests, written last. Two processes may fill the same
    one at once: each fills a folder of its own, and the first to finish puts it in place. What is whole is
    never taken away, so a path inside stays good for whoever has it.

    Args:
        place: where the entry belongs; its parent is made where it is missing.
        fill: writes the entry's files into the empty folder that it is given; what it raises passes through.

    Raises:
        Unavailable: the folder cannot be written, or others may write to it; names `TUNER_CACHE`.
    """
    if is_whole(closed_to_others(place.parent, _OWN) / place.name):
        return place
    with _said(place.parent):
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(dir=place.parent, prefix=f".{place.name}."))
    try:
        fill(partial)
        with _said(place.parent):
            _write_manifest(partial)
            _put(partial, place)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return place


def is_whole(place: Path) -> bool:
    """Whether a folder of the cache has all files of its manifest, each with the size and content it got."""
    try:
        files = json.loads((place / _MANIFEST).read_bytes())["files"]
        return bool(files) and all(_facts(place / name) == facts for name, facts in files.items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return False


def newest(parent: Path, prefix: str) -> Path | None:
    """The whole entry made last among those whose names begin so; `None` where there is none.

    Raises:
        Unavailable: others may write to the folder.
    """
    found = []
    closed_to_others(parent, _OWN)
    for place in parent.glob(f"{prefix}*"):
        try:
            found.append((place.stat().st_mtime_ns, place))
        except OSError:
            continue
    return next((place for _, place in sorted(found, reverse=True) if is_whole(place)), None)


def _facts(path: Path) -> list[int | str]:
    size = path.stat().st_size
    read = size <= _READ_BYTES or path.suffix in _LOADED
    return [size, digest_files([path]) if read else ""]


def _write_manifest(folder: Path) -> None:
    paths = (path for path in sorted(folder.rglob("*")) if path.is_file())
    files = {str(path.relative_to(folder)): _facts(path) for path in paths}
    (folder / _MANIFEST).write_text(json.dumps({"files": files}))


def _put(partial: Path, place: Path) -> None:
    with _locked(place.parent):
        if is_whole(place):
            return  # another process was first
        if place.is_dir() and not place.is_symlink():
            shutil.rmtree(place)
        else:
            place.unlink(missing_ok=True)
        partial.rename(place)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One process at a time looks whether an entry is damaged and replaces it: milliseconds."""
    descriptor = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except OSError:
            pass  # a file system without locks: two processes may then replace one damaged entry at once
        yield
    finally:
        # Unlocked by name: a process that another thread forked meanwhile would keep a closed one's lock.
        try:
            fcntl.flock(descriptor, fcntl.LOCK_UN)
        except OSError:
            pass
        os.close(descriptor)


@contextmanager
def _said(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise Unavailable(
            f"the cache folder {folder} cannot be written ({reason}): set TUNER_CACHE to one that can"
        ) from None
