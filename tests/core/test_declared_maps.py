"""`[maps]` of a CUDA declaration: what a kernel is given for it, and what is said of a wrong one."""

from pathlib import Path

import pytest

from tuner import registry
from tuner.core.errors import InvalidConfig, InvalidSpace
from tuner.core.source_kernel import SourceKernel
from tuner.core.target import Target
from tuner.core.tensor_map import TensorMap, Windows
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


WINDOWED = """
name = "windowed"
operator = "conv2d"
dtypes = ["f16"]
entry = "conv2d"
arguments = ["map_x", "Y"]
options = ["stride", "pad", "nhwc"]

[maps.map_x]
tensor = "X"
dims = ["c", "w", "h", "n"]
box = ["64", "PIXELS"]
lower = ["-left", "-top"]
upper = ["right - (s - 1)", "bottom - (r - 1)"]
steps = ["stride", "stride"]
swizzle = "128"

[parameters]
PIXELS = [64, 2048]

[launch]
grid = ["1"]
block = ["128"]
"""


def test_a_map_of_windows_says_where_they_stand(tmp_path: Path) -> None:
    workload = registry.operator("conv2d").parse("n2 c64 h9 w8 k4 r3 s2 pad1 stride2 nhwc", "f16")
    argument = mapped(tmp_path, WINDOWED).lower(workload, {"PIXELS": 64}, GPU).arguments[0]
    expected = TensorMap((64, 8, 9, 2), (64, 64), 2, 128, Windows((-1, -1), (0, -1), (2, 2)))
    assert TensorMap.of(argument) == expected
    with pytest.raises(InvalidConfig, match="map map_x of X: a copy takes 1 to 256 channels of 1 to 1024"):
        mapped(tmp_path, WINDOWED).lower(workload, {"PIXELS": 2048}, GPU)


@pytest.mark.parametrize(
    ("text", "old", "new", "said"),
    [
        (MAPPED, 'tensor = "A"', 'tensor = "W"', "map_a: tensor is one of A, B"),
        (MAPPED, 'dims = ["k", "m"]', 'dims = ["k"]', "of one length"),
        (MAPPED, 'swizzle = "128"', 'stride = "128"', "has tensor, dims and box, and swizzle"),
        (MAPPED, "[maps.map_a]", "[maps.map_b]", "argument 'map_a' is no tensor"),
        (MAPPED, '"ROWS"', '"ROW"', "unknown"),
        (WINDOWED, 'steps = ["stride", "stride"]\n', "", "windows have lower, upper and steps, all three"),
        (WINDOWED, '["-left", "-top"]', '["-left"]', "two fewer than dims"),
        (WINDOWED, 'box = ["64", "PIXELS"]', 'box = ["64", "1", "1", "1"]', "box has channels and pixels"),
        (WINDOWED, '["-left", "-top"]', '"left"', "lower is a list of one to five expressions"),
    ],
)
def test_a_wrong_map_is_refused_in_one_line(text: str, old: str, new: str, said: str, tmp_path: Path) -> None:
    shapes = {MAPPED: ("gemm", "8x8x8"), WINDOWED: ("conv2d", "n2 c64 h9 w8 k4 r3 s2 nhwc")}
    operator, shape = shapes[text]
    assert old in text
    with pytest.raises(InvalidSpace) as caught:
        mapped(tmp_path, text.replace(old, new)).space(registry.operator(operator).parse(shape, "f16"), GPU)
    assert said in str(caught.value) and "\n" not in str(caught.value)
