"""Declarations in C++ and CUDA files: what they give, and what is said of a wrong one."""

import re
from pathlib import Path

import pytest

from tuner import registry
from tuner.core.declared_arguments import read_argument
from tuner.core.errors import InvalidConfig, InvalidSpace, Unavailable
from tuner.core.source import Argument
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
    kernel = registry.source_kernel(write(tmp_path, GOOD))
    assert (kernel.name, kernel.operator, kernel.language, kernel.target_kinds) == (
        "tiled",
        "gemm",
        "cxx",
        ("cpu",),
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
        "OPT_RELU": "1", "OPT_ALPHA": "0.5f", "OPT_BATCH": "1", "OPT_BIAS": "0",
    }  # fmt: skip
    # Errors of the compiler name the file's own lines.
    assert source.text.split('#line 1 "kernel.cpp"\n')[1] == kernel.text
    arguments = {a.name: (a.kind, a.value) for a in source.arguments}
    assert arguments["A"] == ("tensor", None) and arguments["m"] == ("int64", 100)
    assert arguments["alpha"] == ("float32", 0.5) and arguments["batch"] == ("int64", 1)
    assert arguments["bias"] == ("tensor", None)  # yes or no says whether there is a tensor of that name
    assert [a.name for a in source.arguments] == ["A", "B", "bias", "D", "m", "n", "k", "alpha", "batch"]
    assert source.options == {"include": str(tmp_path), "flags": ["-ffast-math"], "requires": ["fma"]}
    assert kernel.features(WORKLOAD, config, CPU) == {"tile_bytes": 1024.0}


def test_a_cuda_declaration_gives_the_launch_and_workspaces(tmp_path):
    declaration = GOOD.replace('requires = ["fma"]', "") + LAUNCH + '\n[workspace]\nalpha = "TILE * m * 4"\n'
    declaration = declaration.replace('fits_l1 = "3 * TILE * TILE * element_bytes <= l1d_bytes"', "")
    kernel = registry.source_kernel(write(tmp_path, declaration, ".cu"))
    config = {"TILE": 16, "ORDER": "ijk", "PACK": False, "SCALE": 1.0, "threads": 1}
    source = kernel.lower(WORKLOAD, config, GPU)
    assert source.language == "nvrtc"
    assert (source.launch.grid, source.launch.block) == ((4, 7, 1), (16, 8, 1))
    assert source.launch.shared_bytes == 2048
    arguments = {a.name: (a.kind, a.value) for a in source.arguments}
    assert arguments["m"] == ("int32", 100) and arguments["alpha"] == ("workspace", 6400)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("int32: m * n", 2**31),
        ("int64: m * n", 2**63),
        ("int32: m", "text"),
        ("struct: A, int32: m", -(2**31) - 1),
    ],
)
def test_an_argument_that_its_type_does_not_hold_is_refused_and_not_cut(text, value):
    with pytest.raises(InvalidConfig, match="does not hold"):
        read_argument(text, Argument, {"m": value, "n": 1})


