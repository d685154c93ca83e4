"""TensorIR for CUDA beside an NVIDIA driver: TVM's own runtime of CUDA loads, and must compile nothing."""

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

SWEEP = [
    sys.executable, "-m", "tuner", "sweep", "gemm", "--shape", "32x32x32", "--target", "cuda:sm_90",
    "--no-device", "--kernel", "tir_cuda", "--trials", "1", "--rounds", "0",
]  # fmt: skip


def _runtime() -> tuple[Path, Path]:
    """TVM's library for CUDA, and the folder of CUDA's runtime that it needs."""
    tvm, nvidia = find_spec("tvm"), find_spec("nvidia")
    assert tvm is not None and tvm.origin is not None and nvidia is not None
    library = Path(tvm.origin).parent / "lib" / "libtvm_runtime_cuda.so"
    found = [
        p for root in nvidia.submodule_search_locations or () for p in Path(root).rglob("libcudart.so.*")
    ]
    if not library.exists() or not found:
        pytest.skip("TVM was built without CUDA, or CUDA's runtime is not installed")
    return library, found[0].parent


@pytest.mark.skipif(not (find_spec("tvm") and find_spec("nvidia")), reason="needs TVM and the extra cuda")
def test_tensorir_builds_where_a_driver_is(tmp_path: Path) -> None:
    """With a library in the driver's place that has all its functions and finds no GPU."""
    library, cudart = _runtime()
    needed = sorted(set(re.findall(rb"\bcu[A-Z]\w+", library.read_bytes())))
    source = "".join(f"int {name.decode()}(void) {{ return 100; }}\n" for name in needed)
    (tmp_path / "driver.c").write_text(source)
    subprocess.run(
        ["gcc", "-w", "-shared", "-fPIC", "driver.c", "-o", "libcuda.so.1", "-Wl,-soname,libcuda.so.1"],
        cwd=tmp_path, check=True,
    )  # fmt: skip
    places = os.pathsep.join((str(tmp_path), str(cudart)))
    done = subprocess.run(
        [*SWEEP, "--db", str(tmp_path / "r.db")], env={**os.environ, "LD_LIBRARY_PATH": places},
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
