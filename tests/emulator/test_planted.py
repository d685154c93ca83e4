"""Each kind of defect is found at its line, and the right version of the same kernel is quiet."""

import pytest

from tests.emulator.emulate import bug_line, kinds, run
from tests.emulator.planted import PLANTED, Planted


def check(planted: Planted, text: str):  # type: ignore[no-untyped-def]
    absent = [name for name, size in planted.shapes.items() if size < 0]
    return run(
        text, planted.tensors, ["c"], grid=planted.grid, block=planted.block, shared=planted.shared,
        scalars=planted.scalars, workspace=planted.workspace, absent=absent, sanitize=True,
    )  # fmt: skip


@pytest.mark.parametrize("planted", PLANTED, ids=lambda p: p.name)
def test_found_at_its_line(planted: Planted) -> None:
    result = check(planted, planted.text)
    shown = [str(f) for f in result.findings]
    assert planted.kind in kinds(result), shown
    assert kinds(result) <= {planted.kind} | planted.also, shown
    assert result.completed != planted.stops, result.error
    if "// BUG" in planted.text:
        line = bug_line(planted.text)
        assert any(
            f.kind == planted.kind and line in (f.place.line, f.other.line if f.other else 0)
            for f in result.findings
        ), shown
    for finding in result.findings:
        assert finding.kernel == "k"
        if finding.place.line:
            assert finding.place.file == "kernel.cu"
            assert finding.place.block is not None and finding.place.thread is not None


@pytest.mark.parametrize("planted", PLANTED, ids=lambda p: p.name)
@pytest.mark.sampled(8)
def test_the_right_version_is_quiet(planted: Planted) -> None:
    result = check(planted, planted.fixed)
    assert result.clean, (result.error, [str(f) for f in result.findings])
