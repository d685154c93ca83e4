"""The wheel, installed where there is no checkout, does what the checkout does."""

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.test_layout import tracked
from tuner import registry
from tuner.core.host_cxx import find_compiler

ROOT = Path(__file__).resolve().parent.parent
PACKED = ("tuner", "schedules", "cuda_src", "experiments")


def run(
    command: Sequence[str | Path], folder: Path, **environment: str
) -> "subprocess.CompletedProcess[str]":
    done = subprocess.run(
        [str(word) for word in command], cwd=folder, env={**os.environ, **environment},
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("hatchling", reason="hatchling builds the wheel: it is in the extra dev")
    folder = tmp_path_factory.mktemp("wheel")
    run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder], ROOT)
    (built,) = folder.glob("kernel_tuner_lab-*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` of a new environment with the wheel, and the libraries of the one that tests run in."""
    place = tmp_path_factory.mktemp("environment")
    run([sys.executable, "-m", "venv", "--without-pip", place], place)
    python = place / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", python]
    run([*pip, "install", "--no-deps", "--no-index", "--no-compile", wheel], place)
    (packages,) = place.glob("lib/python*/site-packages")
    # A line of a .pth file adds a folder and none of the .pth files in it: an editable installation of the
    # checkout is not among what it adds.
    others = [p for p in sys.path if Path(p).name in ("site-packages", "dist-packages")]
    (packages / "libraries.pth").write_text("".join(f"{path}\n" for path in others))
    return place / "bin"


@pytest.fixture
def own(tmp_path: Path) -> dict[str, str]:
    """The environment of a user who has no checkout."""
    return {"PYTHONPATH": "", "TUNER_DB": str(tmp_path / "r.db"), "TUNER_CACHE": str(tmp_path / "cache"),
            "TUNER_PLUGINS": ""}  # fmt: skip


def test_everything_of_the_lab_is_in_it_and_nothing_else(wheel: Path) -> None:
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert {name.split("/")[0] for name in names} == set(PACKED)
    ours = {str(p.relative_to(ROOT)) for p in tracked() if p.relative_to(ROOT).parts[0] in PACKED}
    assert ours - names == set()
    assert {"tuner/py.typed", "tuner/store/migrations/script.py.mako"} <= names


def test_it_carries_its_licence_and_says_which(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    (info,) = {name.split("/")[0] for name in archive.namelist() if ".dist-info/" in name}
    assert archive.read(f"{info}/licenses/LICENSE") == (ROOT / "LICENSE").read_bytes()
    metadata = archive.read(f"{info}/METADATA").decode()
    assert "\nLicense-Expression: Apache-2.0\n" in metadata and "\nLicense-File: LICENSE\n" in metadata


PROGRAM = """
import json, sys
import numpy as np
import tuner
from tuner import registry

gemm = tuner.load("gemm", m=64, n=64, k=64)
a, b = np.random.default_rng(0).random((2, 64, 64), dtype=np.float32)
files = [getattr(m, "__file__", None) or "" for m in list(sys.modules.values())]
print(json.dumps({
    "kernel": gemm.kernel, "exact": gemm.exact, "right": bool(np.allclose(gemm(a, b), a @ b, rtol=1e-5)),
    "kernels": sorted(registry.kernels()), "operators": sorted(registry.operators()),
    "searchers": sorted(registry.searchers()), "broken": registry.broken,
    "tuner": tuner.__file__, "files": files, "path": sys.path,
}))
"""


def test_it_tunes_loads_and_calls_without_the_checkout(
    installed: Path, own: dict[str, str], tmp_path: Path
) -> None:
    if find_compiler() is None:
        pytest.skip("no C++ compiler")
    sweep = "sweep gemm --shape 64x64x64 --kernel cpp_tiled --trials 3 --no-baselines --rounds 0 --json"
    run([installed / "tuner", *sweep.split()], tmp_path, **own)
    said = json.loads(run([installed / "python", "-c", PROGRAM], tmp_path, **own).stdout)
    assert (said["kernel"], said["exact"], said["right"]) == ("cpp_tiled", True, True)
    assert Path(said["tuner"]).is_relative_to(installed.parent)
    own_packages = [p for p in said["path"] if Path(p).name in ("site-packages", "dist-packages")]
    assert own_packages
    seen = [file for file in [*said["files"], *said["path"]] if file and Path(file).is_relative_to(ROOT)]
    # The libraries may lie in an environment inside the checkout.
    assert [file for file in seen if not any(Path(file).is_relative_to(p) for p in own_packages)] == []
    # The files of kernels, searchers and operators are found there as they are here.
    assert said["kernels"] == sorted(registry.kernels())
    assert said["operators"] == sorted(registry.operators())
    assert said["searchers"] == sorted(registry.searchers())
    assert said["broken"] == registry.broken
