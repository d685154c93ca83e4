"""The end of a file that another process prints into."""

from pathlib import Path


def text_tail(path: Path, size: int) -> str:
    """The last `size` bytes as text, unprintable ones replaced; empty where the file cannot be read."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - size))
            return file.read(size).decode("utf-8", "replace")
    except OSError:
        return ""
