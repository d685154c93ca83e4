"""What a kernel is made of counts: an edit of any file that reaches its binary makes it another kernel."""

import ast
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes import python_path
from tuner import registry
from tuner.builders.host.cxx import CxxBuilder, _include_flags
from tuner.core import python_imports
from tuner.core.errors import InvalidSpace
from tuner.core.host_cxx import require_compiler
from tuner.core.includes import absolute_flags, included_files
from tuner.core.places import SCHEDULES
from tuner.core.python_imports import imported_files
from tuner.core.source_kernel import SourceKernel
from tuner.devices.cpu.device import named_targets

ROOT = Path(__file__).resolve().parents[2]
AVX2 = named_targets()["cpu:avx2"]
HEAD = """/*[tuner]
name = "k"
operator = "gemm"
entry = "gemm"
arguments = ["A", "B", "D", "m", "n", "k"]
flags = {flags}
*/
"""
BODY = """
#include <stdint.h>
extern "C" void gemm(const float* A, const float* B, float* D, int64_t m, int64_t n, int64_t k) {
    for (int64_t i = 0; i < m * n; ++i) D[i] = VALUE;
}
"""
# How a source may come by `deep/inner.h`, which defines VALUE: its lines, and the flags it declares.
WAYS = {
    "beside": ('#include "deep/inner.h"', []),
    "angle brackets": ("#include <deep/inner.h>", []),
    "spaces and a comment": ('  #  include /* where? */ "deep/inner.h" // here', []),
    "a comment before": ('/* over\n two lines */ #include "deep/inner.h"', []),
    "continued": ('#inc\\\nlude "deep/inner.h"', []),
    "digraph": ('%:include "deep/inner.h"', []),
    "import": ('#import "deep/inner.h"', []),
    "macro": ('#define HEADER "deep/inner.h"\n#include HEADER', []),
    "macro in brackets": ("#define HEADER <deep/inner.h>\n#include HEADER", []),
    "macro of text": ("#define TEXT_(x) #x\n#define TEXT(x) TEXT_(x)\n#include TEXT(deep/inner.h)", []),
    "macro in a header": ('#include "chooses.h"\n#include CHOSEN', []),
    "folder flag": ("#include <inner.h>", ["-Ideep"]),
    "folder flag apart": ('#include "inner.h"', ["-I", "deep"]),
    "quoted folder flag": ('#include "inner.h"', ["-iquotedeep"]),
    "system folder flag": ("#include <inner.h>", ["-isystem", "deep"]),
    "folder flag, macro": ("#define HEADER <inner.h>\n#include HEADER", ["-Ideep"]),
    "flag defines the macro": ("#include HEADER", ['-DHEADER="deep/inner.h"']),
    "included by a flag": ("", ["-include", "deep/inner.h"]),
    "through another": ('#include "deep/outer.h"', []),
    "from below to above": ('#include "deep/up.h"', []),
    "if it is there": ('#if __has_include("deep/inner.h")\n#include "deep/inner.h"\n#endif', []),
}


def plant(folder: Path, way: str) -> Path:
    lines, flags = WAYS[way]
    (folder / "deep").mkdir()
    (folder / "deep" / "inner.h").write_text("#pragma once\n#define VALUE 1.0f\n")
    (folder / "deep" / "outer.h").write_text('#include "inner.h"\n')
    (folder / "deep" / "up.h").write_text("#include <top.h>\n")  # found by the kernel's own folder
    (folder / "top.h").write_text('#include "deep/inner.h"\n')
    (folder / "chooses.h").write_text('#define CHOSEN "deep/inner.h"\n')
    path = folder / "k.cpp"
    path.write_text(f"{HEAD.format(flags=flags)}{lines}\n{BODY}")
    return path


@pytest.mark.parametrize("way", WAYS)
def test_an_edit_of_a_header_makes_another_kernel_however_it_is_included(way: str, tmp_path: Path) -> None:
    path = plant(tmp_path, way)
    before = registry.source_kernel(path)
    assert tmp_path / "deep" / "inner.h" in before.source_files()
    assert registry.source_kernel(path).digest == before.digest
    (tmp_path / "results.db").write_text("changes all the time")
    assert registry.source_kernel(path).digest == before.digest
    (tmp_path / "deep" / "inner.h").write_text("#pragma once\n#define VALUE 2.0f\n")
    assert registry.source_kernel(path).digest != before.digest


