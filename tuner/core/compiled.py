"""Small C++ files of ours, compiled once into the cache folder: helpers of devices and builders."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

from tuner.core.cache import cache_folder
from tuner.core.digest import digest
from tuner.core.errors import BuildError
from tuner.core.host_cxx import compiler_identity, first_error, require_compiler, run_compiler


def compiled(source: Path, flags: Sequence[str], suffix: str) -> Path:
    """What the C++ compiler makes of a file; compiles it where the cache has not got it.

    Its name holds a digest of source, compiler and flags. Two processes that compile it at once each
    write a file of their own and rename it: the name never shows a half-written one.

    Args:
        source: includes no file of ours, which the digest would not see.
        flags: all but input and output.
        suffix: of what comes out: ".so", ".o".

    Raises:
        Unavailable: there is no C++ compiler.
        BuildError: it does not compile.
    """
    compiler = require_compiler()
    name = digest([source.read_text(), compiler_identity(compiler), list(flags)])
    folder = cache_folder() / "runtime"
    final = folder / f"{source.stem}-{name}{suffix}"
    if final.exists():
        return final
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".build-") as place:
        made = f"{source.stem}{suffix}"
        code, output = run_compiler([*compiler, *flags, str(source), "-o", made], Path(place))
        if code != 0:
            raise BuildError(f"{first_error(output)}\n{output}")
        (Path(place) / made).replace(final)
    return final
