"""How the tests of the emulator run a few lines of CUDA."""

from collections.abc import Mapping, Sequence

import numpy as np

from tuner.builders.emulator.cuda_emulated import CudaEmulatedBuilder
from tuner.core.kernel import Argument, Launch, Source
from tuner.core.target import Target
from tuner.devices.emulator.check import CheckResult, Finding, check_source

TARGET = Target("cuda", "sm_80", (), {"max_threads_block": 1024, "shared_bytes_block": 49152,
                                      "shared_bytes_block_optin": 166912})  # fmt: skip
PLAIN, SANITIZED = CudaEmulatedBuilder(), CudaEmulatedBuilder(sanitize=True)
Scalars = Mapping[str, int | float]


def source(
    text: str, tensors: Mapping[str, np.ndarray], scalars: Scalars, grid: Sequence[int], block: Sequence[int],
    shared: int = 0, workspace: Mapping[str, int] | None = None, entry: str = "k",
    absent: Sequence[str] = (),
) -> Source:  # fmt: skip
    """A source whose arguments are the tensors, then the scalars, then the workspaces."""
    arguments = [Argument(name) for name in (*tensors, *absent)]
    arguments += [Argument(n, "float32" if isinstance(v, float) else "int32", v) for n, v in scalars.items()]
    arguments += [Argument(name, "workspace", size) for name, size in (workspace or {}).items()]
    g, b = ([*sizes, 1, 1][:3] for sizes in (grid, block))
    launch = Launch((g[0], g[1], g[2]), (b[0], b[1], b[2]), shared)
    return Source("nvrtc", f'#line 1 "kernel.cu"\n{text}', entry, tuple(arguments), launch=launch)


def run(
    text: str, tensors: Mapping[str, np.ndarray], outputs: Sequence[str], *, grid: Sequence[int] = (1,),
    block: Sequence[int] = (32,), shared: int = 0, scalars: Scalars | None = None, sanitize: bool = False,
    workspace: Mapping[str, int] | None = None, entry: str = "k", absent: Sequence[str] = (),
    **options: int | float,
) -> CheckResult:  # fmt: skip
    """Builds and runs; the outputs are in the result."""
    made = source(text, tensors, scalars or {}, grid, block, shared, workspace, entry, absent)
    builder = SANITIZED if sanitize else PLAIN
    return check_source(builder, made, TARGET, tensors, outputs, **options)


def compute(
    text: str, tensors: Mapping[str, np.ndarray], outputs: Sequence[str], **how: object
) -> CheckResult:
    """Runs with all sanitizers and asserts that they found nothing."""
    result = run(text, tensors, outputs, sanitize=True, **how)  # type: ignore[arg-type]
    assert result.findings == (), [str(f) for f in result.findings]
    assert result.completed, result.error
    return result


def bug_line(text: str, marker: str = "// BUG") -> int:
    """The line (from 1) that carries the marker."""
    lines = [i for i, line in enumerate(text.split("\n"), 1) if marker in line]
    assert len(lines) == 1, f"{marker} is on lines {lines}"
    return lines[0]


def kinds(result: CheckResult) -> set[str]:
    return {f.kind for f in result.findings}


def only(result: CheckResult, kind: str) -> Finding:
    """The one finding of a kind."""
    found = [f for f in result.findings if f.kind == kind]
    assert len(found) == 1, [str(f) for f in result.findings]
    return found[0]