@pytest.mark.parametrize("way", WAYS)
def test_the_compiler_finds_no_file_of_ours_that_is_not_counted(way: str, tmp_path: Path) -> None:
    """The compiler's own list, and the same folders: what is planted does compile."""
    kernel = registry.source_kernel(plant(tmp_path, way))
    listed = dependencies(kernel, registry.operator("gemm").parse("4x4x4"), tmp_path)
    assert tmp_path / "deep" / "inner.h" in listed
    assert listed <= set(kernel.source_files())


def dependencies(kernel: SourceKernel, workload, folder: Path, config=None) -> set[Path]:
    """Files that the compiler reads for a kernel, but for the system's."""
    builder = CxxBuilder()
    if reason := builder.unavailable():
        pytest.skip(reason)
    target = registry.device_classes()["cpu"]().target if config is not None else AVX2
    source = kernel.lower(workload, config or {}, target)
    (folder / "build").mkdir()
    (folder / "build" / "kernel.cpp").write_text(source.text)
    flags = [*builder.toolchain(target).flags, *_include_flags(source.options), *source.options["flags"]]
    done = subprocess.run(
        [*require_compiler(), *flags, "-M", "kernel.cpp"],
        cwd=folder / "build",
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    words = done.stdout.replace("\\\n", " ").split()[1:]
    paths = {(folder / "build" / word).resolve() for word in words}
    return {p for p in paths if p.is_relative_to(folder) or p.is_relative_to(ROOT)} - {
        (folder / "build" / "kernel.cpp").resolve()
    }


CPP = [k for k in registry.kernels().values() if isinstance(k, SourceKernel) and k.language == "cxx"]


@pytest.mark.parametrize("kernel", CPP, ids=lambda k: k.name)
def test_the_lab_s_own_kernels_count_what_the_compiler_reads(kernel: SourceKernel, tmp_path: Path) -> None:
    operator = registry.operator(kernel.operator)
    target = registry.device_classes()["cpu"]().target
    shapes = [operator.parse(operator.example, kernel.dtypes[0]), *operator.companions(
        operator.parse(operator.example, kernel.dtypes[0]))]  # fmt: skip
    workload = next((w for w in shapes if kernel.unsupported(w, target) is None), None)
    if workload is None:
        pytest.skip("it cannot serve the example")
    config = kernel.space(workload, target).sample(random.Random(1))
    assert dependencies(kernel, workload, tmp_path, config) <= set(kernel.source_files())


def test_flags_with_folders_are_of_the_kernel_s_folder() -> None:
    flags = ["-O1", "-Iinc", "-I", "/abs", "-isystem", "sys", "-include", "a.h", "-DX=1", "-I"]
    assert absolute_flags(flags, Path("/home/k")) == [
        "-O1", "-I/home/k/inc", "-I", "/abs", "-isystem", "/home/k/sys", "-include", "/home/k/a.h", "-DX=1",
        "-I",
    ]  # fmt: skip


def test_too_many_headers_that_a_macro_could_name_are_refused(tmp_path: Path) -> None:
    for i in range(2001):
        (tmp_path / f"h{i}.h").touch()
    path = tmp_path / "k.cpp"
    path.write_text(f"{HEAD.format(flags=[])}#include HEADER\n")
    with pytest.raises(InvalidSpace, match="a macro names a header, and more than 2000 files below"):
        registry.source_kernel(path)


def test_a_comment_takes_no_time_and_a_loop_of_links_ends(tmp_path: Path) -> None:
    (tmp_path / "loop.h").symlink_to("loop.h")
    path = tmp_path / "k.cpp"
    path.write_text(
        '#include "loop.h"\n#include "\0"\n' + "/*" * 50_000 + "\n" + "#include" + " /**/" * 50_000
    )
    assert included_files(path) == (path,)


# A Python plug-in and how it may come by VALUE of `helper.py` or `parts/inner.py`.
PYTHON = """
{imports}
from tuner.core.kernel import Kernel
from tuner.core.space import SearchSpace
class Plug(Kernel):
    name, operator, language, summary, dtypes = "plug", "gemm", "python", "", ("f32",)
    {member}
    def space(self, workload, target): return SearchSpace()
    def lower(self, workload, config, target): ...
"""
PYTHON_WAYS = {
    "import": ("import helper", ""),
    "as": ("import helper as h", ""),
    "from": ("from helper import VALUE", ""),
    "star": ("from helper import *", ""),
    "package": ("import parts.inner", ""),
    "from package": ("from parts import inner", ""),
    "from module of package": ("from parts.inner import VALUE", ""),
    "of package, relative": ("import parts.relative", ""),
    "through another": ("import through", ""),
    "inside a function": ("", "def late(self): import helper"),
    "by name": ("import importlib\nhelper = importlib.import_module('helper')", ""),
    "factory": ("", "factory = 'helper:VALUE'"),
    "under a condition": ("try:\n    import no_such_module\nexcept ImportError:\n    import helper", ""),
}


def plugin(folder: Path, way: str) -> list[Path]:
    """Writes a plug-in; returns its helpers."""
    imports, member = PYTHON_WAYS[way]
    (folder / "parts").mkdir(parents=True)
    (folder / "plug.py").write_text(PYTHON.format(imports=imports, member=member))
    (folder / "through.py").write_text("import helper")
    (folder / "unrelated.py").write_text("import json")
    (folder / "parts" / "__init__.py").touch()
    (folder / "parts" / "relative.py").write_text("from . import inner")
    helpers = [folder / "helper.py", folder / "parts" / "inner.py"]
    for helper in helpers:
        helper.write_text("VALUE = 1\n")
    return helpers


@pytest.mark.parametrize("way", PYTHON_WAYS)
def test_an_imported_helper_counts(way: str, tmp_path: Path, monkeypatch) -> None:
    helpers = plugin(tmp_path, way)
    assert imported_files(tmp_path / "plug.py") == (), "neither in a plug-in folder nor the lab's"
    monkeypatch.setenv("TUNER_PLUGINS", f"/nowhere:{tmp_path}")
    found = imported_files(tmp_path / "plug.py")
    assert set(helpers) & set(found) and tmp_path / "unrelated.py" not in found


def test_the_lab_s_own_schedules_are_made_of_what_they_import_there() -> None:
    found = {path.name for path in imported_files(ROOT / "schedules" / "gemm" / "tensorir" / "packed.py")}
    assert (
        found >= {"blocks.py", "pack.py", "tiles.py", "function.py", "options.py"}
        and "kernel.py" not in found
    )
    (program,) = [p for p in registry.kernel("triton").source_files() if p.name == "program.py"]
    assert program.parent.name == "triton"


def test_the_quick_reading_of_the_lab_s_imports_finds_what_the_syntax_tree_has() -> None:
    for path in sorted(SCHEDULES.rglob("*.py")):
        text = path.read_text()
        ways = (python_imports._imports(ast.parse(text)), python_imports._lab_imports(text))
        tree, quick = (
            {f for n in names for f in python_imports._files(n, path, [SCHEDULES])} for names in ways
        )
        assert tree == quick, path


def test_an_edit_of_an_imported_helper_makes_another_kernel(tmp_path: Path) -> None:
    helper, inner = plugin(tmp_path, "through another")
    code = "from tuner import registry; print(registry.kernel('plug').digest, registry.broken)"

    def digest() -> str:
        # Each time another process, as each command is.
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True,
            env={"TUNER_PLUGINS": str(tmp_path), "PYTHONPATH": python_path(ROOT),
                 "PYTHONDONTWRITEBYTECODE": "1"},
        )  # fmt: skip
        assert done.returncode == 0 and done.stdout.endswith("{}\n"), done.stdout + done.stderr
        return done.stdout.split()[0]

    before = digest()
    inner.write_text("VALUE = 2\n")
    assert digest() == before, "nothing imports it"
    helper.write_text("VALUE = 2\n")
    assert digest() != before


def test_the_lab_s_python_kernels_name_their_parts_themselves(monkeypatch, tmp_path: Path) -> None:
    kernels = [k for k in registry.kernels().values() if not isinstance(k, SourceKernel)]
    before = {k.name: k.digest for k in kernels}
    monkeypatch.setenv("TUNER_PLUGINS", str(tmp_path))
    assert {k.name: k.digest for k in kernels} == before
    shutil.rmtree(tmp_path)
    assert {k.name: k.digest for k in kernels} == before