@pytest.mark.parametrize(
    ("declaration", "message"),
    [
        ("name = [", "not TOML"),
        (change('name = "tiled"', ""), "missing key 'name'"),
        (change('entry = "gemm"', ""), "missing key 'entry'"),
        (change("[features]", "[feature]"), "unknown key 'feature'"),
        (change('name = "tiled"', "name = 5"), "name is a text, not 5"),
        (change('name = "tiled"', 'name = ""'), "name is a text"),
        (
            change('name = "tiled"', 'name = "a\\nb"'),
            "name has a line end or a control character in it: 'a.nb'",
        ),
        (change('summary = "Tiles."', 'summary = "a\\u001b[2Jb"'), "summary has a line end or a control"),
        (change('doc = "edge"', 'doc = "a\\u0007b"'), "parameters TILE doc has a line end or a control"),
        (
            change('ORDER = ["ijk", "jik"]', 'ORDER = ["i\\n"]'),
            "parameters ORDER has a line end or a control",
        ),
        (
            change('small = "TILE', '"a\\u001bb" = "TILE'),
            r"a name in .constraints. has a line end or a control",
        ),
        (change('small = "TILE <= m', 'small = "TILE \\u0000 <= m'), "constraints small has a line end or"),
        ('"a\\u001bb" = 1\n' + GOOD, r"unknown key 'a.x1bb'"),
        (change('dtypes = ["f32", "f16"]', 'dtypes = "f32"'), "dtypes is a list of texts, not 'f32'"),
        (change('flags = ["-ffast-math"]', "flags = [3]"), "flags is a list of texts"),
        (change('ORDER = ["ijk", "jik"]', 'ORDER = "ijk"'), "parameter ORDER is a list of values"),
        (change('ORDER = ["ijk", "jik"]', 'ORDER = { doc = "x" }'), "parameter ORDER is a list of values"),
        (change('ORDER = ["ijk", "jik"]', "ORDER = { values = [1], docs = 'x' }"), "and doc, not 'docs'"),
        (change('ORDER = ["ijk", "jik"]', "ORDER = []"), "parameter ORDER has no values"),
        (change('ORDER = ["ijk", "jik"]', "ORDER = [[1], [2]]"), "parameter ORDER: a value is"),
        (change('ORDER = ["ijk", "jik"]', "ORDER = [nan]"), "parameter ORDER: a value is a finite"),
        (change('ORDER = ["ijk", "jik"]', "ORDER = [1979-05-27]"), "parameter ORDER: a value is"),
        (change('ORDER = ["ijk", "jik"]', "ORDER = [1, 1]"), "parameter ORDER lists a value twice"),
        (change('ORDER = ["ijk", "jik"]', "OPT_X = [1, 2]"), "macro OPT_X: OPT_ begins macros of options"),
        (change('ORDER = ["ijk", "jik"]', "DTYPE_X = [1]"), "macro DTYPE_X: .* DTYPE_ those of dtypes"),
        (change('ORDER = ["ijk", "jik"]', '"O K" = [1]'), r"\[parameters\] 'O K' is no name of a macro"),
        (change('operator = "gemm"', 'operator = "gem"'), "unknown operator 'gem': did you mean 'gemm'"),
        (change("relu = false", "rleu = false"), "gemm has no option 'rleu': did you mean 'relu'"),
        (change("alpha = 1.0", "alpha = 2.0"), "option alpha is 1.0 by default, not 2.0"),
        (change('"A", "B", "bias"', '"A", "B", "bais"'), "argument 'bais' is no .*: did you mean 'bias'"),
        (change('"A", "B", "bias"', '"A", "B", "beta"'), "argument beta is an option of gemm that `options`"),
        (change('"A", "B", "bias"', '"A", "B", "relu"'), "argument relu is a yes-or-no option: .*OPT_RELU"),
        (change("[options]", "[let]\nm = 'TILE'\n[options]"), r"\[let\] m is the name of a dimension too"),
        (change("[options]", "[let]\nA = 'TILE'\n[options]"), r"\[let\] A is the name of a tensor too"),
        (change("[options]", "[let]\nTILE = 'm'\n[options]"), r"\[let\] TILE is the name of a parameter"),
        (change("[options]", "[let]\nmin = 'm'\n[options]"), r"\[let\] 'min' is no name for an expression"),
        (change("[options]", "[let]\na = 'b'\nb = 'a + 1'\n[options]"), r"a: .* a circle, a -> b -> a"),
        (change("[options]", "[let]\na = 'b'\nb = 'm'\n[options]"), r"a: it uses b, .* move b above a"),
        (change("[options]", "[let]\na = 'm +'\n[options]"), r"\[let\] a: .* does not parse"),
        (change("[options]", "[macros]\nTILE = 'k'\n[options]"), "macro TILE would stand for two things"),
        (change("[options]", "[macros]\nX = '2 * k'\n[options]"), r"\[macros\] X uses the size k, .* any"),
        (
            change('small = "TILE <= m and TILE <= n"', 'small = "TILE <="'),
            r"\[constraints\] small: .* parse",
        ),
        (change('small = "TILE <= m and TILE <= n"', "small = 5"), r"\[constraints\] small: .* text, not 5"),
        (change('small = "TILE <= m and TILE <= n"', "small = [1]"), r"\[constraints\] small: .* not \[1\]"),
        (change('tile_bytes = "TILE * TILE * 4"', 'x = "system(1)"'), r"\[features\] x: .* may call only"),
        ("parameters = [1]\n" + GOOD.replace("[parameters]", "[options.p]"), r"\[parameters\] is a table"),
        (change("[options]", "[initial]\nE = 'C'\n[options]"), r"\[initial\] 'E' is no tensor or workspace"),
        (GOOD + LAUNCH, "a C[+][+] kernel has none"),
    ],
)
def test_a_wrong_declaration_names_the_file_and_the_mistake(tmp_path, declaration, message):
    path = write(tmp_path, declaration)
    with pytest.raises(InvalidSpace, match=message) as error:
        registry.source_kernel(path)
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
        ('[launch]\ngrid = ["1"]\nblock = ["f(1)"]', r"\[launch\] block 0: .* may call only"),
        (
            '[launch]\ngrid = ["1"]\nblock = ["1"]\nshared_bytes = "4 *"',
            r"shared_bytes: .* does not parse",
        ),
    ],
)
def test_a_wrong_launch_names_the_file_and_the_mistake(tmp_path, launch, message):
    with pytest.raises(InvalidSpace, match=message):
        registry.source_kernel(write(tmp_path, GOOD + launch, ".cu"))


