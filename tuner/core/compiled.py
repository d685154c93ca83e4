"""Small C++ files of ours, compiled once into the cache folder: helpers of devices and builders."""

from collections.abc import Sequence
from pathlib import Path

from tuner.core.cache import cache_folder, entry, newest
from tuner.core.digest import digest
from tuner.core.errors import BuildError
from tuner.core.host_cxx import (
    compiler_identity,
    find_compiler,
    first_error,
    isa_flags,
    require_compiler,
    run_compiler,
)


def compiled(source: Path, flags: Sequence[str], suffix: str, features: tuple[str, ...] = ()) -> Path:
    """What the C++ compiler makes of a file; compiles it where the cache has not got it whole.

    The name of its folder holds a digest of source, flags and features, and one of the compiler. Where there
    is no compiler, what any compiler made of the same serves.

    Args:
        source: includes no file of ours, which the digest would not see.
        flags: all but input, output and the instruction set.
        suffix: of what comes out: ".so", ".o".
        features: of the target: the instruction set to compile for.

    Raises:
        Unavailable: there is no C++ compiler, or the cache cannot be written.
        BuildError: it does not compile.
    """
    made = f"{source.stem}{suffix}"
    if find_compiler() is None and (found := already_compiled(source, flags, suffix, features)):
        return found
    compiler = require_compiler()

    def fill(folder: Path) -> None:
        command = [*compiler, *flags, *isa_flags(compiler, features), str(source), "-o", made]
        code, output = run_compiler(command, folder)
        if code != 0:
            raise BuildError(f"{first_error(output)}\n{output}")

    name = f"{_name(source, flags, features)}{digest([compiler_identity(compiler)])}"
    return entry(cache_folder() / "runtime" / name, fill) / made


def already_compiled(
    source: Path, flags: Sequence[str], suffix: str, features: tuple[str, ...] = ()
) -> Path | None:
    """What any compiler made of a file before, of the same arguments as `compiled`; `None` if nothing."""
    place = newest(cache_folder() / "runtime", _name(source, flags, features))
    return place / f"{source.stem}{suffix}" if place else None


def _name(source: Path, flags: Sequence[str], features: tuple[str, ...]) -> str:
    return f"{source.stem}-{digest([source.read_text(), list(flags), list(features)])}-"
