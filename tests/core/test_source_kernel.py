"""Declarations in C++ and CUDA files: what they give, and what is said of a wrong one."""

import re

import pytest

from tuner.core.errors import InvalidSpace, Unavailable
from tuner.core.source_kernel import SourceKernel
from tuner.core.target import Target
from tuner.core.workload import Workload

CPU = Target("cpu", "avx2", ("avx2", "fma"), {"l1d_bytes": 32768})
GPU = Target("cuda", "sm_80", (), {"shared_bytes": 49152})
WORKLOAD = Workload("gemm", "f32", (("m", 100), ("n", 50), ("k", 7)), (("alpha", 0.5), ("relu", True)))

GOOD = """
name = "tiled"
operator = "gemm"
summary = "Tiles."
dtypes = ["f32", "f16"]
entry = "gemm"
arguments = ["A", "B", "bias", "D", "m", "n", "k", "alpha", "batch"]
requires = ["fma"]
flags = ["-ffast-math"]

[options]
relu = false
alpha = 1.0
batch = 1
bias = false

[parameters]
TILE = { values = [8, 16, 128], doc = "edge" }
ORDER = ["ijk", "jik"]
PACK = [false, true]
SCALE = [0.5, 1.0]
threads = [1, 2]

[constraints]
fits_l1 = "3 * TILE * TILE * element_bytes <= l1d_bytes"
small = "TILE <= m and TILE <= n"

[features]
tile_bytes = "TILE * TILE * 4"
"""
LAUNCH = """
[launch]
grid = ["ceildiv(n, TILE)", "ceildiv(m, TILE)"]
block = ["TILE", "8"]
shared_bytes = "2 * TILE * TILE * 4"
"""


def write(folder, declaration, suffix=".cpp", body="int x;\n", name="kernel"):
    path = folder / f"{name}{suffix}"
    path.write_text(f"/*[tuner]\n{declaration}\n*/\n{body}")
    return path


def change(old, new):
    assert old in GOOD
    return GOOD.replace(old, new)


def test_a_declaration_gives_space_source_and_features(tmp_path):
    kernel = SourceKernel(write(tmp_path, GOOD))
    assert (kernel.name, kernel.operator, kernel.language, kernel.target_kind) == (
        "tiled",
        "gemm",
        "cxx",
        "cpu",
    )
    kernel.require(WORKLOAD, CPU)
    space = kernel.space(WORKLOAD, CPU)
    assert space.names == ("TILE", "ORDER", "PACK", "SCALE", "threads")
    assert {c["TILE"] for c in space} == {8, 16}
    config = {"TILE": 16, "ORDER": "jik", "PACK": True, "SCALE": 0.5, "threads": 2}
    assert "fits_l1" in space.why_invalid({**config, "TILE": 128})
    source = kernel.lower(WORKLOAD, config, CPU)
    assert (
        source.language == "cxx" and source.entry == "gemm" and source.threads == 2 and source.launch is None
    )
    defined = dict(re.findall(r"^#define (\S+) (\S+)$", source.text, re.M))
    assert defined == {
        "DTYPE_F32": "1", "TILE": "16", "ORDER": "jik", "PACK": "1", "SCALE": "0.5f", "threads": "2",
        "RELU": "1", "ALPHA": "0.5f", "BATCH": "1", "BIAS": "0",
    }  # fmt: skip
    # Errors of the compiler name the file's own lines.
    assert source.text.split('#line 1 "kernel.cpp"\n')[1] == kernel.text
    arguments = {a.name: (a.kind, a.value) for a in source.arguments}
    assert arguments["A"] == ("tensor", None) and arguments["m"] == ("int64", 100)
    assert arguments["alpha"] == ("float32", 0.5) and arguments["batch"] == ("int64", 1)
    assert arguments["bias"] == ("tensor", None)  # yes or no says whether there is a tensor of that name
    assert [a.name for a in source.arguments] == ["A", "B", "bias", "D", "m", "n", "k", "alpha", "batch"]
    assert source.options == {"include": str(tmp_path), "flags": ["-ffast-math"]}
    assert kernel.features(WORKLOAD, config, CPU) == {"tile_bytes": 1024.0}


