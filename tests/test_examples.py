"""The programs in `examples/` run as they are, from a folder of the user's, and say what they promise."""

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tuner.core.host_cxx import find_compiler

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
LONGEST = 60
# What each has to print: (regular expression, how often at least).
SAYS = {
    "tune_and_load": [
        (r"^cpp_\w+ +\d+ trials, best +[\d.]+ us", 2),
        (r"^loaded <TunedKernel gemm/f32/m96-n128-k64", 1),
        (r"^largest difference from NumPy: \d\.\de-0[5-9]$|NumPy: 0\.0e\+00$", 1),
    ],
    "own_kernel": [
        (r"^  DEPTH=\d threads=1 +ok +[\d.]+ us$", 4),
        (r"^best of (gemm_outer|cpp_naive) +[\d.]+ us$", 2),
    ],
    "optuna_study": [(r"^24 of 76 valid configurations tried$", 1), (r"^best: .+'by_columns': ", 1)],
    "replay_recording": [
        (r"^cpp_register 640x640x640 on AMD EPYC: \d+ configurations, replayed$", 1),
        (r"^(random|local|surrogate), \d+ simulated s( +[01]\.\d{3}){4} *$", 3),
    ],
    "triton_autotune": [
        (r"3 tried, 0 from .+, 1 failed, .+; best config: BLOCK: (128|256), TAIL: True", 1),
        (r"0 tried, 3 from .+, 1 failed, .+; best config: BLOCK: (128|256), TAIL: True", 1),
        (r"^autotune of double rejected 1 configuration: BLOCK: 1024, TAIL: False.+out_ptr\[4096\]", 1),
        (r"^right: True$", 2),
    ],
}
NEEDS = {"triton_autotune": ("torch", "triton")}
COMPILED = {"tune_and_load", "own_kernel"}


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_says_what_it_promises(path: Path, tmp_path: Path) -> None:
    if path.stem in COMPILED and find_compiler() is None:
        pytest.skip("no C++ compiler")
    for name in NEEDS.get(path.stem, ()):
        if find_spec(name) is None:
            pytest.skip(f"{name} is not installed")
    assert len(path.read_text().splitlines()) <= LONGEST
    environment = {
        **os.environ, "TUNER_DB": str(tmp_path / "r.db"), "TUNER_CACHE": str(tmp_path / "cache"),
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
    }  # fmt: skip
    environment.pop("TUNER_PLUGINS", None)
    done = subprocess.run(
        [sys.executable, str(path)], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    for pattern, least in SAYS[path.stem]:
        assert len(re.findall(pattern, done.stdout, re.MULTILINE)) >= least, (pattern, done.stdout)


def test_every_example_is_in_the_readme_and_is_run() -> None:
    readme = (ROOT / "README.md").read_text()
    assert {path.stem for path in EXAMPLES} == SAYS.keys()
    assert [path.name for path in EXAMPLES if f"examples/{path.name}" not in readme] == []
