"""A kernel that is less accurate than its dtype somewhere says so wherever it is what somebody gets."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.in_process import run_here
from tests.store.conftest import Maker
from tuner import registry
from tuner.core.places import CUDA_SRC
from tuner.store.records import KernelInfo
from tuner.store.store import open_store

SPLIT = KernelInfo("cpp_amx_split", "source1", "cxx", "gemm")
WORDS = "numbers below 2^-102 (2e-31) lose their low parts, below 2^-126 (1e-38) they count as zero"


@pytest.mark.parametrize(("seconds", "told"), [(1e-3, True), (3e-3, False)])
def test_best_and_export_say_it_where_such_a_kernel_is_the_fastest(
    seconds: float, told: bool, tmp_path: Path
) -> None:
    db = str(tmp_path / "results.db")
    with open_store(db) as store:
        for maker, time_s in ((Maker(), 2e-3), (Maker(kernel=SPLIT), seconds)):
            store.add_trials(store.begin_sweep(maker.spec), [maker.timed(time_s, MC=1)])
    for command in (("best",), ("export", str(tmp_path / "best.json"), "--best")):
        done = run_here(*command, "--db", db)
        assert done.returncode == 0, done.stderr
        assert (done.stdout.splitlines()[-1] == f"cpp_amx_split: {WORDS}") == told
        assert told or WORDS not in done.stdout


def test_the_kernels_that_split_f32_say_it() -> None:
    split = [k for k in registry.kernels().values() if k.name.endswith(("_amx_split", "_amx_split_ahead"))]
    assert {k.operator for k in split} == {"gemm", "conv2d", "attention"}
    assert {k.accuracy for k in split} == {WORDS}


@pytest.mark.slow
def test_a_sweep_a_library_and_load_say_it(tmp_path: Path) -> None:
    """With a kernel of one's own, as no processor need have tiles; a call of NumPy takes longer than it."""
    plugins = tmp_path / "plugins"
    plugins.mkdir()
    text = (CUDA_SRC / "gemm" / "0_naive.cpp").read_text()
    text = text.replace('name = "cpp_naive"', 'name = "coarse"\naccuracy = "tiny numbers count as zero"')
    text = text.replace('#include "', f'#include "{CUDA_SRC}/gemm/')
    (plugins / "coarse.cpp").write_text(text)
    db, library = str(tmp_path / "results.db"), tmp_path / "library"
    environment = {**os.environ, "TUNER_PLUGINS": str(plugins), "TUNER_DB": db}
    load = "import tuner; f = tuner.load('gemm', m=8, n=8, k=8); print(f); print(f.accuracy)"
    sweep = "sweep gemm --shape 8x8x8 --kernel coarse --kernel numpy --no-baselines --trials 2 --rounds 6"
    for arguments, last in (
        (["-m", "tuner", *sweep.split()], "coarse: tiny numbers count as zero"),
        (["-m", "tuner", "export", "--library", str(library), "gemm"], "coarse: tiny numbers count as zero"),
        (["-c", load], "; tiny numbers count as zero>"),
    ):
        done = subprocess.run(
            [sys.executable, *arguments], capture_output=True, text=True, timeout=170, env=environment
        )
        assert done.returncode == 0 and last in done.stdout, (done.stdout, done.stderr)
    assert done.stdout.splitlines()[-1] == "tiny numbers count as zero"
    readme = (library / "share" / "operators" / "README.md").read_text()
    assert "- coarse: tiny numbers count as zero" in readme