def test_a_cuda_declaration_gives_the_launch_and_workspaces(tmp_path):
    declaration = GOOD.replace('requires = ["fma"]', "") + LAUNCH + '\n[workspace]\nalpha = "TILE * m * 4"\n'
    declaration = declaration.replace('fits_l1 = "3 * TILE * TILE * element_bytes <= l1d_bytes"', "")
    kernel = SourceKernel(write(tmp_path, declaration, ".cu"))
    config = {"TILE": 16, "ORDER": "ijk", "PACK": False, "SCALE": 1.0, "threads": 1}
    source = kernel.lower(WORKLOAD, config, GPU)
    assert source.language == "nvrtc"
    assert (source.launch.grid, source.launch.block) == ((4, 7, 1), (16, 8, 1))
    assert source.launch.shared_bytes == 2048
    arguments = {a.name: (a.kind, a.value) for a in source.arguments}
    assert arguments["m"] == ("int32", 100) and arguments["alpha"] == ("workspace", 6400)


@pytest.mark.parametrize(
    ("declaration", "message"),
    [
        ("name = [", "not TOML"),
        (change('name = "tiled"', ""), "missing key 'name'"),
        (change('entry = "gemm"', ""), "missing key 'entry'"),
        (change("[features]", "[feature]"), "unknown key 'feature'"),
        (change('name = "tiled"', "name = 5"), "name is a text, not 5"),
        (change('name = "tiled"', 'name = ""'), "name is a text"),
        (change('dtypes = ["f32", "f16"]', 'dtypes = "f32"'), "dtypes is a list of texts, not 'f32'"),
        (change('flags = ["-ffast-math"]', "flags = [3]"), "flags is a list of texts"),
        (change('ORDER = ["ijk", "jik"]', 'ORDER = "ijk"'), "parameter ORDER is a list of values"),
        (change('ORDER = ["ijk", "jik"]', 'ORDER = { doc = "x" }'), "parameter ORDER is a list of values"),
        (change('ORDER = ["ijk", "jik"]', "ORDER = []"), "parameter ORDER has no values"),
        (change('ORDER = ["ijk", "jik"]', "ORDER = [[1], [2]]"), "parameter ORDER: a value is"),
        (change('ORDER = ["ijk", "jik"]', "ORDER = [nan]"), "parameter ORDER: a value is a finite"),
        (change('ORDER = ["ijk", "jik"]', "ORDER = [1979-05-27]"), "parameter ORDER: a value is"),
        (change('ORDER = ["ijk", "jik"]', "ORDER = [1, 1]"), "parameter ORDER lists a value twice"),
        (change('ORDER = ["ijk", "jik"]', "RELU = [1, 2]"), "macro RELU would stand for two things"),
        (
            change('small = "TILE <= m and TILE <= n"', 'small = "TILE <="'),
            r"\[constraints\] small: .* parse",
        ),
        (change('small = "TILE <= m and TILE <= n"', "small = 5"), r"\[constraints\] small: .* text, not 5"),
        (change('small = "TILE <= m and TILE <= n"', "small = [1]"), r"\[constraints\] small: .* not \[1\]"),
        (change('tile_bytes = "TILE * TILE * 4"', 'x = "system(1)"'), r"\[features\] x: .* may call only"),
        ("parameters = [1]\n" + GOOD.replace("[parameters]", "[options.p]"), r"\[parameters\] is a table"),
        (GOOD + LAUNCH, "a C[+][+] kernel has none"),
    ],
)
def test_a_wrong_declaration_names_the_file_and_the_mistake(tmp_path, declaration, message):
    path = write(tmp_path, declaration)
    with pytest.raises(InvalidSpace, match=message) as error:
        SourceKernel(path)
    assert str(error.value).startswith(f"{path}: ") and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("launch", "message"),
    [
        ("", r"a CUDA kernel has a \[launch\] table"),
        ('[launch]\ngrid = ["1"]', "has grid and block"),
        ('[launch]\ngrid = ["1"]\nblock = ["1"]\nblocks = "2"', "has grid and block"),
        ('[launch]\ngrid = []\nblock = ["1"]', "grid is a list of one to three"),
        ('[launch]\ngrid = ["1", "1", "1", "1"]\nblock = ["1"]', "grid is a list of one to three"),
        ('[launch]\ngrid = "1"\nblock = ["1"]', "grid is a list"),
        ('[launch]\ngrid = ["1"]\nblock = ["f(1)"]', r"\[launch\]: .* may call only"),
        ('[launch]\ngrid = ["1"]\nblock = ["1"]\nshared_bytes = "4 *"', r"\[launch\]: .* does not parse"),
    ],
)
def test_a_wrong_launch_names_the_file_and_the_mistake(tmp_path, launch, message):
    with pytest.raises(InvalidSpace, match=message):
        SourceKernel(write(tmp_path, GOOD + launch, ".cu"))


