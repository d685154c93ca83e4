"""Triton: compiled for any target with no GPU, run in its interpreter; the kernels: test_gpu_contract.py."""

import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tuner.builders.triton.interpreter import TritonInterpreter
from tuner.builders.triton.triton_jit import TritonBuilder, _reason
from tuner.core.artifact import Artifact
from tuner.core.errors import BuildError, Unavailable
from tuner.core.kernel import Argument, Source
from tuner.core.operator import worst_error
from tuner.core.target import Target
from tuner.core.workload import Workload
from tuner.operators.gemm import Gemm
from tuner.schedules.gemm.triton.gemm import TritonGemm
from tuner.targets.cuda import target
from tuner.targets.gpu_model.occupancy import resource_problem

GEMM, KERNEL, BUILDER = Gemm(), TritonGemm(), TritonBuilder()
pytestmark = pytest.mark.skipif(BUILDER.unavailable() is not None, reason=str(BUILDER.unavailable()))
SM_80 = target("cuda:sm_80")
CONFIG = {
    "BLOCK_M": 64, "BLOCK_N": 64, "BLOCK_K": 32, "GROUP_M": 8, "SPLIT_K": 1, "num_warps": 4, "num_stages": 3,
}  # fmt: skip


_NESTED = """
import triton
import triton.language as tl
@triton.jit
def inner(x, WIDTH: tl.constexpr):
    tl.static_assert(WIDTH % 2 == 0, "the width is odd")
    return tl.load(x + WIDTH)
@triton.jit
def middle(x):
    return inner(x, 3)
@triton.jit
def outer(x):
    tl.store(x, middle(x))
"""


def build(workload: Workload, folder: Path, chosen: Target = SM_80, **changes: Any) -> Artifact:
    config = {**CONFIG, **({"INPUT_PRECISION": "ieee"} if workload.dtype == "f32" else {}), **changes}
    return BUILDER.build(KERNEL.lower(workload, config, chosen), chosen, folder)


@pytest.mark.parametrize("arch", ["sm_80", "sm_90", "sm_90a", "sm_120"])
@pytest.mark.sampled(2)
def test_a_cubin_with_resources(arch: str, tmp_path: Path) -> None:
    artifact = build(GEMM.workload("f16", m=256, n=256, k=256), tmp_path, target(arch))
    assert artifact.format == "cubin" and artifact.path.read_bytes()[:4] == b"\x7fELF"
    assert artifact.launch is not None and artifact.launch.grid == (16, 1, 1)
    assert artifact.launch.shared_bytes == artifact.metrics["shared_bytes"] > 0
    # C, bias, partial and arrived are not there: null pointers would be, were they in the signature.
    names = [argument.name for argument in artifact.arguments]
    scratch = [name for name in names if name.endswith("_scratch")]
    assert names == ["A", "B", "D", "m", "n", "k", *scratch] and "global_scratch" in scratch
    # As many as the machine code takes: it would read a missing pointer from beyond its arguments.
    entry = (tmp_path / "kernel.ptx").read_text().partition(".entry")[2].partition(")")[0]
    assert entry.count(".param") == len(names)
    assert resource_problem(artifact.metrics, target(arch)) is None
    for stage in ("ttir", "ttgir", "llir", "ptx"):
        assert (tmp_path / f"kernel.{stage}").read_text()


def test_tensor_cores_and_vector_loads_are_seen(tmp_path: Path) -> None:
    metrics = build(GEMM.workload("f16", m=256, n=256, k=256), tmp_path).metrics
    assert metrics["loop_tensor"] > 0 and metrics["loop_math_share"] > 0
    assert metrics["load_bits"] == 128


def test_split_k_takes_a_workspace() -> None:
    workload = GEMM.workload("f32", m=64, n=64, k=4096, batch=3)
    source = KERNEL.lower(workload, {**CONFIG, "SPLIT_K": 8, "INPUT_PRECISION": "ieee"}, SM_80)
    sizes = {a.name: a.value for a in source.arguments if a.kind == "workspace"}
    assert sizes == {"partial": 3 * 8 * 64 * 64 * 4, "arrived": 3 * 4}
    assert source.launch is not None and source.launch.grid == (1, 8, 3)


def test_what_triton_refuses_is_one_line(tmp_path: Path) -> None:
    workload = GEMM.workload("f16", m=64, n=64, k=64)
    source = KERNEL.lower(workload, CONFIG, SM_80)
    options = {**source.options, "constants": {**source.options["constants"], "BLOCK_K": 24}}
    broken = Source("triton", source.text, "gemm", source.arguments, 1, source.launch, options)
    with pytest.raises(BuildError) as raised:
        BUILDER.build(broken, SM_80, tmp_path)
    assert "power of 2" in str(raised.value).splitlines()[0]


def test_an_error_within_a_function_that_the_kernel_calls_is_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Triton's own message points at the call, and at the function's cause only behind it."""
    (tmp_path / "nested_triton.py").write_text(_NESTED)
    monkeypatch.syspath_prepend(tmp_path)
    options = {"signature": {"x": "*fp32"}, "constants": {}, "divisible": [], "num_warps": 1, "num_stages": 1}
    source = Source("triton", "nested_triton:outer", "outer", (Argument("x"),), options=options)
    with pytest.raises(BuildError) as raised:
        BUILDER.build(source, SM_80, tmp_path)
    first, *rest = str(raised.value).splitlines()
    assert "the width is odd" in first
    assert any("middle(x)" in line for line in rest)


def test_what_the_assembler_says_is_the_reason() -> None:
    """It stands between Triton's own words and the command to repeat it."""
    log = "ptxas fatal   : (C7602) Insufficient registers (128) to compile instruction at line 345"
    error = RuntimeError(
        f"PTXAS error: Internal Triton PTX codegen error\n`ptxas` stderr:\n{log}\n\nRepro command: ptxas"
    )
    assert _reason(error).splitlines()[0] == log


