"""The script for the first machine with a GPU: what it plans, without one."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import zipfile
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
            named = re.search(r"--target (cuda:sm_90a)", found[3])
            chosen = cuda.target(named[1] if named else "cuda:sm_90")
            assert kernel.unsupported(workload, chosen) is None, line
    rungs = {
        name
        for name, kernel in registry.kernels().items()
        if isinstance(kernel, SourceKernel) and "cuda" in kernel.target_kinds
    }
    assert planned.keys() == rungs
    assert set(map(frozenset, planned.values())) == {
        frozenset({"predicted", "measured", "memcheck", "ncu", "racecheck", "emulator"})
    }


def test_a_short_loan_runs_the_parts_that_are_named_in_their_order() -> None:
    listed = [line.split()[0] for line in _run("--list").stdout.splitlines()]
    assert listed[:2] == ["large", "rungs"] and listed[-1] == "emulator"
    everything = _run("--dry-run").stdout
    assert (
        everything.index("large-measured")
        < everything.index("rung-cuda_naive-measured")
        < everything.index("check-tests")
    )
    done = _run("--dry-run", "memcheck", "large")
    steps = [line.split()[0] for line in done.stdout.splitlines()]
    assert done.returncode == 0 and steps[-1] == "archive:" and "check-devices" in steps
    whats = {name.rsplit("-", 1)[1] for name in steps if name.startswith("rung-")}
    assert whats == {"memcheck"} and "check-tests" not in steps
    assert steps.index("rung-cuda_naive-memcheck") < steps.index("large-measured")
    assert _run("--dry-run", *listed).stdout == everything


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--minutes", "0"), "whole number"),
        (("--fast",), "no option --fast"),
        (("rung",), "no part rung; there is large, rungs,"),
    ],
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


_PYPROJECT = """[project]
name = "some-lab"
dependencies = ["there>=1", "old>=2", "lacking", "elsewhere; sys_platform == 'nowhere'"]
[project.optional-dependencies]
cuda = ["of-cuda==13.*"]
cuda12 = ["of-cuda12==12.*"]
gpu = ["some-lab[cuda]"]
gpu12 = ["some-lab[cuda12]"]
dev = ["tester>=8"]
"""


def _wheel(folder: Path, name: str, version: str) -> Path:
    """A wheel with a module that knows its version."""
    module = name.replace("-", "_")
    path = folder / f"{module}-{version}-py3-none-any.whl"
    info = f"{module}-{version}.dist-info"
    files = {
        f"{module}.py": f"version = {version!r}\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    with zipfile.ZipFile(path, "w") as archive:
        for name_, text in files.items():
            archive.writestr(name_, text)
        archive.writestr(f"{info}/RECORD", "".join(f"{n},,\n" for n in (*files, f"{info}/RECORD")))
    return path


def _brought(tmp_path: Path, extra: str) -> tuple[subprocess.CompletedProcess[str], dict[str, str]]:
    """What was said, and the versions of the modules in `site`; `there` and `old` were there before."""
    wheels, out, here = (tmp_path / name for name in ("wheels", "out", "here"))
    for folder in (wheels, out, here):
        folder.mkdir()
    for name, version in (("there", "1.0"), ("old", "1.0")):
        with zipfile.ZipFile(_wheel(tmp_path, name, version)) as archive:
            archive.extractall(here)
    brought = (
        "there 1.5, old 2.1, old 2.0, of-cuda 13.0, of-cuda 14.0, of-cuda12 12.9, tester 8.1, needed-by-it 3"
    )
    for name, version in map(str.split, brought.split(",")):
        _wheel(wheels, name, version)
    (wheels / "alien-1.0-cp27-cp27m-win32.whl").touch()
    whole = wheels / "old-2.1-py3-none-any.whl"
    data = whole.read_bytes()
    for number, start in enumerate(range(0, len(data), 200)):
        whole.with_name(f"{whole.name}.part-a{chr(97 + number)}").write_bytes(data[start : start + 200])
    whole.unlink()
    (tmp_path / "pyproject.toml").write_text(_PYPROJECT)
    call = "import sys, pathlib, gpu_wheels as g; P = pathlib.Path; a = sys.argv[1:]; "
    call += "sys.exit(g.main(P(a[0]), P(a[1]), a[2], ['tester'], P(a[3])))"
    paths = [str(wheels), str(out), extra, str(tmp_path / "pyproject.toml")]
    done = subprocess.run(
        [sys.executable, "-c", call, *paths], capture_output=True, text=True, timeout=60,
        env={**os.environ, "PYTHONPATH": f"{here}{os.pathsep}{SCRIPT.parent}"},
    )  # fmt: skip
    found = [re.search(r"'(.*)'", path.read_text()) for path in (out / "site").glob("*.py")]
    return done, {
        path.stem: match[1] for path, match in zip((out / "site").glob("*.py"), found, strict=True) if match
    }


def test_what_a_python_lacks_or_has_too_old_is_installed_beside_it(tmp_path: Path) -> None:
    """From pieces too; nothing that is there already, nothing of the other kind of driver."""
    done, site = _brought(tmp_path, "gpu")
    assert site == {"old": "2.1", "of_cuda": "13.0", "tester": "8.1", "needed_by_it": "3"}, done.stderr
    said = done.stdout.splitlines()
    assert "there: there 1.0" in said and "missing: lacking" in said and done.returncode == 1
    assert "brought: old 2.1 in place of 1.0 (old>=2)" in said
    assert sum(line.startswith("left out: ") for line in said) == 3


@pytest.mark.slow
def test_an_older_driver_gets_the_wheels_of_its_own_cuda(tmp_path: Path) -> None:
    _, site = _brought(tmp_path, "gpu12")
    assert "of_cuda12" in site and "of_cuda" not in site


def test_what_the_lab_starts_finds_what_was_brought_and_clocks_are_left_alone() -> None:
    lines = _run("--dry-run", "--out", "first").stdout.splitlines()
    assert any("scripts/gpu_wheels.py wheels first gpu pytest" in line for line in lines)
    root = SCRIPT.parent.parent
    assert any(f"PYTHONPATH={root}/first/site:{root}" in line for line in lines)
    counted = [line for line in lines if re.match(r"rung-\w+-ncu ", line)]
    assert counted and all(" ncu --clock-control none " in line for line in counted)


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
def test_shellcheck_finds_nothing() -> None:
    done = subprocess.run(["shellcheck", str(SCRIPT)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout
