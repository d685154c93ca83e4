"""The script for the first machine with a GPU: what it plans, without one."""

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from tuner import registry
from tuner.core.source_kernel import SourceKernel
from tuner.targets import cuda

SCRIPT = Path(__file__).resolve().parents[1] / "scripts" / "gpu-first-run.sh"


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(SCRIPT), *arguments], capture_output=True, text=True, timeout=60)


def test_the_plan_has_every_rung_with_a_workload_that_it_serves() -> None:
    done = _run("--dry-run")
    assert done.returncode == 0, done.stderr
    planned: dict[str, set[str]] = {}
    for line in done.stdout.splitlines():
        if found := re.match(r"rung-(\w+)-(\w+) +\d+s  (.*)", line):
            planned.setdefault(found[1], set()).add(found[2])
            shape = re.search(r"--shape (.*?) --dtype (\w+)", found[3])
            kernel = registry.kernel(found[1])
            assert shape is not None and kernel.operator in {"gemm", "conv2d", "attention"}
            workload = registry.operator(kernel.operator).parse(shape[1], shape[2])
            assert kernel.unsupported(workload, cuda.target("cuda:sm_90")) is None, line
    rungs = {
        name
        for name, kernel in registry.kernels().items()
        if isinstance(kernel, SourceKernel) and "cuda" in kernel.target_kinds
    }
    assert planned.keys() == rungs
    assert set(map(frozenset, planned.values())) == {
        frozenset({"predicted", "measured", "memcheck", "ncu", "racecheck", "emulator"})
    }


@pytest.mark.parametrize(
    ("arguments", "said"), [(("--minutes", "0"), "whole number"), (("--fast",), "no option --fast")]
)
def test_bad_input_is_one_line(arguments: tuple[str, ...], said: str) -> None:
    done = _run(*arguments)
    assert done.returncode == 2 and said in done.stderr and done.stderr.count("\n") == 1


def test_the_wheels_to_bring_along_are_named_for_both_kinds_of_driver() -> None:
    lines = [shlex.split(line, comments=True) for line in _run("--list-wheels").stdout.splitlines()]
    wanted = {word for words in lines for word in words}
    assert {".[gpu]", ".[gpu12]", "pytest-timeout", "hypothesis"} <= wanted


@pytest.mark.skipif(shutil.which("nvidia-smi") is not None, reason="there is a driver here")
def test_without_a_gpu_it_says_what_is_missing_and_what_that_costs(tmp_path: Path) -> None:
    """Nothing is written, whether it was asked to look or to run."""
    looked = _run("--check")
    assert looked.returncode == 1
    assert looked.stdout.startswith("missing: an NVIDIA driver (nvidia-smi): nothing can be measured\n")
    assert all(line.startswith("missing: ") for line in looked.stdout.splitlines())
    out = tmp_path / "first"
    run = _run("--out", str(out))
    assert run.returncode == 2 and looked.stdout in run.stderr and not out.exists()
    assert run.stderr.splitlines()[-1].startswith("error: there is no nvidia-smi")


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
def test_shellcheck_finds_nothing() -> None:
    done = subprocess.run(["shellcheck", str(SCRIPT)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout
