"""Programs for MetaSchedule: right as they are and scheduled, on both targets; traces are built as told."""

from dataclasses import replace

import pytest

from tests.kernels.running import Run
from tuner import registry
from tuner.builders.tvm.tensorir import TensorIRBuilder
from tuner.builders.tvm.tensorir_cuda import TensorIRCudaBuilder
from tuner.core.errors import BuildError, InvalidConfig
from tuner.core.kernel import Kernel
from tuner.core.searcher import Problem
from tuner.core.workload import Workload
from tuner.devices.cpu.device import CpuDevice
from tuner.searchers.metaschedule.metaschedule import MetaScheduleSearcher
from tuner.targets import cuda

HERE = replace(CpuDevice().target, limits={**CpuDevice().target.limits, "cores": 2})
CPU = [k for k in registry.kernels().values() if k.searcher and "cpu" in k.target_kinds]
SHAPES = {
    "gemm": [
        ("m33 n29 k17 trans_a relu", "f32"), ("m32 n48 k16 batch2 trans_b alpha0.5 beta0.75 bias", "f32"),
        ("m32 n32 k32 bias", "f16"), ("m16 n48 k20 bias relu", "int8"),
    ],
    "conv2d": [
        ("n1 c8 h9 w9 k16 r3 s3 pad1 bias relu", "f32"), ("n2 c6 h9 w8 k9 r3 s2 stride2 groups3 nhwc", "f32"),
        ("n1 c4 h9 w9 k8 r3 s3 dilation2 pad2", "f32"),
    ],
    "attention": [("b1 h2 q17 kv21 d16 causal", "f32"), ("b2 h4 q8 kv16 d16 kv_heads2", "f32")],
}  # fmt: skip
CASES = [
    pytest.param(kernel, shape, dtype, id=f"{kernel.name}-{dtype}-{shape.replace(' ', '-')}")
    for kernel in CPU
    for shape, dtype in SHAPES[kernel.operator]
]


def proposals(kernel: Kernel, workload: Workload, target, count: int, population: int = 64) -> list[str]:
    searcher = MetaScheduleSearcher(
        Problem(kernel.space(workload, target), 5, options={"batch": count, "population": population})
    )
    return [str(config["trace"]) for config in searcher.ask(count)]


@pytest.mark.parametrize(("kernel", "shape", "dtype"), CASES)
@pytest.mark.sampled(1, each="kernel")
def test_program_and_schedules_compute_the_definition(kernel, shape, dtype, tmp_path) -> None:
    workload = registry.operator(kernel.operator).parse(shape, dtype)
    traces = ["[[],[]]", *proposals(kernel, workload, HERE, 2)]
    assert len(traces) == 3
    runs = [Run(kernel, workload, {"trace": t}, HERE, tmp_path / str(i)) for i, t in enumerate(traces)]
    errors = [run.error(workload, 3)[0] for run in runs]
    assert errors[0] <= 1.0, "the program itself"
    # TVM makes schedules of attention that compute something else; a sweep finds them out.
    right = [share <= 1.0 for share in errors[1:]]
    assert any(right) if kernel.operator == "attention" else all(right), traces


def test_equal_traces_make_equal_binaries_and_a_foreign_trace_does_not_apply(tmp_path) -> None:
    kernel, gemm = registry.kernel("tir_metaschedule"), registry.operator("gemm")
    workload = gemm.parse("64x64x64")
    (trace,) = proposals(kernel, workload, HERE, 1)
    digests = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        source = kernel.lower(workload, {"trace": trace}, HERE)
        digests.append(TensorIRBuilder().build(source, HERE, tmp_path / name).digest)
    assert digests[0] == digests[1]
    foreign = {"trace": trace.replace("multiply", "nothing")}
    other = kernel.lower(gemm.parse("m64 n64 k48 bias"), foreign, HERE)
    (tmp_path / "c").mkdir()
    with pytest.raises(InvalidConfig, match="does not apply to this program"):
        TensorIRBuilder().build(other, HERE, tmp_path / "c")


GPU_SHAPES = {
    "tir_metaschedule_cuda": "m32 n32 k32 bias relu",
    "conv_metaschedule_cuda": "n1 c8 h9 w9 k16 r3 s3 pad1 bias relu",
    "attn_metaschedule_cuda": "b1 h2 q16 kv24 d16 kv_heads1",
}
GPU = [k for k in registry.kernels().values() if k.searcher and "cuda" in k.target_kinds]


# Four builds by TVM and NVRTC and as many runs on the emulator each: by default of one operator alone.
@pytest.mark.parametrize(
    "kernel",
    [pytest.param(k, id=k.name, marks=[] if k.operator == "gemm" else [pytest.mark.slow]) for k in GPU],
)
def test_a_gpu_candidate_compiles_and_computes_on_the_emulator(kernel: Kernel, tmp_path) -> None:
    if reason := TensorIRCudaBuilder().unavailable():
        pytest.skip(reason)
    from tuner.engine.examine.check import check_kernel

    target = cuda.target("sm_80")
    workload = registry.operator(kernel.operator).parse(GPU_SHAPES[kernel.name])
    built = []
    for i, trace in enumerate(proposals(kernel, workload, target, 4, population=12)):
        (tmp_path / str(i)).mkdir()
        source = kernel.lower(workload, {"trace": trace}, target)
        try:
            artifact = TensorIRCudaBuilder().build(source, target, tmp_path / str(i))
        except BuildError:
            continue  # TVM's pipelining refuses some of its own schedules: a trial that fails
        assert artifact.launch is not None and artifact.launch.block[0] > 1
        assert all(step.metrics["registers"] > 0 for step in artifact.steps)
        # Scores, their largest, and the weighted sum with the division: attention is no single kernel.
        assert len(artifact.steps) >= (3 if kernel.operator == "attention" else 1)
        built.append({"trace": trace})
    assert len(built) >= 2
    results = list(check_kernel(kernel, [workload], built, target))
    assert all(result.clean and result.sanitized for result in results), [r.error for r in results]


def test_kernels_whose_work_cannot_be_told_apart_are_no_artifact(tmp_path, monkeypatch) -> None:
    if reason := TensorIRCudaBuilder().unavailable():
        pytest.skip(reason)
    # A prediction is the sum of the kernels' own: without their work there would be none.
    kernel, target = registry.kernel("attn_metaschedule_cuda"), cuda.target("sm_75")
    workload = registry.operator("attention").parse("b1 h2 q16 kv16 d16")
    (trace,) = proposals(kernel, workload, target, 1, population=8)
    source = kernel.lower(workload, {"trace": trace}, target)
    generated = TensorIRCudaBuilder().cuda_source(source, target)
    assert all(step.metrics["flops"] > 0 and step.metrics["least_bytes"] > 0 for step in generated.steps)
    monkeypatch.setattr("tuner.builders.tvm.cuda_program._work", lambda module: [1.0])
    with pytest.raises(BuildError, match="whose work"):
        TensorIRCudaBuilder().cuda_source(source, target)
