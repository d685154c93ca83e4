"""The files a C++ or CUDA source is made of: itself and what it includes, told without a compiler.

More than a compiler would list: both branches of a conditional, and where a macro names the header, every
header that it could name. A file too many only makes a kernel another one once too often; a file too few lets
an old verdict, and an old binary, stand for a new kernel.
"""

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from tuner.core.errors import InvalidSpace
from tuner.core.found_files import UnreadableFile, files_below, read_file

_QUOTED = re.compile(r'^\s*#\s*include\s+"([^"]+)"', re.MULTILINE)
# `%:` and `??=` are other spellings of `#`.
_ANY = re.compile(
    r"^[ \t]*(?:#|%:|\?\?=)[ \t]*(?:include_next|include|import|embed)\b[ \t]*(.*)$", re.MULTILINE
)
_NAMED = re.compile(r'"([^"\n]{1,4096})"|<([^>\n]{1,4096})>')
_MACRO = re.compile(r"[A-Za-z_]\w*[ \t]*(?:\(.*\))?[ \t\r]*$")
_DEFINED = re.compile(r"^[ \t]*(?:#|%:|\?\?=)[ \t]*define\b(.*)$", re.MULTILINE)
_ASSEMBLED = re.compile(r'\.incbin\s*\\?"([^"\\\n]+)')
_CONTINUED = re.compile(r"\\[ \t]*\r?\n")
_COMMENT = re.compile(r"/\*.*?(?:\*/|\Z)|//[^\n]*", re.DOTALL)
_FOLDER_FLAGS = ("-I", "-iquote", "-isystem", "-idirafter")
_FILE_FLAGS = ("-include", "-imacros")
# What a macro may name: files of other kinds, such as a database beside the kernel, change all the time.
_HEADERS = (
    ".h", ".hh", ".hpp", ".hxx", ".h++", ".cuh", ".inc", ".inl", ".ipp", ".tpp", ".tcc", ".def", ".c", ".cc",
    ".cpp", ".cxx", ".cu", ".s", ".S",
)  # fmt: skip
_MOST_FILES = 2000


def absolute_flags(flags: Sequence[str], home: Path) -> list[str]:
    """Flags whose relative folders and files lie in `home`: compilers run elsewhere."""
    return [
        text if name is None else f"{name}{home / text}" if joined else str(home / text)
        for name, text, joined in _read_flags(flags)
    ]


def _read_flags(flags: Sequence[str]) -> Iterator[tuple[str | None, str, bool]]:
    """Flags taken apart: (name of a flag that takes a path, path, whether they are one text).

    A flag whose path is the next text comes as (`None`, flag), then (name, path, false).
    """
    pending = None
    for flag in flags:
        if pending is not None:
            yield pending, flag, False
            pending = None
            continue
        name = next((n for n in (*_FILE_FLAGS, *_FOLDER_FLAGS) if flag.startswith(n)), None)
        path = flag.removeprefix(name) if name else flag
        if name and not path:
            pending, name, path = name, None, flag
        yield name, path, name is not None


def included_files(path: Path, flags: Sequence[str] = ()) -> tuple[Path, ...]:
    """A source file and every file of ours it may include.

    First those that quoted names beside the including file lead to, in the order they are met: for nearly all
    kernels that is all. Then those found in the source's folder or in folders of flags, those that flags
    include, and, where a macro names a header, all that it could name.

    Args:
        path: the source; its folder is searched for headers.
        flags: of the compiler; see `absolute_flags`.

    Raises:
        InvalidSpace: what is included is no file that can be read; or a macro names the header, and there are
            too many that it could name.
    """
    search = _Search(path, flags)
    for name, text, _ in _read_flags(flags):
        if name in _FILE_FLAGS:
            search.visit(_real(path.parent / text))
    for file in list(search.files):
        search.visit(file)
    if search.by_macro:
        search.visit_all(flags)
    return tuple(search.files)


def _real(path: Path) -> Path:
    """The path behind all links; `Path.resolve` raises where they form a loop."""
    return Path(os.path.realpath(path))


class _Search:
    """The files that a source may include.

    Attributes:
        files: found so far, in order.
        by_macro: whether a macro names a header.
    """

    def __init__(self, path: Path, flags: Sequence[str]) -> None:
        self.files: list[Path] = []
        self.by_macro = False
        self._home = _real(path).parent
        self._folders = [
            self._home,
            _real(path.parent),  # of a link to a source, too
            *(_real(path.parent / text) for name, text, _ in _read_flags(flags) if name in _FOLDER_FLAGS),
        ]
        self._texts: dict[Path, str] = {}
        self._visited: set[Path] = set()
        self._seen: set[str] = set()  # places that were looked at, as they are spelt
        self._beside(_real(path))

    def _text(self, file: Path) -> str | None:
        """The content of a file; `None` where there is none; `InvalidSpace` where it cannot be read."""
        if file not in self._texts:
            # `Path.exists` raises where a folder may not be looked into.
            if not os.path.exists(file) or file.is_dir():  # noqa: PTH110
                return None
            try:
                self._texts[file] = read_file(file).decode("utf-8", "replace")
            except UnreadableFile as error:
                raise InvalidSpace(f"its include {file} cannot be used: {error}") from None
        return self._texts[file]

    def _beside(self, file: Path) -> None:
        text = self._text(file)
        if text is None or file in self.files:
            return
        self.files.append(file)
        for name in _QUOTED.findall(text):
            self._beside(_real(file.parent / name.replace("\0", "")))

    def visit(self, file: Path) -> None:
        """Adds a file and what it names, wherever it is searched for."""
        text = self._text(file)
        if text is None or file in self._visited:
            return
        self._visited.add(file)
        if file not in self.files:
            self.files.append(file)
        plain = _COMMENT.sub(" ", _CONTINUED.sub("", text))
        operands = dict.fromkeys([*_ANY.findall(text), *_ANY.findall(plain)])
        for name in (*filter(None, map(_NAMED.match, operands)), *_ASSEMBLED.finditer(text)):
            self._named(file.parent, next(filter(None, name.groups())))
        self.by_macro |= any(_MACRO.match(operand) for operand in _ANY.findall(plain))

    def _named(self, beside: Path, name: str) -> None:
        for folder in (beside, *self._folders):
            place = os.path.join(folder, name.replace("\0", ""))  # noqa: PTH118
            # In every folder: which one a compiler takes may depend on more than is known here. Most have no
            # such file, and to look for one takes an eighth of what following links takes.
            if place not in self._seen and os.path.exists(place):  # noqa: PTH110
                self.visit(_real(Path(place)))
            self._seen.add(place)

    def visit_all(self, flags: Sequence[str]) -> None:
        """Adds all headers in the folders that are searched, and what macros are defined as."""
        for folder in self._folders:
            for i, file in enumerate(files_below(folder, _HEADERS, {})):
                if i >= _MOST_FILES:
                    raise InvalidSpace(
                        f"a macro names a header, and more than {_MOST_FILES} files below {folder} "
                        "could be it: include it by its name"
                    )
                self._visit_if_readable(_real(file))
        defined = [text for file in list(self.files) for text in _DEFINED.findall(self._texts[file])]
        for name in _NAMED.finditer("\n".join([*defined, *flags])):
            self._named(self._home, next(filter(None, name.groups())))

    def _visit_if_readable(self, file: Path) -> None:
        try:
            self.visit(file)
        except InvalidSpace:
            pass  # a macro may name it, and more likely does not
