"""A cache that grows while a program runs: right at every length, and what does not fit is refused."""

import copy
import os
import pickle
import signal
import threading
from pathlib import Path

import numpy as np
import pytest

from tuner import registry
from tuner.core.errors import InvalidSpace, InvalidWorkload, TunerError
from tuner.core.operator import worst_error
from tuner.core.tensors import Tensors
from tuner.core.workload import Workload
from tuner.devices.cpu.device import CpuDevice
from tuner.engine.building.build_process import artifact_from_plain, artifact_to_plain
from tuner.engine.program.build_cache import build_cached
from tuner.engine.program.growing import GrowingKernel
from tuner.engine.program.tuned_kernel import Origin, TunedKernel

ATTENTION = registry.operator("attention")
PAGES = {"PAGE": 16, "ROWS": 2, "COLUMNS": 1, "PREFETCH": 32, "SPLIT_KV": 1, "threads": 1}
HEADS, D, ROOM = 2, 20, 70
PREPARE = """[prepare]
entry = "lay_out"
arguments = ["K", "V", "ahead", "b", "kv_h", "kv", "d"]
constant = ["K", "V"]
"""


def loaded(shape: str, name: str = "attn_decode_ahead", dtype: str = "f32", **config: int) -> TunedKernel:
    kernel, device, workload = registry.kernel(name), CpuDevice(), ATTENTION.parse(shape, dtype)
    space = kernel.space(workload, device.target)
    wished = {name: value for name, value in {**PAGES, **config}.items() if name in space.names}
    plain = {parameter.name: parameter.values[0] for parameter in space.parameters}
    chosen = {**space.nearest({**plain, **wished}), **config}
    artifact = build_cached(kernel, workload, chosen, device.target)
    assert artifact_from_plain(artifact_to_plain(artifact)) == artifact
    return TunedKernel(workload, kernel, chosen, artifact, device, Origin(1))


def shaped(more: str = "", q: int = 1, b: int = 2) -> str:
    return f"b{b} h6 q{q} kv{ROOM} d{D} kv_heads{HEADS} {more} frozen"


def part(inputs: Tensors, begin: int, end: int) -> Tensors:
    return {name: np.ascontiguousarray(inputs[name][:, :, begin:end]) for name in ("K", "V")}


def right(cache: GrowingKernel, inputs: Tensors) -> float:
    """How far what it computes now is from the reference over so many tokens, in tolerances."""
    options = dict(cache.workload.options)
    dims = {**dict(cache.workload.dims), "kv": cache.length}
    workload = ATTENTION.workload(cache.workload.dtype, **dims, **options)
    given = {"Q": inputs["Q"], **part(inputs, 0, cache.length)}
    reference = ATTENTION.reference(workload, given)
    tolerance = ATTENTION.tolerance(workload, given, reference)
    return worst_error({"O": cache(inputs["Q"])}, reference, tolerance)[0]


@pytest.mark.parametrize(
    ("shape", "dtype", "config"),
    [
        (shaped(), "f32", {}),
        (shaped(), "bf16", {"threads": 2}),
        # Parts of the keys that are computed apart are fewer while there are few keys.
        (shaped("causal", q=5, b=1), "f32", {"SPLIT_KV": 4, "threads": 2}),
    ],
)
def test_it_is_right_while_it_grows_from_nothing_over_several_pages(
    shape: str, dtype: str, config: dict[str, int]
) -> None:
    if config.get("threads", 1) > CpuDevice().target.limits["cores"]:
        pytest.skip("one core")
    kernel = loaded(shape, dtype=dtype, **config)
    inputs, cache = ATTENTION.inputs(kernel.workload, 3), kernel.growing()
    assert (cache.length, cache.room, cache.along) == (0, ROOM, "kv")
    # A prompt, single tokens over the ends of pages, several tokens over more than a page, none.
    for more in (5, *[1] * 13, 16, 0, 1, 33, ROOM - 68):
        tokens = part(inputs, cache.length, cache.length + more)
        if more == 1:  # a step's, by place as in the call
            cache.append(tokens["K"], tokens["V"])
        else:
            cache.append(**tokens)
        assert right(cache, inputs) <= 1, cache
    assert cache.length == ROOM
    whole = kernel.with_weights(K=inputs["K"], V=inputs["V"])(inputs["Q"])
    assert np.array_equal(whole, cache(inputs["Q"])), "grown is as laid out at once"


def test_caches_are_apart_from_each_other_and_from_the_kernel_they_came_from() -> None:
    kernel = loaded(shaped())
    inputs, others = (ATTENTION.inputs(kernel.workload, seed) for seed in (1, 2))
    expected = kernel(**inputs)
    caches = kernel.growing(), kernel.growing()
    for cache, its, count in zip(caches, (inputs, others), (20, 7), strict=True):
        cache.append(**part(its, 0, count))
    assert [right(*pair) <= 1 for pair in zip(caches, (inputs, others), strict=True)] == [True, True]
    assert np.array_equal(kernel(**inputs), expected)
    out = np.empty_like(expected)
    assert caches[0](inputs["Q"], out=out) is out and np.array_equal(out, caches[0](Q=inputs["Q"]))


def test_threads_may_share_one() -> None:
    kernel = loaded(shaped())
    inputs, cache = ATTENTION.inputs(kernel.workload, 1), kernel.growing()
    cache.append(**part(inputs, 0, 40))
    expected, wrong = cache(inputs["Q"]), []

    def work() -> None:
        wrong.extend(i for i in range(50) if not np.array_equal(cache(inputs["Q"]), expected))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not wrong and not any(thread.is_alive() for thread in threads)


def test_a_forked_child_goes_on_though_another_thread_was_at_the_cache() -> None:
    kernel = loaded(shaped())
    cache, inputs = kernel.growing(), ATTENTION.inputs(kernel.workload, 5)
    cache.append(**part(inputs, 0, 20))
    with cache._lock:  # as a thread has it that is in a call when another one forks
        child = os.fork()
        if not child:
            signal.alarm(30)
            status = 1
            try:
                cache.append(**part(inputs, 20, 40))
                status = 0 if right(cache, inputs) <= 1 else 2
            finally:
                os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert cache.length == 20 and right(cache, inputs) <= 1


def test_what_does_not_fit_is_refused_in_one_line_and_changes_nothing() -> None:
    kernel = loaded(shaped())
    inputs, cache = ATTENTION.inputs(kernel.workload, 1), kernel.growing()
    with pytest.raises(ValueError, match="is empty: append K and V first"):
        cache(inputs["Q"])
    cache.append(**part(inputs, 0, 60))
    before, one = cache(inputs["Q"]), part(inputs, 60, 61)
    for given, error, words in (
        (part(inputs, 0, 11), ValueError, f"11 more do not fit: 60 of kv {ROOM} are there"),
        ({"K": one["K"]}, TypeError, "array V is missing: K and V grow together"),
        ({}, TypeError, "array K is missing"),
        ({**one, "Q": inputs["Q"]}, TypeError, "unexpected array 'Q': K and V grow"),
        ({**one, "V": part(inputs, 0, 2)["V"]}, ValueError, "array V has 2 along kv, the others 1"),
        ({**one, "K": one["K"][:1]}, ValueError, r"array K is float32\[1, 2, 1, 20\], .* needs"),
        (
            {**one, "K": one["K"][:, :, 0]},
            ValueError,
            r"of shape \[2, 2, 20\], appended are \[2, 2, kv, 20\]",
        ),
        ({**one, "K": one["K"].astype(np.float64)}, ValueError, "array K is float64"),
        ({**one, "K": "keys"}, (TypeError, ValueError), "array K is"),
        ({**one, "K": [[1.0], [1.0, 2.0]]}, TypeError, "array K is a list"),
    ):
        with pytest.raises(error, match=words) as caught:
            cache.append(**given)
        assert "\n" not in str(caught.value)
    with pytest.raises(TypeError, match="array V is missing"):
        cache.append(one["K"])
    with pytest.raises(TypeError, match=r"append takes 2 arrays \(K, V\), not 3"):
        cache.append(one["K"], one["V"], inputs["Q"])
    with pytest.raises(TypeError, match="array K is given twice"):
        cache.append(one["K"], **one)
    assert cache.length == 60 and np.array_equal(cache(inputs["Q"]), before)


def test_a_mask_that_leaves_queries_without_a_key_is_refused() -> None:
    kernel = loaded(shaped("causal", q=5))
    inputs, cache = ATTENTION.inputs(kernel.workload, 1), kernel.growing()
    cache.append(**part(inputs, 0, 4))
    with pytest.raises(InvalidWorkload, match="leaves the first 1 queries without a key"):
        cache(inputs["Q"])
    cache.append(**part(inputs, 4, 5))
    assert right(cache, inputs) <= 1


def test_it_is_not_pickled_or_copied_and_needs_a_kernel_that_can() -> None:
    cache = loaded(shaped()).growing()
    for act in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="is not pickled or copied"):
            act(cache)
    with pytest.raises(TunerError, match=r"attn_naive lays out nothing .*kernel='attn_decode_ahead'"):
        loaded(shaped(), "attn_naive").growing()
    with pytest.raises(TunerError, match="frozen=True"):
        loaded("b1 h2 q1 kv30 d16", "attn_naive").growing()


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('along = "kv"', 'along = "length"', "'length' is no dimension of attention"),
        ('along = "kv"', 'along = "h"', "lack h, along which"),
        ('"d", "added"]', '"d"]', "lack added"),
        ('"room", "d", "added"', '"rooms", "d", "added"', "'rooms' is no tensor"),
        ('arguments = ["K", "V", "ahead", "b", "kv_h", "kv", "room"', 'arguments = ["Q", "V", "ahead", "kv"',
         "takes Q, which is not among the constant inputs"),
        ('along = "kv"', "", r"\[append\] has entry and along"),
        (PREPARE, "", "there is none"),
    ],
)  # fmt: skip
def test_a_wrong_declaration_is_refused_in_one_line(old: str, new: str, words: str, tmp_path: Path) -> None:
    source = registry.kernel("attn_decode_ahead").source_files()[0]
    text = source.read_text()
    assert old in text
    path = source.with_name("no_such.cpp").name
    (tmp_path / path).write_text(text.replace(old, new, 1))
    with pytest.raises(InvalidSpace, match=words) as caught:
        registry.source_kernel(tmp_path / path)
    assert "\n" not in str(caught.value)


def test_the_dimension_that_grows_is_one_of_the_workload() -> None:
    workload = Workload.from_key(f"attention/f32/b1-h2-q1-kv{ROOM}-d16/frozen")
    kernel = registry.kernel("attn_decode_ahead")
    source = kernel.lower(
        workload, kernel.space(workload, CpuDevice().target).nearest(PAGES), CpuDevice().target
    )
    assert source.growth is not None and source.growth.along == "kv"
    assert kernel.grows and not registry.kernel("cpp_ahead").grows
