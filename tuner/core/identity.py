"""What makes two versions of a kernel the same one: what is compiled, not the words about it.

Of C++ and CUDA: all files of ours without comments and blank space (`stripped`), and the declaration at the
head of the first, without `summary`, `accuracy` and the parameters' `doc`. Of Python: the files without
comments, blank lines, docstrings and `summary`. Anything else counts to the last byte, and so do all C++
files of a kernel of which one mentions the number of a line (`__LINE__`, `assert`): there a comment more is
compiled to something else.

Before, files counted as they stood. So that trials which were stored under such digests are still found, each
kernel that is what it was then keeps the digest it had: `earlier_digests.json` has them by what they would be
now. The file was written once; a kernel that changes is no longer in it, and new ones never are.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from tuner.core.digest import digest, digest_contents
from tuner.core.stripped import stripped_cxx, stripped_python

_EARLIER = Path(__file__).with_name("earlier_digests.json")
_CXX = frozenset(
    (".h", ".hh", ".hpp", ".hxx", ".h++", ".cuh", ".inc", ".inl", ".ipp", ".tpp", ".tcc", ".def", ".c", ".cc",
     ".cpp", ".cxx", ".cu")
)  # fmt: skip
# What people read, what is taken apart by `_meant`, and what is there in full where it was used.
_NOT_MEANT = frozenset(("summary", "accuracy", "parameters", "use"))
_LINES = re.compile(r"__LINE__|__builtin_LINE|source_location|\bassert\b")
File = tuple[Path, bytes]
"""A source file and what is in it."""


def read(paths: Sequence[Path]) -> list[File]:
    """The files as they are now; raises `OSError`."""
    return [(path, path.read_bytes()) for path in paths]


def kernel_identity(files: Sequence[File], declared: Mapping[str, Any] | None = None) -> str:
    """The digest of a kernel's source.

    Args:
        files: all that it is made of, its own first.
        declared: what that declares in its head comment, with what it uses of others, if it has one.
    """
    found = [_stripped(path.suffix, content) for path, content in files]
    if any(about_lines for _, about_lines in found):
        found = [(_whole(content), True) if path.suffix in _CXX else one
                 for one, (path, content) in zip(found, files, strict=True)]  # fmt: skip
    now = digest([[one for one, _ in found], None if declared is None else _meant(declared)])
    return _earlier().get(now, now)


def as_it_stands(files: Sequence[File]) -> str:
    """The digest of files to the last byte, as kernels had it before."""
    return digest_contents(content for _, content in files)


def _meant(declared: Mapping[str, Any]) -> list[Any]:
    """A declaration as lists, whose order may matter, without what only people read."""
    parameters = {
        name: value["values"] if isinstance(value, dict) and "values" in value else value
        for name, value in declared.get("parameters", {}).items()
    }
    kept = {name: value for name, value in declared.items() if name not in _NOT_MEANT}
    return [_listed(parameters), _listed(dict(sorted(kept.items())))]


def _listed(value: Any) -> Any:
    if isinstance(value, Mapping):
        return [[str(key), _listed(inner)] for key, inner in value.items()]
    if isinstance(value, list | tuple):
        return [_listed(inner) for inner in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)


# Kernels share most of their headers: each is stripped once.
@lru_cache(maxsize=1024)
def _stripped(suffix: str, content: bytes) -> tuple[str, bool]:
    """A digest of a file without what does not count; whether it mentions the numbers of its lines."""
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return _whole(content), False
    if suffix == ".py":
        plain = stripped_python(text)
    elif suffix in _CXX:
        plain = stripped_cxx(text)
    else:
        return _whole(content), False
    about_lines = suffix in _CXX and bool(_LINES.search(text if plain is None else plain))
    return (_whole(content) if plain is None else _whole(plain.encode())), about_lines


def _whole(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@cache
def _earlier() -> Mapping[str, str]:
    """Digests that kernels had before, by those that they would have now."""
    known: dict[str, str] = json.loads(_EARLIER.read_text())
    return known
