"""`[maps]` of a CUDA declaration: what a kernel is given for it, and what is said of a wrong one."""

from pathlib import Path

import pytest

from tuner import registry
from tuner.core.errors import InvalidConfig, InvalidSpace
from tuner.core.source_kernel import SourceKernel
from tuner.core.target import Target
from tuner.core.tensor_map import TensorMap
from tuner.core.workload import Workload

GPU = Target("cuda", "sm_80", (), {"shared_bytes": 49152})
MAPPED = """
name = "mapped"
operator = "gemm"
dtypes = ["f16"]
entry = "gemm"
arguments = ["map_a", "D", "m"]

[maps.map_a]
tensor = "A"
dims = ["k", "m"]
box = ["128 // element_bytes", "ROWS"]
swizzle = "128"

[parameters]
ROWS = [64, 512]

[launch]
grid = ["1"]
block = ["128"]
"""


def mapped(tmp_path: Path, text: str = MAPPED) -> SourceKernel:
    (tmp_path / "mapped.cu").write_text(f"/*[tuner]{text}*/\n")
    return registry.source_kernel(tmp_path / "mapped.cu")


def test_a_map_is_an_argument_that_says_what_one_copy_fetches(tmp_path: Path) -> None:
    workload = Workload("gemm", "f16", (("m", 100), ("n", 50), ("k", 40)))
    argument = mapped(tmp_path).lower(workload, {"ROWS": 64}, GPU).arguments[0]
    assert (argument.name, argument.kind) == ("A", "map")
    assert TensorMap.of(argument) == TensorMap((40, 100), (64, 64), 2, 128)
    with pytest.raises(InvalidConfig, match="map map_a of A: a box has 1 to 256 elements"):
        mapped(tmp_path).lower(workload, {"ROWS": 512}, GPU)
    odd = Workload("gemm", "f16", (("m", 100), ("n", 50), ("k", 7)))
    with pytest.raises(InvalidConfig, match="rows are a multiple of 16 bytes apart, not 14"):
        mapped(tmp_path).lower(odd, {"ROWS": 64}, GPU)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('tensor = "A"', 'tensor = "W"', "map_a: tensor is one of A, B"),
        ('dims = ["k", "m"]', 'dims = ["k"]', "of one length"),
        ('swizzle = "128"', 'stride = "128"', "has tensor, dims and box, and swizzle"),
        ("[maps.map_a]", "[maps.map_b]", "argument 'map_a' is no tensor"),
        ('"ROWS"', '"ROW"', "unknown"),
    ],
)
def test_a_wrong_map_is_refused_in_one_line(old: str, new: str, said: str, tmp_path: Path) -> None:
    workload = Workload("gemm", "f16", (("m", 8), ("n", 8), ("k", 8)))
    with pytest.raises(InvalidSpace) as caught:
        mapped(tmp_path, MAPPED.replace(old, new)).space(workload, GPU)
    assert said in str(caught.value) and "\n" not in str(caught.value)
