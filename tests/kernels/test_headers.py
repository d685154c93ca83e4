"""Declarations of the lab's C++ and CUDA kernels say each thing once, and use what they name."""

import ast
import re
from collections import Counter
from pathlib import Path

import pytest

from tuner import registry
from tuner.core.source_kernel import SourceKernel

KERNELS = [k for _, k in sorted(registry.kernels().items()) if isinstance(k, SourceKernel)]
each_kernel = pytest.mark.parametrize("kernel", KERNELS, ids=lambda k: k.name)
# `MR * vectors` may stand twice, `NR * 4 // vector_bytes` has a name.
LONGEST = 12


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

    page = (Path(__file__).resolve().parents[2] / "docs" / "kernel-headers.md").read_text()
    ((name, text),) = re.findall(r"^```cuda (\S+)\n(.*?)^```", page, re.M | re.S)
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
