"""Compiles and links a library of a plan.

Each kernel becomes an object file of one symbol (`objects`), so that kernels know nothing of each other.
"""

import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from tuner.core.errors import Unavailable
from tuner.core.host_cxx import KERNEL_FLAGS, isa_flags, require_compiler, run_compiler
from tuner.core.scratch import Scratch
from tuner.core.target import Target
from tuner.export.library.dispatcher import dispatcher
from tuner.export.library.header import header, layout
from tuner.export.library.objects import embed, run_tool, shared_runtime
from tuner.export.library.plan import LibraryPlan, OperatorPlan

_REFUSED = re.compile(r"parameter to builtin not valid: ([\w.\-]+)|invalid cpu feature string for builtin")


def testable_features(target: Target) -> tuple[str, ...]:
    """Of a target's features those that a program can ask its processor for, with this compiler.

    Raises:
        Unavailable: there is no C++ compiler.
    """
    names = [f for f in target.features if f != "neon"]
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


def _exports(name: str, operators: Sequence[OperatorPlan]) -> str:
    """The linker's version script: what can be seen, operators' entries with the version of their layout."""
    nodes = [
        f"{name}_{p.operator.name}_{layout(p)} {{ global: {name}_{p.operator.name}; "
        f"{name}_{p.operator.name}_kernel; }};"
        for p in operators
    ]
    return "\n".join([*nodes, f"{name} {{ global: {name}_*; local: *; }};", ""])


def build_library(plan: LibraryPlan, name: str, levels: Sequence[Target], folder: Path) -> tuple[Path, Path]:
    """Compiles a plan: (shared library, header), both in `folder`.

    Raises:
        BuildError: something does not compile; names the kernel.
        Unavailable: a tool is missing.
    """
    for tool in ("ld", "objcopy"):
        if shutil.which(tool) is None:
            raise Unavailable(f"a library needs {tool} on PATH (binutils)")
    variants = [variant for operator in plan.operators for variant in operator.variants]
    embedded = {variant.symbol: embed(variant, folder) for variant in variants}
    objects = [one.file for one in embedded.values()]
    if any(variant.static for variant in variants):
        objects.append(shared_runtime(folder))
    compiler = require_compiler()
    (folder / f"{name}.h").write_text(header(name, plan.operators))
    text = dispatcher(name, plan.operators, [level.features for level in levels], embedded)
    (folder / "dispatch.cpp").write_text(text)
    flags = [*KERNEL_FLAGS, *isa_flags(compiler, levels[-1].features)]
    run_tool([*compiler, *flags, "-c", "dispatch.cpp", "-o", "dispatch.o"], folder, "the dispatcher")
    library = f"lib{name}.so"
    (folder / "exports.map").write_text(_exports(name, plan.operators))
    link = [
        "-shared",
        "-fopenmp",
        f"-Wl,-soname,{library}",
        "-Wl,--build-id=none",
        "-Wl,--as-needed",
        "-Wl,-z,defs",
        # Threads that ended a call keep memory, and give it back when they end, by code of the library's.
        "-Wl,-z,nodelete",
        "-Wl,--version-script=exports.map",
    ]
    run_tool([*compiler, *link, "dispatch.o", *objects, "-o", library], folder, "the library")
    return folder / library, folder / f"{name}.h"
