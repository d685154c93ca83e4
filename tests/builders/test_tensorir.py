"""The TensorIR builder: right instruction sets, honest errors, libraries that need no TVM."""

import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tuner import registry
from tuner.builders.tvm.tensorir import TensorIRBuilder, target_dict
from tuner.core.errors import BuildError
from tuner.core.kernel import Argument, Source
from tuner.core.target import Target
from tuner.devices.cpu.device import CpuDevice, named_targets

# Every row of A times 2: one parallel loop, one vector a row.
SCRIPT = """
@I.ir_module
class Module:
    @T.prim_func(s_tir=True)
    def main(A: T.Buffer((64, 16), "float32", align=4), D: T.Buffer((64, 16), "float32", align=4)):
        for i in T.parallel(64):
            for j in T.vectorized(16):
                with T.sblock("twice"):
                    vi, vj = T.axis.remap("SS", [i, j])
                    T.reads(A[vi, vj])
                    T.writes(D[vi, vj])
                    D[vi, vj] = A[vi, vj] * T.float32(2) + T.float32(1)
"""
ARGUMENTS = (Argument("A"), Argument("D"))


def source(text: str = SCRIPT, threads: int = 2) -> Source:
    return Source("tensorir", text, "main", ARGUMENTS, threads)


def build(folder: Path, target: Target, text: str = SCRIPT, threads: int = 2):  # type: ignore[no-untyped-def]
    folder.mkdir()
    return TensorIRBuilder().build(source(text, threads), target, folder)


@pytest.fixture(scope="module")
def here() -> Target:
    return CpuDevice().target


def test_runs_in_place_on_arrays_of_any_alignment(tmp_path: Path, here: Target) -> None:
    executable = CpuDevice().load(build(tmp_path / "a", here))
    memory = np.zeros(64 * 16 * 4 + 4, np.uint8)[4:]  # a float's alignment and no more
    for a in (np.ones((64, 16), np.float32), memory.view(np.float32).reshape(64, 16)):
        a[...] = np.arange(64 * 16).reshape(64, 16)
        d = np.full((64, 16), np.nan, np.float32)
        executable.bind({"A": a, "D": d})
        executable.run()
        assert np.array_equal(d, 2 * a + 1)


@pytest.mark.parametrize("linker", [None, "/bin/false"])
def test_where_the_linker_does_not_serve_the_driver_links(
    tmp_path: Path, here: Target, monkeypatch: pytest.MonkeyPatch, linker: str | None
) -> None:
    monkeypatch.setattr("tuner.builders.host.link._linker", lambda: linker)
    executable = CpuDevice().load(build(tmp_path / "a", here))
    d = np.zeros((64, 16), np.float32)
    executable.bind({"A": np.ones((64, 16), np.float32), "D": d})
    executable.run()
    assert np.array_equal(d, np.full((64, 16), 3.0))


@pytest.mark.parametrize("threads", [1, 2, 3, 7])
def test_every_share_of_a_parallel_loop_is_done_once(tmp_path: Path, here: Target, threads: int) -> None:
    """Also with more threads than cores, and where shares are uneven."""
    text = SCRIPT.replace("D[vi, vj] = A[vi, vj]", "D[vi, vj] = D[vi, vj] + A[vi, vj]")
    executable = CpuDevice().load(build(tmp_path / "a", here, text, threads))
    a, d = np.ones((64, 16), np.float32), np.zeros((64, 16), np.float32)
    executable.bind({"A": a, "D": d})
    executable.run()
    assert np.array_equal(d, np.full((64, 16), 3.0))


