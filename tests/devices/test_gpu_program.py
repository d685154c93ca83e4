"""A tuned kernel in a program on a real GPU: arrays of CuPy and torch in and out, on the caller's stream."""

import subprocess
import sys
from importlib.util import find_spec

import pytest

_TUNED = """
import sys, numpy as np, tuner
db = sys.argv[1]
tuner.tune("gemm", m=64, n=48, k=32, device="cuda:0", kernels=["cuda_shared_tiles"], trials=3, rounds=0,
           baselines=False, db=db)
gemm = tuner.load("gemm", m=64, n=48, k=32, device="cuda:0", db=db)
rng = np.random.default_rng(0)
a, b = rng.standard_normal((64, 32)).astype("f4"), rng.standard_normal((32, 48)).astype("f4")
"""
_CUPY = """
import cupy
with cupy.cuda.Stream(non_blocking=True) as stream:
    d = gemm(cupy.asarray(a), cupy.asarray(b)) + 1
    stream.synchronize()
assert isinstance(d, cupy.ndarray)
np.testing.assert_allclose(cupy.asnumpy(d), a @ b + 1, rtol=1e-4, atol=1e-4)
np.testing.assert_allclose(gemm(a, b), a @ b, rtol=1e-4, atol=1e-4)
"""
_TORCH = """
import torch
x, y = torch.from_numpy(a).cuda(), torch.from_numpy(b).cuda()
with torch.cuda.stream(torch.cuda.Stream()):
    d = gemm(x, y) + 1
torch.cuda.synchronize()
np.testing.assert_allclose(d.cpu().numpy(), a @ b + 1, rtol=1e-4, atol=1e-4)
out = torch.zeros(64, 48, device="cuda:0")
graph = torch.cuda.CUDAGraph()
with torch.cuda.graph(graph):
    gemm(x, y, out=out)
graph.replay()
torch.cuda.synchronize()
np.testing.assert_allclose(out.cpu().numpy(), a @ b, rtol=1e-4, atol=1e-4)
"""


@pytest.mark.gpu
@pytest.mark.parametrize("library", ["cupy", "torch"])
def test_on_a_gpu_a_tuned_kernel_works_on_arrays_where_they_lie(tmp_path, library: str) -> None:
    """In a process of its own: this one must stay able to fork."""
    if find_spec(library) is None:
        pytest.skip(f"{library} is not installed")
    program = _TUNED + {"cupy": _CUPY, "torch": _TORCH}[library]
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "gpu.db")], capture_output=True, text=True
    )
    if library == "torch" and "not compiled with CUDA" in done.stderr:
        pytest.skip("this torch is one for CPUs")
    assert done.returncode == 0, done.stderr
