"""Frozen workloads: weights are laid out ahead, outside of the timed call; nothing else is let through."""

import copy
import pickle
import random
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tuner
from tests.export.real import stored_here
from tests.kernels.running import lacking
from tuner import registry
from tuner.core.errors import InvalidSpace, TunerError, Unavailable
from tuner.core.measurement import Status
from tuner.core.operator import worst_error
from tuner.core.protocol import Protocol
from tuner.core.source_kernel import SourceKernel
from tuner.devices.cpu.device import CpuDevice
from tuner.engine.building.build_process import artifact_from_plain, artifact_to_plain
from tuner.engine.candidate.workshop import Workshop
from tuner.engine.judging import dataset
from tuner.engine.judging.challenge import Challenger, moved
from tuner.engine.program.build_cache import build_cached
from tuner.engine.program.load import NearestConfiguration
from tuner.engine.program.tuned_kernel import Origin, TunedKernel
from tuner.engine.tuning.campaign import default_device
from tuner.store.store import open_store

GEMM = registry.operator("gemm")
WORKLOAD = GEMM.parse("m96 n96 k96 frozen")

_FILE = """/*[tuner]
name = "{name}"
operator = "gemm"
entry = "gemm"
arguments = ["A", "B", "D", "laid", "m", "n", "k"]
[parameters]
UNUSED = [0]
[workspace]
laid = "4 * n * k"
[prepare]
{prepare}
*/
#include <cstdint>
#include <cstring>
#include <vector>
extern "C" int lay(const float* B, float* laid, int64_t n, int64_t k) {{
  {lay}
  return 0;
}} extern "C" int gemm(const float* A, const float* B, float* D, const float* laid, int64_t m, int64_t n,
int64_t k) {{
  {call}
  for (int64_t i = 0; i < m; ++i)
    for (int64_t j = 0; j < n; ++j) {{
      float sum = 0;
      for (int64_t p = 0; p < k; ++p) sum += A[i * k + p] * laid[j * k + p];
      D[i * n + j] = sum;
    }}
  return 0;
}}
"""
_PREPARE = 'entry = "lay"\narguments = ["B", "laid", "n", "k"]\nconstant = ["B"]'
_LAY = "for (int64_t p = 0; p < k; ++p) for (int64_t j = 0; j < n; ++j) laid[j * k + p] = B[p * n + j];"
_KEEP = "static std::vector<float> kept; if (kept.size() != size_t(n * k))"
CHEATS = {
    # For a program with two matrices of weights it would be wrong for one of them.
    "lays_out_the_first_weights_only": (
        f"{_KEEP} {{ {_LAY} kept.assign(laid, laid + n * k); }} memcpy(laid, kept.data(), 4 * n * k);",
        "",
        "on other B, laid out anew",
    ),
    "keeps_its_result": (
        _LAY,
        "static std::vector<float> d;"
        " if (d.size() == size_t(m * n)) { memcpy(D, d.data(), 4 * m * n); return 0; }"
        " if (m == 96) { gemm_right(A, laid, D, m, n, k); d.assign(D, D + m * n); return 0; }",
        "on ",
    ),
    "keeps_a_copy_of_a": (
        _LAY,
        "static std::vector<float> a; if (a.size() != size_t(m * k)) a.assign(A, A + m * k); A = a.data();",
        "on inputs that change",
    ),
}
_RIGHT = """
static void gemm_right(const float* A, const float* laid, float* D, int64_t m, int64_t n, int64_t k) {
  for (int64_t i = 0; i < m; ++i) for (int64_t j = 0; j < n; ++j) { float sum = 0;
    for (int64_t p = 0; p < k; ++p) sum += A[i * k + p] * laid[j * k + p]; D[i * n + j] = sum; }
}
"""


def kernel_of(
    folder: Path, name: str, lay: str = _LAY, call: str = "", prepare: str = _PREPARE
) -> SourceKernel:
    path = folder / f"{name}.cpp"
    text = _FILE.format(name=name, lay=lay, call=call, prepare=prepare)
    path.write_text(text.replace('extern "C" int gemm(', _RIGHT + 'extern "C" int gemm(', 1))
    return registry.source_kernel(path)


@pytest.fixture(scope="module")
def workshop() -> Iterator[Workshop]:
    protocol = Protocol(threads=1, budget_s=0.05, run_timeout_s=5.0)
    with Workshop(default_device("cpu"), protocol, seed=7) as made:
        made.prepare(GEMM, WORKLOAD)
        yield made


