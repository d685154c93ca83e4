"""Tuned kernels in a user's program: any memory, thread and process, for every kernel that can be served."""

import copy
import multiprocessing
import os
import pickle
import random
import subprocess
import sys
import threading
import warnings
import weakref
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from tests.kernels.running import has
from tuner import registry
from tuner.core.errors import Unavailable
from tuner.core.operator import TensorSpec, worst_error
from tuner.core.workload import Workload
from tuner.devices.cpu.device import CpuDevice
from tuner.engine.program.arrays import as_input
from tuner.engine.program.build_cache import build_cached
from tuner.engine.program.tuned_kernel import Origin, TunedKernel

# Small, and so that the output has an input's shape. Another operator's are its smallest companions.
WORKLOADS = {
    "gemm": (
        "gemm/f32/m48-n48-k48",
        "gemm/f32/m48-n48-k48/trans_b",
        "gemm/f32/m48-n48-k48/frozen",
    ),
    "conv2d": (
        "conv2d/f32/n1-c16-h14-w14-k16-r3-s3/pad=1",
        "conv2d/f32/n1-c16-h14-w14-k16-r3-s3/groups=16,pad=1",
        "conv2d/f32/n1-c16-h14-w14-k16-r3-s3/groups=16,nhwc,pad=1",
        "conv2d/f32/n1-c16-h14-w14-k16-r3-s3/frozen,pad=1",
    ),
    "attention": ("attention/f32/b1-h4-q32-kv32-d16", "attention/f32/b1-h4-q32-kv32-d16/frozen"),
}
KERNELS = sorted(
    k.name
    for k in registry.kernels().values()
    # Libraries are not served by `load`; a MetaSchedule trace has to be searched first.
    if "cpu" in k.target_kinds and not k.baseline and k.searcher is None
    if has(k, CpuDevice().target) == list(k.dtypes)
)
every_kernel = pytest.mark.parametrize("name", KERNELS)