def test_a_constraint_over_an_unknown_name_names_file_and_constraint(tmp_path):
    path = write(tmp_path, change("TILE <= n", "TILE <= width"))
    with pytest.raises(InvalidSpace, match=r"kernel\.cpp: constraint small uses unknown width"):
        SourceKernel(path).space(WORKLOAD, CPU)


def test_files_that_are_no_kernels(tmp_path):
    plain = tmp_path / "plain.cpp"
    plain.write_text("int main() {}\n")
    with pytest.raises(InvalidSpace, match="must begin with a comment"):
        SourceKernel(plain)
    (tmp_path / "binary.cpp").write_bytes(b"/*[tuner]\n\xff\xfe*/")
    with pytest.raises(InvalidSpace, match="cannot be read"):
        SourceKernel(tmp_path / "binary.cpp")
    with pytest.raises(InvalidSpace, match="cannot be read"):
        SourceKernel(tmp_path / "missing.cpp")
    with pytest.raises(InvalidSpace, match=r"ending is .cpp or .cu"):
        SourceKernel(write(tmp_path, GOOD, ".c"))


@pytest.mark.parametrize(
    ("workload", "target", "reason"),
    [
        (Workload("conv2d", "f32", WORKLOAD.dims), CPU, "it computes gemm, not conv2d"),
        (Workload("gemm", "int8", WORKLOAD.dims), CPU, "it has no dtype int8, only f32, f16"),
        (Workload("gemm", "f32", WORKLOAD.dims), GPU, "it is for cpu, not cuda"),
        (Workload("gemm", "f32", WORKLOAD.dims, (("trans_a", True),)), CPU, "does not honour option trans_a"),
        (WORKLOAD, Target("cpu", "sse2", ("sse2",)), "cpu:sse2 lacks fma"),
    ],
)
def test_a_kernel_that_cannot_serve_says_why(tmp_path, workload, target, reason):
    with pytest.raises(Unavailable, match=reason):
        SourceKernel(write(tmp_path, GOOD)).require(workload, target)


def test_a_change_in_any_included_file_makes_another_kernel(tmp_path):
    (tmp_path / "a.h").write_text('#include "sub/b.h"\n#include <vector>\n#include "missing.h"\n')
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "b.h").write_text('#pragma once\n#  include "../a.h"\n')  # a cycle ends
    path = write(tmp_path, GOOD, body='#include "a.h"\n')
    assert [p.name for p in SourceKernel(path).source_files()] == ["kernel.cpp", "a.h", "b.h"]
    before = SourceKernel(path).digest
    (tmp_path / "unrelated.h").write_text("x")
    assert SourceKernel(path).digest == before
    loaded = SourceKernel(path)
    assert loaded.digest == before
    (tmp_path / "sub" / "b.h").write_text("#pragma once\n")
    assert SourceKernel(path).digest != before
    # What was read stays what it was: an edit during a sweep makes no trial of the old text look new.
    assert loaded.digest == before
