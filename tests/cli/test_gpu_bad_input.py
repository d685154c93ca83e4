"""Bad input about GPUs: one line that names what is wrong and what would be right, exit code 2."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.in_process import run_here
from tuner import registry
from tuner.devices.cuda import facts

ROOT = Path(__file__).resolve().parents[2]
SWEEP = ("sweep", "gemm", "--shape", "64x64x64")
INSPECT = ("inspect", "cuda_shared_tiles", "--shape", "64x64x64")
CHECK = ("check", "cuda_shared_tiles", "--shape", "16x16x16")
needs_nvrtc = pytest.mark.skipif(
    registry.builder("nvrtc").unavailable() is not None, reason="needs the extra 'cuda' (NVRTC wheels)"
)


def refused(*arguments: str, **environment: str) -> str:
    """The error line of a command that must be refused; a process of its own, given an environment."""
    if environment:
        command = [sys.executable, "-m", "tuner", *arguments]
        environment = {**os.environ, **environment}
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)
    else:
        done = run_here(*arguments)
    assert done.returncode == 2, (done.stdout, done.stderr)
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("error: ")
    return line


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        # An architecture nobody knows, whether something is to be measured, ranked, looked at or checked.
        ((*SWEEP, "--target", "cuda:sm_99"), ["'cuda:sm_99'", "cuda:sm_90"]),
        ((*SWEEP, "--target", "cuda:sm_99", "--no-device"), ["'cuda:sm_99'", "cuda:sm_90"]),
        ((*INSPECT, "--target", "cuda:sm_99"), ["'cuda:sm_99'", "cuda:sm_90"]),
        ((*CHECK, "--target", "sm_1"), ["'sm_1'", "cuda:sm_80"]),
        # A parameter outside its list, one there is not, one missing; a constraint by its name.
        ((*INSPECT, "--config", "TILE=17 PAD=0"), ["TILE", "17", "16"]),
        ((*INSPECT, "--config", "TILES=16 PAD=0"), ["TILES", "TILE, PAD"]),
        ((*INSPECT, "--config", "TILE=16"), ["missing parameter PAD"]),
        ((*CHECK, "--config", "TILE=16 PAD=7"), ["PAD", "7"]),
        (
            ("check", "cuda_vectorized", "--shape", "16x16x16", "--config",
             "BM=16 BN=16 BK=4 TM=16 TN=16 PAD=0 UNROLL=1 GROUP_M=1 MIN_BLOCKS=1"),
            ["whole_warps", "threads % warp_size == 0 (threads="],
        ),
        # A device there is not, or that has no time; options that do not go together.
        ((*SWEEP, "--device", "tpu"), ["'tpu'", "cpu, cuda"]),
        ((*SWEEP, "--device", "emulated"), ["'emulated'", "cpu, cuda"]),
        ((*SWEEP, "--no-device"), ["--target cuda:sm_90"]),
        ((*SWEEP, "--device", "cpu", "--kernel", "cuda_naive"), ["cuda_naive", "cpp_naive"]),
        (("check", "cpp_naive", "--shape", "8x8x8"), ["cpp_naive", "cpu"]),
        (("check", "cuda_naive", "--shape", "2048x2048x2048"), ["too large to emulate"]),
        (("check", "nowhere.cu", "--shape", "8x8x8"), ["nowhere.cu"]),
    ],
)  # fmt: skip
def test_one_line_and_exit_code_2(arguments: tuple[str, ...], words: list[str]) -> None:
    line = refused(*arguments)
    for word in words:
        assert word in line, line


@pytest.mark.skipif(facts.missing() is None, reason="there may be a GPU here")
@pytest.mark.parametrize("where", [("--target", "cuda:sm_90"), ("--device", "cuda:0")])
def test_measuring_without_a_gpu_says_so_and_what_works_without(
    tmp_path: Path, where: tuple[str, str]
) -> None:
    database = tmp_path / "results.db"
    line = refused(*SWEEP, *where, "--db", str(database))
    assert "no GPU on this machine" in line and "driver" in line and "--no-device" in line
    assert not database.exists()


@needs_nvrtc
def test_a_syntax_error_is_the_compilers_first_with_file_and_line(tmp_path: Path) -> None:
    text = (ROOT / "cuda_src" / "gemm" / "0_naive.cu").read_text()
    broken = text.replace('#include "gemm.cuh"', f'#include "{ROOT}/cuda_src/gemm/gemm.cuh"')
    body = broken.index("{", broken.index("__global__")) + 1
    path = tmp_path / "mine.cu"
    path.write_text(broken[:body] + "\n  int i = ;" + broken[body:])
    number = path.read_text()[: body + 2].count("\n") + 1
    line = refused("inspect", str(path), "--shape", "16x16x16")
    assert f"mine.cu:{number}: error" in line and line.endswith("expected an expression")
    # The emulator's compiler is another one.
    line = refused("check", str(path), "--shape", "16x16x16")
    assert f"mine.cu:{number}:" in line and "expected" in line and len(line) < 300


@needs_nvrtc
def test_an_architecture_the_compiler_does_not_know_is_a_build_error() -> None:
    from tuner.builders.cuda import nvrtc_program
    from tuner.core.errors import BuildError

    with pytest.raises(BuildError, match=r"NVRTC .* does not know the architecture sm_42"):
        nvrtc_program.compile_cubin('extern "C" __global__ void f() {}', "sm_42")


def test_a_missing_extra_is_named(tmp_path: Path) -> None:
    # A machine without the wheels of the extra: their metadata is not found.
    (tmp_path / "sitecustomize.py").write_text(
        "import importlib.metadata as m\n"
        "real = m.version\n"
        "def version(name):\n"
        "    if name.startswith(('nvidia-cuda', 'cuda-core')):\n"
        "        raise m.PackageNotFoundError(name)\n"
        "    return real(name)\n"
        "m.version = version\n"
    )
    path = f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    for command in ((*SWEEP, "--target", "cuda:sm_80", "--no-device", "--kernel", "cuda_naive"), INSPECT):
        line = refused(*command, PYTHONPATH=path)
        assert "kernel-tuner-lab[cuda]" in line, line