@pytest.fixture(scope="module", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TUNER_CACHE", str(folder))
        yield folder
    served.cache_clear()


def narrow(workload: Workload, dtype: str) -> Workload:
    """The same of another type; int8's output is int8 too."""
    scale = {"scale_tensor": True} if dtype == "int8" else {}
    return registry.operator(workload.operator).workload(
        dtype, **dict(workload.dims), **dict(workload.options), **scale
    )


@cache
def served(name: str) -> TunedKernel:
    """A kernel of two threads where it has any."""
    kernel, device = registry.kernel(name), CpuDevice()
    operator = registry.operator(kernel.operator)
    target = device.target
    keys = WORKLOADS.get(operator.name)
    small = operator.companions(operator.parse(operator.example))
    workloads = [Workload.from_key(key) for key in keys] if keys else list(small)
    if "f32" not in kernel.dtypes:
        workloads = [
            narrow(workload, "int8" if "int8" in kernel.dtypes else kernel.dtypes[0])
            for workload in workloads
        ]
    workload = next(w for w in workloads if kernel.unsupported(w, target) is None)
    space, rng = kernel.space(workload, target), random.Random(0)
    drawn = (space.sample(rng) for _ in range(300))
    config = next((c for c in drawn if kernel.lower(workload, c, target).threads == 2), space.sample(rng))
    artifact = build_cached(kernel, workload, config, target)
    return TunedKernel(workload, kernel, config, artifact, device, Origin(7, 1e-3))


def inputs_of(kernel: TunedKernel, seed: int = 0) -> dict[str, np.ndarray]:
    return registry.operator(kernel.workload.operator).inputs(kernel.workload, seed)


def output_of(kernel: TunedKernel) -> np.ndarray:
    (spec,) = (s for s in registry.operator(kernel.workload.operator).signature(kernel.workload) if s.output)
    return np.zeros(spec.shape, spec.dtype)


def placed(buffer: np.ndarray, start: int, like: np.ndarray) -> np.ndarray:
    """An array like another one, in the bytes of a buffer from `start` on."""
    return buffer[start : start + like.nbytes].view(like.dtype).reshape(like.shape)


@every_kernel
def test_it_agrees_with_the_reference(name: str) -> None:
    kernel, inputs = served(name), inputs_of(served(name))
    operator = registry.operator(kernel.workload.operator)
    reference = operator.reference(kernel.workload, inputs)
    tolerance = operator.tolerance(kernel.workload, inputs, reference)
    (output,) = reference
    assert worst_error({output: kernel(**inputs)}, reference, tolerance)[0] <= 1


@every_kernel
@pytest.mark.parametrize("shift", [0, 64, -256])
def test_an_output_that_overlaps_an_input_is_computed_as_if_it_did_not(name: str, shift: int) -> None:
    kernel, inputs = served(name), inputs_of(served(name))
    expected = kernel(**inputs)
    for victim, array in inputs.items():
        buffer = np.zeros(array.nbytes + expected.nbytes + 1024, np.uint8)
        # Views of one array, the output before, behind or on the input.
        mine, out = placed(buffer, 512, array), placed(buffer, 512 + shift, expected)
        mine[...] = array
        assert np.shares_memory(mine, out) or array.nbytes <= shift
        assert kernel(**{**inputs, victim: mine}, out=out) is out
        np.testing.assert_array_equal(out, expected, err_msg=victim)


@every_kernel
def test_an_output_that_cannot_be_written_is_refused_and_untouched(name: str, tmp_path: Path) -> None:
    kernel, inputs = served(name), inputs_of(served(name))
    blank = output_of(kernel)
    locked = blank.copy()
    locked.flags.writeable = False
    blank.tofile(tmp_path / "out")
    mapped = np.memmap(tmp_path / "out", blank.dtype, "r", shape=blank.shape)
    for out in (locked, mapped, np.broadcast_to(blank.dtype.type(0), blank.shape)):
        with pytest.raises(ValueError, match=r"^out is read-only$"):
            kernel(**inputs, out=out)
        assert not out.any()
    wide = blank.dtype.itemsize > 1  # what has one byte lies right anywhere
    shifted = np.zeros(blank.nbytes + 1, np.uint8)[1:].view(blank.dtype).reshape(blank.shape)
    for out, reason in (
        (np.zeros((*blank.shape, 2), blank.dtype)[..., 0], "out must be C-contiguous"),
        *([(shifted, "out must be aligned")] if wide else []),
        (blank.astype(np.float64), "out is float64"),
        (blank[1:], "out is "),
        *([(blank.astype(blank.dtype.newbyteorder()), "out is >")] if wide else []),
    ):
        with pytest.raises(ValueError, match=f"^{reason}"):
            kernel(**inputs, out=out)
        assert not out.any()
    with pytest.raises(TypeError, match=r"out is a NumPy array .* not a list"):
        kernel(**inputs, out=blank.tolist())


@every_kernel
def test_inputs_in_any_memory_and_lists(name: str, tmp_path: Path) -> None:
    kernel, inputs = served(name), inputs_of(served(name))
    expected = kernel(**inputs)

    def strided(array: np.ndarray) -> np.ndarray:
        spread = np.zeros((*array.shape, 2), array.dtype)
        spread[..., 1] = array
        return spread[..., 1]

    def unaligned(array: np.ndarray) -> np.ndarray:
        return placed(np.frombuffer(b"x" + array.tobytes(), np.uint8), 1, array)

    def mapped(array: np.ndarray) -> np.ndarray:
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.npy"
        np.save(path, array)
        return np.load(path, mmap_mode="r")

    for made in (strided, unaligned, mapped, np.ndarray.tolist):
        given = {key: made(array) for key, array in inputs.items()}
        np.testing.assert_array_equal(kernel(**given), expected, err_msg=made.__name__)


def test_what_is_no_array_of_the_dtype_is_refused_in_one_line() -> None:
    kernel, inputs = served("cpp_naive"), inputs_of(served("cpp_naive"))
    first, *rest = inputs
    ragged = [[1.0], [1.0, 2.0]]
    for value, error in (
        (inputs[first].astype(np.float64), ValueError),
        (inputs[first][1:], ValueError),
        (np.ma.masked_less(inputs[first], 0), TypeError),
        (ragged, TypeError),
        ("A", ValueError),
        (None, TypeError),
        ([[1j] * 48] * 48, TypeError),
    ):
        with pytest.raises(error) as caught:
            kernel(**{first: value}, **{key: inputs[key] for key in rest})
        assert str(caught.value).startswith(f"array {first} ") and "\n" not in str(caught.value)


def test_lists_become_integers_only_without_loss() -> None:
    spec = TensorSpec("A", (2,), "int8")
    np.testing.assert_array_equal(as_input(spec, [-128, np.int64(127)], "w"), np.array([-128, 127], np.int8))
    for value in ([0, 128], [0.5, 1.0], [np.int64(300), 0]):
        with pytest.raises(TypeError, match="array A is a list and no array of int8"):
            as_input(spec, value, "w")


@every_kernel
def test_threads_may_share_it(name: str) -> None:
    kernel = served(name)
    inputs = [inputs_of(kernel, seed) for seed in range(4)]
    expected = [kernel(**each) for each in inputs]
    wrong: list[int] = []
    barrier = threading.Barrier(4)

    def work(i: int) -> None:
        barrier.wait(30)
        right = [np.array_equal(kernel(**inputs[i]), expected[i]) for _ in range(30)]
        wrong.extend([i] * right.count(False))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert wrong == [] and not any(thread.is_alive() for thread in threads)


@every_kernel
def test_a_forked_child_computes_too_and_its_child_and_threads(name: str) -> None:
    kernel, inputs = served(name), inputs_of(served(name))
    expected = kernel(**inputs)  # on more than one thread: this process has a team of them now
    context = multiprocessing.get_context("fork")

    def generation(depth: int) -> None:
        right = [np.array_equal(kernel(**inputs), expected)]
        thread = threading.Thread(target=lambda: right.append(np.array_equal(kernel(**inputs), expected)))
        thread.start()
        thread.join()
        if depth:
            right.append(in_a_fork(depth - 1))
        os._exit(0 if all(right) and len(right) == 2 + bool(depth) else 1)

    def in_a_fork(depth: int) -> bool:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of forks beside threads
            child = context.Process(target=generation, args=(depth,))
            child.start()
        child.join(30)
        hung = child.is_alive()
        if hung:
            child.kill()
            child.join()
        return not hung and child.exitcode == 0

    assert in_a_fork(1)
    np.testing.assert_array_equal(kernel(**inputs), expected)


@pytest.mark.skipif(CpuDevice().target.limit("cores") < 2, reason="one core: no kernel has two threads")
def test_kernels_of_two_threads_were_among_them() -> None:
    threads = {name: served(name)._artifact.threads for name in KERNELS}
    languages = {registry.kernel(name).language for name, count in threads.items() if count == 2}
    assert languages == {"cxx", "tensorir"}


def test_a_call_keeps_no_array_alive() -> None:
    kernel, inputs = served("cpp_naive"), inputs_of(served("cpp_naive"))
    watched = weakref.ref(out := output_of(kernel))
    kernel(**inputs, out=out)
    del out
    assert watched() is None


def test_copies_are_kernels_of_their_own() -> None:
    kernel, inputs = served("cpp_naive"), inputs_of(served("cpp_naive"))
    for twin in (copy.copy(kernel), copy.deepcopy(kernel), pickle.loads(pickle.dumps(kernel))):
        assert repr(twin) == repr(kernel)
        assert (twin.trial_id, twin.time_s, twin.exact, twin.note) == (7, 1e-3, True, "")
        np.testing.assert_array_equal(twin(**inputs), kernel(**inputs))


_ELSEWHERE = """
import pickle, sys
with open(sys.argv[1], "rb") as file:
    jobs = pickle.load(file)
print([name for name, (kernel, inputs, expected) in jobs.items() if not (kernel(**inputs) == expected).all()])
"""


@pytest.mark.parametrize("path", ["as it is", "no compiler"])
def test_pickles_work_in_another_process_even_where_nothing_can_be_built(path: str, tmp_path: Path) -> None:
    jobs = {
        name: (served(name), inputs_of(served(name)), served(name)(**inputs_of(served(name))))
        for name in KERNELS
    }
    (tmp_path / "jobs").write_bytes(pickle.dumps(jobs))
    environment = dict(os.environ)
    if path == "no compiler":
        environment.pop("CXX", None)
        environment["PATH"] = str(tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", _ELSEWHERE, str(tmp_path / "jobs")],
        capture_output=True, text=True, env=environment, timeout=120,
    )  # fmt: skip
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr


def test_without_a_compiler_what_is_not_cached_is_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    kernel = served("cpp_naive")
    source = registry.kernel("cpp_naive")
    builder = registry.builder("cxx")
    monkeypatch.setattr(builder, "unavailable", lambda: "no C++ compiler: set $CXX")
    monkeypatch.setenv("TUNER_CACHE", str(tmp_path))
    with pytest.raises(Unavailable, match=r"cpp_naive is not in .*kernels and cannot be built: no C\+\+"):
        build_cached(source, kernel.workload, kernel.config, CpuDevice().target)