def test_the_library_loads_without_tvm(tmp_path: Path, here: Target) -> None:
    artifact = build(tmp_path / "a", here)
    code = f"""
import sys
import numpy as np
from pathlib import PosixPath
from tuner.core.artifact import Artifact, Toolchain
from tuner.core.kernel import Argument
from tuner.devices.cpu.device import CpuDevice
executable = CpuDevice().load({artifact!r})
d = np.zeros((64, 16), np.float32)
executable.bind({{"A": np.ones((64, 16), np.float32), "D": d}})
executable.run()
print(d.min() == d.max() == 3, [m for m in ("tvm", "tvm_ffi") if m in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "True []", done.stderr


@pytest.mark.parametrize(
    ("arch", "present", "absent"),
    [
        ("avx512", r"vfmadd\w+ .*%zmm", r"%tmm"),
        ("avx2", r"vfmadd\w+ .*%ymm", r"%zmm"),
        ("x86_64", r"(add|mul)ps", r"%ymm"),
    ],
)
def test_vectors_are_those_of_the_target(tmp_path: Path, arch: str, present: str, absent: str) -> None:
    """A target is compiled for as described, on whatever machine: 512-bit vectors where it has them."""
    build(tmp_path / "a", named_targets()[f"cpu:{arch}"])
    objdump = shutil.which("objdump")
    if objdump is None:
        pytest.skip("no objdump")
    shown = subprocess.run([objdump, "-d", tmp_path / "a" / "kernel.o"], capture_output=True, text=True)
    assert re.search(present, shown.stdout)
    assert not re.search(absent, shown.stdout)


def test_the_target_comes_from_features_alone() -> None:
    whole = named_targets()["cpu:avx512"]
    odd = Target("cpu", "avx512", (*whole.features, "no_such_feature"), {"cores": 4})
    described = target_dict(odd)
    assert described["mcpu"] == "x86-64-v4"
    assert described["num-cores"] == 4
    assert described["mattr"] == [*(f"+{name}" for name in whole.features), "-prefer-256-bit"]
    # The level's name brings features with it: of those only what the target has.
    lesser = Target("cpu", "avx2", ("avx", "avx2", "bmi", "bmi2", "fma", "movbe"))
    assert target_dict(lesser)["mattr"][-2:] == ["-f16c", "-lzcnt"]
    assert target_dict(Target("cpu", "x86_64", ("sse2",)))["mcpu"] == "x86-64"


def test_equal_sources_give_equal_digests_and_threads_count(tmp_path: Path, here: Target) -> None:
    first, again = build(tmp_path / "a", here), build(tmp_path / "b", here)
    assert first.digest == again.digest
    assert first.digest != build(tmp_path / "c", here, threads=1).digest
    assert first.digest != build(tmp_path / "d", here, SCRIPT.replace("float32(2)", "float32(4)")).digest
    renamed = SCRIPT.replace("for i ", "for other ").replace("[i, j]", "[other, j]")
    assert first.digest == build(tmp_path / "e", here, renamed).digest


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("D[vi, vj] = A[vi, vj]", "D[vi, vj] = = A[vi, vj]", "parse"),
        ("D[vi, vj] = A[vi, vj]", "D[vi, vj] = nowhere[vi, vj]", "nowhere"),
        ("A[vi, vj] * T.float32(2)", "T.call_extern('float32', 'no_such_function', vj)", "no_such_function"),
        ("def main", "def other", "main"),
    ],
)
def test_what_does_not_compile_says_why_in_its_first_line(
    tmp_path: Path, here: Target, old: str, new: str, reason: str
) -> None:
    with pytest.raises(BuildError) as caught:
        build(tmp_path / "a", here, SCRIPT.replace(old, new))
    assert reason in str(caught.value).splitlines()[0]


def test_toolchain_names_tvm_and_follows_the_target() -> None:
    from importlib.metadata import version

    builder = TensorIRBuilder()
    wide, narrow = (builder.toolchain(named_targets()[f"cpu:{arch}"]) for arch in ("avx512", "avx2"))
    assert (wide.name, wide.version) == ("tvm", version("apache-tvm"))
    assert wide.digest != narrow.digest
    assert builder.toolchain(named_targets()["cpu:avx2"]).digest == narrow.digest


def test_without_tvm_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tuner.builders.tvm.tensorir.find_spec", lambda name: None)
    assert "pip install apache-tvm" in (TensorIRBuilder().unavailable() or "")


def test_a_workspace_is_kept_and_threads_have_their_own(tmp_path: Path, here: Target) -> None:
    """A large temporary of each thread: right in every call, and no more memory with every call."""
    import resource

    text = """
@I.ir_module
class Module:
    @T.prim_func(s_tir=True)
    def main(A: T.Buffer((8, 262144), "float32", align=4), D: T.Buffer((8, 262144), "float32", align=4)):
        for i in T.parallel(8):
            with T.sblock("reverse"):
                vi = T.axis.spatial(8, i)
                T.reads(A[vi, 0:262144])
                T.writes(D[vi, 0:262144])
                copy = T.sblock_alloc_buffer((262144,))
                for j in range(262144):
                    copy[j] = A[vi, j]
                for j in range(262144):
                    D[vi, j] = copy[262143 - j]
"""
    executable = CpuDevice().load(build(tmp_path / "a", here, text))
    a = np.arange(8 * 262144, dtype=np.float32).reshape(8, 262144)
    d = np.zeros_like(a)
    executable.bind({"A": a, "D": d})
    executable.run()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(50):
        executable.run()
    assert np.array_equal(d, a[:, ::-1])
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 8 * 1024  # KiB


def test_source_language_is_found_by_name() -> None:
    assert isinstance(registry.builder(replace(source(), threads=1).language), TensorIRBuilder)


def test_the_quick_stack_is_the_stack_without_source_lines() -> None:
    import inspect

    from tuner.builders.tvm.tensor_intrin import quick_stack

    with quick_stack():
        quick = inspect.stack()
    slow = inspect.stack()
    assert [(f.function, f.filename) for f in quick] == [(f.function, f.filename) for f in slow]
    assert quick[0].frame is slow[0].frame
    assert inspect.stack()[0].code_context is not None  # the original is back


@pytest.mark.slow
def test_tensor_intrinsics_are_imported() -> None:
    code = """
from tuner.builders.tvm.tensor_intrin import import_tensor_intrin
import_tensor_intrin()
from tvm.s_tir import TensorIntrin
print(TensorIntrin.get("dot_4x4_i8i8s32_sdot") is not None)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "True", done.stderr
