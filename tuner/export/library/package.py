"""A library as an installed package: header, shared object, pkg-config and CMake files, its origin."""

import json
import platform
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuner.core.device import Device
from tuner.core.digest import digest_files
from tuner.core.errors import TunerError
from tuner.core.scratch import Scratch
from tuner.core.target import Target
from tuner.core.workload import Workload
from tuner.export.library.build import build_library, testable_features
from tuner.export.library.dispatcher import needs_permission
from tuner.export.library.plan import LibraryPlan, make_plan
from tuner.export.library.readme import readme
from tuner.export.provenance import entry_of
from tuner.targets.cpu import named_targets

if TYPE_CHECKING:
    from tuner.store.store import Store

_NAME = re.compile(r"[a-z][a-z0-9_]{0,40}")
_PC = """prefix=${{pcfiledir}}/../..
libdir=${{prefix}}/lib
includedir=${{prefix}}/include

Name: {name}
Description: Tuned kernels of {operators}
Version: {version}
Libs: -L${{libdir}} -l{name}
Cflags: -I${{includedir}}
"""
_CMAKE = """# find_package({name} CONFIG) makes the target {name}::{name}.
get_filename_component(_{name}_prefix "${{CMAKE_CURRENT_LIST_DIR}}/../../.." ABSOLUTE)
if(NOT TARGET {name}::{name})
  add_library({name}::{name} SHARED IMPORTED)
  set_target_properties({name}::{name} PROPERTIES
    IMPORTED_LOCATION "${{_{name}_prefix}}/lib/lib{name}.so"
    IMPORTED_SONAME "lib{name}.so"
    INTERFACE_INCLUDE_DIRECTORIES "${{_{name}_prefix}}/include")
endif()
unset(_{name}_prefix)
"""
_CMAKE_VERSION = """set(PACKAGE_VERSION "{version}")
if(PACKAGE_FIND_VERSION VERSION_GREATER PACKAGE_VERSION)
  set(PACKAGE_VERSION_COMPATIBLE FALSE)
else()
  set(PACKAGE_VERSION_COMPATIBLE TRUE)
endif()
"""
_X86 = ("avx512", "avx2", "x86_64")
VERSION = "1.0"
"""Of the interface: names and meanings in the header."""


@dataclass(frozen=True)
class Written:
    """What was written.

    Attributes:
        folder: the package.
        plan: what is in it.
        kernels: how many compiled kernels.
        levels: names of the processors it has kernels for, the most demanding first.
        cubins: how many GPU kernels lie beside it.
    """

    folder: Path
    plan: LibraryPlan
    kernels: int
    levels: tuple[str, ...]
    cubins: int = 0


def levels_of(device: Device) -> list[Target]:
    """What a library compiles for: this processor, then each architecture below it that it also is.

    One with tiles is two levels, with them and without: they are asked for of the kernel, which may refuse.
    """
    own = device.target
    testable = testable_features(own)
    without = tuple(feature for feature in testable if not needs_permission(feature))
    found = [Target(own.kind, own.arch, without, own.limits)]
    if without != testable:
        found.insert(0, Target(own.kind, f"{own.arch}-amx", testable, own.limits))
    if platform.machine() in ("x86_64", "AMD64"):
        for target in (t for t in named_targets().values() if t.arch in _X86):
            features = tuple(f for f in target.features if f in testable)
            below = set(features) < set(found[-1].features) and set(target.features) <= set(own.features)
            if below and target.arch != own.arch:
                # Of the lesser processor nothing is known but its instructions: the caches are this one's.
                limits = {**own.limits, **{k: target.limits[k] for k in ("vector_bytes", "vector_registers")}}
                found.append(Target("cpu", target.arch, features, limits))
    return found


def write_library(
    folder: Path, name: str, workloads: Sequence[Workload], device: Device, store: "Store"
) -> Written:
    """Plans, compiles and writes a library into a folder, which may exist; its own files are replaced.

    Raises:
        TunerError: nothing that a library can hold is stored; the name is no C identifier; the folder cannot
            be written.
        BuildError, Unavailable: it cannot be compiled here.
    """
    if not _NAME.fullmatch(name):
        raise TunerError(f"{name!r} names no library: small letters, digits and _ please, a letter first")
    levels = levels_of(device)
    plan = make_plan(workloads, device, store, levels)
    with Scratch("library") as scratch:
        library, header = build_library(plan, name, levels, scratch)
        for place, file in (("lib", library), ("include", header)):
            (folder / place).mkdir(parents=True, exist_ok=True)
            # Not written into: a program may have the old one loaded.
            fresh = folder / place / f".{file.name}.new"
            shutil.copyfile(file, fresh)
            fresh.chmod(0o755 if place == "lib" else 0o644)
            fresh.replace(folder / place / file.name)
    operators = ", ".join(p.operator.name for p in plan.operators)
    cubins = (folder / "share" / name / "cuda" / "manifest.json").exists()
    texts = {
        f"lib/pkgconfig/{name}.pc": _PC.format(name=name, operators=operators, version=VERSION),
        f"lib/cmake/{name}/{name}Config.cmake": _CMAKE.format(name=name),
        f"lib/cmake/{name}/{name}ConfigVersion.cmake": _CMAKE_VERSION.format(version=VERSION),
        f"share/{name}/README.md": readme(name, plan, [level.name for level in levels], VERSION, cubins),
        f"share/{name}/{name}.json": json.dumps(_origin(folder, name, plan, levels), indent=2) + "\n",
    }
    for place, text in texts.items():
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        (folder / place).write_text(text)
    kernels = sum(len(p.variants) for p in plan.operators)
    return Written(folder, plan, kernels, tuple(level.name for level in levels))


def _origin(folder: Path, name: str, plan: LibraryPlan, levels: Sequence[Target]) -> Mapping[str, Any]:
    """Where a library comes from, in the form that `tuner verify-export` reads."""
    return {
        "format": "kernel-tuner-lab/library", "version": VERSION, "name": name,
        "library": digest_files([folder / "lib" / f"lib{name}.so"]),
        "levels": [{"name": level.name, "features": list(level.features)} for level in levels],
        "entries": [entry_of(row) for row in plan.rows],
        "left_out": [each.plain for each in plan.left],
    }  # fmt: skip
