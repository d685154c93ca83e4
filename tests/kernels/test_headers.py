"""Declarations of the lab's C++ and CUDA kernels say each thing once, and use what they name."""

import ast
import re
import tomllib
from collections import Counter
from pathlib import Path

import pytest

from tuner import registry
from tuner.core.source_kernel import SourceKernel

KERNELS = [k for _, k in sorted(registry.kernels().items()) if isinstance(k, SourceKernel)]
each_kernel = pytest.mark.parametrize("kernel", KERNELS, ids=lambda k: k.name)
# `MR * vectors` may stand twice, `NR * 4 // vector_bytes` has a name.
LONGEST = 12

PAGE = Path(__file__).resolve().parents[2] / "docs" / "kernel-headers.md"


def blocks(page: str) -> dict[str, str]:
    """The page's code, by what stands behind the fence."""
    return dict(re.findall(r"^```(\S[^\n]*)\n(.*?)^```", page, re.M | re.S))


def repeated(texts: list[str]) -> list[str]:
    """Parts of expressions, in their canonical form, that stand more than once in all of them together."""
    parts = Counter(
        ast.unparse(node)
        for text in texts
        for node in ast.walk(ast.parse(text.strip(), mode="eval").body)
        if isinstance(node, ast.expr) and not isinstance(node, ast.Name | ast.Constant)
    )
    return sorted(part for part, count in parts.items() if count > 1 and len(part) > LONGEST)


@each_kernel
def test_no_expression_stands_twice_in_a_declaration(kernel: SourceKernel) -> None:
    assert repeated([text for _, _, text in kernel.header.written]) == []


def test_an_expression_that_stands_twice_is_found() -> None:
    assert repeated(["BM * BN // (TM*TN) <= 1024", "(BM*BN) // (TM * TN) % 32 == 0"]) == [
        "BM * BN // (TM * TN)"
    ]
    assert repeated(["ceildiv(m, BM) * ceildiv( m,BM )"]) == ["ceildiv(m, BM)"]
    assert repeated(["BM * BN", "BM * BN"]) == []


@each_kernel
def test_every_definition_is_used(kernel: SourceKernel) -> None:
    texts = [text for _, _, text in kernel.header.written]
    used = {node.id for text in texts for node in ast.walk(ast.parse(text.strip(), mode="eval").body)
            if isinstance(node, ast.Name)}  # fmt: skip
    used.update(kernel.header.declared["arguments"])
    assert kernel.header.definitions.written.keys() - used == set()


@each_kernel
def test_every_name_in_a_declaration_is_known_on_every_target_of_its_kind(kernel: SourceKernel) -> None:
    """`space` refuses a name that nothing has; here for targets that this machine is not."""
    from tests.kernels.test_spaces import TARGETS

    operator = registry.operator(kernel.operator)
    workload = operator.parse(operator.example, kernel.dtypes[0])
    for target in TARGETS[kernel.target_kinds[0]]:
        kernel.space(workload, target)


def test_the_page_s_kernel_computes_right_and_the_page_names_every_key(tmp_path: Path) -> None:
    """On the emulator, on ragged shapes; and the message that the page shows is the one that is given."""
    from tuner.builders.emulator.cuda_emulated import CudaEmulatedBuilder
    from tuner.core import kernel_header
    from tuner.engine.examine.check import check_kernel
    from tuner.targets import cuda

    page = PAGE.read_text()
    name, text = "conv_sketch.cu", blocks(page)["cuda conv_sketch.cu"]
    for key in kernel_header._KNOWN:
        assert f"| `{key}` |" in page or f"| `[{key}]` |" in page, f"{key} is not on the page"
    for operator in registry.operators().values():
        for size in operator.derived(operator.parse(operator.example, operator.dtypes[0])):
            assert f"`{size}`" in page, f"{operator.name}'s {size} is not on the page"
    (tmp_path / name).write_text(text)
    kernel, target = registry.source_kernel(tmp_path / name), cuda.target("sm_80")
    workload = registry.operator("conv2d").parse("n2 c3 h9 w11 k4 r3 s3 pad1 stride2 bias relu")
    space = kernel.space(workload, target)
    assert str(space.why_invalid({"TILE_P": 1, "TILE_Q": 8})) in page
    if reason := CudaEmulatedBuilder().unavailable():
        pytest.skip(reason)
    (found,) = check_kernel(kernel, [workload], [{"TILE_P": 4, "TILE_Q": 8}], target)
    assert found.status == "ok", found.error


def test_the_page_s_group_is_taken_as_the_page_says(tmp_path: Path) -> None:
    from tuner.targets import cuda

    found = blocks(PAGE.read_text())
    (tmp_path / "resources.cuh").write_text(found["cuda resources.cuh"])
    (tmp_path / "between.cuh").write_text('#include "resources.cuh"\n')
    own, tables = found["toml"].split("\n", 1)
    head = f'name = "k"\noperator = "gemm"\nentry = "f"\narguments = ["D", "m"]\n{own}\n{tables}'
    path = tmp_path / "k.cu"
    path.write_text(
        f'/*[tuner]\n{head}[launch]\ngrid = ["1"]\nblock = ["threads"]\n*/\n#include "between.cuh"\n'
    )
    kernel, target = registry.source_kernel(path), cuda.target("sm_80")
    space = kernel.space(registry.operator("gemm").parse("64x64x64"), target)
    assert space.names == ("MIN_BLOCKS", "TILE")
    refused = space.why_invalid({"MIN_BLOCKS": 3, "TILE": 64})
    assert "threads <= max_threads_block" in str(refused), refused
    before = kernel.digest
    (tmp_path / "resources.cuh").write_text(found["cuda resources.cuh"].replace("[1, 2, 3]", "[1, 2]"))
    assert registry.source_kernel(path).digest != before


def test_every_group_of_the_lab_is_used() -> None:
    used = {(k.operator, name) for k in KERNELS for name in k.header.declared.get("use", [])}
    for path in sorted((PAGE.parents[1] / "cuda_src").rglob("*")):
        if path.suffix not in (".h", ".cuh") or "/*[tuner.shared]\n" not in (text := path.read_text()):
            continue
        for name in tomllib.loads(text.split("/*[tuner.shared]\n")[1].split("*/")[0]):
            users = [operator for operator, group in used if group == name]
            assert path.parent.name in users or (path.parent.name == "common" and users), f"{path}: {name}"