def test_a_kernel_that_lays_weights_out_has_its_time(workshop: Workshop, tmp_path: Path) -> None:
    kernel = kernel_of(tmp_path, "honest")
    built = workshop.build(kernel, WORKLOAD, {"UNUSED": 0}, GEMM.companions(WORKLOAD))
    assert built.constant == ("B",)
    outcome = workshop.measure(WORKLOAD, built, None, None)
    assert outcome.status is Status.OK, outcome.error
    assert "inputs_not_seen_to_matter" not in outcome.metrics


@pytest.mark.parametrize("name", CHEATS)
def test_a_cheat_is_refused(name: str, workshop: Workshop, tmp_path: Path) -> None:
    lay, call, words = CHEATS[name]
    built = workshop.build(kernel_of(tmp_path, name, lay, call), WORKLOAD, {"UNUSED": 0})
    assert built.artifact is not None, built.error
    outcome = workshop.measure(WORKLOAD, replace(built, special=False), None, None)
    assert (outcome.status, outcome.samples) == (Status.WRONG_RESULT, ()), outcome.error
    assert words in outcome.error


@pytest.mark.parametrize(
    "name",
    [
        "conv_winograd_ahead",
        pytest.param("conv_direct_ahead", marks=pytest.mark.slow),
        pytest.param("conv_implicit_gemm_ahead", marks=pytest.mark.slow),
    ],
)
def test_convolutions_lay_their_filters_out(name: str, workshop: Workshop) -> None:
    conv, kernel = registry.operator("conv2d"), registry.kernel(name)
    workload = conv.parse("n1 c32 h14 w14 k40 r3 s3 pad1 bias frozen")
    workshop.prepare(conv, workload)
    config = kernel.space(workload, default_device("cpu").target_for(1)).sample(random.Random(0))
    built = workshop.build(kernel, workload, config, conv.companions(workload))
    assert built.constant == ("W",), built.error
    outcome = workshop.measure(workload, built, None, None)
    assert outcome.status is Status.OK, outcome.error


@pytest.mark.slow
def test_attention_lays_its_keys_and_values_out(workshop: Workshop) -> None:
    attention, kernel = registry.operator("attention"), registry.kernel("attn_decode_ahead")
    workload = attention.parse("b1 h8 q1 kv200 d64 kv_heads2 frozen")
    workshop.prepare(attention, workload)
    config = kernel.space(workload, default_device("cpu").target_for(1)).sample(random.Random(0))
    built = workshop.build(kernel, workload, config, attention.companions(workload))
    assert built.constant == ("K", "V"), built.error
    outcome = workshop.measure(workload, built, None, None)
    assert outcome.status is Status.OK, outcome.error


class Unlucky(np.random.Generator):
    """Draws the number of B's rows first, by which moved they are where they were."""

    def __init__(self) -> None:
        super().__init__(np.random.PCG64(1))
        self.first = [96]

    def integers(self, *bounds: Any, **named: Any) -> Any:
        return self.first.pop() if self.first else super().integers(*bounds, **named)


def test_weights_that_are_laid_out_anew_are_never_the_same() -> None:
    data = dataset.compute(GEMM, WORKLOAD, 7)
    try:
        rng = Unlucky()
        rows, _ = Challenger(data, ("B",), rng).draw_whole(True, ["B"])
        assert not rng.first and not np.array_equal(moved(data.inputs["B"], rows), data.inputs["B"])
    finally:
        data.close()
    row = np.arange(5.0).reshape(1, 5)  # k of 1
    assert moved(row, 1).tolist() == [[4.0, 0.0, 1.0, 2.0, 3.0]]


def test_what_lays_out_ahead_serves_frozen_workloads_alone_and_others_serve_them_too(tmp_path: Path) -> None:
    target = default_device("cpu").target
    plain = GEMM.parse("96x96x96")
    kernels = (
        kernel_of(tmp_path, "ahead"),
        registry.kernel("cpp_ahead"),
        registry.kernel("onnxruntime_frozen"),
    )
    for kernel in kernels:
        assert "is not frozen" in (kernel.unsupported(plain, target) or "")
        assert kernel.unsupported(WORKLOAD, target) is None
    assert registry.kernel("cpp_packed").unsupported(WORKLOAD, target) is None
    assert registry.kernel("numpy").constant == registry.kernel("cpp_packed").constant == ()