def test_a_function_that_is_not_there(tmp_path: Path) -> None:
    source = Source("triton", "tuner.schedules.gemm.triton.program:nothing", "gemm", (), options={})
    with pytest.raises(BuildError, match="no Triton function"):
        BUILDER.build(source, SM_80, tmp_path)


def test_a_cpu_target_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="cpu:avx2"):
        BUILDER.build(Source("triton", "a:b", "b", ()), Target("cpu", "avx2"), tmp_path)


def test_constraints_are_named() -> None:
    space = KERNEL.space(GEMM.workload("f16", m=512, n=512, k=512), target("cuda:sm_75"))
    assert "stages_need_cp_async" in (space.why_invalid({**CONFIG, "num_stages": 4}) or "")
    assert "sums_fit" in (space.why_invalid({**CONFIG, "BLOCK_M": 256, "BLOCK_N": 256}) or "")
    assert "shares_have_depth" in (space.why_invalid({**CONFIG, "SPLIT_K": 16, "BLOCK_K": 64}) or "")


needs_torch = pytest.mark.skipif(
    find_spec("torch") is None, reason="Triton's interpreter takes torch tensors"
)


@pytest.fixture(scope="module")
def interpreter() -> Iterator[TritonInterpreter]:
    with TritonInterpreter() as running:
        yield running


def error_of(interpreter: TritonInterpreter, workload: Workload, config: dict[str, Any]) -> tuple[float, str]:
    inputs = GEMM.inputs(workload, 1)
    poison = {s.name: np.full(s.shape, np.nan if s.dtype[0] == "f" else -(2**30), s.dtype)
              for s in GEMM.signature(workload) if s.output}  # fmt: skip
    outputs = interpreter.run(KERNEL.lower(workload, config, SM_80), {**inputs, **poison})
    for name, array in inputs.items():
        assert np.array_equal(outputs[name], array), f"{name} was changed"
    if "arrived" in outputs:
        assert not outputs["arrived"].any(), "counts are left for the next call"
    reference = GEMM.reference(workload, inputs)
    return worst_error({"D": outputs["D"]}, reference, GEMM.tolerance(workload, inputs, reference))


@needs_torch
def test_the_interpreter_sees_what_is_wrong(interpreter: TritonInterpreter) -> None:
    workload = GEMM.workload("f32", m=32, n=32, k=64)
    source = KERNEL.lower(workload, {**CONFIG, "INPUT_PRECISION": "ieee"}, SM_80)
    # The last tile along k is left out.
    short = {**source.options["constants"], "EVEN_K": True}
    arguments = tuple(a if a.name != "k" else type(a)("k", "int32", 32) for a in source.arguments)
    broken = Source(
        "triton", source.text, "gemm", arguments, 1, source.launch, {**source.options, "constants": short}
    )
    inputs = GEMM.inputs(workload, 1)
    outputs = interpreter.run(broken, {**inputs, "D": np.zeros((32, 32), np.float32)})
    reference = GEMM.reference(workload, inputs)
    error, _ = worst_error({"D": outputs["D"]}, reference, GEMM.tolerance(workload, inputs, reference))
    assert error > 1


@needs_torch
def test_an_error_in_the_interpreter_is_reported_and_survived(interpreter: TritonInterpreter) -> None:
    workload = GEMM.workload("f32", m=32, n=32, k=64)
    source = KERNEL.lower(workload, {**CONFIG, "INPUT_PRECISION": "ieee"}, SM_80)
    lacking = Source(
        "triton", source.text, "gemm", source.arguments, 1, source.launch, {**source.options, "constants": {}}
    )
    inputs = {**GEMM.inputs(workload, 1), "D": np.zeros((32, 32), np.float32)}
    with pytest.raises(RuntimeError, match="TypeError"):
        interpreter.run(lacking, inputs)
    assert error_of(interpreter, workload, {**CONFIG, "INPUT_PRECISION": "ieee"})[0] <= 1


_HARM = """
import os
class Kernel:
    def __init__(self, harm): self.harm = harm
    def __getitem__(self, grid): return self.harm
def _prints(**_):
    while True: os.write(1, b"garbage" * 1000)
def _loops(**_):
    while True: pass
def _dies(**_): os._exit(3)
def _closes(**_):
    os.closerange(3, 64)
    while True: pass
prints, loops, dies, closes = map(Kernel, (_prints, _loops, _dies, _closes))
"""


@needs_torch
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("prints", "it printed more than 4 MiB"),
        pytest.param("loops", "no end after 3 s", marks=pytest.mark.slow),
        pytest.param("dies", r"died \(3\)", marks=pytest.mark.slow),
        pytest.param("closes", "no end after 3 s", marks=pytest.mark.slow),
    ],
)
def test_a_kernel_that_means_harm_costs_the_interpreter_and_no_more(
    name: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "harm_of_triton.py").write_text(_HARM)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}")
    options = {"constants": {}, "signature": {}}
    source = Source("triton", f"harm_of_triton:{name}", name, (), options=options)
    running = TritonInterpreter()
    with pytest.raises(RuntimeError, match=words):
        running.run(source, {}, timeout_s=3.0 if name in ("loops", "closes") else 60.0)
    assert not running.alive and running._process._process.poll() is not None
    assert not running._scratch.path.exists()
