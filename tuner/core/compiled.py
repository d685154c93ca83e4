"""Small C++ files of ours, compiled once into the cache folder: helpers of devices and builders."""

from collections.abc import Sequence
from pathlib import Path

from tuner.core.cache import cache_folder, entry, newest
from tuner.core.digest import digest, digest_files
from tuner.core.errors import BuildError
from tuner.core.host_cxx import (
    compiler_identity,
    find_compiler,
    first_error,
    isa_flags,
    require_compiler,
    run_compiler,
)


def compiled(
    source: Path, flags: Sequence[str], suffix: str, features: tuple[str, ...] = (),
    headers: Sequence[Path] = (),
) -> Path:  # fmt: skip
    """What the C++ compiler makes of a file, as `compiled_text` of its text.

    Args:
        source: the file.
        flags, suffix, features, headers: see `compiled_text`.

    Raises:
        Unavailable: there is no C++ compiler, or the cache cannot be written.
        BuildError: it does not compile.
    """
    return compiled_text(source.name, source.read_text(), flags, suffix, features, headers)


def compiled_text(
    name: str, text: str, flags: Sequence[str], suffix: str, features: tuple[str, ...] = (),
    headers: Sequence[Path] = (),
) -> Path:  # fmt: skip
    """What the C++ compiler makes of a text; compiles it where the cache has not got it whole.

    The name of its folder holds a digest of text, headers, flags and features, and one of the compiler. Where
    there is no compiler, what any compiler made of the same serves.

    Args:
        name: of the file that the text is compiled as.
        text: C++.
        flags: all but input, output, folders of headers and the instruction set.
        suffix: of what comes out: ".so", ".o".
        features: of the target: the instruction set to compile for.
        headers: all files of ours that it includes, also through others.

    Raises:
        Unavailable: there is no C++ compiler, or the cache cannot be written.
        BuildError: it does not compile.
    """
    if find_compiler() is None and (before := _made_before(name, text, flags, suffix, features, headers)):
        return before
    made, compiler = f"{Path(name).stem}{suffix}", require_compiler()
    folders = [f"-I{folder}" for folder in dict.fromkeys(header.parent for header in headers)]

    def fill(folder: Path) -> None:
        (folder / name).write_text(text)
        command = [*compiler, *flags, *folders, *isa_flags(compiler, features), name, "-o", made]
        code, output = run_compiler(command, folder)
        if code != 0:
            raise BuildError(f"{first_error(output)}\n{output[:20_000]}")

    begin = _begin(name, text, flags, features, headers)
    return entry(_kept() / f"{begin}{digest([compiler_identity(compiler)])}", fill) / made


def already_compiled(
    source: Path, flags: Sequence[str], suffix: str, features: tuple[str, ...] = (),
    headers: Sequence[Path] = (),
) -> Path | None:  # fmt: skip
    """What any compiler made of a file before, of the same arguments as `compiled`; `None` if nothing."""
    return _made_before(source.name, source.read_text(), flags, suffix, features, headers)


def _made_before(
    name: str, text: str, flags: Sequence[str], suffix: str, features: tuple[str, ...],
    headers: Sequence[Path],
) -> Path | None:  # fmt: skip
    place = newest(_kept(), _begin(name, text, flags, features, headers))
    return place / f"{Path(name).stem}{suffix}" if place else None


def _kept() -> Path:
    return cache_folder() / "runtime"


def _begin(
    name: str, text: str, flags: Sequence[str], features: tuple[str, ...], headers: Sequence[Path]
) -> str:
    """What the name of an entry begins with, whatever the compiler."""
    parts = [text, list(flags), list(features), digest_files(list(headers)) if headers else ""]
    return f"{Path(name).stem}-{digest(parts)}-"