@pytest.mark.parametrize(
    ("prepare", "words"),
    [
        ('entry = "lay"', r"\[prepare\] has entry"),
        (_PREPARE.replace('["B", ', '["B", "A", '), "takes A, which is not among its constant inputs"),
        (_PREPARE.replace('constant = ["B"]', 'constant = ["W"]'), "'W' is no tensor of gemm"),
        (_PREPARE.replace('"laid"', '"lain"'), "'lain'"),
    ],
)
def test_a_wrong_declaration_is_refused_in_one_line(prepare: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidSpace, match=words) as caught:
        kernel_of(tmp_path, "wrong", prepare=prepare)
    assert "\n" not in str(caught.value)


@pytest.fixture
def loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TunedKernel:
    monkeypatch.setenv("TUNER_CACHE", str(tmp_path))
    kernel, device = registry.kernel("cpp_ahead"), CpuDevice()
    config = next(iter(kernel.space(WORKLOAD, device.target)))
    artifact = build_cached(kernel, WORKLOAD, config, device.target)
    assert artifact_from_plain(artifact_to_plain(artifact)) == artifact
    return TunedKernel(WORKLOAD, kernel, config, artifact, device, Origin(1))


def test_a_frozen_workload_shares_no_trial_with_the_plain_one(tmp_path: Path) -> None:
    db, plain = str(tmp_path / "results.db"), GEMM.parse("96x96x96")
    entries = [(WORKLOAD.key, "cpp_packed", {"threads": 1}, 1e-3), (WORKLOAD.key, "cpp_ahead", {}, 5e-4)]
    with open_store(db) as store:
        made = stored_here(store, entries, threads=1)
        twins = [replace(trial.key, workload=plain).digest for trial in made]
        assert not store.find_identities(twins)
        assert len(store.find_identities([trial.key.digest for trial in made])) == 2
        assert not store.best("gemm", plain.key)
    ahead = tuner.load("gemm", m=96, n=96, k=96, frozen=True, db=db, threads=1)
    assert (ahead.kernel, ahead.exact, ahead.time_s) == ("cpp_ahead", True, 5e-4)
    for shape in ({"m": 96, "n": 96, "k": 96}, {"m": 96, "n": 96, "k": 48}):
        for any_shape in (False, True):
            with pytest.raises(Unavailable, match='--shape "m96 n96') as caught:
                tuner.load("gemm", **shape, db=db, threads=1, any_shape=any_shape)
            assert ("with frozen=True" in str(caught.value)) == (shape["k"] == 96)
            assert "\n" not in str(caught.value)
    with open_store(db) as store:
        stored_here(store, [("gemm/f32/m8-n8-k8", "cpp_naive", {}, 1.0)], threads=1)
    with pytest.warns(NearestConfiguration, match="of gemm/f32/m8-n8-k8$"):
        other = tuner.load("gemm", m=96, n=96, k=96, db=db, threads=1)
    assert (other.kernel, other.exact, other.time_s) == ("cpp_naive", False, None)


def test_no_rule_is_of_frozen_workloads_and_others(tmp_path: Path) -> None:
    db = str(tmp_path / "results.db")
    shapes = [f"gemm/f32/m{m}-n32-k48" for m in (24, 40)]
    with open_store(db) as store:
        stored_here(store, [(f"{key}/frozen", "cpp_packed", {}, 1e-6) for key in shapes], threads=1)
        stored_here(store, [(f"{shapes[0]}/relu", "cpp_naive", {}, 1e-3)], threads=1)
    load = partial(tuner.load, "gemm", m=31, n=32, k=48, db=db, threads=1, any_shape=True)
    assert "by the rule of 2 tuned shapes" in load(frozen=True).note
    plain = load()
    assert plain.kernel == "cpp_naive" and "nearest stored configuration" in plain.note


def right(d: np.ndarray, a: np.ndarray, b: np.ndarray) -> bool:
    inputs = {"A": a, "B": b}
    reference = GEMM.reference(WORKLOAD, inputs)
    return worst_error({"D": d}, reference, GEMM.tolerance(WORKLOAD, inputs, reference))[0] <= 1


def test_a_program_gives_the_weights_once(loaded: TunedKernel) -> None:
    first, second = GEMM.inputs(WORKLOAD, 0), GEMM.inputs(WORKLOAD, 1)
    weights = first["B"].copy()
    layers = loaded.with_weights(B=weights), loaded.with_weights(B=second["B"])
    weights[...] = 0  # a layer has its own
    for layer, b in zip(layers, (first["B"], second["B"]), strict=True):
        for a in (first["A"], second["A"]):
            assert right(layer(a), a, b)
    # One that was given no weights lays out what each call brings; the layers do not notice.
    assert right(loaded(second["A"], second["B"]), second["A"], second["B"])
    assert right(layers[0](second["A"]), second["A"], first["B"])
    # Another matrix on its way: laid out anew, in a kernel of its own.
    assert right(layers[0].with_weights(B=second["B"])(first["A"]), first["A"], second["B"])
    assert right(layers[0](second["A"]), second["A"], first["B"])
    d = np.empty((96, 96), np.float32)
    layers[1].bound({"A": first["A"], "D": d})()
    assert right(d, first["A"], second["B"])
    twins = pickle.loads(pickle.dumps(layers[0])), copy.deepcopy(layers[0])
    assert all(right(twin(first["A"]), first["A"], first["B"]) for twin in twins)


