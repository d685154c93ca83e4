"""Of TVM's tensor intrinsics a search parses those of its target; the package is whole after it."""

import subprocess
import sys
from importlib.util import find_spec

import pytest

CODE = """
import sys
from tuner.searchers.metaschedule.evolution import import_tvm
from tuner.searchers.metaschedule.intrinsics import intrinsics
import_tvm()
import tvm.s_tir
from tvm.s_tir import TensorIntrin
with intrinsics({"kind": "llvm", "mtriple": "x86_64-unknown-linux-gnu"}):
    import tvm.s_tir.tensor_intrin  # what a TuneContext does
names = ("dot_16x4_vnni", "wmma_fill_16x16x16_f32")
here = [TensorIntrin.get(name, allow_missing=True) is not None for name in names]
from tvm.s_tir.tensor_intrin import arm_cpu, cuda, x86
after = TensorIntrin.get(names[1], allow_missing=True) is not None
print(*here, after, hasattr(tvm.s_tir.tensor_intrin, "rocm"))
"""


@pytest.mark.skipif(find_spec("tvm") is None, reason="needs TVM")
@pytest.mark.slow
def test_a_target_has_its_own_intrinsics_and_the_package_is_whole_afterwards():
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True)
    assert done.stdout.split() == ["True", "False", "True", "True"], done.stderr
