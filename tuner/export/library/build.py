"""Compiles and links a library of a plan.

Each kernel is compiled by itself and all its symbols but one are made local, group sections dissolved first:
two configurations of one file define inline functions of equal names and different bodies, which a linker
would otherwise take for one.
"""

import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from tuner.builders.host.cxx import CALL, COMMON_FLAGS, wrapper
from tuner.core.errors import BuildError, Unavailable
from tuner.core.host_cxx import first_error, isa_flags, require_compiler, run_compiler
from tuner.core.scratch import Scratch
from tuner.core.target import Target
from tuner.export.library.dispatcher import dispatcher
from tuner.export.library.header import header
from tuner.export.library.plan import LibraryPlan, Variant

_REFUSED = re.compile(r"parameter to builtin not valid: ([\w.\-]+)|invalid cpu feature string for builtin")


def testable_features(target: Target) -> tuple[str, ...]:
    """Of a target's features those that a program can ask its processor for, with this compiler.

    Tiles (amx) are left out: a process has to ask the kernel for them first.

    Raises:
        Unavailable: there is no C++ compiler.
    """
    names = [f for f in target.features if not f.startswith("amx") and f != "neon"]
    if not names:
        return ()
    with Scratch("features") as folder:
        while names:
            asked = " + ".join(f'__builtin_cpu_supports("{name}")' for name in names)
            (folder / "f.cpp").write_text(f"int main() {{ __builtin_cpu_init(); return {asked}; }}\n")
            code, output = run_compiler([*require_compiler(), "-fsyntax-only", "f.cpp"], folder)
            if code == 0:
                return tuple(names)
            refused = {match[1] for match in _REFUSED.finditer(output)} & set(names)
            # Clang does not say which: one after the other.
            names = [n for n in names if n not in refused] if refused else _one_by_one(names, folder)
    return ()


def _one_by_one(names: Sequence[str], folder: Path) -> list[str]:
    found = []
    for name in names:
        (folder / "f.cpp").write_text(f'int main() {{ return __builtin_cpu_supports("{name}"); }}\n')
        if run_compiler([*require_compiler(), "-fsyntax-only", "f.cpp"], folder)[0] == 0:
            found.append(name)
    return found


def build_library(plan: LibraryPlan, name: str, levels: Sequence[Target], folder: Path) -> tuple[Path, Path]:
    """Compiles a plan: (shared library, header), both in `folder`.

    Raises:
        BuildError: something does not compile; names the kernel.
        Unavailable: a tool is missing.
    """
    for tool in ("ld", "objcopy"):
        if shutil.which(tool) is None:
            raise Unavailable(f"a library needs {tool} on PATH (binutils)")
    objects = [_object(variant, folder) for operator in plan.operators for variant in operator.variants]
    compiler = require_compiler()
    (folder / f"{name}.h").write_text(header(name, plan.operators))
    text = dispatcher(name, plan.operators, [level.features for level in levels])
    (folder / "dispatch.cpp").write_text(text)
    flags = [*COMMON_FLAGS, *isa_flags(compiler, levels[-1].features)]
    _run([*compiler, *flags, "-c", "dispatch.cpp", "-o", "dispatch.o"], folder, "the dispatcher")
    library = f"lib{name}.so"
    (folder / "exports.map").write_text(f"{{ global: {name}_*; local: *; }};\n")
    link = [
        "-shared",
        "-fopenmp",
        f"-Wl,-soname,{library}",
        "-Wl,--build-id=none",
        "-Wl,--as-needed",
        "-Wl,-z,defs",
        "-Wl,--version-script=exports.map",
    ]
    _run([*compiler, *link, "dispatch.o", *objects, "-o", library], folder, "the library")
    return folder / library, folder / f"{name}.h"


def _object(variant: Variant, folder: Path) -> str:
    """One kernel compiled, with one symbol left to be seen; its file's name."""
    source = variant.kernel.lower(variant.workload, variant.config, variant.target)
    compiler, name = require_compiler(), variant.symbol
    (folder / f"{name}.cpp").write_text(f"{source.text}\n{wrapper(source.entry, source.arguments)}")
    declared = source.options.get("include", ())
    includes = [declared] if isinstance(declared, str | Path) else list(declared)
    flags = [*COMMON_FLAGS, *isa_flags(compiler, variant.target.features)]
    flags += [text for place in includes for text in (f"-I{place}", f"-ffile-prefix-map={place}=.")]
    flags += source.options.get("flags", ())
    what = f"kernel {variant.kernel.name} for {variant.target.name}"
    _run([*compiler, *flags, "-c", f"{name}.cpp", "-o", f"{name}.0.o"], folder, what)
    _run(["ld", "-r", "--force-group-allocation", f"{name}.0.o", "-o", f"{name}.1.o"], folder, what)
    _run(
        ["objcopy", f"--redefine-sym={CALL}={name}", f"--keep-global-symbol={name}", f"{name}.1.o",
         f"{name}.o"], folder, what,
    )  # fmt: skip
    return f"{name}.o"


def _run(command: Sequence[str], folder: Path, what: str) -> None:
    code, output = run_compiler(command, folder)
    if code != 0:
        raise BuildError(f"{what}: {first_error(output)}\n{output[:20_000]}")