def test_a_constraint_over_an_unknown_name_names_file_and_constraint(tmp_path):
    path = write(tmp_path, change("TILE <= n", "TILE <= width"))
    with pytest.raises(InvalidSpace, match=r"kernel\.cpp: constraint small uses unknown width$"):
        registry.source_kernel(path).space(WORKLOAD, CPU)


def test_files_that_are_no_kernels(tmp_path):
    plain = tmp_path / "plain.cpp"
    plain.write_text("int main() {}\n")
    with pytest.raises(InvalidSpace, match="must begin with a comment"):
        registry.source_kernel(plain)
    (tmp_path / "binary.cpp").write_bytes(b"/*[tuner]\n\xff\xfe*/")
    with pytest.raises(InvalidSpace, match="cannot be read"):
        registry.source_kernel(tmp_path / "binary.cpp")
    with pytest.raises(InvalidSpace, match="cannot be read"):
        registry.source_kernel(tmp_path / "missing.cpp")
    with pytest.raises(InvalidSpace, match=r"ending is .cpp or .cu"):
        registry.source_kernel(write(tmp_path, GOOD, ".c"))


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
        registry.source_kernel(write(tmp_path, GOOD)).require(workload, target)


def test_a_change_in_any_included_file_makes_another_kernel(tmp_path):
    (tmp_path / "a.h").write_text('#include "sub/b.h"\n#include <vector>\n#include "missing.h"\n')
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "b.h").write_text('#pragma once\n#  include "../a.h"\n')  # a cycle ends
    path = write(tmp_path, GOOD, body='#include "a.h"\n')
    assert [p.name for p in registry.source_kernel(path).source_files()] == ["kernel.cpp", "a.h", "b.h"]
    before = registry.source_kernel(path).digest
    (tmp_path / "unrelated.h").write_text("x")
    assert registry.source_kernel(path).digest == before
    loaded = registry.source_kernel(path)
    assert loaded.digest == before
    (tmp_path / "sub" / "b.h").write_text("#pragma once\n")
    assert registry.source_kernel(path).digest != before
    # What was read stays what it was: an edit during a sweep makes no trial of the old text look new.
    assert loaded.digest == before


# A kernel of conv2d with everything that saves words: each expression stands once.
SHORT = """
name = "short"
operator = "conv2d"
entry = "conv2d"
arguments = ["X", "W", "Y", "p", "q", "tiles", "pad"]
options = ["stride", "pad", "bias"]

[let]
tile = "BM * BN"
tiles = "ceildiv(p * q, tile)"
threads = "tile // 4"

[parameters]
BM = [8, 16]
BN = [8, 64]

[constraints]
threads_fit = "threads <= 128"

[macros]
THREADS = "threads"
VECTORS = "BN // 4 if stride == 1 else 1"

[features]
waves = "tiles / 108"

[launch]
grid = ["tiles", "n"]
block = ["threads"]
"""
CONV = {"n": 2, "c": 3, "h": 9, "w": 11, "k": 4, "r": 3, "s": 3}


def test_named_expressions_derived_sizes_and_options_of_the_operator(tmp_path: Path) -> None:
    kernel = registry.source_kernel(write(tmp_path, SHORT, ".cu"))
    workload = registry.operator("conv2d").workload("f32", **CONV, pad=1, stride=2)
    assert kernel.options == {"stride": 1, "pad": 0, "bias": False}
    space = kernel.space(workload, GPU)
    assert space.size == 3
    config = {"BM": 8, "BN": 64}
    source = kernel.lower(workload, config, GPU)
    # p = (9 + 2 - 3) // 2 + 1 = 5, q = (11 + 2 - 3) // 2 + 1 = 6; 512 pixels a tile, 128 threads.
    assert (source.launch.grid, source.launch.block) == ((1, 2, 1), (128, 1, 1))
    numbers = [(a.name, a.kind, a.value) for a in source.arguments if a.kind != "tensor"]
    assert numbers == [("p", "int32", 5), ("q", "int32", 6), ("tiles", "int32", 1), ("pad", "int32", 1)]
    defined = dict(re.findall(r"^#define (\S+) (\S+)$", source.text, re.M))
    assert defined == {
        "DTYPE_F32": "1", "BM": "8", "BN": "64", "OPT_STRIDE": "2", "OPT_PAD": "1", "OPT_BIAS": "0",
        "THREADS": "128", "VECTORS": "1",
    }  # fmt: skip
    assert kernel.features(workload, config, GPU) == {"waves": 1 / 108}


