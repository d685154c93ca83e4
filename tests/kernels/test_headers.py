"""Declarations of the lab's C++ and CUDA kernels say each thing once, and use what they name."""

import ast
from collections import Counter

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
