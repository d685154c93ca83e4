"""A user's own files, whatever their names, do not stand in for the lab's, nor the lab's for theirs."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes import python_path

ROOT = Path(__file__).resolve().parent.parent
# Names of the lab's folders and modules, and of the standard library's that processes of ours import.
NAMES = (
    "schedules", "experiments", "cuda_src", "operators", "registry", "core", "engine", "api",
    "json", "pickle", "queue", "selectors", "socket",
)  # fmt: skip


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    folder = tmp_path / "user"
    folder.mkdir()
    for name in NAMES:
        (folder / f"{name}.py").write_text(f"MINE = '{name}'\n")
    return folder


def python(*arguments: str, folder: Path, path: str = python_path(ROOT)) -> str:
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, capture_output=True, text=True, timeout=120,
        env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


_REGISTRY = """
import tuner
from tuner import registry
print(sorted(registry.kernels()), sorted(registry.operators()), registry.broken)
"""


def test_all_kernels_are_found_and_the_user_s_modules_too(hostile: Path, tmp_path: Path) -> None:
    for name in NAMES[-5:]:
        (hostile / f"{name}.py").unlink()  # with these first on the path no Python program works
    expected = python("-c", _REGISTRY, folder=tmp_path)
    program = _REGISTRY + "import schedules, experiments\nprint(schedules.MINE, experiments.MINE)"
    # Imported before the lab and after it; the user's folder comes first on the path.
    assert python("-c", program, folder=hostile) == f"{expected}schedules experiments\n"
    program = "import schedules, experiments\n" + _REGISTRY + "print(schedules.MINE, experiments.MINE)"
    assert python("-c", program, folder=hostile) == f"{expected}schedules experiments\n"
    assert "'cpp_packed'" in expected and "'tir_packed'" in expected and expected.endswith("{}\n")


def test_the_command_lists_all_kernels_there(hostile: Path, tmp_path: Path) -> None:
    program = "import sys; sys.argv = ['tuner', 'kernels', 'gemm']; from tuner.cli import main; main()"
    (tmp_path / "other").mkdir()
    assert python("-P", "-c", program, folder=hostile) == python(
        "-P", "-c", program, folder=tmp_path / "other"
    )


_WARM = """
import sys, tempfile
from pathlib import Path
from tuner.engine.processes.zygote import Zygote
modules = ["tuner.engine.building.build_process", "tuner.schedules.gemm.tensorir.packed"]
zygote = Zygote(modules, Path(tempfile.mkdtemp()))
zygote.wait_ready()
zygote.close()
print("ready")
"""


def test_warm_processes_start_in_such_a_folder(hostile: Path, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(_WARM)
    assert python(str(tmp_path / "program.py"), folder=hostile) == "ready\n"


_LOAD = """
from tuner import registry
from tuner.core.errors import TunerError
from tuner.core.workload import Workload
from tuner.devices.cpu.device import CpuDevice
from tuner.engine.program.load import load_rows
for key in ("gemm/f32/m8-n8-k8", "conv2d/f32/n1-c1-h3-w3-k1-r1-s1"):
    try:
        load_rows(Workload.from_key(key), [], CpuDevice())
    except TunerError as error:
        print(error)
"""


def test_a_lab_file_that_does_not_import_is_said_by_load(tmp_path: Path) -> None:
    site = tmp_path / "site-packages"
    for name in ("tuner", "schedules", "cuda_src"):
        shutil.copytree(ROOT / name, site / name, ignore=shutil.ignore_patterns("__pycache__"))
    with (site / "schedules" / "gemm" / "tensorir" / "packed.py").open("a") as file:
        file.write("\nimport nothing_of_this_name\n")
    gemm, conv = python("-c", _LOAD, folder=tmp_path, path=str(site)).splitlines()
    assert gemm == (
        "the lab's own file schedules/gemm/tensorir/packed.py cannot be loaded, kernels are missing: "
        "ModuleNotFoundError: No module named 'nothing_of_this_name'"
    )
    assert conv.startswith("nothing stored of any kernel for conv2d/f32")