def test_wrong_weights_are_refused(loaded: TunedKernel, monkeypatch: pytest.MonkeyPatch) -> None:
    b = GEMM.inputs(WORKLOAD, 0)["B"]
    with monkeypatch.context() as patch, pytest.raises(TypeError, match="lie in the host's memory"):
        patch.setattr(CpuDevice, "resident", lambda device, array: object())  # as arrays of a GPU are
        loaded.with_weights(B=b)(b)
    for name in ("W", "A", "D"):
        with pytest.raises(TypeError, match=rf"unexpected array '{name}': the weights of .* are B$"):
            loaded.with_weights(**{"B": b, name: b})
    with pytest.raises(TypeError, match=r"no weights: the weights of .* are B$"):
        loaded.with_weights()
    for wrong in (b[1:], b.astype(np.float64)):
        with pytest.raises(ValueError, match="needs float32"):
            loaded.with_weights(B=wrong)
    with pytest.raises(TypeError, match="takes 1 arrays"):
        loaded.with_weights(B=b)(b, b)
    kernel, plain = registry.kernel("cpp_packed"), GEMM.parse("16x16x16")
    device = CpuDevice()
    config = next(iter(kernel.space(plain, device.target)))
    artifact = build_cached(kernel, plain, config, device.target)
    made = TunedKernel(plain, kernel, config, artifact, device, Origin(1))
    with pytest.raises(TunerError, match="frozen=True"):
        made.with_weights(B=GEMM.inputs(plain, 0)["B"])


# Every kernel that lays something out ahead, and one of each operator that does not.
LAYERS = sorted(
    {k.name for k in registry.kernels().values() if getattr(k, "only_frozen", False) and not k.baseline}
    | {"cpp_naive", "conv_naive", "attn_naive"}
)


@pytest.mark.parametrize("name", LAYERS)
def test_all_weights_are_given_or_the_missing_one_is_named(name: str) -> None:
    kernel, device = registry.kernel(name), CpuDevice()
    dtype = kernel.dtypes[0]
    if lacking(kernel, device.target, dtype):
        pytest.skip("this processor lacks what it requires")
    operator = registry.operator(kernel.operator)
    more = {"bias": True} if operator.options.get("bias") is False and "bias" in kernel.options else {}
    made = TunedKernel.__new__(TunedKernel)  # nothing is built to see what is refused
    made.workload, made._weights = operator.parse(operator.example, dtype, frozen=True, **more), {}
    signature = {spec.name: spec for spec in operator.signature(made.workload)}
    weights = {name: np.zeros(signature[name].shape, signature[name].dtype) for name in operator.weights}
    for missing in weights:
        given = {name: array for name, array in weights.items() if name != missing}
        given |= {"bias": np.zeros(signature["bias"].shape, signature["bias"].dtype)} if more else {}
        with pytest.raises(TypeError, match=rf"array {missing} is missing|no weights") as caught:
            made.with_weights(**given)
        assert "\n" not in str(caught.value) and all(each in str(caught.value) for each in weights)


def test_a_layer_keeps_the_weights_that_are_not_given_anew(tmp_path: Path) -> None:
    attention, kernel, device = registry.operator("attention"), registry.kernel("attn_naive"), CpuDevice()
    workload = attention.parse("b1 h2 q3 kv30 d16 frozen")
    artifact = build_cached(kernel, workload, {}, device.target)
    made = TunedKernel(workload, kernel, {}, artifact, device, Origin(1))
    inputs, others = (attention.inputs(workload, seed) for seed in (1, 2))
    both = made.with_weights(K=inputs["K"], V=inputs["V"])
    mixed = both.with_weights(K=others["K"])
    assert np.array_equal(mixed(inputs["Q"]), made(inputs["Q"], others["K"], inputs["V"]))
    with pytest.raises(TypeError, match=r"array V is missing: the weights of .* are K and V$"):
        made.with_weights(K=inputs["K"])