def test_a_broken_constraint_is_shown_as_declared_with_the_parameters_behind_it(tmp_path: Path) -> None:
    kernel = registry.source_kernel(write(tmp_path, SHORT, ".cu"))
    space = kernel.space(registry.operator("conv2d").workload("f32", **CONV), GPU)
    assert space.why_invalid({"BM": 16, "BN": 64}) == (
        "constraint threads_fit is broken: threads <= 128 (threads=256), where BM=16, BN=64"
    )


def test_options_in_one_word_are_all_of_the_operator_s(tmp_path: Path) -> None:
    kernel = registry.source_kernel(
        write(tmp_path, SHORT.replace('["stride", "pad", "bias"]', '"operator"'), ".cu")
    )
    operator = registry.operator("conv2d")
    # `strict` is about the arithmetic: nobody has to declare it.
    every = {k: v for k, v in operator.options.items() if k not in ("strict", "frozen")}
    # What came later has to be named: an older file would compute something else.
    assert kernel.options == {k: v for k, v in every.items() if k not in operator.named_options}
    named = SHORT.replace('["stride", "pad", "bias"]', str(["operator", *operator.named_options]))
    assert registry.source_kernel(write(tmp_path, named, ".cu")).options == every


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"ceildiv(p * q, tile)"', '"ceildiv(p * qq, tile)"', r"\[let\] tiles uses unknown qq"),
        ('"threads <= 128"', '"thread <= 128"', "threads_fit uses unknown thread: did you mean 'threads'"),
        ('["threads"]\n', '["treads"]\n', r"\[launch\] block 0 uses unknown treads: did you mean 'threads'"),
        ('"tiles / 108"', '"tiles / pad_top"', r"\[features\] waves uses unknown pad_top"),
    ],
)
def test_an_unknown_name_is_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in SHORT
    kernel = registry.source_kernel(write(tmp_path, SHORT.replace(old, new), ".cu"))
    with pytest.raises(InvalidSpace, match=message) as error:
        kernel.space(registry.operator("conv2d").workload("f32", **CONV), GPU)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            'options = ["stride", "pad", "bias"]',
            "options = 3",
            'options is "operator" .* not 3',
        ),
        ('"stride", "pad", "bias"]', '"strid"]', "conv2d has no option 'strid': did you mean 'stride'"),
        ('"p", "q", "tiles"', '"p", "q", "tile_s"', "argument 'tile_s' .*: did you mean 'tiles'"),
        ('"BN // 4 if', '"q // 4 if', r"\[macros\] VECTORS uses the size q.* shape_generic = false"),
        ('"threads"\nVECT', '"tiles"\nVECT', r"\[macros\] THREADS uses the size p"),
    ],
)
def test_a_wrong_short_declaration_is_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in SHORT
    with pytest.raises(InvalidSpace, match=message):
        registry.source_kernel(write(tmp_path, SHORT.replace(old, new), ".cu"))


def test_sizes_may_be_macros_where_a_binary_is_of_one_shape(tmp_path: Path) -> None:
    text = SHORT.replace('"BN // 4 if', '"q // 4 if').replace("[let]", "\n[let]")
    text = text.replace('entry = "conv2d"', 'entry = "conv2d"\nshape_generic = false')
    kernel = registry.source_kernel(write(tmp_path, text, ".cu"))
    assert kernel.shape_generic is False
    workload = registry.operator("conv2d").workload("f32", **CONV)
    assert "#define VECTORS 2\n" in kernel.lower(workload, {"BM": 8, "BN": 8}, GPU).text


def test_a_number_that_no_int32_holds_is_refused(tmp_path: Path) -> None:
    text = SHORT.replace('"ceildiv(p * q, tile)"', '"2 ** 31"')
    kernel = registry.source_kernel(write(tmp_path, text, ".cu"))
    workload = registry.operator("conv2d").workload("f32", **CONV)
    with pytest.raises(InvalidConfig, match="argument tiles is 2147483648, more than an int32 holds"):
        kernel.lower(workload, {"BM": 8, "BN": 8}, GPU)
